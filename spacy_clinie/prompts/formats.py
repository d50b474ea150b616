"""How an answer about concepts is written: what the model is told, what it learns to write, and how it is read.

Both formats use two marks that hardly ever stand in a note. Their words are the window's own token ids, so an answer
is learnt and read by places; `text` and `parse` are for examples in a prompt, other trainers and other engines. Where
there is only one label, it is not written.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from .copies import Copied, read_copy
from .grounding import Named
from .machines import DEEPEST, Inline, Labels, Listed, Machine, WindowIds

OPEN, CLOSE = "«", "»"

# First unit or character, one past the last, index of the label.
Span = tuple[int, int, int]


class Alphabet(NamedTuple):
    """What a model's tokenizer makes of the marks.

    open (int): Id of `OPEN`.
    close (int): Id of `CLOSE`.
    line (int): Id of a line break.
    end (int): Id that ends an answer.
    """

    open: int
    close: int
    line: int
    end: int


@runtime_checkable  # spaCy validates settings by their types
class Format(Protocol):
    """How concepts are written."""

    def explain(self, labels: Sequence[str]) -> str:
        """What a prompt says about the format.

        labels (Sequence[str]): The labels.
        RETURNS (str): A sentence or two.
        """

    def label_ids(self, labels: Sequence[Sequence[int]], alphabet: Alphabet) -> Labels:
        """How labels end.

        labels (Sequence[Sequence[int]]): Ids of each label's name.
        alphabet (Alphabet): The marks.
        RETURNS (Labels): With the marks behind them.
        """

    def machine(self, window: WindowIds, labels: Labels, alphabet: Alphabet) -> Machine:
        """What an answer about a window may look like."""

    def write(self, window: WindowIds, spans: Iterable[Span], labels: Labels, alphabet: Alphabet) -> list[int]:
        """The right answer.

        window (WindowIds): The window.
        spans (Iterable[Span]): Its concepts, by units.
        labels (Labels): From `label_ids`.
        alphabet (Alphabet): The marks.
        RETURNS (list[int]): Ids that the machine permits, unless a mark of the window's own stands beside a concept.
            What it then has found tells which concepts cannot be written so.
        """

    def text(self, words: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        """The right answer as text.

        words (str): The text of a window.
        spans (Iterable[Span]): Its concepts, by characters.
        labels (Sequence[str]): The labels.
        RETURNS (str): The answer.
        """

    def parse(self, answer: str, words: str, labels: Sequence[str]) -> Copied:
        """Read an answer in free text.

        answer (str): The answer, whatever it is.
        words (str): The text of the window.
        labels (Sequence[str]): The labels.
        RETURNS (Copied): What it names.
        """


class InlineMarks:
    """The window copied, with every concept between marks and its label behind it: `took« aspirin»Drug» for`."""

    def explain(self, labels: Sequence[str]) -> str:
        how = f"Copy the text. Write {OPEN} before each and {CLOSE} behind it"
        return f"{how}." if len(labels) == 1 else f"{how}, then its type and {CLOSE} again."

    def label_ids(self, labels: Sequence[Sequence[int]], alphabet: Alphabet) -> Labels:
        return Labels([[]] if len(labels) == 1 else [[*ids, alphabet.close] for ids in labels])

    def machine(self, window: WindowIds, labels: Labels, alphabet: Alphabet) -> Machine:
        return Inline(window, labels, (alphabet.open, alphabet.close), alphabet.end)

    def write(self, window: WindowIds, spans: Iterable[Span], labels: Labels, alphabet: Alphabet) -> list[int]:
        ids: list[int] = []
        at = 0
        for place, opens, kind in nest(spans):
            target = int(window.firsts[place] if opens else window.lasts[place - 1])
            ids += window.list[at:target]
            ids += [alphabet.open] if opens else [alphabet.close, *labels.ids[kind]]
            at = target
        return [*ids, *window.list[at:], alphabet.end]

    def text(self, words: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        parts: list[str] = []
        at = 0
        for place, opens, kind in nest(spans):
            # A token has its blank before it, so the mark stands before the blank.
            target = place - (opens and place > at and words[place - 1] == " ")
            label = "" if len(labels) == 1 else f"{labels[kind]}{CLOSE}"
            parts += [words[at:target], OPEN if opens else f"{CLOSE}{label}"]
            at = target
        return "".join([*parts, words[at:]])

    def parse(self, answer: str, words: str, labels: Sequence[str]) -> Copied:
        return read_copy(answer, words, labels, (OPEN, CLOSE))


class MentionList:
    """One line for each concept, in the order in which they begin in the window: ` aspirin»Drug`."""

    def explain(self, labels: Sequence[str]) -> str:
        how = "List them in the order of the text, one on a line, each exactly as it stands there, then"
        return f"{how} {CLOSE}." if len(labels) == 1 else f"{how} {CLOSE} and its type."

    def label_ids(self, labels: Sequence[Sequence[int]], alphabet: Alphabet) -> Labels:
        return Labels([[alphabet.line]] if len(labels) == 1 else [[*ids, alphabet.line] for ids in labels])

    def machine(self, window: WindowIds, labels: Labels, alphabet: Alphabet) -> Machine:
        return Listed(window, labels, alphabet.close, alphabet.end)

    def write(self, window: WindowIds, spans: Iterable[Span], labels: Labels, alphabet: Alphabet) -> list[int]:
        ids: list[int] = []
        for start, stop, kind in sorted(set(spans)):
            words = window.list[int(window.firsts[start]) : int(window.lasts[stop - 1])]
            ids += [*words, alphabet.close, *labels.ids[kind]]
        return [*ids, alphabet.end]

    def text(self, words: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
        lines = []
        for start, stop, kind in sorted(set(spans)):
            label = "" if len(labels) == 1 else labels[kind]
            lines.append(f"{words[start:stop]}{CLOSE}{label}\n")
        return "".join(lines)

    def parse(self, answer: str, words: str, labels: Sequence[str]) -> Copied:  # noqa: ARG002
        # Words may run over lines, so a mark ends them, not a line break.
        *parts, _ = answer.split(CLOSE) if len(labels) == 1 else [*_lines(answer), ""]
        split = [(part, "", labels[0]) if len(labels) == 1 else part.rpartition(CLOSE) for part in parts]
        # A list does not tell where it would end.
        return Copied([Named(mention.strip(), label.strip()) for mention, _, label in split], whole=True)


def _lines(answer: str) -> list[str]:
    """The lines of a list, where words that run over lines stay together."""
    lines: list[str] = []
    for line in answer.splitlines():
        if lines and CLOSE not in lines[-1]:
            lines[-1] += f"\n{line}"
        else:
            lines.append(line)
    return [line for line in lines if line.strip()]


def nest(spans: Iterable[Span]) -> list[tuple[int, bool, int]]:
    """Put marks into the order of the text.

    spans (Iterable[Span]): In any order.
    RETURNS (list[tuple[int, bool, int]]): Place, whether it opens, and index of the label. Spans that cross one that
        begins before them, or lie too deep within others, are left out.
    """
    events: list[tuple[int, bool, int]] = []
    stack: list[Span] = []
    for span in sorted(set(spans), key=lambda one: (one[0], -one[1], one[2])):
        start, stop, kind = span
        while stack and stack[-1][1] <= start:
            events.append((stack[-1][1], False, stack.pop()[2]))
        if len(stack) == DEEPEST or (stack and stack[-1][1] < stop):
            continue
        stack.append(span)
        events.append((start, True, kind))
    while stack:
        events.append((stack[-1][1], False, stack.pop()[2]))
    return events
