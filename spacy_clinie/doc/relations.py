"""Relations of a Doc: `doc._.rel` gets and sets them.

They are stored as primitives in `doc.user_data["clinie_rel"]`, so that they survive DocBin, `to_bytes` and
`nlp.pipe(n_process=2)`.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan
from typing import Any, NamedTuple, Optional, Union

from spacy.tokens import Doc, Span

from ..errors import ClinieError, warn
from .concepts import cover, foreign_entities, get_spans

RELATIONS_KEY = "clinie_rel"

# Length of the text when relations were set: in a Doc cut from a longer one, their offsets would be wrong.
LENGTH_KEY = "clinie_length"
# The key of an extension with a default value, which is how other libraries register `rel`.
_FOREIGN_KEY: Any = ("._.", "rel", None, None)

# Index of a concept; or first character, one past the last, and label of a span that is not a concept.
End = Union[int, tuple[int, int, str]]


class Rel(NamedTuple):
    """A relation of a Doc, as in `doc._.rel`.

    head (Span): The first concept.
    tail (Span): The second concept.
    label (str): Relation type.
    score (Optional[float]): Confidence from 0 to 1; None for gold.
    """

    head: Span
    tail: Span
    label: str
    score: Optional[float] = None

    @property
    def dep(self) -> Optional[int]:
        """Index of the head in `doc.ents`, spacy-llm's name; None if it is not among the flat entities."""
        return _index_in_ents(self.head)

    @property
    def dest(self) -> Optional[int]:
        """Index of the tail in `doc.ents`, spacy-llm's name; None if it is not among the flat entities."""
        return _index_in_ents(self.tail)

    @property
    def relation(self) -> str:
        """The label, spacy-llm's name."""
        return self.label


def has_relations(doc: Doc) -> bool:
    """Whether a Doc has relation annotation: `doc._.rel` was set, even to an empty list.

    doc (Doc): The Doc.
    RETURNS (bool): False also for a Doc that was stored without `user_data` or cut from a longer one.
    """
    return relations_fit(doc) and (RELATIONS_KEY in doc.user_data or bool(get_relations(doc)))


def get_relations(doc: Doc) -> list[Rel]:
    """Get the relations of a Doc. The same as `doc._.rel`.

    doc (Doc): The Doc.
    RETURNS (list[Rel]): The relations, in the order in which they were set.
    """
    spans = get_spans(doc)
    found = []
    for head, tail, label, score in relation_indexes(doc):
        ends = [spans[end] if isinstance(end, int) else cover(doc, *end) for end in (head, tail)]
        found.append(Rel(ends[0], ends[1], label, score))
    return found


def relations_fit(doc: Doc) -> bool:
    """Whether the relations of a Doc belong to its text, and not to a longer Doc that it was cut from.

    doc (Doc): The Doc.
    RETURNS (bool): True also if no relations were set.
    """
    return doc.user_data.get(LENGTH_KEY, _length(doc)) == _length(doc)


def relation_indexes(doc: Doc) -> list[tuple[End, End, str, Optional[float]]]:
    """Get the relations of a Doc with indexes in place of spans.

    doc (Doc): The Doc.
    RETURNS (list[tuple[End, End, str, Optional[float]]]): Head, tail, label, score. An end is an index into
        `get_spans(doc)`; or first character, one past the last, and label if the span is not a concept (any longer).
    """
    if not relations_fit(doc):
        warn("CIE007")
        return []
    records = doc.user_data.get(RELATIONS_KEY)
    if records is None:
        # Set by another library with a `rel` of its own, before spacy_clinie was imported.
        foreign = doc.user_data.get(_FOREIGN_KEY)
        records = _records(doc, foreign) if foreign else []
    if not records:
        return []
    concepts = _ConceptIndex(doc)
    return [
        (concepts.end(head, head_at), concepts.end(tail, tail_at), label, score)
        for head, tail, label, score, head_at, tail_at in records
    ]


def relation_places(doc: Doc) -> list[tuple[Optional[int], Optional[int], str]]:
    """Get the relations between concepts and entities of other components.

    doc (Doc): The Doc.
    RETURNS (list[tuple[Optional[int], Optional[int], str]]): Head, tail, label. An end is an index into
        `get_all_spans(doc)`; None if the span is not in there (any longer).
    """
    foreign = enumerate(foreign_entities(doc), start=len(get_spans(doc)))
    places: dict[Any, int] = {(ent.start_char, ent.end_char, ent.label_): i for i, ent in foreign}

    def place(end: End) -> Optional[int]:
        return end if isinstance(end, int) else places.get(end)

    return [(place(head), place(tail), label) for head, tail, label, _ in relation_indexes(doc)]


def set_relations(doc: Doc, relations: Any) -> None:
    """Replace the relations of a Doc. The same as assigning to `doc._.rel`.

    doc (Doc): The Doc, changed in place.
    relations (Any): A list of `Rel`, of (head, tail, label[, score]) with spans or indexes into
        `get_spans(doc)`, of dictionaries with these keys, or of spacy-llm's RelationItems (indexes into `doc.ents`);
        or rel_component's {(head start token, tail start token): {label: score}}. Scores are numbers or None.
    RAISES (ClinieError): CIE001 for anything else. The Doc then keeps its relations.
    """
    doc.user_data[RELATIONS_KEY] = _records(doc, relations)
    doc.user_data[LENGTH_KEY] = _length(doc)
    # Another library may have registered the name in the meantime.
    register_extension()


def register_extension() -> None:
    """Register `doc._.rel`. A `rel` of another library with a default value is replaced, and its values stay readable.
    One with a getter or method is kept, with a warning (CIE003)."""
    if Doc.has_extension("rel"):
        _, method, getter, _ = Doc.get_extension("rel")
        if getter is get_relations:
            return
        if getter is not None or method is not None:
            warn("CIE003")
            return
    Doc.set_extension("rel", getter=get_relations, setter=set_relations, force=True)


def _index_in_ents(span: Span) -> Optional[int]:
    for i, ent in enumerate(span.doc.ents):
        if (ent.start, ent.end, ent.label) == (span.start, span.end, span.label):
            return i
    return None


def _length(doc: Doc) -> int:
    return doc[-1].idx + len(doc[-1].text_with_ws) if len(doc) else 0


class _ConceptIndex:
    """Finds concepts of a Doc by index, or by offsets, label and id."""

    def __init__(self, doc: Doc) -> None:
        self.doc, self.spans = doc, get_spans(doc)
        self._places: dict[tuple, int] = {}
        self._entities = {(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents}
        for i, span in enumerate(self.spans):
            known = (span.start_char, span.end_char, span.label_, span.id_)
            for parts in (4, 3, 2):
                self._places.setdefault(known[:parts], i)

    def end(self, index: int, at: Sequence[Any]) -> End:
        """Resolve a stored end: the concept at that index if it still matches, otherwise one with the same offsets and
        label, otherwise one with the same offsets."""
        known = tuple(at)
        if 0 <= index < len(self.spans):
            span = self.spans[index]
            if (span.start_char, span.end_char, span.label_)[: len(known)] == known:
                return index
        # What was no concept when it was stored is not one of another label now.
        found = self._find(known, by_place=index >= 0)
        return (known[0], known[1], known[2] if len(known) > 2 else "") if found is None else found

    def record(self, number: int, value: Any) -> tuple[int, list[Any]]:
        """An end as it is stored: index among the concepts (-1 for a span that is none), place and label.

        number (int): Number of the relation, for messages.
        value (Any): A span or an index.
        RAISES (ClinieError): CIE001 if it is neither.
        """
        if isinstance(value, Span):
            if value.doc is not self.doc:
                raise ClinieError("CIE001", index=number, problem="one of its spans belongs to another Doc")
            known = value.start_char, value.end_char, value.label_, value.id_
            # An entity of another component keeps its type where a concept of ours has the same words.
            found = self._find(known, by_place=(value.start_char, value.end_char, value.label_) not in self._entities)
            return (-1 if found is None else found), [value.start_char, value.end_char, value.label_]
        try:
            place = -1 if isinstance(value, bool) else operator.index(value)
        except TypeError:
            kind = type(value).__name__
            raise ClinieError("CIE001", index=number, problem=f"a {kind} is neither a span nor an index") from None
        if not 0 <= place < len(self.spans):
            raise ClinieError(
                "CIE001", index=number, problem=f"index {place} is out of range for {len(self.spans)} concepts"
            )
        span = self.spans[place]
        return place, [span.start_char, span.end_char, span.label_]

    def _find(self, known: tuple, *, by_place: bool) -> Optional[int]:
        least = 2 if by_place or len(known) == 2 or not known[2] else 3
        tried = (known[:n] for n in range(len(known), least - 1, -1))
        return next((self._places[one] for one in tried if one in self._places), None)


def _records(doc: Doc, relations: Any) -> list[list[Any]]:
    """The relations as stored primitives."""
    concepts = _ConceptIndex(doc)
    if isinstance(relations, Mapping):
        relations = _from_rel_component([*doc.ents, *concepts.spans], relations)
    elif isinstance(relations, str) or not isinstance(relations, Iterable):
        raise ClinieError("CIE001", index=0, problem=f"a {type(relations).__name__} is not a list")
    records = []
    for i, relation in enumerate(relations):
        head, tail, label, score = _parts(doc, i, relation)
        if not isinstance(label, str) or not label:
            raise ClinieError("CIE001", index=i, problem="its label is not a string")
        if score is not None:
            score = _score(i, score)
        head_index, head_at = concepts.record(i, head)
        tail_index, tail_at = concepts.record(i, tail)
        records.append([head_index, tail_index, label, score, head_at, tail_at])
    return records


def _score(number: int, value: Any) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = nan
    if not isfinite(score):
        raise ClinieError("CIE001", index=number, problem="its score is not a finite number")
    return score


def _parts(doc: Doc, index: int, relation: Any) -> tuple[Any, Any, Any, Any]:
    if isinstance(relation, Rel):
        return relation
    if isinstance(relation, Mapping):
        missing = {"head", "tail", "label"} - set(relation)
        if missing:
            raise ClinieError("CIE001", index=index, problem=f"it has no {', '.join(sorted(missing))}")
        return relation["head"], relation["tail"], relation["label"], relation.get("score")
    if hasattr(relation, "dep") and hasattr(relation, "dest") and hasattr(relation, "relation"):
        ends = relation.dep, relation.dest
        if not all(isinstance(end, int) and 0 <= end < len(doc.ents) for end in ends):
            problem = f"an index is out of range for {len(doc.ents)} entities in doc.ents"
            raise ClinieError("CIE001", index=index, problem=problem)
        return doc.ents[ends[0]], doc.ents[ends[1]], relation.relation, getattr(relation, "score", None)
    if isinstance(relation, Sequence) and not isinstance(relation, str) and len(relation) in (3, 4, 6):
        # Three or four parts as users write them, six as stored.
        head, tail, label = relation[:3]
        return head, tail, label, relation[3] if len(relation) > 3 else None
    raise ClinieError("CIE001", index=index, problem=f"a {type(relation).__name__} is not a known relation format")


def _from_rel_component(spans: Sequence[Span], table: Mapping[Any, Any]) -> list[tuple[Span, Span, str, float]]:
    by_start: dict[int, Span] = {}
    for span in spans:
        by_start.setdefault(span.start, span)
    found = []
    for i, (pair, row) in enumerate(table.items()):
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(row, Mapping)):
            raise ClinieError("CIE001", index=i, problem="it is not a pair of tokens with scores by label")
        for label, value in row.items():
            score = _score(i, value)
            if score < 0.5:  # the threshold in the configs of that project
                continue
            for start in pair:
                if start not in by_start:
                    raise ClinieError("CIE001", index=i, problem="no concept starts at one of its tokens")
            found.append((by_start[pair[0]], by_start[pair[1]], label, score))
    return found
