"""From Docs to padded batches of word pieces, and back to tokens by offsets."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy as np
from spacy.attrs import IDX, IS_SPACE, LENGTH
from spacy.tokens import Doc

from ..doc.windows import SENTENCE_END, Window, make_windows

if TYPE_CHECKING:
    import torch


class ConceptInput(NamedTuple):
    """A Doc, and which concept types are looked for in it.

    doc (Doc): The Doc.
    labels (tuple[str, ...]): The types.
    questions (tuple[str, ...]): A question for each.
    """

    doc: Doc
    labels: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass
class PiecedDoc:
    """The word pieces of a Doc. A unit is a token that at least one piece stands for: blanks and what a tokenizer
    throws away are no units.

    ids (np.ndarray): Ids of the pieces, shape (pieces,).
    starts (np.ndarray): First character of each piece, shape (pieces,).
    ends (np.ndarray): One past the last character of each piece, shape (pieces,).
    tokens (np.ndarray): Index of each unit's token, shape (units,).
    firsts (np.ndarray): Index of each unit's first piece, shape (units,); never descending.
    lasts (np.ndarray): One past each unit's last piece, shape (units,).
    breaks (list[int]): Pieces before which a window is best cut.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    tokens: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    breaks: list[int]

    def windows(self, size: int, overlap: int) -> list[Window]:
        return make_windows(len(self.ids), size, overlap, self.breaks if len(self.ids) > size else ())


def make_pieces(docs: Sequence[Doc], tokenizer: Any) -> list[PiecedDoc]:
    """Cut Docs into word pieces, whole, whatever their length.

    docs (Sequence[Doc]): The Docs.
    tokenizer (PreTrainedTokenizerFast): From `pretrained.load_tokenizer`.
    RETURNS (list[PiecedDoc]): One for each Doc.
    """
    backend = tokenizer.backend_tokenizer
    texts = [doc.text for doc in docs]
    segments = _Segments(backend)
    return [_align(*one, segments) for one in zip(docs, texts, encode_each(backend, texts), strict=True)]


def encode_each(backend: Any, texts: Iterable[str]) -> list[Any]:
    """Cut texts into word pieces, one by one. `encode_batch` uses a pool of threads, of which tokenizers warns at every
    fork, and for which a fork may wait for ever. One text after the other takes no more time on one core, and less
    than a fiftieth of the encoder's.

    backend (tokenizers.Tokenizer): The tokenizer.
    texts (Iterable[str]): The texts.
    RETURNS (list[tokenizers.Encoding]): One for each, without special pieces.
    """
    return [backend.encode(text, add_special_tokens=False) for text in texts]


class _Segments:
    """Reads a text in segments, each as it is read where it stands: some tokenizers put a blank before a text that is
    read by itself.

    backend (tokenizers.Tokenizer): The tokenizer.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        alone, behind, self.mark = (one.ids for one in encode_each(backend, ("a", "\na", "\n")))
        self.marked = bool(self.mark) and behind[: len(self.mark)] == self.mark and behind[len(self.mark) :] != alone

    def read(self, text: str, begins: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text, and first character and one past the last of each.

        text (str): The text.
        begins (list[int]): Where its segments begin.
        """
        parts = [text[a:b] for a, b in zip(begins, [*begins[1:], len(text)], strict=True)]
        alone = encode_each(self.backend, parts)
        behind = encode_each(self.backend, [f"\n{part}" for part in parts[1:]]) if self.marked else []
        ids, offsets = list(alone[0].ids), list(alone[0].offsets)
        for i, begin in enumerate(begins[1:], start=1):
            read, skipped, first = alone[i], 0, begin
            if behind and behind[i - 1].ids[: len(self.mark)] == self.mark:
                read, skipped, first = behind[i - 1], len(self.mark), begin - 1
            ids += read.ids[skipped:]
            offsets += [(first + start, first + stop) for start, stop in read.offsets[skipped:]]
        return ids, offsets


def _align(doc: Doc, text: str, encoding: Any, segments: _Segments) -> PiecedDoc:
    table = doc.to_array([IDX, LENGTH, IS_SPACE]).astype(np.int64).reshape(-1, 3)
    token_starts, token_ends = table[:, 0], table[:, 0] + table[:, 1]
    read, offsets = encoding.ids, encoding.offsets
    starts, ends = _without_blanks(text, offsets)
    cuts: set[int] = set()
    # A piece that reaches over the end of a token ("25mg") would make its tokens look alike: cut the text there. The
    # rest of it is read as it stands.
    while crossed := _crossed(starts, ends, token_starts):
        cuts |= crossed
        read, offsets = segments.read(text, [0, *sorted(cuts)])
        starts, ends = _without_blanks(text, offsets)
    firsts = np.searchsorted(ends, token_starts, side="right")
    held = firsts < len(ends)
    held[held] = starts[firsts[held]] < token_ends[held]
    tokens = np.flatnonzero(held & (table[:, 2] == 0))
    breaks: list[int] = []
    if len(starts):
        places = [match.end() for match in SENTENCE_END.finditer(text)]
        breaks = sorted({int(i) for i in np.searchsorted(starts, places) if 0 < i < len(starts)})
    firsts, ids = firsts[tokens], np.asarray(read, dtype=np.int64)
    lasts = np.maximum(np.searchsorted(starts, token_ends[tokens]), firsts + 1)
    return PiecedDoc(ids, starts, ends, tokens, firsts, lasts, breaks)


def _without_blanks(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """First character and one past the last of each piece, without the blank that some tokenizers count in.

    text (str): The whole text.
    offsets (Sequence[tuple[int, int]]): The same with it.
    RETURNS (tuple[np.ndarray, np.ndarray]): Both of shape (pieces,).
    """
    table = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts, ends = table[:, 0].copy(), table[:, 1]
    for i in range(len(starts)):
        while starts[i] < ends[i] and text[starts[i]].isspace():
            starts[i] += 1
    return starts, ends


def _crossed(starts: np.ndarray, ends: np.ndarray, token_starts: np.ndarray) -> set[int]:
    """Beginnings of tokens that lie inside a piece."""
    first = np.searchsorted(token_starts, starts, side="right")
    last = np.searchsorted(token_starts, ends, side="left")
    return {int(token_starts[i]) for a, b in zip(first, last, strict=True) if a < b for i in range(a, b)}


class Specials:
    """The pieces that a model wants around one text or two, asked of its tokenizer once.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.pad = tokenizer.pad_token_id or 0
        # What the model saw in training is what the backend's post-processor does; ask it with any text.
        one = tokenizer.backend_tokenizer.encode("a")
        text = [i for i, special in enumerate(one.special_tokens_mask) if not special]
        self.before, self.after = one.ids[: text[0]], one.ids[text[-1] + 1 :]
        two = tokenizer.backend_tokenizer.encode("a", "a")
        second = [i for i, part in enumerate(two.sequence_ids) if part == 1]
        first = [i for i, part in enumerate(two.sequence_ids) if part == 0]
        self.between = two.ids[first[-1] + 1 : second[0]]
        # A second text has a segment of its own where the architecture knows segments.
        self.second_segment = two.type_ids[second[0]]

    @property
    def single(self) -> int:
        """How many special pieces stand around one text."""
        return len(self.before) + len(self.after)

    @property
    def pair(self) -> int:
        """How many special pieces stand around two texts."""
        return len(self.before) + len(self.between) + len(self.after)

    def wrap(self, ids: np.ndarray) -> np.ndarray:
        """Put the special pieces around one text.

        ids (np.ndarray): Pieces, shape (pieces,).
        RETURNS (np.ndarray): Pieces, shape (pieces + `single`,).
        """
        return np.concatenate([self.before, ids, self.after]).astype(np.int64)

    def wrap_pair(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Put the special pieces around and between two texts.

        first (np.ndarray): Pieces of the first text.
        second (np.ndarray): Pieces of the second.
        RETURNS (np.ndarray): Pieces, shape (pieces of both + `pair`,).
        """
        return np.concatenate([self.before, first, self.between, second, self.after]).astype(np.int64)


def by_budget(lengths: Sequence[int], budget: int, most: Optional[int] = None) -> Iterator[list[int]]:
    """Group sequences of like length, so that a padded batch holds about so many pieces.

    lengths (Sequence[int]): Length of each sequence.
    budget (int): Padded pieces in a batch; a longer sequence is a batch of its own.
    most (Optional[int]): Pieces in all batches; of more, sequences are drawn, see `draw`. None for all sequences.
    YIELDS (list[int]): Indexes into `lengths`, longest first.
    """
    batch: list[int] = []
    for i in sorted(draw(lengths, most), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def draw(
    lengths: Sequence[int],
    most: Optional[int],
    groups: Optional[Sequence[Any]] = None,
    order: Optional[np.ndarray] = None,
) -> list[int]:
    """Choose sequences.

    lengths (Sequence[int]): Length of each sequence.
    most (Optional[int]): Pieces that the chosen ones have at most, but for the first; None for all sequences.
    groups (Optional[Sequence[Any]]): See `in_turns_by_group`.
    order (Optional[np.ndarray]): The order in which they are chosen; that of `in_turns_by_group` if None.
    RETURNS (list[int]): Indexes into `lengths`.
    """
    if most is None or sum(lengths) <= most:
        return list(range(len(lengths)))
    order = in_turns_by_group(groups or [None] * len(lengths)) if order is None else order
    fit = int(np.searchsorted(np.cumsum(np.asarray(lengths)[order]), most, side="right"))
    return [int(i) for i in order[: max(fit, 1)]]


def in_turns_by_group(groups: Sequence[Any]) -> np.ndarray:
    """An order by chance, which follows torch's seed.

    groups (Sequence[Any]): What each thing belongs to: groups take turns, however many they are.
    RETURNS (np.ndarray): Indexes into `groups`.
    """
    import torch

    order = torch.randperm(len(groups)).numpy()
    rounds: Counter[Any] = Counter()
    turns = []
    for group in (groups[i] for i in order):
        turns.append(rounds[group])
        rounds[group] += 1
    return order[np.argsort(turns, kind="stable")]


def sample_unanswered(answered: Sequence[bool], share: Optional[float]) -> list[int]:
    """Choose questions to learn from: all that have an answer, and some that have none, by chance, which follows
    torch's seed.

    answered (Sequence[bool]): Whether each question has an answer.
    share (Optional[float]): How many without an answer for each with one, but one at least; None for all.
    RETURNS (list[int]): Indexes into `answered`, ascending.
    """
    import torch

    if share is None:
        return list(range(len(answered)))
    without = [i for i, has in enumerate(answered) if not has]
    most = max(round(share * (len(answered) - len(without))), 1)
    chosen = {without[i] for i in torch.randperm(len(without))[:most].tolist()}
    return [i for i, has in enumerate(answered) if has or i in chosen]


def pad(
    sequences: Iterable[np.ndarray], fill: int, device: Optional["torch.device"] = None
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Stack sequences of different length.

    sequences (Iterable[np.ndarray]): Integers, each of shape (length,).
    fill (int): What to fill up with.
    device (Optional[torch.device]): Where the result lies.
    RETURNS (tuple[torch.Tensor, torch.Tensor]): The integers and a mask of what is not filling, both of shape
        (sequences, greatest length), int64 and bool.
    """
    import torch

    rows = list(sequences)
    longest = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), longest), fill, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=bool)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
        mask[i, : len(row)] = True
    return torch.from_numpy(table).to(device), torch.from_numpy(mask).to(device)
