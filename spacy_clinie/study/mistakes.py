"""What kinds of mistakes a prediction makes, by offsets, and whether training had shown the words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Optional

from ..doc.note import Note

KINDS = ("boundary", "type", "missed", "spurious")
# Examples that are kept, of each kind.
EXAMPLES = 25

# First character, one past the last, label.
Mention = tuple[int, int, str]


class Mistake(NamedTuple):
    """A gold concept that was not found as it is, or one that was found and is none; or both in one.

    document (str): Id of the note.
    kind (str): "boundary": of the right type, overlapping; "type": overlapping, of another type; "missed"; "spurious".
    gold (Optional[Mention]): The gold concept.
    found (Optional[Mention]): What was found.
    """

    document: str
    kind: str
    gold: Optional[Mention]
    found: Optional[Mention]


def mistakes(gold: Note, found: Note) -> Iterator[Mistake]:
    """Tell the mistakes of a note. Each concept stands in at most one, the likeliest: its own type before another,
    the larger overlap before the smaller.

    gold (Note): The gold note.
    found (Note): The same with what was found.
    YIELDS (Mistake): Mistakes, in no order.
    """
    wanted, there = _mentions(gold), _mentions(found)
    missed, spurious = wanted - there, there - wanted
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


def analyse(gold: Sequence[Note], found: Sequence[Note], shown: Iterable[Note]) -> dict[str, Any]:
    """Count the mistakes of a corpus.

    gold (Sequence[Note]): Gold notes.
    found (Sequence[Note]): The same notes with what was found.
    shown (Iterable[Note]): Notes that were trained on.
    RETURNS (dict[str, Any]): JSON-serialisable: how many of each kind; `by_type`, the same by concept type (the gold
        one, or that of what is spurious); `seen` and `unseen`, how many gold concepts there were and how many were
        found, of those whose words training had shown with their type, and of the others; and `examples`, by offsets.
    """
    kinds: Counter[str] = Counter()
    by_type: dict[str, Counter[str]] = defaultdict(Counter)
    examples: list[dict[str, Any]] = []
    words = {_words(note, mention) for note in shown for mention in _mentions(note)}
    recall = {name: {"gold": 0, "found": 0} for name in ("seen", "unseen")}
    for wanted, there in zip(gold, found, strict=True):
        right = _mentions(wanted) & _mentions(there)
        for one in sorted(mistakes(wanted, there), key=str):
            kinds[one.kind] += 1
            label = (one.gold or one.found or (0, 0, ""))[2]
            by_type[label][one.kind] += 1
            if kinds[one.kind] <= EXAMPLES:
                examples.append(one._asdict())
        for mention in _mentions(wanted):
            own = recall["seen" if _words(wanted, mention) in words else "unseen"]
            own["gold"] += 1
            own["found"] += mention in right
    counts = {kind: kinds[kind] for kind in KINDS}
    per_type = {label: {kind: by_type[label][kind] for kind in KINDS} for label in sorted(by_type)}
    return {**counts, "by_type": per_type, **recall, "examples": examples}


def _mentions(note: Note) -> set[Mention]:
    return {(one.start, one.end, one.label) for one in note.concepts}


def _words(note: Note, mention: Mention) -> tuple[str, str]:
    start, end, label = mention
    return " ".join(note.text[start:end].casefold().split()), label
