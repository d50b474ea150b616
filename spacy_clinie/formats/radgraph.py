"""RadGraph: JSON files with one object each, from note ids to text and entities.

An entity is `{"tokens", "label", "start_ix", "end_ix", "relations": [[type, entity id], …]}`; later corpora in this
format add `attributes`, an object of strings. Indexes count whitespace-separated tokens from 0; the last token is
included. A run of whitespace separates once, unless `tokens` matches only if every single space separates.

Test notes have one set of entities from each of two labellers. The first is read, the other left out.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..doc.note import Concept, Note, Relation, attributes_of
from ..doc.report import Report
from ..errors import ClinieError
from .files import SPLITS, duplicate_key_hook, field_name, read_text, replace_surrogates, write_text
from .reading import CorpusFile, UniqueIds, find_corpus_files, require_notes
from .source import SourcedNote

SUFFIXES = (".json",)
# Fields of records, of the annotations of a labeller and of entities.
_RECORD = re.compile(r"text|entities|data_source|data_split|labeler_[0-9]+")
_LABELLED = re.compile("text|entities")
_ENTITY = re.compile("tokens|label|start_ix|end_ix|relations|attributes")
# Separators of the records in a file. A file without records is opened and closed at once.
_OPEN = re.compile(r"\ufeff?[ \t\r\n]*\{[ \t\r\n]*\}?")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*[,}][ \t\r\n]*")
_END = re.compile(r"[ \t\r\n]*\Z")


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read a folder of RadGraph files, or one file.

    path (Path): The folder or the file.
    report (Report): Counts what is not converted, by the first line of the record.
    YIELDS (SourcedNote): Notes in the order of the files. The split comes from the record (`data_split`), otherwise
        from the path of the file.
    RAISES (ClinieError): CIE200, CIE201 and CIE250 if there is nothing to read.
    """
    return require_notes(_notes(find_corpus_files(path, SUFFIXES, report), report), path, "RadGraph", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as one RadGraph file.

    notes (Iterable[Note]): The notes, with whitespace-separated tokens.
    path (Path): The file; for a folder, `radgraph.json` inside it.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE202 for a lone surrogate, CIE204 for a duplicate id,
        CIE206 for what the format cannot hold: concepts of partial tokens, fragments.
    """
    path = Path(path)
    records: dict[str, dict[str, Any]] = {}
    for note in notes:
        note.check()
        if note.id in records:
            raise ClinieError("CIE204", note=note.id)
        records[note.id] = {"text": note.text, "entities": _entities(note)}
    file = path if path.suffix.lower() == ".json" else path / "radgraph.json"
    write_text(file, json.dumps(records, ensure_ascii=False, indent=1) + "\n")


def _notes(files: list[CorpusFile], report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in files:
        for key, record, line in _records(read_text(file, report), file, report):
            note = _NoteReader(file, line, report).note(key, record)
            if note is not None:
                note.id = ids.assign(note.id, file, line)
                lines = dict.fromkeys((concept.id for concept in note.concepts), line)
                yield SourcedNote(note, file, SPLITS.get(str(record.get("data_split")).lower(), split), lines)


def _records(content: str | None, file: Path, report: Report) -> Iterator[tuple[str, Any, int]]:
    """The note ids of a file, their records and the first lines of these. Records are parsed one by one, so those of a
    truncated file are read up to the cut."""
    if content is None:
        return
    line = 1

    def expect(pattern: re.Pattern[str], position: int) -> re.Match[str]:
        match = pattern.match(content, position)
        if match is None:
            raise json.JSONDecodeError("", content, position)
        return match

    counted = 0
    try:
        mark = expect(_OPEN, 0)
        while "}" not in mark[0]:
            line, counted = line + content.count("\n", counted, mark.end()), mark.end()
            decoder = json.JSONDecoder(object_pairs_hook=duplicate_key_hook(file, report, line))
            key, position = decoder.raw_decode(content, counted)
            if not isinstance(key, str):
                raise json.JSONDecodeError("", content, counted)
            record, position = decoder.raw_decode(content, expect(_COLON, position).end())
            yield key, record, line
            mark = expect(_NEXT, position)
        expect(_END, mark.end())
    except json.JSONDecodeError as error:
        report.drop("file is not a complete JSON object", file, error.lineno)
    except (ValueError, RecursionError):
        report.drop("file has a number that is too long, or is nested too deeply", file, line)


class _NoteReader:
    """Reads one note.

    file (Path): Its file, for remarks.
    line (int): The first line of its record, for remarks.
    report (Report): Collects the remarks.
    """

    def __init__(self, file: Path, line: int, report: Report) -> None:
        self.file = file
        self.line = line
        self.report = report

    def note(self, note_id: str, record: Any) -> Note | None:
        """Read the note.

        note_id (str): Its id.
        record (Any): Its record.
        RETURNS (Note | None): The note; None if the record is invalid.
        """
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            self._drop("record without text")
            return None
        if not text:
            self._drop("note without text")
            return None
        labelled: Any = record
        labellers = sorted(name for name in record if re.fullmatch(r"labeler_[0-9]+", name))
        if "entities" not in record:
            labelled = record[labellers.pop(0)] if labellers else None
        for _ in labellers:
            self.report.leave_out("annotation by another labeller", self.file, self.line)
        entities = labelled.get("entities") if isinstance(labelled, dict) else None
        if not isinstance(entities, dict):
            self._drop("record without entities")
            return None
        self._count_unknown("", record, _RECORD)
        if labelled is not record:
            self._count_unknown("labeler.", labelled, _LABELLED)
        text, replaced = replace_surrogates(text)
        if replaced:
            self._mend("lone surrogate, replaced by U+FFFD")
        note = Note(replace_surrogates(note_id)[0], text)
        tokenizations = _tokenizations(text)
        links = []
        for key, entity in entities.items():
            concept = self._concept(key, entity, text, tokenizations)
            if concept is not None:
                note.concepts.append(concept)
                links += [(key, link) for link in entity.get("relations") or ()]
            elif isinstance(entity, dict) and isinstance(lost := entity.get("relations"), list) and lost:
                self.report.drop("relation of an entity that was dropped", self.file, self.line, len(lost))
        note.relations = self._relations(links, {concept.id for concept in note.concepts})
        return note

    def _drop(self, reason: str) -> None:
        self.report.drop(reason, self.file, self.line)

    def _mend(self, reason: str) -> None:
        self.report.mend(reason, self.file, self.line)

    def _concept(self, key: str, entity: Any, text: str, tokenizations: list[list[tuple[int, int]]]) -> Concept | None:
        if not isinstance(entity, dict) or not _is_valid_name(key) or not _is_valid_name(entity.get("label")):
            self._drop("malformed entity")
            return None
        first, last, links = entity.get("start_ix"), entity.get("end_ix"), entity.get("relations") or []
        if type(first) is not int or type(last) is not int or not isinstance(links, list):
            self._drop("malformed entity")
            return None
        inside = [
            (tokens[first][0], tokens[last][1])
            for tokens in tokenizations
            if 0 <= first <= last < len(tokens) and tokens[first][0] < tokens[last][1]
        ]
        if not inside:
            self._drop("token index outside the text")
            return None
        wanted = replace_surrogates(str(entity.get("tokens")))[0].split()
        agreeing = [(start, end) for start, end in inside if text[start:end].split() == wanted]
        if not agreeing:
            self._mend("tokens of an entity differ from the text at its indexes")
        start, end = (agreeing or inside)[0]
        self._count_unknown("entity.", entity, _ENTITY)
        attributes = entity.get("attributes") or {}
        if not isinstance(attributes, dict):
            self._drop("attributes that are not an object")
            attributes = {}
        known = {
            replace_surrogates(name)[0]: replace_surrogates(value)[0]
            for name, value in attributes_of(attributes).items()
        }
        return Concept(key, start, end, entity["label"], attributes=known)

    def _count_unknown(self, where: str, fields: dict[str, Any], known: re.Pattern[str]) -> None:
        for name in fields:
            if not known.fullmatch(name):
                self._drop(f"unknown field: {field_name(where + name)}")

    def _relations(self, links: list[tuple[str, Any]], ids: set[str]) -> list[Relation]:
        relations: dict[tuple[str, str, str], Relation] = {}
        for head, link in links:
            if not isinstance(link, list) or len(link) != 2 or not _is_valid_name(link[0]):
                self._drop("malformed relation")
                continue
            label, tail = link[0], str(link[1])
            if tail not in ids:
                self._drop("relation to a missing id")
            elif (head, tail, label) in relations:
                self.report.leave_out("duplicate relation", self.file, self.line)
            else:
                relations[head, tail, label] = Relation(head, tail, label)
        return list(relations.values())


def _is_valid_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not replace_surrogates(value)[1]


def _tokenizations(text: str) -> list[list[tuple[int, int]]]:
    """The tokens of a text, separated by runs of whitespace, and by every single space."""
    return [
        [word.span() for word in re.finditer(r"\S+", text)],
        [word.span() for word in re.finditer("(?:^|(?<= ))[^ ]*", text)],
    ]


def _entities(note: Note) -> dict[str, dict[str, Any]]:
    """The entities of a note in this format, by id."""
    tokens = _tokenizations(note.text)[0]
    starts = {start: index for index, (start, _) in enumerate(tokens)}
    ends = {end: index for index, (_, end) in enumerate(tokens)}
    entities: dict[str, dict[str, Any]] = {}
    for concept in note.concepts:
        problem = None
        if concept.start not in starts or concept.end not in ends:
            problem = "it does not start and end at whitespace-separated tokens"
        elif concept.fragments:
            problem = "it has several fragments"
        elif not concept.id or not concept.label:
            problem = "it has no id or no type"
        if problem:
            raise ClinieError(
                "CIE206", kind="Concept", name=concept.id, note=note.id, format="radgraph", problem=problem
            )
        entities[concept.id] = {
            "tokens": " ".join(note.text[concept.start : concept.end].split()),
            "label": concept.label,
            "start_ix": starts[concept.start],
            "end_ix": ends[concept.end],
            "relations": [[link.label, link.tail] for link in note.relations if link.head == concept.id],
            **({"attributes": dict(concept.attributes)} if concept.attributes else {}),
        }
    return entities
