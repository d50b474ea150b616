"""Prompts about Docs for a language model, with right answers for training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model

from ..doc.concepts import SCHEMA_KEY, get_spans, has_concepts
from ..doc.note import Note
from ..doc.relations import has_relations, relation_places
from ..errors import ClinieError, warn
from ..models.excerpts import Ranges, mark_places, shared
from ..prompts.concept_prompt import ConceptPrompt, ConceptQuery, Question
from ..prompts.examples import Examples
from ..prompts.relation_prompt import (
    CandidatePair,
    ConceptMark,
    RelationPrompt,
    RelationQuery,
    RelationWindow,
    Triple,
)
from ..prompts.template import source_of
from ..schema import Schema
from .candidates import candidates, gold_triples, warn_of_no_candidates
from .docs import gold_spans
from .trainable import ClinieComponent

# Most candidate pairs of a note that a language model is asked about. More would take it an hour.
MAX_PAIRS = 5_000


class PromptingComponent(ClinieComponent):
    """Base class of components that prompt a language model for the types of their schema.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model.
    name (str): Name of the component in the pipeline.
    concepts (Optional[ConceptPrompt]): How concepts are asked for; None to not ask for them.
    relations (Optional[RelationPrompt]): How relations are asked for; None to not ask for them.
    examples (Optional[Examples]): Examples that the prompts show; None for none.
    label_schema (Optional[Union[str, Path]]): Name or file of the schema; None takes the types from the training data.
    scorer (Optional[Callable]): The scorer.
    RAISES (ClinieError): CIE465 if the model does another task.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        concepts: Optional[ConceptPrompt],
        relations: Optional[RelationPrompt],
        examples: Optional[Examples],
        label_schema: Optional[Union[str, Path]],
        scorer: Optional[Callable],
    ) -> None:
        super().__init__(vocab, model, name, label_schema=label_schema, scorer=scorer)
        self.concepts = concepts
        self.relations = relations
        self.examples = examples
        # The examples for each schema, by `_schema_key`. Chosen when the component is initialized, and saved with it.
        self.shown_examples: dict[str, list[Note]] = {}
        # A `models.lm_tokenizer.LMTokenizer`, to make prompts without loading the language model.
        self.lm_tokenizer: Optional[Any] = None
        # Questions by `_schema_key`, with the schema and the tokenizer that they were made for.
        self._questions: dict[str, tuple[Schema, Any, list[Question]]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def initialize_labels(self, examples: list[Example], labels: Optional[dict[str, Any]] = None) -> None:
        """Decide on the schema and the examples, without the model.

        examples (list[Example]): Training examples.
        labels (Optional[dict[str, Any]]): A schema as `label_data` gives it.
        RAISES (ClinieError): What `ClinieComponent.initialize` raises; CIE327 if there are no examples to show; CIE460
            if they have types that the schema does not have.
        """
        super().initialize_labels(examples, labels)
        self._keep_templates({name: source_of(task.template) for name, task in self._tasks()})
        self.shown_examples = {}
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
                self.shown_examples[key] = self.examples.take(docs)
            except ClinieError:
                if docs or not examples:
                    raise
                # All training data name a schema of their own, so there are no examples for the component's schema.
                continue
            notes, refuse = self.shown_examples[key], partial(self.refuse_unknown, code="CIE460", schema=schema.name)
            refuse((one.label for note in notes for one in note.concepts), schema.concepts)
            if self.relations:
                refuse((one.label for note in notes for one in note.relations), schema.relations)

    def _examples_for(self, doc: Doc) -> Sequence[Note]:
        """The examples for a Doc: those of its schema, also if the schema had another name when they were chosen."""
        if _schema_key(doc) in self.shown_examples:
            return self.shown_examples[_schema_key(doc)]
        schema = self.schema_of(doc)
        same = (notes for key, notes in self.shown_examples.items() if (self.schemas.get(key) or self.schema) == schema)
        return next(same, ())

    def use(self, schema: Schema) -> None:
        """Look for the types of another schema from now on. Examples of the old schema are dropped, with a warning
        (CIE470)."""
        before = self.shown_examples
        if schema != self.schema and self.shown_examples.get(""):
            self.shown_examples = {key: notes for key, notes in before.items() if key}
        try:
            super().use(schema)
        except ClinieError:
            self.shown_examples = before
            raise
        if len(self.shown_examples) < len(before):
            warn("CIE470", component=self.name)

    def state(self) -> dict[str, Any]:
        shown = {key: [note.to_dict() for note in notes] for key, notes in self.shown_examples.items()}
        templates = {name: task.source for name, task in self._tasks()}
        return {**super().state(), "examples": shown, "templates": templates}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        if "examples" in state:
            self.shown_examples = {key: list(map(Note.from_dict, notes)) for key, notes in state["examples"].items()}
        if "templates" in state:
            self._keep_templates(state["templates"])

    def relations_only(self) -> "PromptingComponent":
        """A component with the same model, schemas and examples that asks for relations only, between the concepts that
        Docs already have.

        RETURNS (PromptingComponent): A new component.
        """
        other = type(self)(
            self.vocab,
            self.model,
            self.name,
            concepts=None,
            relations=self.relations,
            examples=self.examples,
            label_schema=None,
            scorer=self.scorer,
        )
        other.load_state(self.state())
        other.lm_tokenizer = self.lm_tokenizer
        return other

    def _tasks(self) -> Iterator[tuple[str, Union[ConceptPrompt, RelationPrompt]]]:
        if self.concepts:
            yield "concepts", self.concepts
        if self.relations:
            yield "relations", self.relations

    def _keep_templates(self, sources: dict[str, Optional[str]]) -> None:
        """Keep the text of custom templates, so that later changes to their files have no effect."""
        self._questions = {}
        if self.concepts:
            self.concepts = replace(self.concepts, source=sources.get("concepts"))
        if self.relations:
            self.relations = replace(self.relations, source=sources.get("relations"))

    def is_annotated(self, gold: Doc) -> bool:
        return bool(self.concepts and has_concepts(gold)) or bool(self.relations and has_relations(gold))

    def warn_unlearnable(self, examples: list[Example]) -> None:
        super().warn_unlearnable(examples)
        if self.relations:
            gold = [(example.reference, self.schema_of(example.reference)) for example in examples]
            warn_of_no_candidates(self.name, gold, self.relations.max_distance)

    def check(self, examples: list[Example]) -> None:
        for gold in (example.reference for example in examples):
            schema = self.schema_of(gold)
            self.refuse_unknown((span.label_ for span in get_spans(gold)), schema.concepts)
            if self.relations:
                self.refuse_unknown((label for _, _, label in relation_places(gold)), schema.relations)

    def instructions(self, examples: list[Example]) -> Iterator[dict[str, Any]]:
        """The training set as text, for other trainers.

        examples (list[Example]): Examples with gold concepts and relations.
        YIELDS (dict[str, Any]): `prompt` and `completion`, each a list of one message with `role` and `content`.
        """
        codec = self.active_tokenizer.codec
        examples = self.only_annotated(examples)
        for query, answer in self.training_pairs(examples):
            if isinstance(query, ConceptQuery) and self.concepts:
                names = list(self.schema_of(examples[query.doc].predicted).concepts)
                completion = self.concepts.answer_text(query, answer, names, codec)
            else:
                completion = codec.decode(answer[:-1])
            yield {
                "prompt": [{"role": "user", "content": query.prompt_text}],
                "completion": [{"role": "assistant", "content": completion}],
            }

    def training_pairs(self, examples: list[Example]) -> Iterator[tuple[Union[ConceptQuery, RelationQuery], list[int]]]:
        """All queries about examples, each with its right answer. Concepts that answers or windows cannot hold are
        counted in warnings (CIE467, CIE478).

        examples (list[Example]): Examples with gold concepts and relations.
        YIELDS (tuple[Union[ConceptQuery, RelationQuery], list[int]]): A query, and the ids of the answer.
        RAISES (ClinieError): CIE463 for types that the schema does not have.
        """
        codec = self.active_tokenizer.codec
        for example in examples:
            example.predicted.user_data.pop(SCHEMA_KEY, None)
            if example.reference.user_data.get(SCHEMA_KEY):
                example.predicted.user_data[SCHEMA_KEY] = example.reference.user_data[SCHEMA_KEY]
        docs = [example.predicted for example in examples]
        pieced = self.active_tokenizer.tokenize(docs)
        # Concepts come first. Entities of other components follow, which only relations can have as ends.
        spans = [gold_spans(example.reference, example.predicted, entities=True) for example in examples]
        self.check(examples)
        gold = []
        for example, own, given in zip(examples, pieced, spans, strict=True):
            names = list(self.schema_of(example.predicted).concepts)
            concepts = given[: len(get_spans(example.reference))]
            ends = [(*_units(own, span), names.index(span.label_)) for span in concepts]
            gold.append([(start, stop, kind) for start, stop, kind in ends if start < stop])
        not_written = 0
        in_no_window: dict[int, set[tuple[int, int, int]]] = {}
        for query in self.concept_queries(docs, pieced):
            if not has_concepts(examples[query.doc].reference):
                continue
            remaining = in_no_window.setdefault(query.doc, set(gold[query.doc]))
            remaining -= {span for span in remaining if query.contains(span)}
            answer, left_out = cast(ConceptPrompt, self.concepts).answer_ids(query, gold[query.doc], codec)
            yield query, answer
            not_written += left_out
        if not_written:
            warn("CIE467", component=self.name, count=not_written)
        cut_off = sum(len(spans) for spans in in_no_window.values())
        if cut_off:
            warn("CIE478", component=self.name, count=cut_off)
        related = [
            {Triple(*one) for one in gold_triples(example.reference, given, self.schema_of(example.reference))}
            for example, given in zip(examples, spans, strict=True)
        ]
        for relation_query in self.relation_queries(docs, pieced, spans):
            if not has_relations(examples[relation_query.doc].reference):
                continue
            yield relation_query, relation_query.answer_ids(related[relation_query.doc], codec)

    def concept_queries(self, docs: Sequence[Doc], pieced: Sequence[Any]) -> list[ConceptQuery]:
        """All queries about the concepts of some Docs.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same, from `active_tokenizer`.
        RETURNS (list[ConceptQuery]): Queries; none if concepts are not asked for.
        """
        if self.concepts is None:
            return []
        return [
            one
            for i, (doc, own) in enumerate(zip(docs, pieced, strict=True))
            for one in self.concepts.queries(i, doc.text, own, self.questions(doc))
        ]

    def relation_queries(
        self, docs: Sequence[Doc], pieced: Sequence[Any], spans: Sequence[list[Span]]
    ) -> list[RelationQuery]:
        """All queries about the relations of some Docs.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same, from `active_tokenizer`.
        spans (Sequence[list[Span]]): The concepts of each.
        RETURNS (list[RelationQuery]): Queries; none if relations are not asked for.
        """
        if self.relations is None:
            return []
        codec = self.active_tokenizer.codec
        return [
            one
            for number, (doc, own, given) in enumerate(zip(docs, pieced, spans, strict=True))
            for window in self._relation_windows(number, doc, own, given, self.relations)
            for one in self.relations.queries(window, self.schema_of(doc), codec, self._examples_for(doc))
        ]

    def _relation_windows(
        self, number: int, doc: Doc, pieced: Any, spans: list[Span], task: RelationPrompt
    ) -> Iterator[RelationWindow]:
        """The windows of a Doc that contain all its candidate pairs."""
        item = candidates(doc, spans, self.schema_of(doc), task.max_distance, MAX_PAIRS)
        if not item.pairs or not len(pieced.ids):
            return
        ranges = Ranges(item, pieced.starts, pieced.ends)
        named = [(span.text, span.label_) for span in spans]
        for excerpt in shared(number, item, ranges, task.window):
            places = mark_places(excerpt, ranges, [item.kinds[concept] for concept in excerpt.concepts])
            marks = [ConceptMark(at, excerpt.concepts[i], bool(side)) for at, i, side in places]
            kinds = [tuple(np.flatnonzero(item.allowed[i]).tolist()) for i in excerpt.pairs]
            pairs = [CandidatePair(*item.pairs[i], own) for i, own in zip(excerpt.pairs, kinds, strict=True)]
            yield RelationWindow(number, pieced.ids[excerpt.pieces].tolist(), marks, pairs, named)

    @property
    def active_tokenizer(self) -> Any:
        """The tokenizer that makes the prompts: `lm_tokenizer` if it is set, or else the model's."""
        return self.lm_tokenizer or self.module.lm_tokenizer

    def questions(self, doc: Doc) -> list[Question]:
        """The questions about the concepts of a Doc, cached by schema and tokenizer.

        doc (Doc): The Doc.
        RETURNS (list[Question]): At least one.
        RAISES (ClinieError): CIE461 if there is no schema, CIE325 if a prompt is too long for the model.
        """
        task, schema, tokenizer = cast(ConceptPrompt, self.concepts), self.schema_of(doc), self.active_tokenizer
        key = _schema_key(doc)
        cached = self._questions.get(key)
        if cached is None or cached[0] is not schema or cached[1] is not tokenizer:
            questions = task.questions(schema, tokenizer.codec, self._examples_for(doc))
            # The window, its copy, and as much again for marks and labels.
            longest = max(len(question.prefix) + len(question.suffix) for question in questions)
            if longest + 3 * task.window > tokenizer.context_length:
                raise ClinieError("CIE325", prompt=longest, window=task.window, limit=tokenizer.context_length)
            cached = self._questions[key] = schema, tokenizer, questions
        return cached[2]


def _schema_key(doc: Doc) -> str:
    """The name of the schema that a Doc names; "" for the schema of the component."""
    return str(doc.user_data.get(SCHEMA_KEY) or "")


def _units(pieced: Any, span: Span) -> tuple[int, int]:
    """First unit of a span and one past its last."""
    first, last = np.searchsorted(pieced.tokens, [span.start, span.end])
    return int(first), int(last)
