"""Every arm on every corpus, against figures that are worked out by hand."""

from spacy_clinie.study.report.layout import Part
from spacy_clinie.study.report.manifests import read_study
from spacy_clinie.study.report.single import significance_part, single_part

from .study_maker import StudyMaker, flat, make_fold, same, texts


def single(maker: StudyMaker) -> Part:
    return single_part(read_study(maker.write()))


def test_f1_and_mean_over_corpora_that_all_arms_have(maker: StudyMaker) -> None:
    # F1 = 2 tp / (2 tp + fp + fn): 6/8, 4/8, 8/10, 2/10.
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)}, same(4, 0, 0))
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(2, 2, 2)})
    maker.done(make_fold("single", "encoder-tagger", "chia"), {"concepts": same(4, 1, 1)})
    maker.done(make_fold("single", "encoder-mrc", "chia"), {"concepts": same(1, 4, 4)})
    maker.done(make_fold("single", "encoder-tagger", "ddi2013"), {"concepts": same(9, 0, 2)})
    maker.fail(make_fold("single", "encoder-mrc", "ddi2013"), "ValueError")
    concepts, _, end_to_end = single(maker).view["single"]
    found = concepts["table"]
    assert texts(found) == [
        ["phee", "0.750", "1.000", "0.500", "0.500"],
        ["chia", "0.800", "0.800", "0.200", "0.200"],
        ["ddi2013", "0.900", "0.900", "failed", "–"],
        ["Mean", "0.775", "0.900", "0.350", "0.350"],
    ]
    assert found.rows[0][0].more == "40 in 10 documents"
    assert [cell.more for cell in found.rows[0][1:3]] == ["0.750–0.750", ""]
    assert [[cell.strong for cell in row[1:]] for row in found.rows[:2]] == [[True, True, False, False]] * 2
    # Alone in its row it is not the best of anything.
    assert not any(cell.strong for cell in found.rows[2])
    assert concepts["common"] == ["phee", "chia"]
    assert end_to_end["table"] is None


def test_several_seeds_have_a_mean_and_a_range(maker: StudyMaker) -> None:
    for seed, counts in enumerate((same(3, 1, 1), same(2, 2, 2), same(4, 0, 0))):
        maker.done(make_fold("single", "encoder-tagger", "phee", seed=seed), {"concepts": counts})
    part = single(maker)
    cell = part.view["single"][0]["table"].rows[0][1]
    assert (cell.text, cell.more) == ("0.750", "0.500–1.000")
    record = part.csv["single"].iloc[0]
    assert [record[name] for name in ("f1", "low", "high", "bounds", "folds")] == [0.75, 0.5, 1.0, "range", 3]


def test_a_corpus_without_relations_has_no_score(maker: StudyMaker) -> None:
    nothing = flat([[0, 1, 0], [0, 0, 0]])
    for arm in ("encoder-pairs", "encoder-mrc"):
        maker.done(make_fold("single", arm, "phee"), {"relations_gold": same(3, 1, 1)})
        maker.done(make_fold("single", arm, "chia"), {"relations_gold": nothing})
    found = single(maker).view["single"][1]["table"]
    assert texts(found)[1] == ["chia", "none in gold", "–", "none in gold", "–"]
    assert found.rows[2][0].more == "of 1 corpus"


def test_empty_cell_names_the_state_of_the_unfinished_fold(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"relations_gold": same(3, 1, 1)})
    maker.done(make_fold("single", "encoder-mrc", "chia"), {"relations_gold": flat([[0, 1, 0]])})
    maker.plan(make_fold("single", "encoder-mrc", "chia", seed=1))
    maker.fail(make_fold("single", "encoder-mrc", "chia", seed=2), "ValueError")
    assert texts(single(maker).view["single"][1]["table"])[1] == ["chia", "not yet run", "–"]


def test_differences_with_their_p_values(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(5, 5, 5)})
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(8, 2, 2, documents=9)})
    (concepts,) = significance_part(read_study(maker.write())).view["significance"]
    rows = concepts["table"].rows
    apart = "not comparable"
    assert [row[2].text for row in rows] == ["+0.300", "0.000", apart, "−0.300", apart, apart]
    assert [row[2].strong for row in rows] == [True, False, False, True, False, False]
    assert rows[1][2].more == "p = 1.000"
    assert [concepts[name] for name in ("made", "significant", "apart", "few")] == [3, 2, 3, 0]
