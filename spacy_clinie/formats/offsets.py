"""Offsets that do not count characters: detect the unit from recorded strings, and convert."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, product
from typing import NamedTuple, Optional

from .files import BOM

_UNITS: dict[str, Callable[[str], int]] = {
    "characters": len,
    "UTF-16 units": lambda char: 1 + (char > "\uffff"),
    "bytes": lambda char: len(char.encode("utf-8", "surrogatepass")),
}


class OffsetMap(NamedTuple):
    """Converts offsets in some unit to characters.

    name (str): The unit.
    starts (list[int]): The offset of each character of the text, and of its end.
    """

    name: str
    starts: list[int]

    def to_character(self, offset: int) -> int:
        """Convert an offset. An offset past the end of the text stays past the end.

        offset (int): The offset, at least 0.
        RETURNS (int): The index of the character.
        """
        return bisect_right(self.starts, offset) - 1 + max(0, offset - self.starts[-1])


def make_offset_map(unit: str, text: str) -> OffsetMap:
    """Make the map for a unit.

    unit (str): `characters`, `UTF-16 units` or `bytes`.
    text (str): The text.
    RETURNS (OffsetMap): The map.
    """
    return OffsetMap(unit, list(accumulate(map(_UNITS[unit], text), initial=0)))


def detect_offset_map(text: str, agreeing: Callable[[Callable[[int], int]], int], wanted: int) -> Optional[OffsetMap]:
    """Detect what offsets count, if not characters of the text: the right map makes more recorded strings match.

    text (str): The text.
    agreeing (Callable[[Callable[[int], int]], int]): Counts the matching strings, given a function from offset to
        character.
    wanted (int): The number of recorded strings.
    RETURNS (Optional[OffsetMap]): The map with most matches; None if no map has more than the unchanged offsets.
    """
    most, best = agreeing(int), None
    if most == wanted:
        return None
    for offset_map in _offset_maps(text):
        found = agreeing(offset_map.to_character)
        if found > most:
            most, best = found, offset_map
    return best


def _offset_maps(text: str) -> Iterator[OffsetMap]:
    """The other units that tools use: without the byte order mark, with converted line ends, UTF-16 units, bytes, and
    combinations of these."""
    marks = ["", "no byte order mark"] if text.startswith(BOM) else [""]
    ends = [("", "\n", 1), ("line ends as one", "\r\n", 0) if "\r\n" in text else ("line ends as two", "\n", 2)]
    units = ["characters"] if text.isascii() else list(_UNITS)
    for mark, (end, sequence, width), unit in product(marks, ends, units):
        widths = [_UNITS[unit](char) for char in text]
        if mark:
            widths[0] = 0
        for found in re.finditer(sequence, text):
            widths[found.end() - 1] = width
        yield OffsetMap(", ".join(filter(None, (mark, end, unit))), list(accumulate(widths, initial=0)))
