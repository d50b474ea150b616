"""`clinie_decoder_prompt`: concepts by a language model that is asked for them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union, cast

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..annotation import add_concepts, get_spans
from ..errors import ClinieError, warn
from ..prompts.codec import Codec
from ..prompts.concepts import Asked, ConceptPrompt, Question
from .base import ClinieComponent, gold_spans, in_parts

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.CausalLM.v1"
base = "smollm2"
adapter = null
guess = 8
batch_pieces = 1024
device = "auto"
precision = "auto"

[concepts]
@misc = "spacy_clinie.ConceptPrompt.v1"
format = {"@misc":"spacy_clinie.InlineMarks.v1"}
each = false
template = null
window = 192
overlap = 32
"""


class Found(NamedTuple):
    """A concept that the model named.

    start (int): First token.
    stop (int): One past the last token.
    label (str): Concept type.
    score (float): Probability of the choices that made it.
    status (str): How its place was found, see `prompts.machines.Mention`.
    """

    start: int
    stop: int
    label: str
    score: float
    status: str


@Language.factory(
    "clinie_decoder_prompt",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "schema": None,
        "scorer": {"@scorers": "spacy_clinie.concept_scorer.v1"},
    },
    default_score_weights={"concepts_f": 1.0, "concepts_p": 0.0, "concepts_r": 0.0, "concepts_lenient_f": 0.0},
)
def make_decoder_prompt(
    nlp: Language,
    name: str,
    model: Model,
    concepts: ConceptPrompt,
    schema: Optional[Union[str, Path]],
    scorer: Optional[Callable],
) -> "DecoderPrompt":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): A language model, see `models.architectures.causal_lm`.
    concepts (ConceptPrompt): How concepts are asked for.
    schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RETURNS (DecoderPrompt): The component.
    """
    return DecoderPrompt(nlp.vocab, model, name, concepts=concepts, schema=schema, scorer=scorer)


class DecoderPrompt(ClinieComponent):
    """Writes concepts to `doc.spans["clinie"]`, with their scores, and the flat part of them to `doc.ents`."""

    finds = "answers"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        concepts: ConceptPrompt,
        schema: Optional[Union[str, Path]],
        scorer: Optional[Callable],
    ) -> None:
        super().__init__(vocab, model, name, schema=schema, scorer=scorer)
        self.concepts = concepts
        self._prepared: Optional[tuple[Any, Any, Codec, list[Question]]] = None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def predict(self, docs: Iterable[Doc]) -> list[list[Found]]:
        """Find concepts without changing the Docs.

        docs (Iterable[Doc]): The Docs.
        RETURNS (list[list[Found]]): For each Doc.
        RAISES (ClinieError): CIE308 if the component is not initialized.
        """
        found: list[list[Found]] = []
        for part in in_parts(docs):
            codec, questions = self._ready()
            pieced = self._module.read_texts(part)
            asked = self._asked(pieced, questions)
            machines = [self.concepts.machine(one, codec) for one in asked]
            self.model.predict(([one.ask for one in asked], machines))
            own: list[dict[tuple[int, int, str], Found]] = [{} for _ in part]
            for one, machine in zip(asked, machines, strict=True):
                units = pieced[one.doc].tokens
                for mention in self.concepts.read(one, machine.found):
                    start, stop = int(units[mention.start]), int(units[mention.stop - 1]) + 1
                    new = Found(start, stop, self.labels[mention.kind], mention.score, mention.status)
                    own[one.doc].setdefault(new[:3], new)
            found += [sorted(one.values()) for one in own]
        return found

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[Found]]) -> None:
        """Write concepts to Docs.

        docs (Iterable[Doc]): The Docs, changed in place.
        predictions (list[list[Found]]): What `predict` found.
        """
        for doc, found in zip(docs, predictions, strict=True):
            add_concepts(doc, [one[:4] for one in found])

    def check(self, examples: list[Example]) -> None:
        self.refuse_unknown(span.label_ for example in examples for span in get_spans(example.reference))

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[Any]]:
        index = {label: i for i, label in enumerate(self.labels)}
        codec, questions = self._ready()
        pieced = self._module.read_texts([example.predicted for example in examples])
        gold = []
        for example, own in zip(examples, pieced, strict=True):
            spans = gold_spans(example.reference, example.predicted)
            self.refuse_unknown(span.label_ for span in spans)
            ends = [(*np.searchsorted(own.tokens, [span.start, span.end]), index[span.label_]) for span in spans]
            gold.append([(int(start), int(stop), kind) for start, stop, kind in ends if start < stop])
        asked = self._asked(pieced, questions)
        answers, unwritten = [], 0
        for one in asked:
            answer, left_out = self.concepts.right(one, gold[one.doc], codec)
            answers.append(answer)
            unwritten += left_out
        if unwritten:
            warn("CIE467", component=self.name, count=unwritten)
        return [one.ask for one in asked], answers

    def _asked(self, pieced: Sequence[Any], questions: Sequence[Question]) -> list[Asked]:
        return [one for i, own in enumerate(pieced) for one in self.concepts.asked(i, own, questions)]

    @property
    def _module(self) -> Any:
        return cast(Any, self.model.shims[0]).module

    def _ready(self) -> tuple[Codec, list[Question]]:
        """The prompts for this schema and model, made once.

        RAISES (ClinieError): CIE461 if there is no schema yet, CIE325 if a prompt does not fit into the model.
        """
        held = self._prepared
        if self.schema is None:
            raise ClinieError("CIE461", component=self.name)
        if held is None or held[0] is not self.schema or held[1] is not self._module:
            codec = Codec(self._module.tokenizer)
            questions = self.concepts.questions(self.schema, codec, [])
            # The window, its copy, and as much again for marks and labels.
            longest = max(len(question.before) + len(question.behind) for question in questions)
            if longest + 3 * self.concepts.window > self._module.limit:
                window, limit = self.concepts.window, self._module.limit
                raise ClinieError("CIE325", prompt=longest, window=window, limit=limit)
            held = self._prepared = self.schema, self._module, codec, questions
        return held[2], held[3]
