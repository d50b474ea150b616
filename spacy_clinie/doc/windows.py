"""Windows over a sequence that is longer than a model reads at once. Nothing is cut off: every position lies in at
least one window, and exactly one window answers for it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.tokens import Doc

from ..errors import ClinieError

# Where a window is best cut, too. A small letter behind a line end tells of a wrapped line.
SENTENCE_END = re.compile(r"(?:\n[^\S\n]*){2,}|(?:[.!?][\"')\]]*\s|\n)\s*(?![a-z\s])")


class Window(NamedTuple):
    """A stretch of a sequence.

    start (int): First position.
    stop (int): One past the last position.
    own_start (int): First position that this window answers for.
    own_stop (int): One past the last position that this window answers for.
    """

    start: int
    stop: int
    own_start: int
    own_stop: int


def make_windows(length: int, size: int, overlap: int, breaks: Sequence[int] = ()) -> list[Window]:
    """Cover a sequence with windows.

    A window ends at the last of `breaks` in its second half, if there is one, so that most cuts fall between sentences
    and need no overlap. Two windows that are cut elsewhere overlap, and each answers for the half nearer its middle.

    length (int): Length of the sequence.
    size (int): Largest length of a window.
    overlap (int): Positions that two windows share where the cut is not at a break; less than half of `size`.
    breaks (Sequence[int]): Positions before which a cut is natural, ascending.
    RETURNS (list[Window]): Windows in order; none for an empty sequence.
    RAISES (ClinieError): CIE301 if the overlap is not less than half of the size.
    """
    if not 0 <= 2 * overlap < size:
        raise ClinieError("CIE301", size=size, overlap=overlap)
    windows: list[Window] = []
    start = own_start = position = 0
    while start < length:
        stop = min(start + size, length)
        at_break = False
        if stop < length:
            while position < len(breaks) and breaks[position] <= stop:
                position += 1
            # Behind what the previous window answers for, or this one would add nothing.
            if position and breaks[position - 1] > max(start + size // 2, own_start):
                stop, at_break = breaks[position - 1], True
        shared = 0 if at_break or stop == length else overlap
        own_stop = stop - shared // 2
        windows.append(Window(start, stop, own_start, own_stop))
        start, own_start = stop - shared, own_stop
        if stop == length:
            break
    return windows


def sentence_starts(doc: Doc) -> list[int]:
    """Where sentences begin.

    doc (Doc): With or without sentence boundaries of its own.
    RETURNS (list[int]): Indexes of tokens, ascending; the first is 0 unless the Doc is empty. A sentence ends at a
        blank line, at ".", "!" or "?" before a blank and something other than a small letter, at any line break before
        such (a small letter there means that a line was wrapped), and where the Doc's own do, too. Not there alone: few
        components know of lines, and one would see other sentences than in training for a sentencizer before it.
    """
    if not len(doc):
        return []
    places = [match.end() for match in SENTENCE_END.finditer(doc.text)]
    starts = np.searchsorted(doc.to_array("IDX").astype(np.int64), places)
    if doc.has_annotation("SENT_START"):
        starts = np.append(starts, np.flatnonzero(doc.to_array("SENT_START") == 1))
    return np.unique(np.append(starts[starts < len(doc)], 0)).tolist()
