"""Grounding: from the words of a free-text answer to offsets in the text that it is about. Mentions that the text does
not contain are rejected and counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional


class NamedMention(NamedTuple):
    """A mention as a free-text answer names it.

    words (str): Its words.
    label (str): Its label as the answer writes it.
    offsets (Optional[tuple[int, int]]): Its first character in the text and one past its last, if the answer tells.
    after (Optional[int]): Offset in the text that the answer had reached before the mention. None for the start of the
        mention before it.
    """

    words: str
    label: str
    offsets: Optional[tuple[int, int]] = None
    after: Optional[int] = None


class ParsedAnswer(NamedTuple):
    """What a free-text answer names.

    mentions (list[NamedMention]): In the order of the answer, also those with an unknown label.
    complete (bool): False for a copy that stops before the end of the text.
    """

    mentions: list[NamedMention]
    complete: bool


class GroundedMention(NamedTuple):
    """A mention with its offsets in the text.

    start (int): First character.
    stop (int): One past the last.
    label (str): Its label.
    status (str): `exact` if the answer tells the offsets, or the text has the words just once; `order` if the text has
        them more than once, and this is the first occurrence after the mention before; `spelling` if they differ in
        case or white space; `moved` if they only occur before the mention before.
    """

    start: int
    stop: int
    label: str
    status: str


def ground(
    text: str, mentions: Iterable[NamedMention], labels: Sequence[str]
) -> tuple[list[GroundedMention], Counter[str]]:
    """Find mentions in a text by their offsets, or else by their words and order.

    text (str): The text of a window.
    mentions (Iterable[NamedMention]): The mentions, in the order of the answer.
    labels (Sequence[str]): The known labels. Case is ignored unless two labels differ in nothing else.
    RETURNS (tuple[list[GroundedMention], Counter[str]]): What was found, each once; and how many were rejected, by
        reason: `label` (unknown label), `empty` (no words), `text` (the text does not have the words, or only inside
        longer words), `repeated` (named more often than the text has it).
    """
    known = {label.strip().casefold(): label for label in labels} | {label: label for label in labels}
    found: list[GroundedMention] = []
    taken: set[tuple[int, int, str]] = set()
    rejected: Counter[str] = Counter()
    last = 0
    for mention in mentions:
        label = known.get(mention.label) or known.get(mention.label.casefold())
        if label is None:
            rejected["label"] += 1
            continue
        if not mention.words.strip():
            rejected["empty"] += 1
            continue
        places, status = _occurrences(text, mention)
        if not places:
            rejected["text"] += 1
            continue
        free = [place for place in places if (*place, label) not in taken]
        if not free:
            rejected["repeated"] += 1
            continue
        earliest = last if mention.after is None else mention.after
        following = [place for place in free if place[0] >= earliest]
        start, stop = (following or free)[0]
        if mention.offsets is None and not following:
            status = "moved"
        elif len(places) > 1 and status == "exact":
            status = "order"
        taken.add((start, stop, label))
        last = start
        found.append(GroundedMention(start, stop, label, status))
    return found, rejected


def _occurrences(text: str, mention: NamedMention) -> tuple[list[tuple[int, int]], str]:
    """Where a mention occurs as whole words; and `exact`, or `spelling` if the text writes it differently."""
    if mention.offsets is not None:
        places = [mention.offsets] if _is_whole(text, *mention.offsets) else []
        return places, "exact" if text[slice(*mention.offsets)] == mention.words else "spelling"
    exact = _find_all(re.escape(mention.words), text)
    if exact:
        return exact, "exact"
    return _find_all(r"\s+".join(map(re.escape, mention.words.split())), text, re.IGNORECASE), "spelling"


def _find_all(pattern: str, text: str, flags: int = 0) -> list[tuple[int, int]]:
    spans = [match.span() for match in re.finditer(pattern, text, flags)]
    return [span for span in spans if _is_whole(text, *span)]


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Whether a span neither starts nor ends inside a word."""
    return not any(0 < at < len(text) and _same_word(text[at - 1], text[at]) for at in (start, stop))


def _same_word(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word. "25mg" is two words. Scripts without case may be written
    without blanks, so any character can end a word there."""
    if unicodedata.combining(right):
        return True
    if left.isdecimal() or right.isdecimal():
        return left.isdecimal() and right.isdecimal()
    return all(one.lower() != one.upper() for one in (left, right))
