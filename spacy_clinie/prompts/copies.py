"""Reading a copy of a text with marks in it, as a model wrote it freely: where in the text each mark belongs."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, islice
from typing import NamedTuple, Optional

from .grounding import Named
from .machines import DEEPEST

_WORDS = re.compile(r"\w+|[^\w\s]")
# A copy that lacks more than this share of the text at its end was broken off.
_MISSING = 0.1
# A model that does not end may write anything: of what is longer than so many texts, only the beginning is aligned.
_MOST = 4
# For each character of a copy a place in the text; None where there is none.
_Ends = list[Optional[int]]


class Copied(NamedTuple):
    """What a copy names.

    mentions (list[Named]): In the order in which they begin, whether their labels are known or not.
    whole (bool): Whether the copy reaches the end of the text.
    """

    mentions: list[Named]
    whole: bool


def read_copy(answer: str, text: str, labels: Sequence[str], marks: tuple[str, str]) -> Copied:
    """Read a copy with marks.

    answer (str): The answer, whatever it is.
    text (str): What was to be copied.
    labels (Sequence[str]): The labels; a single one is not written.
    marks (tuple[str, str]): What opens a mention and what closes it, one character each. Where the text itself has one,
        the copy's is taken for that one, as far as the copy goes by the text from its beginning.
    RETURNS (Copied): What it names. Each mention has its place in the text if the copy has the same words there.
    """
    copy, spans = _without_marks(answer, text, labels, marks)
    starts, ends = _places(copy, text)
    reached = list(accumulate(ends, lambda last, end: last if end is None else end, initial=0))
    mentions = []
    for opened, closed, label in spans:
        words = copy[opened:closed].strip()
        begin = closed - len(copy[opened:closed].lstrip())
        mentions.append(Named(words, label.strip(), _place(text, words, starts, ends, begin), reached[begin]))
    return Copied(mentions, len(text.rstrip()) - reached[-1] <= _MISSING * len(text))


def _place(text: str, words: str, starts: _Ends, ends: _Ends, begin: int) -> Optional[tuple[int, int]]:
    """The place of a mention that begins at a character of the copy; None if the text has other words there."""
    first, last = (starts[begin], ends[begin + len(words) - 1]) if words else (None, None)
    if first is None or last is None or text[first:last].lower().split() != words.lower().split():
        return None
    return first, last


def _without_marks(
    answer: str, text: str, labels: Sequence[str], marks: tuple[str, str]
) -> tuple[str, list[tuple[int, int, str]]]:
    """The copy without its marks; and of each mention its characters there and its label."""
    own = _Own(text, marks)
    known = {label.casefold() for label in labels}
    copied: list[str] = []
    opened: list[int] = []
    found: list[tuple[int, int, int, str]] = []
    at = 0
    while at < len(answer):
        sign = answer[at]
        at += 1
        if sign == marks[0] and not own.comes(sign):
            if len(opened) < DEEPEST:
                opened.append(len(copied))
            continue
        if sign == marks[1] and opened:
            label, behind = _label(answer, at, labels, sign)
            if not own.closes(answer, at, behind > at and label.strip().casefold() in known):
                at = behind
                found.append((opened.pop(), len(found), len(copied), label))
                continue
        copied.append(sign)
        own.go_on(sign)
    return "".join(copied), [(begin, end, label) for begin, _, end, label in sorted(found)]


def _label(answer: str, at: int, labels: Sequence[str], mark: str) -> tuple[str, int]:
    """The label behind a mention, and where the answer goes on. A single one is not written."""
    if len(labels) == 1:
        return labels[0], at
    stop = answer.find(mark, at)
    return (answer[at:], len(answer)) if stop < 0 else (answer[at:stop], stop + 1)


class _Own:
    """Follows the text that is copied, to tell its own marks from those of the answer.

    text (str): The text.
    marks (tuple[str, str]): The marks.
    """

    def __init__(self, text: str, marks: tuple[str, str]) -> None:
        self.marks = marks
        # Blanks are not always copied as they are. Without marks in the text there is nothing to follow.
        self.signs = "".join(text.split()) if set(marks) & set(text) else ""
        self.at = 0

    def go_on(self, sign: str) -> None:
        """Go on with what was copied; a copy that goes its own way is not followed any more."""
        if self.signs and not sign.isspace():
            if self.comes(sign):
                self.at += 1
            else:
                self.signs = ""

    def comes(self, sign: str) -> bool:
        """Whether the text goes on with a sign."""
        return self.signs[self.at : self.at + 1] == sign

    def closes(self, answer: str, at: int, labelled: bool) -> bool:
        """Whether a closing mark is the text's own: the answer's have a label behind them, or come before it."""
        if not self.comes(self.marks[1]):
            return False
        written, there = _run(answer, at - 1, self.marks[1]), _run(self.signs, self.at, self.marks[1])
        return written <= there and not labelled


def _run(text: str, at: int, sign: str) -> int:
    """How often a sign comes in a row, blanks between them or not."""
    found = 0
    while at < len(text) and (text[at] == sign or text[at].isspace()):
        found += text[at] == sign
        at += 1
    return found


def _places(copy: str, text: str) -> tuple[_Ends, _Ends]:
    """For each character of a copy, where in the text its like begins and ends. An exact copy is aligned
    at once, any other with difflib, by the longest stretches of words that both have."""
    starts: _Ends = [None] * len(copy)
    ends = starts.copy()
    ours = [*_WORDS.finditer(text)]
    theirs = [*islice(_WORDS.finditer(copy), _MOST * (len(ours) + 1))]
    for i, j in _pairs([one[0].lower() for one in theirs], [one[0].lower() for one in ours]):
        begin, end = theirs[i].span()
        for k in range(begin, end):
            # Of words that are longer in one of them, as some are in lower case, only the ends are known.
            alike = end - begin == ours[j].end() - ours[j].start()
            starts[k] = ours[j].start() + k - begin if alike or k == begin else None
            ends[k] = ours[j].end() - (end - 1 - k) if alike or k == end - 1 else None
    return starts, ends


def _pairs(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Which words of two texts belong together, in their order."""
    if first == second[: len(first)]:
        return zip(range(len(first)), range(len(first)), strict=True)
    # With `autojunk`, or words that come very often would take time that is cubic in their number.
    blocks = SequenceMatcher(None, first, second, autojunk=True).get_matching_blocks()
    return ((i + k, j + k) for i, j, size in blocks for k in range(size))
