"""Copies of a text with marks in them, as a model writes them freely."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.prompts.constraints import MAX_DEPTH
from spacy_clinie.prompts.formats import InlineMarks
from spacy_clinie.prompts.grounding import ground
from tests.prompts.conftest import LABELS, TEXT


def test_deeply_nested_marks_are_parsed_fast() -> None:
    """Parsing in time quadratic in the depth would take minutes."""
    answer = "«a" * 100_000 + "»Drug»" * 100_000
    assert len(InlineMarks().parse(answer, TEXT, ["Drug", "ADE"]).mentions) == MAX_DEPTH


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, int]]]:
    """A text of repeated words, some of them marked."""
    words = draw(
        st.lists(st.sampled_from(["rash", "no", "Rash", "25mg", "é", "ΐa", "头痛", "_x_", ",", "(pain)"]), min_size=1)
    )
    text = draw(st.sampled_from([" ", "  ", "\n"])).join(words)
    places = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    chosen = draw(st.lists(st.sampled_from(places), unique=True))
    return text, sorted((start, stop, draw(st.integers(0, 2))) for start, stop in chosen)


@given(marked_texts())
def test_a_copy_gives_the_offsets_of_every_mention(case: tuple[str, list[tuple[int, int, int]]]) -> None:
    text, spans = case
    mentions, complete = InlineMarks().parse(InlineMarks().answer_text(text, spans, LABELS), text, LABELS)
    found, rejected = ground(text, mentions, LABELS)
    assert [(one.start, one.stop, LABELS.index(one.label)) for one in found] == spans
    assert {one.status for one in found} <= {"exact"}
    assert complete
    assert not rejected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        # Words left out, added or changed: mentions elsewhere keep their offsets.
        ("No rash. Fever. Then rash.", "No rash. Then« rash»Drug».", [(21, 25)]),
        ("No rash. Then rash.", "Sure! No rash at all. Then« rash»Drug».", [(14, 18)]),
        ("NO RASH.\nThen rash  again.", "no rash. then rash« again»Drug».", [(20, 25)]),
        ("No rash, no rash.", "No« rush»Drug», no« rash»Drug».", [(12, 16)]),
        # No offsets, but the mention comes after what was copied.
        ("Rash here. Rash there. Rash.", "Sure! Rash here.« rash»Drug»", [(11, 15)]),
        ("Rash. Rash here. Later rash", "Well: rash here« later  rash»Drug»", [(17, 27)]),
        # Only the end is copied, or one line of a list.
        ("pain in arm and pain in chest", "«pain»Drug» in chest", [(16, 20)]),
        ("- pain in arm\n- pain in leg", "- «pain»Drug» in leg", [(16, 20)]),
        # Marks in the text itself.
        ("Il dit «mal» et prend aspirine", "Il dit «mal» et prend« aspirine»Drug»", [(22, 30)]),
        ("dit «rash» puis", "dit ««rash»Drug»» puis", [(5, 9)]),
        ("dit «rash» puis rash", "dit «rash» puis« rash»Drug»", [(16, 20)]),
        ("患者服用阿司匹林治疗头痛。", "患者服用«阿司匹林»Drug»治疗头痛。", [(4, 8)]),
        ("Meds: ___aspirin___ daily", "Meds: ___«aspirin»Drug»___ daily", [(9, 16)]),
        ("Took 25mg", "Took« 25»Drug»mg", [(5, 7)]),
        ("Took 25mg", "Took« 2»Drug»5mg", []),
    ],
)
def test_marks_of_inexact_copies_keep_their_offsets(text: str, answer: str, expected: list[tuple[int, int]]) -> None:
    found, _ = ground(text, InlineMarks().parse(answer, text, LABELS).mentions, LABELS)
    assert [(one.start, one.stop) for one in found] == expected


def test_a_single_label_next_to_marks_of_the_text() -> None:
    for text, answer, place in (
        ("dit «rash» puis «rash»", "dit ««rash»» puis «rash»", (5, 9)),
        ("dit « rash » puis", "dit « «rash» » puis", (6, 10)),
    ):
        found, _ = ground(text, InlineMarks().parse(answer, text, ["Drug"]).mentions, ["Drug"])
        assert [(one.start, one.stop) for one in found] == [place]


@pytest.mark.parametrize(("answer", "complete"), [(TEXT, True), (TEXT[:-1], True), (TEXT[:30], False), ("", False)])
def test_a_copy_that_stops_early_is_not_complete(answer: str, complete: bool) -> None:
    assert InlineMarks().parse(answer, TEXT, LABELS).complete is complete
