"""One figure for several folds, and tables of such figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame, isna

from .layout import Cell, bounds, f1

# What stands for a corpus in rows of means over corpora.
MEAN = "(mean)"


def means(scores: DataFrame, by: Sequence[str]) -> DataFrame:
    """F1 over folds that differ by chance alone: by their seeds or draws.

    scores (DataFrame): Scores.
    by (Sequence[str]): Columns that tell apart what is not averaged.
    RETURNS (DataFrame): These columns; how many `folds`; their mean `f1`; and `low` and `high`: of one fold its
        interval, of several their range, as `bounds` says.
    """
    columns = {"folds": ("f1", "size"), "f1": ("f1", "mean"), "low": ("low", "first"), "high": ("high", "first")}
    columns |= {"least": ("f1", "min"), "most": ("f1", "max")}
    found = scores.groupby(list(by), sort=False, dropna=False, as_index=False).agg(**columns)
    several = found.folds > 1
    found["low"], found["high"] = found.low.mask(several, found.least), found.high.mask(several, found.most)
    found["bounds"] = np.select([found.low.isna(), several], ["", "range"], "interval")
    return found.drop(columns=["least", "most"]).assign(corpora=1)


def mean_row(found: DataFrame, by: Sequence[str], columns: int) -> tuple[list[str], DataFrame]:
    """The mean over corpora, each of which counts the same. It has no bounds: corpora do not differ by chance.

    found (DataFrame): See `means`.
    by (Sequence[str]): What stands in different columns.
    columns (int): How many columns a corpus must have figures in to count.
    RETURNS (tuple[list[str], DataFrame]): The corpora that count, and rows like those of `found`.
    """
    figures = found.groupby("corpus", sort=False).size()
    common = list(figures.index[figures == columns])
    rows = found[found.corpus.isin(common)].groupby(list(by), sort=False, dropna=False, as_index=False)
    return common, rows.agg(folds=("folds", "sum"), f1=("f1", "mean")).assign(corpus=MEAN, corpora=len(common))


def cells(found: DataFrame, rivals: Sequence[str]) -> list[Cell]:
    """Figures as cells. The best stand out: all that read the same as the best, because nobody can tell them apart.

    found (DataFrame): See `means`.
    rivals (Sequence[str]): Columns that are equal where rows are compared. Where all read the same, none is better.
    RETURNS (list[Cell]): A cell for each row.
    """
    text = found.f1.map(f1)
    groups = text.groupby([found[name] for name in rivals], dropna=False)
    strong = (text == groups.transform("max")) & (groups.transform("nunique") > 1)
    return list(map(Cell, text, map(bounds, found.low, found.high), map(bool, strong)))


def places(frame: DataFrame, by: Sequence[str], cells: Sequence[Cell]) -> dict[tuple, Cell]:
    """Cells by what tells them apart.

    frame (DataFrame): A row for each cell.
    by (Sequence[str]): Its columns that do.
    cells (Sequence[Cell]): The cells.
    RETURNS (dict[tuple, Cell]): The cells; a missing value is None.
    """
    rows = frame[list(by)].astype(object).itertuples(index=False, name=None)
    return {tuple(None if isna(value) else value for value in row): cell for row, cell in zip(rows, cells, strict=True)}


def gaps(folds: DataFrame, by: Sequence[str]) -> dict[tuple, Cell]:
    """Why there is no figure: the state of the first fold that is not finished, or else that there was nothing to find.

    folds (DataFrame): Planned folds.
    by (Sequence[str]): See `places`.
    RETURNS (dict[tuple, Cell]): A cell for each place.
    """
    open_first = folds.sort_values("state", key=lambda states: states == "finished", kind="stable")
    states = open_first.drop_duplicates(list(by))
    return places(states, by, [Cell("none in gold" if one == "finished" else one) for one in states.state])


def grid(
    first: str, names: Mapping[str, Cell], heads: Mapping[tuple[str, str], tuple], cells: Mapping[tuple, Cell]
) -> DataFrame:
    """Corpora by columns.

    first (str): Head of the column of corpora.
    names (Mapping[str, Cell]): What stands in it, by corpus.
    heads (Mapping[tuple[str, str], tuple]): By the heads of the other columns, how `cells` names their places.
    cells (Mapping[tuple, Cell]): By corpus and the rest of the place.
    RETURNS (DataFrame): The table.
    """
    columns: dict[tuple[str, str], Any] = {("", first): list(names.values())}
    for head, place in heads.items():
        columns[head] = [cells.get((corpus, *place), Cell()) for corpus in names]
    return DataFrame(columns)
