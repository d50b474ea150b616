"""One figure for several folds, and which arms and corpora there are figures for."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from ..plan import System
from .layout import NONE, Cell, Record, bounds, f1
from .manifests import Planned, Score


class Mean(NamedTuple):
    """An F1 over folds that differ by chance alone.

    f1 (float): Their mean.
    low (Optional[float]): Of one fold the lower end of its interval, of several the lowest.
    high (Optional[float]): The same on the other side.
    folds (int): How many they are.
    """

    f1: float
    low: Optional[float]
    high: Optional[float]
    folds: int

    @property
    def cell(self) -> Cell:
        return Cell(f1(self.f1), bounds(self.low, self.high))

    @property
    def record(self) -> Record:
        kind = None if self.low is None else "interval" if self.folds == 1 else "range"
        return {"folds": self.folds, "f1": self.f1, "low": self.low, "high": self.high, "bounds": kind}


def mean_of(scores: Iterable[Optional[Score]]) -> Optional[Mean]:
    """The mean of what some folds reached.

    scores (Iterable[Optional[Score]]): Their scores; those that are None are left out.
    RETURNS (Optional[Mean]): None if there are none.
    """
    there = [score for score in scores if score]
    if not there:
        return None
    if len(there) == 1:
        return Mean(there[0].f1, there[0].low, there[0].high, 1)
    values = [score.f1 for score in there]
    return Mean(sum(values) / len(values), min(values), max(values), len(values))


def mean_over(means: Sequence[Mean]) -> Mean:
    """The mean over corpora, each of which counts the same. It has no bounds: corpora do not differ by chance.

    means (Sequence[Mean]): One or more.
    RETURNS (Mean): Their mean.
    """
    return Mean(sum(mean.f1 for mean in means) / len(means), None, None, sum(mean.folds for mean in means))


def systems_of(folds: Sequence[Planned], task: str) -> list[System]:
    """The arms that have something to show.

    folds (Sequence[Planned]): Folds.
    task (str): What they must have done.
    RETURNS (list[System]): In the order of the plan.
    """
    return list(dict.fromkeys(one.fold.system for one in folds if one.outcome and one.outcome.score(task)))


def corpora_of(folds: Sequence[Planned]) -> list[str]:
    """All corpora of some folds, whether there are results or not.

    folds (Sequence[Planned]): Folds.
    RETURNS (list[str]): In the order of the plan.
    """
    return list(dict.fromkeys(one.fold.corpus for one in folds))


def cell_of(mean: Optional[Mean], folds: Iterable[Planned]) -> Cell:
    """The cell of a mean.

    mean (Optional[Mean]): The mean.
    folds (Iterable[Planned]): The folds that it is of. If there is none, they tell why.
    RETURNS (Cell): The cell.
    """
    if mean:
        return mean.cell
    states = [one.state for one in folds]
    return Cell(next((state for state in states if state != "finished"), "none in gold" if states else NONE))
