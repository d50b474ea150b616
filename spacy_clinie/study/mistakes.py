"""The kinds of mistakes in a prediction, by offsets, and the recall of words that training had and had not shown."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

from ..doc.note import Note

KINDS = ("boundary", "type", "missed", "spurious")
# Examples of each kind to keep.
EXAMPLES = 25

# Start, end, label.
Mention = tuple[int, int, str]


class Mistake(NamedTuple):
    """A gold concept that is not predicted, a predicted one that is not gold, or both in one.

    document (str): Id of the note.
    kind (str): "boundary": overlap, same type; "type": overlap, another type; "missed"; "spurious".
    gold (Optional[Mention]): The gold concept.
    found (Optional[Mention]): The predicted concept.
    """

    document: str
    kind: str
    gold: Optional[Mention]
    found: Optional[Mention]


def mistakes(gold: Note, predicted: Note) -> Iterator[Mistake]:
    """Find the mistakes of a note. A concept is part of one mistake at most: pairs of the same type come first, then
    those with the largest overlap.

    gold (Note): The gold note.
    predicted (Note): The same note with predictions.
    YIELDS (Mistake): Mistakes, in no order.
    """
    missed, spurious = _mentions(gold) - _mentions(predicted), _mentions(predicted) - _mentions(gold)
    pairs = sorted(
        (one[2] != other[2], -overlap, one, other)
        for one in missed
        for other in spurious
        if (overlap := min(one[1], other[1]) - max(one[0], other[0])) > 0
    )
    for differs, _, one, other in pairs:
        if one in missed and other in spurious:
            missed.remove(one)
            spurious.remove(other)
            yield Mistake(gold.id, "type" if differs else "boundary", one, other)
    yield from (Mistake(gold.id, "missed", one, None) for one in missed)
    yield from (Mistake(gold.id, "spurious", None, other) for other in spurious)


def analyse(gold: Sequence[Note], predicted: Sequence[Note], training: Iterable[Note]) -> dict[str, Any]:
    """Count the mistakes of a corpus.

    gold (Sequence[Note]): Gold notes.
    predicted (Sequence[Note]): The same notes with predictions.
    training (Iterable[Note]): Notes that the model was trained on.
    RETURNS (dict[str, Any]): JSON-serialisable: the number of mistakes by kind; `by_type`, the same for each concept
        type (the gold one, or that of what is spurious); `seen` and `unseen`, the number of gold concepts and of those
        found, for words that occurred in training with the same type and for others; and `examples`, by offsets.
    """
    kinds: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    examples: list[dict[str, Any]] = []
    words = {_words(note, mention) for note in training for mention in _mentions(note)}
    recall = {name: {"gold": 0, "found": 0} for name in ("seen", "unseen")}
    for note, other in zip(gold, predicted, strict=True):
        for one in sorted(mistakes(note, other), key=str):
            kinds[one.kind] += 1
            by_type[(one.gold or one.found or (0, 0, ""))[2]][one.kind] += 1
            if kinds[one.kind] <= EXAMPLES:
                examples.append(one._asdict())
        found = _mentions(other)
        for mention in _mentions(note):
            counts = recall["seen" if _words(note, mention) in words else "unseen"]
            counts["gold"] += 1
            counts["found"] += mention in found
    per_type = {label: {kind: by_type[label][kind] for kind in KINDS} for label in sorted(by_type)}
    return {**{kind: kinds[kind] for kind in KINDS}, "by_type": per_type, **recall, "examples": examples}


def _mentions(note: Note) -> set[Mention]:
    return {(one.start, one.end, one.label) for one in note.concepts}


def _words(note: Note, mention: Mention) -> tuple[str, str]:
    start, end, label = mention
    return " ".join(note.text[start:end].casefold().split()), label
