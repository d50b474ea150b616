"""What a report consists of before it is HTML, Markdown or CSV. Tables are frames, so all three show the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from pandas import DataFrame, isna

NONE = "–"
_UNITS = ("B", "kB", "MB", "GB")


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    text (str): The main text.
    more (str): What follows in small print, such as an interval.
    strong (bool): Whether it is printed bold.
    """

    text: str = NONE
    more: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table. It is false without rows, and then not shown.

    title (str): Its title.
    frame (DataFrame): Cells, numbers, text or missing values. Two levels of columns give two rows of headings.
    last (bool): Whether the last row sums up the others.
    closed (bool): Whether a page shows it only on a click.
    """

    title: str
    frame: DataFrame
    last: bool = False
    closed: bool = False

    def __bool__(self) -> bool:
        return not self.frame.empty

    @property
    def heads(self) -> list[tuple[str, str, bool]]:
        """For each column: the heading of its group or "", its own heading, and whether it is numeric. The first
        column and columns with text are not."""
        names = [name if isinstance(name, tuple) else ("", name) for name in self.frame.columns]
        text = [any(isinstance(value, str) for value in self.frame.iloc[:, i]) for i in range(len(names))]
        return [(*name, i > 0 and not text[i]) for i, name in enumerate(names)]

    @property
    def rows(self) -> list[list[Cell]]:
        """The cells, row by row."""
        return [list(map(_cell, row)) for row in self.frame.astype(object).itertuples(index=False, name=None)]


class Figure(NamedTuple):
    """A figure: its file name without suffix, its caption, and the picture as SVG."""

    name: str
    caption: str
    svg: str


class Part(NamedTuple):
    """A part of a report.

    view (dict[str, Any]): What `report.jinja` shows of it.
    csv (dict[str, DataFrame]): The same figures unrounded, by file name without suffix.
    figures (Sequence[Figure]): Its figures.
    """

    view: dict[str, Any]
    csv: dict[str, DataFrame]
    figures: Sequence[Figure] = ()


def cells_of(values: Sequence[Any], text: Callable[[Any], str], more: Optional[Sequence[str]] = None) -> list[Cell]:
    """A cell for each value, with its `text` and its part of `more`. A missing value gives an empty cell."""
    both = zip(values, more or [""] * len(values), strict=True)
    return [Cell() if isna(value) else Cell(text(value), small) for value, small in both]


def f1(value: float) -> str:
    """An F1 with three digits."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """A difference of two F1 with a real minus sign. What rounds to zero has no sign."""
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def bounds(low: float, high: float) -> str:
    """The bounds of an interval of F1; "" if they are missing."""
    return "" if isna(low) else f"{low:.3f}–{high:.3f}"


def share(part: float, whole: float) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else NONE


def size(count: float) -> str:
    """A number of bytes in a suitable unit."""
    unit = sum(count >= 1000**power for power in (1, 2, 3))
    count /= 1000**unit
    return f"{count:.0f} {_UNITS[unit]}" if count >= 100 or not unit else f"{count:.1f} {_UNITS[unit]}"


def counted(number: int, word: str, words: str = "") -> str:
    """A number with a noun in singular or plural, such as "1 fold" and "2 folds"."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    return Cell() if isna(value) else Cell(f"{value:,}")
