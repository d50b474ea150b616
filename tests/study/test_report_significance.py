"""Differences between arms: by chance, or not."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from spacy_clinie.scoring.counts import rates
from spacy_clinie.study.report import significance
from spacy_clinie.study.report.manifests import read_study
from spacy_clinie.study.report.significance import compare, holm, randomization

from .test_report_manifests import StudyMaker, flat, make_fold, same


@pytest.fixture
def maker(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path)


def test_equal_answers_do_not_differ() -> None:
    table = np.random.default_rng(0).integers(0, 9, size=(30, 3))
    assert randomization(table, table) == (0.0, 1.0)


def test_an_arm_that_is_better_on_every_document_is_better() -> None:
    good, bad = np.tile([8, 2, 2], (20, 1)), np.tile([5, 5, 5], (20, 1))
    difference, p = randomization(good, bad)
    assert difference == pytest.approx(0.8 - 0.5)
    assert 0 < p < 0.01
    assert randomization(bad, good) == (pytest.approx(-difference), p)


def test_the_p_value_is_that_of_all_exchanges() -> None:
    random = np.random.default_rng(3)
    right, other = random.integers(0, 7, size=(2, 8))
    first = np.stack([right, 7 - right, 7 - right], axis=1)
    second = np.stack([other, 7 - other, 7 - other], axis=1)
    seen = abs(rates(first.sum(axis=0))[2] - rates(second.sum(axis=0))[2])
    as_far = 0
    for own in product((True, False), repeat=len(first)):
        pick = np.array(own)[:, None]
        one, two = np.where(pick, first, second).sum(axis=0), np.where(pick, second, first).sum(axis=0)
        as_far += abs(rates(one)[2] - rates(two)[2]) >= seen - 1e-12
    expected = as_far / 2 ** len(first)
    assert 0.05 < expected < 0.95
    assert randomization(first, second)[1] == pytest.approx(expected, abs=0.015)


def test_shuffles_are_seeded() -> None:
    first, second = np.random.default_rng(5).integers(0, 9, size=(2, 12, 3))
    assert randomization(first, second, seed=1) == randomization(first, second, seed=1)
    assert randomization(first, second, seed=1)[1] != randomization(first, second, seed=2)[1]


@pytest.mark.parametrize("documents", [0, 1])
def test_next_to_no_documents(documents: int) -> None:
    assert randomization(np.full((documents, 3), 2), np.full((documents, 3), 1))[1] == 1.0


def test_holm_by_hand() -> None:
    # Smallest first: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_only_the_same_documents_and_gold_are_compared(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(5, 5, 5)})
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(8, 2, 2, documents=9)})
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(8, 2, 1)})
    counts = {"strict": [[8, 2, 2]] * 10, "lenient": [[8, 2, 2]] * 10}
    others = {"ids": [f"other-{i}" for i in range(10)], "concepts": counts}
    maker.done(make_fold("single", "decoder-full", "phee"), {"concepts": same(8, 2, 2)}, documents=others)
    found = {(one.first.arm, one.second.arm): one for one in compare(read_study(maker.write()).outcomes, "concepts")}
    assert len(found) == 10
    assert [pair for pair, one in found.items() if one.p is not None] == [("encoder-tagger", "encoder-mrc")]
    one = found["encoder-tagger", "encoder-mrc"]
    assert (one.documents, one.difference, one.corrected) == (10, pytest.approx(0.3), one.p)


def test_all_corpora_of_a_task_are_one_family(maker: StudyMaker) -> None:
    for corpus in ("phee", "chia", "ddi2013"):
        maker.done(make_fold("single", "encoder-tagger", corpus), {"concepts": same(8, 2, 2)})
        maker.done(make_fold("single", "encoder-mrc", corpus), {"concepts": same(5, 5, 5)})
    found = compare(read_study(maker.write()).outcomes, "concepts")
    assert [one.corrected for one in found] == [pytest.approx(3 * one.p) for one in found]  # type: ignore[operator]


def test_of_many_comparisons_the_clear_ones_are_significant(maker: StudyMaker) -> None:
    """With so many shuffles that Holm's correction of the least possible p-value is below the level."""
    for i in range(40):
        maker.done(make_fold("single", "encoder-mrc", "phee", base=f"minilm={i}"), {"concepts": same(5, 5, 5)})
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(8, 2, 2, documents=10)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(significance, "LEAST", 1000)
        found = compare(read_study(maker.write()).outcomes, "concepts")
    assert len(found) == 41 * 40 / 2
    assert sum(one.difference == pytest.approx(0) for one in found) == 40 * 39 / 2
    # Of ten documents all exchanged or none: 2 in 1,024.
    assert all(0.0014 < one.p < 0.0026 for one in found if one.first.arm != one.second.arm)  # type: ignore[operator]


def test_shuffling_ends_once_enough_is_known() -> None:
    table = np.random.default_rng(1).integers(0, 9, size=(2, 12, 3))
    assert randomization(*table, shuffles=20 * significance.LEAST) == randomization(*table)
    # A difference that hardly any shuffle reaches is looked at longer.
    good, bad = np.tile([8, 2, 2], (12, 1)), np.tile([5, 5, 5], (12, 1))
    assert randomization(good, bad, shuffles=20 * significance.LEAST) != randomization(good, bad)


def test_a_handful_of_documents_cannot_tell(maker: StudyMaker) -> None:
    for documents, corpus in ((5, "phee"), (6, "chia")):
        maker.done(make_fold("single", "encoder-tagger", corpus), {"concepts": same(8, 2, 2, documents=documents)})
        maker.done(make_fold("single", "encoder-mrc", corpus), {"concepts": same(5, 5, 5, documents=documents)})
    few, enough = compare(read_study(maker.write()).outcomes, "concepts")
    assert (few.p, few.corrected, few.significant) == (None, None, False)
    assert few.difference == enough.difference == pytest.approx(0.3)
    assert enough.corrected == enough.p is not None


def test_a_task_with_nothing_to_find_is_not_compared(maker: StudyMaker) -> None:
    for arm in ("encoder-tagger", "encoder-mrc"):
        maker.done(make_fold("single", arm, "phee"), {"relations": flat([[0, 0, 0], [0, 1, 0]])})
    assert compare(read_study(maker.write()).outcomes, "relations") == []
