"""What a report is made of, before it is HTML, Markdown or CSV: tables are frames, so all three say the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pandas import DataFrame, isna

NONE = "–"
_UNITS = ("B", "kB", "MB", "GB")


@dataclass(frozen=True)
class Cell:
    """What stands in a column of figures.

    text (str): What is read first.
    more (str): What is read second, as an interval.
    strong (bool): Whether it stands out.
    """

    text: str = NONE
    more: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table to read.

    title (str): What it is.
    frame (DataFrame): Cells, numbers, text, or missing values. Two levels of columns make two rows of headings. Without
        rows it is false, and not shown.
    last (bool): Whether the last row sums up the others.
    closed (bool): Whether a page shows it only when asked.
    """

    title: str
    frame: DataFrame
    last: bool = False
    closed: bool = False

    def __bool__(self) -> bool:
        return not self.frame.empty

    @property
    def heads(self) -> list[tuple[str, str, bool]]:
        """For each column a heading that it shares with its neighbours or "", its own, and whether it holds figures:
        the first column and those with text do not."""
        names = [name if isinstance(name, tuple) else ("", name) for name in self.frame.columns]
        text = [any(isinstance(value, str) for value in self.frame.iloc[:, i]) for i in range(len(names))]
        return [(*name, i > 0 and not text[i]) for i, name in enumerate(names)]

    @property
    def rows(self) -> list[list[Cell]]:
        """The cells."""
        return [list(map(_cell, row)) for row in self.frame.astype(object).itertuples(index=False, name=None)]


@dataclass(frozen=True)
class Figure:
    """A picture.

    name (str): Its file without suffix.
    caption (str): What it shows.
    svg (str): The picture, an SVG file.
    """

    name: str
    caption: str
    svg: str


class Part(NamedTuple):
    """A part of a report.

    view (dict[str, Any]): What `report.jinja` shows of it.
    csv (dict[str, DataFrame]): The same, tidy and unrounded, by name of the file without suffix.
    figures (list[Figure]): Its figures.
    """

    view: dict[str, Any]
    csv: dict[str, DataFrame]
    figures: Sequence[Figure] = ()


def f1(value: float) -> str:
    """An F1 as it is printed."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """A difference of two F1, with a real minus sign. What rounds to nothing has no sign."""
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def bounds(low: float, high: float) -> str:
    """Two F1 between which something lies."""
    return "" if isna(low) else f"{low:.3f}–{high:.3f}"


def share(part: float, whole: float) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else NONE


def size(count: float) -> str:
    """Bytes, in a unit that suits them."""
    unit = sum(count >= 1000**power for power in (1, 2, 3))
    count /= 1000**unit
    return f"{count:.0f} {_UNITS[unit]}" if count >= 100 or not unit else f"{count:.1f} {_UNITS[unit]}"


def counted(number: int, word: str, words: str = "") -> str:
    """A number and what is counted, as "1 fold" and "2 folds"."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return Cell(value)
    return Cell() if isna(value) else Cell(f"{value:,}")
