"""Tables and figures as they are printed."""

import math

from pandas import DataFrame

from spacy_clinie.study.report.layout import Cell, Table, bounds, counted, signed, size


def test_numbers_are_written_with_their_units_and_signs() -> None:
    assert [signed(value) for value in (0.0126, -0.0126, 0.0, -0.0001)] == ["+0.013", "−0.013", "0.000", "0.000"]
    assert [size(count) for count in (12, 1500, 999_000, 3.4e9)] == ["12 B", "1.5 kB", "999 kB", "3.4 GB"]
    assert [bounds(0.1, 0.25), bounds(math.nan, math.nan)] == ["0.100–0.250", ""]
    assert [counted(1, "corpus", "corpora"), counted(2000, "fold")] == ["1 corpus", "2,000 folds"]


def test_columns_without_text_are_numeric() -> None:
    frame = DataFrame({"a": [Cell("phee")], "b": ["text"], "c": [1200], "d": [None], "e": [Cell("failed")]})
    table = Table("Title", frame)
    assert table.heads == [("", "a", False), ("", "b", False), ("", "c", True), ("", "d", True), ("", "e", True)]
    assert [cell.text for cell in table.rows[0]] == ["phee", "text", "1,200", "–", "failed"]
    assert not Table("Title", frame[:0])
