"""Concepts by tagging: a chain of BIOLU tags for each concept type, over vectors of tokens."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from spacy.tokens import Doc
from torch import nn

from ..windows import Window
from . import chain
from .encoder import EncoderModule, gather
from .pieces import PiecedDoc, by_budget, make_pieces, pad

# First token, one past the last, index of the concept type.
GoldSpan = tuple[int, int, int]


class TagHead(nn.Module):
    """Scores for every tag of every concept type.

    width (int): Width of the vectors.
    kinds (int): Number of concept types.
    crf (bool): Train whole paths (CRF); otherwise each tag by itself (softmax).
    dropout (float): Dropout before the last layer.
    """

    def __init__(self, width: int, kinds: int, crf: bool, dropout: float) -> None:
        super().__init__()
        self.kinds, self.crf = kinds, crf
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(width, kinds * chain.TAGS)
        # Nearly every tag is O: begin there, or the first steps are spent on learning it.
        with torch.no_grad():
            self.output.bias.zero_().view(kinds, chain.TAGS)[:, chain.O] = 3.0

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Score tags.

        vectors (torch.Tensor): Shape (..., width).
        RETURNS (torch.Tensor): Shape (..., kinds, TAGS), fp32.
        """
        scores = self.output(self.drop(vectors)).float()
        return scores.view(*scores.shape[:-1], self.kinds, chain.TAGS)

    def loss(self, vectors: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
        """Loss of gold tags, summed over units and types.

        vectors (torch.Tensor): Shape (windows, units, width).
        tags (torch.Tensor): Shape (windows, units, kinds).
        mask (torch.Tensor): Which units are there, shape (windows, units).
        cut (torch.Tensor): Whether the text goes on before and behind a window, shape (windows, 2).
        RETURNS (torch.Tensor): A scalar.
        """
        scores = self(vectors)
        if not self.crf:
            return nn.functional.cross_entropy(scores[mask].flatten(0, 1), tags[mask].flatten(), reduction="sum")
        windows, units = mask.shape
        return chain.crf_loss(
            scores.transpose(1, 2).reshape(windows * self.kinds, units, chain.TAGS),
            tags.transpose(1, 2).reshape(windows * self.kinds, units),
            mask.repeat_interleave(self.kinds, 0),
            cut.repeat_interleave(self.kinds, 0),
        )


class _Item(NamedTuple):
    """A window of a Doc: which units it answers for, and where their first pieces lie in it."""

    doc: int
    window: Window
    first_unit: int
    last_unit: int
    ids: np.ndarray
    positions: np.ndarray


class EncoderTagger(EncoderModule):
    """An encoder with a `TagHead`, over windows of whole notes."""

    def build_head(self) -> nn.Module:
        kinds = len(self.schema["concepts"])
        return TagHead(self.width, kinds, self.options["head"] == "crf", self.options["dropout"])

    def learn(self, docs: Sequence[Doc], gold: Sequence[list[GoldSpan]]) -> float:
        """Add the gradient of a batch.

        docs (Sequence[Doc]): The Docs.
        gold (Sequence[list[GoldSpan]]): Concepts of each Doc by tokens.
        RETURNS (float): Loss for each unit.
        """
        pieced = make_pieces(docs, self.tokenizer)
        tags = [
            chain.encode(len(doc.tokens), self.head.kinds, to_units(doc, spans))
            for doc, spans in zip(pieced, gold, strict=True)
        ]

        def losses() -> Iterator[torch.Tensor]:
            for batch in self._batches(pieced):
                answers, mask = [], None
                vectors = self._unit_vectors(batch)
                answers = [tags[item.doc][item.first_unit : item.last_unit] for item in batch]
                _, mask = pad([item.positions for item in batch], 0, self.device)
                table = np.zeros((*mask.shape, self.head.kinds), dtype=np.int64)
                for i, answer in enumerate(answers):
                    table[i, : len(answer)] = answer
                cut = [[item.first_unit > 0, item.last_unit < len(pieced[item.doc].tokens)] for item in batch]
                yield self.head.loss(
                    vectors, torch.from_numpy(table).to(self.device), mask, torch.tensor(cut, device=self.device)
                )

        return self.accumulate(losses(), sum(len(doc.tokens) for doc in pieced))

    def predict(self, docs: Sequence[Doc]) -> list[list[tuple[int, int, int, float]]]:
        """Find concepts.

        docs (Sequence[Doc]): The Docs.
        RETURNS (list[list[tuple[int, int, int, float]]]): For each Doc first token, one past the last, index of the
            type, score.
        """
        self.eval()
        pieced = make_pieces(docs, self.tokenizer)
        scores = [np.zeros((len(doc.tokens), self.head.kinds, chain.TAGS), dtype=np.float32) for doc in pieced]
        with torch.inference_mode():
            for batch in self._batches(pieced):
                rows = self.head(self._unit_vectors(batch)).cpu().numpy()
                for item, row in zip(batch, rows, strict=True):
                    scores[item.doc][item.first_unit : item.last_unit] = row[: len(item.positions)]
        found = chain.decode(scores, self.options["threshold"])
        return [to_tokens(doc.tokens, own) for doc, own in zip(pieced, found, strict=True)]

    def _batches(self, pieced: Sequence[PiecedDoc]) -> Iterator[list[_Item]]:
        size = self.window_size(self.specials.single)
        items = []
        for i, doc in enumerate(pieced):
            for window in doc.windows(size, min(self.options["overlap"], (size - 1) // 2)):
                first, last = np.searchsorted(doc.firsts, [window.own_start, window.own_stop])
                if first < last:
                    positions = doc.firsts[first:last] - window.start + len(self.specials.before)
                    ids = self.specials.wrap(doc.ids[window.start : window.stop])
                    items.append(_Item(i, window, int(first), int(last), ids, positions))
        for batch in by_budget([len(item.ids) for item in items], self.options["batch_pieces"]):
            yield [items[i] for i in batch]

    def _unit_vectors(self, batch: list[_Item]) -> torch.Tensor:
        vectors = self.encode(item.ids for item in batch)
        return gather(vectors, pad([item.positions for item in batch], 0, self.device)[0])


def to_units(doc: PiecedDoc, spans: Sequence[GoldSpan]) -> list[GoldSpan]:
    """Gold spans by units. One that covers no unit (blanks only) cannot be learnt and is left out."""
    found = []
    for start, end, kind in spans:
        first, last = np.searchsorted(doc.tokens, [start, end])
        if first < last:
            found.append((int(first), int(last), kind))
    return found


def to_tokens(tokens: np.ndarray, found: Sequence[chain.Found]) -> list[tuple[int, int, int, float]]:
    """Spans of units by tokens."""
    return [(int(tokens[f.start]), int(tokens[f.stop - 1]) + 1, f.kind, f.score) for f in found]
