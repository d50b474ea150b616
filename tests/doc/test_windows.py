import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.doc.windows import make_windows, sentence_starts
from spacy_clinie.errors import ClinieError


@given(st.integers(0, 300), st.integers(4, 60), st.integers(0, 29), st.sets(st.integers(1, 300)))
def test_every_position_is_owned_once_and_inside_its_window(
    length: int, size: int, overlap: int, breaks: set[int]
) -> None:
    overlap = min(overlap, (size - 1) // 2)
    windows = make_windows(length, size, overlap, sorted(breaks))
    owned = [i for window in windows for i in range(window.own_start, window.own_stop)]
    assert owned == list(range(length))
    for window in windows:
        assert window.start <= window.own_start < window.own_stop <= window.stop
        assert window.stop - window.start <= size


def test_windows_end_at_breaks_where_they_can() -> None:
    assert [window[:2] for window in make_windows(20, 10, 2, [3, 7, 9])] == [(0, 9), (9, 19), (17, 20)]
    assert [window[:2] for window in make_windows(20, 10, 2)] == [(0, 10), (8, 18), (16, 20)]
    with pytest.raises(ClinieError, match="CIE301"):
        make_windows(20, 10, 5)


def test_sentences_of_notes() -> None:
    doc = spacy.blank("en")("Pain gone. Takes 0.5 mg of\nfolate.\n\nPLAN\n- Stop e.g. aspirin\n- Rest")
    assert [doc[i:].text.split("\n")[0] for i in sentence_starts(doc)] == [
        "Pain gone. Takes 0.5 mg of",
        "Takes 0.5 mg of",
        "PLAN",
        "- Stop e.g. aspirin",
        "- Rest",
    ]
    assert sentence_starts(spacy.blank("en")("")) == []


def test_boundaries_of_the_pipeline_are_taken_too() -> None:
    nlp = spacy.blank("en")
    doc = nlp("Pain gone. Rest")
    doc[1].is_sent_start = True
    assert sentence_starts(doc) == [0, 1, 3]


def test_a_sentencizer_takes_no_line_end_away() -> None:
    nlp = spacy.blank("en")
    text = "Drug 7 mg daily\nRash seen. Dr. Who came\nand left"
    alone = sentence_starts(nlp(text))
    nlp.add_pipe("sentencizer")
    doc = nlp(text)
    doc[1].is_sent_start = True
    assert sentence_starts(doc) == sorted({*alone, 1})
