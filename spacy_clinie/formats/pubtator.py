"""PubTator: title, abstract, mentions, and document-level relations between the identifiers of mentions.

    227508|t|Title.
    227508|a|Abstract.
    227508	0	8	Naloxone	Chemical	D009270
    227508	CID	D003000	D007022

Offsets continue from title to abstract, with one character in between. The identifier of a mention becomes the
attribute `identifier`. A relation is assigned to the closest two mentions of its identifiers, which keeps the number of
relations of the corpus. Additional columns, such as `Novel` in BioRED, are left out and counted. The `bioc` library
also reads the format, but strips titles, has no line numbers and prints lines that it does not understand.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from .atomic import atomic_write
from .files import numbered_lines, read_text, replace_surrogates
from .identifiers import closest_pair, split_identifiers
from .offsets import detect_offset_map
from .reading import UniqueIds, find_corpus_files, offsets_problem, repair, require_notes
from .source import SourcedNote

SUFFIXES = (".pubtator.txt", ".pubtator")
IDENTIFIER = "identifier"
COMPOSITE = "composite"
# If a mention has several identifiers, the ones that a relation means are kept in this attribute of the head.
RELATED = "related identifiers"
_TEXT = re.compile(r"([^\t|]*)\|([ta])\|(.*)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,12}")


@dataclass
class _Block:
    """The lines of one document."""

    id: str
    line: int
    title: str | None = None
    abstract: str | None = None
    invalid_line: int | None = None  # the first line that is not UTF-8
    rows: list[tuple[int, list[str]]] = field(default_factory=list)


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read documents.

    path (Path): A file, or a folder with `.PubTator.txt` or `.PubTator` files.
    report (Report): Counts what cannot be read.
    YIELDS (SourcedNote): The notes.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return require_notes(_read(path, report), path, "pubtator", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write documents. Notes from `read` are read back unchanged; other concepts with a relation get their id as
    identifier. Scores, and attributes that `read` does not make, are not written.

    notes (Iterable[Note]): The notes.
    path (Path): The file, written atomically.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE252 for line breaks other than the one after the
        title, tabs in concepts, discontinuous concepts and relation types that are numbers.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for note in notes:
            note.check()
            out.write("\n".join(_document_lines(note)) + "\n\n")


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in find_corpus_files(path, SUFFIXES, report):
        text = read_text(file, report, errors="surrogateescape")
        for block in _blocks(text, file, report) if text is not None else ():
            if block.invalid_line is not None:
                report.drop("document that is not UTF-8", file, block.invalid_line)
                continue
            note, lines = _note(block, file, report)
            repair(note, report, file, block.line)
            note.id = ids.assign(note.id, file, block.line)
            yield SourcedNote(note, file, split, lines)


def _blocks(text: str, file: Path, report: Report) -> Iterator[_Block]:
    block: _Block | None = None
    for number, line in numbered_lines(text):
        found = _TEXT.fullmatch(line)
        if found and (block is None or found[1] != block.id or (block.title is not None and found[2] == "t")):
            if block:
                yield block
            block = _Block(found[1], number)
        if block and block.invalid_line is None and replace_surrogates(line)[1]:
            block.invalid_line = number
        if not line.strip():
            if block:
                yield block
            block = None
        elif block is None:
            report.drop("line outside of a document", file, number)
        elif found and found[2] == "t":
            block.title = found[3]
        elif found and block.abstract is not None:
            report.drop("second abstract of a document", file, number)
        elif found:
            block.abstract = found[3]
        else:
            block.rows.append((number, line.split("\t")))
    if block:
        yield block


def _note(block: _Block, file: Path, report: Report) -> tuple[Note, dict[str, int]]:
    parts = [part for part in (block.title, block.abstract) if part is not None]
    note = Note(block.id, "\n".join(parts))
    mentions: list[tuple[int, list[str]]] = []
    relations: list[tuple[int, list[str]]] = []
    for number, row in block.rows:
        if row[0] != block.id:
            report.drop("line with the id of another document", file, number)
        elif len(row) >= 4 and _INTEGER.fullmatch(row[1]) and _INTEGER.fullmatch(row[2]):
            mentions.append((number, row))
        elif len(row) in (4, 5) and all(row[1:4]):
            relations.append((number, row[1:]))
        else:
            report.drop("line that is neither a mention nor a relation", file, number)
    lines = _add_concepts(note, mentions, file, report)
    _add_relations(note, relations, file, report)
    return note, lines


def _add_concepts(note: Note, mentions: Sequence[tuple[int, list[str]]], file: Path, report: Report) -> dict[str, int]:
    """RETURNS (dict[str, int]): The line of each concept by its id."""

    def place(row: list[str], character: Callable[[int], int] = int) -> tuple[int, int, list[str]]:
        """First character, one past the last, and the columns from the recorded string on, which may contain tabs."""
        start, end = character(int(row[1])), character(int(row[2]))
        text = note.text[max(start, 0) : max(end, 0)]
        columns = text.count("\t") + 1
        whole = "\t".join(row[3 : 3 + columns]) == text
        return start, end, [text, *row[3 + columns :]] if whole else row[3:]

    def agreeing(character: Callable[[int], int]) -> int:
        found = (place(row, character) for _, row in mentions)
        return sum(note.text[max(start, 0) : max(end, 0)] == columns[0] for start, end, columns in found)

    offset_map = detect_offset_map(note.text, agreeing, len(mentions))
    if offset_map:
        report.mend(f"offsets count {offset_map.name}, converted to characters", file, mentions[0][0])
    lines: dict[str, int] = {}
    for number, row in mentions:
        start, end, (recorded, *columns) = place(row, offset_map.to_character if offset_map else int)
        label, more = (columns[0], columns[1:]) if columns else ("", [])
        problem = offsets_problem(start, end, len(note.text)) or (None if label else "mention without a type")
        if problem:
            report.drop(problem, file, number)
            continue
        if note.text[start:end] != recorded:
            report.mend("recorded text differs from the text at the offsets", file, number)
        concept = Concept(f"T{len(note.concepts) + 1}", start, end, label)
        named = zip((IDENTIFIER, COMPOSITE), more, strict=False)
        concept.attributes = {key: value for key, value in named if value}
        note.concepts.append(concept)
        lines[concept.id] = number
        _report_columns("mention", more[2:], report, file, number)
    return lines


def _add_relations(note: Note, relations: Sequence[tuple[int, list[str]]], file: Path, report: Report) -> None:
    mentions: defaultdict[str, list[Concept]] = defaultdict(list)
    for concept in note.concepts:
        for name in _identifiers(concept):
            mentions[name].append(concept)
    pair_of = cache(lambda first, second: closest_pair(mentions[first], mentions[second]))
    for number, (label, first, second, *further) in relations:
        pair = pair_of(first, second)
        if pair is None:
            alone = first == second and first in mentions
            ends = (
                "between an identifier and itself, with a single mention"
                if alone
                else "to an identifier without a mention"
            )
            report.drop(f"relation {ends}", file, number)
            continue
        head, tail = pair
        if any(end.attributes[IDENTIFIER] != name for end, name in ((head, first), (tail, second))):
            entry = f"{label} {tail.id} {first} {second}"
            head.attributes[RELATED] = "\n".join(filter(None, (head.attributes.get(RELATED), entry)))
        note.relations.append(Relation(head.id, tail.id, label))
        _report_columns("relation", further, report, file, number)


def _report_columns(what: str, columns: Sequence[str], report: Report, file: Path, line: int) -> None:
    if any(columns):
        report.leave_out(f"additional column of a {what}", file, line)


def _identifiers(concept: Concept) -> set[str]:
    return split_identifiers(concept.attributes.get(IDENTIFIER, ""))


def _document_lines(note: Note) -> Iterator[str]:
    title, separator, abstract = note.text.partition("\n")
    if "\n" in abstract or title.endswith("\r") or abstract.endswith("\r"):
        raise ClinieError("CIE252", format="PubTator", what="line breaks within the text", note=note.id)
    if "|" in note.id:
        raise ClinieError("CIE252", format="PubTator", what="ids with '|'", note=note.id)
    yield f"{note.id}|t|{title}"
    if separator:
        yield f"{note.id}|a|{abstract}"
    concepts = {concept.id: concept for concept in note.concepts}
    names = _names(note)
    for concept in note.concepts:
        if concept.fragments:
            raise ClinieError("CIE252", format="PubTator", what="discontinuous concepts", note=note.id)
        columns = [names.get(concept.id, ""), concept.attributes.get(COMPOSITE, "")]
        while columns and not columns[-1]:
            columns.pop()
        recorded = note.text[concept.start : concept.end]
        yield _row(note, str(concept.start), str(concept.end), recorded, concept.label, *columns)
    entries = {concept.id: concept.attributes.get(RELATED, "").split("\n") for concept in note.concepts}
    for relation in note.relations:
        if _INTEGER.fullmatch(relation.label):
            raise ClinieError("CIE252", format="PubTator", what="relation types that are numbers", note=note.id)
        head, tail = concepts[relation.head], concepts[relation.tail]
        ends = names[head.id], names[tail.id]
        for entry in entries[head.id]:
            label, _, rest = entry.partition(f" {tail.id} ")
            meant = _split_pair(rest, _identifiers(head), _identifiers(tail)) if label == relation.label else None
            if meant:
                ends = meant
                entries[head.id].remove(entry)
                break
        yield _row(note, relation.label, *ends)


def _row(note: Note, *fields: str) -> str:
    row = "\t".join((note.id, *fields))
    if row.count("\t") > len(fields) or "\n" in row or "\r" in row:
        raise ClinieError("CIE252", format="PubTator", what="tabs and line breaks within concepts", note=note.id)
    return row


def _names(note: Note) -> dict[str, str]:
    """The identifiers of concepts by id. Concepts of relations that have none get their id."""
    names = {concept.id: name for concept in note.concepts if (name := concept.attributes.get(IDENTIFIER))}
    taken = {name for concept in note.concepts for name in _identifiers(concept)}
    for end in (end for relation in note.relations for end in (relation.head, relation.tail)):
        if end not in names:
            name = end
            while name in taken:
                name += "'"
            names[end] = name
            taken.add(name)
    return names


def _split_pair(names: str, first: set[str], second: set[str]) -> tuple[str, str] | None:
    """Split two identifiers at a space. Either may contain spaces."""
    cuts = (found.start() for found in re.finditer(" ", names))
    pairs = ((names[:cut], names[cut + 1 :]) for cut in cuts)
    return next((pair for pair in pairs if pair[0] in first and pair[1] in second), None)
