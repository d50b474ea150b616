"""Finding concepts as a prompting task: questions about windows, right answers, and reading answers."""

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
from .constraints import Constraint, Labels, Mention, PromptIds, Unconstrained, WindowIds
from .formats import CLOSE, OPEN, Format, InlineMarks, MarkIds, Span
from .grounding import ground
from .template import Prompt, render


class Question(NamedTuple):
    """A question that is asked about every window.

    kinds (tuple[int, ...]): Indexes of the concept types that it asks for.
    prompt (Prompt): The prompt.
    prefix (tuple[int, ...]): Ids of the prompt before the window.
    suffix (tuple[int, ...]): Ids of the prompt after it.
    labels (Labels): How answers write the types.
    """

    kinds: tuple[int, ...]
    prompt: Prompt
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    labels: Labels


class ConceptQuery(NamedTuple):
    """A question about one window of a Doc.

    doc (int): Index of the Doc.
    window (Window): The window, by the model's tokens.
    first (int): Its first unit.
    ids (WindowIds): Its text as ids.
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
    def prompt_text(self) -> str:
        """The prompt as text."""
        return self.question.prompt.text(self.text)

    @property
    def prompt_ids(self) -> PromptIds:
        """The prompt as ids."""
        return PromptIds(self.question.prefix, [*self.ids.id_list, *self.question.suffix])

    def contains(self, span: Span) -> bool:
        """Whether the whole of a concept lies in the window.

        span (Span): The concept, by units of the Doc.
        RETURNS (bool): False if it starts before the window or ends after it.
        """
        return span[0] >= self.first and span[1] - self.first <= len(self.ids.firsts)


@dataclass(frozen=True)
class ConceptPrompt:
    """How concepts are asked for; see `concept_prompt`."""

    template: str
    format: Format
    per_type: bool
    window: int
    overlap: int
    grounded: bool
    threshold: float
    source: Optional[str] = None

    def questions(self, schema: Schema, codec: Codec, examples: Sequence[Note]) -> list[Question]:
        """Make the questions for a schema.

        schema (Schema): The schema.
        codec (Codec): Encodes for the model.
        examples (Sequence[Note]): Notes that the prompt shows with their answers.
        RETURNS (list[Question]): One, or one for each concept type.
        RAISES (ClinieError): CIE320 to CIE322 for the template, CIE332 for a type that an answer cannot name.
        """
        names = list(schema.concepts)
        groups = [(i,) for i in range(len(names))] if self.per_type else [tuple(range(len(names)))]
        questions = []
        for kinds in groups:
            labels = [names[kind] for kind in kinds]
            prompt = self.render(schema, labels, examples)
            prefix, suffix = codec.encode_prompt(prompt)
            ids = [codec.encode(label, after_text=True) for label in labels]
            _check_labels(labels, ids, codec.marks)
            written = self.format.label_ids(ids, codec.marks)
            questions.append(Question(kinds, prompt, tuple(prefix), tuple(suffix), written))
        return questions

    def render(self, schema: Schema, labels: Sequence[str], examples: Sequence[Note]) -> Prompt:
        """Render the prompt for some concept types.

        schema (Schema): The schema.
        labels (Sequence[str]): The types.
        examples (Sequence[Note]): Notes that the prompt shows with their answers.
        RETURNS (Prompt): The prompt, with a placeholder for the window.
        """
        kinds = {label: kind for kind, label in enumerate(labels)}
        shown = []
        for note in examples:
            spans = [(one.start, one.end, kinds[one.label]) for one in note.concepts if one.label in kinds]
            shown.append({"text": note.text, "answer": self.format.answer_text(note.text, spans, labels)})
        concepts = [schema.concepts[label] for label in labels]
        explain = self.format.explain(labels)
        return render(self.template, self.source, schema=schema, concepts=concepts, explain=explain, examples=shown)

    def queries(self, number: int, text: str, pieced: Any, questions: Sequence[Question]) -> Iterator[ConceptQuery]:
        """Ask every question about every window of a Doc. Windows without a unit contain nothing, and are left out.

        number (int): Index of the Doc.
        text (str): Its text.
        pieced (PiecedDoc): Its tokens for the model.
        questions (Sequence[Question]): From `questions`.
        YIELDS (ConceptQuery): The queries.
        """
        for window in pieced.windows(self.window, min(self.overlap, (self.window - 1) // 2)):
            first, last = np.searchsorted(pieced.firsts, [window.start, window.stop])
            if first == last:
                continue
            firsts = pieced.firsts[first:last] - window.start
            # The last unit may reach beyond the window; only the part inside counts.
            lasts = np.minimum(pieced.lasts[first:last], window.stop) - window.start
            ids = WindowIds(pieced.ids[window.start : window.stop], firsts, lasts)
            begin, end = int(pieced.starts[window.start]), int(pieced.ends[window.stop - 1])
            units = np.stack([pieced.starts[firsts + window.start], pieced.ends[lasts + window.start - 1]], 1) - begin
            for question in questions:
                yield ConceptQuery(number, window, int(first), ids, text[begin:end], units, question)

    def constraint(self, query: ConceptQuery, codec: Codec) -> Constraint:
        """The constraint of the answer to a query."""
        if not self.grounded:
            # Room for a concept in every unit.
            per_unit = 3 + max(map(len, query.question.labels.ids))
            return Unconstrained(len(query.ids.id_list) + per_unit * len(query.ids.firsts) + 16, codec.marks.end)
        return self.format.constraint(query.ids, query.question.labels, codec.marks)

    def answer_ids(self, query: ConceptQuery, spans: Sequence[Span], codec: Codec) -> tuple[list[int], int]:
        """The right answer.

        query (ConceptQuery): The query.
        spans (Sequence[Span]): Concepts of the Doc, by units.
        codec (Codec): Encodes for the model.
        RETURNS (tuple[list[int], int]): Ids; and how many concepts of the window the answer leaves out, or places
            wrongly.
        """
        kinds = {kind: i for i, kind in enumerate(query.question.kinds)}
        inside = [
            (start - query.first, stop - query.first, kinds[kind])
            for start, stop, kind in spans
            if kind in kinds and query.contains((start, stop, kind))
        ]
        write = partial(self.format.answer_ids, query.ids, labels=query.question.labels, marks=codec.marks)
        # A mark in the note next to a concept cannot be told from a mark of the answer.
        has_marks = bool({codec.marks.open, codec.marks.close}.intersection(query.ids.id_list))
        readable = inside
        if has_marks:
            readable = [one for one in inside if self._read_back(query, write([one]), codec, has_marks).done]
        ids = write(readable)
        found = self._read_back(query, ids, codec, has_marks).found
        return ids, len(set(inside) - {one[:3] for one in found})

    def _read_back(self, query: ConceptQuery, answer: Sequence[int], codec: Codec, has_marks: bool) -> Constraint:
        """A constraint with a right answer, up to the first token that it does not permit."""
        constraint = self.format.constraint(query.ids, query.question.labels, codec.marks)
        for token in answer:
            allowed = constraint.allowed() if has_marks else None
            if allowed is not None and token not in allowed:
                break
            constraint.advance(token, 0.0)
        return constraint

    def answer_text(self, query: ConceptQuery, answer: Sequence[int], names: Sequence[str], codec: Codec) -> str:
        """A right answer as text. Its words are copied from the prompt and not decoded, since decoding can add blanks
        where a tokenizer split a word or where a window begins.

        query (ConceptQuery): The query.
        answer (Sequence[int]): From `answer_ids`.
        names (Sequence[str]): All concept types of the schema.
        codec (Codec): Encodes for the model.
        RETURNS (str): The text.
        """
        constraint = self.format.constraint(query.ids, query.question.labels, codec.marks)
        for token in answer:
            constraint.advance(token, 0.0)
        offsets = query.units.tolist()
        spans = [(offsets[one.start][0], offsets[one.stop - 1][1], one.kind) for one in constraint.found]
        return self.format.answer_text(query.text, spans, [names[kind] for kind in query.question.kinds])

    def read_answer(
        self, query: ConceptQuery, constraint: Constraint, names: Sequence[str], codec: Codec
    ) -> tuple[list[Mention], Counter[str]]:
        """The mentions of an answer.

        query (ConceptQuery): The query.
        constraint (Constraint): The constraint that holds the answer.
        names (Sequence[str]): All concept types of the schema.
        codec (Codec): Encodes for the model.
        RETURNS (tuple[list[Mention], Counter[str]]): Mentions by units of the Doc, each with the index of its concept
            type. Where windows overlap, only the one that owns a mention's start gives it. And how many mentions were
            rejected, by reason: `unlikely` for a score below the threshold; for free-text answers the reasons of
            `grounding.ground`, and `unanswered` for a copy that is not complete.
        """
        found, rejected, threshold = constraint.found, Counter[str](), self.threshold
        if isinstance(constraint, Unconstrained):
            found, rejected = self._ground(query, constraint, names, codec)
            threshold = 0.0
        mentions = []
        for one in found:
            place = query.window.start + int(query.ids.firsts[one.start])
            if query.window.own_start <= place < query.window.own_stop:
                kind = query.question.kinds[one.kind]
                start, stop = one.start + query.first, one.stop + query.first
                mentions.append(one._replace(start=start, stop=stop, kind=kind))
        likely = [one for one in mentions if one.score >= threshold]
        if unlikely := {one[:3] for one in mentions} - {one[:3] for one in likely}:
            rejected["unlikely"] = len(unlikely)
        return likely, rejected

    def _ground(
        self, query: ConceptQuery, constraint: Unconstrained, names: Sequence[str], codec: Codec
    ) -> tuple[list[Mention], Counter[str]]:
        """Find the mentions of a free-text answer in the window."""
        labels = [names[kind] for kind in query.question.kinds]
        parsed = self.format.parse(codec.decode(constraint.found), query.text, labels)
        found, rejected = ground(query.text, parsed.mentions, labels)
        if constraint.done and not parsed.complete:
            rejected[UNANSWERED] += 1
        mentions = []
        for one in found:
            start = int(np.searchsorted(query.units[:, 1], one.start, side="right"))
            stop = int(np.searchsorted(query.units[:, 0], one.stop))
            if start < stop:
                mentions.append(Mention(start, stop, labels.index(one.label), one.status, constraint.score))
            else:  # text that the model's tokenizer drops
                rejected["text"] += 1
        return mentions, rejected


def _check_labels(labels: Sequence[str], written: Sequence[Sequence[int]], marks: MarkIds) -> None:
    """Raise CIE332 for a label that contains a mark, which would end it, and for two with the same ids."""
    seen: dict[tuple[int, ...], str] = {}
    for label, ids in zip(labels, map(tuple, written), strict=True):
        # As text and as ids: inside a word, a tokenizer may encode a mark differently.
        if (
            {OPEN, CLOSE, "\n"}.intersection(label)
            or {*marks[:3]}.intersection(ids)
            or seen.setdefault(ids, label) != label
        ):
            raise ClinieError("CIE332", label=label)


def concept_prompt(
    *,
    format: Optional[Format] = None,
    per_type: bool = False,
    template: Optional[str] = None,
    window: int = 192,
    overlap: int = 32,
    grounded: bool = True,
    threshold: float = 0.0,
) -> ConceptPrompt:
    """How concepts are asked for. Registered as `spacy_clinie.ConceptPrompt.v1`.

    format (Optional[Format]): The answer format; None for `InlineMarks`. On single sentences `MentionList` is as good
        and faster; on longer windows it needs more training (docs/benchmarks.md).
    per_type (bool): Ask one question for each concept type, as in machine reading comprehension, and not one for all.
    template (Optional[str]): A bundled template, or the path of a custom one. None for `concepts_mrc.v1` or
        `concepts_instruct.v1`, by `per_type`. `concepts_brief.v1` names the types without describing them: a shorter
        prompt for a model that is fine-tuned on them.
    window (int): Tokens of a window, as the model counts them.
    overlap (int): Tokens that two windows share if one ends inside a sentence.
    grounded (bool): Constrain answers to labels of the schema and words of the window at their positions. Otherwise
        answers are free text, whose mentions are looked up in the window; this is meant for comparison.
    threshold (float): Mentions with a lower score are rejected. If a model is about to write what the window does not
        contain, the constraint makes it write something else, with a low score. Use a threshold for fine-tuned models
        only: without tuning, all scores are low. It does not apply to free-text answers, which have no score for
        single mentions.
    RETURNS (ConceptPrompt): The task.
    RAISES (ClinieError): CIE307 for an invalid window, overlap or threshold.
    """
    for setting, value, least in (("window", window, 1), ("overlap", overlap, 0)):
        if value < least:
            raise ClinieError("CIE307", setting=setting, value=value, choices=f"at least {least}")
    if not 0 <= threshold <= 1:
        raise ClinieError("CIE307", setting="threshold", value=threshold, choices="between 0 and 1")
    chosen = template or ("concepts_mrc.v1" if per_type else "concepts_instruct.v1")
    return ConceptPrompt(chosen, format or InlineMarks(), per_type, window, overlap, grounded, threshold)
