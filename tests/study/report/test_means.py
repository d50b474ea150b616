"""Means, and which of them stand out."""

from pandas import DataFrame

from spacy_clinie.study.report.means import score_cells


def test_best_scores_are_bold_unless_all_look_the_same() -> None:
    def strong(*values: float) -> list[bool]:
        found = DataFrame({"f1": values, "corpus": "phee"})
        return [cell.strong for cell in score_cells(found.assign(low=None, high=None), ["corpus"])]

    assert strong(0.5, 0.7) == [False, True]
    assert strong(0.7, 0.5, 0.70001) == [True, False, True]  # they read the same
    assert strong(0.0, 0.00001) == [False, False]
    assert strong(0.7) == [False]
