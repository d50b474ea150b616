"""From words that a model wrote freely to places in the text it was given. What is not there is rejected, counted."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Grounded(NamedTuple):
    """A mention that was found in the text.

    start (int): First character.
    stop (int): One past the last.
    label (str): Its label.
    status (str): `exact` if the words stand there once; `order` if more than once and the place behind the mention
        before was taken; `spelling` if they stand there with other capitals or blanks; `moved` if they only stand
        before the mention that was named before them.
    """

    start: int
    stop: int
    label: str
    status: str


def ground(
    text: str, mentions: Iterable[tuple[str, str]], labels: Sequence[str]
) -> tuple[list[Grounded], Counter[str]]:
    """Find mentions in a text by their words and order.

    text (str): The text of a window.
    mentions (Iterable[tuple[str, str]]): Words and label, in the order of the answer.
    labels (Sequence[str]): The labels that there are.
    RETURNS (tuple[list[Grounded], Counter[str]]): What was found, without repetitions; and how many were rejected,
        by reason: `label` (no such label), `empty` (no words), `text` (words that the text does not have, or only
        within longer words), `repeated` (more often than they stand there).
    """
    known = {label.casefold(): label for label in labels}
    found: list[Grounded] = []
    taken: set[tuple[int, int, str]] = set()
    rejected: Counter[str] = Counter()
    last = 0
    for words, name in mentions:
        label = known.get(name.casefold())
        if label is None:
            rejected["label"] += 1
            continue
        if not words.strip():
            rejected["empty"] += 1
            continue
        places, status = _places(text, words)
        if not places:
            rejected["text"] += 1
            continue
        free = [place for place in places if (*place, label) not in taken]
        if not free:
            rejected["repeated"] += 1
            continue
        behind = [place for place in free if place[0] >= last]
        start, stop = (behind or free)[0]
        if not behind:
            status = "moved"
        elif len(places) > 1 and status == "exact":
            status = "order"
        taken.add((start, stop, label))
        last = start
        found.append(Grounded(start, stop, label, status))
    return found, rejected


def _places(text: str, words: str) -> tuple[list[tuple[int, int]], str]:
    """Where words stand as whole words: as they are, or with other capitals and blanks."""
    begin = r"(?<!\w)" if re.match(r"\w", words) else ""
    end = r"(?!\w)" if re.search(r"\w\Z", words) else ""
    exact = [match.span() for match in re.finditer(f"{begin}{re.escape(words)}{end}", text)]
    if exact:
        return exact, "exact"
    loose = r"\s+".join(map(re.escape, words.split()))
    return [match.span() for match in re.finditer(f"{begin}{loose}{end}", text, re.IGNORECASE)], "spelling"
