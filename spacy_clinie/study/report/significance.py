"""Whether the difference between two arms on the same documents is significant.

Paired approximate randomization (Noreen 1989, *Computer-Intensive Methods for Testing Hypotheses*; for F1: Yeh 2000,
*More accurate tests for the statistical significance of result differences*): the predictions of two arms are exchanged
at random, document by document. The p-value is how often the difference is then at least as large as the observed one.
Holm's method (1979, *A simple sequentially rejective multiple test procedure*) corrects for the number of comparisons.
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
from ..data import MIN_DOCUMENTS

LEVEL = 0.05
# Random exchanges: this number times the number of comparisons, since with fewer none could be significant after Holm's
# correction; but at least the second number.
EXCHANGES, LEAST = 200, 10_000


def randomization(first: NDArray, second: NDArray, *, exchanges: int = LEAST) -> float:
    """Compare the micro F1 of two predictions for the same documents.

    first (NDArray): True positives, false positives, false negatives; shape (documents, 3), two documents or more.
    second (NDArray): Those of the other prediction; the same shape.
    exchanges (int): Number of random exchanges. If there are no more than that, all are made.
    RETURNS (float): The two-sided p-value. Of random exchanges, the observed result counts as one, so it is never 0.
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
    """Compare all arms on each corpus by strict F1. With several seeds, the lowest that both arms have is compared.

    scores (DataFrame): Scores of one study.
    task (str): The task. All its comparisons are one family for Holm's correction.
    RETURNS (DataFrame): A row for each pair and corpus: the number of `documents`, 0 if the arms were not tested on the
        same ones; the `difference` of F1, first minus second; the p-value `p`, missing for fewer documents than
        `MIN_DOCUMENTS`; and the corrected `p_holm`.
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
        # The same documents, with the same number of gold annotations in each.
        if one.ids == other.ids and np.array_equal(*(side.counts[:, 0] + side.counts[:, 2] for side in (one, other))):
            difference = float(_difference(one.counts.sum(axis=0), other.counts.sum(axis=0)))
            p = randomization(one.counts, other.counts, exchanges=exchanges) if len(one.ids) >= MIN_DOCUMENTS else None
            return row | {"documents": len(one.ids), "difference": difference, "p": p}
    return row


def _difference(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    return rates(first)[..., 2] - rates(second)[..., 2]
