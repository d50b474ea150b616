"""Schemas: the concept types and relation types to extract, with descriptions, questions and type pairs.

A schema is a YAML file. Schemas of known corpora are bundled in `data/schemas/`; your own file looks like this:

    name: my-notes
    description: Drugs and the harm they did.
    concepts:
      Drug:
        description: A medicine that a patient takes or took.
        question: Which medicines are named?
        merge: [Medication, Vaccine]       # types of the data that become this one
      ADE:                                 # description and question are made from the name
    relations:
      ADE-Drug:
        description: The drug caused the adverse event.
        question: Which drug caused {head}?
        pairs: [[ADE, Drug]]               # types that head and tail can have
        symmetric: false                   # true if it has no direction: the head then comes first in the text
    drop:                                  # types of the data to leave out
      concepts: [Age]
      relations: [BEFORE]
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..doc.note import Note
from ..errors import ClinieError
from .file import (
    concept_description,
    concept_question,
    did_you_mean,
    read_yaml,
    relation_description,
    relation_question,
    to_yaml,
    validate,
)
from .mapping import NoteMapper, by_spelling

if TYPE_CHECKING:
    from ..doc.report import Report

BUNDLED = Path(__file__).parents[1] / "data" / "schemas"


@dataclass(frozen=True)
class ConceptType:
    """A type of concept.

    name (str): The label.
    description (str): What belongs to it and what does not.
    question (str): The question whose answers are its mentions.
    merge (tuple[str, ...]): Types of the data that become this one.
    """

    name: str
    description: str
    question: str
    merge: tuple[str, ...] = ()


@dataclass(frozen=True)
class RelationType:
    """A type of relation.

    name (str): The label.
    description (str): What it says about head and tail.
    question (str): The question about a head, with the placeholder `{head}`; the answers are the tails.
    pairs (tuple[tuple[str, str], ...]): The types that head and tail can have.
    merge (tuple[str, ...]): Types of the data that become this one.
    symmetric (bool): Whether it has no direction. The head then comes first in the text.
    """

    name: str
    description: str
    question: str
    pairs: tuple[tuple[str, str], ...]
    merge: tuple[str, ...] = ()
    symmetric: bool = False


@dataclass(frozen=True)
class Schema:
    """The types of a dataset.

    name (str): Name of the schema.
    description (str): What it is for.
    concepts (dict[str, ConceptType]): By name.
    relations (dict[str, RelationType]): By name; may be empty.
    dropped_concepts (tuple[str, ...]): Concept types of the data that are left out on purpose.
    dropped_relations (tuple[str, ...]): Relation types of the data that are left out on purpose.
    """

    name: str
    description: str
    concepts: dict[str, ConceptType]
    relations: dict[str, RelationType] = field(default_factory=dict)
    dropped_concepts: tuple[str, ...] = ()
    dropped_relations: tuple[str, ...] = ()

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Schema":
        """Load a bundled schema or a YAML file.

        name_or_path (Union[str, Path]): A bundled name such as `phee`, or the path of a file.
        RETURNS (Schema): The schema.
        RAISES (ClinieError): CIE101 if the schema does not exist, CIE102 to CIE109 for an error in the file.
        """
        names = bundled()
        file = BUNDLED / f"{name_or_path}.yml" if name_or_path in names else Path(name_or_path)
        try:
            return cls.from_dict(read_yaml(file), source=file)
        except FileNotFoundError:
            hint = did_you_mean(str(name_or_path), names)
            raise ClinieError("CIE101", name=str(name_or_path), hint=hint, bundled=", ".join(names)) from None

    @classmethod
    def from_dict(cls, record: Any, source: str | Path = "given as a dictionary") -> "Schema":
        """Make a schema from the content of a YAML file or the output of `to_dict`.

        record (Any): The content.
        source (Union[str, Path]): Its name in error messages.
        RETURNS (Schema): The schema.
        RAISES (ClinieError): CIE103 to CIE109 for an error in the content.
        """
        fields = validate(record, source)
        fields["concepts"] = {name: ConceptType(name, **spec) for name, spec in fields["concepts"].items()}
        fields["relations"] = {name: RelationType(name, **spec) for name, spec in fields["relations"].items()}
        return cls(**fields)

    @classmethod
    def draft(cls, notes: Iterable[Note], name: str) -> "Schema":
        """Draft a schema from annotated notes, to be edited: all types and type pairs, most frequent first, with counts
        in the descriptions.

        notes (Iterable[Note]): The notes.
        name (str): Name of the schema.
        RETURNS (Schema): The schema.
        RAISES (ClinieError): CIE110 if the notes have no concepts; CIE004 to CIE006 for an invalid note.
        """
        documents = 0
        concepts: Counter[str] = Counter()
        pairs: dict[str, Counter[tuple[str, str]]] = {}
        for note in notes:
            note.check()
            documents += 1
            labels = {concept.id: concept.label for concept in note.concepts}
            concepts.update(labels.values())
            for relation in note.relations:
                pairs.setdefault(relation.label, Counter())[labels[relation.head], labels[relation.tail]] += 1
        if not concepts:
            raise ClinieError("CIE110", notes=documents)
        relations = Counter({label: sum(counts.values()) for label, counts in pairs.items()})
        return cls(
            name=name,
            description=f"Drafted from {documents:,} documents: describe the types and write their questions.",
            concepts={
                label: ConceptType(label, f"{label}: {count:,} in the draft corpus.", concept_question(label))
                for label, count in concepts.most_common()
            },
            relations={
                label: RelationType(
                    label,
                    f"{label}: {count:,} in the draft corpus.",
                    relation_question(label),
                    tuple(pair for pair, _ in pairs[label].most_common()),
                )
                for label, count in relations.most_common()
            },
        )

    def without_descriptions(self) -> "Schema":
        """Replace descriptions by the default ones. Those of a draft are only for its editor.

        RETURNS (Schema): A new schema.
        """
        concepts = {name: replace(one, description=concept_description(name)) for name, one in self.concepts.items()}
        relations = {name: replace(one, description=relation_description(name)) for name, one in self.relations.items()}
        return replace(self, description="", concepts=concepts, relations=relations)

    @classmethod
    def union(cls, schemas: Iterable["Schema"], name: str) -> "Schema":
        """Combine schemas. Types with the same name become one, with the first description and question and, for
        relations, all type pairs. `merge` is dropped, because the data already has these types, and a schema may merge
        a type of another.

        schemas (Iterable[Schema]): At least one. A single schema is returned unchanged.
        name (str): Name of the new schema.
        RETURNS (Schema): The schema.
        """
        schemas = list(schemas)
        if len(schemas) == 1:
            return schemas[0]
        concepts: dict[str, ConceptType] = {}
        relations: dict[str, RelationType] = {}
        for schema in schemas:
            for label, concept in schema.concepts.items():
                concepts.setdefault(label, replace(concept, merge=()))
            for label, relation in schema.relations.items():
                known = relations.setdefault(label, replace(relation, merge=()))
                relations[label] = replace(known, pairs=tuple(dict.fromkeys((*known.pairs, *relation.pairs))))
        description = " ".join(dict.fromkeys(schema.description for schema in schemas if schema.description))
        return cls(name, description, concepts, relations)

    def allowed(self, head_label: str, tail_label: str) -> tuple[str, ...]:
        """The relation types that are allowed between two concept types.

        head_label (str): Concept type of the head.
        tail_label (str): Concept type of the tail.
        RETURNS (tuple[str, ...]): Names of relation types, in the order of the schema; empty if there are none.
        """
        return self._by_pair.get((head_label, tail_label), ())

    def apply(
        self,
        note: Note,
        report: "Report",
        file: str | Path,
        lines: Mapping[str, int] | None = None,
        relation_locations: Sequence[tuple[str | Path, int | None]] = (),
    ) -> Note:
        """Map a note of a corpus to the types of this schema, and count everything that does not fit.

        Duplicates in the corpus are kept: only concepts that become equal by merging are combined, with the attributes
        of both. A type that differs from one of the schema only in case or Unicode composition is read as that one. The
        head of a symmetric relation comes first in the text, and both directions become one relation.

        note (Note): The note; not changed.
        report (Report): Counts what does not fit.
        file (Union[str, Path]): The file of the note.
        lines (Optional[Mapping[str, int]]): Line of each concept in that file, by concept id.
        relation_locations (Sequence[tuple[Union[str, Path], Optional[int]]]): File and line of each relation. If empty,
            the line of its head is reported.
        RETURNS (Note): A new note.
        """
        mapper = NoteMapper(self, report, file, lines or {})
        concepts = [mapper.map_concept(concept) for concept in note.concepts]
        places = relation_locations or [(file, mapper.lines.get(relation.head)) for relation in note.relations]
        relations = [mapper.map_relation(*both) for both in zip(note.relations, places, strict=True)]
        return Note(note.id, note.text, [c for c in concepts if c], [r for r in relations if r], note.relations_known)

    def to_dict(self) -> dict[str, Any]:
        """The schema as a dictionary, in the form of the YAML file.

        RETURNS (dict[str, Any]): JSON-serialisable.
        """
        record: dict[str, Any] = {"name": self.name, "description": self.description, "concepts": {}, "relations": {}}
        for concept in self.concepts.values():
            record["concepts"][concept.name] = {
                "description": concept.description,
                "question": concept.question,
                "merge": list(concept.merge),
            }
        for relation in self.relations.values():
            record["relations"][relation.name] = {
                "description": relation.description,
                "question": relation.question,
                "pairs": [list(pair) for pair in relation.pairs],
                "merge": list(relation.merge),
                **({"symmetric": True} if relation.symmetric else {}),
            }
        record["drop"] = {"concepts": list(self.dropped_concepts), "relations": list(self.dropped_relations)}
        return _without_empty(record)

    def to_yaml(self) -> str:
        """The schema as the text of a YAML file.

        RETURNS (str): YAML.
        """
        return to_yaml(self.to_dict())

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], tuple[str, ...]]:
        table: dict[tuple[str, str], tuple[str, ...]] = {}
        for relation in self.relations.values():
            for pair in relation.pairs:
                table[pair] = (*table.get(pair, ()), relation.name)
        return table

    @cached_property
    def concept_names(self) -> dict[str, str]:
        """Concept types by name in the data: their own name and merged ones."""
        return {raw: kind.name for kind in self.concepts.values() for raw in (kind.name, *kind.merge)}

    @cached_property
    def concept_spellings(self) -> dict[str, list[str]]:
        """All names of concept types, by normalized spelling."""
        return by_spelling((*self.concept_names, *self.dropped_concepts))

    @cached_property
    def relation_spellings(self) -> dict[str, list[str]]:
        """All names of relation types, by normalized spelling."""
        return by_spelling((*self.relation_names, *self.dropped_relations))

    @cached_property
    def relation_names(self) -> dict[str, str]:
        """Relation types by name in the data: their own name and merged ones."""
        return {raw: kind.name for kind in self.relations.values() for raw in (kind.name, *kind.merge)}


def bundled() -> tuple[str, ...]:
    """Names of the bundled schemas.

    RETURNS (tuple[str, ...]): In alphabetical order.
    """
    return tuple(sorted(file.stem for file in BUNDLED.glob("*.yml")))


def _without_empty(value: Any) -> Any:
    """A nested dictionary without keys that have empty values."""
    if not isinstance(value, dict):
        return value
    return {key: kept for key, item in value.items() if (kept := _without_empty(item))}
