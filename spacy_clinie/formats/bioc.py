"""BioC, as XML or JSON, on the `bioc` library: passages at their offsets, annotations with one or several locations,
relations between two annotations. An annotation's infons become attributes. Those of relations, other than type and
score, and of sentences, passages, documents and collections are left out, and counted.

The format leaves open what its offsets count, and tools differ: characters, UTF-8 bytes or UTF-16 units. Where an
annotation records its text, the unit is taken that makes recorded and real text agree.
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
from .bioc_documents import TYPE, json_documents, leave_out_infons, xml_documents
from .bundle import Ids, at_least_one, find_bundles, make_sound, replacing, take_free
from .files import clean, field_name
from .identifiers import closest, identifiers_of
from .offsets import Counting, counted_in
from .source import SourcedNote

SUFFIXES = (".xml", ".json")
SCORE = "score"
_TAIL_ROLES = {"tail", "arg2", "object", "target"}
_ROLES = _TAIL_ROLES | {"head", "arg1", "subject", "source", ""}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# More blanks than this between passages are no text, but a wrong offset.
_MOST_BLANKS = 1_000_000
_RELATION_TYPES = (TYPE, "relation type", "relation")


class _Unit(NamedTuple):
    """What an offset counts: units of so many bytes in an encoding."""

    name: str
    encoding: str
    size: int


_UNITS = (_Unit("characters", "utf-32-le", 4), _Unit("bytes", "utf-8", 1), _Unit("UTF-16 units", "utf-16-le", 2))


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read documents. Gaps between passages are filled with blanks and a line break.

    path (Path): A file, or a folder with `.xml` and `.json` files.
    report (Report): Counts what cannot be used. The line is the one where the document begins; in JSON, it is the
        number of the document in the file.
    YIELDS (SourcedNote): Notes.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return at_least_one(_read(path, report), path, "bioc", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write documents of one passage each.

    notes (Iterable[Note]): The notes.
    path (Path): The file, replaced once all of it is written; JSON if its name ends in `.json`, XML otherwise.
    RAISES (ClinieError): CIE004 to CIE006 for a note that is not whole; CIE252 for control characters, which XML does
        not have, and for attributes with a name that the format needs itself.
    """

    collection = BioCCollection()
    collection.source, collection.date, collection.key = "spacy_clinie", "", "spacy_clinie.key"
    as_json = Path(path).suffix.lower() == ".json"
    for note in notes:
        note.check()
        if not as_json and not all(map(_in_xml, _strings(note))):
            raise ClinieError("CIE252", format="BioC XML", what="control characters", note=note.id)
        collection.add_document(_document(note))
    with replacing(path) as temporary:
        text = biocjson.dumps(collection) if as_json else biocxml.dumps(collection, pretty_print=False)
        temporary.write_bytes(text.encode("utf-8"))


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = Ids(report)
    for file, split in find_bundles(path, SUFFIXES, report):
        documents = json_documents if file.suffix.lower() == ".json" else xml_documents
        for document, line in documents(file, report):
            note = _note(document, report, file, line)
            if note is None:
                continue
            make_sound(note, report, file, line)
            # Now it is known which mentions can be used.
            if unnamed := [relation for relation in _relations(document) if not relation.nodes]:
                _add_between_identifiers(unnamed, note, report, file, line)
                make_sound(note, report, file, line)
            note.id = ids.unique(note.id, file, line)
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
    halves = sum(clean(text)[1] for _, text in pieces)
    if halves:
        report.mend("half a character (lone surrogate) was replaced", file, line, halves)
    begun_anew = _tell_apart(document)
    if begun_anew:
        report.mend("ids of annotations that begin anew in a passage or sentence: told apart", file, line, begun_anew)
    usable = _usable(annotations)
    if len(usable) < len(annotations):
        report.drop("annotation without type or place", file, line, len(annotations) - len(usable))
    reading = _Reading.best(pieces, usable)
    if reading is None:
        report.drop("document whose passages lie over each other or far apart", file, line)
        return None
    reading.tell(report, file, line)
    text = reading.buffer.decode(reading.unit.encoding)
    counting = counted_in(reading.unit.name, text)
    note = Note(str(document.id), text, [_concept(annotation, counting) for annotation in usable])
    for relation in (relation for relation in _relations(document) if relation.nodes):
        found = _relation(relation, unused)
        if found:
            note.relations.append(found)
            _leave_out_roles(relation, report, file, line)
        else:
            report.drop("relation without a type, or not between two annotations", file, line)
    leave_out_infons(unused, report, file, line)
    return note


class _Reading(NamedTuple):
    """A document's text under the assumption that offsets count a certain unit.

    unit (_Unit): The unit.
    end (str): How lines end. XML makes one character of what were two in the text that was annotated.
    buffer (bytes): The text in the unit's encoding.
    differing (int): Annotations that record another text than stands at their offsets.
    """

    unit: _Unit
    end: str
    buffer: bytes
    differing: int

    @classmethod
    def best(cls, pieces: list[tuple[int, str]], annotations: list[BioCAnnotation]) -> "_Reading | None":
        """The reading that fits what annotations record; None if passages cannot be put together in any."""
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
        """Whether an annotation records the text that stands at its offsets. That of several pieces is what stands
        there from first to last, or the pieces, in the order of the text or their own, no letter or digit between."""
        if not annotation.text:
            return True
        recorded = clean(str(annotation.text))[0].replace("\n", self.end).encode(self.unit.encoding)
        size = self.unit.size
        pieces = [(place.offset * size, (place.offset + place.length) * size) for place in annotation.locations]
        if self.buffer[min(pieces)[0] : max(last for _, last in pieces)] == recorded:
            return True
        return len(pieces) > 1 and any(self._stand_in(recorded, order) for order in (pieces, sorted(pieces)))

    def _stand_in(self, recorded: bytes, pieces: list[tuple[int, int]]) -> bool:
        """Whether pieces of the text are what a recorded text has of letters and digits, one behind the other."""
        text, at = recorded.decode(self.unit.encoding), 0
        for first, last in pieces:
            piece = self.buffer[first:last].decode(self.unit.encoding, "replace")
            found = text.find(piece, at)
            if found < 0 or any(map(str.isalnum, text[at:found])):
                return False
            at = found + len(piece)
        return not any(map(str.isalnum, text[at:]))

    def tell(self, report: Report, file: Path, line: int | None) -> None:
        """Say what had to be taken otherwise."""
        if self.unit is not _UNITS[0]:
            report.mend(f"offsets count {self.unit.name}, not characters", file, line)
        if self.end != "\n":
            report.mend("offsets count line ends as two characters", file, line)
        if self.differing:
            report.mend("recorded string differs from the text at its offsets", file, line, self.differing)


def _join(pieces: list[tuple[int, str]], unit: _Unit) -> bytes | None:
    parts: list[bytes] = []
    end = blanks = 0
    for offset, text in sorted(pieces, key=lambda piece: piece[0]):
        gap = offset - end
        blanks += gap
        if gap < 0 or blanks > _MOST_BLANKS:
            return None
        parts.append((("\n".rjust(gap) if gap else "") + clean(text)[0]).encode(unit.encoding))
        end += len(parts[-1]) // unit.size
    return b"".join(parts)


def _relations(document: BioCDocument) -> Iterator[BioCRelation]:
    """Those of a document, of its passages and of their sentences."""
    yield from document.relations
    for passage in document.passages:
        for part in (passage, *passage.sentences):
            yield from part.relations


def _tell_apart(document: BioCDocument) -> int:
    """Give annotations whose ids stand in an earlier passage or sentence new ones. Relations mean what is nearest: in
    their sentence, then in their passage, then the first of the document.

    RETURNS (int): How many annotations got new ids.
    """
    taken: dict[str, int] = {}

    def renamed(annotations: list[BioCAnnotation]) -> dict[str, str]:
        names = {str(one.id): "" for one in annotations if one.id not in (None, "")}
        names = {name: take_free(name, taken) for name in names}
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
            own = names | own  # its own, then those of the first sentence
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


def _concept(annotation: BioCAnnotation, counting: Counting) -> Concept:
    attributes = attributes_of(annotation.infons)
    label, score = attributes.pop(TYPE), _take_score(attributes)
    places = sorted((location.offset, location.offset + location.length) for location in annotation.locations)
    fragments = [(counting.character(start), counting.character(end)) for start, end in places]
    start, end = fragments[0][0], max(last for _, last in fragments)
    return Concept(str(annotation.id), start, end, label, score, fragments if len(fragments) > 1 else [], attributes)


def _relation(relation: BioCRelation, unused: list[tuple[str, Any]]) -> Relation | None:
    """A relation, if it is one. Its infons without type and score are added to the unused ones."""
    if len(relation.nodes) != 2 or not isinstance(relation.infons, dict):
        return None
    infons = attributes_of(relation.infons)
    label = next((infons.pop(key) for key in _RELATION_TYPES if infons.get(key)), None)
    if label is None:
        return None
    head, tail = relation.nodes
    if _role(head) in _TAIL_ROLES:
        head, tail = tail, head
    score = _take_score(infons)
    unused.append(("relation", infons))
    return Relation(str(head.refid), str(tail.refid), label, score)


def _add_between_identifiers(
    relations: Sequence[BioCRelation], note: Note, report: Report, file: Path, line: int | None
) -> None:
    """Relations that name their ends by identifiers in their infons, as in BC5CDR and BioRED. Which infons of an
    annotation hold identifiers is not said: one that holds both ends', or else any. What relations and annotations both
    have, as who made them, is none."""
    mentions: defaultdict[str, list[Concept]] = defaultdict(list)
    held: defaultdict[str, set[str]] = defaultdict(set)  # by key
    for concept in note.concepts:
        for key, value in concept.attributes.items():
            held[key] |= identifiers_of(value)
        for name in {name for value in concept.attributes.values() for name in identifiers_of(value)}:
            mentions[name].append(concept)
    pair_of = cache(lambda first, second: closest(mentions[first], mentions[second]))
    for relation in relations:
        infons = attributes_of(relation.infons if isinstance(relation.infons, dict) else {})
        label = next((infons.pop(key) for key in reversed(_RELATION_TYPES) if infons.get(key)), None)
        score = _take_score(infons)
        named = {key: value for key, value in infons.items() if value in mentions and key not in held}
        ends = [[key for key, value in named.items() if value in values] for values in held.values()]
        both = next((keys for keys in (*ends, list(named)) if len(keys) == 2), [])
        pair = pair_of(*(infons.pop(key) for key in both)) if both else None
        if pair is None or label is None:
            report.drop("relation without a type, or not between two annotations or identifiers", file, line)
            continue
        note.relations.append(Relation(pair[0].id, pair[1].id, label, score))
        report.mend("relation between identifiers: set between their closest mentions", file, line)
        leave_out_infons([("relation", infons)], report, file, line)


def _role(node: BioCNode) -> str:
    return "" if node.role is None else str(node.role).lower()


def _leave_out_roles(relation: BioCRelation, report: Report, file: Path, line: int | None) -> None:
    for role in map(_role, relation.nodes):
        if role not in _ROLES:
            report.leave_out(f"role in a relation: {field_name(role)}", file, line)


def _take_score(infons: dict[str, str]) -> float | None:
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
    return _NOT_XML.search(text) is None
