"""One corpus left out, against figures that are worked out by hand."""

from typing import Any

import pytest
from pandas import isna

from spacy_clinie.study.report.layout import Table
from spacy_clinie.study.report.loo import loo_part
from spacy_clinie.study.report.manifests import read_study

from .study_maker import StudyMaker, few, flat, make_fold, same, texts


def loo(maker: StudyMaker) -> tuple[Table, dict[str, dict[str, Any]]]:
    """The table of concepts, and gains by corpus."""
    part = loo_part(read_study(maker.write()))
    (table,) = part.view["loo"][0]["tables"]
    records = part.csv["loo"]
    return table, {one["corpus"]: one for one in records[records.stage == "gain"].to_dict("records")}


@pytest.mark.parametrize(("documents", "between"), [(1, ""), (2, "+0.250 to +0.250")])
def test_one_document_gives_no_interval(maker: StudyMaker, documents: int, between: str) -> None:
    for multitask, counts in ((True, [3, 1, 1]), (False, [1, 1, 1])):
        # What has nothing to score tells nothing either.
        few(maker, "phee", 0, multitask, flat([counts] * documents + [[0, 0, 0]] * 5))
    found, gains = loo(maker)
    assert (found.rows[0][4].text, found.rows[0][4].more) == ("+0.250", between)
    assert isna(gains["phee"].get("gain_low")) == (documents == 1)


def test_draws_with_other_test_documents_are_not_paired(maker: StudyMaker) -> None:
    few(maker, "phee", 0, True, same(3, 1, 1))
    few(maker, "phee", 0, False, same(1, 1, 1))
    few(maker, "phee", 1, True, same(3, 1, 1))
    few(maker, "phee", 1, False, same(3, 1, 1, documents=9))
    found, _ = loo(maker)
    assert found.rows[0][4].text == "+0.250"


def test_all_stages_and_gains(maker: StudyMaker) -> None:
    for corpus, gains in (("phee", True), ("chia", False), ("ddi2013", True)):
        maker.done(make_fold("loo", "encoder-mrc", corpus, "multi", multitask=True))
        maker.done(make_fold("loo", "encoder-mrc", corpus, "zero", multitask=True), {"concepts": same(1, 4, 4)})
        few(maker, corpus, 0, True, same(3, 1, 1))  # 0.75
        few(maker, corpus, 1, True, same(2, 2, 2))  # 0.5
        few(maker, corpus, 0, False, same(1, 1, 1) if gains else same(4, 1, 1))  # 0.5, 0.8
        maker.done(make_fold("loo", "encoder-mrc", corpus), {"concepts": same(9, 1, 1)})
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=1))
    found, records = loo(maker)
    group = "5 shots"
    heads = [
        ("", "Held out"),
        ("", "Zero-shot"),
        (group, "multi-task"),
        (group, "alone"),
        (group, "gain"),
        ("", "Full"),
    ]
    assert [head[:2] for head in found.heads] == heads
    assert texts(found) == [
        # Draw 1 has no counterpart yet: the gain is that of draw 0 alone.
        ["phee", "0.200", "0.625", "0.500", "+0.250", "0.900"],
        ["chia", "0.200", "0.625", "0.800", "−0.050", "0.900"],
        ["ddi2013", "0.200", "0.625", "0.500", "+0.250", "0.900"],
        ["Mean", "0.200", "0.625", "0.600", "+0.150", "0.900"],
    ]
    assert found.rows[0][2].more == "0.500–0.750"
    # All documents are alike: drawn again, they are the same.
    assert found.rows[0][4].more == "+0.250 to +0.250"
    assert found.rows[3][4].more == "+0.150 to +0.150; 2 of 3 gain"
    assert [[row[i].strong for i in (2, 3)] for row in found.rows[:2]] == [[True, False], [False, True]]
    gain = records["(mean)"]
    assert (gain["gain"], gain["gaining"], gain["corpora"]) == (pytest.approx(0.15), 2, 3)


def test_mean_is_over_corpora_with_all_scores(maker: StudyMaker) -> None:
    for corpus in ("phee", "chia"):
        maker.done(make_fold("loo", "encoder-mrc", corpus, "zero", multitask=True), {"concepts": same(1, 4, 4)})
        few(maker, corpus, 0, True, same(3, 1, 1))
        maker.done(make_fold("loo", "encoder-mrc", corpus), {"concepts": same(9, 1, 1)})
    few(maker, "phee", 0, False, same(1, 1, 1))
    found, _ = loo(maker)
    assert texts(found)[2] == ["Mean", "0.200", "0.750", "0.500", "+0.250", "0.900"]
    assert found.rows[2][1].more == "of 1"


def test_no_mean_without_a_corpus_with_all_scores(maker: StudyMaker) -> None:
    for corpus in ("phee", "chia"):
        few(maker, corpus, 0, True, same(3, 1, 1))
        few(maker, corpus, 0, False, same(1, 1, 1))
    found, gains = loo(maker)
    assert texts(found)[2] == ["Mean", "–", "–", "–", "–", "–"]
    assert gains.keys() == {"phee", "chia"}


def test_interval_of_a_gain_resamples_documents(maker: StudyMaker) -> None:
    """Of two corpora, each with two draws: the multi-task stage helps half of the documents and harms the others."""
    uneven = {"Drug": [[4, 0, 0], [0, 4, 4]] * 10}
    for corpus in ("phee", "chia"):
        for draw in (0, 1):
            few(maker, corpus, draw, True, uneven)
            few(maker, corpus, draw, False, same(2, 2, 2, documents=20))
    alone = loo(maker)[1]["phee"]
    assert alone["gain"] == pytest.approx(0, abs=1e-9)
    # F1 is the share of the documents that it helps; of 20 drawn ones, its standard deviation is 0.11.
    assert -0.3 < alone["gain_low"] < -0.15
    assert 0.15 < alone["gain_high"] < 0.3


def test_full_training_alone(maker: StudyMaker) -> None:
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(9, 1, 1)})
    assert texts(loo(maker)[0]) == [["phee", "–", "0.900"]]
