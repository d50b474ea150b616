"""Concepts by asking: machine reading comprehension with an encoder (Li et al. 2020, arXiv 1910.11476).

The input is a question of the schema and a window of text. Every piece gets a logit for being a start and one for being
an end, and every pair of a start and an end one for being a concept. What has all three above a threshold is an answer,
so nested concepts come out by themselves.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from .encoder import EncoderModule, gather
from .tagger import GoldSpan, to_units
from .wordpieces import PiecedDoc, Sought, encode_each, make_pieces, pad, thin_out

# Weights of the three losses: starts, ends, spans.
_WEIGHTS = (1.0, 1.0, 0.1)


class SpanHead(nn.Module):
    """Logits for starts, ends and spans.

    width (int): Width of the vectors.
    dropout (float): Dropout.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.start, self.end = nn.Linear(width, 1), nn.Linear(width, 1)
        # Hardly any unit is one: begin there, or an untrained head has candidates without number.
        nn.init.constant_(self.start.bias, -3.0)
        nn.init.constant_(self.end.bias, -3.0)
        # A layer over [start; end] is a sum of two, so it runs once for each unit and not for each pair.
        self.from_start, self.from_end = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.span = nn.Linear(width, 1)

    def edges(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of starts and ends.

        vectors (torch.Tensor): Shape (inputs, units, width).
        RETURNS (tuple[torch.Tensor, torch.Tensor]): Both of shape (inputs, units).
        """
        vectors = self.drop(vectors)
        return self.start(vectors)[..., 0], self.end(vectors)[..., 0]

    def spans(self, vectors: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Logits of spans.

        vectors (torch.Tensor): Shape (inputs, units, width).
        where (torch.Tensor): Input, start unit and end unit (the last one) of each span, shape (spans, 3).
        RETURNS (torch.Tensor): Shape (spans,).
        """
        vectors = self.drop(vectors)
        row, start, end = where.unbind(-1)
        hidden = self.from_start(vectors)[row, start] + self.from_end(vectors)[row, end]
        return self.span(self.drop(nn.functional.gelu(hidden)))[..., 0]


class _Ask(NamedTuple):
    """A question about a window."""

    doc: int
    kind: int
    first_unit: int
    last_unit: int
    own: tuple[int, int]
    ids: np.ndarray
    segments: np.ndarray
    positions: np.ndarray

    def holds(self, span: GoldSpan) -> bool:
        """Whether a concept is an answer."""
        first, stop, kind = span
        return kind == self.kind and self.first_unit <= first and stop <= self.last_unit


class EncoderMRC(EncoderModule):
    """An encoder with a `SpanHead`, asked every question about every window."""

    def build_head(self) -> nn.Module:
        return SpanHead(self.width, self.options["dropout"])

    def learn(self, items: Sequence[Sought], gold: Sequence[list[GoldSpan]]) -> float:
        """Add the gradient of a batch.

        items (Sequence[Sought]): The Docs, and the questions.
        gold (Sequence[list[GoldSpan]]): Concepts of each Doc by tokens and index of the question.
        RETURNS (float): Loss for each question that was asked.
        """
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        answers = [to_units(doc, spans) for doc, spans in zip(pieced, gold, strict=True)]
        asks = self._asks(items, pieced)
        answered = [any(ask.holds(span) for span in answers[ask.doc]) for ask in asks]
        asks = [asks[i] for i in thin_out(answered, self.options["unanswered"])]
        batches = list(self._batches(asks, self.options["step_pieces"]))

        def losses() -> Iterator[torch.Tensor]:
            for batch in batches:
                vectors, mask = self._unit_vectors(batch)
                starts, ends = self.head.edges(vectors)
                gold_starts, gold_ends = torch.zeros_like(starts), torch.zeros_like(ends)
                wanted = set()
                for row, ask in enumerate(batch):
                    for span in answers[ask.doc]:
                        if ask.holds(span):
                            first, stop, _ = span
                            begin, last = first - ask.first_unit, stop - 1 - ask.first_unit
                            gold_starts[row, begin] = gold_ends[row, last] = 1.0
                            wanted.add((row, begin, last))
                loss = _WEIGHTS[0] * binary_cross_entropy_with_logits(starts[mask], gold_starts[mask])
                loss = loss + _WEIGHTS[1] * binary_cross_entropy_with_logits(ends[mask], gold_ends[mask])
                # As published: the candidates are all pairs of what is or seems to be a start and an end.
                where = _candidates((starts > 0) & mask | (gold_starts > 0), (ends > 0) & mask | (gold_ends > 0))
                if len(where):
                    target = torch.tensor([float(tuple(key) in wanted) for key in where.tolist()], device=self.device)
                    loss = loss + _WEIGHTS[2] * binary_cross_entropy_with_logits(
                        self.head.spans(vectors, where), target
                    )
                yield loss * len(batch)

        return self.accumulate(losses(), sum(map(len, batches)))

    def predict(self, items: Sequence[Sought]) -> list[list[tuple[int, int, int, float]]]:
        """Find concepts, of types that were never learnt too.

        items (Sequence[Sought]): The Docs, and the questions.
        RETURNS (list[list[tuple[int, int, int, float]]]): For each Doc first token, one past the last, index of the
            question, score (the least of the three probabilities).
        """
        self.eval()
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        found: list[dict[tuple[int, int, int], float]] = [{} for _ in items]
        threshold = self.options["threshold"]
        with torch.inference_mode():
            for batch in self._batches(self._asks(items, pieced)):
                vectors, mask = self._unit_vectors(batch)
                starts, ends = self.head.edges(vectors)
                where = _candidates((starts.sigmoid() > threshold) & mask, (ends.sigmoid() > threshold) & mask)
                if not len(where):
                    continue
                logits = self.head.spans(vectors, where)
                row, begin, last = where.unbind(-1)
                least = torch.minimum(torch.minimum(starts[row, begin], ends[row, last]), logits)
                for (r, b, e), score in zip(where.tolist(), least.sigmoid().tolist(), strict=True):
                    ask = batch[r]
                    # Each window answers for the concepts that begin in what it owns.
                    if score > threshold and ask.own[0] <= b + ask.first_unit < ask.own[1]:
                        tokens = pieced[ask.doc].tokens
                        span = (int(tokens[b + ask.first_unit]), int(tokens[e + ask.first_unit]) + 1, ask.kind)
                        found[ask.doc][span] = score
        return [[(*span, score) for span, score in sorted(own.items())] for own in found]

    def _asks(self, items: Sequence[Sought], pieced: Sequence[PiecedDoc]) -> list[_Ask]:
        asked = sorted({question for item in items for question in item.questions})
        encoded = encode_each(self.tokenizer.backend_tokenizer, asked)
        ids_of = {text: np.asarray(one.ids, dtype=np.int64) for text, one in zip(asked, encoded, strict=True)}
        asks = []
        for number, (item, doc) in enumerate(zip(items, pieced, strict=True)):
            for kind, question in enumerate(ids_of[text] for text in item.questions):
                size = self.window_size(self.specials.pair + len(question))
                ahead = len(self.specials.before) + len(question) + len(self.specials.between)
                for window in doc.windows(size, min(self.options["overlap"], (size - 1) // 2)):
                    first, last, own_first, own_last = np.searchsorted(doc.firsts, window)
                    if own_first == own_last:
                        continue
                    ids = self.specials.wrap_pair(question, doc.ids[window.start : window.stop])
                    segments = np.where(np.arange(len(ids)) < ahead, 0, self.specials.second_segment)
                    positions = doc.firsts[first:last] - window.start + ahead
                    own = (int(own_first), int(own_last))
                    asks.append(_Ask(number, kind, int(first), int(last), own, ids, segments, positions))
        return asks

    def _batches(self, asks: list[_Ask], most: Optional[int] = None) -> Iterator[list[_Ask]]:
        return self.batches(asks, [len(ask.ids) for ask in asks], most)

    def _unit_vectors(self, batch: list[_Ask]) -> tuple[torch.Tensor, torch.Tensor]:
        positions, mask = pad([ask.positions for ask in batch], 0, self.device)
        vectors = self.encode((ask.ids for ask in batch), segments=[ask.segments for ask in batch])
        return gather(vectors, positions), mask


def _candidates(starts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """All spans from a start to an end not before it.

    starts (torch.Tensor): Shape (inputs, units), bool.
    ends (torch.Tensor): Shape (inputs, units), bool.
    RETURNS (torch.Tensor): Input, start and end, shape (spans, 3).
    """
    return (starts[:, :, None] & ends[:, None, :]).triu().nonzero()
