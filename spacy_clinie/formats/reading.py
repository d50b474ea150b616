"""What the readers share: finding the files of a corpus, unique note ids, and repairing notes."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from .files import find_files, replace_surrogates, report_unread_files, split_from_path
from .source import SourcedNote

_MOST_PROBLEMS = 3
# Separates a duplicate id from its number. Not a hyphen: "a-2" may well be an id of its own.
_SEPARATOR = "~"


class CorpusFile(NamedTuple):
    """A file with any number of notes.

    path (Path): The file.
    split (str | None): `train`, `dev` or `test`, if the name of the file or a folder says so.
    """

    path: Path
    split: str | None


class UniqueIds:
    """Assigns unique ids to notes. A duplicate id gets a number, a missing one is made from file and line.

    report (Report): Counts the notes with a new id.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._taken: dict[str, int] = {}

    def assign(self, note_id: str, file: Path, line: int | None = None) -> str:
        """Get the unique id of a note.

        note_id (str): The id in the file.
        file (Path): The file.
        line (int | None): The line.
        RETURNS (str): The same id, unless it is empty or taken.
        """
        if not note_id:
            self.report.mend("note without an id, named after its file and line", file, line)
            note_id = file.stem if line is None else f"{file.stem}-{line}"
        assigned = unique_name(note_id, self._taken)
        if assigned != note_id:
            self.report.mend("duplicate note id, a number was added to the later one", file, line)
        return assigned


def find_corpus_files(path: Path, suffixes: tuple[str, ...], report: Report) -> list[CorpusFile]:
    """Find the files of a corpus recursively. Hidden files are skipped.

    path (Path): A folder, or one file of any name.
    suffixes (tuple[str, ...]): In lower case, such as `.jsonl`. The case of file names is ignored.
    report (Report): Counts hidden and empty files, and those with other suffixes.
    RETURNS (list[CorpusFile]): The files, sorted by path.
    RAISES (ClinieError): CIE200 if the path does not exist, CIE201 if it has no such file.
    """
    path = Path(path)
    if path.is_file():
        return [CorpusFile(path, split_from_path(path, path.parent))]
    found = [CorpusFile(file, split_from_path(file, path)) for file in find_files(path, suffixes, report)]
    if not found:
        raise ClinieError("CIE201", path=path.name, suffix=" or ".join(suffixes))
    report_unread_files(path, suffixes, report)
    filled = []
    for file in found:
        if file.path.stat().st_size:
            filled.append(file)
        else:
            report.drop("empty file", file.path)
    return filled


def require_notes(notes: Iterator[SourcedNote], path: Path, name: str, report: Report) -> Iterator[SourcedNote]:
    """Yield notes, and raise if there are none: the corpus is empty, or in another format.

    notes (Iterator[SourcedNote]): The notes that a reader found.
    path (Path): The path that it read.
    name (str): The name of the format.
    report (Report): The remarks of the reader.
    YIELDS (SourcedNote): The notes.
    RAISES (ClinieError): CIE250 if there are none.
    """
    empty = True
    for sourced in notes:
        empty = False
        yield sourced
    if empty:
        problems = [f"{r.reason} ({r.examples[0]}, {r.count} in total)" for r in report.remarks("dropped")]
        why = "; ".join(problems[:_MOST_PROBLEMS]) or "it is empty"
        raise ClinieError("CIE250", path=Path(path).name, format=name, problems=why)


def offsets_problem(start: int, end: int, length: int) -> str | None:
    """Check the offsets of a concept.

    start (int): First character.
    end (int): One past the last character.
    length (int): Length of the text.
    RETURNS (str | None): The problem, as a reason for the report; None if the offsets are valid.
    """
    if start == end:
        return "empty concept"
    if start > end:
        return "concept that ends before it starts"
    if start < 0 or end > length:
        return "concept outside the text"
    return None


def repair(note: Note, report: Report, file: Path, line: int | None = None) -> None:
    """Repair a note so that `Note.check` accepts it.

    note (Note): The note, changed in place.
    report (Report): Counts what is dropped or changed.
    file (Path): The file of the note.
    line (int | None): The line of the note.
    """
    _replace_surrogates(note, report, file, line)
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
            report.mend("duplicate concept id, relations refer to the first", file, line)
        concept.id = unique_name(concept.id, taken)
        concept.fragments.sort()
        if concept.fragments and not _fragments_match(concept):
            report.mend("fragments that do not match their concept, removed", file, line)
            concept.fragments = []
        if len(concept.fragments) == 1:  # in one piece
            concept.fragments = []
        concepts.append(concept)
    note.concepts = concepts
    relations = []
    for relation in note.relations:
        missing = {end for end in (relation.head, relation.tail) if end not in taken}
        if missing:
            known = missing <= dropped
            report.drop(
                "relation to a concept that was dropped" if known else "relation to a missing concept", file, line
            )
        else:
            relations.append(relation)
    note.relations = relations
    items: list[Concept | Relation] = [*note.concepts, *note.relations]
    for item in items:
        if item.score is not None and not math.isfinite(item.score):
            report.mend("score that is not a finite number, removed", file, line)
            item.score = None


def unique_name(name: str, taken: dict[str, int]) -> str:
    """Make a name unique by adding a number.

    name (str): The name.
    taken (dict[str, int]): Names in use, each with its last number. The new name is added.
    RETURNS (str): The name itself if it is free.
    """
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}{_SEPARATOR}{taken[name]}"
    taken[found] = 1
    return found


def _fragments_match(concept: Concept) -> bool:
    parts = concept.fragments
    hull = parts[0][0], max(end for _, end in parts)
    return all(start < end for start, end in parts) and hull == concept.offsets


def _replace_surrogates(note: Note, report: Report, file: Path, line: int | None) -> None:
    replaced = 0

    def clean(text: str) -> str:
        nonlocal replaced
        text, count = replace_surrogates(text)
        replaced += count
        return text

    note.id, note.text = clean(note.id), clean(note.text)
    for concept in note.concepts:
        concept.id, concept.label = clean(concept.id), clean(concept.label)
        concept.attributes = {clean(key): clean(value) for key, value in concept.attributes.items()}
    for relation in note.relations:
        relation.head, relation.tail, relation.label = map(clean, (relation.head, relation.tail, relation.label))
    if replaced:
        report.mend("lone surrogate, replaced by U+FFFD", file, line, replaced)
