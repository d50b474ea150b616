"""Relations by classifying candidate pairs of concepts.

Concepts stand between markers that carry their type. Markers are vectors of the head, not words of the vocabulary:
the tokenizer stays as it is, and adapters stay small.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from .encoder import EncoderModule, gather
from .excerpts import Excerpt, PairInput, Ranges, mark_places, one_each, shared
from .pieces import PiecedDoc, by_budget, make_pieces

_NEVER = -1e4


class _Read(NamedTuple):
    """Docs as the models read them: their candidates, their word pieces, and where the one lies in the other."""

    items: Sequence[PairInput]
    pieced: Sequence[PiecedDoc]
    ranges: Sequence[Ranges]


class PairModule(EncoderModule):
    """What both architectures share. A subclass says how excerpts are made, marked and classified."""

    # How many pairs of markers a concept type has: one, or one as head and one as tail.
    roles: int

    def prepare(self) -> None:
        self.kinds = list(self.schema["concepts"])
        self.relations = list(self.schema["relations"])

    def make_markers(self) -> nn.Embedding:
        """A vector for each marker, to begin with near those of the words in the name of its type."""
        words = self.encoder.get_input_embeddings().weight.detach()
        markers = nn.Embedding(2 * self.roles * len(self.kinds), words.shape[1])
        spread = words.std().item()
        with torch.no_grad():
            for i, kind in enumerate(self.kinds):
                name = kind.replace("_", " ").replace("-", " ")
                ids = self.tokenizer.backend_tokenizer.encode(name, add_special_tokens=False).ids
                rows = markers.weight[i * 2 * self.roles : (i + 1) * 2 * self.roles]
                rows.normal_(0.0, spread)
                if ids:
                    rows += words[ids].mean(0)
        return markers

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        raise NotImplementedError

    def classify(self, batch: list[Excerpt], read: _Read) -> torch.Tensor:
        """Score the candidates of some excerpts.

        batch (list[Excerpt]): The excerpts.
        read (_Read): All Docs.
        RETURNS (torch.Tensor): Shape (candidates in the order of the excerpts, 1 + relations); first "none".
        """
        raise NotImplementedError

    def learn(self, items: Sequence[PairInput], gold: Sequence[np.ndarray]) -> float:
        """Add the gradient of a batch.

        items (Sequence[PairInput]): The Docs and their candidates.
        gold (Sequence[np.ndarray]): For each Doc the answer for each candidate: 0 for none, else 1 + relation.
        RETURNS (float): Loss for each candidate.
        """
        read = self._read(items)

        def losses() -> Iterator[torch.Tensor]:
            for batch in self._batches(read):
                answers = np.concatenate([gold[excerpt.doc][excerpt.pairs] for excerpt in batch])
                scores = self._masked(self.classify(batch, read), batch, items)
                yield nn.functional.cross_entropy(scores, torch.from_numpy(answers).to(self.device), reduction="sum")

        return self.accumulate(losses(), sum(len(item.pairs) for item in items))

    def predict(self, items: Sequence[PairInput]) -> list[np.ndarray]:
        """Classify candidates.

        items (Sequence[PairInput]): The Docs and their candidates.
        RETURNS (list[np.ndarray]): For each Doc probabilities, shape (pairs, 1 + relations); first "none".
        """
        self.eval()
        read = self._read(items)
        answers = [np.zeros((len(item.pairs), 1 + len(self.relations)), dtype=np.float32) for item in items]
        with torch.inference_mode():
            for batch in self._batches(read):
                scores = self._masked(self.classify(batch, read), batch, items)
                rows = scores.softmax(-1).cpu().numpy()
                at = 0
                for excerpt in batch:
                    answers[excerpt.doc][excerpt.pairs] = rows[at : at + len(excerpt.pairs)]
                    at += len(excerpt.pairs)
        return answers

    def _masked(self, scores: torch.Tensor, batch: list[Excerpt], items: Sequence[PairInput]) -> torch.Tensor:
        """Leave only the relations that the schema allows, and none."""
        allowed = np.concatenate([items[excerpt.doc].allowed[excerpt.pairs] for excerpt in batch])
        never = torch.from_numpy(np.pad(~allowed, ((0, 0), (1, 0)))).to(scores.device)
        return scores.float().masked_fill(never, _NEVER)

    def _read(self, items: Sequence[PairInput]) -> _Read:
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        return _Read(items, pieced, [Ranges(item, own) for item, own in zip(items, pieced, strict=True)])

    def _batches(self, read: _Read) -> Iterator[list[Excerpt]]:
        excerpts = [
            excerpt
            for number, (item, ranges) in enumerate(zip(read.items, read.ranges, strict=True))
            if item.pairs
            for excerpt in self.excerpts(number, item, ranges)
        ]
        lengths = [len(excerpt.pieces) + 2 * len(excerpt.concepts) for excerpt in excerpts]
        for batch in by_budget(lengths, self.options["batch_pieces"]):
            yield [excerpts[i] for i in batch]

    def insert_markers(
        self, excerpt: Excerpt, read: _Read, markers: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put markers around concepts.

        excerpt (Excerpt): The excerpt.
        read (_Read): All Docs.
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


class MarkedPairs(PairModule):
    """Every candidate in an excerpt of its own, with markers around head and tail (published method, see
    `architectures.marked_pairs`)."""

    roles = 2

    def build_head(self) -> nn.Module:
        output = nn.Sequential(nn.Dropout(self.options["dropout"]), nn.Linear(5 * self.width, 1 + len(self.relations)))
        return nn.ModuleDict({"markers": self.make_markers(), "output": output})

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        return one_each(number, item, ranges, self.window_size(self.specials.single))

    def classify(self, batch: list[Excerpt], read: _Read) -> torch.Tensor:
        sequences, positions = [], []
        for excerpt in batch:
            item = read.items[excerpt.doc]
            head, tail = item.pairs[excerpt.pairs[0]]
            markers = []
            for concept in excerpt.concepts:
                base = 4 * item.kinds[concept] + (0 if concept == head else 2)
                markers.append((base, base + 1))
            ids, places = self.insert_markers(excerpt, read, markers)
            order = [excerpt.concepts.index(head), excerpt.concepts.index(tail)]
            sequences.append(ids)
            positions.append(np.concatenate([[0], places[order].ravel()]))
        vectors = self.encode(sequences, markers=self.head["markers"])
        chosen = gather(vectors, torch.from_numpy(np.stack(positions)).to(self.device))
        return self.head["output"](chosen.flatten(1))


class OnePass(PairModule):
    """All candidates of a window in one pass: every concept between its markers, and each candidate looks at the window
    by itself, from its two concepts."""

    roles = 1

    def build_head(self) -> nn.Module:
        layers = [PairAttention(self.width, self.options["dropout"]) for _ in range(self.options["layers"])]
        return nn.ModuleDict(
            {
                "markers": self.make_markers(),
                "ends": nn.Linear(4 * self.width, self.width),
                "layers": nn.ModuleList(layers),
                "output": nn.Sequential(
                    nn.LayerNorm(5 * self.width),
                    nn.Dropout(self.options["dropout"]),
                    nn.Linear(5 * self.width, self.width),
                    nn.GELU(),
                    nn.Dropout(self.options["dropout"]),
                    nn.Linear(self.width, 1 + len(self.relations)),
                ),
            }
        )

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        return shared(number, item, ranges, self.window_size(self.specials.single))

    def classify(self, batch: list[Excerpt], read: _Read) -> torch.Tensor:
        sequences, ends = [], []
        for excerpt in batch:
            item = read.items[excerpt.doc]
            markers = [(2 * item.kinds[concept], 2 * item.kinds[concept] + 1) for concept in excerpt.concepts]
            ids, places = self.insert_markers(excerpt, read, markers)
            slot = {concept: i for i, concept in enumerate(excerpt.concepts)}
            pairs = np.array([[slot[c] for c in item.pairs[i]] for i in excerpt.pairs])
            sequences.append(ids)
            ends.append(places[pairs].reshape(len(pairs), 4))
        vectors = self.encode(sequences, markers=self.head["markers"])
        lengths = torch.tensor([len(ids) for ids in sequences], device=self.device)
        most = max(len(rows) for rows in ends)
        table = np.zeros((len(ends), most, 4), dtype=np.int64)
        for i, rows in enumerate(ends):
            table[i, : len(rows)] = rows
        marks = torch.from_numpy(table).to(self.device)
        real = (
            torch.arange(most, device=self.device) < torch.tensor([len(r) for r in ends], device=self.device)[:, None]
        )
        corners = gather(vectors, marks.flatten(1)).view(len(ends), most, 4 * self.width)
        state = self.head["ends"](corners)
        zones = _zones(marks, vectors.shape[1])
        padding = torch.arange(vectors.shape[1], device=self.device) >= lengths[:, None]
        for layer in self.head["layers"]:
            state = layer(state, vectors, zones, padding)
        return self.head["output"](torch.cat([corners, state], -1)[real])


class PairAttention(nn.Module):
    """Lets each candidate look at the words of its window (attention as in Vaswani et al. 2017, arXiv 1706.03762),
    with a bias for where a word stands: before, in the first concept, between, in the second, behind.

    width (int): Width of the vectors.
    dropout (float): Dropout.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = max(1, width // 64)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.zone = nn.Linear(width, ZONES * self.heads)
        self.mix = nn.Linear(width, width)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(
        self, state: torch.Tensor, words: torch.Tensor, zones: torch.Tensor, padding: torch.Tensor
    ) -> torch.Tensor:
        """One round.

        state (torch.Tensor): Candidates, shape (windows, candidates, width).
        words (torch.Tensor): Words, shape (windows, length, width).
        zones (torch.Tensor): Zone of each word for each candidate, shape (windows, candidates, length).
        padding (torch.Tensor): Which words are filling, shape (windows, length).
        RETURNS (torch.Tensor): Candidates, shape (windows, candidates, width).
        """
        windows, candidates, width = state.shape
        normal = self.before(state)
        query = self.query(normal).view(windows, candidates, self.heads, -1).transpose(1, 2)
        key, value = (
            part.view(windows, -1, self.heads, width // self.heads).transpose(1, 2)
            for part in self.key_value(words).chunk(2, -1)
        )
        bias = self.zone(normal).view(windows, candidates, self.heads, ZONES).transpose(1, 2)
        bias = bias.gather(-1, zones[:, None].expand(-1, self.heads, -1, -1))
        bias = bias.masked_fill(padding[:, None, None], _NEVER)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        state = state + self.mix(seen.transpose(1, 2).reshape(windows, candidates, width))
        return state + self.feed(self.between(state))


ZONES = 7


def _zones(places: torch.Tensor, length: int) -> torch.Tensor:
    """Where each position stands to two concepts: outside, in the head, in the tail or between, by their order.

    places (torch.Tensor): Opening and closing marker of head and tail, shape (windows, candidates, 4).
    length (int): Positions of a window.
    RETURNS (torch.Tensor): 0 to 6, shape (windows, candidates, length).
    """
    position = torch.arange(length, device=places.device)
    head_open, head_close, tail_open, tail_close = (place[..., None] for place in places.unbind(-1))
    in_head = (position >= head_open) & (position <= head_close)
    in_tail = (position >= tail_open) & (position <= tail_close)
    before = position < torch.minimum(head_open, tail_open)
    behind = position > torch.maximum(head_close, tail_close)
    head_first = (head_open <= tail_open).expand_as(before)
    zones = torch.where(head_first, 0, 1)  # between
    zones = torch.where(before, torch.where(head_first, 2, 3), zones)
    zones = torch.where(behind, torch.where(head_first, 3, 2), zones)
    zones = torch.where(in_tail, 5, zones)
    return torch.where(in_head, torch.where(in_tail, 6, 4), zones)
