"""The task of finding concepts, as prompts: windows, questions, right answers, and what answers say."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Optional

import numpy as np

from ..doc.concepts import UNANSWERED
from ..doc.note import Note
from ..doc.windows import Window
from ..errors import ClinieError
from ..schema import Schema
from .codec import Codec
from .formats import CLOSE, OPEN, Alphabet, Format, InlineMarks, Span
from .grounding import ground
from .machines import Ask, Free, Labels, Machine, Mention, WindowIds
from .template import Prompt, render


class Question(NamedTuple):
    """What is asked about every window.

    kinds (tuple[int, ...]): Indexes of the concept types that are asked for.
    prompt (Prompt): The prompt.
    before (tuple[int, ...]): Ids of the prompt before the window.
    behind (tuple[int, ...]): Ids of the prompt behind it.
    labels (Labels): How their labels are written.
    """

    kinds: tuple[int, ...]
    prompt: Prompt
    before: tuple[int, ...]
    behind: tuple[int, ...]
    labels: Labels


class Asked(NamedTuple):
    """A question about a window of a Doc.

    doc (int): Index of the Doc.
    window (Window): The window, in pieces.
    first (int): Its first unit.
    ids (WindowIds): Its text.
    text (str): The same as characters.
    units (np.ndarray): First character of each unit and one past its last, shape (units, 2).
    question (Question): The question.
    """

    doc: int
    window: Window
    first: int
    ids: WindowIds
    text: str
    units: np.ndarray
    question: Question

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        return self.question.prompt.text(self.text)

    def holds(self, span: Span) -> bool:
        """Whether a concept is whole in the window.

        span (Span): The concept, by units of the Doc.
        RETURNS (bool): False for one that begins before or ends behind it.
        """
        return span[0] >= self.first and span[1] - self.first <= len(self.ids.firsts)

    @property
    def ask(self) -> Ask:
        """The prompt as ids."""
        return Ask(self.question.before, [*self.ids.list, *self.question.behind])


@dataclass(frozen=True)
class ConceptPrompt:
    """How concepts are asked for; see `concept_prompt`."""

    template: str
    format: Format
    each: bool
    window: int
    overlap: int
    grounded: bool
    threshold: float
    source: Optional[str] = None

    def questions(self, schema: Schema, codec: Codec, examples: Sequence[Note]) -> list[Question]:
        """What is asked about every window.

        schema (Schema): The concept types.
        codec (Codec): The model's tokenizer.
        examples (Sequence[Note]): Notes that the prompt shows with their answers.
        RETURNS (list[Question]): One, or one for each type.
        RAISES (ClinieError): CIE320 to CIE322 for the template, CIE332 for a name that answers cannot hold.
        """
        names = list(schema.concepts)
        groups = [(i,) for i in range(len(names))] if self.each else [tuple(range(len(names)))]
        made = []
        for kinds in groups:
            labels = [names[kind] for kind in kinds]
            prompt = self.prompt(schema, labels, examples)
            before, behind = codec.prompt(prompt)
            ids = [codec.text(label, within=True) for label in labels]
            _tell_apart(labels, ids, codec.alphabet)
            written = self.format.label_ids(ids, codec.alphabet)
            made.append(Question(kinds, prompt, tuple(before), tuple(behind), written))
        return made

    def prompt(self, schema: Schema, labels: Sequence[str], examples: Sequence[Note]) -> Prompt:
        """The prompt for some concept types.

        schema (Schema): The schema.
        labels (Sequence[str]): The types.
        examples (Sequence[Note]): Notes that it shows with their answers.
        RETURNS (Prompt): With its window left open.
        """
        kinds = {label: kind for kind, label in enumerate(labels)}
        shown = []
        for note in examples:
            spans = [(one.start, one.end, kinds[one.label]) for one in note.concepts if one.label in kinds]
            shown.append({"text": note.text, "answer": self.format.text(note.text, spans, labels)})
        concepts = [schema.concepts[label] for label in labels]
        explain = self.format.explain(labels)
        return render(self.template, self.source, schema=schema, concepts=concepts, explain=explain, examples=shown)

    def asked(self, number: int, text: str, pieced: Any, questions: Sequence[Question]) -> Iterator[Asked]:
        """Every question about every window of a Doc.

        number (int): Index of the Doc.
        text (str): Its text.
        pieced (PiecedDoc): Its pieces.
        questions (Sequence[Question]): From `questions`.
        YIELDS (Asked): Windows without a unit are left out: there is nothing in them.
        """
        for window in pieced.windows(self.window, min(self.overlap, (self.window - 1) // 2)):
            first, last = np.searchsorted(pieced.firsts, [window.start, window.stop])
            if first == last:
                continue
            firsts = pieced.firsts[first:last] - window.start
            # A token that reaches over the window's end is not whole in it.
            lasts = np.minimum(pieced.lasts[first:last], window.stop) - window.start
            ids = WindowIds(pieced.ids[window.start : window.stop], firsts, lasts)
            begin, end = int(pieced.starts[window.start]), int(pieced.ends[window.stop - 1])
            units = np.stack([pieced.starts[firsts + window.start], pieced.ends[lasts + window.start - 1]], 1) - begin
            for question in questions:
                yield Asked(number, window, int(first), ids, text[begin:end], units, question)

    def machine(self, asked: Asked, codec: Codec) -> Machine:
        """What an answer may look like."""
        if not self.grounded:
            # Enough for a concept in every token.
            each = 3 + max(map(len, asked.question.labels.ids))
            return Free(len(asked.ids.list) + each * len(asked.ids.firsts) + 16, codec.alphabet.end)
        return self.format.machine(asked.ids, asked.question.labels, codec.alphabet)

    def right(self, asked: Asked, spans: Sequence[Span], codec: Codec) -> tuple[list[int], int]:
        """The right answer.

        asked (Asked): The question.
        spans (Sequence[Span]): Concepts of the Doc, by units.
        codec (Codec): The model's tokenizer.
        RETURNS (tuple[list[int], int]): Ids; and how many concepts of the window are not in them, or would be read at
            another place.
        """
        kinds = {kind: i for i, kind in enumerate(asked.question.kinds)}
        inside = [
            (start - asked.first, stop - asked.first, kinds[kind])
            for start, stop, kind in spans
            if kind in kinds and asked.holds((start, stop, kind))
        ]
        write = partial(self.format.write, asked.ids, labels=asked.question.labels, alphabet=codec.alphabet)
        # A mark of the note's own beside a concept is taken for one of the answer's, or the other way round.
        has_marks = bool({codec.alphabet.open, codec.alphabet.close}.intersection(asked.ids.list))
        readable = inside
        if has_marks:
            readable = [one for one in inside if self._read_back(asked, write([one]), codec, has_marks).done]
        ids = write(readable)
        found = self._read_back(asked, ids, codec, has_marks).found
        return ids, len(set(inside) - {one[:3] for one in found})

    def _read_back(self, asked: Asked, answer: Sequence[int], codec: Codec, has_marks: bool) -> Machine:
        """What takes a right answer, as far as it permits that."""
        machine = self.format.machine(asked.ids, asked.question.labels, codec.alphabet)
        for one in answer:
            allowed = machine.allowed() if has_marks else None
            if allowed is not None and one not in allowed:
                break
            machine.take(one, 0.0)
        return machine

    def spelled(self, asked: Asked, answer: Sequence[int], names: Sequence[str], codec: Codec) -> str:
        """A right answer as text, with the words of the window as they stand in the prompt: a tokenizer may put a blank
        where it was cut, and a window may begin with one.

        asked (Asked): The question.
        answer (Sequence[int]): From `right`.
        names (Sequence[str]): All concept types of the schema.
        codec (Codec): The model's tokenizer.
        RETURNS (str): The text.
        """
        machine = self.format.machine(asked.ids, asked.question.labels, codec.alphabet)
        for one in answer:
            machine.take(one, 0.0)
        places = asked.units.tolist()
        spans = [(places[one.start][0], places[one.stop - 1][1], one.kind) for one in machine.found]
        return self.format.text(asked.text, spans, [names[kind] for kind in asked.question.kinds])

    def read(
        self, asked: Asked, machine: Machine, names: Sequence[str], codec: Codec
    ) -> tuple[list[Mention], Counter[str]]:
        """What an answer says.

        asked (Asked): The question.
        machine (Machine): What took the answer.
        names (Sequence[str]): All concept types of the schema.
        codec (Codec): The model's tokenizer.
        RETURNS (tuple[list[Mention], Counter[str]]): Mentions by units of the Doc, with the index of the concept type,
            only those that begin where the window answers for the text; and how many were rejected, by reason:
            `unlikely` below the threshold; of free answers what `grounding.ground` says, and `unanswered` for a copy
            that is broken off.
        """
        found, rejected, least = machine.found, Counter[str](), self.threshold
        if isinstance(machine, Free):
            found, rejected = self._ground(asked, machine, names, codec)
            least = 0.0
        mentions = []
        for one in found:
            place = asked.window.start + int(asked.ids.firsts[one.start])
            if asked.window.own_start <= place < asked.window.own_stop:
                kind = asked.question.kinds[one.kind]
                start, stop = one.start + asked.first, one.stop + asked.first
                mentions.append(one._replace(start=start, stop=stop, kind=kind))
        likely = [one for one in mentions if one.score >= least]
        if unlikely := {one[:3] for one in mentions} - {one[:3] for one in likely}:
            rejected["unlikely"] = len(unlikely)
        return likely, rejected

    def _ground(
        self, asked: Asked, machine: Free, names: Sequence[str], codec: Codec
    ) -> tuple[list[Mention], Counter[str]]:
        """Find the words of a free answer in the window."""
        labels = [names[kind] for kind in asked.question.kinds]
        answer = codec.decode(machine.found)
        said = self.format.parse(answer, asked.text, labels)
        found, rejected = ground(asked.text, said.mentions, labels)
        if machine.done and not said.whole:
            rejected[UNANSWERED] += 1
        mentions = []
        for one in found:
            start = int(np.searchsorted(asked.units[:, 1], one.start, side="right"))
            stop = int(np.searchsorted(asked.units[:, 0], one.stop))
            if start < stop:
                mentions.append(Mention(start, stop, labels.index(one.label), one.status, machine.score))
            else:  # words that the model's tokenizer throws away
                rejected["text"] += 1
        return mentions, rejected


def _tell_apart(labels: Sequence[str], written: Sequence[Sequence[int]], alphabet: Alphabet) -> None:
    """Raise for a label that holds a mark, which would end it, and for two that are written alike."""
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, map(tuple, written), strict=True):
        # A tokenizer may write a mark that stands within a word otherwise.
        if (
            {OPEN, CLOSE, "\n"}.intersection(label)
            or {*alphabet[:3]}.intersection(ids)
            or seen.setdefault(ids, label) != label
        ):
            raise ClinieError("CIE332", label=label)


def concept_prompt(
    *,
    format: Optional[Format] = None,
    each: bool = False,
    template: Optional[str] = None,
    window: int = 192,
    overlap: int = 32,
    grounded: bool = True,
    threshold: float = 0.0,
) -> ConceptPrompt:
    """How concepts are asked for. Registered as `spacy_clinie.ConceptPrompt.v1`.

    format (Optional[Format]): How answers are written; None for `InlineMarks`. On single sentences `MentionList` is as
        good and faster, on longer windows it is learnt more slowly (docs/benchmarks.md).
    each (bool): Whether every concept type has a question of its own, as in machine reading comprehension.
    template (Optional[str]): A bundled template, or a file of one's own; None for the one that suits `each`.
        `concepts_brief.v1` names the types without describing them: less to read, for a model that is tuned on them.
    window (int): Tokens of a window, as the model counts them.
    overlap (int): Tokens that two windows share where a cut falls inside a sentence.
    grounded (bool): Whether an answer can hold nothing but labels of the schema and words of the window, at their
        places. Otherwise it is free, and what it says is looked for in the window, for comparison.
    threshold (float): Mentions of a smaller score are rejected: where a model wants to write what the window does not
        hold, it is made to write something else, with a small one. For models that were tuned; in a model that was
        not, all scores are small. Free answers have no scores of single mentions and are taken as they are.
    RETURNS (ConceptPrompt): The task.
    RAISES (ClinieError): CIE307 for a window, an overlap or a threshold that makes no sense.
    """
    for setting, value, least in (("window", window, 1), ("overlap", overlap, 0)):
        if value < least:
            raise ClinieError("CIE307", setting=setting, value=value, choices=f"at least {least}")
    if not 0 <= threshold <= 1:
        raise ClinieError("CIE307", setting="threshold", value=threshold, choices="between 0 and 1")
    chosen = template or ("concepts_mrc.v1" if each else "concepts_instruct.v1")
    return ConceptPrompt(chosen, format or InlineMarks(), each, window, overlap, grounded, threshold)
