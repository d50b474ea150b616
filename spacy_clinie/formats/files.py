"""Files of raw corpora: find them, read and write their text unchanged, and tell their splits."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError, warn

BOM = "\ufeff"
SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "development": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
    "testing": "test",
}
# Files about a corpus, which published corpora keep beside the notes.
ABOUT = {"readme", "source", "license", "licence"}
_OF_NOTES = {"data", "set", "corpus", "notes", "files", "split"}
_UNMISTAKABLE = {"train", "dev"}
_FIELD = re.compile(r"[\w.-]{1,40}")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SURROGATE = re.compile("[\ud800-\udfff]")


class NoteFile(NamedTuple):
    """A file with one note.

    path (Path): The file.
    id (str): Its name without suffix, or its relative path without suffix if two files have the same name.
    split (str | None): `train`, `dev` or `test`, if a folder name says so.
    """

    path: Path
    id: str
    split: str | None


def find_notes(
    folder: Path, suffix: str, report: Report, annotations: Iterable[Path] = (), beside: tuple[str, ...] = ()
) -> list[NoteFile]:
    """Find the notes of a corpus with one file per note, recursively.

    folder (Path): A folder, or a single file with that suffix.
    suffix (str): In lower case, such as `.txt`. The case of file names is ignored.
    report (Report): Counts files that are not notes (README and the like, other suffixes) and duplicate ids.
    annotations (Iterable[Path]): Annotation files. A file that has one is a note even if it is called README.
    beside (tuple[str, ...]): Suffixes of other files that belong to notes.
    RETURNS (list[NoteFile]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if the path does not exist, CIE201 if it has no such file.
    """
    folder = Path(folder)
    if folder.is_file():
        if not folder.name.lower().endswith(suffix):
            raise ClinieError("CIE201", path=folder.name, suffix=suffix)
        return [
            NoteFile(folder, _printable(folder.stem, folder, report), split_from_path(folder.parent, folder.parent))
        ]
    report_unread_files(folder, (suffix, *beside), report)
    annotated = {path.stem for path in annotations}
    paths = []
    for path in by_stem(find_files(folder, suffix, report), report).values():
        if path.stem.lower() in ABOUT and path.stem not in annotated:
            report.leave_out("file about the corpus, not a note", path)
        else:
            paths.append(path)
    if not paths:
        raise ClinieError("CIE201", path=folder.name, suffix=suffix)
    names = Counter(path.stem for path in paths)
    found = []
    for path in paths:
        note_id = path.stem
        if names[path.stem] > 1:
            report.mend("duplicate note id, the folder was added", path)
            note_id = path.relative_to(folder).with_suffix("").as_posix()
        note_id = _printable(note_id, path, report)
        found.append(NoteFile(path, note_id, split_from_path(path.parent, folder)))
    return found


def find_files(folder: Path, suffix: str | tuple[str, ...], report: Report) -> list[Path]:
    """Find files by suffix, recursively. Links to folders are followed, but no folder is read twice.

    folder (Path): The folder.
    suffix (str | tuple[str, ...]): In lower case, such as `.ann`. The case of file names is ignored.
    report (Report): Counts hidden files, which are skipped (macOS adds `._note.txt` to each `note.txt`), and what
        cannot be opened.
    RETURNS (list[Path]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ClinieError("CIE200", path=folder)
    found = []
    for path in sorted(_walk(folder, report)):
        if not path.name.lower().endswith(suffix):
            continue
        if _is_hidden(path, folder):
            report.leave_out("hidden file", path)
        elif path.is_file():
            found.append(path)
        else:
            report.drop("file cannot be opened", path)
    return found


def report_unread_files(folder: Path, suffixes: tuple[str, ...], report: Report) -> None:
    """Count the files of a folder that are not read because of their suffix. Hidden files, README and the like are not
    counted.

    folder (Path): The folder, searched recursively.
    suffixes (tuple[str, ...]): The suffixes that are read, in lower case. The case of file names is ignored.
    report (Report): The report.
    """
    for path in all_files(folder):
        if not (_is_hidden(path, folder) or path.name.lower().endswith(suffixes) or path.stem.lower() in ABOUT):
            report.leave_out("file of another type, not read", path)


def all_files(folder: Path) -> list[Path]:
    """All files in a folder, recursively, including hidden ones. Links to folders are followed.

    folder (Path): The folder.
    RETURNS (list[Path]): The files, sorted by path.
    """
    return [path for path in sorted(_walk(folder, Report())) if path.is_file()]


def by_stem(files: Iterable[Path], report: Report) -> dict[Path, Path]:
    """Index files by their paths without suffix, to match the files of one note.

    files (Iterable[Path]): Files with the same suffix, in any case.
    report (Report): Counts duplicates, such as `a.TXT` and `a.txt`.
    RETURNS (dict[Path, Path]): The files, in the same order.
    """
    found: dict[Path, Path] = {}
    for path in files:
        if found.setdefault(path.with_suffix(""), path) is not path:
            report.drop("two file names that differ only in case, the first was read", path)
    return found


def check_output_path(source: Path, target: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Raise if the output would overwrite the input, or be read with it the next time.

    source (Path): The input.
    target (Path): The output.
    suffixes (tuple[str, ...]): Suffixes that are read if the input is a folder.
    RAISES (ClinieError): CIE434.
    """
    source, place = Path(os.path.realpath(source)), Path(os.path.realpath(target))  # `resolve` fails for symlink loops
    if place == source or (source in place.parents and place.name.lower().endswith(suffixes)):
        raise ClinieError("CIE434", target=target)


def split_from_path(path: Path, root: Path) -> str | None:
    """Tell the split from a path such as `Train/x.txt`, `test_data/x.txt`, `training_20180910/x.txt` or `dev.json`.

    A name tells a split if it is the name of one (digits are ignored), if it ends in one plus `data` or the like
    (`reference_standard_for_test_data`, `CDR_TrainingSet`), or if it contains `train` or `dev`, which are unambiguous
    (`notes_train.jsonl`). `lab_test` tells none, and neither does a name with two splits. The name nearest to the file
    decides. The name of the root, which can be anything, must match exactly.

    path (Path): A file with many notes, or the folder of a file with one note (the name of a note tells nothing).
    root (Path): The folder of the corpus.
    RETURNS (str | None): `train`, `dev`, `test` or None.
    """
    for name in reversed(path.relative_to(root).parts):
        split = _named_split(name)
        if split:
            return split
    return SPLITS.get(Path(os.path.realpath(root)).name.lower())


# Not allowed in file names on Windows. After a colon, a note would go to an alternate data stream of another file.
_FORBIDDEN_ON_WINDOWS = '\\:*?"<>|'
# Limit of common file systems for the name of a file or folder.
_MAX_BYTES = 255


def note_path(folder: Path, note_id: str, suffix: str) -> Path:
    """The file that a note is written to. Slashes in ids, as in `beth/record-1`, make folders.

    folder (Path): The folder of the corpus.
    note_id (str): The id of the note.
    suffix (str): Such as `.txt`.
    RETURNS (Path): A path inside the folder.
    RAISES (ClinieError): CIE203 if the id is not a valid file name of at most 255 bytes, or would leave the folder or
        make a hidden file.
    """
    parts = note_id.split("/")
    forbidden = _FORBIDDEN_ON_WINDOWS if sys.platform == "win32" else "\\"
    if any(
        not part or part.startswith(".") or not part.isprintable() or any(sign in part for sign in forbidden)
        for part in parts
    ) or any(len(os.fsencode(name)) > _MAX_BYTES for name in (*parts[:-1], parts[-1] + suffix)):
        raise ClinieError("CIE203", note=note_id)
    return Path(folder, *parts[:-1], parts[-1] + suffix)


def writable_notes(notes: Iterable[Note]) -> Iterator[Note]:
    """Check and yield notes that are written to one file each. Warns at the end (CIE207) if `find_notes` will read
    other ids.

    notes (Iterable[Note]): The notes.
    YIELDS (Note): The notes.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE204 for a duplicate id.
    """
    written: list[str] = []
    names_written: set[str] = set()
    for note in notes:
        note.check()
        # On a case-insensitive file system, the second of two would overwrite the first.
        name = note.id if sys.platform == "linux" else normalize("NFC", note.id).casefold()
        if name in names_written:
            raise ClinieError("CIE204", note=note.id)
        names_written.add(name)
        written.append(note.id)
        yield note
    names = Counter(note_id.rpartition("/")[2] for note_id in written)
    shortened = [note_id for note_id in written if "/" in note_id and names[note_id.rpartition("/")[2]] == 1]
    if shortened:
        warn("CIE207", count=len(shortened), note=min(shortened), name=min(shortened).rpartition("/")[2])


def read_text(path: Path, report: Report, errors: str = "strict") -> str | None:
    """Read a file unchanged: carriage returns and a byte order mark are kept, because offsets may count them.

    path (Path): The file, in UTF-8.
    report (Report): Counts a file that cannot be read.
    errors (str): How to handle bytes that are not UTF-8, as in `bytes.decode`.
    RETURNS (str | None): The text; None if it cannot be opened or decoded.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        report.drop("file cannot be opened", path)
        return None
    if data.count(0) > max(2, len(data) / 4):
        report.drop("file is not UTF-8 but probably UTF-16: it has many NUL characters", path)
        return None
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        report.drop("file is not UTF-8", path, data.count(b"\n", 0, error.start) + 1)
        return None


def write_text(path: Path, text: str) -> None:
    """Write a file unchanged: line ends are not translated. Its folder is created.

    path (Path): The file.
    text (str): Its text.
    RAISES (ClinieError): CIE202 for a lone surrogate, which UTF-8 cannot encode.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ClinieError("CIE202", file=Path(path).name, offset=error.start) from None
    with name_file_in_errors(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


@contextmanager
def name_file_in_errors(path: Path, unfinished: Path | None = None) -> Iterator[None]:
    """Add the file name to an OSError, which lacks it if the file is already open, for example when the disk is full.

    path (Path): The file.
    unfinished (Path | None): The temporary file that is written in its place.
    RAISES (OSError): The error of the block, with the name of the file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename) == str(unfinished):
            error.filename, error.filename2 = str(path), None
        raise


def load_json(text: str, path: Path, report: Report, line: int | None = None) -> Any:
    """Parse JSON.

    text (str): The text.
    path (Path): Its file.
    report (Report): Counts duplicate keys in an object, whose first values are lost.
    line (int | None): Its line.
    RETURNS (Any): The value.
    RAISES (ValueError, RecursionError): If it is not JSON, or nested too deeply.
    """

    return json.loads(text, object_pairs_hook=duplicate_key_hook(path, report, line))


def duplicate_key_hook(
    path: Path, report: Report, line: int | None = None
) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """An `object_pairs_hook` for JSON decoders that counts duplicate keys.

    path (Path): The file of the JSON.
    report (Report): Counts duplicate keys in an object.
    line (int | None): The line of the JSON.
    RETURNS (Callable[[list[tuple[str, Any]]], dict[str, Any]]): The hook.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            report.drop("duplicate key in an object, the last was kept", path, line)
        return found

    return unique


def field_name(name: str) -> str:
    """The name of a field as a report may show it. A key that does not look like a name could be part of a note.

    name (str): A key of an object.
    RETURNS (str): The key, or `(no name)`.
    """
    return name if _FIELD.fullmatch(name) else "(no name)"


def replace_surrogates(text: str) -> tuple[str, int]:
    """Replace each lone surrogate by U+FFFD. JSON escapes can make them; UTF-8 cannot encode them, and spaCy fails.

    text (str): Any text.
    RETURNS (tuple[str, int]): The text, of the same length, and the number of replaced characters.
    """
    return _SURROGATE.subn("\ufffd", text)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""The lines of an annotation file, numbered from 1, without line ends and byte order mark.

    Only `\n` ends a line, or `\r` in a file without `\n`. `str.splitlines` would also split at U+2028, form feeds and
    the like, which can occur within quoted text, as a single `\r` can.

    text (str): The text from `read_text`.
    YIELDS (tuple[int, str]): Line number and line.
    """
    end = "\n" if "\n" in text else "\r"
    for number, line in enumerate(text.removeprefix(BOM).split(end), start=1):
        yield number, line.removesuffix("\r")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _printable(note_id: str, path: Path, report: Report) -> str:
    """Percent-encode the bytes of a file name that are not UTF-8, which Python represents as lone surrogates."""
    printable, replaced = _SURROGATE.subn(lambda found: f"%{ord(found[0]) & 0xFF:02X}", note_id)
    if replaced:
        report.mend("file name that is not UTF-8, percent-encoded in the note id", path)
    return printable


def _walk(folder: Path, report: Report) -> list[Path]:
    """All files in a folder, recursively: first its own, then those behind links, unless they were found before."""

    def refuse(error: OSError) -> None:
        report.drop("folder cannot be opened", str(error.filename))

    found: list[Path] = []
    seen: set[str] = set()
    roots = [folder]
    for root in roots:  # grows during the loop
        for parent, folders, files in os.walk(root, onerror=refuse):
            place = os.path.realpath(parent)
            if place in seen:
                report.leave_out("link to a folder that is read already", parent)
                folders.clear()
                continue
            seen.add(place)
            roots += [path for name in sorted(folders) if (path := Path(parent, name)).is_symlink()]
            found += [Path(parent, name) for name in files]
    return found


def _named_split(name: str) -> str | None:
    # Suffixes tell nothing, except for those such as in `notes.train`.
    while Path(name).suffix and Path(name).suffix[1:].lower() not in SPLITS:
        name = Path(name).stem
    # Treat "CDR_TrainingSet" like "CDR_Training_Set".
    words = re.findall("[a-z]{2,}", _HUMP.sub("_", name).lower())
    named = {SPLITS[word] for word in words if word in SPLITS}
    if len(named) != 1:
        return None
    of_notes = words[-1] in _OF_NOTES and words[-2] in SPLITS
    return named.pop() if len(words) == 1 or of_notes or _UNMISTAKABLE & set(words) else None
