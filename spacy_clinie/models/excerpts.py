"""The stretches of text that relations are looked for in: where they begin and end, and marked how."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Optional

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc, Span

from ..doc.windows import sentence_starts
from ..errors import ClinieError
from ..schema import Schema

if TYPE_CHECKING:
    import torch

# How many nearer concepts are counted at most.
MOST_NEARER = 3
_NEVER = -1e4


class PairInput(NamedTuple):
    """What a relation model reads.

    doc (Doc): The Doc.
    spans (list[Span]): Its concepts.
    kinds (list[int]): Index of each concept's type in the schema, -1 for one that is not in it.
    pairs (list[tuple[int, int]]): Candidates: index of the head and of the tail among `spans`.
    allowed (np.ndarray): Which relation types the schema allows for each candidate, shape (pairs, relations), bool.
    schema (Schema): The types that are looked for in this Doc.
    turns (Optional[np.ndarray]): The order in which candidates are read where a step of training cannot read all, over
        the Docs of a batch, shape (pairs,); None for any order.
    """

    doc: Doc
    spans: list[Span]
    kinds: list[int]
    pairs: list[tuple[int, int]]
    allowed: np.ndarray
    schema: Schema
    turns: Optional[np.ndarray] = None


@dataclass
class Excerpt:
    """A stretch of a Doc with the candidates that are decided in it.

    doc (int): Index of the Doc.
    pieces (np.ndarray): Indexes of its word pieces, ascending; with a gap where two ends lie too far apart.
    pairs (list[int]): Indexes of the candidates.
    concepts (list[int]): Indexes of the concepts that take part, ascending.
    """

    doc: int
    pieces: np.ndarray
    pairs: list[int]
    concepts: list[int] = field(default_factory=list)


def in_types(item: PairInput, kinds: list[str], relations: list[str]) -> tuple[PairInput, np.ndarray]:
    """A Doc in the types that a model was trained on.

    item (PairInput): The Doc in the types that are looked for.
    kinds (list[str]): Concept types of the model.
    relations (list[str]): Its relation types.
    RETURNS (tuple[PairInput, np.ndarray]): The Doc, and the index of each relation type that is looked for, shape
        (relations,).
    RAISES (ClinieError): CIE315 for types that the model does not have.
    """
    asked = item.schema
    unknown = [name for name in asked.concepts if name not in kinds]
    unknown += [name for name in asked.relations if name not in relations]
    if unknown:
        raise ClinieError("CIE315", types=", ".join(unknown), known=", ".join([*kinds, *relations]))
    places = [kinds.index(name) for name in asked.concepts]
    columns = np.array([relations.index(name) for name in asked.relations], dtype=np.int64)
    allowed = np.zeros((len(item.pairs), len(relations)), dtype=bool)
    allowed[:, columns] = item.allowed
    kinds_of = [places[kind] if kind >= 0 else -1 for kind in item.kinds]
    return item._replace(kinds=kinds_of, allowed=allowed), columns


def only_allowed(scores: "torch.Tensor", batch: list[Excerpt], items: Sequence[PairInput]) -> "torch.Tensor":
    """Leave only the relations that the schema allows, and none.

    scores (torch.Tensor): Shape (candidates in the order of the excerpts, 1 + relations); first "none".
    batch (list[Excerpt]): The excerpts.
    items (Sequence[PairInput]): All Docs.
    RETURNS (torch.Tensor): The same, next to nothing for others, fp32.
    """
    import torch

    allowed = np.concatenate([items[excerpt.doc].allowed[excerpt.pairs] for excerpt in batch])
    never = np.pad(~allowed, ((0, 0), (1, 0)), constant_values=False)
    return scores.float().masked_fill(torch.from_numpy(never).to(scores.device), _NEVER)


class Ranges:
    """Where the concepts and sentences of a Doc lie among its word pieces.

    item (PairInput): The Doc and its concepts.
    starts (np.ndarray): First character of each word piece, shape (pieces,).
    ends (np.ndarray): One past the last character of each, shape (pieces,).
    """

    def __init__(self, item: PairInput, starts: np.ndarray, ends: np.ndarray) -> None:
        self.length = len(starts)
        chars = np.array([(span.start_char, span.end_char) for span in item.spans], dtype=np.int64).reshape(-1, 2)
        self.first = np.searchsorted(ends, chars[:, 0], side="right")
        # A concept that no piece stands for (blanks only) still gets its markers, around nothing.
        self.last = np.maximum(np.searchsorted(starts, chars[:, 1], side="left"), self.first)
        sentences = [item.doc[i].idx for i in sentence_starts(item.doc)]
        self.sentences = np.append(np.searchsorted(starts, sentences), self.length)

    @classmethod
    def of_tokens(cls, item: PairInput) -> "Ranges":
        """The same among the tokens of a Doc."""
        table = item.doc.to_array([IDX, LENGTH]).astype(np.int64).reshape(-1, 2)
        return cls(item, table[:, 0], table.sum(1))

    def nearer(self, pairs: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """How many concepts of the type of either end of a pair stand nearer to the other end than it does.

        pairs (np.ndarray): Heads and tails, shape (pairs, 2).
        kinds (np.ndarray): Type of each concept, shape (concepts,).
        RETURNS (np.ndarray): Counts for the head and for the tail, shape (pairs, 2).
        """
        counts = np.zeros(pairs.shape, dtype=np.int64)
        for side in (0, 1):
            end, other = pairs[:, side], pairs[:, 1 - side]
            behind, before = self.first - self.last[other, None], self.first[other, None] - self.last
            gaps = np.maximum(behind, before).clip(0)
            nearer = (gaps < gaps[np.arange(len(pairs)), end][:, None]) & (kinds == kinds[end, None])
            counts[:, side] = nearer.sum(1) - nearer[np.arange(len(pairs)), other]
        return counts

    def hull(self, head: int, tail: int) -> tuple[int, int]:
        """First piece and one past the last of two concepts together."""
        return int(min(self.first[head], self.first[tail])), int(max(self.last[head], self.last[tail]))

    def span(self, head: int, tail: int) -> int:
        """Pieces from the beginning of the first to the end of the last of two concepts."""
        start, stop = self.hull(head, tail)
        return stop - start

    def context(self, head: int, tail: int, room: int) -> tuple[int, int]:
        """The sentences that hold two concepts, or as much of them around the two as there is room for."""
        start, stop = self.hull(head, tail)
        first = int(np.searchsorted(self.sentences, start, side="right")) - 1
        last = int(np.searchsorted(self.sentences, stop, side="left"))
        begin, end = int(self.sentences[max(first, 0)]), max(int(self.sentences[: last + 1][-1]), stop)
        if end - begin > room:
            begin = max(begin, start - max(room - (stop - start), 0) // 2)
            end = max(min(end, begin + room), stop)
        return begin, end


def mark_places(excerpt: Excerpt, ranges: Ranges, kinds: Sequence[int]) -> list[tuple[int, int, int]]:
    """Where marks around the concepts of an excerpt go, in the order of the text.

    excerpt (Excerpt): The excerpt.
    ranges (Ranges): Where its concepts lie.
    kinds (Sequence[int]): A number for the type of each of `excerpt.concepts`. Of two on the same words, it tells which
        is outside: the order in which concepts are listed must not matter.
    RETURNS (list[tuple[int, int, int]]): Place among the pieces of the excerpt, index of the concept among
        `excerpt.concepts`, 0 for where it begins or 1 for where it ends.
    """
    first = np.searchsorted(excerpt.pieces, ranges.first[excerpt.concepts])
    last = np.maximum(np.searchsorted(excerpt.pieces, ranges.last[excerpt.concepts]), first)
    # At one place, what ends comes before what begins, and a longer concept is around a shorter one.
    marks = []
    for i, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        marks.append((begin, 1, -end, kinds[i], i, 0))
        marks.append((end, 0, -begin, -kinds[i], i, 1) if end > begin else (end, 1, -end, kinds[i], i, 1))
    return [(at, i, side) for at, _, _, _, i, side in sorted(marks)]


def one_each(number: int, item: PairInput, ranges: Ranges, size: int) -> list[Excerpt]:
    """An excerpt for every candidate.

    number (int): Index of the Doc.
    item (PairInput): The candidates.
    ranges (Ranges): Where their concepts lie.
    size (int): Pieces and markers that fit.
    RETURNS (list[Excerpt]): As long as `item.pairs`.
    """
    return [
        Excerpt(number, _pieces(ranges, head, tail, size - 4), [i], sorted({head, tail}))
        for i, (head, tail) in enumerate(item.pairs)
    ]


def shared(number: int, item: PairInput, ranges: Ranges, size: int) -> list[Excerpt]:
    """Excerpts that candidates share whose contexts overlap, filled in the order of the text. Sentences that no
    candidate connects stay apart: candidates are learnt much worse where strange sentences stand around them.

    number (int): Index of the Doc.
    item (PairInput): The candidates.
    ranges (Ranges): Where their concepts lie.
    size (int): Pieces and markers that fit.
    RETURNS (list[Excerpt]): Every candidate is in exactly one of them.
    """
    # In a sentence as long as a window, each candidate would have its own place; half a window leaves room to share.
    contexts = [ranges.context(head, tail, max(size // 2, ranges.span(head, tail))) for head, tail in item.pairs]
    excerpts: list[Excerpt] = []
    far = [i for i, (head, tail) in enumerate(item.pairs) if ranges.span(head, tail) > size - 4]
    near = sorted(set(range(len(item.pairs))).difference(far), key=lambda i: (contexts[i], item.pairs[i]))
    at = begin = end = 0
    marked: set[int] = set()
    for i in near:
        head, tail = item.pairs[i]
        first, last = contexts[i]
        together = marked | {head, tail}
        if not marked or first >= end or max(end, last) - begin + 2 * len(together) > size:
            if marked:
                excerpts[at].pieces, excerpts[at].concepts = np.arange(begin, end), sorted(marked)
            at = len(excerpts)
            excerpts.append(Excerpt(number, np.arange(0), []))
            begin, end, together = first, last, {head, tail}
        end, marked = max(end, last), together
        excerpts[at].pairs.append(i)
    if marked:
        excerpts[at].pieces, excerpts[at].concepts = np.arange(begin, end), sorted(marked)
    return excerpts + _with_gap(number, item, ranges, far, size)


def _with_gap(number: int, item: PairInput, ranges: Ranges, far: list[int], size: int) -> list[Excerpt]:
    """Excerpts for candidates whose ends lie too far apart for a window: the surroundings of both beginnings, a quarter
    of a window each, which leaves half of it for markers."""
    step = max(size // 8, 1)
    groups: dict[tuple[int, int], list[int]] = {}
    for i in far:
        left, right = sorted(int(ranges.first[concept]) // step for concept in item.pairs[i])
        groups.setdefault((left, right), []).append(i)
    excerpts: list[Excerpt] = []
    for blocks, members in sorted(groups.items()):
        around = [np.arange(block * step - step // 2, block * step + step + step // 2) for block in blocks]
        pieces = np.unique(np.concatenate(around).clip(0, ranges.length - 1))
        marked: set[int] = set()
        for i in members:
            together = marked.union(item.pairs[i])
            if not marked or 2 * len(together) > size // 2:
                excerpts.append(Excerpt(number, pieces, []))
                together = set(item.pairs[i])
            marked = together
            excerpts[-1].pairs.append(i)
            excerpts[-1].concepts = sorted(marked)
    return excerpts


def _pieces(ranges: Ranges, head: int, tail: int, room: int) -> np.ndarray:
    """The pieces around two concepts; the middle is left out if they do not fit, and the middle of a concept too."""
    begin, end = ranges.context(head, tail, room)
    if end - begin <= room:
        return np.arange(begin, end)
    start, stop = ranges.hull(head, tail)
    half = room // 2
    return np.concatenate([np.arange(start, start + half), np.arange(stop - (room - half), stop)])
