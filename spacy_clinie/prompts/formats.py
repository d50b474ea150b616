"""Answer formats for concepts: what the prompt says about them, what the model is trained to write, and how it is read.

Both formats use two marks that hardly ever occur in notes. The words of an answer are the window's own token ids, so
mentions are written and read by position. `answer_text` and `parse` work on text: for examples in a prompt, for other
trainers, and for models behind an API. If there is only one label, it is not written.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from .constraints import MAX_DEPTH, Constraint, InlineConstraint, Labels, ListConstraint, WindowIds
from .copies import parse_copy
from .grounding import NamedMention, ParsedAnswer

OPEN, CLOSE = "«", "»"

# First unit or character, one past the last, index of the label.
Span = tuple[int, int, int]


class MarkIds(NamedTuple):
    """The ids of the marks in one model's vocabulary.

    open (int): Id of `OPEN`.
    close (int): Id of `CLOSE`.
    newline (int): Id of a line break.
    end (int): Id that ends an answer.
    """

    open: int
    close: int
    newline: int
    end: int


@runtime_checkable  # spaCy validates settings by their types
class Format(Protocol):
    """How an answer names concepts."""

    def explain(self, labels: Sequence[str]) -> str:
        """What the prompt says about the format.

        labels (Sequence[str]): The labels.
        RETURNS (str): A sentence or two.
        """

    def label_ids(self, labels: Sequence[Sequence[int]], marks: MarkIds) -> Labels:
        """How labels are written.

        labels (Sequence[Sequence[int]]): Ids of each label's name.
        marks (MarkIds): The marks.
        RETURNS (Labels): The labels, each with the mark after it.
        """

    def constraint(self, window: WindowIds, labels: Labels, marks: MarkIds) -> Constraint:
        """The constraint of an answer about a window."""

    def answer_ids(self, window: WindowIds, spans: Iterable[Span], labels: Labels, marks: MarkIds) -> list[int]:
        """The right answer.

        window (WindowIds): The window.
        spans (Iterable[Span]): Its concepts, by units.
        labels (Labels): From `label_ids`.
        marks (MarkIds): The marks.
        RETURNS (list[int]): Ids that the constraint permits, unless the note itself has a mark next to a concept.
            Concepts that the format cannot express are missing from what the constraint then finds.
        """

    def answer_text(self, text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        """The right answer as text.

        text (str): The text of a window.
        spans (Iterable[Span]): Its concepts, by characters.
        labels (Sequence[str]): The labels.
        RETURNS (str): The answer.
        """

    def parse(self, answer: str, text: str, labels: Sequence[str]) -> ParsedAnswer:
        """Parse an answer in free text.

        answer (str): Any text.
        text (str): The text of the window.
        labels (Sequence[str]): The labels.
        RETURNS (ParsedAnswer): What it names.
        """


class InlineMarks:
    """A copy of the window with every concept between marks, then its label: `took« aspirin»Drug» for`."""

    def explain(self, labels: Sequence[str]) -> str:
        how = f"Copy the text. Write {OPEN} before each and {CLOSE} behind it"
        return f"{how}." if len(labels) == 1 else f"{how}, then its type and {CLOSE} again."

    def label_ids(self, labels: Sequence[Sequence[int]], marks: MarkIds) -> Labels:
        return Labels([[]] if len(labels) == 1 else [[*ids, marks.close] for ids in labels])

    def constraint(self, window: WindowIds, labels: Labels, marks: MarkIds) -> Constraint:
        return InlineConstraint(window, labels, (marks.open, marks.close), marks.end)

    def answer_ids(self, window: WindowIds, spans: Iterable[Span], labels: Labels, marks: MarkIds) -> list[int]:
        ids: list[int] = []
        at = 0
        for place, opens, kind in order_marks(spans):
            target = int(window.firsts[place] if opens else window.lasts[place - 1])
            ids += window.id_list[at:target]
            ids += [marks.open] if opens else [marks.close, *labels.ids[kind]]
            at = target
        return [*ids, *window.id_list[at:], marks.end]

    def answer_text(self, text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        parts: list[str] = []
        at = 0
        for place, opens, kind in order_marks(spans):
            # Tokens begin with the blank before the word, so the mark comes before the blank.
            target = place - (opens and place > at and text[place - 1] == " ")
            label = "" if len(labels) == 1 else f"{labels[kind]}{CLOSE}"
            parts += [text[at:target], OPEN if opens else f"{CLOSE}{label}"]
            at = target
        return "".join([*parts, text[at:]])

    def parse(self, answer: str, text: str, labels: Sequence[str]) -> ParsedAnswer:
        return parse_copy(answer, text, labels, (OPEN, CLOSE))


class MentionList:
    """One line for each concept, in text order: ` aspirin»Drug`."""

    def explain(self, labels: Sequence[str]) -> str:
        how = "List them in the order of the text, one on a line, each exactly as it stands there, then"
        return f"{how} {CLOSE}." if len(labels) == 1 else f"{how} {CLOSE} and its type."

    def label_ids(self, labels: Sequence[Sequence[int]], marks: MarkIds) -> Labels:
        return Labels([[marks.newline]] if len(labels) == 1 else [[*ids, marks.newline] for ids in labels])

    def constraint(self, window: WindowIds, labels: Labels, marks: MarkIds) -> Constraint:
        return ListConstraint(window, labels, marks.close, marks.end)

    def answer_ids(self, window: WindowIds, spans: Iterable[Span], labels: Labels, marks: MarkIds) -> list[int]:
        ids: list[int] = []
        for start, stop, kind in sorted(set(spans)):
            words = window.id_list[int(window.firsts[start]) : int(window.lasts[stop - 1])]
            ids += [*words, marks.close, *labels.ids[kind]]
        return [*ids, marks.end]

    def answer_text(self, text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        lines = []
        for start, stop, kind in sorted(set(spans)):
            label = "" if len(labels) == 1 else labels[kind]
            lines.append(f"{text[start:stop]}{CLOSE}{label}\n")
        return "".join(lines)

    def parse(self, answer: str, text: str, labels: Sequence[str]) -> ParsedAnswer:  # noqa: ARG002
        # A mention may contain a line break, so the mark ends it and not the line.
        *parts, _ = answer.split(CLOSE) if len(labels) == 1 else [*_lines(answer), ""]
        split = [(part, "", labels[0]) if len(labels) == 1 else part.rpartition(CLOSE) for part in parts]
        # Whether a list is complete cannot be seen.
        return ParsedAnswer([NamedMention(words.strip(), label.strip()) for words, _, label in split], complete=True)


def _lines(answer: str) -> list[str]:
    """The lines of a list. A line without a mark continues in the next one."""
    lines: list[str] = []
    for line in answer.splitlines():
        if lines and CLOSE not in lines[-1]:
            lines[-1] += f"\n{line}"
        else:
            lines.append(line)
    return [line for line in lines if line.strip()]


def order_marks(spans: Iterable[Span]) -> list[tuple[int, bool, int]]:
    """The marks around spans, in text order.

    spans (Iterable[Span]): In any order.
    RETURNS (list[tuple[int, bool, int]]): Of each mark its position, whether it opens a span, and the index of the
        label. Spans that cross one that begins before them, or are nested deeper than `MAX_DEPTH`, are left out.
    """
    events: list[tuple[int, bool, int]] = []
    stack: list[Span] = []
    for span in sorted(set(spans), key=lambda one: (one[0], -one[1], one[2])):
        start, stop, kind = span
        while stack and stack[-1][1] <= start:
            events.append((stack[-1][1], False, stack.pop()[2]))
        if len(stack) == MAX_DEPTH or (stack and stack[-1][1] < stop):
            continue
        stack.append(span)
        events.append((start, True, kind))
    while stack:
        events.append((stack[-1][1], False, stack.pop()[2]))
    return events
