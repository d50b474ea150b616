"""What a component asks a language model: questions about Docs, with their right answers in training."""

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
from ..prompts.concept_prompt import Asked, ConceptPrompt, Question
from ..prompts.examples import Examples
from ..prompts.relation_prompt import Mark, Pair, RelationPrompt, RelationsAsked, Stretch, Triple
from ..prompts.template import source_of
from ..schema import Schema
from .candidates import candidates, gold_triples, warn_of_no_candidates
from .docs import gold_spans
from .trainable import ClinieComponent

# Pairs of a note that a language model is asked about: more would take it an hour.
MOST_ASKED = 5_000


class AskingComponent(ClinieComponent):
    """A component that asks for the types of its schema.

    vocab (Vocab): The shared vocabulary.
    model (Model): The model.
    name (str): Name of the component in the pipeline.
    concepts (Optional[ConceptPrompt]): How concepts are asked for; None if they are not.
    relations (Optional[RelationPrompt]): How relations are asked for; None if they are not.
    examples (Optional[Examples]): What the prompts show with its answers.
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
        # What the prompts of each schema show: settled when the component is initialized, and saved with it.
        self.shown: dict[str, list[Note]] = {}
        # A `models.lm_tokenizer.Reader`, to make prompts without the language model.
        self.reader: Optional[Any] = None
        self._prepared: dict[str, tuple[Schema, Any, list[Question]]] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.schema.concepts) if self.schema else ()

    def settle(self, examples: list[Example], labels: Optional[dict[str, Any]] = None) -> None:
        """Settle schema and examples, without the model.

        examples (list[Example]): Training examples.
        labels (Optional[dict[str, Any]]): A schema as `label_data` gives it.
        RAISES (ClinieError): What `ClinieComponent.initialize` raises; CIE327 if there is nothing to show; CIE460 if
            that has types that the schema does not have.
        """
        super().settle(examples, labels)
        self._hold_templates({name: source_of(task.template) for name, task in self._tasks()})
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
            shown, unfit = self.shown[key], partial(self.refuse_unknown, code="CIE460", schema=schema.name)
            unfit((one.label for note in shown for one in note.concepts), schema.concepts)
            if self.relations:
                unfit((one.label for note in shown for one in note.relations), schema.relations)

    def _examples_for(self, doc: Doc) -> Sequence[Note]:
        """What the prompts about a Doc show: examples of its schema, whatever that was called when they were taken."""
        if _schema_key(doc) in self.shown:
            return self.shown[_schema_key(doc)]
        schema = self.schema_of(doc)
        same = (notes for key, notes in self.shown.items() if (self.schemas.get(key) or self.schema) == schema)
        return next(same, ())

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
        templates = {name: task.source for name, task in self._tasks()}
        return {**super().facts(), "examples": shown, "templates": templates}

    def take_facts(self, facts: dict[str, Any]) -> None:
        super().take_facts(facts)
        if "examples" in facts:
            self.shown = {key: list(map(Note.from_dict, notes)) for key, notes in facts["examples"].items()}
        if "templates" in facts:
            self._hold_templates(facts["templates"])

    def relations_only(self) -> "AskingComponent":
        """A component with the same model, schemas and examples that asks for relations alone, between the concepts
        that Docs carry.

        RETURNS (AskingComponent): The component; this one stays as it is.
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
        other.take_facts(self.facts())
        other.reader = self.reader
        return other

    def _tasks(self) -> Iterator[tuple[str, Union[ConceptPrompt, RelationPrompt]]]:
        if self.concepts:
            yield "concepts", self.concepts
        if self.relations:
            yield "relations", self.relations

    def _hold_templates(self, sources: dict[str, Optional[str]]) -> None:
        """Ask with what templates of one's own say now, whatever becomes of their files."""
        self._prepared = {}
        if self.concepts:
            self.concepts = replace(self.concepts, source=sources.get("concepts"))
        if self.relations:
            self.relations = replace(self.relations, source=sources.get("relations"))

    def is_annotated(self, gold: Doc) -> bool:
        return bool(self.concepts and has_concepts(gold)) or bool(self.relations and has_relations(gold))

    def tell_unlearnable(self, examples: list[Example]) -> None:
        super().tell_unlearnable(examples)
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
        """What the model learns from, as text for other trainers.

        examples (list[Example]): Examples with gold concepts and relations.
        YIELDS (dict[str, Any]): `prompt` and `completion`, each a list of one message with `role` and `content`.
        """
        codec = self.active_reader.codec
        examples = self.only_annotated(examples)
        for asked, answer in self.lessons(examples):
            if isinstance(asked, Asked) and self.concepts:
                names = list(self.schema_of(examples[asked.doc].predicted).concepts)
                completion = self.concepts.spelled(asked, answer, names, codec)
            else:
                completion = codec.decode(answer[:-1])
            yield {
                "prompt": [{"role": "user", "content": asked.prompt}],
                "completion": [{"role": "assistant", "content": completion}],
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
            if example.reference.user_data.get(SCHEMA_KEY):
                example.predicted.user_data[SCHEMA_KEY] = example.reference.user_data[SCHEMA_KEY]
        docs = [example.predicted for example in examples]
        pieced = self.active_reader.read_texts(docs)
        # The concepts first, then entities of others, which only relations are learnt with.
        spans = [gold_spans(example.reference, example.predicted, entities=True) for example in examples]
        self.check(examples)
        gold = []
        for example, own, given in zip(examples, pieced, spans, strict=True):
            names = list(self.schema_of(example.predicted).concepts)
            concepts = given[: len(get_spans(example.reference))]
            ends = [(*_units(own, span), names.index(span.label_)) for span in concepts]
            gold.append([(start, stop, kind) for start, stop, kind in ends if start < stop])
        unwritten = 0
        missing: dict[int, set[tuple[int, int, int]]] = {}
        for one in self.concepts_asked(docs, pieced):
            if not has_concepts(examples[one.doc].reference):
                continue
            left = missing.setdefault(one.doc, set(gold[one.doc]))
            left -= {span for span in left if one.holds(span)}
            answer, left_out = cast(ConceptPrompt, self.concepts).right(one, gold[one.doc], codec)
            yield one, answer
            unwritten += left_out
        if unwritten:
            warn("CIE467", component=self.name, count=unwritten)
        cut_off = sum(len(spans) for spans in missing.values())
        if cut_off:
            warn("CIE478", component=self.name, count=cut_off)
        related = [
            {Triple(*one) for one in gold_triples(example.reference, given, self.schema_of(example.reference))}
            for example, given in zip(examples, spans, strict=True)
        ]
        for question in self.relations_asked(docs, pieced, spans):
            if not has_relations(examples[question.doc].reference):
                continue
            yield question, question.right(related[question.doc], codec)

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
            for one in self.relations.asked(stretch, self.schema_of(doc), codec, self._examples_for(doc))
        ]

    def _stretches(
        self, number: int, doc: Doc, pieced: Any, spans: list[Span], task: RelationPrompt
    ) -> Iterator[Stretch]:
        """The stretches of a Doc that hold all its candidates."""
        item = candidates(doc, spans, self.schema_of(doc), task.max_distance, MOST_ASKED)
        if not item.pairs or not len(pieced.ids):
            return
        ranges = Ranges(item, pieced.starts, pieced.ends)
        named = [(span.text, span.label_) for span in spans]
        for excerpt in shared(number, item, ranges, task.window):
            places = mark_places(excerpt, ranges, [item.kinds[concept] for concept in excerpt.concepts])
            marks = [Mark(at, excerpt.concepts[i], bool(side)) for at, i, side in places]
            pairs = [Pair(*item.pairs[i], tuple(np.flatnonzero(item.allowed[i]).tolist())) for i in excerpt.pairs]
            yield Stretch(number, pieced.ids[excerpt.pieces].tolist(), marks, pairs, named)

    @property
    def active_reader(self) -> Any:
        """What makes the prompts: `reader` where there is one, or else the model's."""
        return self.reader or self.module.reader

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
            questions = task.questions(schema, reader.codec, self._examples_for(doc))
            # The window, its copy, and as much again for marks and labels.
            longest = max(len(question.before) + len(question.behind) for question in questions)
            if longest + 3 * task.window > reader.limit:
                raise ClinieError("CIE325", prompt=longest, window=task.window, limit=reader.limit)
            held = self._prepared[key] = schema, reader, questions
        return held[2]


def _schema_key(doc: Doc) -> str:
    """The name of the schema that a Doc names; empty for the component's own."""
    return str(doc.user_data.get(SCHEMA_KEY) or "")


def _units(pieced: Any, span: Span) -> tuple[int, int]:
    """A span by units."""
    first, last = np.searchsorted(pieced.tokens, [span.start, span.end])
    return int(first), int(last)
