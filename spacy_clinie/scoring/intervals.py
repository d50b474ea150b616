"""How sure a score is: percentile bootstrap over documents.

Documents are drawn, not annotations: those of one note stand and fall together, and intervals that take them as
independent come out too narrow. (Efron and Tibshirani 1993, chapters 13 and 16.)
"""

import numpy as np
from numpy.typing import NDArray

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
