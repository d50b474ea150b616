"""`clinie_decoder_prompt`: concepts and relations by prompting a language model."""

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
from ..prompts.concept_prompt import ConceptPrompt, ConceptQuery
from ..prompts.examples import Examples
from ..prompts.relation_prompt import RelationPrompt
from .answers import Answer, FoundConcept, FoundRelation, Key
from .docs import in_parts
from .prompting import PromptingComponent

# spaCy fills in the other settings from the defaults of each function.
DEFAULT_CONFIG = """
[model]
@architectures = "spacy_clinie.CausalLM.v1"

[concepts]
@misc = "spacy_clinie.ConceptPrompt.v1"
format = {"@misc":"spacy_clinie.InlineMarks.v1"}

[relations]
@misc = "spacy_clinie.RelationPrompt.v1"
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
    """Make a `clinie_decoder_prompt`.

    nlp (Language): The pipeline.
    name (str): Name of the component.
    model (Model): A language model, see `models.architectures.causal_lm`.
    concepts (Optional[ConceptPrompt]): How concepts are asked for; None to leave them to other components.
    relations (Optional[RelationPrompt]): How relations are asked for; None to find none.
    examples (Optional[Examples]): Examples that the prompts show, see `prompts.examples`; None for none.
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


class DecoderPrompt(PromptingComponent):
    """Writes concepts with their scores to `doc.spans["clinie"]`, those that do not overlap to `doc.ents` as well, and
    relations with their scores to `doc._.rel`.

    `doc.user_data["clinie_rejected"]` counts what was rejected, by reason: mentions below the threshold, mentions of
    free-text answers that the text does not contain, and questions without a complete answer, because prompt or answer
    is longer than the model can read. `rejected` is the sum over all Docs that this process wrote; with `n_process`,
    add up the counts of the Docs."""

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
            pieced = self.active_tokenizer.tokenize(part)
            found, rejected = self._find_concepts(part, pieced)
            spans = [self._spans(doc, own) for doc, own in zip(part, found, strict=True)]
            related = self._find_relations(part, pieced, spans, rejected)
            answers += [Answer(*all_) for all_ in zip(found, related, rejected, strict=True)]
        return answers

    def _find_concepts(
        self, docs: Sequence[Doc], pieced: Sequence[Any]
    ) -> tuple[list[list[FoundConcept]], list[Counter[str]]]:
        codec = self.active_tokenizer.codec
        queries = self.concept_queries(docs, pieced)
        constraints = [cast(ConceptPrompt, self.concepts).constraint(query, codec) for query in queries]
        self.model.predict(([query.prompt_ids for query in queries], constraints))
        found, rejected = self.read_concepts(docs, pieced, queries, constraints)
        _count_unanswered(queries, constraints, rejected)
        return found, rejected

    def read_concepts(
        self, docs: Sequence[Doc], pieced: Sequence[Any], queries: Sequence[ConceptQuery], constraints: Sequence[Any]
    ) -> tuple[list[list[FoundConcept]], list[Counter[str]]]:
        """The concepts that answers name.

        docs (Sequence[Doc]): The Docs.
        pieced (Sequence[PiecedDoc]): The same, from `active_tokenizer`.
        queries (Sequence[ConceptQuery]): The queries about them.
        constraints (Sequence[Constraint]): The constraints that hold the answers.
        RETURNS (tuple[list[list[FoundConcept]], list[Counter[str]]]): For each Doc its concepts in text order, and how
            many were rejected, by reason.
        """
        codec = self.active_tokenizer.codec
        names = [tuple(self.schema_of(doc).concepts) for doc in docs]
        found: list[dict[Key, FoundConcept]] = [{} for _ in pieced]
        rejected: list[Counter[str]] = [Counter() for _ in pieced]
        for query, constraint in zip(queries, constraints, strict=True):
            labels, tokens = names[query.doc], pieced[query.doc].tokens
            mentions, counts = cast(ConceptPrompt, self.concepts).read_answer(query, constraint, labels, codec)
            rejected[query.doc] += counts
            for mention in mentions:
                key = int(tokens[mention.start]), int(tokens[mention.stop - 1]) + 1, labels[mention.kind]
                found[query.doc].setdefault(key, FoundConcept(key, mention.score, mention.status))
        return [sorted(own.values(), key=lambda one: one.key) for own in found], rejected

    def _find_relations(
        self,
        docs: Sequence[Doc],
        pieced: Sequence[Any],
        spans: Sequence[list[Span]],
        rejected: Sequence[Counter[str]],
    ) -> list[list[FoundRelation]]:
        queries = self.relation_queries(docs, pieced, spans)
        constraints = [query.constraint(self.active_tokenizer.codec) for query in queries]
        self.model.predict(([query.prompt_ids for query in queries], constraints))
        _count_unanswered(queries, constraints, rejected)
        found: list[list[FoundRelation]] = [[] for _ in docs]
        names = [tuple(self.schema_of(doc).relations) for doc in docs]
        for query, constraint in zip(queries, constraints, strict=True):
            for index, score in constraint.found:
                head, tail, kind = query.triples[index]
                ends = [_key(spans[query.doc][end]) for end in (head, tail)]
                found[query.doc].append(FoundRelation(ends[0], ends[1], names[query.doc][kind], score))
        return found

    def set_annotations(self, docs: Iterable[Doc], predictions: list[Answer]) -> None:
        """Write concepts and relations to Docs, beside those that other components found.

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
        return float(shim.module.add_gradients(*self.batch(examples)))

    def batch(self, examples: list[Example]) -> tuple[list[Any], list[list[int]]]:
        """The prompts of a batch, and the ids of the right answer to each."""
        pairs = list(self.training_pairs(examples))
        return [query.prompt_ids for query, _ in pairs], [answer for _, answer in pairs]

    def _spans(self, doc: Doc, found: Sequence[FoundConcept]) -> list[Span]:
        """The concepts and entities that a Doc will have after `set_annotations`."""
        present = get_all_spans(doc)
        known = {_key(span) for span in present}
        return present + [_span(doc, one.key) for one in found if one.key not in known]


def _count_unanswered(queries: Sequence[Any], constraints: Sequence[Any], rejected: Sequence[Counter[str]]) -> None:
    """Count for each Doc the queries without a complete answer."""
    for query, constraint in zip(queries, constraints, strict=True):
        if not constraint.done:
            rejected[query.doc][UNANSWERED] += 1


def _span(doc: Doc, key: Key) -> Span:
    start, end, label = key
    return Span(doc, start, end, label=label)


def _key(span: Span) -> Key:
    return span.start, span.end, span.label_
