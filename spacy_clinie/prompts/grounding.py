"""From words that a model wrote freely to places in the text it was given. What is not there is rejected, counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional


class Named(NamedTuple):
    """A mention as a free answer names it.

    words (str): Its words.
    label (str): Its label, as it was written.
    at (Optional[tuple[int, int]]): Its first character in the text and one past its last, where the answer tells.
    after (Optional[int]): Where in the text the answer had come to before it; None where that is the mention before.
    """

    words: str
    label: str
    at: Optional[tuple[int, int]] = None
    after: Optional[int] = None


class Grounded(NamedTuple):
    """A mention that was found in the text.

    start (int): First character.
    stop (int): One past the last.
    label (str): Its label.
    status (str): `exact` if the answer tells the place, or if the words stand there once; `order` if more than once and
        this is the first place behind what was named before; `spelling` if they stand there with other capitals or
        blanks; `moved` if they only stand before what was named before them.
    """

    start: int
    stop: int
    label: str
    status: str


def ground(text: str, mentions: Iterable[Named], labels: Sequence[str]) -> tuple[list[Grounded], Counter[str]]:
    """Find mentions in a text: by their places, or else by their words and order.

    text (str): The text of a window.
    mentions (Iterable[Named]): The mentions, in the order of the answer.
    labels (Sequence[str]): The labels that there are. Capitals matter only where two differ in nothing else.
    RETURNS (tuple[list[Grounded], Counter[str]]): What was found, without repetitions; and how many were rejected,
        by reason: `label` (no such label), `empty` (no words), `text` (words that the text does not have, or only
        within longer words), `repeated` (more often than they stand there).
    """
    known = {label.strip().casefold(): label for label in labels} | {label: label for label in labels}
    found: list[Grounded] = []
    taken: set[tuple[int, int, str]] = set()
    rejected: Counter[str] = Counter()
    last = 0
    for one in mentions:
        label = known.get(one.label) or known.get(one.label.casefold())
        if label is None:
            rejected["label"] += 1
            continue
        if not one.words.strip():
            rejected["empty"] += 1
            continue
        places, status = _places(text, one)
        if not places:
            rejected["text"] += 1
            continue
        free = [place for place in places if (*place, label) not in taken]
        if not free:
            rejected["repeated"] += 1
            continue
        least = last if one.after is None else one.after
        behind = [place for place in free if place[0] >= least]
        start, stop = (behind or free)[0]
        if one.at is None and not behind:
            status = "moved"
        elif len(places) > 1 and status == "exact":
            status = "order"
        taken.add((start, stop, label))
        last = start
        found.append(Grounded(start, stop, label, status))
    return found, rejected


def _places(text: str, one: Named) -> tuple[list[tuple[int, int]], str]:
    """Where a mention may stand, as whole words; and whether they are written as it writes them."""
    if one.at is not None:
        places = [one.at] if _is_whole(text, *one.at) else []
        return places, "exact" if text[slice(*one.at)] == one.words else "spelling"
    exact = _all(re.escape(one.words), text)
    if exact:
        return exact, "exact"
    return _all(r"\s+".join(map(re.escape, one.words.split())), text, re.IGNORECASE), "spelling"


def _all(pattern: str, text: str, flags: int = 0) -> list[tuple[int, int]]:
    spans = [match.span() for match in re.finditer(pattern, text, flags)]
    return [span for span in spans if _is_whole(text, *span)]


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Whether a stretch neither begins nor ends within a word."""
    return not any(0 < at < len(text) and _joined(text[at - 1], text[at]) for at in (start, stop))


def _joined(left: str, right: str) -> bool:
    """Whether two characters belong to one word. "25" and "mg" are two; scripts without capitals may have no blanks."""
    if unicodedata.combining(right):
        return True
    if left.isdecimal() or right.isdecimal():
        return left.isdecimal() and right.isdecimal()
    return all(one.lower() != one.upper() for one in (left, right))
