import numpy as np
import pytest

from spacy_clinie.scoring.counts import Counts, rates
from spacy_clinie.scoring.intervals import interval, resample


def counts(right):
    """One gold annotation and one prediction a document, right or wrong."""
    table = np.array([[[1, 0, 0] if hit else [0, 1, 1]] for hit in right])
    return Counts([f"d{i}" for i in range(len(right))], ["Drug"], table)


def flips(size, share, seed):
    return np.random.default_rng(seed).random(size) < share


def test_resample_draws_whole_documents():
    columns = np.array([[1, 10], [1, 20], [1, 40], [1, 80]])
    sums = resample(columns, seed=0, resamples=400)
    assert sums.shape == (400, 2)
    assert (sums[:, 0] == 4).all()
    assert len(np.unique(sums[:, 1])) > 20
    assert sums[:, 1].mean() == pytest.approx(150, abs=10)


def test_resample_is_seeded_and_draws_the_same_for_all_columns():
    columns = np.arange(30).reshape(10, 3)
    sums = resample(columns, seed=4, resamples=50)
    assert np.array_equal(sums, resample(columns, seed=4, resamples=50))
    assert np.array_equal(sums[:, 1:], resample(columns[:, 1:], seed=4, resamples=50))
    assert not np.array_equal(sums, resample(columns, seed=5, resamples=50))


def test_interval_has_the_width_that_theory_gives():
    right = flips(400, 0.7, seed=1)
    samples = rates(resample(counts(right).table[:, 0], seed=0, resamples=2000))[:, 2]
    low, high = interval(samples)
    share = right.mean()
    error = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert low == pytest.approx(share - error, abs=0.006)
    assert high == pytest.approx(share + error, abs=0.006)
