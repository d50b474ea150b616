"""A note as plain data: text, concepts and relations by character offsets.

This is what a raw corpus is read into, what JSONL holds and what is scored. It knows nothing of tokens:
`annotation` carries it on a spaCy Doc.
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
    """A typed stretch of text.

    id (str): Unique within the note.
    start (int): First character.
    end (int): One past the last character.
    label (str): Concept type.
    score (Optional[float]): Confidence from 0 to 1; None for gold.
    fragments (list[tuple[int, int]]): The parts of a discontinuous concept in characters, in text order;
        empty if it is in one piece. `start` and `end` are then their hull.
    attributes (dict[str, str]): Further values, such as an assertion.
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
        """Read one of the concepts that `Note.to_dict` wrote.

        record (Any): What stands in JSON, of whatever kind.
        default (str): The id, if there is none.
        RETURNS (Concept): The concept, not yet checked against a text. A score that is no number is nan.
        RAISES (ValueError): If it is not one; the message names the key, without its value.
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

    head (str): Id of the concept it starts from.
    tail (str): Id of the concept it points to.
    label (str): Relation type.
    score (Optional[float]): Confidence from 0 to 1; None for gold.
    """

    head: str
    tail: str
    label: str
    score: Optional[float] = None

    @classmethod
    def from_dict(cls, record: Any) -> "Relation":
        """Read one of the relations that `Note.to_dict` wrote.

        record (Any): What stands in JSON, of whatever kind.
        RETURNS (Relation): The relation, not yet checked against concepts. A score that is no number is nan.
        RAISES (ValueError): If it is not one; the message names the key, without its value.
        """
        record = _object(record)
        return cls(_id(record, "head"), _id(record, "tail"), _string(record, "label"), _score(record))


@dataclass
class Note:
    """A text with its concepts and relations.

    id (str): Unique within a corpus.
    text (str): The text, unchanged.
    concepts (list[Concept]): In any order; overlaps allowed.
    relations (list[Relation]): Between ids of `concepts`.
    relations_known (bool): Whether somebody looked for relations. Nothing is learnt of those where nobody did.
    """

    id: str
    text: str
    concepts: list[Concept] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    relations_known: bool = field(default=True, compare=False)

    @property
    def silent(self) -> bool:
        """Whether it says nothing about relations, not even that there are none."""
        return not (self.relations_known or self.relations)

    def check(self) -> None:
        """Raise for what no reader can mend: offsets outside the text, concepts without a type, and relations to
        missing concepts.

        RAISES (ClinieError): CIE004, CIE005, CIE006.
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
                    "CIE005", kind="concept", note=self.id, problem=f"id {concept.id!r} twice", expected="unique ids"
                )
            ids.add(concept.id)
            if not concept.label:
                raise ClinieError(
                    "CIE005", kind="concept", note=self.id, problem="label is missing", expected=EXPECTED["concept"]
                )
        for relation in self.relations:
            for end in (relation.head, relation.tail):
                if end not in ids:
                    raise ClinieError("CIE006", label=relation.label, note=self.id, concept=end)

    def to_dict(self) -> dict[str, Any]:
        """The note as one line of JSONL holds it. Keys without a value are left out, `score` excepted.

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
        known = {"relations_known": False} if self.silent else {}
        return {"id": self.id, "text": self.text, "concepts": concepts, "relations": relations, **known}

    @classmethod
    def from_dict(cls, record: Any, on_problem: Optional[Callable[[str, str], None]] = None) -> "Note":
        """Read what `to_dict` wrote. `id`s of concepts may be left out; they are then numbered.

        record (Any): One object of a JSONL file.
        on_problem (Optional[Callable[[str, str], None]]): Told of each concept or relation that is not usable, which
            is then left out: first `concept` or `relation`, then what is wrong. If None, such an item is an error.
        RETURNS (Note): The note, not yet checked.
        RAISES (ClinieError): CIE005 for a missing key or a value of the wrong kind.
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
    """The attributes of a concept, as any JSON object has them.

    record (Mapping[str, Any]): Values by name.
    RETURNS (dict[str, str]): Strings as they are, other values as JSON writes them; null is no value.
    """
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in record.items()
        if value is not None
    }


def joined(known: str, value: str) -> str:
    """Several values of one attribute in one.

    known (str): Values, with `|` between them.
    value (str): Further ones.
    RETURNS (str): The known ones, and behind them those that are new.
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
    # A number is common as an id, and means the same written as text.
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
    # No reason to lose a concept: readers leave such a score out, and count it.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return nan
    try:
        return float(value)
    except OverflowError:
        return nan
