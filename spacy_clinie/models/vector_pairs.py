"""Relations over vectors of tokens: every candidate pair reads them through a few layers of attention of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import torch
from torch import nn

from . import pretrained
from .encoder import Part, gather
from .excerpts import MOST_NEARER, Excerpt, PairInput, Ranges, in_types, only_allowed, shared
from .vector_head import VectorHead
from .wordpieces import by_budget

# Layers of attention, and tokens that a candidate reads at most.
LAYERS, WINDOW = 2, 256
# Candidates and tokens in one pass; bounds memory.
BUDGET = 4096
# How far a token is from a concept, in tokens: at most so many.
_NEAR = (0, 1, 2, 4, 8, 16, 32)
# Factor of what a place adds to a score. Adam moves a weight by about the learning rate in each step: without the
# factor, no training of usual length could tell near tokens from far ones.
_PLACE = 10.0


class PairLayer(nn.Module):
    """Attention of candidates to tokens, and a feed-forward network (Vaswani et al. 2017, arXiv 1706.03762, normalized
    before each part). What a candidate attends to also depends on where a token lies.

    width (int): Width of the vectors.
    heads (int): Heads of attention.
    places (int): How many places a token can have.
    """

    def __init__(self, width: int, heads: int, places: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.memory, self.output = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.bias = nn.Embedding(places, heads)
        self.forth, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout()
        nn.init.zeros_(self.bias.weight)
        for last in (self.output, self.back):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, pairs: torch.Tensor, tokens: torch.Tensor, places: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Read tokens.

        pairs (torch.Tensor): States of the candidates, shape (rows, pairs, width).
        tokens (torch.Tensor): Vectors of the tokens, shape (rows, tokens, width).
        places (torch.Tensor): Place of each token for each candidate, shape (rows, pairs, tokens).
        mask (torch.Tensor): What is added to the scores of tokens, shape (rows, tokens).
        RETURNS (torch.Tensor): New states.
        """
        query = self._split(self.query(self.before(pairs)))
        key, value = map(self._split, self.memory(tokens).chunk(2, -1))
        bias = _PLACE * self.bias(places).permute(0, 3, 1, 2) + mask[:, None, None]
        read = nn.functional.scaled_dot_product_attention(query, key, value, bias)
        pairs = pairs + self.drop(self.output(read.transpose(1, 2).flatten(2)))
        return pairs + self.drop(self.back(nn.functional.gelu(self.forth(self.between(pairs)))))

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PairHead(nn.Module):
    """Scores for every relation of every candidate.

    width (int): Width of the vectors.
    kinds (int): Number of concept types.
    relations (int): Number of relation types.
    """

    def __init__(self, width: int, kinds: int, relations: int) -> None:
        super().__init__()
        heads = next(n for n in (width // 64, width // 32, 1) if n and width % n == 0)
        self.ends = nn.Linear(4 * width, width)
        # A vector for each type as head, and one as tail; and one for each number of nearer concepts, with the
        # partner behind or before.
        self.marks = nn.Embedding(2 * (kinds + 2 * (MOST_NEARER + 1)), width)
        self.types = nn.Embedding(kinds, width)
        self.layers = nn.ModuleList(PairLayer(width, heads, PLACES) for _ in range(LAYERS))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout()
        self.output = nn.Linear(width, 1 + relations)
        nn.init.normal_(self.marks.weight, std=0.1)
        nn.init.normal_(self.types.weight, std=0.1)

    def forward(
        self,
        tokens: torch.Tensor,
        types: torch.Tensor,
        ends: torch.Tensor,
        marks: torch.Tensor,
        places: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Score candidates.

        tokens (torch.Tensor): Vectors, shape (rows, tokens, width).
        types (torch.Tensor): Row, token and concept type of each token that a concept covers, shape (3, covered).
        ends (torch.Tensor): First and last token of head and tail, shape (rows, pairs, 4).
        marks (torch.Tensor): What is known of each, shape (rows, pairs, 4).
        places (torch.Tensor): See `PairLayer`.
        mask (torch.Tensor): See `PairLayer`.
        RETURNS (torch.Tensor): Shape (rows, pairs, 1 + relations).
        """
        tokens = tokens.index_put((types[0], types[1]), self.types(types[2]), accumulate=True)
        corners = gather(tokens, ends.flatten(1)).unflatten(1, ends.shape[1:]).flatten(2)
        pairs = self.ends(self.drop(corners)) + self.marks(marks).sum(2)
        for layer in self.layers:
            pairs = layer(pairs, tokens, places, mask)
        return self.output(self.drop(self.norm(pairs)))


class VectorPairs(VectorHead):
    """A `PairHead` over the vectors of tokens."""

    one_each = False
    head: PairHead

    def __init__(self, width: int, schema: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(width, schema, options)
        self.kinds, self.relations = list(schema["concepts"]), list(schema["relations"])
        self.device = pretrained.pick_device(options["device"])
        self.head = PairHead(width, len(self.kinds), len(self.relations)).to(self.device)

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        """Embeddings and the output layer as a head; the others as an encoder's last layer: attention learns badly at
        the higher rate of a head."""
        tables = [module for module in self.modules() if isinstance(module, nn.Embedding)]
        fast = [one for module in (self.head.output, *tables) for one in module.parameters()]
        known = {id(one) for one in fast}
        return [([one for one in self.parameters() if id(one) not in known], 0), (fast, None)]

    def parts(
        self, items: Sequence[PairInput], vectors: Sequence[torch.Tensor]
    ) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Score candidates.

        items (Sequence[PairInput]): The Docs and their candidates.
        vectors (Sequence[torch.Tensor]): See `VectorHead.parts`.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): Of shape (pairs, 1 + relation types that are looked for) for
            each, first "none"; what is not allowed scores next to nothing.
        RAISES (ClinieError): CIE315 for types that the model does not have.
        """
        known = [in_types(item, self.kinds, self.relations) for item in items]
        own = [item for item, _ in known]
        outputs = [np.full((len(item.pairs), 1 + len(columns)), np.nan, dtype=np.float32) for item, columns in known]
        ranges: dict[int, Ranges] = {}
        read: dict[int, np.ndarray] = {}  # whether each token was read
        excerpts = []
        for number, (item, rows) in enumerate(zip(own, vectors, strict=True)):
            if not item.pairs:
                continue
            places = ranges[number] = Ranges.of_tokens(item)
            there = read[number] = ~np.isnan(rows.detach().cpu().numpy()).any(-1)
            asked = [
                i
                for i in np.flatnonzero(item.allowed.any(1))
                if all(there[places.first[one]] and there[places.last[one] - 1] for one in item.pairs[i])
            ]
            part = item._replace(pairs=[item.pairs[i] for i in asked])
            for excerpt in shared(number, part, places, WINDOW) if asked else ():
                excerpt.pairs = [int(asked[i]) for i in excerpt.pairs]
                excerpts.append(excerpt)
        lengths = [len(one.pieces) + len(one.pairs) for one in excerpts]

        def parts() -> Iterator[Part]:
            for batch in by_budget(lengths, BUDGET):
                chosen = [excerpts[i] for i in batch]
                scores = only_allowed(self._scores(chosen, own, ranges, vectors, read), chosen, own)
                done, places = 0, []
                for excerpt in chosen:
                    rows = np.arange(done, done + len(excerpt.pairs))
                    wanted = np.append(0, 1 + known[excerpt.doc][1])
                    places.append((excerpt.doc, excerpt.pairs, (rows[:, None], wanted[None])))
                    done += len(rows)
                yield Part(scores, places)

        return outputs, parts()

    def _scores(
        self,
        batch: list[Excerpt],
        items: Sequence[PairInput],
        ranges: Mapping[int, Ranges],
        vectors: Sequence[torch.Tensor],
        read: Mapping[int, np.ndarray],
    ) -> torch.Tensor:
        longest, most = max(len(one.pieces) for one in batch), max(len(one.pairs) for one in batch)
        tokens = torch.zeros(len(batch), longest, self.width, device=self.device)
        seen = np.zeros((len(batch), longest), dtype=bool)
        ends, marks = (np.zeros((len(batch), most, 4), dtype=np.int64) for _ in range(2))
        places = np.zeros((len(batch), most, longest), dtype=np.int64)
        covered = [np.zeros((3, 0), dtype=np.int64)]
        for row, excerpt in enumerate(batch):
            item, own, pieces = items[excerpt.doc], ranges[excerpt.doc], excerpt.pieces
            rows = vectors[excerpt.doc][torch.from_numpy(pieces)]
            there = read[excerpt.doc][pieces]
            tokens[row, : len(pieces)] = rows if there.all() else rows.nan_to_num(0.0)
            seen[row, : len(pieces)] = there & (rows.detach() != 0).any(-1).cpu().numpy()
            pairs = np.array([item.pairs[i] for i in excerpt.pairs])
            first = np.searchsorted(pieces, own.first[pairs])
            last = np.maximum(np.searchsorted(pieces, own.last[pairs]), first + 1)
            ends[row, : len(pairs)] = np.stack([first, last - 1], -1).reshape(-1, 4).clip(max=len(pieces) - 1)
            types = np.array(item.kinds)
            nearer = own.nearer(pairs, types).clip(max=MOST_NEARER)
            inside = np.flatnonzero((types >= 0) & (own.last > pieces[0]) & (own.first <= pieces[-1]))
            for kind, start, stop in sorted({(types[i], own.first[i], own.last[i]) for i in inside.tolist()}):
                found = np.flatnonzero((pieces >= start) & (pieces < stop))
                covered.append(np.stack([np.full_like(found, row), found, np.full_like(found, kind)]))
            known = 2 * types[pairs] + [0, 1]
            nearer = 2 * (len(self.kinds) + nearer) + (first > first[:, ::-1])
            nearer[:, 1] += 2 * (MOST_NEARER + 1)
            marks[row, : len(pairs)] = np.concatenate([known, nearer], -1)
            places[row, : len(pairs), : len(pieces)] = _places(len(pieces), first, last)
        there, counts = torch.from_numpy(seen).to(self.device), [len(one.pairs) for one in batch]
        mask = torch.zeros(seen.shape, device=self.device).masked_fill(~there, torch.finfo(torch.float16).min)
        inputs = (torch.from_numpy(one).to(self.device) for one in (np.concatenate(covered, 1), ends, marks, places))
        scores = self.head(tokens, *inputs, mask)
        real = torch.arange(most, device=self.device) < torch.tensor(counts, device=self.device)[:, None]
        return scores[real]


# Places of a token: its distance from the head, before it or behind it, times the same for the tail.
_SIDES = 2 * len(_NEAR) + 1
PLACES = _SIDES**2


def _places(length: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Where tokens lie with regard to head and tail.

    length (int): Number of tokens.
    first (np.ndarray): First token of head and tail, shape (pairs, 2).
    last (np.ndarray): One past the last, shape (pairs, 2).
    RETURNS (np.ndarray): Shape (pairs, tokens), below `PLACES`.
    """
    token = np.arange(length)[None, None]
    before, behind = first[..., None] - token, token - last[..., None] + 1
    gap = np.maximum(np.maximum(before, behind), 0)
    steps = np.searchsorted(_NEAR, gap, side="left")
    place = np.where(before > 0, len(_NEAR) - steps.clip(max=len(_NEAR)), len(_NEAR) + steps.clip(max=len(_NEAR)))
    return place[:, 0] * _SIDES + place[:, 1]
