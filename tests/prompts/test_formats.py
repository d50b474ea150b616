"""Answers as text: for examples in a prompt, other trainers and other engines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.prompts.formats import Format, InlineMarks, MentionList
from spacy_clinie.prompts.grounding import Grounded, ground
from spacy_clinie.prompts.machines import DEEPEST

FORMATS = [InlineMarks(), MentionList()]
TEXT = "Took aspirin 25mg for pain.\nRash after aspirin."
SPANS = [(5, 12, 0), (5, 17, 2), (13, 17, 1), (28, 32, 1), (39, 46, 0)]
LABELS = ["Drug", "Finding", "Order"]


def test_marks_stand_in_the_copied_text() -> None:
    expected = "Took«« aspirin»Drug»« 25mg»Finding»»Order» for pain.\n«Rash»Finding» after« aspirin»Drug»."
    assert InlineMarks().text(TEXT, SPANS, LABELS) == expected


def test_a_list_has_a_line_for_each_mention() -> None:
    expected = "aspirin»Drug\naspirin 25mg»Order\n25mg»Finding\nRash»Finding\naspirin»Drug\n"
    assert MentionList().text(TEXT, SPANS, LABELS) == expected


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
def test_what_is_written_as_text_is_found_again(form: Format) -> None:
    found, rejected = ground(TEXT, form.parse(form.text(TEXT, SPANS, LABELS), LABELS), LABELS)
    assert sorted((one.start, one.stop, LABELS.index(one.label)) for one in found) == sorted(SPANS)
    assert not rejected


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
def test_a_single_label_is_not_written(form: Format) -> None:
    spans = [(5, 12, 0), (39, 46, 0)]
    answer = form.text(TEXT, spans, ["Drug"])
    assert "Drug" not in answer
    found, _ = ground(TEXT, form.parse(answer, ["Drug"]), ["Drug"])
    assert [one[:3] for one in found] == [(5, 12, "Drug"), (39, 46, "Drug")]


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(answer=st.text(st.sampled_from("«»\n aDrug")), labels=st.sampled_from([["Drug"], LABELS]))
def test_any_answer_can_be_read_and_only_what_is_there_is_found(form: Format, answer: str, labels: list[str]) -> None:
    mentions = list(form.parse(answer, labels))
    found, rejected = ground(TEXT, mentions, labels)
    assert len(found) + rejected.total() == len(mentions)
    for one in found:
        assert TEXT[one.start : one.stop].strip()
        assert one.label in labels


@pytest.mark.parametrize(
    ("mention", "expected"),
    [
        (("aspirin", "Drug"), Grounded(5, 12, "Drug", "order")),
        (("pain", "finding"), Grounded(22, 26, "Finding", "exact")),
        (("rash", "Finding"), Grounded(28, 32, "Finding", "spelling")),
        (("PAIN. Rash", "Finding"), Grounded(22, 32, "Finding", "spelling")),
    ],
)
def test_words_are_found_with_a_status(mention: tuple[str, str], expected: Grounded) -> None:
    assert ground(TEXT, [mention], LABELS) == ([expected], {})


@pytest.mark.parametrize(
    ("mention", "reason"),
    [
        (("aspi", "Drug"), "text"),
        (("ibuprofen", "Drug"), "text"),
        (("pain", "Route"), "label"),
        ((" ", "Drug"), "empty"),
    ],
)
def test_what_is_not_there_is_rejected_and_counted(mention: tuple[str, str], reason: str) -> None:
    assert ground(TEXT, [mention], LABELS) == ([], {reason: 1})


def test_order_resolves_repeats() -> None:
    mentions = [("Rash", "Finding"), ("aspirin", "Drug"), ("aspirin", "Drug"), ("aspirin", "Drug")]
    found, rejected = ground(TEXT, mentions, LABELS)
    assert [(one.start, one.status) for one in found] == [(28, "exact"), (39, "order"), (5, "moved")]
    assert rejected == {"repeated": 1}


def test_marks_without_end_are_read_in_good_time() -> None:
    """Reading that is quadratic in the depth of marks would take minutes."""
    answer = "«a" * 100_000 + "»Drug»" * 100_000
    assert len(list(InlineMarks().parse(answer, ["Drug", "ADE"]))) == DEEPEST
