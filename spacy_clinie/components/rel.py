"""`clinie_rel`: relations between concepts."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..annotation import (
    ID_KEY,
    SPANS_KEY,
    get_details,
    get_relations,
    get_spans,
    relation_indexes,
    set_concepts,
    set_relations,
)
from ..errors import ClinieError, warn
from ..models.excerpts import PairInput
from ..scoring.scorer import score_relations
from ..windows import sentence_starts
from .base import ClinieComponent, gold_spans, in_parts

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.OnePass.v1"
encoder = "minilm"
lora = null
window = 192
layers = 2
dropout = 0.1
head_rate = 3.0
batch_pieces = 1024
device = "auto"
precision = "auto"
"""

# A note with more candidates than this is not a note that a person wrote.
MOST_CANDIDATES = 50_000


@Language.factory(
    "clinie_rel",
    requires=["doc.ents"],
    assigns=["doc._.rel"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "schema": None,
        "max_distance": 1,
        "scorer": {"@scorers": "spacy_clinie.relation_scorer.v1"},
    },
    default_score_weights={"relations_f": 0.0, "relations_gold_f": 1.0, "relations_p": 0.0, "relations_r": 0.0},
)
def make_rel(
    nlp: Language,
    name: str,
    model: Model,
    schema: Optional[Union[str, Path]],
    max_distance: Optional[int],
    scorer: Optional[Callable],
) -> "RelationClassifier":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): An architecture that classifies pairs, see `models.architectures`.
    schema (Optional[Union[str, Path]]): Name or file of the schema; None takes types and type pairs from the
        training data.
    max_distance (Optional[int]): How many sentences apart head and tail may be: 0 for the same sentence; None for
        anywhere in the note.
    scorer (Optional[Callable]): The scorer.
    RETURNS (RelationClassifier): The component.
    RAISES (ClinieError): CIE307 for a distance below 0.
    """
    if max_distance is not None and max_distance < 0:
        raise ClinieError("CIE307", setting="max_distance", value=max_distance, choices="0, 1, 2, ..., null")
    return RelationClassifier(nlp.vocab, model, name, schema=schema, max_distance=max_distance, scorer=scorer)


class RelationClassifier(ClinieComponent):
    """Writes relations with their scores to `doc._.rel`, between the concepts that the Doc carries."""

    finds = "relations"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        schema: Optional[Union[str, Path]],
        max_distance: Optional[int],
        scorer: Optional[Callable],
    ) -> None:
        super().__init__(vocab, model, name, schema=schema, scorer=scorer)
        self.max_distance = max_distance

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.relations) if self.schema else ()

    def predict(self, docs: Iterable[Doc]) -> list[list[tuple[int, int, str, float]]]:
        """Find relations without changing the Docs.

        docs (Iterable[Doc]): The Docs, with concepts.
        RETURNS (list[list[tuple[int, int, str, float]]]): For each Doc index of the head, of the tail (among
            `get_spans(doc)`), label, score.
        RAISES (ClinieError): CIE308 if the component is not trained.
        """
        answers, labels = [], self.labels
        for part in in_parts(docs):
            items = [self.candidates(doc, get_spans(doc)) for doc in part]
            for item, rows in zip(items, self.model.predict(items), strict=True):
                best = rows.argmax(-1) if len(rows) else []
                answers.append(
                    [
                        (head, tail, labels[label - 1], float(row[label]))
                        for (head, tail), label, row in zip(item.pairs, best, rows, strict=True)
                        if label
                    ]
                )
        return answers

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[tuple[int, int, str, float]]]) -> None:
        """Write relations to Docs. Those that another component found stay.

        docs (Iterable[Doc]): The Docs, changed in place.
        predictions (list[list[tuple[int, int, str, float]]]): What `predict` found.
        """
        for doc, found in zip(docs, predictions, strict=True):
            spans = get_spans(doc)
            kept = get_relations(doc)
            known = {(_key(rel.head), _key(rel.tail), rel.label) for rel in kept}
            new = [f for f in found if (_key(spans[f[0]]), _key(spans[f[1]]), f[2]) not in known]
            set_relations(doc, [*kept, *new])

    def candidates(self, doc: Doc, spans: list[Span]) -> PairInput:
        """All ordered pairs of concepts whose types the schema allows and that are near enough.

        doc (Doc): The Doc.
        spans (list[Span]): Its concepts. Those of types that the schema does not have take no part.
        RETURNS (PairInput): In one order only where the relations are symmetric. The nearest pairs, with a warning
            (CIE464), if there are more than `MOST_CANDIDATES`.
        RAISES (ClinieError): CIE461 if there is no schema yet.
        """
        if self.schema is None:
            raise ClinieError("CIE461", component=self.name)
        kinds = {kind: i for i, kind in enumerate(self.schema.concepts)}
        symmetric = np.array([relation.symmetric for relation in self.schema.relations.values()])
        # Of types of head and tail, and whether the head is named first.
        allowed = {}
        for head, tail in product(kinds, kinds):
            names = self.schema.allowed(head, tail)
            row = np.array([label in names for label in self.schema.relations])
            for head_first in (True, False):
                if (own := row & (head_first | ~symmetric)).any():
                    allowed[head, tail, head_first] = own
        pairs = []
        if len(spans) > 1 and allowed:
            near = _near(spans, kinds, allowed, sentence_starts(doc), self.max_distance)
            pairs = list(islice(near, MOST_CANDIDATES + 1))
        if len(pairs) > MOST_CANDIDATES:
            warn("CIE464", note=doc.user_data.get(ID_KEY, "?"), kept=MOST_CANDIDATES)
            pairs.pop()
        rows = [allowed[_kinds(spans[head], spans[tail])] for head, tail in pairs]
        table = np.stack(rows) if rows else np.zeros((0, len(self.labels)), dtype=bool)
        return PairInput(doc, spans, [kinds.get(span.label_, -1) for span in spans], pairs, table)

    def check(self, examples: list[Example]) -> None:
        relations = [found for example in examples for found in relation_indexes(example.reference)]
        self.refuse_unknown(label for _, _, label, _ in relations)
        loose = sum(not (isinstance(head, int) and isinstance(tail, int)) for head, tail, _, _ in relations)
        if loose:
            warn("CIE466", component=self.name, count=loose)

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[Any]]:
        items, gold = [], []
        index = {label: i for i, label in enumerate(self.labels)}
        for example in examples:
            spans = gold_spans(example.reference, example.predicted)
            item = self.candidates(example.predicted, spans)
            place = {pair: i for i, pair in enumerate(item.pairs)}
            answers = np.zeros(len(item.pairs), dtype=np.int64)
            for head, tail, label, _ in relation_indexes(example.reference):
                self.refuse_unknown([label])
                # A gold relation that is no candidate cannot be learnt; scoring counts it as a miss.
                pair = (head, tail)
                if pair in place and item.allowed[place[pair]][index[label]]:
                    answers[place[pair]] = 1 + index[label]
            items.append(item)
            gold.append(answers)
        return items, gold

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score end to end (`relations_*`), and on gold concepts (`relations_gold_*`), for which the component is run
        once more.

        examples (Iterable[Example]): Examples with predictions.
        RETURNS (dict[str, Any]): Scores.
        """
        if self.scorer is None:
            return {}
        examples = list(examples)
        scores = dict(self.scorer(examples, **kwargs))
        docs = []
        for example in examples:
            doc = example.predicted.copy()
            doc.spans.pop(SPANS_KEY, None)
            doc.ents = []
            set_concepts(doc, gold_spans(example.reference, doc), details=get_details(example.reference))
            set_relations(doc, [])
            docs.append(doc)
        self.set_annotations(docs, self.predict(docs))
        pairs = [(example.reference, doc) for example, doc in zip(examples, docs, strict=True)]
        scores.update(score_relations(pairs, "relations_gold"))
        return scores


def _key(span: Span) -> tuple[int, int, int]:
    return span.start, span.end, span.label


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
    max_distance (Optional[int]): See `make_rel`.
    YIELDS (tuple[int, int]): Indexes of head and tail among `spans`.
    """
    fits = np.array([[[(h, t, first) in allowed for first in (False, True)] for t in kinds] for h in kinds])
    paired = np.logical_or(fits.any((1, 2)), fits.any((0, 2)))
    known = [i for i, span in enumerate(spans) if span.label_ in kinds and paired[kinds[span.label_]]]
    order = np.array(sorted(known, key=lambda i: _key(spans[i])), dtype=np.int64)
    kind = np.array([kinds[spans[i].label_] for i in order], dtype=np.int64)
    ends = np.array([(spans[i].start, spans[i].end) for i in order], dtype=np.int64).reshape(-1, 2)
    first, last = np.searchsorted(sentences, ends[:, 0], side="right"), np.searchsorted(sentences, ends[:, 1])
    for gap in range(1, len(order)):
        left, right = slice(0, len(order) - gap), slice(gap, None)
        near = np.ones(len(order) - gap, dtype=bool)
        if max_distance is not None:
            near = first[right] - last[left] <= max_distance
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
