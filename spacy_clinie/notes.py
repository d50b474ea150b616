"""A note as plain data: text, concepts and relations by character offsets.

This is what a raw corpus is read into, what JSONL holds and what is scored. It knows nothing of tokens:
`annotation` carries it on a spaCy Doc.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .errors import ClinieError


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


@dataclass
class Note:
    """A text with its concepts and relations.

    id (str): Unique within a corpus.
    text (str): The text, unchanged.
    concepts (list[Concept]): In any order; overlaps allowed.
    relations (list[Relation]): Between ids of `concepts`.
    """

    id: str
    text: str
    concepts: list[Concept] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)

    def check(self) -> None:
        """Raise for what no reader can mend: offsets outside the text, and relations to missing concepts.

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
        return {"id": self.id, "text": self.text, "concepts": concepts, "relations": relations}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Note":
        """Read what `to_dict` wrote. `id`s of concepts may be left out; they are then numbered.

        record (Mapping[str, Any]): One object of a JSONL file.
        RETURNS (Note): The note, not yet checked.
        RAISES (ClinieError): CIE005 for a missing key or a value of the wrong kind.
        """
        if not isinstance(record, Mapping):
            raise ClinieError("CIE005", kind="line", note="?", problem="not an object", expected="id, text")
        note_id = str(record.get("id", "?"))
        text = record.get("text")
        if "id" not in record or not isinstance(text, str):
            raise ClinieError(
                "CIE005", kind="line", note=note_id, problem="no id or no text", expected="id, text, concepts, relations"
            )
        try:
            concepts = [
                Concept(
                    id=str(item.get("id") or f"C{i + 1}"),
                    start=_integer(item["start"]),
                    end=_integer(item["end"]),
                    label=_string(item["label"]),
                    score=_score(item.get("score")),
                    fragments=[(_integer(start), _integer(end)) for start, end in item.get("fragments") or ()],
                    attributes={str(k): str(v) for k, v in (item.get("attributes") or {}).items()},
                )
                for i, item in enumerate(record.get("concepts") or ())
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ClinieError(
                "CIE005",
                kind="concept",
                note=note_id,
                problem=type(error).__name__,
                expected="id, start, end, label, score",
            ) from None
        try:
            relations = [
                Relation(str(item["head"]), str(item["tail"]), _string(item["label"]), _score(item.get("score")))
                for item in record.get("relations") or ()
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ClinieError(
                "CIE005", kind="relation", note=note_id, problem=type(error).__name__, expected="head, tail, label, score"
            ) from None
        return cls(note_id, text, concepts, relations)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not an integer")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a string")
    return value


def _score(value: Any) -> Optional[float]:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return float(value)
