import numpy as np
import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.scoring.counts import Counts, rates
from spacy_clinie.scoring.intervals import interval, paired_difference, resample


def counts(right):
    """One gold annotation and one prediction a document, right or wrong."""
    table = np.array([[[1, 0, 0] if hit else [0, 1, 1]] for hit in right])
    return Counts([f"d{i}" for i in range(len(right))], ["Drug"], table)


def flips(size, share, seed):
    return np.random.default_rng(seed).random(size) < share


def test_rates_by_hand():
    assert rates(np.array([3, 1, 3])).tolist() == pytest.approx([0.75, 0.5, 0.6])
    assert rates(np.array([[0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0]])).tolist() == [[0.0] * 3] * 3 + [[1.0] * 3]


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


def test_no_difference():
    a = counts(flips(50, 0.7, seed=1))
    assert paired_difference(a, a) == {"difference": 0.0, "interval": [0.0, 0.0], "p_value": 1.0, "documents": 50}


def test_clear_difference():
    better, worse = counts(flips(200, 0.9, seed=1)), counts(flips(200, 0.6, seed=2))
    found = paired_difference(better, worse)
    shares = [c.table[:, 0, 0].mean() for c in (better, worse)]
    assert found["difference"] == pytest.approx(shares[0] - shares[1])
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["p_value"] == pytest.approx(1 / 1001)
    turned = paired_difference(worse, better)
    assert turned["difference"] == -found["difference"]
    assert turned["p_value"] == found["p_value"]


def test_difference_within_chance():
    right = flips(100, 0.7, seed=1)
    other = right.copy()
    other[:5] = ~other[:5]
    found = paired_difference(counts(right), counts(other))
    assert found["difference"] != 0
    assert found["p_value"] > 0.1
    assert found["interval"][0] < 0 < found["interval"][1]


def test_pairing_sees_small_steady_gains():
    """Two documents more out of a hundred, never one less: pairing sees what two separate intervals would not."""
    right = flips(100, 0.5, seed=1)
    better = right.copy()
    better[np.flatnonzero(~right)[:10]] = True
    found = paired_difference(counts(better), counts(right))
    assert found["difference"] == pytest.approx(0.1)
    assert found["interval"][0] > 0
    assert found["p_value"] < 0.05


@pytest.mark.parametrize("right", [[], [True]])
def test_too_few_documents_to_tell(right):
    table = np.array([[[1, 0, 0]]] * len(right), dtype=np.int64).reshape(-1, 1, 3)
    a = Counts(["d"] * len(right), ["Drug"], table)
    found = paired_difference(a, a)
    assert (found["interval"], found["p_value"]) == (None, None)


def test_other_documents_or_other_gold_cannot_be_compared():
    a, renamed, more_gold = counts([True, False]), counts([True, False]), counts([True, False])
    renamed.documents = ["d1", "d0"]
    more_gold.table[0, 0, 2] += 1
    for b in (renamed, more_gold, counts([True])):
        with pytest.raises(ClinieError, match="CIE404"):
            paired_difference(a, b)
