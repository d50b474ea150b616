"""The task of finding relations, as prompts: the concepts of a window carry numbers, and the answer names numbers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Optional

from ..doc.note import Note
from ..errors import ClinieError
from ..schema import RelationType, Schema
from .codec import Codec
from .formats import CLOSE, OPEN, InlineMarks, nest
from .machines import Ask, Choices
from .template import render


class Pair(NamedTuple):
    """A candidate.

    head (int): Index of the head among the concepts of the Doc.
    tail (int): Index of the tail.
    kinds (tuple[int, ...]): Indexes of the relation types that it may have.
    """

    head: int
    tail: int
    kinds: tuple[int, ...]


class Mark(NamedTuple):
    """A mark in a stretch of text.

    at (int): Before which id it stands.
    concept (int): Index of the concept among those of the Doc.
    closes (bool): Whether the concept ends there.
    """

    at: int
    concept: int
    closes: bool


class Stretch(NamedTuple):
    """A stretch of a Doc in which some candidates are decided.

    doc (int): Index of the Doc.
    ids (list[int]): Its text.
    marks (list[Mark]): Where the concepts of the candidates begin and end, in the order of the text.
    pairs (list[Pair]): The candidates.
    concepts (Sequence[tuple[str, str]]): Words and type of every concept of the Doc.
    """

    doc: int
    ids: list[int]
    marks: list[Mark]
    pairs: list[Pair]
    concepts: Sequence[tuple[str, str]]


class Triple(NamedTuple):
    """A relation: index of the head, of the tail, and of its type."""

    head: int
    tail: int
    kind: int


class RelationsAsked(NamedTuple):
    """A question about a stretch.

    doc (int): Index of the Doc.
    prompt (str): The prompt as text.
    ask (Ask): The same as ids.
    triples (list[Triple]): The relations that an answer may name, in the order of an answer.
    options (list[list[int]]): How each is written.
    """

    doc: int
    prompt: str
    ask: Ask
    triples: list[Triple]
    options: list[list[int]]

    def right(self, gold: Collection[Triple], codec: Codec) -> list[int]:
        """The right answer.

        gold (Collection[Triple]): The relations of the Doc.
        codec (Codec): The model's tokenizer.
        RETURNS (list[int]): Ids.
        """
        named = [option for triple, option in zip(self.triples, self.options, strict=True) if triple in gold]
        return [*(one for option in named for one in option), codec.alphabet.end]

    def machine(self, codec: Codec) -> Choices:
        """What an answer may look like."""
        return Choices(self.options, codec.alphabet.end)


@dataclass(frozen=True)
class RelationPrompt:
    """How relations are asked for; see `relation_prompt`."""

    template: str
    each: bool
    window: int
    max_distance: Optional[int]
    source: Optional[str] = None

    def asked(
        self, stretch: Stretch, schema: Schema, codec: Codec, examples: Sequence[Note]
    ) -> Iterator[RelationsAsked]:
        """Every question about a stretch.

        stretch (Stretch): The stretch.
        schema (Schema): The relation types.
        codec (Codec): The model's tokenizer.
        examples (Sequence[Note]): Notes that the prompt shows with their answers.
        YIELDS (RelationsAsked): One, or one for each head and relation type.
        RAISES (ClinieError): CIE320 to CIE322 for the template.
        """
        relations = list(schema.relations.values())
        text, numbers = self._numbered(stretch, codec)
        numbered = [one for note in examples if (one := _Numbered(note, schema)).relations]
        order = sorted(stretch.pairs, key=lambda pair: (numbers[pair.head], numbers[pair.tail]))
        triples = [Triple(pair.head, pair.tail, kind) for pair in order for kind in pair.kinds]
        if not self.each:
            options = [
                [
                    *codec.text(str(numbers[triple.head]), within=True),
                    *codec.text(f" {relations[triple.kind].name} {numbers[triple.tail]}", within=True),
                    codec.alphabet.line,
                ]
                for triple in triples
            ]
            shown = [{"text": one.text, "answer": one.answer(schema)} for one in numbered]
            yield self._ask(stretch, text, triples, options, schema, codec, relations, "", shown)
            return
        for head, kind in dict.fromkeys((triple.head, triple.kind) for triple in triples):
            own = [triple for triple in triples if (triple.head, triple.kind) == (head, kind)]
            options = [[*codec.text(str(numbers[t.tail]), within=True), codec.alphabet.line] for t in own]
            question = _question(relations[kind], stretch.concepts[head][0], numbers[head])
            shown = [one for note in numbered for one in note.questions(relations[kind])]
            yield self._ask(stretch, text, own, options, schema, codec, [relations[kind]], question, shown)

    def _ask(
        self,
        stretch: Stretch,
        text: list[int],
        triples: list[Triple],
        options: list[list[int]],
        schema: Schema,
        codec: Codec,
        relations: Sequence[RelationType],
        question: str,
        examples: list[dict[str, str]],
    ) -> RelationsAsked:
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
        before, behind = codec.prompt(prompt)
        words = prompt.text(codec.decode(text))
        return RelationsAsked(stretch.doc, words, Ask(tuple(before), [*text, *behind]), triples, options)

    def _numbered(self, stretch: Stretch, codec: Codec) -> tuple[list[int], dict[int, int]]:
        """The text with its marks, and the number of each concept: 1 for the one that begins first."""
        numbers: dict[int, int] = {}
        ids: list[int] = []
        done = 0
        for mark in stretch.marks:
            ids += stretch.ids[done : mark.at]
            done = mark.at
            if mark.closes:
                label = f"{numbers[mark.concept]} {stretch.concepts[mark.concept][1]}"
                ids += [codec.alphabet.close, *codec.text(label, within=True), codec.alphabet.close]
            else:
                numbers[mark.concept] = len(numbers) + 1
                ids.append(codec.alphabet.open)
        return [*ids, *stretch.ids[done:]], numbers


class _Numbered:
    """An example with numbered concepts, as text.

    note (Note): The example. Concepts that cross another one, and their relations, are left out.
    schema (Schema): Concepts that cannot be related carry no number, as in a stretch.
    """

    def __init__(self, note: Note, schema: Schema) -> None:
        kinds = {one.label for one in note.concepts}
        paired = {kind for pair in product(kinds, kinds) if schema.allowed(*pair) for kind in pair}
        usable = [one for one in note.concepts if one.label in paired]
        concepts = sorted(usable, key=lambda one: (one.start, -one.end, one.label))
        events = nest((one.start, one.end, i) for i, one in enumerate(concepts))
        opened = [i for _, opens, i in events if opens]
        self.numbers = {concepts[i].id: number for number, i in enumerate(opened, start=1)}
        self.words = {one.id: note.text[one.start : one.end] for one in concepts}
        names = [f"{self.numbers.get(one.id)} {one.label}" for one in concepts]
        self.text = InlineMarks().text(note.text, [(one.start, one.end, i) for i, one in enumerate(concepts)], names)
        known = self.numbers.keys()
        self.relations = [one for one in note.relations if one.head in known and one.tail in known]

    def answer(self, schema: Schema) -> str:
        """All relations, as `RelationPrompt.asked` orders and writes them."""
        kinds = list(schema.relations)
        rows = sorted((self.numbers[r.head], self.numbers[r.tail], kinds.index(r.label)) for r in self.relations)
        return "".join(f"{head} {schema.relations[kinds[kind]].name} {tail}\n" for head, tail, kind in rows)

    def questions(self, relation: RelationType) -> list[dict[str, str]]:
        """A question for each head that has relations of a type, with text and answer."""
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
    each: bool = False,
    template: Optional[str] = None,
    window: int = 256,
    max_distance: Optional[int] = 1,
) -> RelationPrompt:
    """How relations are asked for. Registered as `spacy_clinie.RelationPrompt.v1`.

    each (bool): Whether every head and relation type have a question of their own, as in machine reading
        comprehension.
    template (Optional[str]): A bundled template, or a file of one's own; None for the one that suits `each`.
        `relations_brief.v1` names the types without describing them.
    window (int): Tokens of a window, as the model counts them, without the marks.
    max_distance (Optional[int]): How many sentences apart head and tail may be: 0 for the same sentence; None for
        anywhere in the note.
    RETURNS (RelationPrompt): The task.
    RAISES (ClinieError): CIE307 for a window or a distance that makes no sense.
    """
    if window < 1:
        raise ClinieError("CIE307", setting="window", value=window, choices="at least 1")
    if max_distance is not None and max_distance < 0:
        raise ClinieError("CIE307", setting="max_distance", value=max_distance, choices="at least 0, or null")
    chosen = template or ("relations_mrc.v1" if each else "relations_instruct.v1")
    return RelationPrompt(chosen, each, window, max_distance)
