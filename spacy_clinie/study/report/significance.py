"""Whether one arm is better than another on the same documents, or was lucky.

Paired approximate randomization (Noreen 1989, *Computer-Intensive Methods for Testing Hypotheses*; for F1: Yeh 2000,
*More accurate tests for the statistical significance of result differences*): if two arms were equally good, it would
not matter which of them gave which answer about a document, so the answers are exchanged at random, document by
document, and the p-value is how often that makes a difference as large as the one that was seen. Many comparisons find
something by chance; Holm's method (1979, *A simple sequentially rejective multiple test procedure*) corrects for that.
Shuffling ends once enough differences were as large (Besag and Clifford 1991, *Sequential Monte Carlo p-values*).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Optional

import numpy as np
from numpy.typing import NDArray

from ...scoring.counts import rates
from ..plan import System
from .manifests import Outcome

LEVEL = 0.05
# Shuffles for each comparison, for as many comparisons as are made: fewer, and none could be significant after Holm's
# correction.
SHUFFLES = 200
# So many at least, and no more once so many made as large a difference.
LEAST = 10_000
ENOUGH = 200
# Of fewer documents, exchanging all their answers makes a difference as large too often: 2 of 2 to their power.
FEWEST = 6
# Shuffles that are held in memory at once.
_AT_ONCE = 500


@dataclass(frozen=True)
class Comparison:
    """Two arms on one corpus.

    documents (int): On which both were tested; 0 if they were not tested on the same ones.
    difference (Optional[float]): F1 of the first less F1 of the second; None if there are no such documents.
    p (Optional[float]): Two-sided; None if there are fewer documents than `FEWEST`, too.
    corrected (Optional[float]): The same after Holm's correction.
    """

    corpus: str
    first: System
    second: System
    documents: int
    difference: Optional[float] = None
    p: Optional[float] = None
    corrected: Optional[float] = None

    @property
    def significant(self) -> bool:
        return self.corrected is not None and self.corrected < LEVEL


def randomization(first: NDArray, second: NDArray, *, seed: int = 0, shuffles: int = LEAST) -> tuple[float, float]:
    """Compare the micro F1 of two predictions for the same documents.

    first (NDArray): True positives, false positives, false negatives; shape (documents, 3).
    second (NDArray): Those of the other prediction; the same shape.
    seed (int): Seed of the shuffles.
    shuffles (int): How often answers are exchanged at most.
    RETURNS (tuple[float, float]): The difference, and its two-sided p-value. What was seen is one more shuffle, so
        this is never 0.
    """
    total = (first + second).sum(axis=0)
    # Of documents with equal answers it changes nothing which is whose.
    gaps = (first - second)[(first != second).any(axis=1)].astype(np.float64)
    difference = float(_difference(total, gaps.sum(axis=0)))
    random = np.random.default_rng(seed)
    as_far = done = 0
    while done < shuffles and not (done >= LEAST and as_far >= ENOUGH):
        signs = random.choice((-1.0, 1.0), size=(min(_AT_ONCE, shuffles - done), len(gaps)))
        # Sums in another order differ in the last digits, which must not count as smaller.
        far = np.abs(_difference(total, signs @ gaps)) >= abs(difference) - 1e-12
        as_far, done = as_far + int(far.sum()), done + len(far)
    return difference, (as_far + 1) / (done + 1)


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for how many there are.

    values (Sequence[float]): The p-values of one family of tests.
    RETURNS (list[float]): In the same order. Those below a level are significant at that level, all taken together.
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def compare(outcomes: Iterable[Outcome], task: str) -> list[Comparison]:
    """Compare all arms on each corpus by strict F1. Where there are several seeds, by the lowest that both have.

    outcomes (Iterable[Outcome]): Folds.
    task (str): What they are compared at. All comparisons are one family.
    RETURNS (list[Comparison]): Comparisons, those that cannot be made among them.
    """
    by_corpus: dict[str, dict[System, dict[int, Outcome]]] = {}
    for outcome in outcomes:
        if outcome.score(task):
            systems = by_corpus.setdefault(outcome.fold.corpus, {})
            systems.setdefault(outcome.fold.system, {})[outcome.fold.seed] = outcome
    pairs = [(corpus, *pair) for corpus, systems in by_corpus.items() for pair in combinations(systems, 2)]
    shuffles = max(LEAST, SHUFFLES * len(pairs))
    found = [_compared(corpus, first, second, by_corpus[corpus], task, shuffles) for corpus, first, second in pairs]
    corrected = iter(holm([one.p for one in found if one.p is not None]))
    return [one if one.p is None else replace(one, corrected=next(corrected)) for one in found]


def _compared(
    corpus: str, first: System, second: System, systems: dict[System, dict[int, Outcome]], task: str, shuffles: int
) -> Comparison:
    for seed in sorted(systems[first].keys() & systems[second].keys()):
        one, other = systems[first][seed], systems[second][seed]
        ours, theirs = one.counts.get((task, "strict")), other.counts.get((task, "strict"))
        if ours is None or theirs is None or one.ids != other.ids:
            continue
        # The same gold as well: as many to find in each document.
        if np.array_equal(ours[:, 0] + ours[:, 2], theirs[:, 0] + theirs[:, 2]):
            difference, p = randomization(ours, theirs, shuffles=shuffles)
            return Comparison(corpus, first, second, len(one.ids), difference, p if len(one.ids) >= FEWEST else None)
    return Comparison(corpus, first, second, 0)


def _difference(total: NDArray, gap: NDArray) -> NDArray[np.float64]:
    """F1 of one prediction less that of another, by the sum and the difference of their counts."""
    return rates((total + gap) / 2)[..., 2] - rates((total - gap) / 2)[..., 2]
