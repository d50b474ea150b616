"""A spaCy DocBin: our own annotation, or entities with the relations that spacy-llm or rel_component left behind.

Other libraries keep relations as the value of a plain extension `doc._.rel`, which a DocBin carries as user data. A
DocBin that was stored without user data holds concepts alone, and nothing in it tells whether there were relations.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any

import numpy as np
import srsly
from spacy.attrs import ORTH
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from ..doc.concepts import ENTS_KEY, SPANS_KEY, get_spans
from ..doc.interchange import doc_from_note, note_from_doc
from ..doc.note import Note
from ..doc.relations import LENGTH_KEY, RELATIONS_KEY, relation_indexes, relations_fit, set_relations
from ..doc.report import Report
from ..doc.tokenizer import make_tokenizer
from .atomic import atomic_write
from .files import field_name
from .reading import UniqueIds, find_corpus_files, repair, require_notes
from .source import SourcedNote

SUFFIXES = (".spacy",)
_FOREIGN_KEY: Any = ("._.", "rel", None, None)
_ATTRS = ("ORTH", "ENT_IOB", "ENT_TYPE")
# What damaged data raises, from decompression to the building of a Doc; our own errors are ValueErrors.
_DAMAGED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, zlib.error)

# What msgpack raises for what it cannot write.
_UNSTORABLE = (TypeError, ValueError, OverflowError, RecursionError)


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read notes off Docs: `doc.spans["clinie"]`, or `doc.ents` of other libraries, and the relations.

    path (Path): A file, or a folder with `.spacy` files.
    report (Report): Counts what cannot be used.
    YIELDS (SourcedNote): Notes; one without an id is named by its file and number. The line of remarks is the number
        of the Doc.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return require_notes(_read(path, report), path, "docbin", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as Docs, cut into tokens by the clinical tokenizer.

    notes (Iterable[Note]): The notes.
    path (Path): The file, replaced once all of it is written.
    RAISES (ClinieError): CIE004 to CIE006 for a note that is not sound.
    """
    tokenizer = make_tokenizer(Vocab())
    save((doc_from_note(tokenizer, note)[0] for note in notes), path)


def save(docs: Iterable[Doc], path: Path, attrs: Iterable[Any] = _ATTRS) -> None:
    """Write Docs with their spans and user data.

    docs (Iterable[Doc]): The Docs.
    path (Path): The file, replaced once all of it is written.
    attrs (Iterable[Any]): What is kept of tokens, as names or numbers; what our annotation needs by default.
    """
    with atomic_write(path) as temporary:
        DocBin(attrs=attrs, store_user_data=True, docs=docs).to_disk(temporary)


def pack(docs: Sequence[Doc]) -> tuple[bytes, list[int], Counter[str]]:
    """Write Docs to bytes with everything that a DocBin can hold.

    docs (Sequence[Doc]): The Docs. What cannot be stored is taken off them.
    RETURNS (tuple[bytes, list[int], Counter[str]]): The bytes, the attributes of tokens that are set anywhere, and how
        often something was taken off, by name.
    """
    known: list[Any] = DocBin().attrs
    used = np.zeros(len(known), dtype=bool)
    for doc in docs:
        used |= doc.to_array(known).any(axis=0)
    attrs = [ORTH, *(attr for attr, is_used in zip(known, used, strict=True) if is_used and attr != ORTH)]
    lost: Counter[str] = Counter()

    def write() -> bytes:
        return DocBin(attrs=attrs, store_user_data=True, docs=docs).to_bytes()

    try:
        return write(), attrs, Counter()
    except _UNSTORABLE:
        lost = sum(map(_make_storable, docs), Counter[str]())
        return write(), attrs, lost


def unpack(data: bytes, vocab: Vocab) -> Iterator[Doc]:
    """Read the Docs that `pack` wrote, or that are in any `.spacy` file.

    data (bytes): The bytes.
    vocab (Vocab): For the Docs.
    YIELDS (Doc): The Docs.
    RAISES (Exception): Anything, if the bytes are damaged.
    """
    yield from DocBin().from_bytes(data).get_docs(vocab)


def _make_storable(doc: Doc) -> Counter[str]:
    """Take off a Doc what msgpack cannot write: objects in its user data and beside groups of spans.

    RETURNS (Counter[str]): How often, by name and kind.
    """
    lost: Counter[str] = Counter()
    holders = [doc.user_data, doc.cats, *(group.attrs for group in doc.spans.values())]
    for holder in holders:
        for key in [key for key, value in holder.items() if not _is_storable({key: value})]:
            name = key[1] if isinstance(key, tuple) and key[:1] == ("._.",) else key
            lost[f"{field_name(str(name))} ({type(holder.pop(key)).__name__})"] += 1
    return lost


def _is_storable(value: Any) -> bool:
    try:
        srsly.msgpack_dumps(value)
    except _UNSTORABLE:
        return False
    return True


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in find_corpus_files(path, SUFFIXES, report):
        for number, doc in enumerate(_docs(file, report), start=1):
            note = _note(doc, number, report, file)
            if note is None:
                continue
            others = {key: len(spans) for key, spans in doc.spans.items() if key != SPANS_KEY and len(spans)}
            for key, count in others.items():
                report.leave_out(f"spans of another group: {field_name(str(key))}", file, number, count)
            for what in _unread(doc):
                report.leave_out(what, file, number)
            repair(note, report, file, number)
            note.id = ids.assign(note.id, file, number)
            yield SourcedNote(note, file, split, dict.fromkeys((concept.id for concept in note.concepts), number))


def _docs(file: Path, report: Report) -> Iterator[Doc]:
    try:
        bundle = DocBin().from_disk(file)
        if len(bundle) and not any(bundle.user_data):
            report.leave_out("user data, which hold relations and ids: the file was stored without", file)
        yield from bundle.get_docs(Vocab())
    except OSError:
        report.drop("file cannot be opened", file)
    except _DAMAGED:
        report.drop("file is not a DocBin, or is damaged", file)


def _note(doc: Doc, number: int, report: Report, file: Path) -> Note | None:
    name = f"{file.stem}-{number}"
    outdated = _clear_outdated_relations(doc)
    own = RELATIONS_KEY in doc.user_data
    for reason, lost in (
        ("relation of a longer document that this one was cut out of", outdated),
        ("relation in an unknown shape, or of what is no concept", _settle_relations(doc)),
        ("relation of another library beside our own", _relations_beside(doc) if own else 0),
    ):
        if lost:
            report.drop(reason, file, number, lost)
    try:
        taken_out = _taken_out(doc)
        if taken_out:
            report.mend("concept that is not in doc.ents any more, but in doc.spans", file, number, taken_out)
        return note_from_doc(doc, name, entities=True)
    except _DAMAGED:
        report.drop("document with concepts in an unknown shape", file, number)
        return None


def _unread(doc: Doc) -> Iterator[str]:
    """What other components left on a Doc that a note has no place for."""
    if doc.cats:
        yield "categories of a document"
    for key in doc.user_data:
        if isinstance(key, tuple) and key[:1] == ("._.",) and key != _FOREIGN_KEY:
            yield f"extension: {field_name(str(key[1]))}"


def _relations_beside(doc: Doc) -> int:
    """How many relations of another library stand beside our own, and are none of these: a process without our
    components wrote them to a Doc of ours."""
    own, stored = doc.user_data[RELATIONS_KEY], doc.user_data.get(_FOREIGN_KEY)
    if stored is None:
        return 0
    try:
        _use_relations(doc, stored, own=False)
        beside = doc.user_data[RELATIONS_KEY]
    except _DAMAGED:
        return len(_apart(stored))
    finally:
        doc.user_data[RELATIONS_KEY] = own
    own, beside = ({(*head, *tail, label) for _, _, label, _, head, tail in one} for one in (own, beside))
    return len(beside - own)


def _taken_out(doc: Doc) -> int:
    """How many of our concepts somebody took out of `doc.ents`, and not out of `doc.spans`, which is what is read."""
    flat = {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents}
    whole = SPANS_KEY in doc.spans and doc.has_annotation("ENT_IOB")  # may be stored without
    recorded = doc.user_data.get(ENTS_KEY, ()) if whole else ()
    known = {(span.start_char, span.end_char, span.label_) for span in get_spans(doc)}
    return len({(start, end, label) for start, end, label in recorded} & known - flat)


def _clear_outdated_relations(doc: Doc) -> int:
    """Take from a Doc the relations that were set on another text.

    RETURNS (int): How many.
    """
    outdated = doc.user_data.get(RELATIONS_KEY)
    if outdated is None or relations_fit(doc):
        return 0
    for key in (RELATIONS_KEY, LENGTH_KEY):
        doc.user_data.pop(key, None)
    return len(_apart(outdated))


def _settle_relations(doc: Doc) -> int:
    """Give a Doc its relations in our own shape, without those that cannot be used.

    RETURNS (int): How many cannot.
    """
    own = doc.user_data.get(RELATIONS_KEY)
    stored = doc.user_data.get(_FOREIGN_KEY) if own is None else own
    if stored is None:
        return 0
    try:
        _use_relations(doc, stored or [], own is not None)
        return 0
    except _DAMAGED:
        kept: list[Any] = []
        lost = 0
    for item in _apart(stored):
        try:
            _use_relations(doc, item, own is not None)
            kept += doc.user_data[RELATIONS_KEY]
        except _DAMAGED:
            lost += 1
    doc.user_data[RELATIONS_KEY] = kept
    return lost


def _use_relations(doc: Doc, stored: Any, own: bool) -> None:
    if not own:
        # RelationItems themselves cannot be stored in a DocBin, but their fields can.
        items = isinstance(stored, list)
        set_relations(doc, [SimpleNamespace(**one) if _is_item(one) else one for one in stored] if items else stored)
        return
    doc.user_data[RELATIONS_KEY] = stored
    for _, _, label, score in relation_indexes(doc):
        if not (isinstance(label, str) and label and isinstance(score, (float, int, NoneType))):
            raise ValueError


def _apart(stored: Any) -> list[Any]:
    """Every relation as a collection of its own."""
    if isinstance(stored, Mapping):
        return [{pair: row} for pair, row in stored.items()]
    return [[item] for item in stored] if isinstance(stored, (list, tuple)) else [stored]


def _is_item(item: Any) -> bool:
    return isinstance(item, Mapping) and {"dep", "dest", "relation"} <= set(item)
