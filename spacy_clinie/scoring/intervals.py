"""How sure a score is: percentile bootstrap over documents.

Documents are drawn, not annotations: those of one note stand and fall together, and intervals that take them as
independent come out too narrow. (Efron and Tibshirani 1993, chapters 13 and 16.)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ClinieError
from .counts import Counts, rates

CONFIDENCE = 0.95
RESAMPLES = 1000


def resample(columns: NDArray, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Draw as many documents as there are, with replacement, again and again.

    columns (NDArray): What is to be summed over documents; shape (documents, columns).
    seed (int): The same seed draws the same documents, whatever the columns.
    resamples (int): How often.
    RETURNS (NDArray[np.float64]): The sums; shape (resamples, columns).
    """
    documents = len(columns)
    columns = np.asarray(columns, dtype=np.float64)
    random = np.random.default_rng(seed)
    sums = np.empty((resamples, columns.shape[1]))
    for i in range(resamples):
        sums[i] = np.bincount(random.integers(documents, size=documents), minlength=documents) @ columns
    return sums


def interval(samples: NDArray) -> NDArray[np.float64]:
    """The middle 95 % of some samples.

    samples (NDArray): Shape (resamples, ...).
    RETURNS (NDArray[np.float64]): Lower and upper bound; shape (2, ...).
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    return np.percentile(samples, [tail, 100 - tail], axis=0)


def paired_difference(a: Counts, b: Counts, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Whether one prediction is better than another on the same documents, by micro F1.

    Both are scored on the same resampled documents. The p-value is how often a resampled difference lies at least as
    far from the observed one as that lies from zero, the observed one counted in, so it is never 0.

    a (Counts): Of the first prediction.
    b (Counts): Of the second prediction.
    seed (int): Seed of the resampling.
    resamples (int): How often to resample.
    RETURNS (dict[str, Any]): `difference` (F1 of `a` less F1 of `b`), `interval` ([low, high]), `p_value`
        (two-sided) and `documents`. With fewer than two documents there is no telling: both are None.
    RAISES (ClinieError): CIE404 if the documents or their gold are not the same.
    """
    sums = [counts.table.sum(axis=1) for counts in (a, b)]
    gold = [table[:, 0] + table[:, 2] for table in sums]
    if a.documents != b.documents or not np.array_equal(*gold):
        raise ClinieError("CIE404", first=len(a.documents), second=len(b.documents))
    columns = np.hstack(sums)
    difference = _difference(columns.sum(axis=0))
    result: dict[str, Any] = {
        "difference": float(difference),
        "interval": None,
        "p_value": None,
        "documents": len(a.documents),
    }
    if len(columns) > 1 and resamples:
        samples = _difference(resample(columns, seed=seed, resamples=resamples))
        as_far = np.abs(samples - difference) >= abs(difference)
        result["interval"] = interval(samples).tolist()
        result["p_value"] = float((as_far.sum() + 1) / (resamples + 1))
    return result


def _difference(sums: NDArray) -> NDArray[np.float64]:
    return rates(sums[..., :3])[..., 2] - rates(sums[..., 3:])[..., 2]
