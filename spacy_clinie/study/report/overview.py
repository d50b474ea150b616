"""What was run, on which corpora, and what is missing: the first part of a report."""

from collections import Counter
from collections.abc import Iterable

from pandas import DataFrame, concat, crosstab, factorize

from ..data import SPLITS
from ..plan import STUDIES
from .layout import Cell, Part, Table, counted, share
from .manifests import SIZES, SYSTEM, Study

STATES = ["finished", "failed", "unreadable", "not yet run"]
# Longer lists of folds are shown only on a click.
_LONG = 12
# Stages of training in the order of the table, and their names in it.
_STAGES = {"multi": "multi-task", "shots": "shots", "full": "full"}


def overview_part(study: Study) -> Part:
    """The first part of a report. It counts and names every fold that has no result."""
    folds = study.folds
    counts = crosstab(folds.study, folds.state).reindex(columns=STATES, fill_value=0).astype("Int64")
    counts.insert(0, "planned", counts.sum(axis=1))
    studies = DataFrame.from_dict(study.plans, orient="index", columns=["profile", "command"]).reindex(STUDIES)
    studies = studies.join(counts).rename_axis("study").reset_index()
    circumstances = _circumstances(study.done)
    table, training = _training(study.done)
    broken = folds[folds.state.isin(["failed", "unreadable"])]
    waiting = folds[folds.state == "not yet run"]
    view = {
        "states": folds.state.value_counts().reindex(STATES, fill_value=0).to_dict(),
        "studies": Table("Studies", studies.fillna({"command": "not started"}).rename(columns=str.capitalize)),
        "corpora": _corpora(study.corpora),
        "circumstances": Table("Circumstances", circumstances.rename(columns=str.capitalize)),
        "training": table,
        "missing": Table("Missing corpora", study.missing.set_axis(["Corpus", "How to get it"], axis=1)),
        "broken": _broken(broken),
        "waiting": _waiting(waiting),
        "unreadable": _files("Files that cannot be read", study.unreadable),
        "strays": _files("Manifests that are in no plan", study.strays, closed=True),
    }
    csv = {"studies": studies.rename(columns={"not yet run": "not_yet_run"}), "circumstances": circumstances}
    csv |= {"data": study.corpora, "training": training, "missing": study.missing}
    csv |= {"files": concat([study.unreadable, study.strays]), "folds": folds, "results": study.scores}
    return Part({"overview": view}, csv)


def _corpora(corpora: DataFrame) -> Table:
    several = corpora.profile.nunique() > 1
    rows = [
        {
            "Corpus": Cell(one.corpus, one.profile if several else ""),
            f"Documents: {' / '.join(SPLITS)}": Cell(" / ".join(f"{getattr(one, split):,}" for split in SPLITS)),
            "Of train": Cell(f"{one.train_documents:,}", counted(one.train_words, "word")),
            "Of test": Cell(f"{one.test_documents:,}", counted(one.test_words, "word")),
            "Shared": Cell(f"{one.shared:,}", f"{one.headers:,} share headers" if one.headers else ""),
            "Lost": one.lost,
            "Left out": one.left_out,
        }
        for one in corpora.itertuples()
    ]
    return Table("Corpora", DataFrame(rows))


def _circumstances(done: DataFrame) -> DataFrame:
    """Machines, versions, times. Where folds differ, each value is given with the number of its folds."""
    values = {
        "Machine": _each(done.machine),
        "Versions": _each(done.versions),
        "Seeds": ", ".join(map(str, sorted(done.seed.unique()))),
        "Draws of few shots": ", ".join(map(str, sorted(done.draw.dropna().unique()))),
        "First fold finished": done.finished.min(),
        "Last fold finished": done.finished.max(),
        "Computing time": f"{done.seconds.sum() / 60:,.1f} minutes over all finished folds",
    }
    rows = [(what, value) for what, value in values.items() if len(done) and value]
    return DataFrame(rows, columns=["what", "value"])


def _each(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else "; ".join(f"{value} ({counted(n, 'fold')})" for value, n in counts)


def _training(done: DataFrame) -> tuple[Table, DataFrame]:
    """A row for each arm and stage: the steps of training, and the documents that they read."""
    own = done[done.trainable.notna() & done.stage.isin(list(_STAGES))]
    own = own.assign(seconds=own.seconds_per_step * own.steps, number=factorize(own.system)[0])
    own["place"] = own.stage.map(list(_STAGES).index)
    groups = own.groupby(["number", "place", *SYSTEM, "stage", "shots", "multitask", "steps"], dropna=False)
    sums = {name: (name, "sum") for name in [*SIZES, "seconds"]}
    found = groups.agg(folds=("key", "size"), **sums).reset_index()
    rows = []
    for one in found.itertuples():
        stage = _STAGES[one.stage]
        if one.stage == "shots":
            stage = f"{one.shots} {stage}, {'after multi-task' if one.multitask else 'alone'}"
        row = {"Arm and base": one.system, "Stage": stage, "Folds": one.folds, "Steps": one.steps}
        for unit in ("documents", "words"):
            read, offered = getattr(one, f"train_{unit}"), getattr(one, f"offered_{unit}")
            row[f"{unit.capitalize()} read"] = Cell(share(read, offered), f"of {counted(offered, unit[:-1])}")
        rows.append(row | {"Seconds": Cell(f"{one.seconds:,.0f}")})
    return Table("What training read of what there was", DataFrame(rows)), found


def _broken(folds: DataFrame) -> Table:
    table = folds[["study", "corpus", "system", "stage", "shots", "draw", "multitask", "seed", "problem"]]
    table = table.assign(multitask=table.multitask.map({True: "yes", False: "no"}))
    table = table.rename(columns={"system": "arm and base", "multitask": "multi-task", "problem": "why"})
    title = f"Folds that failed or cannot be read ({len(folds):,})"
    return Table(title, table.rename(columns=str.capitalize), closed=len(folds) > _LONG)


def _waiting(folds: DataFrame) -> Table:
    """Folds that have not been run, counted by arm and corpus: a study that has just begun has hundreds."""
    table = folds.groupby(["study", "corpus", "system"], sort=False).size().reset_index(name="folds")
    table = table.rename(columns={"system": "arm and base"}).rename(columns=str.capitalize)
    return Table(f"Folds that have not been run yet ({len(folds):,}; folds.csv names each)", table)


def _files(title: str, files: DataFrame, *, closed: bool = False) -> Table:
    return Table(title, files.set_axis(["File", "What is wrong"], axis=1), closed=closed)
