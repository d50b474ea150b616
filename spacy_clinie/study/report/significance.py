"""Whether one arm is better than another on the same documents, or was lucky.

Paired approximate randomization (Noreen 1989, *Computer-Intensive Methods for Testing Hypotheses*; for F1: Yeh 2000,
*More accurate tests for the statistical significance of result differences*): if two arms were equally good, it would
not matter which of them gave which answer about a document, so the answers are exchanged at random, document by
document, and the p-value is how often that makes a difference as large as the one that was seen. Many comparisons find
something by chance; Holm's method (1979, *A simple sequentially rejective multiple test procedure*) corrects for that.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import permutation_test
from statsmodels.stats.multitest import multipletests

from ...scoring.counts import rates
from ..data import FEWEST

LEVEL = 0.05
# Exchanges for each comparison, for as many comparisons as are made: fewer, and none could be significant after Holm's
# correction. But so many at least.
EXCHANGES, LEAST = 200, 10_000


def randomization(first: NDArray, second: NDArray, *, exchanges: int = LEAST) -> float:
    """Compare the micro F1 of two predictions for the same documents.

    first (NDArray): True positives, false positives, false negatives; shape (documents, 3), two documents or more.
    second (NDArray): Those of the other prediction; the same shape.
    exchanges (int): How many exchanges are drawn, with a fixed seed. Where there are no more than these, all are made.
    RETURNS (float): The two-sided p-value. Where exchanges are drawn, what was seen is one more, so it is never 0.
    """
    found = permutation_test(
        (first, second),
        lambda one, other, axis: np.abs(_difference(one.sum(axis), other.sum(axis))),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=exchanges,
        batch=500,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def compare(scores: DataFrame, task: str) -> DataFrame:
    """Compare all arms on each corpus by strict F1. Where there are several seeds, by the lowest that both have.

    scores (DataFrame): Scores of one study.
    task (str): What they are compared at. All comparisons are one family.
    RETURNS (DataFrame): A row for each pair and corpus: `documents` on which both were tested, 0 if they were not
        tested on the same ones; the `difference` of F1, the first less the second; the p-value `p`, missing for fewer
        documents than `FEWEST`; and `p_holm`, the same after Holm's correction.
    """
    own = scores[(scores.task == task) & (scores["mode"] == "strict") & (scores.label == "") & (scores.support > 0)]
    pairs: list[tuple[DataFrame, DataFrame]] = []
    for _, group in own.groupby("corpus", sort=False):
        systems = [one.set_index("seed") for _, one in group.groupby("system", sort=False)]
        pairs += combinations(systems, 2)
    found = DataFrame(
        [_compared(first, second, max(LEAST, EXCHANGES * len(pairs))) for first, second in pairs],
        columns=[
            *("corpus", "first", "first_arm", "first_base", "second", "second_arm", "second_base"),
            *("documents", "difference", "p", "p_holm"),
        ],
    ).astype({"difference": float, "p": float, "p_holm": float})
    there = found.p.notna()
    if there.any():
        found.loc[there, "p_holm"] = multipletests(found.p[there], method="holm")[1]
    return found


def _compared(first: DataFrame, second: DataFrame, exchanges: int) -> Mapping[str, Any]:
    sides = {"first": first.iloc[0], "second": second.iloc[0]}
    row = {"corpus": sides["first"].corpus, "documents": 0}
    for side, one in sides.items():
        row |= {side: one.system, f"{side}_arm": one.arm, f"{side}_base": one.base}
    for seed in sorted(first.index.intersection(second.index)):
        one, other = first.loc[seed], second.loc[seed]
        # The same documents, and as many to find in each.
        if one.ids == other.ids and np.array_equal(*(side.counts[:, 0] + side.counts[:, 2] for side in (one, other))):
            difference = float(_difference(one.counts.sum(axis=0), other.counts.sum(axis=0)))
            p = randomization(one.counts, other.counts, exchanges=exchanges) if len(one.ids) >= FEWEST else None
            return row | {"documents": len(one.ids), "difference": difference, "p": p}
    return row


def _difference(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    return rates(first)[..., 2] - rates(second)[..., 2]
