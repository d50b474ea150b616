"""Offsets that were counted otherwise than in the characters of a text, as recorded strings show."""

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


class Counting(NamedTuple):
    """A way to count.

    name (str): What is counted.
    starts (list[int]): The offset at which each character of the text begins, and that of its end.
    """

    name: str
    starts: list[int]

    def character(self, offset: int) -> int:
        """The character at an offset. What lies past the end of the text goes on lying there.

        offset (int): The offset, from 0 on.
        RETURNS (int): The character's number.
        """
        return bisect_right(self.starts, offset) - 1 + max(0, offset - self.starts[-1])


def counted_in(unit: str, text: str) -> Counting:
    """How offsets count a text in a unit.

    unit (str): `characters`, `UTF-16 units` or `bytes`.
    text (str): The text.
    RETURNS (Counting): The way to count.
    """
    return Counting(unit, list(accumulate(map(_UNITS[unit], text), initial=0)))


def counted_otherwise(text: str, agreeing: Callable[[Callable[[int], int]], int], wanted: int) -> Optional[Counting]:
    """How offsets were counted, if not in characters of the text. What makes no more recorded strings stand at their
    offsets than taking these as they are does not count as a reason.

    text (str): The text.
    agreeing (Callable[[Callable[[int], int]], int]): How many recorded strings stand at their offsets, as a function of
        what turns an offset into a character.
    wanted (int): How many there are.
    RETURNS (Optional[Counting]): The way that makes most of them agree; None if offsets are right as they are.
    """
    most, best = agreeing(int), None
    if most == wanted:
        return None
    for counting in _countings(text):
        found = agreeing(counting.character)
        if found > most:
            most, best = found, counting
    return best


def _countings(text: str) -> Iterator[Counting]:
    """The ways in which tools count other than in characters of the file: without the byte order mark, with other line
    ends (the text went through a system that translates them), in UTF-16 units or bytes, and all of these at once."""
    marks = ["", "no byte order mark"] if text.startswith(BOM) else [""]
    ends = [("", "\n", 1), ("line ends as one", "\r\n", 0) if "\r\n" in text else ("line ends as two", "\n", 2)]
    units = ["characters"] if text.isascii() else list(_UNITS)
    for mark, (end, sequence, width), unit in product(marks, ends, units):
        widths = [_UNITS[unit](char) for char in text]
        if mark:
            widths[0] = 0
        for found in re.finditer(sequence, text):
            widths[found.end() - 1] = width
        yield Counting(", ".join(filter(None, (mark, end, unit))), list(accumulate(widths, initial=0)))
