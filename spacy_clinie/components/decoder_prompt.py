"""`clinie_decoder_prompt`: concepts and relations by a language model that is asked for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional, Union, cast

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..doc.concepts import REJECTED_KEY, UNANSWERED, add_concepts, get_all_spans
from ..doc.relations import get_relations, set_relations
from ..prompts.concept_prompt import Asked, ConceptPrompt
from ..prompts.examples import Examples
from ..prompts.relation_prompt import RelationPrompt
from .answers import Answer, FoundConcept, FoundRelation, Key
from .docs import in_parts
from .prompting import AskingComponent

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.CausalLM.v1"
base = "smollm2"
adapter = null
guess = 8
four_bit = false
checkpoint = false
batch_pieces = 1024
step_pieces = null
device = "auto"
precision = "auto"

[concepts]
@misc = "spacy_clinie.ConceptPrompt.v1"
format = {"@misc":"spacy_clinie.InlineMarks.v1"}
each = false
template = null
window = 192
overlap = 32
grounded = true
threshold = 0.0

[relations]
@misc = "spacy_clinie.RelationPrompt.v1"
each = false
template = null
window = 256
max_distance = 1
"""


@Language.factory(
    "clinie_decoder_prompt",
    assigns=["doc.ents", "doc.spans", "doc._.rel", "token.ent_iob", "token.ent_type"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "examples": None,
        "label_schema": None,
        "scorer": {"@scorers": "spacy_clinie.scorer.v1"},
    },
    default_score_weights={
        "concepts_f": 0.5,
        "relations_f": 0.5,
        "concepts_lenient_f": 0.0,
        "relations_lenient_f": 0.0,
    },
)
def make_decoder_prompt(
    nlp: Language,
    name: str,
    model: Model,
    concepts: Optional[ConceptPrompt],
    relations: Optional[RelationPrompt],
    examples: Optional[Examples],
    label_schema: Optional[Union[str, Path]],
    scorer: Optional[Callable],
) -> "DecoderPrompt":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): A language model, see `models.architectures.causal_lm`.
    concepts (Optional[ConceptPrompt]): How concepts are asked for; None if other components find them.
    relations (Optional[RelationPrompt]): How relations are asked for; None if they are not.
    examples (Optional[Examples]): What the prompts show with its answers, see `prompts.examples`; None for nothing.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RETURNS (DecoderPrompt): The component.
    """
    return DecoderPrompt(
        nlp.vocab,
        model,
        name,
        concepts=concepts,
        relations=relations,
        examples=examples,
        label_schema=label_schema,
        scorer=scorer,
    )


class DecoderPrompt(AskingComponent):
    """Writes concepts to `doc.spans["clinie"]`, with their scores, and the flat part of them to `doc.ents`; relations
    with their scores to `doc._.rel`. `doc.user_data["clinie_rejected"]` counts what was rejected: what free answers
    named and the text does not hold, and what was unlikely; and questions that were not answered to the end since they
    or their answers are longer than the model reads. `rejected` sums it up over all Docs that this process wrote: with
    `n_process`, add up those of the Docs."""

    finds = "answers"

    def __init__(self, vocab: Vocab, model: Model, name: str, **settings: Any) -> None:
        super().__init__(vocab, model, name, **settings)
        self.rejected: Counter[str] = Counter()

    def predict(self, docs: Iterable[Doc]) -> list[Answer]:
        """Find concepts and relations without changing the Docs.

        docs (Iterable[Doc]): The Docs.
        RETURNS (list[Answer]): One for each.
        RAISES (ClinieError): CIE308 if the component is not initialized.
        """
        answers = []
        for part in in_parts(docs):
            pieced = self.active_reader.read_texts(part)
            found, rejected = self._find_concepts(part, pieced)
            spans = [self._spans(doc, own) for doc, own in zip(part, found, strict=True)]
            related = self._find_relations(part, pieced, spans, rejected)
            answers += [Answer(*all_) for all_ in zip(found, related, rejected, strict=True)]
        return answers

    def _find_concepts(
        self, docs: Sequence[Doc], pieced: Sequence[Any]
    ) -> tuple[list[list[FoundConcept]], list[Counter[str]]]:
        codec = self.active_reader.codec
        asked = self.concepts_asked(docs, pieced)
        machines = [cast(ConceptPrompt, self.concepts).machine(one, codec) for one in asked]
        self.model.predict(([one.ask for one in asked], machines))
        found, rejected = self.read_concepts(docs, pieced, asked, machines)
        _count_unanswered(asked, machines, rejected)
        return found, rejected

    def read_concepts(
        self, docs: Sequence[Doc], pieced: Sequence[Any], asked: Sequence[Asked], machines: Sequence[Any]
    ) -> tuple[list[list[FoundConcept]], list[Counter[str]]]:
        """What answers say about concepts.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same as the reader gives them.
        asked (Sequence[Asked]): Questions about them.
        machines (Sequence[Machine]): What took the answer to each.
        RETURNS (tuple[list[list[FoundConcept]], list[Counter[str]]]): For each Doc its concepts in the order of the
            text, and how many were rejected, by reason.
        """
        codec = self.active_reader.codec
        names = [tuple(self.schema_of(doc).concepts) for doc in docs]
        found: list[dict[Key, FoundConcept]] = [{} for _ in pieced]
        rejected: list[Counter[str]] = [Counter() for _ in pieced]
        for one, machine in zip(asked, machines, strict=True):
            units = pieced[one.doc].tokens
            mentions, refused = cast(ConceptPrompt, self.concepts).read(one, machine, names[one.doc], codec)
            rejected[one.doc] += refused
            for mention in mentions:
                key = int(units[mention.start]), int(units[mention.stop - 1]) + 1, names[one.doc][mention.kind]
                found[one.doc].setdefault(key, FoundConcept(key, mention.score, mention.status))
        return [sorted(own.values(), key=lambda one: one.key) for own in found], rejected

    def _find_relations(
        self,
        docs: Sequence[Doc],
        pieced: Sequence[Any],
        spans: Sequence[list[Span]],
        rejected: Sequence[Counter[str]],
    ) -> list[list[FoundRelation]]:
        asked = self.relations_asked(docs, pieced, spans)
        machines = [one.machine(self.active_reader.codec) for one in asked]
        self.model.predict(([one.ask for one in asked], machines))
        _count_unanswered(asked, machines, rejected)
        found: list[list[FoundRelation]] = [[] for _ in docs]
        names = [tuple(self.schema_of(doc).relations) for doc in docs]
        for one, machine in zip(asked, machines, strict=True):
            for index, score in machine.found:
                head, tail, kind = one.triples[index]
                ends = [_key(spans[one.doc][end]) for end in (head, tail)]
                found[one.doc].append(FoundRelation(ends[0], ends[1], names[one.doc][kind], score))
        return found

    def set_annotations(self, docs: Iterable[Doc], predictions: list[Answer]) -> None:
        """Write concepts and relations to Docs. Those that other components found stay.

        docs (Iterable[Doc]): The Docs, changed in place.
        predictions (list[Answer]): What `predict` found.
        """
        for doc, (concepts, relations, rejected) in zip(docs, predictions, strict=True):
            if rejected:
                doc.user_data[REJECTED_KEY] = dict(rejected + Counter(doc.user_data.get(REJECTED_KEY, {})))
                self.rejected += rejected
            if self.concepts:
                details = {one.key: {"status": one.status} for one in concepts}
                add_concepts(doc, [(*one.key, one.score) for one in concepts], details)
            if self.relations:
                kept = get_relations(doc)
                known = {(_key(rel.head), _key(rel.tail), rel.label) for rel in kept}
                new = [
                    (_span(doc, one.head), _span(doc, one.tail), *one[2:]) for one in relations if one[:3] not in known
                ]
                set_relations(doc, [*kept, *new])

    def add_gradients(self, examples: list[Example]) -> float:
        shim: Any = self.model.shims[0]
        shim.set_dropout(self.model.attrs["dropout_rate"])
        return float(shim.module.learn(*self.batch(examples)))

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[list[int]]]:
        """The prompts about a batch, and the ids of the right answer to each."""
        lessons = list(self.lessons(examples))
        return [asked.ask for asked, _ in lessons], [answer for _, answer in lessons]

    def _spans(self, doc: Doc, found: Sequence[FoundConcept]) -> list[Span]:
        """The concepts and entities that a Doc will carry, without changing it."""
        there = get_all_spans(doc)
        known = {_key(span) for span in there}
        return there + [_span(doc, one.key) for one in found if one.key not in known]


def _count_unanswered(asked: Sequence[Any], machines: Sequence[Any], rejected: Sequence[Counter[str]]) -> None:
    """Count, for each Doc, the questions whose answers are not there or not whole."""
    for one, machine in zip(asked, machines, strict=True):
        if not machine.done:
            rejected[one.doc][UNANSWERED] += 1


def _span(doc: Doc, key: Key) -> Span:
    start, end, label = key
    return Span(doc, start, end, label=label)


def _key(span: Span) -> Key:
    return span.start, span.end, span.label_
