"""The report of a study: a page, the same as Markdown, and its tables as CSV."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from ...errors import ClinieError
from ...formats.atomic import atomic_write

__all__ = ["need_packages", "write_report"]

# What the extra `study` installs. Only the other modules of this folder import these packages.
PACKAGES = ("pandas", "scipy", "statsmodels", "matplotlib")


def need_packages() -> None:
    """Check that a report can be written, before hours of training.

    RAISES (ClinieError): CIE481 if a package is not installed.
    """
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise ClinieError("CIE481", packages=", ".join(lacking))


def write_report(
    folder: Path, output: Path, *, texts: Optional[Callable[[str], Mapping[str, str]]] = None
) -> list[Path]:
    """Write the report of a study, which may be unfinished.

    folder (Path): The study's folder.
    output (Path): Folder that gets `report.html`, `report.md` with its figures (`*.svg`), and `*.csv`.
    texts (Optional[Callable[[str], Mapping[str, str]]]): Gives the texts of a corpus by note id, to quote them with
        mistakes; None to show only offsets.
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
