"""Concepts by asking: machine reading comprehension with an encoder (Li et al. 2020, arXiv 1910.11476).

The input is a question of the schema and a window of text. Every piece gets a logit for being a start and one for being
an end, and every pair of a start and an end one for being a concept. What has all three above a threshold is an answer,
so nested concepts come out by themselves.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from .encoder import EncoderWithHead, gather
from .wordpieces import ConceptInput, encode_each, make_pieces, pad

# Weights of the three losses: starts, ends, spans.
_WEIGHTS = (1.0, 1.0, 0.1)


class SpanHead(nn.Module):
    """Logits for starts, ends and spans.

    width (int): Width of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.drop = nn.Dropout()
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


class Question(NamedTuple):
    """A question about a window of a Doc.

    doc (int): Number of the Doc.
    kind (int): Index of the type that is asked for, among those looked for in the Doc.
    tokens (np.ndarray): The tokens that are scored, ascending, shape (units,).
    reach (tuple[int, int]): First token of the window and one past the last, blanks at its edges included.
    own (tuple[int, int]): First token that this window answers for, and one past the last.
    ids (np.ndarray): Ids of question and window, shape (pieces,).
    segments (np.ndarray): Segment of each piece, shape (pieces,).
    positions (np.ndarray): First piece of each unit, shape (units,).
    places (tuple[tuple[int, int], ...]): Spans to score whatever starts and ends say: first unit and last unit.
    """

    doc: int
    kind: int
    tokens: np.ndarray
    reach: tuple[int, int]
    own: tuple[int, int]
    ids: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    places: tuple[tuple[int, int], ...] = ()

    def answers(self, concepts: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int], ...]:
        """The answers among the concepts of the Doc.

        concepts (Iterable[tuple[int, int, int]]): First token, one past the last, type of each.
        RETURNS (tuple[tuple[int, int], ...]): First unit and last unit of each that the window holds.
        """
        found = []
        for start, stop, kind in concepts:
            if kind == self.kind and self.reach[0] <= start and stop <= self.reach[1]:
                first, last = np.searchsorted(self.tokens, [start, stop])
                if first < last:  # not of blanks alone
                    found.append((int(first), int(last) - 1))
        return tuple(found)


class SpanScores(NamedTuple):
    """What is said to a question; a gradient of it has the same form.

    question (Question): The question.
    edges (np.ndarray): Logits of a start and of an end at each unit, shape (units, 2).
    spans (np.ndarray): Start unit and end unit of each span that is scored, shape (spans, 2).
    logits (np.ndarray): Logit of each, shape (spans,).
    """

    question: Question
    edges: np.ndarray
    spans: np.ndarray
    logits: np.ndarray


class EncoderMRC(EncoderWithHead):
    """An encoder with a `SpanHead`, which is asked questions about windows."""

    def build_head(self) -> nn.Module:
        return SpanHead(self.width)

    def questions(self, items: Sequence[ConceptInput]) -> list[Question]:
        """Every question about every window of Docs.

        items (Sequence[ConceptInput]): The Docs, and the questions.
        RETURNS (list[Question]): By Doc, type and place.
        """
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        asked = sorted({question for item in items for question in item.questions})
        encoded = encode_each(self.tokenizer.backend_tokenizer, asked)
        ids_of = {text: np.asarray(one.ids, dtype=np.int64) for text, one in zip(asked, encoded, strict=True)}
        questions = []
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
                    own = int(doc.tokens[own_first]), int(doc.tokens[own_last - 1]) + 1
                    reach = (
                        int(doc.tokens[first - 1]) + 1 if first else 0,
                        int(doc.tokens[last]) if last < len(doc.tokens) else len(item.doc),
                    )
                    tokens = doc.tokens[first:last]
                    questions.append(Question(number, kind, tokens, reach, own, ids, segments, positions))
        return questions

    def predict(self, inputs: Sequence[Question]) -> list[SpanScores]:
        """Answer questions, also such that were never learnt.

        inputs (Sequence[Question]): The questions.
        RETURNS (list[SpanScores]): For each its answer; with the spans whose start and end surpass the threshold.
        """
        self.eval()
        threshold = self.options["threshold"]
        with torch.inference_mode():
            return self._answered(inputs, math.log(threshold / (1 - threshold)))[0]

    def begin_update(self, inputs: Sequence[Question]) -> tuple[list[SpanScores], Callable[[Any], list]]:
        """Answer questions in training.

        inputs (Sequence[Question]): The questions.
        RETURNS (tuple[list[SpanScores], Callable]): For each its answer, and what takes their gradients back to the
            weights. As published, spans are scored that begin and end where a start and an end seem to be, or one of
            the question's own `places` begins and ends.
        """
        self.train()
        outputs, held = self._answered(inputs, 0.0)
        held.reverse()

        def backprop(gradients: list[SpanScores]) -> list:
            while held:
                order, edges, mask, logits = held.pop()
                slopes = torch.zeros_like(edges)
                slopes[mask] = torch.from_numpy(np.concatenate([gradients[i].edges for i in order])).to(self.device)
                spans = torch.from_numpy(np.concatenate([gradients[i].logits for i in order])).to(self.device)
                torch.autograd.backward([edges, logits], [slopes, spans])
            return []

        return outputs, backprop

    def _answered(
        self, questions: Sequence[Question], least: float
    ) -> tuple[list[SpanScores], list[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor]]]:
        """Answer questions; spans are scored whose start and end have more than a logit."""
        outputs: list[Any] = [None] * len(questions)
        held = []
        for order in self.batches(range(len(questions)), [len(question.ids) for question in questions]):
            batch = [questions[i] for i in order]
            vectors, mask = self._unit_vectors(batch)
            edges = torch.stack(self.head.edges(vectors), -1)
            likely = (edges > least) & mask[..., None]
            for row, question in enumerate(batch):
                for begin, end in question.places:
                    likely[row, begin, 0] = likely[row, end, 1] = True
            where = _candidates(likely[..., 0], likely[..., 1])
            logits = self.head.spans(vectors, where) if len(where) or self.training else edges.new_zeros(0)
            if self.training:
                held.append((order, edges, mask, logits))
            rows, spans = where[:, 0].cpu().numpy(), where[:, 1:].cpu().numpy()
            both, own = edges.detach().cpu().numpy(), logits.detach().cpu().numpy()
            bounds = np.searchsorted(rows, np.arange(len(batch) + 1))
            for row, (i, question) in enumerate(zip(order, batch, strict=True)):
                mine = slice(bounds[row], bounds[row + 1])
                outputs[i] = SpanScores(question, both[row, : len(question.tokens)], spans[mine], own[mine])
        return outputs, held

    def _unit_vectors(self, batch: list[Question]) -> tuple[torch.Tensor, torch.Tensor]:
        positions, mask = pad([question.positions for question in batch], 0, self.device)
        vectors = self.encode((one.ids for one in batch), segments=[one.segments for one in batch])
        return gather(vectors, positions), mask


def loss(
    scores: Sequence[SpanScores], gold: Sequence[Sequence[tuple[int, int, int]]]
) -> tuple[float, list[SpanScores]]:
    """Loss of gold concepts, and its gradient: binary cross-entropy of starts, of ends and of spans, a mean over each.

    scores (Sequence[SpanScores]): Answers.
    gold (Sequence[Sequence[tuple[int, int, int]]]): First token, one past the last and type of the concepts of each
        Doc.
    RETURNS (tuple[float, list[SpanScores]]): The loss, and the gradient of each answer.
    """
    if not scores:
        return 0.0, []
    edges, spans = [], []
    for one in scores:
        answers = set(one.question.answers(gold[one.question.doc]))
        right = np.zeros_like(one.edges)
        for begin, end in answers:
            right[begin, 0] = right[end, 1] = 1.0
        edges.append(right)
        spans.append(np.array([tuple(span) in answers for span in one.spans.tolist()], dtype=np.float32))
    total, gradients = 0.0, []
    units, number = sum(len(one.edges) for one in scores), max(sum(len(one.spans) for one in scores), 1)
    for one, at_edges, at_spans in zip(scores, edges, spans, strict=True):
        first, slopes = _cross_entropy(one.edges, at_edges, _WEIGHTS[:2], units)
        second, own = _cross_entropy(one.logits, at_spans, _WEIGHTS[2], number)
        total += first + second
        gradients.append(one._replace(edges=slopes, logits=own))
    return total, gradients


def _cross_entropy(logits: np.ndarray, right: np.ndarray, weights: Any, number: int) -> tuple[float, np.ndarray]:
    """Binary cross-entropy and its gradient: a weighted sum, divided by a number."""
    share = np.asarray(weights, dtype=np.float32) / number
    each = np.logaddexp(0.0, logits) - right * logits
    return float((each * share).sum()), ((_sigmoid(logits) - right) * share).astype(np.float32)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -logits))


def decode(scores: Sequence[SpanScores], docs: int, threshold: float) -> list[list[tuple[int, int, int, float]]]:
    """Read concepts off answers.

    scores (Sequence[SpanScores]): The answers.
    docs (int): Number of Docs.
    threshold (float): Probability that start, end and span must surpass, between 0 and 1.
    RETURNS (list[list[tuple[int, int, int, float]]]): For each Doc first token, one past the last, type, score (the
        least of the three probabilities).
    """
    found: list[dict[tuple[int, int, int], float]] = [{} for _ in range(docs)]
    for question, edges, spans, logits in scores:
        if not len(spans):
            continue
        least = np.minimum(np.minimum(edges[spans[:, 0], 0], edges[spans[:, 1], 1]), logits)
        for (begin, end), score in zip(question.tokens[spans].tolist(), _sigmoid(least).tolist(), strict=True):
            # Each window answers for the concepts that begin in what it owns.
            if score > threshold and question.own[0] <= begin < question.own[1]:
                found[question.doc][begin, end + 1, question.kind] = score
    return [[(*span, score) for span, score in sorted(own.items())] for own in found]


def _candidates(starts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """All spans from a start to an end not before it.

    starts (torch.Tensor): Shape (inputs, units), bool.
    ends (torch.Tensor): Shape (inputs, units), bool.
    RETURNS (torch.Tensor): Input, start and end, shape (spans, 3).
    """
    return (starts[:, :, None] & ends[:, None, :]).triu().nonzero()
