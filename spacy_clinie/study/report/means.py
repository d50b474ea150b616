"""Means over folds, and tables of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame, isna

from .layout import Cell, bounds, f1

# The "corpus" of rows that hold means over corpora.
MEAN = "(mean)"


def means(scores: DataFrame, by: Sequence[str]) -> DataFrame:
    """F1 over folds that differ only by chance, that is by seeds or draws.

    scores (DataFrame): Scores.
    by (Sequence[str]): Columns to group by.
    RETURNS (DataFrame): These columns, the number of `folds`, their mean `f1`, and `low` and `high`: the interval of a
        single fold or the range of several, as `bounds` says.
    """
    columns = {"folds": ("f1", "size"), "f1": ("f1", "mean"), "low": ("low", "first"), "high": ("high", "first")}
    columns |= {"least": ("f1", "min"), "most": ("f1", "max")}
    found = scores.groupby(list(by), sort=False, dropna=False, as_index=False).agg(**columns)
    several = found.folds > 1
    found["low"], found["high"] = found.low.mask(several, found.least), found.high.mask(several, found.most)
    found["bounds"] = np.select([found.low.isna(), several], ["", "range"], "interval")
    return found.drop(columns=["least", "most"]).assign(corpora=1)


def mean_row(found: DataFrame, by: Sequence[str], columns: int) -> tuple[list[str], DataFrame]:
    """The mean over corpora, with equal weights. It has no bounds, because corpora do not differ only by chance.

    found (DataFrame): See `means`.
    by (Sequence[str]): What the columns of the table show.
    columns (int): In how many columns a corpus must have scores to count.
    RETURNS (tuple[list[str], DataFrame]): The corpora that count, and rows like those of `found`.
    """
    scored = found.groupby("corpus", sort=False).size()
    common = list(scored.index[scored == columns])
    rows = found[found.corpus.isin(common)].groupby(list(by), sort=False, dropna=False, as_index=False)
    return common, rows.agg(folds=("folds", "sum"), f1=("f1", "mean")).assign(corpus=MEAN, corpora=len(common))


def score_cells(found: DataFrame, by: Sequence[str]) -> list[Cell]:
    """A cell for each row of `means`. In each group, the best is bold, with all that look the same once rounded; none
    is if all look the same."""
    text = found.f1.map(f1)
    groups = text.groupby([found[name] for name in by], dropna=False)
    strong = (text == groups.transform("max")) & (groups.transform("nunique") > 1)
    return list(map(Cell, text, map(bounds, found.low, found.high), map(bool, strong)))


def by_columns(frame: DataFrame, by: Sequence[str], cells: Sequence[Cell]) -> dict[tuple, Cell]:
    """A frame's cells, one for each row, by its values in some columns; missing values become None."""
    rows = frame[list(by)].astype(object).itertuples(index=False, name=None)
    return {tuple(None if isna(value) else value for value in row): cell for row, cell in zip(rows, cells, strict=True)}


def missing_scores(folds: DataFrame, by: Sequence[str]) -> dict[tuple, Cell]:
    """Why there is no score, as in `by_columns`: the state of the first fold that is not finished, or otherwise that
    the gold standard has nothing to find."""
    unfinished_first = folds.sort_values("state", key=lambda states: states == "finished", kind="stable")
    states = unfinished_first.drop_duplicates(list(by))
    return by_columns(states, by, [Cell("none in gold" if one == "finished" else one) for one in states.state])


def grid(
    first: str, names: Mapping[str, Cell], heads: Mapping[tuple[str, str], tuple], cells: Mapping[tuple, Cell]
) -> DataFrame:
    """A table with a row for each corpus.

    first (str): Heading of the first column.
    names (Mapping[str, Cell]): Its cells, by corpus.
    heads (Mapping[tuple[str, str], tuple]): The key of every other column, by its two headings.
    cells (Mapping[tuple, Cell]): The other cells, by corpus and key of the column.
    RETURNS (DataFrame): The table.
    """
    columns: dict[tuple[str, str], Any] = {("", first): list(names.values())}
    for head, key in heads.items():
        columns[head] = [cells.get((corpus, *key), Cell()) for corpus in names]
    return DataFrame(columns)
