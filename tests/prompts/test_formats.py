"""Answers as text: for examples in a prompt, other trainers and other engines."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.prompts.formats import Format, InlineMarks, MentionList
from spacy_clinie.prompts.grounding import Grounded, Named, ground
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
    mentions, whole = form.parse(form.text(TEXT, SPANS, LABELS), TEXT, LABELS)
    found, rejected = ground(TEXT, mentions, LABELS)
    assert whole
    assert sorted((one.start, one.stop, LABELS.index(one.label)) for one in found) == sorted(SPANS)
    assert not rejected


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
def test_a_single_label_is_not_written(form: Format) -> None:
    spans = [(5, 12, 0), (39, 46, 0)]
    answer = form.text(TEXT, spans, ["Drug"])
    assert "Drug" not in answer
    found, _ = ground(TEXT, form.parse(answer, TEXT, ["Drug"]).mentions, ["Drug"])
    assert [one[:3] for one in found] == [(5, 12, "Drug"), (39, 46, "Drug")]


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(answer=st.text(st.sampled_from("«»\n aDrug")), labels=st.sampled_from([["Drug"], LABELS]))
def test_any_answer_can_be_read_and_only_what_is_there_is_found(form: Format, answer: str, labels: list[str]) -> None:
    mentions, _ = form.parse(answer, TEXT, labels)
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
    assert ground(TEXT, [Named(*mention)], LABELS) == ([expected], {})


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
    assert ground(TEXT, [Named(*mention)], LABELS) == ([], {reason: 1})


def test_order_resolves_repeats() -> None:
    mentions = [("Rash", "Finding"), ("aspirin", "Drug"), ("aspirin", "Drug"), ("aspirin", "Drug")]
    found, rejected = ground(TEXT, [Named(*one) for one in mentions], LABELS)
    assert [(one.start, one.status) for one in found] == [(28, "exact"), (39, "order"), (5, "moved")]
    assert rejected == {"repeated": 1}


def test_marks_without_end_are_read_in_good_time() -> None:
    """Reading that is quadratic in the depth of marks would take minutes."""
    answer = "«a" * 100_000 + "»Drug»" * 100_000
    assert len(InlineMarks().parse(answer, TEXT, ["Drug", "ADE"]).mentions) == DEEPEST


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, int]]]:
    """A text of words that come again and again, and some of them marked."""
    words = draw(
        st.lists(st.sampled_from(["rash", "no", "Rash", "25mg", "é", "ΐa", "头痛", "_x_", ",", "(pain)"]), min_size=1)
    )
    text = draw(st.sampled_from([" ", "  ", "\n"])).join(words)
    places = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    chosen = draw(st.lists(st.sampled_from(places), unique=True))
    return text, sorted((start, stop, draw(st.integers(0, 2))) for start, stop in chosen)


@given(marked_texts())
def test_a_copy_tells_the_place_of_every_mention(case: tuple[str, list[tuple[int, int, int]]]) -> None:
    text, spans = case
    mentions, whole = InlineMarks().parse(InlineMarks().text(text, spans, LABELS), text, LABELS)
    found, rejected = ground(text, mentions, LABELS)
    assert [(one.start, one.stop, LABELS.index(one.label)) for one in found] == spans
    assert {one.status for one in found} <= {"exact"}
    assert whole
    assert not rejected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        # Left out, put in, and written otherwise: the rest is where it was.
        ("No rash. Fever. Then rash.", "No rash. Then« rash»Drug».", [(21, 25)]),
        ("No rash. Then rash.", "Sure! No rash at all. Then« rash»Drug».", [(14, 18)]),
        ("NO RASH.\nThen rash  again.", "no rash. then rash« again»Drug».", [(20, 25)]),
        ("No rash, no rash.", "No« rush»Drug», no« rash»Drug».", [(12, 16)]),
        # The place is not told, but it is behind what was copied.
        ("Rash here. Rash there. Rash.", "Sure! Rash here.« rash»Drug»", [(11, 15)]),
        ("Rash. Rash here. Later rash", "Well: rash here« later  rash»Drug»", [(17, 27)]),
        # Only the end is copied, or one line of a list.
        ("pain in arm and pain in chest", "«pain»Drug» in chest", [(16, 20)]),
        ("- pain in arm\n- pain in leg", "- «pain»Drug» in leg", [(16, 20)]),
        # Marks of the text's own.
        ("Il dit «mal» et prend aspirine", "Il dit «mal» et prend« aspirine»Drug»", [(22, 30)]),
        ("dit «rash» puis", "dit ««rash»Drug»» puis", [(5, 9)]),
        ("dit «rash» puis rash", "dit «rash» puis« rash»Drug»", [(16, 20)]),
        ("患者服用阿司匹林治疗头痛。", "患者服用«阿司匹林»Drug»治疗头痛。", [(4, 8)]),
        ("Meds: ___aspirin___ daily", "Meds: ___«aspirin»Drug»___ daily", [(9, 16)]),
        ("Took 25mg", "Took« 25»Drug»mg", [(5, 7)]),
        ("Took 25mg", "Took« 2»Drug»5mg", []),
    ],
)
def test_copies_that_are_not_exact(text: str, answer: str, expected: list[tuple[int, int]]) -> None:
    found, _ = ground(text, InlineMarks().parse(answer, text, LABELS).mentions, LABELS)
    assert [(one.start, one.stop) for one in found] == expected


def test_a_single_label_beside_marks_of_the_text() -> None:
    for text, answer, place in (
        ("dit «rash» puis «rash»", "dit ««rash»» puis «rash»", (5, 9)),
        ("dit « rash » puis", "dit « «rash» » puis", (6, 10)),
    ):
        found, _ = ground(text, InlineMarks().parse(answer, text, ["Drug"]).mentions, ["Drug"])
        assert [(one.start, one.stop) for one in found] == [place]


@pytest.mark.parametrize(("answer", "whole"), [(TEXT, True), (TEXT[:-1], True), (TEXT[:30], False), ("", False)])
def test_a_copy_that_is_broken_off_is_told(answer: str, whole: bool) -> None:
    assert InlineMarks().parse(answer, TEXT, LABELS).whole is whole


def test_capitals_tell_labels_apart_where_nothing_else_does() -> None:
    mentions = [Named("aspirin", "drug"), Named("aspirin", "Drug")]
    found, rejected = ground(TEXT, mentions, ["Drug", "drug"])
    assert [one.label for one in found] == ["drug", "Drug"]
    assert not rejected
