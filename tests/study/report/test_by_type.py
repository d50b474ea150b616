"""Types of concepts."""

from spacy_clinie.study.report.by_type import types_part
from spacy_clinie.study.report.manifests import read_study

from .study_maker import StudyMaker, make_fold, texts


def test_types_are_sorted_by_frequency(maker: StudyMaker) -> None:
    counts = {"ADE": [[1, 1, 0]] * 4, "Drug": [[3, 1, 1]] * 4, "Other": [[0, 1, 0]] * 4}
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": counts})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": {"Drug": [[4, 0, 0]] * 4}})
    (phee,) = types_part(read_study(maker.write())).view["types"]
    assert texts(phee["table"]) == [["Drug", "16", "0.750", "1.000"], ["ADE", "4", "0.667", "–"]]
    assert [cell.strong for cell in phee["table"].rows[0]] == [False, False, False, True]
    assert "Drug (16)" in phee["figure"].svg
