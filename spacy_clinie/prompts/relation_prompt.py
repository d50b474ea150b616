"""Finding relations as a prompting task: the concepts of a window are numbered, and answers name the numbers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Optional

from ..doc.note import Note
from ..errors import ClinieError
from ..schema import RelationType, Schema
from .codec import Codec
from .constraints import ChoiceConstraint, PromptIds
from .formats import CLOSE, OPEN, InlineMarks, order_marks
from .template import render


class CandidatePair(NamedTuple):
    """Two concepts that may be related.

    head (int): Index of the head among the concepts of the Doc.
    tail (int): Index of the tail.
    kinds (tuple[int, ...]): Indexes of the relation types that the schema allows for them.
    """

    head: int
    tail: int
    kinds: tuple[int, ...]


class ConceptMark(NamedTuple):
    """A mark at the start or the end of a concept.

    at (int): Index of the id that it is put before.
    concept (int): Index of the concept among those of the Doc.
    closes (bool): Whether it is at the end.
    """

    at: int
    concept: int
    closes: bool


class RelationWindow(NamedTuple):
    """A part of a Doc, and the candidate pairs that are asked about with it.

    doc (int): Index of the Doc.
    ids (list[int]): Its text as ids.
    marks (list[ConceptMark]): Marks around the concepts of the pairs, in text order.
    pairs (list[CandidatePair]): The pairs.
    concepts (Sequence[tuple[str, str]]): Words and type of every concept of the Doc.
    """

    doc: int
    ids: list[int]
    marks: list[ConceptMark]
    pairs: list[CandidatePair]
    concepts: Sequence[tuple[str, str]]


class Triple(NamedTuple):
    """A relation: index of the head, of the tail, and of its type."""

    head: int
    tail: int
    kind: int


class RelationQuery(NamedTuple):
    """A question about a window.

    doc (int): Index of the Doc.
    prompt_text (str): The prompt as text.
    prompt_ids (PromptIds): The same as ids.
    triples (list[Triple]): The relations that an answer may name, in the order in which it names them.
    options (list[list[int]]): Ids of each of them in an answer.
    """

    doc: int
    prompt_text: str
    prompt_ids: PromptIds
    triples: list[Triple]
    options: list[list[int]]

    def answer_ids(self, gold: Collection[Triple], codec: Codec) -> list[int]:
        """The right answer.

        gold (Collection[Triple]): The relations of the Doc.
        codec (Codec): Encodes for the model.
        RETURNS (list[int]): Ids.
        """
        named = [option for triple, option in zip(self.triples, self.options, strict=True) if triple in gold]
        return [*(token for option in named for token in option), codec.marks.end]

    def constraint(self, codec: Codec) -> ChoiceConstraint:
        """The constraint of the answer."""
        return ChoiceConstraint(self.options, codec.marks.end)


@dataclass(frozen=True)
class RelationPrompt:
    """How relations are asked for; see `relation_prompt`."""

    template: str
    per_type: bool
    window: int
    max_distance: Optional[int]
    source: Optional[str] = None

    def queries(
        self, window: RelationWindow, schema: Schema, codec: Codec, examples: Sequence[Note]
    ) -> Iterator[RelationQuery]:
        """Ask about a window.

        window (RelationWindow): The window.
        schema (Schema): The schema.
        codec (Codec): Encodes for the model.
        examples (Sequence[Note]): Notes that the prompt shows with their answers.
        YIELDS (RelationQuery): One, or one for each head and relation type.
        RAISES (ClinieError): CIE320 to CIE322 for the template.
        """
        relations = list(schema.relations.values())
        ids, numbers = self._number_concepts(window, codec)
        numbered = [one for note in examples if (one := _NumberedExample(note, schema)).relations]
        order = sorted(window.pairs, key=lambda pair: (numbers[pair.head], numbers[pair.tail]))
        triples = [Triple(pair.head, pair.tail, kind) for pair in order for kind in pair.kinds]
        if not self.per_type:
            options = [
                [
                    *codec.encode(str(numbers[triple.head]), after_text=True),
                    *codec.encode(f" {relations[triple.kind].name} {numbers[triple.tail]}", after_text=True),
                    codec.marks.newline,
                ]
                for triple in triples
            ]
            shown = [{"text": one.text, "answer": one.answer(schema)} for one in numbered]
            yield self._query(window, ids, triples, options, schema, codec, relations, "", shown)
            return
        for head, kind in dict.fromkeys((triple.head, triple.kind) for triple in triples):
            own = [triple for triple in triples if (triple.head, triple.kind) == (head, kind)]
            options = [[*codec.encode(str(numbers[t.tail]), after_text=True), codec.marks.newline] for t in own]
            question = _question(relations[kind], window.concepts[head][0], numbers[head])
            shown = [one for note in numbered for one in note.questions(relations[kind])]
            yield self._query(window, ids, own, options, schema, codec, [relations[kind]], question, shown)

    def _query(
        self,
        window: RelationWindow,
        ids: list[int],
        triples: list[Triple],
        options: list[list[int]],
        schema: Schema,
        codec: Codec,
        relations: Sequence[RelationType],
        question: str,
        examples: list[dict[str, str]],
    ) -> RelationQuery:
        prompt = render(
            self.template,
            self.source,
            schema=schema,
            relations=relations,
            question=question,
            examples=examples,
            open=OPEN,
            close=CLOSE,
        )
        prefix, suffix = codec.encode_prompt(prompt)
        prompt_ids = PromptIds(tuple(prefix), [*ids, *suffix])
        return RelationQuery(window.doc, prompt.text(codec.decode(ids)), prompt_ids, triples, options)

    def _number_concepts(self, window: RelationWindow, codec: Codec) -> tuple[list[int], dict[int, int]]:
        """The text with its marks as ids, and the number of each concept, in text order from 1."""
        numbers: dict[int, int] = {}
        ids: list[int] = []
        done = 0
        for mark in window.marks:
            ids += window.ids[done : mark.at]
            done = mark.at
            if mark.closes:
                label = f"{numbers[mark.concept]} {window.concepts[mark.concept][1]}"
                ids += [codec.marks.close, *codec.encode(label, after_text=True), codec.marks.close]
            else:
                numbers[mark.concept] = len(numbers) + 1
                ids.append(codec.marks.open)
        return [*ids, *window.ids[done:]], numbers


class _NumberedExample:
    """An example with numbered concepts, as text.

    note (Note): The example. Of concepts that cross each other, only the first is numbered; relations of the others are
        left out.
    schema (Schema): The schema. As in a window, concepts that it does not relate have no number.
    """

    def __init__(self, note: Note, schema: Schema) -> None:
        kinds = {one.label for one in note.concepts}
        paired = {kind for pair in product(kinds, kinds) if schema.allowed(*pair) for kind in pair}
        usable = [one for one in note.concepts if one.label in paired]
        concepts = sorted(usable, key=lambda one: (one.start, -one.end, one.label))
        events = order_marks((one.start, one.end, i) for i, one in enumerate(concepts))
        opened = [i for _, opens, i in events if opens]
        self.numbers = {concepts[i].id: number for number, i in enumerate(opened, start=1)}
        self.words = {one.id: note.text[one.start : one.end] for one in concepts}
        names = [f"{self.numbers.get(one.id)} {one.label}" for one in concepts]
        spans = [(one.start, one.end, i) for i, one in enumerate(concepts)]
        self.text = InlineMarks().answer_text(note.text, spans, names)
        known = self.numbers.keys()
        self.relations = [one for one in note.relations if one.head in known and one.tail in known]

    def answer(self, schema: Schema) -> str:
        """All relations, in the order and form of `RelationPrompt.queries`."""
        kinds = list(schema.relations)
        rows = sorted((self.numbers[r.head], self.numbers[r.tail], kinds.index(r.label)) for r in self.relations)
        return "".join(f"{head} {schema.relations[kinds[kind]].name} {tail}\n" for head, tail, kind in rows)

    def questions(self, relation: RelationType) -> list[dict[str, str]]:
        """A question for each head with relations of a type, with text and answer."""
        tails: dict[str, list[int]] = {}
        for one in self.relations:
            if one.label == relation.name:
                tails.setdefault(one.head, []).append(self.numbers[one.tail])
        return [
            {
                "text": self.text,
                "question": _question(relation, self.words[head], self.numbers[head]),
                "answer": "".join(f"{tail}\n" for tail in sorted(own)),
            }
            for head, own in tails.items()
        ]


def _question(relation: RelationType, words: str, number: int) -> str:
    return relation.question.replace("{head}", f"{OPEN}{words}{CLOSE}{number}")


def relation_prompt(
    *,
    per_type: bool = False,
    template: Optional[str] = None,
    window: int = 256,
    max_distance: Optional[int] = 1,
) -> RelationPrompt:
    """How relations are asked for. Registered as `spacy_clinie.RelationPrompt.v1`.

    per_type (bool): Ask one question for each head and relation type, as in machine reading comprehension, and not one
        for all.
    template (Optional[str]): A bundled template, or the path of a custom one. None for `relations_mrc.v1` or
        `relations_instruct.v1`, by `per_type`. `relations_brief.v1` names the types without describing them.
    window (int): Tokens of a window, as the model counts them, without the marks.
    max_distance (Optional[int]): Most sentences from head to tail: 0 for the same sentence, None for no limit.
    RETURNS (RelationPrompt): The task.
    RAISES (ClinieError): CIE307 for an invalid window or distance.
    """
    if window < 1:
        raise ClinieError("CIE307", setting="window", value=window, choices="at least 1")
    if max_distance is not None and max_distance < 0:
        raise ClinieError("CIE307", setting="max_distance", value=max_distance, choices="at least 0, or null")
    chosen = template or ("relations_mrc.v1" if per_type else "relations_instruct.v1")
    return RelationPrompt(chosen, per_type, window, max_distance)
