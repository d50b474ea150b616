"""Confidence intervals: percentile bootstrap over documents (Efron and Tibshirani 1993, chapter 13).

Documents are resampled, not annotations: those of one note are correlated, and treating them as independent would make
intervals too narrow.
"""

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000


def resample(columns: NDArray, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Draw bootstrap samples of documents and sum their values.

    columns (NDArray): Values per document; shape (documents, columns).
    seed (int): Seed. It determines the samples, independent of the values.
    resamples (int): Number of samples.
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
    """The central 95 % of samples.

    samples (NDArray): Shape (resamples, ...).
    RETURNS (NDArray[np.float64]): Lower and upper bound; shape (2, ...).
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    return np.percentile(samples, [tail, 100 - tail], axis=0)
