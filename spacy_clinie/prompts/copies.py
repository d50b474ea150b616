"""Parsing a copy of a text with marks in it, as a model wrote it freely: where in the text each mark belongs."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, islice
from typing import Optional

from .constraints import MAX_DEPTH
from .grounding import NamedMention, ParsedAnswer

_WORDS = re.compile(r"\w+|[^\w\s]")
# A copy that lacks more than this share of the text at its end is not complete.
_MAX_MISSING = 0.1
# A model that does not stop may write anything. Only the start of an answer is aligned, up to this many times the
# words of the text.
_MAX_LENGTH = 4
# For each character of a copy an offset in the text; None if it has none.
_Offsets = list[Optional[int]]


def parse_copy(answer: str, text: str, labels: Sequence[str], marks: tuple[str, str]) -> ParsedAnswer:
    """Parse a copy with marks.

    answer (str): Any text.
    text (str): The text that was to be copied.
    labels (Sequence[str]): The labels. A single one is not written.
    marks (tuple[str, str]): The opening and the closing mark, one character each. If the text itself has one, a mark at
        that position of the copy is taken for it, as long as the copy has not departed from the text.
    RETURNS (ParsedAnswer): What the copy names. Mentions have offsets if the copy and the text have the same words
        there. It is complete if it reaches the end of the text.
    """
    copy, spans = _remove_marks(answer, text, labels, marks)
    starts, ends = _align(copy, text)
    reached = list(accumulate(ends, lambda last, end: last if end is None else end, initial=0))
    mentions = []
    for opened, closed, label in spans:
        words = copy[opened:closed].strip()
        first = closed - len(copy[opened:closed].lstrip())
        mentions.append(NamedMention(words, label.strip(), _offsets(text, words, starts, ends, first), reached[first]))
    return ParsedAnswer(mentions, len(text.rstrip()) - reached[-1] <= _MAX_MISSING * len(text))


def _offsets(text: str, words: str, starts: _Offsets, ends: _Offsets, first: int) -> Optional[tuple[int, int]]:
    """Offsets in the text of a mention that starts at a character of the copy; None if the text has other words
    there."""
    start, stop = (starts[first], ends[first + len(words) - 1]) if words else (None, None)
    if start is None or stop is None or text[start:stop].lower().split() != words.lower().split():
        return None
    return start, stop


def _remove_marks(
    answer: str, text: str, labels: Sequence[str], marks: tuple[str, str]
) -> tuple[str, list[tuple[int, int, str]]]:
    """The copy without marks and labels; and of each mention its start and end in that copy, and its label."""
    source = _SourceText(text, marks)
    known = {label.casefold() for label in labels}
    copied: list[str] = []
    opened: list[int] = []
    found: list[tuple[int, int, int, str]] = []
    at = 0
    while at < len(answer):
        char = answer[at]
        at += 1
        if char == marks[0] and not source.continues_with(char):
            if len(opened) < MAX_DEPTH:
                opened.append(len(copied))
            continue
        if char == marks[1] and opened:
            label, after = _read_label(answer, at, labels, char)
            if not source.has_closing_mark(answer, at, after > at and label.strip().casefold() in known):
                at = after
                found.append((opened.pop(), len(found), len(copied), label))
                continue
        copied.append(char)
        source.advance(char)
    return "".join(copied), [(start, stop, label) for start, _, stop, label in sorted(found)]


def _read_label(answer: str, at: int, labels: Sequence[str], mark: str) -> tuple[str, int]:
    """The label after a mention, and the position after the label. A single label is not written."""
    if len(labels) == 1:
        return labels[0], at
    stop = answer.find(mark, at)
    return (answer[at:], len(answer)) if stop < 0 else (answer[at:stop], stop + 1)


class _SourceText:
    """Follows the text that is being copied, to tell its own marks from those of the answer.

    text (str): The text.
    marks (tuple[str, str]): The marks.
    """

    def __init__(self, text: str, marks: tuple[str, str]) -> None:
        self.marks = marks
        # Without white space, which models do not always copy. A text without marks need not be followed.
        self.chars = "".join(text.split()) if set(marks) & set(text) else ""
        self.position = 0

    def advance(self, char: str) -> None:
        """Go past a character that was copied. Once the copy departs from the text, it is not followed any more."""
        if self.chars and not char.isspace():
            if self.continues_with(char):
                self.position += 1
            else:
                self.chars = ""

    def continues_with(self, char: str) -> bool:
        """Whether a character comes next in the text."""
        return self.chars[self.position : self.position + 1] == char

    def has_closing_mark(self, answer: str, at: int, labelled: bool) -> bool:
        """Whether a closing mark is the text's own. One with a label after it is the answer's; and if the answer has
        more closing marks in a row than the text, its own come first."""
        if not self.continues_with(self.marks[1]):
            return False
        in_answer, in_text = _run(answer, at - 1, self.marks[1]), _run(self.chars, self.position, self.marks[1])
        return in_answer <= in_text and not labelled


def _run(text: str, at: int, char: str) -> int:
    """How often a character occurs in a row, white space between them allowed."""
    count = 0
    while at < len(text) and (text[at] == char or text[at].isspace()):
        count += text[at] == char
        at += 1
    return count


def _align(copy: str, text: str) -> tuple[_Offsets, _Offsets]:
    """For each character of a copy, the start and the end of the same character in the text. Words are aligned with
    difflib, unless the copy is exact."""
    starts: _Offsets = [None] * len(copy)
    ends = starts.copy()
    in_text = [*_WORDS.finditer(text)]
    in_copy = [*islice(_WORDS.finditer(copy), _MAX_LENGTH * (len(in_text) + 1))]
    for i, j in _matching_words([one[0].lower() for one in in_copy], [one[0].lower() for one in in_text]):
        first, last = in_copy[i].span()
        for k in range(first, last):
            # Lower case can change the length of a word. Then only its two ends are known.
            same_length = last - first == in_text[j].end() - in_text[j].start()
            starts[k] = in_text[j].start() + k - first if same_length or k == first else None
            ends[k] = in_text[j].end() - (last - 1 - k) if same_length or k == last - 1 else None
    return starts, ends


def _matching_words(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Indexes of the words that two texts share, in order."""
    if first == second[: len(first)]:
        return zip(range(len(first)), range(len(first)), strict=True)
    # Without `autojunk`, a word that occurs very often would take time cubic in its count.
    blocks = SequenceMatcher(None, first, second, autojunk=True).get_matching_blocks()
    return ((i + k, j + k) for i, j, size in blocks for k in range(size))
