"""A study as a report to read: a page, the same as Markdown, and its tables as CSV."""

from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ...formats.atomic import atomic_write
from .by_type import types_section
from .cost import cost_section
from .csv_files import write_csv
from .layout import Report
from .loo import loo_section
from .manifests import Study, read_study
from .markdown import write_markdown
from .mistakes import Texts, mistakes_section
from .overview import fold_records, overview_section, result_records
from .page import write_page
from .single import significance_section, single_section

__all__ = ["write_report"]


def write_report(folder: Path, output: Path, *, texts: Optional[Texts] = None) -> list[Path]:
    """Write what a study has found so far.

    folder (Path): The study's folder. It can be a study that is not finished.
    output (Path): Folder that gets `report.html`, `report.md` with its figures (`*.svg`), and `*.csv`.
    texts (Optional[Texts]): Gives the texts of a corpus by the ids of its notes, to quote them beside mistakes; None to
        show offsets alone.
    RETURNS (list[Path]): The files, the page first.
    RAISES (ClinieError): CIE480 if the folder holds no study, CIE481 if matplotlib is not installed.
    """
    report = _report(read_study(folder), texts)
    written = []
    for name, content in _files(report):
        path = output / name
        with atomic_write(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def _report(study: Study, texts: Optional[Texts]) -> Report:
    sections = [overview_section(study)]
    if "single" in study.plans:
        sections += [single_section(study), significance_section(study)]
    if "loo" in study.plans:
        sections.append(loo_section(study))
    if "single" in study.plans:
        sections.append(types_section(study))
    if "single" in study.plans or "cost" in study.plans:
        sections.append(cost_section(study))
    sections.append(mistakes_section(study, texts))
    records = {"folds": fold_records(study), "results": result_records(study)}
    return Report("Concepts and relations out of clinical notes: what was measured", sections, records)


def _files(report: Report) -> Iterator[tuple[str, str]]:
    yield "report.html", write_page(report)
    yield "report.md", write_markdown(report)
    for figure in report.figures:
        yield f"{figure.name}.svg", figure.svg
    yield from write_csv(report)
