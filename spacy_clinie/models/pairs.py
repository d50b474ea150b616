"""Relations by classifying candidate pairs of concepts.

Markers carry the types of head and tail. They are vectors of the head, not words of the vocabulary: the tokenizer stays
as it is, and adapters stay small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Optional, cast

import numpy as np
import torch
from torch import nn

from ..errors import ClinieError
from .encoder import MASKS, EncoderWithHead, Part, gather
from .excerpts import (
    MOST_NEARER,
    Excerpt,
    PairInput,
    Ranges,
    in_types,
    mark_places,
    one_each,
    only_allowed,
    shared,
)
from .wordpieces import PiecedDoc, draw, make_pieces, pad


class Read(NamedTuple):
    """Docs as the models read them: their candidates, their word pieces, and where the one lies in the other."""

    items: Sequence[PairInput]
    pieced: Sequence[PiecedDoc]
    ranges: Sequence[Ranges]


class PairModule(EncoderWithHead):
    """What all architectures share. A subclass says how excerpts are made, marked and classified."""

    # Whether an excerpt has one candidate, so that `PairInput.turns` can say which are read.
    one_each = False

    def prepare(self) -> None:
        self.kinds = list(self.schema["concepts"])
        self.relations = list(self.schema["relations"])

    def own(self, item: PairInput) -> tuple[PairInput, np.ndarray]:
        """A Doc in the types that this model was trained on, see `in_types`."""
        return in_types(item, self.kinds, self.relations)

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        raise NotImplementedError

    def classify(self, batch: list[Excerpt], read: Read) -> torch.Tensor:
        """Score the candidates of some excerpts.

        batch (list[Excerpt]): The excerpts.
        read (Read): All Docs.
        RETURNS (torch.Tensor): Shape (candidates in the order of the excerpts, 1 + relations); first "none".
        """
        raise NotImplementedError

    def parts(self, items: Sequence[PairInput]) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Score candidates.

        items (Sequence[PairInput]): The Docs and their candidates.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): Of shape (pairs, 1 + relation types that are looked for) for
            each, first "none"; what is not allowed scores next to nothing.
        RAISES (ClinieError): CIE315 for types that the model does not have.
        """
        read, columns = self._read(items)
        outputs = [
            np.full((len(item.pairs), 1 + len(own)), np.nan, dtype=np.float32)
            for item, own in zip(items, columns, strict=True)
        ]
        # Of candidates that nothing is asked about, nothing is read.
        asked = [np.flatnonzero(item.allowed.any(1)) for item in read.items]

        def parts() -> Iterator[Part]:
            for batch in self._batches(self._excerpts(read, asked), read):
                scores = only_allowed(self.classify(batch, read), batch, read.items)
                places, done = [], 0
                for excerpt in batch:
                    rows = np.arange(done, done + len(excerpt.pairs))
                    wanted = np.append(0, 1 + columns[excerpt.doc])
                    places.append((excerpt.doc, excerpt.pairs, (rows[:, None], wanted[None])))
                    done += len(rows)
                yield Part(scores, places)

        return outputs, parts()

    def _read(self, items: Sequence[PairInput]) -> tuple[Read, list[np.ndarray]]:
        """Docs in the model's own types, and the index of each relation type that is looked for in them."""
        known = [self.own(item) for item in items]
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        ranges = [Ranges(item, own.starts, own.ends) for item, own in zip(items, pieced, strict=True)]
        return Read([item for item, _ in known], pieced, ranges), [columns for _, columns in known]

    def _excerpts(self, read: Read, asked: Sequence[np.ndarray]) -> list[Excerpt]:
        """Excerpts for the candidates of some numbers. In training, no more than a step may read."""
        excerpts = []
        for number, (item, ranges, own) in enumerate(zip(read.items, read.ranges, asked, strict=True)):
            if not len(own):
                continue
            part = item._replace(pairs=[item.pairs[i] for i in own], allowed=item.allowed[own])
            for excerpt in self.excerpts(number, part, ranges):
                excerpts.append(replace(excerpt, pairs=[int(own[i]) for i in excerpt.pairs]))
        if not self.training:
            return excerpts
        order = None
        if self.one_each and all(item.turns is not None for item in read.items):
            turns = [cast(np.ndarray, read.items[one.doc].turns)[one.pairs[0]] for one in excerpts]
            order = np.argsort(turns, kind="stable")
        return [excerpts[i] for i in draw(self._lengths(excerpts, read), self.options["step_pieces"], order=order)]

    def _lengths(self, excerpts: Sequence[Excerpt], read: Read) -> list[int]:
        return [self.length(excerpt, read.items[excerpt.doc]) for excerpt in excerpts]

    def _batches(self, excerpts: Sequence[Excerpt], read: Read) -> Iterator[list[Excerpt]]:
        """Excerpts that are read together."""
        return self.batches(excerpts, self._lengths(excerpts, read))

    def length(self, excerpt: Excerpt, item: PairInput) -> int:  # noqa: ARG002
        """How many pieces and markers the encoder reads."""
        return len(excerpt.pieces) + 2 * len(excerpt.concepts)


class MarkedPairs(PairModule):
    """Every candidate in an excerpt of its own, with markers around head and tail (published method, see
    `architectures.marked_pairs`)."""

    one_each = True

    def build_head(self) -> nn.Module:
        output = nn.Sequential(nn.Dropout(), nn.Linear(5 * self.width, 1 + len(self.relations)))
        return nn.ModuleDict({"markers": self._make_markers(), "output": output})

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        return one_each(number, item, ranges, self.window_size(self.specials.single))

    def classify(self, batch: list[Excerpt], read: Read) -> torch.Tensor:
        sequences, positions = [], []
        for excerpt in batch:
            item = read.items[excerpt.doc]
            head, tail = item.pairs[excerpt.pairs[0]]
            markers = []
            for concept in excerpt.concepts:
                base = 4 * item.kinds[concept] + (0 if concept == head else 2)
                markers.append((base, base + 1))
            ids, places = self._insert_markers(excerpt, read, markers)
            order = [excerpt.concepts.index(head), excerpt.concepts.index(tail)]
            sequences.append(ids)
            positions.append(np.concatenate([[0], places[order].ravel()]))
        vectors = self.encode(sequences, markers=self.head["markers"])
        chosen = gather(vectors, torch.from_numpy(np.stack(positions)).to(self.device))
        return self.head["output"](chosen.flatten(1))

    def _make_markers(self) -> nn.Embedding:
        """A vector for each marker, to begin with near those of the words in the name of its type."""
        words = self.encoder.get_input_embeddings().weight.detach()
        markers = nn.Embedding(4 * len(self.kinds), words.shape[1])
        spread = words.std().item()
        with torch.no_grad():
            for i, kind in enumerate(self.kinds):
                name = kind.replace("_", " ").replace("-", " ")
                ids = self.tokenizer.backend_tokenizer.encode(name, add_special_tokens=False).ids
                rows = markers.weight[4 * i : 4 * i + 4]
                rows.normal_(0.0, spread)
                if ids:
                    rows += words[ids].mean(0)
        return markers

    def _insert_markers(
        self, excerpt: Excerpt, read: Read, markers: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put markers around concepts.

        excerpt (Excerpt): The excerpt.
        read (Read): All Docs.
        markers (Sequence[tuple[int, int]]): Opening and closing marker of each of `excerpt.concepts`.
        RETURNS (tuple[np.ndarray, np.ndarray]): Ids, special pieces included, marker `m` as -1 - m; and the
            positions of each concept's two markers, shape (concepts, 2).
        """
        ids, places, done = [], np.zeros((len(excerpt.concepts), 2), dtype=np.int64), 0
        text = read.pieced[excerpt.doc].ids[excerpt.pieces]
        length = len(self.specials.before)
        kinds = [begin for begin, _ in markers]
        for at, i, side in mark_places(excerpt, read.ranges[excerpt.doc], kinds):
            ids += [text[done:at], np.array([-1 - markers[i][side]])]
            length += at - done
            places[i, side] = length
            length, done = length + 1, at
        return self.specials.wrap(np.concatenate([*ids, text[done:]])), places


class OnePass(PairModule):
    """All candidates of a window in one pass: each has two levitated markers, for its head and its tail (PURE and
    PL-Marker, arXiv 2010.12812 and 2109.06067). Ours also have the words of their concept, and how many other concepts
    of its type stand nearer to its partner."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._find_mask()

    def build_head(self) -> nn.Module:
        output = nn.Sequential(nn.Dropout(), nn.Linear(7 * self.width, 1 + len(self.relations)))
        return nn.ModuleDict({"markers": self._make_markers(), "output": output})

    def _make_markers(self) -> nn.Embedding:
        """A vector for each type as head, and one as tail: small, as it is added to words. And one for each number of
        nearer concepts, with the partner behind or before, to begin with nothing."""
        words, kinds = self.encoder.get_input_embeddings().weight.detach(), 2 * len(self.kinds)
        markers = nn.Embedding(kinds + 2 * (MOST_NEARER + 1), words.shape[1])
        with torch.no_grad():
            markers.weight[:kinds].normal_(std=0.3 * words.std().item())
            markers.weight[kinds:].zero_()
        return markers

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        return [
            Excerpt(number, one.pieces, one.pairs[at : at + MOST_TOGETHER], one.concepts)
            for one in shared(number, item, ranges, self.window_size(self.specials.single))
            for at in range(0, len(one.pairs), MOST_TOGETHER)
        ]

    def length(self, excerpt: Excerpt, item: PairInput) -> int:  # noqa: ARG002
        return len(excerpt.pieces) + 2 * len(excerpt.pairs)

    def classify(self, batch: list[Excerpt], read: Read) -> torch.Tensor:
        sequences, levitated = [], []
        for excerpt in batch:
            item, ranges = read.items[excerpt.doc], read.ranges[excerpt.doc]
            sequences.append(self.specials.wrap(read.pieced[excerpt.doc].ids[excerpt.pieces]))
            concepts = np.array([item.pairs[i] for i in excerpt.pairs])
            first = np.searchsorted(excerpt.pieces, ranges.first[concepts])
            last = np.maximum(np.searchsorted(excerpt.pieces, ranges.last[concepts]), first)
            types = np.array(item.kinds)
            nearer = ranges.nearer(concepts, types).clip(max=MOST_NEARER)
            kinds = 2 * types[concepts] + [0, 1]
            places = 2 * (len(self.kinds) + nearer) + (first > first[:, ::-1])
            before = len(self.specials.before)
            levitated.append(np.stack([first + before, last + before, kinds, places], -1).reshape(-1, 4))
        words, read_on = self.encode_levitated(sequences, levitated, self.head["markers"])
        ends, real = pad([(own[:, :2] - [0, 1]).clip(0).ravel() for own in levitated], 0, self.device)
        pairs = len(levitated), ends.shape[1] // 4
        corners = gather(words, ends.clamp(max=words.shape[1] - 1)).view(*pairs, -1)
        start = words[:, :1].expand(-1, pairs[1], -1)
        state = torch.cat([read_on.reshape(*pairs, -1), corners, start], -1)
        return self.head["output"](state[real[:, ::4]])

    def _find_mask(self) -> None:
        """Find the form of mask with which the encoder reads levitated markers as `encode_levitated` says, by trying:
        some encoders take a mask and ignore it.

        RAISES (ClinieError): CIE314 if there is none.
        """
        if "sliding_attention" in (getattr(self.encoder.config, "layer_types", None) or ()):
            # A mask of ours would take the place of theirs, and those layers would see everything.
            raise ClinieError("CIE314", encoder=self.options["encoder"], problem="some of its layers see few positions")
        was_training = self.encoder.training
        self.encoder.eval()
        problem: Optional[str] = None
        for mask in MASKS:
            self.mask = mask
            try:
                problem = None if self._heeds_mask() else "it does not heed who sees whom"
            except (TypeError, ValueError, RuntimeError, IndexError) as error:
                problem = type(error).__name__
            if problem is None:
                break
        self.encoder.train(was_training)
        if problem is not None:
            raise ClinieError("CIE314", encoder=self.options["encoder"], problem=problem)

    def _heeds_mask(self) -> bool:
        markers = nn.Embedding(2, self.encoder.get_input_embeddings().weight.shape[1]).to(self.device)
        words = np.full(8, self.specials.pad + 1)
        other = np.where(np.arange(8) < 7, words, self.specials.pad + 2)
        head, tail = [1, 2, 0], [3, 5, 1]

        def read(ids: np.ndarray, *levitated: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            vectors, own = self.encode_levitated([self.specials.wrap(ids)], [np.array(levitated)], markers)
            return vectors, own[:, 0]

        with torch.inference_mode():
            seen, marker = read(words, head, tail)
            beside = read(words, head, tail, [4, 5, 0], [6, 7, 1])
            changed = [read(words, [2, 3, 0], tail), read(words, head, [3, 5, 0]), read(other, head, tail)]
        noise = max((seen - beside[0]).abs().max(), (marker - beside[1]).abs().max())
        return bool(min((marker - own).abs().max() for _, own in changed) > 10 * noise)


# Candidates in one pass; bounds memory, which grows with their square.
MOST_TOGETHER = 128
