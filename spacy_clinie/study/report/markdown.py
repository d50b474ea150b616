"""A report as Markdown."""

import re
from collections.abc import Sequence

from ...display import shown
from .layout import Block, Cell, Figure, Report, Table

_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write_markdown(report: Report) -> str:
    """Write a report. Figures are files beside it.

    report (Report): The report.
    RETURNS (str): Its text.
    """
    lines = [f"# {_escaped(report.title)}"]
    for section in report.sections:
        lines.append(f"## {_escaped(section.title)}")
        lines += [_block(block) for block in section.blocks]
    return "\n\n".join(lines) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, str):
        return _escaped(block)
    if isinstance(block, Figure):
        return f"![{_escaped(block.caption)}]({block.name}.svg)\n\n*{_escaped(block.caption)}*"
    return _table(block)


def _table(table: Table) -> str:
    heads = [f"{column.group}: {column.title}" if column.group else column.title for column in table.columns]
    lines = [
        _line([_escaped(head) for head in heads]),
        _line(["---" if column.words else "---:" for column in table.columns]),
        *[_line([_cell(cell) for cell in row]) for row in table.rows],
    ]
    return "\n".join([f"**{_escaped(table.title)}**", "", *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    if cell.strong:
        text = f"**{text}**"
    return f"{text} ({_escaped(cell.more)})" if cell.more else text


def _escaped(text: str) -> str:
    """Text that Markdown takes as it is, in one line."""
    plain = re.sub("[&<>]", lambda match: _ENTITIES[match[0]], " ".join(shown(text).split()))
    return _MARKS.sub(r"\\\1", plain)
