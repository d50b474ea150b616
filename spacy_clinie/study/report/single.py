"""Every arm on every corpus: what each reached, and which differences are significant."""

from itertools import product
from typing import Any

from pandas import concat, isna

from ...scoring.match import MODES
from .layout import Cell, Part, Table, counted, f1, signed
from .manifests import SYSTEM, TASKS, Study, micro
from .means import MEAN, by_columns, grid, mean_row, means, missing_scores, score_cells
from .significance import LEVEL, compare


def single_part(study: Study) -> Part:
    """A table for each task: corpora by arms."""
    folds, scores = (frame[frame.study == "single"] for frame in (study.folds, study.scores))
    corpora = list(folds.corpus.unique())
    view, csv = [], []
    for task, title in TASKS.items():
        own = micro(scores, task)
        found = means(own, ["corpus", *SYSTEM, "mode"])
        heads = list(product(found.system.unique(), MODES))
        common, over = mean_row(found, [*SYSTEM, "mode"], len(heads))
        names = {corpus: Cell(corpus) for corpus in corpora}
        for one in own.drop_duplicates("corpus").itertuples():
            names[one.corpus] = Cell(one.corpus, f"{one.support:,} in {counted(len(one.ids), 'document')}")
        if len(corpora) > 1 and common:
            names[MEAN] = Cell("Mean", f"of {counted(len(common), 'corpus', 'corpora')}")
            found = concat([found, over])
        # Only strict scores have bounds, or a reason why they are missing.
        cells = {(*key, "strict"): cell for key, cell in missing_scores(folds, ["corpus", "system"]).items()}
        scored = by_columns(found, ["corpus", "system", "mode"], score_cells(found, ["corpus", "mode"]))
        for key, cell in scored.items():
            cells[key] = cell if key[-1] == "strict" else Cell(cell.text, strong=cell.strong)
        table = Table(title, grid("Corpus", names, {head: head for head in heads}, cells), last=MEAN in names)
        view.append({"title": title, "table": table if heads else None, "common": common})
        csv.append(found.assign(task=task))
    return Part({"single": view, "corpora": corpora}, {"single": concat(csv)})


def significance_part(study: Study) -> Part:
    """A table for each task: pairs of arms by corpora."""
    view, csv = [], []
    for task, title in TASKS.items():
        found = compare(study.scores[study.scores.study == "single"], task)
        csv.append(found.assign(task=task, comparable=found.p.notna()))
        if len(found):
            made, apart = int(found.p.notna().sum()), int(found.difference.isna().sum())
            numbers = {"made": made, "apart": apart, "few": len(found) - made - apart}
            pairs = found[["first", "second"]].drop_duplicates()
            wide = found.assign(cell=list(map(_difference, found.itertuples())))
            wide = wide.pivot(index=["first", "second"], columns="corpus", values="cell")[found.corpus.unique()]
            wide = pairs.join(wide, on=["first", "second"]).rename(columns={"first": "First", "second": "Second"})
            table = Table(f"{title}: difference in strict F1", wide)
            significant = int((found.p_holm < LEVEL).sum())
            view.append({"title": title, **numbers, "significant": significant, "table": table})
    return Part({"significance": view}, {"significance": concat(csv)})


def _difference(one: Any) -> Cell:
    if isna(one.difference):
        return Cell("not comparable")
    if isna(one.p):
        return Cell(signed(one.difference), "too few documents")
    p = "p < 0.001" if one.p_holm < 0.001 else f"p = {f1(one.p_holm)}"
    return Cell(signed(one.difference), p, strong=one.p_holm < LEVEL)
