"""Matches gold and predicted concepts and relations within a note.

- *Strict*: same type and same offsets; for a relation, of both ends.
- *Lenient*: same type and any overlap; for a relation, of both ends. Matching is one-to-one and maximum, so that scores
  do not depend on the order of items.

Fragments of discontinuous concepts are not compared, only start and end. Items with the same type and offsets count
once, on both sides, as in the shared tasks.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..doc.note import Note

Kind = Literal["concepts", "relations"]
Mode = Literal["strict", "lenient"]
KINDS: tuple[Kind, ...] = ("concepts", "relations")
MODES: tuple[Mode, ...] = ("strict", "lenient")


class Item(NamedTuple):
    """A concept or relation to match, reduced to types and offsets.

    label (str): Type of the concept or of the relation.
    ends (tuple[tuple[str, int, int], ...]): Type, first character and one past the last: of the concept, or of the
        head and the tail.
    """

    label: str
    ends: tuple[tuple[str, int, int], ...]


def items(note: Note, kind: Kind) -> list[Item]:
    """The concepts or relations of a note as items to match, with duplicates.

    note (Note): A valid note (see `Note.check`).
    kind (Kind): `concepts` or `relations`.
    RETURNS (list[Item]): In the order of the note.
    """
    ends = {concept.id: (concept.label, concept.start, concept.end) for concept in note.concepts}
    if kind == "concepts":
        return [Item(concept.label, (ends[concept.id],)) for concept in note.concepts]
    return [Item(relation.label, (ends[relation.head], ends[relation.tail])) for relation in note.relations]


def match(gold: Iterable[Item], predicted: Iterable[Item], mode: Mode) -> list[tuple[Item, Item]]:
    """Match the items of a note.

    Items that match in strict mode also match in lenient mode, but not always with each other: an exact prediction may
    match another gold item that it overlaps if that makes room for one more pair.

    gold (Iterable[Item]): Gold items; duplicates count once.
    predicted (Iterable[Item]): Predicted items; duplicates count once.
    mode (Mode): `strict` or `lenient`.
    RETURNS (list[tuple[Item, Item]]): Pairs of gold and predicted items, sorted. No item is in two pairs.
    """
    gold, predicted = set(gold), set(predicted)
    if mode == "strict":
        return [(item, item) for item in sorted(gold & predicted)]
    groups: dict[tuple[str, tuple[str, ...]], tuple[list[Item], list[Item]]] = defaultdict(lambda: ([], []))
    for side, side_items in enumerate((gold, predicted)):
        for item in sorted(side_items, key=_by_end):
            types = tuple(end[0] for end in item.ends)
            groups[item.label, types][side].append(item)
    return sorted(
        (ours[i], theirs[j])
        for ours, theirs in groups.values()
        if ours and theirs
        for i, j in _maximum_matching(ours, theirs)
    )


def _by_end(item: Item) -> tuple[tuple[int, int], ...]:
    # With both sides sorted by end, the first free partner is rarely a wrong one.
    return tuple((end, start) for _, start, end in item.ends)


def _maximum_matching(gold: list[Item], predicted: list[Item]) -> list[tuple[int, int]]:
    """A maximum matching of items of one type, by overlap of all ends.

    It starts from exact pairs and grows along augmenting paths, which keep matched items matched. Without augmenting
    paths, the matching is maximum (Berge 1957).

    gold (list[Item]): Unique items.
    predicted (list[Item]): Unique items.
    RETURNS (list[tuple[int, int]]): Pairs of indexes.
    """
    index = {item: j for j, item in enumerate(predicted)}
    partner = [index.get(item, -1) for item in gold]
    owner = np.full(len(predicted), -1)
    for i, j in enumerate(partner):
        if j >= 0:
            owner[j] = i
    if -1 in partner and -1 in owner:
        offsets = np.array([[end[1:] for end in item.ends] for item in predicted]).transpose(1, 2, 0).copy()
        while _augment(gold, offsets, partner, owner):
            pass
    return [(i, j) for i, j in enumerate(partner) if j >= 0]


def _augment(gold: list[Item], offsets: NDArray[np.int64], partner: list[int], owner: NDArray[np.int64]) -> bool:
    """One pass: grow trees of alternating paths from all unmatched gold items at once, breadth first, each up to its
    first free prediction, and flip the path to it.

    Trees share no predictions, so the paths are disjoint. Overlaps are computed on demand and not stored: thousands of
    overlapping concepts have millions.

    gold (list[Item]): The gold items.
    offsets (NDArray[np.int64]): Offsets of the predictions, shape (ends of an item, 2, predictions).
    partner (list[int]): Prediction of each gold item, or -1; changed in place.
    owner (NDArray[np.int64]): Gold item of each prediction, or -1; changed in place.
    RETURNS (bool): Whether there are more pairs than before.
    """
    gained = False
    unseen = np.ones(len(owner), dtype=bool)
    parent: dict[int, int] = {}
    root = {i: i for i, j in enumerate(partner) if j < 0}
    matched_roots = set()
    frontier = deque(root)
    while frontier:
        i = frontier.popleft()
        if root[i] in matched_roots:
            continue
        near = unseen.copy()
        for (starts, ends), (_, start, end) in zip(offsets, gold[i].ends, strict=True):
            near &= starts < end
            near &= ends > start
        free = near & (owner < 0)
        j = int(free.argmax())
        if free[j]:
            matched_roots.add(root[i])
            gained = True
            unseen[j] = False
            parent[j] = i
            while j >= 0:
                i = parent[j]
                partner[i], owner[j], j = j, i, partner[i]
        else:
            unseen &= ~near
            for j in np.flatnonzero(near).tolist():
                parent[j] = i
                root[int(owner[j])] = root[i]
                frontier.append(int(owner[j]))
    return gained
