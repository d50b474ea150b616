"""What the formats share that hold many notes in one file: which files, ids that stay apart, notes that are sound,
and files that are written whole or not at all."""

import glob
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from .files import clean, find_files, named, split_of, tell_unread
from .source import SourcedNote

_MOST_PROBLEMS = 3
# Before the number of a later thing with the id of an earlier one: what no corpus has there, as "a-2" may well be
# another one's id.
_NUMBERED = "~"
# How the files end that are written first: others with a dot in front are the user's.
_TEMPORARY = ".unfinished"


class Bundle(NamedTuple):
    """A file that holds notes.

    path (Path): The file.
    split (str | None): `train`, `dev` or `test`, if its name or a folder says so.
    """

    path: Path
    split: str | None


class Ids:
    """Keeps the ids of notes apart: a later note with the same id gets a number behind it, and one without any is
    named by its place.

    report (Report): Counts the notes that got another id.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._taken: dict[str, int] = {}

    def unique(self, note_id: str, file: Path, line: int | None = None) -> str:
        """The id under which a note goes on.

        note_id (str): Its own id.
        file (Path): Where it stands.
        line (int | None): Its line.
        RETURNS (str): The same, unless it was there before or is empty.
        """
        if not note_id:
            self.report.mend("note without an id: named by its file and line", file, line)
            note_id = file.stem if line is None else f"{file.stem}-{line}"
        found = take_free(note_id, self._taken)
        if found != note_id:
            self.report.mend("two notes with one id: the later one got a number behind it", file, line)
        return found


def find_bundles(path: Path, suffixes: tuple[str, ...], report: Report) -> list[Bundle]:
    """Find the files of a corpus, at any depth and always in the same order. Hidden files are left out.

    path (Path): A folder, or one file of any name.
    suffixes (tuple[str, ...]): In small letters, such as `.jsonl`; capitals in file names make no difference.
    report (Report): Counts hidden and empty files, and those of other suffixes.
    RETURNS (list[Bundle]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if there is no such path, CIE201 if it holds no such file.
    """
    path = Path(path)
    if path.is_file():
        return [Bundle(path, split_of(path, path.parent))]
    found = [Bundle(file, split_of(file, path)) for file in find_files(path, suffixes, report)]
    if not found:
        raise ClinieError("CIE201", path=path.name, suffix=" or ".join(suffixes))
    tell_unread(path, suffixes, report)
    full = []
    for bundle in found:
        if bundle.path.stat().st_size:
            full.append(bundle)
        else:
            report.drop("file is empty", bundle.path)
    return full


def at_least_one(notes: Iterator[SourcedNote], path: Path, name: str, report: Report) -> Iterator[SourcedNote]:
    """Hand notes on, and refuse a corpus that has none: it is empty, or in another format.

    notes (Iterator[SourcedNote]): What a reader found.
    path (Path): What it read.
    name (str): The format's name.
    report (Report): What the reader counted.
    YIELDS (SourcedNote): The notes.
    RAISES (ClinieError): CIE250 if there was none.
    """
    empty = True
    for sourced in notes:
        empty = False
        yield sourced
    if empty:
        problems = [f"{r.reason} ({r.examples[0]}, {r.count} in all)" for r in report.remarks("dropped")]
        why = "; ".join(problems[:_MOST_PROBLEMS]) or "nothing stands there"
        raise ClinieError("CIE250", path=Path(path).name, format=name, problems=why)


def offsets_problem(start: int, end: int, length: int) -> str | None:
    """Why a concept cannot stand where it is said to.

    start (int): First character.
    end (int): One past the last character.
    length (int): Length of the text.
    RETURNS (str | None): A reason for the report; None if all is well.
    """
    if start == end:
        return "concept without characters"
    if start > end:
        return "concept that ends before it begins"
    if start < 0 or end > length:
        return "concept outside the text"
    return None


def make_sound(note: Note, report: Report, file: Path, line: int | None = None) -> None:
    """Bring a note into a state that `Note.check` accepts, and count what that took.

    note (Note): The note, changed in place.
    report (Report): Counts what is dropped or mended.
    file (Path): Where the note stands.
    line (int | None): Its line.
    """
    _clean(note, report, file, line)
    taken: dict[str, int] = {}
    concepts = []
    dropped = set()
    for concept in note.concepts:
        problem = offsets_problem(concept.start, concept.end, len(note.text))
        problem = problem or (None if concept.label else "concept without a type")
        if problem:
            report.drop(problem, file, line)
            dropped.add(concept.id)
            continue
        if concept.id in taken:
            report.mend("two concepts with one id: relations go to the first", file, line)
        concept.id = take_free(concept.id, taken)
        concept.fragments.sort()
        if concept.fragments and not _fragments_fit(concept):
            report.mend("fragments that do not fit their concept were left out", file, line)
            concept.fragments = []
        if len(concept.fragments) == 1:  # in one piece
            concept.fragments = []
        concepts.append(concept)
    note.concepts = concepts
    relations = []
    for relation in note.relations:
        missing = {end for end in (relation.head, relation.tail) if end not in taken}
        if missing:
            gone = "was dropped" if missing <= dropped else "is not there"
            report.drop(f"relation to a concept that {gone}", file, line)
        else:
            relations.append(relation)
    note.relations = relations
    items: list[Concept | Relation] = [*note.concepts, *note.relations]
    for item in items:
        if item.score is not None and not math.isfinite(item.score):
            report.mend("score that is not a number was left out", file, line)
            item.score = None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: under another name first, which takes the place of the old file at the end.

    path (Path): The file, whose folder is made.
    YIELDS (Path): Where to write.
    RAISES (ClinieError): CIE251 if something other than a file is in the way.
    RAISES (OSError): With the file's name.
    """
    path = Path(os.path.realpath(path))  # `resolve` fails for looping links
    if path.exists() and not path.is_file():
        raise ClinieError("CIE251", path=path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    with named(path, temporary):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    """Remove what processes that were killed while they wrote a file have left of it."""
    if os.name != "posix":  # elsewhere nothing tells, without harm, whether a process lives
        return
    for file in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        number = file.name.removesuffix(_TEMPORARY).rpartition(".")[2]
        if number.isdecimal() and not _lives(int(number)):
            file.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or the number of no process
        return True
    return True


def take_free(name: str, taken: dict[str, int]) -> str:
    """Take a name that is free: the same, or with a number behind it.

    name (str): The name.
    taken (dict[str, int]): Names that are taken, each with the last such number; gets the new one.
    RETURNS (str): The new one.
    """
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}{_NUMBERED}{taken[name]}"
    taken[found] = 1
    return found


def _fragments_fit(concept: Concept) -> bool:
    parts = concept.fragments
    hull = parts[0][0], max(end for _, end in parts)
    return all(start < end for start, end in parts) and hull == concept.offsets


def _clean(note: Note, report: Report, file: Path, line: int | None) -> None:
    halves = 0

    def whole(text: str) -> str:
        nonlocal halves
        text, count = clean(text)
        halves += count
        return text

    note.id, note.text = whole(note.id), whole(note.text)
    for concept in note.concepts:
        concept.id, concept.label = whole(concept.id), whole(concept.label)
        concept.attributes = {whole(key): whole(value) for key, value in concept.attributes.items()}
    for relation in note.relations:
        relation.head, relation.tail, relation.label = map(whole, (relation.head, relation.tail, relation.label))
    if halves:
        report.mend("half a character (lone surrogate) was replaced", file, line, halves)
