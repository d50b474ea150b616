"""Every arm on every corpus: what each reached, and whether they differ."""

from collections.abc import Sequence
from typing import Optional

from ...scoring.match import MODES
from .layout import Block, Cell, Column, Record, Section, Table, counted, emphasised, f1, signed
from .manifests import TASKS, Planned, Study
from .means import Mean, cell_of, corpora_of, mean_of, mean_over, systems_of
from .significance import FEWEST, LEAST, LEVEL, Comparison, compare


def single_section(study: Study) -> Section:
    """A table for each task: corpora by arms.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    blocks: list[Block] = [
        "Each arm was trained on a corpus and tested on other documents of it. F1 is over all annotations of the test "
        "documents. Strict: type and offsets are those of the gold standard. Lenient: the type is, and the offsets "
        "overlap. The small figures are 95 % intervals (bootstrap over documents) or, where there are several seeds, "
        "the range around their mean. The best of each row are in bold."
    ]
    for task, title in TASKS.items():
        blocks += _scores(study.of("single"), task, title)
    return Section("single", "Every arm on every corpus", blocks)


def significance_section(study: Study) -> Section:
    """A table for each task: pairs of arms by corpora.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    blocks: list[Block] = [
        "How far two arms lie apart in strict F1 on the same documents (the first less the second), and how often "
        f"chance alone would set them as far apart: paired approximate randomization over documents with {LEAST:,} "
        "seeded shuffles, or more where there are many comparisons (Noreen 1989; Yeh 2000). The p-values are corrected "
        f"by Holm's method (1979) for all comparisons of a task. Differences in bold are significant at {LEVEL} after "
        "that. It is about other documents; that another seed would train another model is not in it. Where there are "
        "several seeds, it is the first that both arms have, and not the mean of the tables above."
    ]
    outcomes = [one.outcome for one in study.of("single") if one.outcome]
    for task, title in TASKS.items():
        found = compare(outcomes, task)
        if found:
            blocks += _comparisons(found, task, title)
    if len(blocks) == 1:
        blocks.append("No two arms have results for the same task and corpus yet.")
    return Section("significance", "Which differences are more than chance", blocks)


def _scores(folds: Sequence[Planned], task: str, title: str) -> list[Block]:
    systems, corpora = systems_of(folds, task), corpora_of(folds)
    if not systems:
        return [f"{title}: there is no finished fold with anything to score."]
    own = {
        (corpus, system): [one for one in folds if (one.fold.corpus, one.fold.system) == (corpus, system)]
        for corpus in corpora
        for system in systems
    }
    reached = {
        (*place, mode): mean_of(one.outcome.score(task, mode) for one in folds if one.outcome)
        for place, folds in own.items()
        for mode in MODES
    }
    columns = [(system, mode) for system in systems for mode in MODES]
    rows, records = [], []
    for corpus in corpora:
        means = [reached[corpus, system, mode] for system, mode in columns]
        cells = [
            # Why a figure is not there is said once.
            cell_of(mean, own[corpus, system] if mode == "strict" else ())
            for (system, mode), mean in zip(columns, means, strict=True)
        ]
        rows.append([_corpus(corpus, folds, task), *_best(cells, means)])
        records += _records(task, corpus, 1, columns, means)
    common = [corpus for corpus in corpora if all(reached[corpus, system, "strict"] for system in systems)]
    note = _common_note(common, corpora)
    if common and len(corpora) > 1:
        over = [
            mean_over([mean for corpus in common if (mean := reached[corpus, system, mode])])
            for system, mode in columns
        ]
        of = f"of {counted(len(common), 'corpus', 'corpora')}"
        rows.append([Cell("Mean", of), *_best([mean.cell for mean in over], over)])
        records += _records(task, "(mean)", len(common), columns, over)
    heads = [Column(mode, group=system.title) for system, mode in columns]
    last = len(rows) > len(corpora)
    return [f"{title}. {note}", Table("single", title, [Column("Corpus", words=True), *heads], rows, records, last)]


def _best(cells: Sequence[Cell], means: Sequence[Optional[Mean]]) -> list[Cell]:
    """Strict figures have their bounds, lenient ones stand beside them; each are compared among themselves."""
    values = [mean.f1 if mean else None for mean in means]
    strict = emphasised(cells[::2], values[::2])
    lenient = emphasised([Cell(cell.text) for cell in cells[1::2]], values[1::2])
    return [cell for pair in zip(strict, lenient, strict=True) for cell in pair]


def _corpus(corpus: str, folds: Sequence[Planned], task: str) -> Cell:
    """A corpus, and how much it is tested on."""
    outcomes = [one.outcome for one in folds if one.outcome and one.fold.corpus == corpus]
    for outcome in outcomes:
        score = outcome.score(task)
        if score:
            return Cell(corpus, f"{score.support:,} in {counted(outcome.sizes['test_documents'], 'document')}")
    return Cell(corpus)


def _records(task: str, corpus: str, corpora: int, columns: Sequence, means: Sequence[Optional[Mean]]) -> list[Record]:
    return [
        {"task": task, "corpus": corpus, "corpora": corpora, "arm": system.arm, "base": system.model, "mode": mode}
        | mean.record
        for (system, mode), mean in zip(columns, means, strict=True)
        if mean
    ]


def _common_note(common: Sequence[str], corpora: Sequence[str]) -> str:
    if len(corpora) < 2:
        return "There is one corpus."
    if not common:
        return "No corpus has results of all these arms, so there is no mean over corpora."
    if len(common) == len(corpora):
        return "The last row is the mean over all corpora."
    return f"The last row is the mean over those corpora alone that all these arms have: {', '.join(common)}."


def _comparisons(found: Sequence[Comparison], task: str, title: str) -> list[Block]:
    corpora = list(dict.fromkeys(one.corpus for one in found))
    by_pair: dict[tuple, dict[str, Comparison]] = {}
    for one in found:
        by_pair.setdefault((one.first, one.second), {})[one.corpus] = one
    rows = [
        [Cell(first.title), Cell(second.title), *[_difference(own.get(corpus)) for corpus in corpora]]
        for (first, second), own in by_pair.items()
    ]
    apart = sum(one.difference is None for one in found)
    few = sum(one.p is None for one in found) - apart
    significant = sum(one.significant for one in found)
    records = [
        {
            "task": task,
            "corpus": one.corpus,
            "first_arm": one.first.arm,
            "first_base": one.first.model,
            "second_arm": one.second.arm,
            "second_base": one.second.model,
            "comparable": one.p is not None,
            "documents": one.documents,
            "difference": one.difference,
            "p": one.p,
            "p_holm": one.corrected,
        }
        for one in found
    ]
    columns = [Column("First", words=True), Column("Second", words=True), *map(Column, corpora)]
    note = f"{title}: {counted(len(found) - apart - few, 'comparison')}, {significant:,} significant."
    if few:
        note += f" {few:,} more are of fewer than {FEWEST} documents, which cannot tell."
    if apart:
        note += f" {apart:,} more could not be made, because the two arms were not tested on the same documents."
    return [
        note,
        Table("significance", f"{title}: difference in strict F1", columns, rows, records),
    ]


def _difference(one: Optional[Comparison]) -> Cell:
    if one is None:
        return Cell()
    if one.difference is None:
        return Cell("not comparable")
    if one.corrected is None:
        return Cell(signed(one.difference), "too few documents")
    p = "p < 0.001" if one.corrected < 0.001 else f"p = {f1(one.corrected)}"
    return Cell(signed(one.difference), p, strong=one.significant)
