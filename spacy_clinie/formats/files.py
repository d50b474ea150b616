"""What every raw format needs from files: text exactly as it stands there, its lines, and which files are notes."""

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
# Names of files that lie beside the notes in the corpora as they are published.
ABOUT = {"readme", "source", "license", "licence"}
_OF_NOTES = {"data", "set", "corpus", "notes", "files", "split"}
_UNMISTAKABLE = {"train", "dev"}
_FIELD = re.compile(r"[\w.-]{1,40}")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
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


def find_notes(
    folder: Path, suffix: str, report: Report, annotations: Iterable[Path] = (), beside: tuple[str, ...] = ()
) -> list[NoteFile]:
    """Find the notes of a corpus that has a file for each, at any depth and always in the same order.

    folder (Path): The folder; a single file with that suffix is taken as well.
    suffix (str): In small letters, such as `.txt`; capitals in file names make no difference.
    report (Report): Counts what is no note (README and the like, other suffixes) and notes that had to be told apart by
        folder.
    annotations (Iterable[Path]): Files of annotations. A file that has one is a note even if it is called README.
    beside (tuple[str, ...]): Suffixes of files that belong to notes.
    RETURNS (list[NoteFile]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if there is no such path, CIE201 if it holds no such file.
    """
    folder = Path(folder)
    if folder.is_file():
        if not folder.name.lower().endswith(suffix):
            raise ClinieError("CIE201", path=folder.name, suffix=suffix)
        return [NoteFile(folder, _printable(folder.stem, folder, report), split_of(folder.parent, folder.parent))]
    tell_unread(folder, (suffix, *beside), report)
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
            report.mend("two notes with one id: told apart by folder", path)
            note_id = path.relative_to(folder).with_suffix("").as_posix()
        note_id = _printable(note_id, path, report)
        found.append(NoteFile(path, note_id, split_of(path.parent, folder)))
    return found


def find_files(folder: Path, suffix: str | tuple[str, ...], report: Report) -> list[Path]:
    """Find files by suffix, at any depth and always in the same order. Links to folders are followed, but no folder
    is read twice.

    folder (Path): The folder.
    suffix (str | tuple[str, ...]): In small letters, such as `.ann`; capitals in file names make no difference.
    report (Report): Counts hidden files (macOS puts a `._note.txt` beside each `note.txt`), which are left out, and
        what cannot be opened.
    RETURNS (list[Path]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if there is no such folder.
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


def tell_unread(folder: Path, suffixes: tuple[str, ...], report: Report) -> None:
    """Count the files of a folder that have other suffixes than those that are read, but for hidden ones and what is
    called README or the like.

    folder (Path): The folder, at any depth.
    suffixes (tuple[str, ...]): In small letters, such as `.txt`; capitals in file names make no difference.
    report (Report): The report.
    """
    for path in all_files(folder):
        if not (_is_hidden(path, folder) or path.name.lower().endswith(suffixes) or path.stem.lower() in ABOUT):
            report.leave_out("file of another kind, not read", path)


def all_files(folder: Path) -> list[Path]:
    """Every file below a folder, hidden ones too, always in the same order. Links to folders are followed, as
    `find_files` does.

    folder (Path): The folder.
    RETURNS (list[Path]): The files, sorted by path.
    """
    return [path for path in sorted(_walk(folder, Report())) if path.is_file()]


def by_stem(files: Iterable[Path], report: Report) -> dict[Path, Path]:
    """Files by their paths without suffix, which is how the files of one note find each other.

    files (Iterable[Path]): Files of one suffix, in capitals or not.
    report (Report): Counts `a.TXT` beside `a.txt`.
    RETURNS (dict[Path, Path]): The files, in their order.
    """
    found: dict[Path, Path] = {}
    for path in files:
        if found.setdefault(path.with_suffix(""), path) is not path:
            report.drop("two files whose names differ in capitals alone, the first was taken", path)
    return found


def keep_apart(source: Path, target: Path, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse a file or folder to write that is the input, or would be read with it the next time.

    source (Path): The input.
    target (Path): What will be written.
    suffixes (tuple[str, ...]): Of the files that are read if the input is a folder.
    RAISES (ClinieError): CIE434.
    """
    source, place = Path(os.path.realpath(source)), Path(os.path.realpath(target))  # `resolve` fails for looping links
    if place == source or (source in place.parents and place.name.lower().endswith(suffixes)):
        raise ClinieError("CIE434", target=target)


def split_of(path: Path, root: Path) -> str | None:
    """The split that a path tells: `Train/x.txt`, `test_data/x.txt`, `training_20180910/x.txt`, `dev.json`.

    A name tells a split if it is one, digits aside, if it ends in one with `data` or the like behind it
    (`reference_standard_for_test_data`, `CDR_TrainingSet`), or if it has `train` or `dev` in it, which mean little else
    (`notes_train.jsonl`). So `lab_test` tells none, and neither does a name with two splits. What is nearest to the
    file decides. The root counts only if it is named exactly so, since it can be called anything.

    path (Path): A file that holds notes, or the folder of a file that is itself a note (a note's name tells nothing).
    root (Path): The corpus' folder.
    RETURNS (str | None): `train`, `dev`, `test` or None.
    """
    for name in reversed(path.relative_to(root).parts):
        split = _named_split(name)
        if split:
            return split
    return SPLITS.get(Path(os.path.realpath(root)).name.lower())


# In names of files on Windows; behind a colon, a note would be written into a hidden part of another file.
_FORBIDDEN_THERE = '\\:*?"<>|'
# Of a file's or folder's name, on the disks in use.
_MOST_BYTES = 255


def note_path(folder: Path, note_id: str, suffix: str) -> Path:
    """Where a note is written: ids such as `beth/record-1` become folders.

    folder (Path): The corpus' folder.
    note_id (str): The note's id.
    suffix (str): Such as `.txt`.
    RETURNS (Path): A path inside the folder.
    RAISES (ClinieError): CIE203 if the id cannot be a file name (which has 255 bytes at most), would leave the folder
        or make a hidden file.
    """
    parts = note_id.split("/")
    forbidden = _FORBIDDEN_THERE if sys.platform == "win32" else "\\"
    if any(
        not part or part.startswith(".") or not part.isprintable() or any(sign in part for sign in forbidden)
        for part in parts
    ) or any(len(os.fsencode(name)) > _MOST_BYTES for name in (*parts[:-1], parts[-1] + suffix)):
        raise ClinieError("CIE203", note=note_id)
    return Path(folder, *parts[:-1], parts[-1] + suffix)


def for_files(notes: Iterable[Note]) -> Iterator[Note]:
    """Hand on notes that become a file each, once they are found fit for it.

    notes (Iterable[Note]): The notes.
    YIELDS (Note): The notes. In the end comes a warning, CIE207, if `find_notes` will give other ids than theirs.
    RAISES (ClinieError): CIE004 to CIE006 for a note that is not whole, CIE204 for a second note with one id.
    """
    written: list[str] = []
    names_written: set[str] = set()
    for note in notes:
        note.check()
        # Where disks do not tell capitals apart, the second of two would take the place of the first.
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
    """Read a file as it is: carriage returns and a byte order mark stay, because offsets may count them.

    path (Path): The file, in UTF-8.
    report (Report): Counts a file that cannot be read.
    errors (str): What becomes of bytes that are not UTF-8, as in `bytes.decode`.
    RETURNS (str | None): The text; None if it cannot be decoded or opened.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        report.drop("file cannot be opened", path)
        return None
    if data.count(0) > max(2, len(data) / 4):
        report.drop("file is not UTF-8 but as good as UTF-16: it is full of NUL characters", path)
        return None
    try:
        return data.decode("utf-8", errors)
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
    with named(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


@contextmanager
def named(path: Path, unfinished: Path | None = None) -> Iterator[None]:
    """Name the file in errors of writing, which have no name for one that is open already, as on a full disk.

    path (Path): The file.
    unfinished (Path | None): What it is called while it is written.
    RAISES (OSError): What is raised inside, with the file's name.
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
    path (Path): Where it stands.
    report (Report): Counts keys that stand twice in one object, whose first values are lost.
    line (int | None): Its line.
    RETURNS (Any): The value.
    RAISES (ValueError, RecursionError): If it is not JSON, or nested too deep.
    """

    return json.loads(text, object_pairs_hook=keys_counted(path, report, line))


def keys_counted(
    path: Path, report: Report, line: int | None = None
) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """The `object_pairs_hook` of `load_json`, for decoders of one's own.

    path (Path): Where the JSON stands.
    report (Report): Counts keys that stand twice in one object.
    line (int | None): Its line.
    RETURNS (Callable[[list[tuple[str, Any]]], dict[str, Any]]): Makes an object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            report.drop("key given twice in one object, the last was kept", path, line)
        return found

    return unique


def field_name(name: str) -> str:
    """A field's name for a report. One that is no name may be anything, even a note.

    name (str): A key of an object.
    RETURNS (str): The name, or that it is none.
    """
    return name if _FIELD.fullmatch(name) else "(no name)"


def clean(text: str) -> tuple[str, int]:
    """Put U+FFFD for each half of a character that stands alone, as JSON's escapes can make them.

    One for one, so that offsets stay right. Such halves cannot be written as UTF-8 and make spaCy fail.

    text (str): Any text.
    RETURNS (tuple[str, int]): The text, and how many characters were replaced.
    """
    return _SURROGATE.subn("\ufffd", text)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""The lines of a file of annotations, numbered from 1, without line end and byte order mark.

    Only `\n` ends a line, or `\r` in a file that has no `\n`: `str.splitlines` would also split at U+2028, form feeds
    and the like, which stand in the middle of quoted text, as a single `\r` may.

    text (str): What `read_text` gave.
    YIELDS (tuple[int, str]): Line number and line.
    """
    end = "\n" if "\n" in text else "\r"
    for number, line in enumerate(text.removeprefix(BOM).split(end), start=1):
        yield number, line.removesuffix("\r")


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _printable(note_id: str, path: Path, report: Report) -> str:
    """An id made of a name, where bytes that are not UTF-8 have become halves of characters."""
    whole, halves = _SURROGATE.subn(lambda found: f"%{ord(found[0]) & 0xFF:02X}", note_id)
    if halves:
        report.mend("file name that is not UTF-8: the note's id has its bytes as numbers", path)
    return whole


def _walk(folder: Path, report: Report) -> list[Path]:
    """Every file below a folder: first what lies there itself, then what links lead to and was not there yet."""

    def refuse(error: OSError) -> None:
        report.drop("folder cannot be opened", str(error.filename))

    found: list[Path] = []
    seen: set[str] = set()
    roots = [folder]
    for root in roots:  # which grows on the way
        for parent, folders, files in os.walk(root, onerror=refuse):
            place = os.path.realpath(parent)
            if place in seen:
                report.leave_out("link to a folder that is read anyway", parent)
                folders.clear()
                continue
            seen.add(place)
            roots += [path for name in sorted(folders) if (path := Path(parent, name)).is_symlink()]
            found += [Path(parent, name) for name in files]
    return found


def _named_split(name: str) -> str | None:
    # Suffixes tell nothing, but `notes.train` does.
    while Path(name).suffix and Path(name).suffix[1:].lower() not in SPLITS:
        name = Path(name).stem
    # "CDR_TrainingSet" says as much as "CDR_Training_Set".
    words = re.findall("[a-z]{2,}", _HUMP.sub("_", name).lower())
    told = {SPLITS[word] for word in words if word in SPLITS}
    if len(told) != 1:
        return None
    of_notes = words[-1] in _OF_NOTES and words[-2] in SPLITS
    return told.pop() if len(words) == 1 or of_notes or _UNMISTAKABLE & set(words) else None
