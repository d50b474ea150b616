"""Converts Docs to notes and back, and their relations to the formats of spacy-llm and rel_component."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from spacy.pipeline import EntityLinker
from spacy.tokens import Doc

from ..errors import ClinieError
from .concepts import ID_KEY, cover, foreign_entities, get_details, get_links, get_scores, get_spans, set_concepts
from .extensions import attributes_from
from .note import Concept, Note, Relation
from .relations import get_relations, has_relations, relation_indexes, set_relations


def doc_from_note(make_doc: Callable[[str], Doc], note: Note) -> tuple[Doc, list[Concept]]:
    """Convert a note to a Doc. A concept that does not match token boundaries is extended to them, and its exact
    offsets are kept.

    make_doc (Callable[[str], Doc]): A tokenizer, or `nlp.make_doc`.
    note (Note): The note.
    RETURNS (tuple[Doc, list[Concept]]): The Doc, and the extended concepts.
    RAISES (ClinieError): CIE002 if the tokenizer changes the text, CIE004 to CIE006 for an invalid note.
    """
    note.check()
    doc = make_doc(note.text)
    if doc.text != note.text:
        raise ClinieError("CIE002", note=note.id, expected=len(note.text), found=len(doc.text))
    doc.user_data[ID_KEY] = note.id
    spans, snapped, details = [], [], {}
    for concept in note.concepts:
        span = cover(doc, concept.start, concept.end, concept.label, concept.id)
        detail: dict[str, Any] = {}
        if (span.start_char, span.end_char) != concept.offsets:
            snapped.append(concept)
            detail["offsets"] = list(concept.offsets)
        if concept.fragments:
            detail["fragments"] = [list(fragment) for fragment in concept.fragments]
        if concept.attributes:
            detail["attributes"] = dict(concept.attributes)
        if detail:
            details[concept.id] = detail
        spans.append(span)
    scores = [concept.score for concept in note.concepts]
    set_concepts(doc, spans, None if all(score is None for score in scores) else scores, details)
    index = {concept.id: i for i, concept in enumerate(note.concepts)}
    if not note.relations_unknown:
        set_relations(doc, [(index[r.head], index[r.tail], r.label, r.score) for r in note.relations])
    return doc, snapped


def note_from_doc(doc: Doc, note_id: str = "", *, entities: bool = False, extensions: Sequence[str] = ()) -> Note:
    """Convert a Doc to a note, with the exact offsets of concepts that were extended to tokens.

    doc (Doc): The Doc.
    note_id (str): The id, if the Doc has none.
    entities (bool): Whether to include entities that other components wrote to `doc.ents`.
    extensions (Sequence[str]): Extensions of other components to read as attributes of concepts, see `extensions`.
    RETURNS (Note): Text, concepts and relations.
    RAISES (ClinieError): CIE453 for an extension whose value has no text.
    """
    flat = {(ent.start, ent.end) for ent in doc.ents} if extensions else set()
    spans = get_spans(doc)
    details = get_details(doc)
    note = Note(id=str(doc.user_data.get(ID_KEY, note_id)), text=doc.text, relations_known=has_relations(doc))
    given = [span.id_ for span in spans]
    unique = all(given) and len(set(given)) == len(given)
    for i, (span, score, link) in enumerate(zip(spans, get_scores(doc), get_links(doc), strict=True)):
        detail = details.get(span.id_, {})
        start, end = detail.get("offsets", (span.start_char, span.end_char))
        note.concepts.append(
            Concept(
                id=given[i] if unique else f"C{i + 1}",
                start=start,
                end=end,
                label=span.label_,
                score=score,
                fragments=[(first, last) for first, last in detail.get("fragments", ())],
                attributes=_attributes(link, detail) | attributes_from(span, extensions, flat),
            )
        )
    detached: dict[tuple[int, int, str], str] = {}
    taken = {concept.id for concept in note.concepts}
    for ent in foreign_entities(doc) if entities else ():
        place = ent.start_char, ent.end_char, ent.label_
        detached[place] = _free(taken)
        attributes = _attributes(ent.kb_id_, {}) | attributes_from(ent, extensions, flat)
        note.concepts.append(Concept(detached[place], *place, attributes=attributes))
    for head, tail, label, score in relation_indexes(doc):
        ends = []
        for end in (head, tail):
            if isinstance(end, int):
                ends.append(note.concepts[end].id)
                continue
            if end not in detached:
                # The concept was removed from the Doc after the relation was set: restore it for the relation.
                detached[end] = _free(taken)
                span = cover(doc, end[0], end[1])
                note.concepts.append(Concept(detached[end], span.start_char, span.end_char, end[2]))
            ends.append(detached[end])
        note.relations.append(Relation(ends[0], ends[1], label, score))
    return note


def _attributes(link: str, detail: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a concept, with the id from an entity linker and the status from a language model."""
    linked = {"kb_id": link} if link not in ("", EntityLinker.NIL) else {}
    if "status" in detail:
        linked["status"] = str(detail["status"])
    return linked | {str(name): str(value) for name, value in detail.get("attributes", {}).items()}


def _free(taken: set[str]) -> str:
    """Take a free concept id."""
    number = len(taken) + 1
    while f"C{number}" in taken:
        number += 1
    taken.add(f"C{number}")
    return f"C{number}"


def to_spacy_llm(doc: Doc) -> tuple[list[Any], int]:
    """Convert relations to the format of spacy-llm, which must be installed.

    doc (Doc): The Doc.
    RETURNS (tuple[list[RelationItem], int]): The items, and the number of relations left out because an end is not in
        `doc.ents`.
    """
    from spacy_llm.tasks.rel import RelationItem

    items, left_out = [], 0
    for rel in get_relations(doc):
        if rel.dep is None or rel.dest is None:
            left_out += 1
        else:
            items.append(RelationItem(dep=rel.dep, dest=rel.dest, relation=rel.label))
    return items, left_out


def to_rel_component(doc: Doc, labels: Optional[Sequence[str]] = None) -> dict[tuple[int, int], dict[str, float]]:
    """Convert relations to the format of spaCy's rel_component tutorial project: a score for every label and ordered
    pair of entities.

    doc (Doc): The Doc.
    labels (Optional[Sequence[str]]): All labels; those that occur if None.
    RETURNS (dict[tuple[int, int], dict[str, float]]): Scores by label, for start tokens of head and tail. A relation
        without a score gets 1.0. Relations whose concepts start at the same tokens share an entry.
    """
    relations = get_relations(doc)
    names = list(labels) if labels is not None else sorted({rel.label for rel in relations})
    starts = [span.start for span in get_spans(doc)]
    table = {(head, tail): dict.fromkeys(names, 0.0) for head in starts for tail in starts if head != tail}
    for rel in relations:
        row = table.setdefault((rel.head.start, rel.tail.start), dict.fromkeys(names, 0.0))
        row[rel.label] = max(row.get(rel.label, 0.0), 1.0 if rel.score is None else rel.score)
    return table
