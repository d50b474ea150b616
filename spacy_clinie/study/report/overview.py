"""What was run, on what, and what is not there: the head of a report."""

from collections import Counter
from collections.abc import Iterable

from ...corpora.splits import SEVERAL
from ..data import SPLITS
from ..plan import STUDIES
from .layout import Block, Cell, Column, Record, Section, Table, counted, listed
from .manifests import Data, Outcome, Plan, Planned, Study
from .training import training_table

# More folds than this are shown only when asked.
_LONG = 12


def overview_section(study: Study) -> Section:
    """The head of a report. Every fold that has no result is counted and named in it.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    folds = study.folds
    states = Counter(one.state for one in folds)
    without = len(folds) - states["finished"]
    blocks: list[Block] = [
        f"Of {counted(len(folds), 'planned fold')}, {states['finished']:,} are finished, {states['failed']:,} failed, "
        f"{states['unreadable']:,} left a manifest that cannot be read, and {states['not yet run']:,} have not been "
        "run yet. A fold is one training with its test. "
        + (
            "Nothing below counts a fold that is not finished; those are named at the end of this part."
            if without
            else "So everything that was planned is in the figures below."
        ),
        _plans(study),
    ]
    corpora = {(plan.profile, one.corpus): one for plan in study.plans.values() for one in plan.data}
    if corpora:
        blocks += [
            "Corpora, as they were read and as the profile takes part of them. Shared are documents of that part of "
            "train which share text with one of test: nothing is trained on them. What more than "
            f"{SEVERAL} of them have counts only where it is half of a document, as headers are no reason to leave it "
            "out; how many are trained on though they share such text stands below. Lost is what a corpus has and "
            "could not be carried over, left out what was not meant to be; data.csv tells why.",
            _data(corpora),
        ]
    if study.outcomes:
        blocks += [_circumstances(study.outcomes), training_table(study)]
    else:
        blocks.append("No fold is finished, so there are no figures to show yet.")
    missing = list(dict.fromkeys(one for plan in study.plans.values() for one in plan.missing))
    if missing:
        blocks += [
            f"{counted(len(missing), 'corpus', 'corpora')} could not be had; no figure below is about what is missing.",
            Table(
                file="missing",
                title="Missing corpora",
                columns=[Column("Corpus", words=True), Column("How to get it", words=True)],
                rows=[[Cell(corpus), Cell(how)] for corpus, how in missing],
                records=[{"corpus": corpus, "how": how} for corpus, how in missing],
            ),
        ]
    broken = [one for one in folds if one.state in ("failed", "unreadable")]
    waiting = [one for one in folds if one.state == "not yet run"]
    if broken:
        blocks.append(_folds("Folds that failed or cannot be read", broken))
    if waiting:
        blocks.append(_waiting(waiting))
    if study.unreadable:
        blocks.append(_files("Files that cannot be read", study.unreadable))
    if study.strays:
        blocks += [
            f"{counted(len(study.strays), 'manifest')} in this folder belong to no plan, as after a change of profile, "
            "corpora or version. They are not in the figures.",
            _files("Manifests of no plan", [(name, "is named by no plan") for name in study.strays], closed=True),
        ]
    return Section("overview", "What was run", blocks)


def fold_facts(one: Planned) -> Record:
    """A fold as the first columns of a row of CSV.

    one (Planned): The fold.
    RETURNS (Record): By column.
    """
    fold = one.fold
    return {
        "study": fold.study,
        "corpus": fold.corpus,
        "arm": fold.arm,
        "base": fold.system.model,
        "stage": fold.stage,
        "shots": fold.shots,
        "draw": fold.draw,
        "multitask": fold.multitask,
        "seed": fold.seed,
    }


def fold_records(study: Study) -> list[Record]:
    """All planned folds and what became of them.

    study (Study): The study.
    RETURNS (list[Record]): One for each.
    """
    records = []
    for one in study.folds:
        made = one.outcome
        done = {"finished": made.finished, "seconds": made.seconds, "machine": made.machine} if made else {}
        sizes = {"steps": made.steps, **made.sizes} if made else {}
        records.append({**fold_facts(one), "key": one.key, "state": one.state, "problem": one.problem, **done, **sizes})
    return records


def result_records(study: Study) -> list[Record]:
    """All scores of all folds: one for each task and way of matching, over all types and for each of them.

    study (Study): The study.
    RETURNS (list[Record]): Scores; `label` is empty over all types.
    """
    return [
        {
            **fold_facts(one),
            "task": task,
            "mode": mode,
            "label": label,
            "f1": score.f1,
            "low": score.low,
            "high": score.high,
            "p": score.p,
            "r": score.r,
            "tp": score.tp,
            "fp": score.fp,
            "fn": score.fn,
        }
        for one in study.folds
        if one.outcome
        for (task, mode), result in one.outcome.results.items()
        for label, score in {"": result.micro, **result.types}.items()
    ]


def _plans(study: Study) -> Table:
    heads = ("Planned", "Finished", "Failed", "Unreadable", "Not yet run")
    rows, records = [], []
    for name in STUDIES:
        plan = study.plans.get(name)
        numbers = _numbers(plan)
        profile, command = (plan.profile, "; ".join(plan.commands)) if plan else (None, None)
        start = [Cell(name), Cell(profile) if profile else Cell(), Cell(command) if command else Cell("not started")]
        rows.append([*start, *[Cell() if number is None else Cell(f"{number:,}") for number in numbers]])
        fields = dict(zip(("planned", "finished", "failed", "unreadable", "not_yet_run"), numbers, strict=True))
        records.append({"study": name, "profile": profile, "command": command, **fields})
    words = [Column(title, words=True) for title in ("Study", "Profile", "Command")]
    return Table("studies", "Studies", [*words, *map(Column, heads)], rows, records)


def _data(corpora: dict[tuple[str, str], Data]) -> Table:
    rows, records = [], []
    several = len({profile for profile, _ in corpora}) > 1
    for (profile, _), one in corpora.items():
        whole = " / ".join(f"{one.documents[split]:,}" for split in SPLITS)
        parts = [Cell(f"{documents:,}", counted(words, "word")) for documents, words in one.parts.values()]
        lost, left_out = sum(one.lost.values()), sum(one.left_out.values())
        name = Cell(one.corpus, profile if several else "")
        shared = Cell(f"{one.shared:,}", f"{one.headers:,} share headers" if one.headers else "")
        rows.append([name, Cell(whole), *parts, shared, Cell(f"{lost:,}"), Cell(f"{left_out:,}")])
        sizes = {
            f"{name}_{unit}": value
            for name, own in one.parts.items()
            for unit, value in zip(("documents", "words"), own, strict=True)
        }
        why = listed(f"{reason} {count:,}" for reason, count in [*one.lost.items(), *one.left_out.items()])
        facts = {"corpus": one.corpus, "profile": profile, **one.documents, **sizes, "shared": one.shared}
        records.append({**facts, "headers": one.headers, "lost": lost, "left_out": left_out, "why": why})
    columns = [Column("Corpus", words=True), Column("Documents: " + " / ".join(SPLITS))]
    columns += [Column(title) for title in ("Of train", "Of test", "Shared", "Lost", "Left out")]
    return Table("data", "Corpora", columns, rows, records)


def _numbers(plan: Plan | None) -> list[int | None]:
    if plan is None:
        return [None] * 5
    return [len(plan.folds), *(plan.count(state) for state in ("finished", "failed", "unreadable", "not yet run"))]


def _circumstances(outcomes: list[Outcome]) -> Table:
    """Where, when and with what. Where folds differ, each way is named with how many folds it holds for."""
    facts = {
        "Machine": _each(outcome.machine for outcome in outcomes),
        "Versions": _each(
            listed(f"{name} {version}" for name, version in sorted(outcome.versions.items())) for outcome in outcomes
        ),
        "Seeds": listed(str(seed) for seed in sorted({outcome.fold.seed for outcome in outcomes})),
        "Draws of few shots": listed(
            str(draw) for draw in sorted({one.fold.draw for one in outcomes if one.fold.draw is not None})
        ),
        "First fold finished": min(outcome.finished for outcome in outcomes),
        "Last fold finished": max(outcome.finished for outcome in outcomes),
        "Computing time": f"{sum(outcome.seconds for outcome in outcomes) / 60:,.1f} minutes over all finished folds",
    }
    there = {name: value for name, value in facts.items() if value}
    return Table(
        file="circumstances",
        title="Circumstances",
        columns=[Column("What", words=True), Column("Value", words=True)],
        rows=[[Cell(name), Cell(value)] for name, value in there.items()],
        records=[{"what": name, "value": value} for name, value in there.items()],
    )


def _each(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else "; ".join(f"{value} ({counted(n, 'fold')})" for value, n in counts)


def _folds(title: str, folds: list[Planned]) -> Table:
    heads = ("Study", "Corpus", "Arm and base", "Stage", "Shots", "Draw", "Multi-task", "Seed", "Why")
    words = ("Study", "Corpus", "Arm and base", "Stage", "Multi-task", "Why")
    rows = []
    for one in folds:
        fold = one.fold
        values = (
            fold.study,
            fold.corpus,
            fold.system.title,
            fold.stage,
            "" if fold.shots is None else str(fold.shots),
            "" if fold.draw is None else str(fold.draw),
            "yes" if fold.multitask else "no",
            str(fold.seed),
            one.problem or one.state,
        )
        rows.append([Cell(value) for value in values])
    columns = [Column(head, words=head in words) for head in heads]
    return Table("folds", f"{title} ({len(folds):,})", columns, rows, closed=len(folds) > _LONG)


def _waiting(folds: list[Planned]) -> Table:
    """How many folds of each kind have not been run: hundreds, where a study has just begun. folds.csv names them."""
    counts = Counter((one.fold.study, one.fold.corpus, one.fold.system.title) for one in folds)
    heads = ("Study", "Corpus", "Arm and base")
    return Table(
        file="folds",
        title=f"Folds that have not been run yet ({len(folds):,}; folds.csv names each)",
        columns=[*(Column(head, words=True) for head in heads), Column("Folds")],
        rows=[[*map(Cell, place), Cell(f"{count:,}")] for place, count in counts.items()],
    )


def _files(title: str, files: list[tuple[str, str]], *, closed: bool = False) -> Table:
    return Table(
        file="files",
        title=title,
        columns=[Column("File", words=True), Column("What is wrong", words=True)],
        rows=[[Cell(name), Cell(problem)] for name, problem in files],
        records=[{"file": name, "problem": problem} for name, problem in files],
        closed=closed,
    )
