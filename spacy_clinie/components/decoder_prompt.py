"""`clinie_decoder_prompt`: concepts and relations by a language model that is asked for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model

from ..annotation import (
    SCHEMA_KEY,
    SPANS_KEY,
    add_concepts,
    get_relations,
    get_spans,
    relation_indexes,
    set_relations,
)
from ..errors import ClinieError, warn
from ..models.excerpts import Ranges, mark_places, shared
from ..notes import Note
from ..prompts.concepts import Asked, ConceptPrompt, Question
from ..prompts.examples import Examples
from ..prompts.relations import Mark, Pair, RelationPrompt, RelationsAsked, Stretch, Triple
from ..schema import Schema
from .answers import Answer, FoundConcept, FoundRelation, Key
from .base import ClinieComponent, gold_spans, in_parts
from .candidates import candidates

DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.CausalLM.v1"
base = "smollm2"
adapter = null
guess = 8
four_bit = false
checkpoint = false
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
grounded = true

[relations]
@misc = "spacy_clinie.RelationPrompt.v1"
each = false
template = null
window = 256
max_distance = 1
"""

# Where a Doc counts what the model named and it does not hold, by reason.
REJECTED_KEY = "clinie_rejected"


@Language.factory(
    "clinie_decoder_prompt",
    assigns=["doc.ents", "doc.spans", "doc._.rel", "token.ent_iob", "token.ent_type"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "examples": None,
        "schema": None,
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
    schema: Optional[Union[str, Path]],
    scorer: Optional[Callable],
) -> "DecoderPrompt":
    """Make the component.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): A language model, see `models.architectures.causal_lm`.
    concepts (Optional[ConceptPrompt]): How concepts are asked for; None if other components find them.
    relations (Optional[RelationPrompt]): How relations are asked for; None if they are not.
    examples (Optional[Examples]): What the prompts show with its answers, see `prompts.examples`; None for nothing.
    schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
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
        schema=schema,
        scorer=scorer,
    )


class DecoderPrompt(ClinieComponent):
    """Writes concepts to `doc.spans["clinie"]`, with their scores, and the flat part of them to `doc.ents`; relations
    with their scores to `doc._.rel`. `doc.user_data["clinie_rejected"]` counts what free answers named and the text
    does not hold; `rejected` sums it up over all Docs."""

    finds = "answers"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        concepts: Optional[ConceptPrompt],
        relations: Optional[RelationPrompt],
        examples: Optional[Examples],
        schema: Optional[Union[str, Path]],
        scorer: Optional[Callable],
    ) -> None:
        super().__init__(vocab, model, name, schema=schema, scorer=scorer)
        self.concepts = concepts
        self.relations = relations
        self.examples = examples
        # What the prompts of each schema show: settled when the component is initialized, and saved with it.
        self.shown: dict[str, list[Note]] = {}
        self.rejected: Counter[str] = Counter()
        # A `models.causal.Reader`, to make prompts without the language model.
        self.reader: Optional[Any] = None
        self._prepared: dict[str, tuple[Schema, Any, list[Question]]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def settle(self, examples: list[Example], labels: Optional[dict[str, Any]] = None) -> None:
        """Settle schema and examples, without the model.

        examples (list[Example]): Training examples.
        labels (Optional[dict[str, Any]]): A schema as `label_data` gives it.
        RAISES (ClinieError): What `ClinieComponent.initialize` raises; CIE327 if there is nothing to show; CIE463 if
            that has types that the schema does not have.
        """
        super().settle(examples, labels)
        self._prepared = {}
        self.shown = {}
        if not self.examples:
            return
        by_schema: dict[str, list[Doc]] = {"": []}
        for gold in (example.reference for example in examples):
            by_schema.setdefault(_schema_key(gold), []).append(gold)
            if _schema_key(gold) and self.schema_of(gold) == self.schema:
                by_schema[""].append(gold)
        for key, docs in by_schema.items():
            schema = self.schemas.get(key) or cast(Schema, self.schema)
            try:
                self.shown[key] = self.examples.take(docs)
            except ClinieError:
                if docs or not examples:
                    raise
                # All training data name schemas, and none is the component's: for that, there is nothing to show.
                continue
            self.refuse_unknown((one.label for note in self.shown[key] for one in note.concepts), schema.concepts)
            if self.relations:
                self.refuse_unknown((one.label for note in self.shown[key] for one in note.relations), schema.relations)

    def use(self, schema: Schema) -> None:
        """Look for the types of another schema from now on. Examples of the old one are not shown any more."""
        held = self.shown
        if schema != self.schema and self.shown.get(""):
            self.shown = {key: notes for key, notes in held.items() if key}
        try:
            super().use(schema)
        except ClinieError:
            self.shown = held
            raise
        if len(self.shown) < len(held):
            warn("CIE470", component=self.name)

    def facts(self) -> dict[str, Any]:
        shown = {key: [note.to_dict() for note in notes] for key, notes in self.shown.items()}
        return {**super().facts(), "examples": shown}

    def take_facts(self, facts: dict[str, Any]) -> None:
        super().take_facts(facts)
        if "examples" in facts:
            self.shown = {key: list(map(Note.from_dict, notes)) for key, notes in facts["examples"].items()}

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
            related = self._find_relations(part, pieced, spans)
            answers += [Answer(*all_) for all_ in zip(found, related, rejected, strict=True)]
        return answers

    def _find_concepts(
        self, docs: Sequence[Doc], pieced: Sequence[Any]
    ) -> tuple[list[list[FoundConcept]], list[Counter[str]]]:
        codec = self.active_reader.codec
        asked = self.concepts_asked(docs, pieced)
        machines = [cast(ConceptPrompt, self.concepts).machine(one, codec) for one in asked]
        self.model.predict(([one.ask for one in asked], machines))
        return self.read_concepts(docs, pieced, asked, machines)

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
        self, docs: Sequence[Doc], pieced: Sequence[Any], spans: Sequence[list[Span]]
    ) -> list[list[FoundRelation]]:
        asked = self.relations_asked(docs, pieced, spans)
        machines = [one.machine(self.active_reader.codec) for one in asked]
        self.model.predict(([one.ask for one in asked], machines))
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
                places = {_key(span): i for i, span in enumerate(get_spans(doc))}
                kept = get_relations(doc)
                known = {(_key(rel.head), _key(rel.tail), rel.label) for rel in kept}
                new = [one for one in relations if one[:3] not in known]
                set_relations(doc, [*kept, *((places[one.head], places[one.tail], *one[2:]) for one in new)])

    def check(self, examples: list[Example]) -> None:
        for gold in (example.reference for example in examples):
            schema = self.schema_of(gold)
            self.refuse_unknown((span.label_ for span in get_spans(gold)), schema.concepts)
            if self.relations:
                self.refuse_unknown((label for _, _, label, _ in relation_indexes(gold)), schema.relations)

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[Any]]:
        lessons = list(self.lessons(examples))
        return [asked.ask for asked, _ in lessons], [answer for _, answer in lessons]

    def instructions(self, examples: list[Example]) -> Iterator[dict[str, Any]]:
        """What the model learns from, as text for other trainers.

        examples (list[Example]): Examples with gold concepts and relations.
        YIELDS (dict[str, Any]): `prompt` and `completion`, each a list of one message with `role` and `content`.
        """
        codec = self.active_reader.codec
        for asked, answer in self.lessons(examples):
            yield {
                "prompt": [{"role": "user", "content": asked.prompt}],
                "completion": [{"role": "assistant", "content": codec.decode(answer[:-1])}],
            }

    def lessons(self, examples: list[Example]) -> Iterator[tuple[Union[Asked, RelationsAsked], list[int]]]:
        """Every question about some Docs with its right answer.

        examples (list[Example]): Examples with gold concepts and relations.
        YIELDS (tuple[Union[Asked, RelationsAsked], list[int]]): A question, and ids.
        RAISES (ClinieError): CIE463 for types that the schema does not have.
        """
        codec = self.active_reader.codec
        for example in examples:
            example.predicted.user_data.pop(SCHEMA_KEY, None)
            if SCHEMA_KEY in example.reference.user_data:
                example.predicted.user_data[SCHEMA_KEY] = example.reference.user_data[SCHEMA_KEY]
        docs = [example.predicted for example in examples]
        pieced = self.active_reader.read_texts(docs)
        spans = [gold_spans(example.reference, example.predicted) for example in examples]
        self.check(examples)
        gold = []
        for doc, own, given in zip(docs, pieced, spans, strict=True):
            names = list(self.schema_of(doc).concepts)
            ends = [(*_units(own, span), names.index(span.label_)) for span in given]
            gold.append([(start, stop, kind) for start, stop, kind in ends if start < stop])
        unwritten = 0
        for one in self.concepts_asked(docs, pieced):
            answer, left_out = cast(ConceptPrompt, self.concepts).right(one, gold[one.doc], codec)
            yield one, answer
            unwritten += left_out
        if unwritten:
            warn("CIE467", component=self.name, count=unwritten)
        related = [self._triples(example.reference) for example in examples]
        for question in self.relations_asked(docs, pieced, spans):
            yield question, question.right(related[question.doc], codec)

    def _triples(self, gold: Doc) -> set[Triple]:
        """The relations between concepts of a Doc that can be learnt."""
        kinds = {label: i for i, label in enumerate(self.schema_of(gold).relations)}
        return {
            Triple(head, tail, kinds[label])
            for head, tail, label, _ in relation_indexes(gold)
            if isinstance(head, int) and isinstance(tail, int) and label in kinds
        }

    def concepts_asked(self, docs: Sequence[Doc], pieced: Sequence[Any]) -> list[Asked]:
        """Every question about the concepts of some Docs.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same as the reader gives them.
        RETURNS (list[Asked]): Questions; none if concepts are not asked for.
        """
        if self.concepts is None:
            return []
        return [
            one
            for i, (doc, own) in enumerate(zip(docs, pieced, strict=True))
            for one in self.concepts.asked(i, doc.text, own, self.questions(doc))
        ]

    def relations_asked(
        self, docs: Sequence[Doc], pieced: Sequence[Any], spans: Sequence[list[Span]]
    ) -> list[RelationsAsked]:
        """Every question about the relations of some Docs.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same as the reader gives them.
        spans (Sequence[list[Span]]): The concepts of each.
        RETURNS (list[RelationsAsked]): Questions; none if relations are not asked for.
        """
        if self.relations is None:
            return []
        codec = self.active_reader.codec
        return [
            one
            for number, (doc, own, given) in enumerate(zip(docs, pieced, spans, strict=True))
            for stretch in self._stretches(number, doc, own, given, self.relations)
            for one in self.relations.asked(stretch, self.schema_of(doc), codec, self.shown.get(_schema_key(doc), ()))
        ]

    def _stretches(
        self, number: int, doc: Doc, pieced: Any, spans: list[Span], task: RelationPrompt
    ) -> Iterator[Stretch]:
        """The stretches of a Doc that hold all its candidates."""
        item = candidates(doc, spans, self.schema_of(doc), task.max_distance)
        if not item.pairs:
            return
        ranges = Ranges(item, pieced)
        named = [(span.text, span.label_) for span in spans]
        for excerpt in shared(number, item, ranges, task.window):
            places = mark_places(excerpt, ranges, [item.kinds[concept] for concept in excerpt.concepts])
            marks = [Mark(at, excerpt.concepts[i], bool(side)) for at, i, side in places]
            pairs = [Pair(*item.pairs[i], tuple(np.flatnonzero(item.allowed[i]).tolist())) for i in excerpt.pairs]
            yield Stretch(number, pieced.ids[excerpt.pieces].tolist(), marks, pairs, named)

    def _spans(self, doc: Doc, found: Sequence[FoundConcept]) -> list[Span]:
        """The concepts that a Doc will carry, without changing it."""
        if self.concepts is None:
            return get_spans(doc)
        there = list(doc.spans[SPANS_KEY]) if SPANS_KEY in doc.spans else []
        known = {_key(span) for span in there}
        return there + [Span(doc, *one.key[:2], label=one.key[2]) for one in found if one.key not in known]

    @property
    def active_reader(self) -> Any:
        """What makes the prompts: `reader` where there is one, or else the model's."""
        return self.reader or cast(Any, self.model.shims[0]).module.reader

    def questions(self, doc: Doc) -> list[Question]:
        """What is asked about the concepts of a Doc; made once for each schema and model.

        doc (Doc): The Doc.
        RETURNS (list[Question]): At least one.
        RAISES (ClinieError): CIE461 if there is no schema, CIE325 if a prompt does not fit into the model.
        """
        task, schema, reader = cast(ConceptPrompt, self.concepts), self.schema_of(doc), self.active_reader
        key = _schema_key(doc)
        held = self._prepared.get(key)
        if held is None or held[0] is not schema or held[1] is not reader:
            questions = task.questions(schema, reader.codec, self.shown.get(key, ()))
            # The window, its copy, and as much again for marks and labels.
            longest = max(len(question.before) + len(question.behind) for question in questions)
            if longest + 3 * task.window > reader.limit:
                raise ClinieError("CIE325", prompt=longest, window=task.window, limit=reader.limit)
            held = self._prepared[key] = schema, reader, questions
        return held[2]


def _schema_key(doc: Doc) -> str:
    """The name of the schema that a Doc names; empty for the component's own."""
    return str(doc.user_data.get(SCHEMA_KEY, ""))


def _key(span: Span) -> Key:
    return span.start, span.end, span.label_


def _units(pieced: Any, span: Span) -> tuple[int, int]:
    """A span by units."""
    first, last = np.searchsorted(pieced.tokens, [span.start, span.end])
    return int(first), int(last)
