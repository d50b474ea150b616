"""A study as a report to read: a page, the same as Markdown, and its tables as CSV."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from ...errors import ClinieError
from ...formats.atomic import atomic_write

__all__ = ["need_packages", "write_report"]

# What the extra `study` installs. Nothing else in the package imports these, nor does this file.
PACKAGES = ("pandas", "scipy", "statsmodels", "matplotlib")


def need_packages() -> None:
    """Tell at once, and not after hours of training, that a report could not be written.

    RAISES (ClinieError): CIE481 if a package is not installed.
    """
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise ClinieError("CIE481", packages=", ".join(lacking))


def write_report(
    folder: Path, output: Path, *, texts: Optional[Callable[[str], Mapping[str, str]]] = None
) -> list[Path]:
    """Write what a study has found so far.

    folder (Path): The study's folder. It can be a study that is not finished.
    output (Path): Folder that gets `report.html`, `report.md` with its figures (`*.svg`), and `*.csv`.
    texts (Optional[Callable[[str], Mapping[str, str]]]): Gives the texts of a corpus by the ids of its notes, to quote
        them beside mistakes; None to show offsets alone.
    RETURNS (list[Path]): The files, the page first.
    RAISES (ClinieError): CIE480 if the folder holds no study, CIE481 if a package of the extra `study` is missing.
    """
    need_packages()
    from .rendering import report_files

    written = []
    for name, content in report_files(folder, texts).items():
        path = output / name
        with atomic_write(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
        written.append(path)
    return written
