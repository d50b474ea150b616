"""A report as a page: one file that needs nothing else, no network and no script."""

from collections.abc import Sequence
from importlib import resources
from itertools import groupby

from jinja2 import Environment
from markupsafe import Markup

from ...display import shown
from .layout import Column, Report

_FILES = ("report.html.jinja", "report.css")


def write_page(report: Report) -> str:
    """Write a report.

    report (Report): The report.
    RETURNS (str): The page.
    """
    data = resources.files("spacy_clinie") / "data"
    page, style = ((data / name).read_text("utf-8") for name in _FILES)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_finalized)
    environment.tests["figure"] = lambda block: hasattr(block, "svg")
    environment.filters["heads"] = _heads
    return environment.from_string(page).render(report=report, style=Markup(style)) + "\n"


def _finalized(value: object) -> object:
    """All text goes through here. What is markup is ours."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return shown(value)


def _heads(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The headings above the headings, and how many columns each has; none if no columns belong together."""
    groups = [(group, len(list(own))) for group, own in groupby(columns, key=lambda column: column.group)]
    return groups if any(group for group, _ in groups) else []
