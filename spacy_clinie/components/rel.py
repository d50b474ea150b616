"""`clinie_rel`: relations between concepts."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..doc.concepts import SPANS_KEY, get_all_spans, get_details, get_spans, set_concepts
from ..doc.relations import get_relations, has_relations, relation_places, set_relations
from ..errors import ClinieError, warn
from ..models.excerpts import PairInput
from ..schema import Schema
from ..scoring.scorer import score_relations
from .candidates import candidates, gold_triples, warn_of_no_candidates
from .docs import gold_spans, in_parts
from .pair_loss import asked, in_turns, pair_loss, softmax
from .trainable import ClinieComponent

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.OnePass.v1"
"""


@Language.factory(
    "clinie_rel",
    requires=["doc.ents"],
    assigns=["doc._.rel"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "label_schema": None,
        "max_distance": 1,
        "scorer": {"@scorers": "spacy_clinie.relation_scorer.v1"},
    },
    default_score_weights={"relations_f": 0.0, "relations_gold_f": 1.0, "relations_p": 0.0, "relations_r": 0.0},
)
def make_rel(
    nlp: Language,
    name: str,
    model: Model,
    label_schema: Optional[Union[str, Path]],
    max_distance: Optional[int],
    scorer: Optional[Callable],
) -> "RelationClassifier":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): An architecture that classifies pairs, see `models.architectures`.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema; None takes types and type pairs from the
        training data.
    max_distance (Optional[int]): How many sentences apart head and tail may be: 0 for the same sentence; None for
        anywhere in the note.
    scorer (Optional[Callable]): The scorer.
    RETURNS (RelationClassifier): The component.
    RAISES (ClinieError): CIE307 for a distance below 0.
    """
    if max_distance is not None and max_distance < 0:
        raise ClinieError("CIE307", setting="max_distance", value=max_distance, choices="at least 0, or null")
    return RelationClassifier(
        nlp.vocab, model, name, label_schema=label_schema, max_distance=max_distance, scorer=scorer
    )


class RelationClassifier(ClinieComponent):
    """Writes relations with their scores to `doc._.rel`, between the concepts that the Doc carries, and
    entities of other components."""

    finds = "relations"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        label_schema: Optional[Union[str, Path]],
        max_distance: Optional[int],
        scorer: Optional[Callable],
    ) -> None:
        super().__init__(vocab, model, name, label_schema=label_schema, scorer=scorer)
        self.max_distance = max_distance

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.relations) if self.schema else ()

    def predict(self, docs: Iterable[Doc]) -> list[list[tuple[int, int, str, float]]]:
        """Find relations without changing the Docs.

        docs (Iterable[Doc]): The Docs, with concepts.
        RETURNS (list[list[tuple[int, int, str, float]]]): For each Doc index of the head, of the tail (among
            `get_all_spans(doc)`), label, score.
        RAISES (ClinieError): CIE308 if the component is not trained.
        """
        answers = []
        for part in in_parts(docs):
            items = [self.candidates(doc, get_all_spans(doc)) for doc in part]
            for item, scores in zip(items, self.model.predict(items), strict=True):
                labels, rows = tuple(item.schema.relations), softmax(scores)
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
            spans = get_all_spans(doc)
            kept = get_relations(doc)
            known = {(_key(rel.head), _key(rel.tail), rel.label) for rel in kept}
            new = [(spans[head], spans[tail], label, score) for head, tail, label, score in found]
            set_relations(doc, [*kept, *(one for one in new if (_key(one[0]), _key(one[1]), one[2]) not in known)])

    def candidates(self, doc: Doc, spans: list[Span]) -> PairInput:
        """See `candidates.candidates`.

        RAISES (ClinieError): What `schema_of` raises.
        """
        return candidates(doc, spans, self.schema_of(doc), self.max_distance)

    def is_annotated(self, gold: Doc) -> bool:
        return has_relations(gold)

    def check(self, examples: list[Example]) -> None:
        for gold in (example.reference for example in examples):
            self.refuse_unknown((label for _, _, label in relation_places(gold)), self.schema_of(gold).relations)

    def warn_unlearnable(self, examples: list[Example]) -> None:
        super().warn_unlearnable(examples)
        gold = [(example.reference, self.schema_of(example.reference)) for example in examples]
        warn_of_no_candidates(self.name, gold, self.max_distance)
        double = 0
        for doc, schema in gold:
            pairs = [(head, tail) for head, tail, _ in gold_triples(doc, get_all_spans(doc), schema)]
            double += len(pairs) - len(set(pairs))
        if double:
            warn("CIE476", component=self.name, count=double)

    def inputs(self, examples: list[Example]) -> list[Any]:
        self.check(examples)
        items, gold = (list(both) for both in zip(*map(self.gold, examples), strict=True))
        options = self.module.options
        if "unanswered" in options:
            return [asked(item, right, options["unanswered"]) for item, right in zip(items, gold, strict=True)]
        if self.module.one_each and options["step_pieces"] is not None:
            return in_turns(items, gold)
        return items

    def get_loss(self, examples: Iterable[Example], scores: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
        return pair_loss(scores, [self.gold(example)[1] for example in examples], even=self.module.one_each)

    def gold(self, example: Example) -> tuple[PairInput, np.ndarray]:
        """The candidates of a Doc and their gold relations. An unannotated Doc has no candidates.

        example (Example): The Doc with gold concepts and relations.
        RETURNS (tuple[PairInput, np.ndarray]): Candidates, and for each 0 for none, or else 1 + the index of its
            relation type, shape (pairs,).
        """
        if not len(example.predicted) or not self.is_annotated(example.reference):
            schema, none = Schema(self.name, "", {}), np.zeros((0, 0), dtype=bool)
            return PairInput(example.predicted, [], [], [], none, schema), np.zeros(0, dtype=np.int64)
        spans = gold_spans(example.reference, example.predicted, entities=True)
        schema = self.schema_of(example.reference)
        item = candidates(example.predicted, spans, schema, self.max_distance)
        place = {pair: i for i, pair in enumerate(item.pairs)}
        answers = np.zeros(len(item.pairs), dtype=np.int64)
        for head, tail, kind in gold_triples(example.reference, spans, schema):
            # One that is no candidate cannot be learnt: `warn_unlearnable` warns, and scoring counts it as a miss.
            pair = (head, tail)
            if pair in place and item.allowed[place[pair]][kind]:
                answers[place[pair]] = 1 + kind
        return item, answers

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Score end to end (`relations_*`), and on gold concepts (`relations_gold_*`), for which the component is run
        once more.

        examples (Iterable[Example]): Examples with predictions.
        RETURNS (dict[str, Any]): Scores.
        """
        if self.scorer is None:
            return {}
        examples = list(examples)
        scores = super().score(examples, **kwargs)
        docs = []
        for example in examples:
            doc = example.predicted.copy()
            doc.spans.pop(SPANS_KEY, None)
            foreign = gold_spans(example.reference, doc, entities=True)[len(get_spans(example.reference)) :]
            doc.ents = filter_spans(foreign)
            spans, details = _exactly(example.reference, doc)
            set_concepts(doc, spans, details=details)
            set_relations(doc, [])
            docs.append(doc)
        self.set_annotations(docs, self.predict(docs))
        pairs = [(example.reference, doc) for example, doc in zip(examples, docs, strict=True)]
        scores.update(score_relations(pairs, "relations_gold", self.symmetric))
        return scores


def _exactly(gold: Doc, doc: Doc) -> tuple[list[Span], dict[str, dict[str, Any]]]:
    """The gold concepts on another Doc and their details, with their own offsets, whatever the tokens."""
    details = get_details(gold)
    spans = []
    for i, (span, own) in enumerate(zip(gold_spans(gold, doc), get_spans(gold), strict=True)):
        span_id = span.id_ or f"G{i}"
        spans.append(Span(doc, span.start, span.end, label=span.label, span_id=span_id))
        if (span.start_char, span.end_char) != (own.start_char, own.end_char):
            offsets = {"offsets": [own.start_char, own.end_char]}
            details[span_id] = {**offsets, **details.get(span_id, {})}
    return spans, details


def _key(span: Span) -> tuple[int, int, int]:
    return span.start, span.end, span.label
