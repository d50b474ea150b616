"""Maps the types of a corpus to the types of a schema."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from ..doc.note import Concept, Relation, merge_values

if TYPE_CHECKING:
    from ..doc.report import Report
    from .schema import Schema


class NoteMapper:
    """Maps one note to the types of a schema: first all concepts, then all relations. See `Schema.apply`.

    schema (Schema): The schema.
    report (Report): Counts what does not fit.
    file (str | Path): The file of the note.
    lines (Mapping[str, int]): Line of each concept in that file, by concept id.
    """

    def __init__(self, schema: "Schema", report: "Report", file: str | Path, lines: Mapping[str, int]) -> None:
        self.schema = schema
        self.report = report
        self.file = file
        self.lines = lines
        self.kept: dict[str, Concept] = {}  # the new concept by id in the corpus
        self.left_out: set[str] = set()  # ids of concepts that the schema drops
        self.first_concepts: dict[tuple, Concept] = {}
        self.first_relations: dict[tuple[str, str, str], Relation] = {}

    def map_concept(self, concept: Concept) -> Concept | None:
        """The concept in the types of the schema; None if it is dropped or merged into another."""
        schema, report, where = self.schema, self.report, (self.file, self.lines.get(concept.id))
        known = self._known("concept", concept.label, schema.concept_spellings, where)
        label = schema.concept_names.get(known)
        if label is None:
            if known in schema.dropped_concepts:
                report.leave_out(f"concept type that the schema drops: {concept.label}", *where)
                self.left_out.add(concept.id)
            else:
                report.drop(f"concept type that is not in the schema: {concept.label}", *where)
            return None
        first = self.first_concepts.setdefault((concept.offsets, tuple(concept.fragments), label), concept)
        if first.label != concept.label:
            report.leave_out("duplicate concept after merging types", *where)
            kept = self.kept[concept.id] = self.kept[first.id]
            for name, value in concept.attributes.items():
                before = kept.attributes.setdefault(name, value)
                kept.attributes[name] = merge_values(before, value)
                if kept.attributes[name] != before:
                    report.mend("attribute of merged concepts with several values, joined by |", *where)
            return None
        new = replace(concept, label=label, fragments=list(concept.fragments), attributes=dict(concept.attributes))
        self.kept[concept.id] = new
        return new

    def map_relation(self, relation: Relation, where: tuple[str | Path, int | None]) -> Relation | None:
        """The relation in the types of the schema, between the new concepts; None if it is dropped or merged."""
        schema, report = self.schema, self.report
        known = self._known("relation", relation.label, schema.relation_spellings, where)
        label = schema.relation_names.get(known)
        if label is None:
            if not schema.relations:
                report.leave_out("relation, but the schema has no relation types", *where)
            elif known in schema.dropped_relations:
                report.leave_out(f"relation type that the schema drops: {relation.label}", *where)
            else:
                report.drop(f"relation type that is not in the schema: {relation.label}", *where)
            return None
        if relation.head in self.left_out or relation.tail in self.left_out:
            report.leave_out("relation with a concept that the schema drops", *where)
            return None
        head, tail = self.kept.get(relation.head), self.kept.get(relation.tail)
        if head is None or tail is None:
            report.drop("relation with a concept that could not be converted", *where)
            return None
        if head is tail and relation.head != relation.tail:
            report.leave_out("relation of a concept to itself after merging types", *where)
            return None
        # Of two concepts with the same offsets, either can be the head, but only one of them.
        turned = (tail.id, head.id, label) in self.first_relations
        if schema.relations[label].symmetric and (turned or tail.offsets < head.offsets):
            head, tail = tail, head
        first = self.first_relations.setdefault((head.id, tail.id, label), relation)
        if (first.head, first.tail, first.label) != (relation.head, relation.tail, relation.label):
            both_ways = (first.tail, first.head, first.label) == (relation.head, relation.tail, relation.label)
            merged = "duplicate relation after merging types"
            report.leave_out("symmetric relation in both directions" if both_ways else merged, *where)
            return None
        if label not in schema.allowed(head.label, tail.label):
            reason = "relation between types that the schema does not list for it"
            report.mend(f"{reason}: {label} ({head.label} -> {tail.label}), kept", *where)
        return replace(relation, head=head.id, tail=tail.id, label=label)

    def _known(
        self, kind: str, label: str, spellings: Mapping[str, list[str]], where: tuple[str | Path, int | None]
    ) -> str:
        """A type as the schema spells it, if exactly one of its types differs only in case or Unicode composition."""
        alike = spellings.get(_folded(label), [])
        if label in alike or len(alike) != 1:
            return label
        self.report.mend(f"{kind} type in another spelling: {label}, read as {alike[0]}", *where)
        return alike[0]


def by_spelling(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by their normalized spelling."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_folded(name), []).append(name)
    return found


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())
