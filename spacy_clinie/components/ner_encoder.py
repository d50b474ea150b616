"""`clinie_ner_encoder`: concepts by an encoder."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from thinc.api import Config, Model

from ..doc.concepts import add_concepts, get_spans, has_concepts
from ..errors import warn
from ..models.wordpieces import ConceptInput, draw, sample_unanswered
from .docs import gold_spans, in_parts
from .trainable import ClinieComponent

# The model that finds concepts of one type within each other.
_NESTS = "clinie_encoder_mrc"

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.EncoderTagger.v1"
"""


@Language.factory(
    "clinie_ner_encoder",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "label_schema": None,
        "scorer": {"@scorers": "spacy_clinie.concept_scorer.v1"},
    },
    default_score_weights={"concepts_f": 1.0, "concepts_p": 0.0, "concepts_r": 0.0, "concepts_lenient_f": 0.0},
)
def make_ner_encoder(
    nlp: Language, name: str, model: Model, label_schema: Optional[Union[str, Path]], scorer: Optional[Callable]
) -> "NerEncoder":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): An architecture that finds concepts, see `models.architectures`.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RETURNS (NerEncoder): The component.
    """
    return NerEncoder(nlp.vocab, model, name, label_schema=label_schema, scorer=scorer)


class NerEncoder(ClinieComponent):
    """Writes concepts to `doc.spans["clinie"]`, with their scores, and the flat part of them to `doc.ents`."""

    finds = "concepts"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def predict(self, docs: Iterable[Doc]) -> list[list[tuple[int, int, str, float]]]:
        """Find concepts without changing the Docs.

        docs (Iterable[Doc]): The Docs.
        RETURNS (list[list[tuple[int, int, str, float]]]): For each Doc first token, one past the last, label, score.
        RAISES (ClinieError): CIE308 if the component is not trained; CIE315 if a Doc names a schema with types that
            its tagger has not learnt.
        """
        answers = []
        for part in in_parts(docs):
            items = [self._concept_input(doc, doc) for doc in part]
            for item, found in zip(items, self._found(items), strict=True):
                answers.append([(start, end, item.labels[kind], score) for start, end, kind, score in found])
        return answers

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[tuple[int, int, str, float]]]) -> None:
        """Write concepts to Docs.

        docs (Iterable[Doc]): The Docs, changed in place.
        predictions (list[list[tuple[int, int, str, float]]]): What `predict` found.
        """
        for doc, found in zip(docs, predictions, strict=True):
            add_concepts(doc, found)

    def warn_unlearnable(self, examples: list[Example]) -> None:
        super().warn_unlearnable(examples)
        if self.model.name != _NESTS and (left_out := sum(_left_out(example.reference) for example in examples)):
            warn("CIE482", component=self.name, count=left_out)

    def is_annotated(self, gold: Doc) -> bool:
        return has_concepts(gold)

    def check(self, examples: list[Example]) -> None:
        for example in examples:
            known = self.schema_of(example.reference).concepts
            self.refuse_unknown((span.label_ for span in get_spans(example.reference)), known)

    def inputs(self, examples: list[Example]) -> list[Any]:
        self.check(examples)
        items = [self._item(example) for example in examples]
        if self.model.name != _NESTS:
            return items
        gold = [self._gold(*one) for one in zip(examples, items, strict=True)]
        questions, options = self.module.questions(items), self.module.options
        right = [one.answers(gold[one.doc]) for one in questions]
        asked = sample_unanswered([bool(answers) for answers in right], options["unanswered"])
        asked = [asked[i] for i in draw([len(questions[i].ids) for i in asked], options["step_pieces"])]
        return [questions[i]._replace(places=right[i]) for i in asked]

    def get_loss(self, examples: Iterable[Example], scores: Any) -> tuple[float, Any]:
        from ..models import mrc, tag_chain  # torch

        examples = list(examples)
        gold = [self._gold(example, self._item(example)) for example in examples]
        if self.model.name == _NESTS:
            return mrc.loss(scores, gold)
        return tag_chain.loss(scores, gold, crf=self.module.options["head"] == "crf")

    def _found(self, items: list[ConceptInput]) -> list[list[tuple[int, int, int, float]]]:
        """First token, one past the last, index of the type and score of each concept, for each Doc."""
        from ..models import mrc, tag_chain  # torch

        threshold = self.module.options["threshold"]
        if self.model.name == _NESTS:
            return mrc.decode(self.model.predict(self.module.questions(items)), len(items), threshold)
        return [
            [(one.start, one.stop, one.kind, one.score) for one in found]
            for found in tag_chain.decode(self.model.predict(items), threshold)
        ]

    def _item(self, example: Example) -> ConceptInput:
        """The model's input for a Doc of a batch. An unannotated Doc has no types, so it adds nothing to the loss."""
        if len(example.predicted) and self.is_annotated(example.reference):
            return self._concept_input(example.predicted, example.reference)
        return ConceptInput(example.predicted, (), ())

    def _gold(self, example: Example, item: ConceptInput) -> list[tuple[int, int, int]]:
        """First token, one past the last and index of the type of each gold concept."""
        if not item.labels:
            return []
        spans = gold_spans(example.reference, example.predicted)
        return [(span.start, span.end, item.labels.index(span.label_)) for span in spans]

    def _concept_input(self, doc: Doc, named: Doc) -> ConceptInput:
        """A Doc with what is looked for in it, which another may name."""
        concepts = self.schema_of(named).concepts
        return ConceptInput(doc, tuple(concepts), tuple(concept.question for concept in concepts.values()))


def _left_out(gold: Doc) -> int:
    """How many concepts of a Doc no chain of tags can hold, as a longer one of their type overlaps them."""
    by_type = defaultdict(list)
    for start, end, label in {(span.start, span.end, span.label_) for span in get_spans(gold)}:
        by_type[label].append(Span(gold, start, end))
    return sum(len(spans) - len(filter_spans(spans)) for spans in by_type.values())
