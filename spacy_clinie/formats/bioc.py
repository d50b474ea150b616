"""BioC as XML or JSON, on the `bioc` library: passages at their offsets, annotations with one or more locations,
relations between two annotations. The infons of an annotation become attributes. Other infons are left out and counted,
except type and score of relations.

The format does not define the unit of offsets, and tools differ: characters, UTF-8 bytes or UTF-16 units. Recorded text
of annotations decides: the unit with most matches is chosen.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

from bioc import (
    BioCAnnotation,
    BioCCollection,
    BioCDocument,
    BioCLocation,
    BioCNode,
    BioCPassage,
    BioCRelation,
    biocjson,
    biocxml,
)

from ..doc.note import Concept, Note, Relation, attributes_of
from ..doc.report import Report
from ..errors import ClinieError
from .atomic import atomic_write
from .bioc_documents import TYPE, json_documents, report_infons, xml_documents
from .files import field_name, replace_surrogates
from .identifiers import closest_pair, split_identifiers
from .offsets import OffsetMap, make_offset_map
from .reading import UniqueIds, find_corpus_files, repair, require_notes, unique_name
from .source import SourcedNote

SUFFIXES = (".xml", ".json")
SCORE = "score"
_TAIL_ROLES = {"tail", "arg2", "object", "target"}
_ROLES = _TAIL_ROLES | {"head", "arg1", "subject", "source", ""}
_INVALID_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A larger gap between passages is a wrong offset.
_MAX_BLANKS = 1_000_000
_RELATION_TYPES = (TYPE, "relation type", "relation")


class _Unit(NamedTuple):
    """The unit of offsets: so many bytes in an encoding."""

    name: str
    encoding: str
    size: int


_UNITS = (_Unit("characters", "utf-32-le", 4), _Unit("bytes", "utf-8", 1), _Unit("UTF-16 units", "utf-16-le", 2))


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read documents. Gaps between passages are filled with spaces and a line break.

    path (Path): A file, or a folder with `.xml` and `.json` files.
    report (Report): Counts what cannot be read. Its lines are the first lines of documents or, for JSON, the number of
        the document in the file.
    YIELDS (SourcedNote): The notes.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return require_notes(_read(path, report), path, "bioc", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write documents of one passage each.

    notes (Iterable[Note]): The notes.
    path (Path): The file, written atomically; JSON if its name ends in `.json`, otherwise XML.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note; CIE252 for control characters, which XML does not allow,
        and for attributes with reserved names.
    """

    collection = BioCCollection()
    collection.source, collection.date, collection.key = "spacy_clinie", "", "spacy_clinie.key"
    as_json = Path(path).suffix.lower() == ".json"
    for note in notes:
        note.check()
        if not as_json and not all(map(_in_xml, _strings(note))):
            raise ClinieError("CIE252", format="BioC XML", what="control characters", note=note.id)
        collection.add_document(_document(note))
    with atomic_write(path) as temporary:
        text = biocjson.dumps(collection) if as_json else biocxml.dumps(collection, pretty_print=False)
        temporary.write_bytes(text.encode("utf-8"))


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in find_corpus_files(path, SUFFIXES, report):
        documents = json_documents if file.suffix.lower() == ".json" else xml_documents
        for document, line in documents(file, report):
            note = _note(document, report, file, line)
            if note is None:
                continue
            repair(note, report, file, line)
            # Only now it is known which mentions are valid.
            if unnamed := [relation for relation in _relations(document) if not relation.nodes]:
                _add_between_identifiers(unnamed, note, report, file, line)
                repair(note, report, file, line)
            note.id = ids.assign(note.id, file, line)
            lines = {} if line is None else dict.fromkeys((concept.id for concept in note.concepts), line)
            yield SourcedNote(note, file, split, lines)


def _note(document: BioCDocument, report: Report, file: Path, line: int | None) -> Note | None:
    pieces = []
    annotations = list(document.annotations)
    unused = [("document", document.infons)]
    for passage in document.passages:
        for part in (passage, *passage.sentences):
            annotations += part.annotations
            unused.append(("passage" if part is passage else "sentence", part.infons))
        texts = [part for part in passage.sentences if part.text]
        pieces += [(part.offset, part.text) for part in ([passage] if passage.text else texts)]
        strange = sum(str(part.text) not in str(passage.text) for part in texts) if passage.text else 0
        if strange:
            report.drop("sentence whose text is not in its passage", file, line, strange)
    if document.id in (None, "") or not all(type(offset) is int and isinstance(text, str) for offset, text in pieces):
        report.drop("document without an id, or with passages that are not text", file, line)
        return None
    halves = sum(replace_surrogates(text)[1] for _, text in pieces)
    if halves:
        report.mend("lone surrogate, replaced by U+FFFD", file, line, halves)
    duplicates = _rename_duplicate_ids(document)
    if duplicates:
        report.mend("annotation id reused in a passage or sentence, renamed", file, line, duplicates)
    usable = _usable(annotations)
    if len(usable) < len(annotations):
        report.drop("annotation without a type or location", file, line, len(annotations) - len(usable))
    reading = _Reading.best(pieces, usable)
    if reading is None:
        report.drop("document with overlapping or distant passages", file, line)
        return None
    reading.report_changes(report, file, line)
    text = reading.buffer.decode(reading.unit.encoding)
    offset_map = make_offset_map(reading.unit.name, text)
    note = Note(str(document.id), text, [_concept(annotation, offset_map) for annotation in usable])
    for relation in (relation for relation in _relations(document) if relation.nodes):
        found = _relation(relation, unused)
        if found:
            note.relations.append(found)
            _report_roles(relation, report, file, line)
        else:
            report.drop("relation without a type, or not between two annotations", file, line)
    report_infons(unused, report, file, line)
    return note


class _Reading(NamedTuple):
    """The text of a document, assuming a unit of offsets.

    unit (_Unit): The unit.
    end (str): The line end. XML turns "\\r\\n" of the annotated text into one character.
    buffer (bytes): The text in the encoding of the unit.
    differing (int): Annotations whose recorded text differs from the text at their offsets.
    """

    unit: _Unit
    end: str
    buffer: bytes
    differing: int

    @classmethod
    def best(cls, pieces: list[tuple[int, str]], annotations: list[BioCAnnotation]) -> "_Reading | None":
        """The reading with most matching annotations; None if the passages fit together in none."""
        whole = "".join(text for _, text in pieces)
        units = _UNITS[:1] if whole.isascii() else _UNITS
        ends = ("\n", "\r\n") if "\n" in whole and "\r" not in whole else ("\n",)
        found = []
        for unit, end in product(units, ends):
            buffer = _join([(offset, text.replace("\n", end)) for offset, text in pieces], unit)
            if buffer is not None:
                reading = cls(unit, end, buffer, 0)
                differing = sum(not reading.agrees(annotation) for annotation in annotations)
                found.append(reading._replace(differing=differing))
        return min(found, key=lambda reading: reading.differing, default=None)

    def agrees(self, annotation: BioCAnnotation) -> bool:
        """Whether the recorded text of an annotation matches the text at its offsets. With several locations, it may be
        the whole span, or the pieces in either order with no letter or digit in between."""
        if not annotation.text:
            return True
        recorded = replace_surrogates(str(annotation.text))[0].replace("\n", self.end).encode(self.unit.encoding)
        size = self.unit.size
        pieces = [(place.offset * size, (place.offset + place.length) * size) for place in annotation.locations]
        if self.buffer[min(pieces)[0] : max(last for _, last in pieces)] == recorded:
            return True
        return len(pieces) > 1 and any(self._match_pieces(recorded, order) for order in (pieces, sorted(pieces)))

    def _match_pieces(self, recorded: bytes, pieces: list[tuple[int, int]]) -> bool:
        """Whether the pieces, one after the other, contain all letters and digits of a recorded text."""
        text, at = recorded.decode(self.unit.encoding), 0
        for first, last in pieces:
            piece = self.buffer[first:last].decode(self.unit.encoding, "replace")
            found = text.find(piece, at)
            if found < 0 or any(map(str.isalnum, text[at:found])):
                return False
            at = found + len(piece)
        return not any(map(str.isalnum, text[at:]))

    def report_changes(self, report: Report, file: Path, line: int | None) -> None:
        """Report how the reading differs from the default."""
        if self.unit is not _UNITS[0]:
            report.mend(f"offsets count {self.unit.name}, not characters", file, line)
        if self.end != "\n":
            report.mend("offsets count line ends as two characters", file, line)
        if self.differing:
            report.mend("recorded text differs from the text at the offsets", file, line, self.differing)


def _join(pieces: list[tuple[int, str]], unit: _Unit) -> bytes | None:
    parts: list[bytes] = []
    end = blanks = 0
    for offset, text in sorted(pieces, key=lambda piece: piece[0]):
        gap = offset - end
        blanks += gap
        if gap < 0 or blanks > _MAX_BLANKS:
            return None
        parts.append((("\n".rjust(gap) if gap else "") + replace_surrogates(text)[0]).encode(unit.encoding))
        end += len(parts[-1]) // unit.size
    return b"".join(parts)


def _relations(document: BioCDocument) -> Iterator[BioCRelation]:
    """The relations of a document, its passages and their sentences."""
    yield from document.relations
    for passage in document.passages:
        for part in (passage, *passage.sentences):
            yield from part.relations


def _rename_duplicate_ids(document: BioCDocument) -> int:
    """Rename annotations whose ids occur in an earlier passage or sentence. A relation refers to the nearest: in its
    sentence, then in its passage, then the first in the document.

    RETURNS (int): The number of renamed annotations.
    """
    taken: dict[str, int] = {}

    def renamed(annotations: list[BioCAnnotation]) -> dict[str, str]:
        names = {str(one.id): "" for one in annotations if one.id not in (None, "")}
        names = {name: unique_name(name, taken) for name in names}
        for one in annotations:
            one.id = names.get(str(one.id), one.id)
        return names

    def point(relations: list[BioCRelation], names: dict[str, str]) -> None:
        for node in (node for relation in relations for node in relation.nodes):
            node.refid = names.get(str(node.refid), node.refid)

    new = [renamed(document.annotations)]
    for passage in document.passages:
        own = renamed(passage.annotations)
        inner = [renamed(sentence.annotations) for sentence in passage.sentences]
        for names in inner:
            own = names | own  # its own first, then those of the first sentence
        point(passage.relations, own)
        for sentence, names in zip(passage.sentences, inner, strict=True):
            point(sentence.relations, own | names)
        new += [own, *inner]
    return len({changed for names in new for name, changed in names.items() if name != changed})


def _usable(annotations: list[BioCAnnotation]) -> list[BioCAnnotation]:
    """The annotations that can become concepts, each with an id."""
    usable = [annotation for annotation in annotations if _is_usable(annotation)]
    given = {str(annotation.id) for annotation in usable}
    free = (name for i in count(1) if (name := f"A{i}") not in given)
    for annotation in usable:
        if annotation.id in (None, ""):  # nothing refers to it
            annotation.id = next(free)
    return usable


def _is_usable(annotation: BioCAnnotation) -> bool:
    if not (annotation.locations and isinstance(annotation.infons, dict)):
        return False
    places = [value for location in annotation.locations for value in (location.offset, location.length)]
    return bool(annotation.infons.get(TYPE)) and all(type(value) is int and value >= 0 for value in places)


def _concept(annotation: BioCAnnotation, offset_map: OffsetMap) -> Concept:
    attributes = attributes_of(annotation.infons)
    label, score = attributes.pop(TYPE), _pop_score(attributes)
    places = sorted((location.offset, location.offset + location.length) for location in annotation.locations)
    fragments = [(offset_map.to_character(start), offset_map.to_character(end)) for start, end in places]
    start, end = fragments[0][0], max(last for _, last in fragments)
    return Concept(str(annotation.id), start, end, label, score, fragments if len(fragments) > 1 else [], attributes)


def _relation(relation: BioCRelation, unused: list[tuple[str, Any]]) -> Relation | None:
    """A relation, or None if it is invalid. Its infons other than type and score are added to the unused ones."""
    if len(relation.nodes) != 2 or not isinstance(relation.infons, dict):
        return None
    infons = attributes_of(relation.infons)
    label = next((infons.pop(key) for key in _RELATION_TYPES if infons.get(key)), None)
    if label is None:
        return None
    head, tail = relation.nodes
    if _role(head) in _TAIL_ROLES:
        head, tail = tail, head
    score = _pop_score(infons)
    unused.append(("relation", infons))
    return Relation(str(head.refid), str(tail.refid), label, score)


def _add_between_identifiers(
    relations: Sequence[BioCRelation], note: Note, report: Report, file: Path, line: int | None
) -> None:
    """Add relations whose infons name their ends by identifiers, as in BC5CDR and BioRED. It is not marked which infons
    of an annotation are identifiers: preferably one infon with those of both ends, otherwise any. An infon that
    relations have, too, such as the annotator, is not one."""
    mentions: defaultdict[str, list[Concept]] = defaultdict(list)
    held: defaultdict[str, set[str]] = defaultdict(set)  # by key
    for concept in note.concepts:
        for key, value in concept.attributes.items():
            held[key] |= split_identifiers(value)
        for name in {name for value in concept.attributes.values() for name in split_identifiers(value)}:
            mentions[name].append(concept)
    pair_of = cache(lambda first, second: closest_pair(mentions[first], mentions[second]))
    for relation in relations:
        infons = attributes_of(relation.infons if isinstance(relation.infons, dict) else {})
        label = next((infons.pop(key) for key in reversed(_RELATION_TYPES) if infons.get(key)), None)
        score = _pop_score(infons)
        candidates = {key: value for key, value in infons.items() if value in mentions and key not in held}
        ends = [[key for key, value in candidates.items() if value in values] for values in held.values()]
        both = next((keys for keys in (*ends, list(candidates)) if len(keys) == 2), [])
        pair = pair_of(*(infons.pop(key) for key in both)) if both else None
        if pair is None or label is None:
            report.drop("relation without a type, or not between two annotations or identifiers", file, line)
            continue
        note.relations.append(Relation(pair[0].id, pair[1].id, label, score))
        report.mend("relation between identifiers, assigned to their closest mentions", file, line)
        report_infons([("relation", infons)], report, file, line)


def _role(node: BioCNode) -> str:
    return "" if node.role is None else str(node.role).lower()


def _report_roles(relation: BioCRelation, report: Report, file: Path, line: int | None) -> None:
    for role in map(_role, relation.nodes):
        if role not in _ROLES:
            report.leave_out(f"role in a relation: {field_name(role)}", file, line)


def _pop_score(infons: dict[str, str]) -> float | None:
    try:
        score = float(infons[SCORE])
    except (KeyError, ValueError):
        return None
    del infons[SCORE]
    return score


def _document(note: Note) -> BioCDocument:
    document, passage = BioCDocument(), BioCPassage()
    document.id, passage.offset, passage.text = note.id, 0, note.text
    document.add_passage(passage)
    for concept in note.concepts:
        if {TYPE, SCORE} & set(concept.attributes):
            raise ClinieError("CIE252", format="BioC", what="attributes named 'type' or 'score'", note=note.id)
        annotation = BioCAnnotation()
        annotation.id = concept.id
        annotation.infons = _infons(concept) | concept.attributes
        fragments = concept.fragments or [concept.offsets]
        annotation.text = " ".join(note.text[start:end] for start, end in fragments)
        for start, end in fragments:
            annotation.add_location(BioCLocation(start, end - start))
        passage.add_annotation(annotation)
    for number, relation in enumerate(note.relations, start=1):
        record = BioCRelation()
        record.id = f"R{number}"
        record.infons = _infons(relation)
        record.add_node(BioCNode(relation.head, "head"))
        record.add_node(BioCNode(relation.tail, "tail"))
        document.add_relation(record)
    return document


def _infons(item: Concept | Relation) -> dict[str, str]:
    return {TYPE: item.label} | ({} if item.score is None else {SCORE: repr(float(item.score))})


def _strings(note: Note) -> Iterator[Any]:
    yield from (note.id, note.text)
    for concept in note.concepts:
        yield from (concept.id, concept.label, *concept.attributes, *concept.attributes.values())
    yield from (relation.label for relation in note.relations)


def _in_xml(text: str) -> bool:
    return _INVALID_IN_XML.search(text) is None
