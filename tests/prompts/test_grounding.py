"""From the words of an answer to offsets in the text that it is about."""

import pytest

from spacy_clinie.prompts.grounding import GroundedMention, NamedMention, ground
from tests.prompts.conftest import LABELS, TEXT


@pytest.mark.parametrize(
    ("mention", "expected"),
    [
        (("aspirin", "Drug"), GroundedMention(5, 12, "Drug", "order")),
        (("pain", "finding"), GroundedMention(22, 26, "Finding", "exact")),
        (("rash", "Finding"), GroundedMention(28, 32, "Finding", "spelling")),
        (("PAIN. Rash", "Finding"), GroundedMention(22, 32, "Finding", "spelling")),
    ],
)
def test_mentions_have_a_status(mention: tuple[str, str], expected: GroundedMention) -> None:
    assert ground(TEXT, [NamedMention(*mention)], LABELS) == ([expected], {})


@pytest.mark.parametrize(
    ("mention", "reason"),
    [
        (("aspi", "Drug"), "text"),
        (("ibuprofen", "Drug"), "text"),
        (("pain", "Route"), "label"),
        ((" ", "Drug"), "empty"),
    ],
)
def test_mentions_that_are_not_in_the_text_are_rejected_and_counted(mention: tuple[str, str], reason: str) -> None:
    assert ground(TEXT, [NamedMention(*mention)], LABELS) == ([], {reason: 1})


def test_order_tells_repeated_words_apart() -> None:
    mentions = [("Rash", "Finding"), ("aspirin", "Drug"), ("aspirin", "Drug"), ("aspirin", "Drug")]
    found, rejected = ground(TEXT, [NamedMention(*one) for one in mentions], LABELS)
    assert [(one.start, one.status) for one in found] == [(28, "exact"), (39, "order"), (5, "moved")]
    assert rejected == {"repeated": 1}


def test_labels_that_differ_only_in_case_are_told_apart() -> None:
    mentions = [NamedMention("aspirin", "drug"), NamedMention("aspirin", "Drug")]
    found, rejected = ground(TEXT, mentions, ["Drug", "drug"])
    assert [one.label for one in found] == ["drug", "Drug"]
    assert not rejected
