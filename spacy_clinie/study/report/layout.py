"""What a report consists of, before it is HTML, Markdown or CSV: all three are made of this, so they say the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

# A row of CSV: words, figures and what is not there, by column.
Record = dict[str, Any]

NONE = "–"
_UNITS = ("B", "kB", "MB", "GB")


@dataclass(frozen=True)
class Cell:
    """What stands in a place of a table.

    text (str): What is read first.
    more (str): What is read second, as an interval.
    strong (bool): Whether it stands out.
    """

    text: str = NONE
    more: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """A column. Those beside each other with the same `group` have a common heading."""

    title: str
    group: str = ""
    words: bool = False  # else figures, which are aligned on their right


@dataclass(frozen=True)
class Table:
    """A table.

    file (str): The CSV file, without its suffix, that gets its records; several tables can share one.
    title (str): What it is.
    columns (Sequence[Column]): Columns.
    rows (Sequence[Sequence[Cell]]): As many cells each as there are columns.
    records (Sequence[Record]): The same for CSV, tidy: what the cells are made of, unrounded.
    last (bool): Whether the last row sums up the others.
    closed (bool): Whether a page shows it only when asked.
    """

    file: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    records: Sequence[Record] = ()
    last: bool = False
    closed: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture.

    name (str): Its file without suffix.
    caption (str): What it shows.
    svg (str): The picture, an `<svg>` element.
    """

    name: str
    caption: str
    svg: str


# A paragraph is a string.
Block = Union[str, Table, Figure]


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A whole report.

    title (str): Heading.
    sections (Sequence[Section]): Sections.
    records (Mapping[str, Sequence[Record]]): CSV files that are no table of the page, by name without suffix.
    """

    title: str
    sections: Sequence[Section]
    records: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    @property
    def tables(self) -> list[Table]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Figure]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]


def f1(value: float) -> str:
    """An F1 as it is printed."""
    return f"{value:.3f}"


def signed(value: float) -> str:
    """A difference of two F1, with a real minus sign. What rounds to nothing has no sign."""
    return f"{value:+.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def bounds(low: Optional[float], high: Optional[float]) -> str:
    """Two F1 between which something lies."""
    return "" if low is None or high is None else f"{low:.3f}–{high:.3f}"


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


def listed(names: Iterable[str]) -> str:
    """Names one after the other."""
    return ", ".join(names)


def emphasised(cells: Sequence[Cell], values: Sequence[Optional[float]]) -> list[Cell]:
    """Let the best cells stand out: all that read the same as the best, because nobody can tell them apart.

    cells (Sequence[Cell]): Cells of one row that can be compared.
    values (Sequence[Optional[float]]): What they show; the highest is the best.
    RETURNS (list[Cell]): The cells. Where all read the same, none is better than another.
    """
    there = [value for value in values if value is not None]
    best = f1(max(there)) if len(set(map(f1, there))) > 1 else None
    return [
        Cell(cell.text, cell.more, strong=value is not None and f1(value) == best)
        for cell, value in zip(cells, values, strict=True)
    ]
