"""Differences between arms: by chance, or not."""

from itertools import product

import numpy as np
import pytest

from spacy_clinie.scoring.counts import rates
from spacy_clinie.study.report import significance
from spacy_clinie.study.report.manifests import read_study
from spacy_clinie.study.report.significance import compare, randomization

from .study_maker import StudyMaker, flat, make_fold, same


def test_equal_predictions_do_not_differ() -> None:
    table = np.random.default_rng(0).integers(0, 9, size=(30, 3))
    assert randomization(table, table) == 1.0


def test_difference_on_every_document_is_significant() -> None:
    good, bad = np.tile([8, 2, 2], (20, 1)), np.tile([5, 5, 5], (20, 1))
    assert 0 < randomization(good, bad) < 0.01
    assert randomization(bad, good) == randomization(good, bad)


def test_few_documents_get_the_exact_p_value() -> None:
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
    assert 0.05 < as_far / 2 ** len(first) < 0.95
    assert randomization(first, second) == as_far / 2 ** len(first)
    # With fewer exchanges than there are, some are drawn.
    assert randomization(first, second, exchanges=200) == pytest.approx(as_far / 2 ** len(first), abs=0.15)


def test_exchanges_are_seeded_and_include_the_observed_result() -> None:
    first, second = np.random.default_rng(5).integers(0, 9, size=(2, 30, 3))
    assert randomization(first, second) == randomization(first, second)
    good, bad = np.tile([8, 2, 2], (40, 1)), np.tile([5, 5, 5], (40, 1))
    assert randomization(good, bad, exchanges=999) == 1 / 1000


def test_only_the_same_documents_and_gold_are_compared(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(5, 5, 5)})
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(8, 2, 2, documents=9)})
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(8, 2, 1)})
    counts = {"strict": [[8, 2, 2]] * 10, "lenient": [[8, 2, 2]] * 10}
    others = {"ids": [f"other-{i}" for i in range(10)], "concepts": counts}
    maker.done(make_fold("single", "decoder-full", "phee"), {"concepts": same(8, 2, 2)}, documents=others)
    found = compare(read_study(maker.write()).scores, "concepts")
    assert len(found) == 10
    (one,) = found[found.p.notna()].itertuples()
    assert (one.first_arm, one.second_arm) == ("encoder-tagger", "encoder-mrc")
    assert (one.documents, one.difference, one.p_holm) == (10, pytest.approx(0.3), one.p)
    assert found[found.p.isna()].difference.isna().all()
    assert set(found[found.p.isna()].documents) == {0}


def test_lowest_common_seed_is_compared(maker: StudyMaker) -> None:
    for seed, tp in ((2, 9), (1, 8), (0, 7)):
        maker.done(make_fold("single", "encoder-tagger", "phee", seed=seed), {"concepts": same(tp, 2, 10 - tp)})
    for seed, tp in ((2, 6), (1, 5)):
        maker.done(make_fold("single", "encoder-mrc", "phee", seed=seed), {"concepts": same(tp, 2, 10 - tp)})
    (one,) = compare(read_study(maker.write()).scores, "concepts").itertuples()
    assert one.difference == pytest.approx(16 / 20 - 10 / 17)


def test_holm_corrects_for_all_corpora_of_a_task(maker: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"phee": 0.01, "chia": 0.04, "ddi2013": 0.03, "mine": 0.005}
    for corpus in values:
        maker.done(make_fold("single", "encoder-tagger", corpus), {"concepts": same(8, 2, 2)})
        maker.done(make_fold("single", "encoder-mrc", corpus), {"concepts": same(5, 5, 5)})
    drawn = iter(values.values())
    monkeypatch.setattr(significance, "randomization", lambda *_, **__: next(drawn))
    found = compare(read_study(maker.write()).scores, "concepts")
    # Smallest first: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not fall below the one before.
    assert list(found.p_holm) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_many_comparisons_get_more_exchanges(maker: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        maker.done(make_fold("single", "encoder-mrc", "phee", base=f"minilm={i}"), {"concepts": same(5, 5, 5)})
    drawn: list[int] = []
    monkeypatch.setattr(significance, "LEAST", 10)
    monkeypatch.setattr(significance, "randomization", lambda *_, exchanges: drawn.append(exchanges) or 1.0)
    compare(read_study(maker.write()).scores, "concepts")
    assert len(drawn) == 12 * 11 / 2
    # The least possible p-value, after the correction for the first of them.
    assert len(drawn) / (drawn[0] + 1) < significance.LEVEL


def test_fewer_than_six_documents_get_no_p_value(maker: StudyMaker) -> None:
    for documents, corpus in ((5, "phee"), (6, "chia")):
        maker.done(make_fold("single", "encoder-tagger", corpus), {"concepts": same(8, 2, 2, documents=documents)})
        maker.done(make_fold("single", "encoder-mrc", corpus), {"concepts": same(5, 5, 5, documents=documents)})
    found = compare(read_study(maker.write()).scores, "concepts")
    assert list(found.difference) == pytest.approx([0.3, 0.3])
    assert list(found.p.isna()) == list(found.p_holm.isna()) == [True, False]
    assert found.p_holm[1] == found.p[1] == 2 / 2**6


def test_task_without_gold_annotations_is_not_compared(maker: StudyMaker) -> None:
    for arm in ("encoder-tagger", "encoder-mrc"):
        maker.done(make_fold("single", arm, "phee"), {"relations": flat([[0, 0, 0], [0, 1, 0]])})
    assert compare(read_study(maker.write()).scores, "relations").empty
