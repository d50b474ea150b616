"""What every raw format needs from files: text exactly as it stands there, its lines, and which files are notes."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ClinieError
from .report import Report

BOM = "\ufeff"
SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "development": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
}
# Names of files that lie beside the notes in the corpora as they are published.
ABOUT = {"readme", "source", "license", "licence"}
_SURROGATE = re.compile("[\ud800-\udfff]")


class NoteFile(NamedTuple):
    """A file that is a note.

    path (Path): The file.
    id (str): Its name without the suffix, or its relative path without the suffix where two files share a name.
    split (str | None): `train`, `dev` or `test`, if a folder says so.
    """

    path: Path
    id: str
    split: str | None


def find_notes(folder: Path, suffix: str, report: Report) -> list[NoteFile]:
    """Find the notes of a corpus that has a file for each, at any depth and always in the same order.

    folder (Path): The folder; a single file with that suffix is taken as well.
    suffix (str): Such as `.txt`.
    report (Report): Counts what is no note (README and the like) and notes that had to be told apart by folder.
    RETURNS (list[NoteFile]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if there is no such path, CIE201 if it holds no such file.
    """
    folder = Path(folder)
    if folder.is_file():
        if not folder.name.endswith(suffix):
            raise ClinieError("CIE201", path=folder.name, suffix=suffix)
        return [NoteFile(folder, folder.name.removesuffix(suffix), split_of(folder.parent, folder.parent))]
    paths = []
    for path in find_files(folder, suffix, report):
        if path.stem.lower() in ABOUT:
            report.leave_out("file about the corpus, not a note", path)
        else:
            paths.append(path)
    if not paths:
        raise ClinieError("CIE201", path=folder.name, suffix=suffix)
    names = Counter(path.name for path in paths)
    found = []
    for path in paths:
        note_id = path.name.removesuffix(suffix)
        if names[path.name] > 1:
            report.mend("two notes with one id: told apart by folder", path)
            note_id = path.relative_to(folder).as_posix().removesuffix(suffix)
        found.append(NoteFile(path, note_id, split_of(path.parent, folder)))
    return found


def find_files(folder: Path, suffix: str, report: Report) -> list[Path]:
    """Find files by suffix, at any depth and always in the same order.

    folder (Path): The folder.
    suffix (str): Such as `.ann`.
    report (Report): Counts hidden files (macOS puts a `._note.txt` beside each `note.txt`), which are left out.
    RETURNS (list[Path]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ClinieError("CIE200", path=folder)
    paths = []
    for path in sorted(folder.rglob(f"*{suffix}")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            report.leave_out("hidden file", path)
        elif path.is_file():
            paths.append(path)
    return paths


def split_of(path: Path, root: Path) -> str | None:
    """The split that a path tells: `Train/x.txt`, `test_data/x.txt`, `training_20180910/x.txt`, `dev.json`.

    What is nearest to the file decides; a name that mentions two splits says nothing. The root counts only if it is
    named exactly so, since it can be called anything.

    path (Path): A file that holds notes, or the folder of a file that is itself a note (a note's name tells nothing).
    root (Path): The corpus' folder.
    RETURNS (str | None): `train`, `dev`, `test` or None.
    """
    for name in reversed(path.relative_to(root).parts):
        splits = {SPLITS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in SPLITS}
        if len(splits) == 1:
            return splits.pop()
    return SPLITS.get(root.resolve().name.lower())


def note_path(folder: Path, note_id: str, suffix: str) -> Path:
    """Where a note is written: ids such as `beth/record-1` become folders.

    folder (Path): The corpus' folder.
    note_id (str): The note's id.
    suffix (str): Such as `.txt`.
    RETURNS (Path): A path inside the folder.
    RAISES (ClinieError): CIE203 if the id cannot be a file name, would leave the folder or make a hidden file.
    """
    parts = note_id.split("/")
    if any(not part or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts):
        raise ClinieError("CIE203", note=note_id)
    return Path(folder, *parts[:-1], parts[-1] + suffix)


def read_text(path: Path, report: Report) -> str | None:
    """Read a file as it is: carriage returns and a byte order mark stay, because offsets may count them.

    path (Path): The file, in UTF-8.
    report (Report): Counts a file that cannot be read.
    RETURNS (str | None): The text; None if it is not UTF-8 or cannot be opened.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        report.drop("file cannot be opened", path)
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        report.drop("file is not UTF-8", path, data.count(b"\n", 0, error.start) + 1)
        return None


def write_text(path: Path, text: str) -> None:
    """Write a file as it is, making its folder. Line ends are not translated.

    path (Path): The file.
    text (str): Its text.
    RAISES (ClinieError): CIE202 for half a character, which UTF-8 cannot hold.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ClinieError("CIE202", file=Path(path).name, offset=error.start) from None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)


def clean(text: str) -> tuple[str, int]:
    """Put U+FFFD for each half of a character that stands alone, as JSON's escapes can make them.

    One for one, so that offsets stay right. Such halves cannot be written as UTF-8 and make spaCy fail.

    text (str): Any text.
    RETURNS (tuple[str, int]): The text, and how many characters were replaced.
    """
    return _SURROGATE.subn("\ufffd", text)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""The lines of a file of annotations, numbered from 1, without line end and byte order mark.

    Only `\n` ends a line: `str.splitlines` would also split at U+2028, form feeds and the like, which stand in
    the middle of quoted text.

    text (str): What `read_text` gave.
    YIELDS (tuple[int, str]): Line number and line.
    """
    for number, line in enumerate(text.removeprefix(BOM).split("\n"), start=1):
        yield number, line.removesuffix("\r")
