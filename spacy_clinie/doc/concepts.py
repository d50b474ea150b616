"""How a Doc carries concepts.

- `doc.spans["clinie"]` holds every concept, overlapping and nested ones included; `span.id_` is the concept's id.
  The group's `attrs` carry what a span cannot: `scores` (a list as long as the group, as spaCy's SpanCategorizer
  keeps them) and `details` (by concept id: fragments, attributes, exact offsets, and the `status` of a concept that a
  language model named).
- `doc.ents` holds the flat part of it.
- `doc._.rel` gives and takes relations, see `relations`.
- `doc.user_data["clinie_id"]` is the id of the note.
- `doc.user_data["clinie_rejected"]` counts what a language model named and was not taken, by reason, and the questions
  that it did not answer (`unanswered`).
- `doc.user_data["clinie_schema"]` names the schema that the Doc is to be read with, where that is not the component's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE
from spacy.tokens import Doc, Span, SpanGroup
from spacy.util import filter_spans

SPANS_KEY = "clinie"
ID_KEY = "clinie_id"
SCHEMA_KEY = "clinie_schema"
REJECTED_KEY = "clinie_rejected"
UNANSWERED = "unanswered"

# `Token.ent_iob` of one that begins an entity.
_BEGINS = 3

# What we wrote to `doc.ents`: first character, one past the last, label.
ENTS_KEY = "clinie_ents"


def get_spans(doc: Doc) -> list[Span]:
    """The concepts of a Doc, in the order that relation indexes refer to.

    doc (Doc): A Doc of ours, or one that only has `doc.ents`.
    RETURNS (list[Span]): The spans of `doc.spans["clinie"]` if there is such a group, `doc.ents` otherwise.
    """
    if SPANS_KEY not in doc.spans:
        return list(doc.ents)
    try:
        spans = list(doc.spans[SPANS_KEY])
        if all(map(_stands, spans)):
            return spans
    except IndexError:  # one lies behind the last token
        pass
    # spaCy moves entities along where tokens are merged or split, and leaves the spans of a group at their old numbers.
    # They know their characters, and can be asked for them where there are as many tokens as there ever were.
    tokens = Doc(doc.vocab, words=["-"] * len(doc.text))
    held = SpanGroup(tokens).from_bytes(doc.spans[SPANS_KEY].to_bytes())
    return [cover(doc, span.start_char, span.end_char, span.label_, span.id_) for span in held]


def foreign_entities(doc: Doc) -> list[Span]:
    """Entities that other components wrote to `doc.ents` beside our concepts.

    doc (Doc): The Doc.
    RETURNS (list[Span]): Those that are none of `get_spans(doc)`, and that were none when we wrote `doc.ents`: somebody
        may have taken a concept out of the group since.
    """
    known = set(map(_place, get_spans(doc)))
    if SPANS_KEY in doc.spans:
        label_id = doc.vocab.strings.as_int
        known |= {(start, end, label_id(label)) for start, end, label in doc.user_data.get(ENTS_KEY, ())}
    return [ent for ent in doc.ents if _place(ent) not in known]


def get_all_spans(doc: Doc) -> list[Span]:
    """What relations may be found between: the concepts, then the entities of other components.

    doc (Doc): The Doc.
    RETURNS (list[Span]): `get_spans(doc)`, then `foreign_entities(doc)`.
    """
    return [*get_spans(doc), *foreign_entities(doc)]


def is_partly_annotated(doc: Doc) -> bool:
    """Whether concepts are given by `doc.ents`, and of some tokens nobody said whether they belong to one.

    doc (Doc): The Doc.
    RETURNS (bool): False for a Doc without any annotation.
    """
    known = [token.ent_iob > 0 for token in doc] if SPANS_KEY not in doc.spans else []
    return any(known) and not all(known)


def get_scores(doc: Doc) -> list[Optional[float]]:
    """The confidence of each concept.

    doc (Doc): The Doc.
    RETURNS (list[Optional[float]]): As long as `get_spans(doc)`; None where there is no score.
    """
    spans = get_spans(doc)
    scores = doc.spans[SPANS_KEY].attrs.get("scores") if SPANS_KEY in doc.spans else None
    known = [] if scores is None else [None if score is None else float(score) for score in scores]
    # Another component may have appended spans to the group without scores; or taken some out, nobody knows which.
    if len(known) > len(spans):
        known = []
    return known + [None] * (len(spans) - len(known))


def has_concepts(doc: Doc) -> bool:
    """Whether anybody said which concepts a Doc has, be it none: `doc.spans["clinie"]` or `doc.ents` were set.

    doc (Doc): The Doc.
    RETURNS (bool): False for a Doc that nobody annotated.
    """
    return SPANS_KEY in doc.spans or doc.has_annotation("ENT_IOB")


def get_details(doc: Doc) -> dict[str, dict[str, Any]]:
    """What a span cannot hold, by concept id: `fragments`, `attributes`, and exact `offsets` where they were snapped.

    doc (Doc): The Doc.
    RETURNS (dict[str, dict[str, Any]]): Only concepts that have such, and not those that somebody took out since.
    """
    details = doc.spans[SPANS_KEY].attrs.get("details", {}) if SPANS_KEY in doc.spans else {}
    there = {span.id_ for span in get_spans(doc)} if details else set()
    return {key: value for key, value in details.items() if key in there}


def set_concepts(
    doc: Doc,
    spans: Sequence[Span],
    scores: Optional[Sequence[Optional[float]]] = None,
    details: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> None:
    """Write concepts to `doc.spans["clinie"]` and the flat part of them to `doc.ents`.

    Where two concepts overlap, `doc.ents` gets the longer one (spaCy's `filter_spans`), of two on the same words the
    likelier. Entities that others wrote to `doc.ents` stay, and ours give way to them and to tokens that others blocked
    (`doc.set_ents`); entities from an earlier call of this function do not stay.
    Relations are kept by offsets, so they stay right as long as their concepts are still there.

    doc (Doc): The Doc, changed in place.
    spans (Sequence[Span]): The concepts.
    scores (Optional[Sequence[Optional[float]]]): As long as `spans`.
    details (Optional[Mapping[str, Mapping[str, Any]]]): By concept id, see the module's description.
    """
    foreign = foreign_entities(doc) if SPANS_KEY in doc.spans else list(doc.ents)
    # What others keep there is theirs.
    there = doc.spans[SPANS_KEY].attrs if SPANS_KEY in doc.spans else {}
    attrs = {key: value for key, value in there.items() if key not in ("scores", "details")}
    doc.spans[SPANS_KEY] = list(spans)
    if scores is not None:
        attrs["scores"] = [None if score is None else float(score) for score in scores]
    if details:
        attrs["details"] = {key: dict(value) for key, value in details.items()}
    doc.spans[SPANS_KEY].attrs = attrs
    blocked = [doc[i : i + 1] for i in _blocked(doc)]
    taken = {i for span in [*foreign, *blocked] for i in range(span.start, span.end)}
    # The first of two on the same words is kept: those of which nothing is known come from a person.
    sure = [1.0 if score is None else score for score in get_scores(doc)]
    ranked = sorted(range(len(spans)), key=lambda i: -sure[i])
    flat = filter_spans(spans[i] for i in ranked if taken.isdisjoint(range(spans[i].start, spans[i].end)))
    linked = _linked(doc)
    ours = [
        Span(doc, span.start, span.end, label=span.label, kb_id=linked.get(_place(span), span.kb_id)) for span in flat
    ]
    doc.set_ents(foreign + ours, blocked=blocked)
    doc.user_data[ENTS_KEY] = [[span.start_char, span.end_char, span.label_] for span in flat]


def get_links(doc: Doc) -> list[str]:
    """What an entity linker found for each concept. Linkers know of `doc.ents` alone.

    doc (Doc): The Doc.
    RETURNS (list[str]): As long as `get_spans(doc)`: ids in the knowledge base; empty where there is none.
    """
    linked = _linked(doc)
    return [doc.vocab.strings[linked.get(_place(span), span.kb_id)] for span in get_spans(doc)]


def _blocked(doc: Doc) -> list[int]:
    """The tokens of which somebody said that they belong to no entity: spaCy has them begin one without a type."""
    begun, kinds = doc.to_array([ENT_IOB, ENT_TYPE]).T
    return np.flatnonzero((begun == _BEGINS) & (kinds == 0)).tolist()


def _linked(doc: Doc) -> dict[tuple[int, int, int], int]:
    return {_place(ent): ent.kb_id for ent in doc.ents if ent.kb_id}


def _place(span: Span) -> tuple[int, int, int]:
    """By characters: where tokens are merged, spaCy moves entities along and not the spans of a group."""
    return span.start_char, span.end_char, span.label


def add_concepts(
    doc: Doc,
    found: Iterable[tuple[int, int, str, Optional[float]]],
    details: Optional[Mapping[tuple[int, int, str], Mapping[str, Any]]] = None,
) -> None:
    """Add predicted concepts to those that the Doc already carries. One that is there already is left as it is.

    doc (Doc): The Doc, changed in place.
    found (Iterable[tuple[int, int, str, Optional[float]]]): First token, one past the last, label, score.
    details (Optional[Mapping[tuple[int, int, str], Mapping[str, Any]]]): What a span cannot hold, by the first three.
    """
    spans = get_spans(doc) if SPANS_KEY in doc.spans else []
    scores = get_scores(doc) if spans else []
    kept = get_details(doc)
    seen = {(span.start, span.end, span.label_) for span in spans}
    ids = {span.id_ for span in spans}
    number = len(spans)
    for start, end, label, score in sorted(found, key=lambda item: (item[0], -item[1], item[2])):
        if (start, end, label) in seen:
            continue
        seen.add((start, end, label))
        number += 1
        while f"C{number}" in ids:
            number += 1
        spans.append(Span(doc, start, end, label=label, span_id=f"C{number}"))
        scores.append(score)
        if details and (start, end, label) in details:
            kept[f"C{number}"] = dict(details[start, end, label])
    set_concepts(doc, spans, scores, kept)


def cover(doc: Doc, start: int, end: int, label: str = "", span_id: str = "") -> Span:
    """The smallest span of whole tokens that covers some characters.

    doc (Doc): The Doc, not empty.
    start (int): First character.
    end (int): One past the last character.
    label (str): Label of the span.
    span_id (str): Id of the span.
    RETURNS (Span): At least one token; for characters that no token holds (a blank between two tokens), the token
        before them.
    """
    first = _token_at(doc, start, end)
    last = first
    while last + 1 < len(doc) and doc[last + 1].idx < end:
        last += 1
    return Span(doc, first, last + 1, label=label, span_id=span_id)


def _token_at(doc: Doc, start: int, end: int) -> int:
    """Index of the last token that begins at or before `start`, or of the next if that one ends before it."""
    low, high = 0, len(doc)
    while low < high:
        middle = (low + high) // 2
        if doc[middle].idx <= start:
            low = middle + 1
        else:
            high = middle
    found = max(low - 1, 0)
    ends_before = doc[found].idx + len(doc[found]) <= start
    if ends_before and found + 1 < len(doc) and doc[found + 1].idx < end:
        return found + 1
    return found


def _stands(span: Span) -> bool:
    """Whether the tokens of a span are those of its characters."""
    last = span.doc[span.end - 1]
    return span.doc[span.start].idx == span.start_char and last.idx + len(last) == span.end_char
