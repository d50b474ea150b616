"""Answer formats: what is written, and that it is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.prompts.formats import Format, InlineMarks, MentionList
from spacy_clinie.prompts.grounding import ground
from tests.prompts.conftest import LABELS, TEXT

FORMATS = [InlineMarks(), MentionList()]
SPANS = [(5, 12, 0), (5, 17, 2), (13, 17, 1), (28, 32, 1), (39, 46, 0)]


def test_inline_marks_are_put_into_a_copy() -> None:
    expected = "Took«« aspirin»Drug»« 25mg»Finding»»Order» for pain.\n«Rash»Finding» after« aspirin»Drug»."
    assert InlineMarks().answer_text(TEXT, SPANS, LABELS) == expected


def test_a_list_has_a_line_for_each_mention() -> None:
    expected = "aspirin»Drug\naspirin 25mg»Order\n25mg»Finding\nRash»Finding\naspirin»Drug\n"
    assert MentionList().answer_text(TEXT, SPANS, LABELS) == expected


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
def test_a_written_answer_is_parsed_and_grounded(form: Format) -> None:
    mentions, complete = form.parse(form.answer_text(TEXT, SPANS, LABELS), TEXT, LABELS)
    found, rejected = ground(TEXT, mentions, LABELS)
    assert complete
    assert sorted((one.start, one.stop, LABELS.index(one.label)) for one in found) == sorted(SPANS)
    assert not rejected


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
def test_a_single_label_is_not_written(form: Format) -> None:
    spans = [(5, 12, 0), (39, 46, 0)]
    answer = form.answer_text(TEXT, spans, ["Drug"])
    assert "Drug" not in answer
    found, _ = ground(TEXT, form.parse(answer, TEXT, ["Drug"]).mentions, ["Drug"])
    assert [one[:3] for one in found] == [(5, 12, "Drug"), (39, 46, "Drug")]


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(answer=st.text(st.sampled_from("«»\n aDrug")), labels=st.sampled_from([["Drug"], LABELS]))
def test_any_text_can_be_parsed_and_only_text_of_the_window_is_found(
    form: Format, answer: str, labels: list[str]
) -> None:
    mentions, _ = form.parse(answer, TEXT, labels)
    found, rejected = ground(TEXT, mentions, labels)
    assert len(found) + rejected.total() == len(mentions)
    for one in found:
        assert TEXT[one.start : one.stop].strip()
        assert one.label in labels
