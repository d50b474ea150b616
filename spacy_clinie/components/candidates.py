"""Which pairs of concepts may be related."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Optional

import numpy as np
from spacy.tokens import Doc, Span

from ..doc.concepts import ID_KEY, get_all_spans
from ..doc.relations import relation_places
from ..doc.windows import sentence_starts
from ..errors import warn
from ..models.excerpts import PairInput
from ..schema import Schema

# A note with more candidates than this is not a note that a person wrote.
MOST_CANDIDATES = 50_000


def candidates(
    doc: Doc, spans: list[Span], schema: Schema, max_distance: Optional[int], most: Optional[int] = None
) -> PairInput:
    """All ordered pairs of concepts whose types the schema allows and that are near enough.

    doc (Doc): The Doc.
    spans (list[Span]): Its concepts. Those of types that the schema does not have take no part.
    schema (Schema): The schema.
    max_distance (Optional[int]): How many sentences apart head and tail may be: 0 for the same sentence; None for
        anywhere in the note.
    most (Optional[int]): How many pairs there may be; `MOST_CANDIDATES` if None.
    RETURNS (PairInput): In one order only where the relations are symmetric. The nearest pairs, with a warning
        (CIE464), if there are more than `most`.
    """
    most = MOST_CANDIDATES if most is None else most
    kinds = {kind: i for i, kind in enumerate(schema.concepts)}
    pairs = []
    if len(spans) > 1 and schema.relations:
        allowed = _allowed(schema)
        near = _near(spans, kinds, allowed, sentence_starts(doc), max_distance)
        pairs = list(islice(near, most + 1))
    if len(pairs) > most:
        warn("CIE464", note=doc.user_data.get(ID_KEY, "?"), kept=most)
        pairs.pop()
    rows = [allowed[_kinds(spans[head], spans[tail])] for head, tail in pairs]
    table = np.stack(rows) if rows else np.zeros((0, len(schema.relations)), dtype=bool)
    return PairInput(doc, spans, [kinds.get(span.label_, -1) for span in spans], pairs, table, schema)


def first_on_same_words(spans: Sequence[Span]) -> list[int]:
    """Of several concepts of one type on the same words the first one, which stands for all.

    spans (Sequence[Span]): Concepts.
    RETURNS (list[int]): For each its index, or that of the first one like it.
    """
    first: dict[tuple[int, int, str], int] = {}
    return [first.setdefault((span.start, span.end, span.label_), i) for i, span in enumerate(spans)]


def gold_triples(gold: Doc, spans: Sequence[Span], schema: Schema) -> list[tuple[int, int, int]]:
    """The relations of a Doc as `candidates` has them: symmetric ones begin at what the text names first.

    gold (Doc): The Doc.
    spans (Sequence[Span]): Its concepts and entities (`get_all_spans`), on the Doc that has the candidates.
    schema (Schema): The schema.
    RETURNS (list[tuple[int, int, int]]): Indexes of head, tail and relation type, each once. Without those that have an
        end that is none of `spans`, or a type that the schema does not have.
    """
    kinds, first = {label: i for i, label in enumerate(schema.relations)}, first_on_same_words(spans)
    found = []
    for head, tail, label in relation_places(gold):
        if head is None or tail is None or label not in kinds:
            continue
        ends = first[head], first[tail]
        if schema.relations[label].symmetric:
            # Of two on the same words, either is named first: then it is left as it is.
            ends = (ends[0], ends[1]) if _kinds(spans[ends[0]], spans[ends[1]])[2] else (ends[1], ends[0])
        found.append((*ends, kinds[label]))
    return list(dict.fromkeys(found))


def warn_of_no_candidates(component: str, gold: Iterable[tuple[Doc, Schema]], max_distance: Optional[int]) -> None:
    """Tell how many gold relations are not between candidates, so that a component cannot learn them: CIE466 for
    those with an end that is no concept or entity, CIE472 for the others.

    component (str): Its name.
    gold (Iterable[tuple[Doc, Schema]]): Docs with gold concepts and relations, and the schema of each.
    max_distance (Optional[int]): See `candidates`.
    """
    loose = far = 0
    for doc, schema in gold:
        loose += sum(head is None or tail is None for head, tail, _ in relation_places(doc))
        spans = get_all_spans(doc)
        if triples := gold_triples(doc, spans, schema):
            item = candidates(doc, spans, schema, max_distance)
            known = {
                (*pair, kind)
                for pair, row in zip(item.pairs, item.allowed, strict=True)
                for kind in np.flatnonzero(row)
            }
            far += len(set(triples) - known)
    if loose:
        warn("CIE466", component=component, count=loose)
    if far:
        warn("CIE472", component=component, count=far, distance=max_distance)


def _allowed(schema: Schema) -> dict[tuple[str, str, bool], np.ndarray]:
    """Which relation types are allowed, shape (relations,), by the types of head and tail and whether the head is named
    first. Without those that allow none."""
    symmetric = np.array([relation.symmetric for relation in schema.relations.values()], dtype=bool)
    allowed = {}
    for head, tail in {pair for relation in schema.relations.values() for pair in relation.pairs}:
        names = schema.allowed(head, tail)
        row = np.array([label in names for label in schema.relations], dtype=bool)
        for head_first in (True, False):
            if (own := row & (head_first | ~symmetric)).any():
                allowed[head, tail, head_first] = own
    return allowed


def _kinds(head: Span, tail: Span) -> tuple[str, str, bool]:
    """Types of a pair, and whether its head is named first."""
    return head.label_, tail.label_, (head.start, head.end) <= (tail.start, tail.end)


def _near(
    spans: list[Span],
    kinds: Mapping[str, int],
    allowed: Container[tuple[str, str, bool]],
    sentences: Sequence[int],
    max_distance: Optional[int],
) -> Iterator[tuple[int, int]]:
    """Ordered pairs of allowed types, at most so many sentences apart; neighbours first, then those with one concept
    between them, and so on.

    spans (list[Span]): Concepts.
    kinds (Mapping[str, int]): Index of each type.
    allowed (Container[tuple[str, str, bool]]): Types of head and tail, and whether the head is named first.
    sentences (Sequence[int]): First token of each sentence.
    max_distance (Optional[int]): See `candidates`.
    YIELDS (tuple[int, int]): Indexes of head and tail among `spans`.
    """
    fits = np.array([[[(h, t, first) in allowed for first in (False, True)] for t in kinds] for h in kinds])
    # Without those that no other concept of this Doc could be related to: all pairs are looked at.
    labels = {span.label_ for span in spans}
    there = np.array([kind in labels for kind in kinds], dtype=bool)
    related = np.asarray(fits.any(2))
    paired = (related[:, there].any(1) | related[there].any(0)) & there
    first = first_on_same_words(spans)
    known = [i for i, span in enumerate(spans) if first[i] == i and span.label_ in kinds and paired[kinds[span.label_]]]
    order = np.array(sorted(known, key=lambda i: (spans[i].start, spans[i].end, spans[i].label)), dtype=np.int64)
    kind = np.array([kinds[spans[i].label_] for i in order], dtype=np.int64)
    ends = np.array([(spans[i].start, spans[i].end) for i in order], dtype=np.int64).reshape(-1, 2)
    begins, stops = np.searchsorted(sentences, ends[:, 0], side="right"), np.searchsorted(sentences, ends[:, 1])
    for gap in range(1, len(order)):
        left, right = slice(0, len(order) - gap), slice(gap, None)
        near = np.ones(len(order) - gap, dtype=bool)
        if max_distance is not None:
            near = begins[right] - stops[left] <= max_distance
            if not near.any():  # what is further apart is further away still
                return
        forward = near & fits[kind[left], kind[right], 1]
        # Of two on the same words, either is named first.
        equal = (ends[left] == ends[right]).all(-1).astype(np.int64)
        backward = near & fits[kind[right], kind[left], equal]
        for i in np.flatnonzero(forward | backward):
            pair = int(order[i]), int(order[i + gap])
            if forward[i]:
                yield pair
            if backward[i]:
                yield pair[1], pair[0]
