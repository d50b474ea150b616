"""Windows over a sequence that is too long for a model. Every position is in at least one window, and exactly one
window predicts for it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.tokens import Doc

from ..errors import ClinieError

# Also the best places to cut windows. A lower-case letter after a line end means a wrapped line.
SENTENCE_END = re.compile(r"(?:\n[^\S\n]*){2,}|(?:[.!?][\"')\]]*\s|\n)\s*(?![a-z\s])")


class Window(NamedTuple):
    """A window of a sequence.

    start (int): First position.
    stop (int): One past the last position.
    own_start (int): First position that this window predicts for.
    own_stop (int): One past the last position that this window predicts for.
    """

    start: int
    stop: int
    own_start: int
    own_stop: int


def make_windows(length: int, size: int, overlap: int, breaks: Sequence[int] = ()) -> list[Window]:
    """Cover a sequence with windows.

    A window ends at the last of `breaks` in its second half, if there is one, so most cuts are between sentences and
    need no overlap. Elsewhere, two windows overlap, and each predicts for its half of the overlap.

    length (int): Length of the sequence.
    size (int): Maximum length of a window.
    overlap (int): Positions that two windows share if the cut is not at a break; less than half of `size`.
    breaks (Sequence[int]): Preferred cut positions, ascending. A cut is before the position.
    RETURNS (list[Window]): Windows in order; empty for an empty sequence.
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
            # After the range of the previous window, or this one would add nothing.
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
    """Find the first tokens of sentences.

    A sentence ends at a blank line; at ".", "!" or "?" with whitespace, or at a line break, unless a lower-case letter
    follows (then the line was wrapped); and at the sentence boundaries of the Doc. These alone do not suffice: few
    components respect lines, and adding a sentencizer to a pipeline would change the sentences since training.

    doc (Doc): With or without sentence boundaries.
    RETURNS (list[int]): Indexes of tokens, ascending; the first is 0 unless the Doc is empty.
    """
    if not len(doc):
        return []
    places = [match.end() for match in SENTENCE_END.finditer(doc.text)]
    starts = np.searchsorted(doc.to_array("IDX").astype(np.int64), places)
    starts = np.append(starts, np.flatnonzero(doc.to_array("SENT_START") == 1))
    return np.unique(np.append(starts[starts < len(doc)], 0)).tolist()
