"""`clinie_ner_encoder`: concepts by an encoder."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Optional, Union

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Config, Model

from ..annotation import add_concepts, get_spans
from .base import ClinieComponent, gold_spans, in_parts

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.EncoderTagger.v1"
encoder = "minilm"
head = "crf"
threshold = 0.45
lora = null
window = 256
overlap = 32
dropout = 0.1
head_rate = 3.0
layer_rate = 0.8
batch_pieces = 1024
device = "auto"
precision = "auto"
"""


@Language.factory(
    "clinie_ner_encoder",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": Config().from_str(DEFAULT_CONFIG)["model"],
        "schema": None,
        "scorer": {"@scorers": "spacy_clinie.concept_scorer.v1"},
    },
    default_score_weights={"concepts_f": 1.0, "concepts_p": 0.0, "concepts_r": 0.0, "concepts_lenient_f": 0.0},
)
def make_ner_encoder(
    nlp: Language, name: str, model: Model, schema: Optional[Union[str, Path]], scorer: Optional[Callable]
) -> "NerEncoder":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): An architecture that finds concepts, see `models.architectures`.
    schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RETURNS (NerEncoder): The component.
    """
    return NerEncoder(nlp.vocab, model, name, schema=schema, scorer=scorer)


class NerEncoder(ClinieComponent):
    """Writes concepts to `doc.spans["clinie"]`, with their scores, and the flat part of them to `doc.ents`."""

    finds = "concepts"

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def predict(self, docs: Iterable[Doc]) -> list[list[tuple[int, int, int, float]]]:
        """Find concepts without changing the Docs.

        docs (Iterable[Doc]): The Docs.
        RETURNS (list[list[tuple[int, int, int, float]]]): For each Doc first token, one past the last, index into
            `labels`, score.
        RAISES (ClinieError): CIE308 if the component is not trained.
        """
        return [found for part in in_parts(docs) for found in self.model.predict(part)]

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[tuple[int, int, int, float]]]) -> None:
        """Write concepts to Docs.

        docs (Iterable[Doc]): The Docs, changed in place.
        predictions (list[list[tuple[int, int, int, float]]]): What `predict` found.
        """
        labels = self.labels
        for doc, found in zip(docs, predictions, strict=True):
            add_concepts(doc, [(start, end, labels[kind], score) for start, end, kind, score in found])

    def check(self, examples: list[Example]) -> None:
        self.refuse_unknown(span.label_ for example in examples for span in get_spans(example.reference))

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[Any]]:
        index = {label: i for i, label in enumerate(self.labels)}
        gold = []
        for example in examples:
            spans = gold_spans(example.reference, example.predicted)
            self.refuse_unknown(span.label_ for span in spans)
            gold.append([(span.start, span.end, index[span.label_]) for span in spans])
        return [example.predicted for example in examples], gold
