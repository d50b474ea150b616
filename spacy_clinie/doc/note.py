"""A note as plain data: text, concepts and relations by character offsets.

Readers of corpora make notes, JSONL holds them and scoring compares them. They have no tokens; `interchange` converts
them to spaCy Docs and back.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import nan
from typing import Any, Optional

from ..errors import ClinieError

EXPECTED = {
    "line": "id, text, concepts, relations",
    "concept": "id, start, end, label, score",
    "relation": "head, tail, label, score",
}


@dataclass
class Concept:
    """A typed span of text.

    id (str): Unique within the note.
    start (int): First character.
    end (int): One past the last character.
    label (str): Concept type.
    score (Optional[float]): Confidence from 0 to 1; None for gold.
    fragments (list[tuple[int, int]]): The parts of a discontinuous concept in characters, in text order. `start` and
        `end` enclose them. Empty for a continuous concept.
    attributes (dict[str, str]): Other values, such as an assertion.
    """

    id: str
    start: int
    end: int
    label: str
    score: Optional[float] = None
    fragments: list[tuple[int, int]] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def offsets(self) -> tuple[int, int]:
        return self.start, self.end

    @classmethod
    def from_dict(cls, record: Any, default: str) -> "Concept":
        """Make a concept from the output of `Note.to_dict`.

        record (Any): The JSON value, of any type.
        default (str): The id, if it is missing.
        RETURNS (Concept): The concept, not yet checked against a text. A score that is not a number becomes nan.
        RAISES (ValueError): If the record is invalid. The message names the key, without its value.
        """
        record = _object(record)
        fragments = record.get("fragments") or []
        if not (_is_list(fragments) and all(_is_list(part) and len(part) == 2 for part in fragments)):
            raise ValueError("fragments is not a list of pairs")
        return cls(
            id=_id(record, "id", default),
            start=_integer(record.get("start"), "start"),
            end=_integer(record.get("end"), "end"),
            label=_string(record, "label"),
            score=_score(record),
            fragments=[(_integer(first, "fragments"), _integer(last, "fragments")) for first, last in fragments],
            attributes=attributes_of(_object(record.get("attributes") or {})),
        )


@dataclass
class Relation:
    """A typed, directed relation between two concepts of a note.

    head (str): Id of the first concept.
    tail (str): Id of the second concept.
    label (str): Relation type.
    score (Optional[float]): Confidence from 0 to 1; None for gold.
    """

    head: str
    tail: str
    label: str
    score: Optional[float] = None

    @classmethod
    def from_dict(cls, record: Any) -> "Relation":
        """Make a relation from the output of `Note.to_dict`.

        record (Any): The JSON value, of any type.
        RETURNS (Relation): The relation, not yet checked against concepts. A score that is not a number becomes nan.
        RAISES (ValueError): If the record is invalid. The message names the key, without its value.
        """
        record = _object(record)
        return cls(_id(record, "head"), _id(record, "tail"), _string(record, "label"), _score(record))


@dataclass
class Note:
    """A text with its concepts and relations.

    id (str): Unique within a corpus.
    text (str): The text, unchanged.
    concepts (list[Concept]): In any order; overlaps are allowed.
    relations (list[Relation]): Between ids of `concepts`.
    relations_known (bool): Whether relations were annotated. If not, training and scoring of relations skip the note.
    """

    id: str
    text: str
    concepts: list[Concept] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    relations_known: bool = field(default=True, compare=False)

    @property
    def relations_unknown(self) -> bool:
        """Whether the note has no relation annotation, not even that there are no relations."""
        return not (self.relations_known or self.relations)

    def check(self) -> None:
        """Raise for what no reader can mend: offsets outside the text, duplicate ids, and relations to missing
        concepts.

        RAISES (ClinieError): CIE004 for offsets outside the text, CIE005 for a duplicate concept id, CIE006 for a
            relation to a missing concept.
        """
        ids = set()
        for concept in self.concepts:
            if not 0 <= concept.start < concept.end <= len(self.text):
                raise ClinieError(
                    "CIE004",
                    concept=concept.id,
                    note=self.id,
                    start=concept.start,
                    end=concept.end,
                    length=len(self.text),
                )
            if concept.id in ids:
                raise ClinieError(
                    "CIE005",
                    kind="concept",
                    note=self.id,
                    problem=f"duplicate id {concept.id!r}",
                    expected="unique ids",
                )
            ids.add(concept.id)
        for relation in self.relations:
            for end in (relation.head, relation.tail):
                if end not in ids:
                    raise ClinieError("CIE006", label=relation.label, note=self.id, concept=end)

    def to_dict(self) -> dict[str, Any]:
        """The note as one line of JSONL. Keys without a value are left out, except `score`.

        RETURNS (dict[str, Any]): JSON-serialisable.
        """
        concepts = []
        for concept in self.concepts:
            record: dict[str, Any] = {
                "id": concept.id,
                "start": concept.start,
                "end": concept.end,
                "label": concept.label,
                "score": concept.score,
            }
            if concept.fragments:
                record["fragments"] = [list(fragment) for fragment in concept.fragments]
            if concept.attributes:
                record["attributes"] = dict(concept.attributes)
            concepts.append(record)
        relations = [{"head": r.head, "tail": r.tail, "label": r.label, "score": r.score} for r in self.relations]
        known = {"relations_known": False} if self.relations_unknown else {}
        return {"id": self.id, "text": self.text, "concepts": concepts, "relations": relations, **known}

    @classmethod
    def from_dict(cls, record: Any, on_problem: Optional[Callable[[str, str], None]] = None) -> "Note":
        """Make a note from the output of `to_dict`. Missing ids of concepts are replaced by numbers.

        record (Any): One object of a JSONL file.
        on_problem (Optional[Callable[[str, str], None]]): Called for each invalid item, which is left out, with its
            kind (`concept` or `relation`) and the problem. If None, an invalid item is an error.
        RETURNS (Note): The note, not yet validated.
        RAISES (ClinieError): CIE005 for a missing key or a value of the wrong type.
        """
        try:
            fields = _object(record)
            note = cls(_id(fields, "id"), _string(fields, "text", empty=True))
        except ValueError as error:
            raise ClinieError("CIE005", kind="line", note="?", problem=error, expected=EXPECTED["line"]) from None

        def refuse(kind: str, problem: str) -> None:
            if on_problem is None:
                raise ClinieError("CIE005", kind=kind, note=note.id, problem=problem, expected=EXPECTED[kind])
            on_problem(kind, problem)

        items = _items(fields, "concept", refuse)
        given = {str(item.get("id")) for item in items if isinstance(item, Mapping)}
        free = (name for i in count(1) if (name := f"C{i}") not in given)
        for item in items:
            try:
                note.concepts.append(Concept.from_dict(item, next(free)))
            except ValueError as error:
                refuse("concept", str(error))
        note.relations_known = _is_list(fields.get("relations")) and fields.get("relations_known") is not False
        for item in _items(fields, "relation", refuse):
            try:
                note.relations.append(Relation.from_dict(item))
            except ValueError as error:
                refuse("relation", str(error))
        return note


def attributes_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Make attributes of a concept from a JSON object.

    record (Mapping[str, Any]): Values by name.
    RETURNS (dict[str, str]): Strings unchanged, other values as JSON. Null values are left out.
    """
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in record.items()
        if value is not None
    }


def merge_values(known: str, value: str) -> str:
    """Merge several values of one attribute.

    known (str): Values, separated by `|`.
    value (str): More values.
    RETURNS (str): The known values, followed by the new ones.
    """
    held = f"|{known}|"
    return "|".join([known, *(part for part in dict.fromkeys(value.split("|")) if f"|{part}|" not in held)])


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not an object")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _items(record: Mapping[str, Any], kind: str, refuse: Callable[[str, str], None]) -> list[Any]:
    items = record.get(f"{kind}s")
    if items is None:
        return []
    if _is_list(items):
        return items
    refuse(kind, f"{kind}s is not a list")
    return []


def _id(record: Mapping[str, Any], key: str, default: str = "") -> str:
    value = record.get(key)
    if value is None:
        value = default
    # Ids are often numbers, which mean the same as text.
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise ValueError(f"{key} is missing or not a string")
    return str(value)


def _integer(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} is missing or not an integer")
    return value


def _string(record: Mapping[str, Any], key: str, empty: bool = False) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{key} is missing or not a string")
    return value


def _score(record: Mapping[str, Any]) -> Optional[float]:
    value = record.get("score")
    if value is None:
        return None
    # Not a reason to lose a concept: readers remove and count such scores.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return nan
    try:
        return float(value)
    except OverflowError:
        return nan
