"""How well each arm finds each type of concept."""

from collections import defaultdict
from collections.abc import Sequence

from ..plan import System
from .layout import NONE, Block, Cell, Column, Section, Table, counted, emphasised, f1
from .manifests import Planned, Score, Study
from .means import corpora_of, mean_of
from .plots import heat_map


def types_section(study: Study) -> Section:
    """A heat map for each corpus, and its table.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    folds = study.of("single")
    blocks: list[Block] = [
        "Strict F1 of each type of concept, the most frequent types above; the brighter, the higher. In brackets is "
        "how many the test documents hold: where these are few, a figure says little. Types that they do not hold are "
        "left out."
    ]
    for number, corpus in enumerate(corpora_of(folds), start=1):
        blocks += _corpus([one for one in folds if one.fold.corpus == corpus], corpus, number)
    if len(blocks) == 1:
        blocks.append("No finished fold has concepts to score.")
    return Section("types", "Types of concepts", blocks)


def _corpus(folds: Sequence[Planned], corpus: str, number: int) -> list[Block]:
    scores: dict[str, dict[System, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for one in folds:
        result = one.outcome.results.get(("concepts", "strict")) if one.outcome else None
        for label, score in result.types.items() if result else ():
            if score.support:
                scores[label][one.fold.system].append(score)
    if not scores:
        return []
    support = {label: max(score.support for own in scores[label].values() for score in own) for label in scores}
    labels = sorted(scores, key=lambda label: (-support[label], label))
    there = {system for own in scores.values() for system in own}
    systems = [system for system in dict.fromkeys(one.fold.system for one in folds) if system in there]
    rows, records, shades = [], [], []
    for label in labels:
        means = [mean_of(scores[label][system]) for system in systems]
        values = [mean.f1 if mean else None for mean in means]
        shades.append(values)
        cells = [Cell(NONE if value is None else f1(value)) for value in values]
        rows.append([Cell(label), Cell(f"{support[label]:,}"), *emphasised(cells, values)])
        records += [
            {"corpus": corpus, "label": label, "support": support[label], "arm": system.arm, "base": system.model}
            | mean.record
            for system, mean in zip(systems, means, strict=True)
            if mean
        ]
    caption = (
        f"Strict F1 by type of concept on {corpus}: {counted(len(labels), 'type')}, {counted(len(systems), 'arm')}. "
        "The table below it holds the same figures."
    )
    figure = heat_map(
        corpus,
        [f"{label} ({support[label]:,})" for label in labels],
        [f"{system.arm}\n{system.model}" for system in systems],
        shades,
        name=f"types-{number}",
        caption=caption,
    )
    columns = [Column("Type", words=True), Column("In gold"), *[Column(system.title) for system in systems]]
    return [figure, Table("types", f"Types of {corpus}", columns, rows, records, closed=True)]
