"""A chain of tags for each concept type: outside, begin, inside, last, unit (BIOLU), in that order.

Every type has a chain of its own, so concepts of different types may overlap. The only transitions are the ones that
make sense; there are no learned ones. A chain therefore is either between concepts ("closed": behind O, L, U) or within
one ("open": behind B, I), and all sums over its paths are products of 2 x 2 matrices.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple, Optional, cast

import numpy as np
import torch
from torch import nn

from .wordpieces import by_budget

TAGS = 5
O, B, I, L, U = range(TAGS)  # noqa: E741
_IMPOSSIBLE = -1e4
# Of a token at which no concept begins or ends: a chain passes it as it is.
_PASSED = np.array([0.0, _IMPOSSIBLE, 0.0, _IMPOSSIBLE, _IMPOSSIBLE], dtype=np.float32)
# Units of all chains that are decoded together: some 30 MB.
_UNITS_AT_ONCE = 200_000


class Found(NamedTuple):
    """A concept read off a chain.

    start (int): First unit.
    stop (int): One past the last unit.
    kind (int): Index of the type.
    score (float): Probability that a path of the chain holds exactly this concept, 0 to 1.
    """

    start: int
    stop: int
    kind: int
    score: float


def blank(tokens: int, units: np.ndarray, kinds: int) -> np.ndarray:
    """The scores of a Doc before any are computed.

    tokens (int): Tokens of the Doc.
    units (np.ndarray): Those that get scores, shape (units,); at the others, such as blanks, no concept begins or ends.
    kinds (int): Number of types.
    RETURNS (np.ndarray): Shape (tokens, kinds, TAGS), NaN for units.
    """
    scores = np.full((tokens, kinds, TAGS), np.nan, dtype=np.float32)
    others = np.ones(tokens, dtype=bool)
    others[units] = False
    scores[others] = _PASSED
    return scores


def loss(
    scores: Sequence[np.ndarray], gold: Sequence[Sequence[tuple[int, int, int]]], *, crf: bool
) -> tuple[float, list[np.ndarray]]:
    """Loss of gold concepts, and its gradient: of whole paths (CRF), or of each tag by itself (softmax).

    scores (Sequence[np.ndarray]): Score of each tag, shape (tokens, kinds, TAGS), for each document; NaN where it was
        not read. Each stretch that was read is a chain by itself, which concepts may reach out of.
    gold (Sequence[Sequence[tuple[int, int, int]]]): First token, one past the last and type of each concept.
    crf (bool): Whether paths count, and not tags.
    RETURNS (tuple[float, list[np.ndarray]]): Loss for each token that was read, and the gradient of each array.
    """
    gradients = [np.zeros_like(own) for own in scores]
    chains: list[tuple[int, int, int, int]] = []
    tags, total = [], 0
    for number, (own, spans) in enumerate(zip(scores, gold, strict=True)):
        tags.append(encode(len(own), own.shape[1], _trimmed(own, spans)))
        for start, stop in _stretches(own) if own.shape[1] else ():
            total += int(_is_unit(own[start:stop]).sum())
            chains += [(number, kind, start, stop) for kind in range(own.shape[1])]
    summed = 0.0
    for batch in by_budget([stop - start for *_, start, stop in chains], _UNITS_AT_ONCE):
        longest = max(chains[i][3] - chains[i][2] for i in batch)
        table = np.tile(_PASSED, (len(batch), longest, 1))
        answers, cut = np.full((len(batch), longest), O), np.zeros((len(batch), 2), dtype=bool)
        for row, (number, kind, start, stop) in enumerate(chains[i] for i in batch):
            table[row, : stop - start] = scores[number][start:stop, kind]
            answers[row, : stop - start] = tags[number][start:stop, kind]
            cut[row] = start > 0, stop < len(scores[number])
        given, right = torch.from_numpy(table).requires_grad_(), torch.from_numpy(answers)
        real = torch.from_numpy(table[..., B] > _IMPOSSIBLE)
        if crf:
            part = crf_loss(given, right, torch.ones_like(real), torch.from_numpy(cut))
        else:
            part = nn.functional.cross_entropy(given[real], right[real], reduction="sum")
        part.backward()
        summed += part.item()
        slopes = cast(torch.Tensor, given.grad).numpy() / total
        for row, (number, kind, start, stop) in enumerate(chains[i] for i in batch):
            gradients[number][start:stop, kind] = slopes[row, : stop - start]
    return summed / max(total, 1), gradients


def _is_unit(scores: np.ndarray) -> np.ndarray:
    """Which tokens are no blanks and were read."""
    return scores[:, 0, B] > _IMPOSSIBLE


def _stretches(scores: np.ndarray) -> list[tuple[int, int]]:
    """Beginning and end of each stretch of tokens that was read, but for those of blanks alone."""
    edges = np.flatnonzero(np.diff(~np.isnan(scores[:, 0, B]), prepend=False, append=False)).reshape(-1, 2)
    return [(int(start), int(stop)) for start, stop in edges if _is_unit(scores[start:stop]).any()]


def _trimmed(scores: np.ndarray, spans: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Concepts without the blanks at their edges. One of blanks alone cannot be learnt and is left out."""
    found = []
    for start, stop, kind in spans:
        inner = start + np.flatnonzero(~(scores[start:stop, kind, B] <= _IMPOSSIBLE))
        if len(inner):
            found.append((int(inner[0]), int(inner[-1]) + 1, kind))
    return found


def _rise(scores: np.ndarray) -> np.ndarray:
    """By how much any tag of a concept surpasses O anywhere, shape (kinds,)."""
    rise = scores[..., B:].max(-1) - scores[..., O]
    return np.where(scores[..., B] > _IMPOSSIBLE, rise, -np.inf).max(0)


def encode(units: int, kinds: int, spans: list[tuple[int, int, int]]) -> np.ndarray:
    """Write spans as tags. Of two overlapping spans of one type, the longer one stands.

    units (int): Length of the chains.
    kinds (int): Number of types.
    spans (list[tuple[int, int, int]]): First unit, one past the last, index of the type.
    RETURNS (np.ndarray): Tags, shape (units, kinds).
    """
    tags = np.full((units, kinds), O, dtype=np.int64)
    for start, stop, kind in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        if (tags[start:stop, kind] != O).any():
            continue
        if stop - start == 1:
            tags[start, kind] = U
        else:
            tags[start + 1 : stop - 1, kind] = I
            tags[start, kind], tags[stop - 1, kind] = B, L
    return tags


def log_partition(scores: torch.Tensor, mask: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Log of the summed weight of all paths, by a tree of matrix products: log2(length) steps in place of length.

    scores (torch.Tensor): Score of each tag, shape (chains, length, TAGS).
    mask (torch.Tensor): Which positions are there, shape (chains, length).
    cut (torch.Tensor): Whether the chain is cut off at its beginning and end, so that a concept may reach across,
        shape (chains, 2).
    RETURNS (torch.Tensor): Shape (chains,).
    """
    closed_closed = torch.logaddexp(scores[..., O], scores[..., U])
    step = torch.stack([closed_closed, scores[..., B], scores[..., L], scores[..., I]], -1)
    neutral = step.new_tensor([0.0, _IMPOSSIBLE, _IMPOSSIBLE, 0.0])
    step = torch.where(mask[..., None], step, neutral)
    if not step.shape[1]:
        step = neutral.expand(len(step), 1, 4)
    while step.shape[1] > 1:
        if step.shape[1] % 2:
            step = torch.cat([step, neutral.expand(len(step), 1, 4)], 1)
        left, right = step[:, 0::2], step[:, 1::2]
        # Row-major 2 x 2 matrices of logs: from closed or open (rows) to closed or open (columns).
        step = torch.stack(
            [
                torch.logaddexp(
                    left[..., 2 * row] + right[..., column], left[..., 2 * row + 1] + right[..., column + 2]
                )
                for row in (0, 1)
                for column in (0, 1)
            ],
            -1,
        )
    closed = torch.zeros_like(cut, dtype=step.dtype)
    side = torch.where(cut, closed, closed + _IMPOSSIBLE)
    begin, end = torch.stack([closed[:, 0], side[:, 0]], -1), torch.stack([closed[:, 1], side[:, 1]], -1)
    return torch.logsumexp(begin[:, :, None] + step[:, 0].view(-1, 2, 2) + end[:, None, :], (1, 2))


def crf_loss(scores: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor, cut: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of the gold paths (Lafferty et al. 2001, with fixed transitions).

    scores (torch.Tensor): Score of each tag, shape (chains, length, TAGS).
    tags (torch.Tensor): Gold tags, shape (chains, length).
    mask (torch.Tensor): Which positions are there, shape (chains, length).
    cut (torch.Tensor): See `log_partition`.
    RETURNS (torch.Tensor): Summed over the chains.
    """
    gold = scores.gather(-1, tags[..., None])[..., 0].masked_fill(~mask, 0.0).sum(-1)
    return (log_partition(scores, mask, cut) - gold).sum()


def decode(scores: Sequence[np.ndarray], threshold: float) -> list[list[Found]]:
    """Read concepts off the chains of documents.

    A concept is taken where its probability, over all paths of its chain, is above a threshold; of those that
    overlap in a chain, the ones are taken whose probabilities rise highest above it in sum. The best single path
    (Viterbi) answers another question: where "nothing" competes with two ways to draw a boundary, it leaves the
    concept out. With F1 as the aim, the best threshold is half of the F1 that can be reached (Lipton et al. 2014,
    arXiv 1402.1892).

    scores (Sequence[np.ndarray]): Score of each tag, shape (units, kinds, TAGS), for each document.
    threshold (float): Probability that a concept must surpass, between 0 and 1.
    RETURNS (list[list[Found]]): For each document its concepts by type, then position.
    """
    # A span whose tags all lose against O by more than this is less probable than the threshold.
    least = min(0.0, float(np.log(threshold / (1 - threshold))))
    chains = [
        (number, int(kind))
        for number, own in enumerate(scores)
        if len(own)
        for kind in np.flatnonzero(_rise(own) > least)
    ]
    found: list[list[Found]] = [[] for _ in scores]
    for batch in by_budget([len(scores[number]) for number, _ in chains], _UNITS_AT_ONCE):
        table = np.full((len(scores[chains[batch[0]][0]]), len(batch), TAGS), _IMPOSSIBLE)
        table[..., O] = 0.0
        for column, i in enumerate(batch):
            number, kind = chains[i]
            table[: len(scores[number]), column] = scores[number][:, kind]
        for i, spans in zip(batch, _likely(table, threshold), strict=True):
            number, kind = chains[i]
            found[number] += [Found(start, stop, kind, score) for start, stop, score in _best(spans, threshold)]
    return [sorted(own, key=lambda one: (one.kind, one.start)) for own in found]


def _likely(scores: np.ndarray, threshold: float) -> list[list[tuple[int, int, float]]]:
    """All spans above a probability, by the forward-backward algorithm.

    scores (np.ndarray): Score of each tag, shape (units, chains, TAGS), float64.
    threshold (float): The probability.
    RETURNS (list[list[tuple[int, int, float]]]): For each chain first unit, one past the last, probability.
    """
    units, chains, _ = scores.shape
    stay = np.logaddexp(scores[..., O], scores[..., U])
    # before[t]: all paths up to unit t that are closed there. closed[t], opened[t]: all from unit t on that begin so.
    before, closed = np.zeros((units + 1, chains)), np.zeros((units + 1, chains))
    opened = np.full((units + 1, chains), _IMPOSSIBLE)
    running = opened[units]
    for t in range(units):
        before[t + 1] = np.logaddexp(before[t] + stay[t], running + scores[t, :, L])
        running = np.logaddexp(before[t] + scores[t, :, B], running + scores[t, :, I])
    for t in range(units - 1, -1, -1):
        closed[t] = np.logaddexp(closed[t + 1] + stay[t], opened[t + 1] + scores[t, :, B])
        opened[t] = np.logaddexp(closed[t + 1] + scores[t, :, L], opened[t + 1] + scores[t, :, I])
    least = np.log(threshold)
    found: list[list[tuple[int, int, float]]] = [[] for _ in range(chains)]

    def keep(starts: np.ndarray, stops: np.ndarray, columns: np.ndarray, logs: np.ndarray) -> None:
        for i in np.flatnonzero(logs > least):
            found[columns[i]].append((int(starts[i]), int(stops[i]), min(float(np.exp(logs[i])), 1.0)))

    first = before[:-1] - before[-1]
    alone = first + scores[..., U] + closed[1:]
    starts, columns = np.nonzero(alone > least)
    keep(starts, starts + 1, columns, alone[starts, columns])
    # Spans that begin likely enough grow while anything that begins like them is likely enough.
    grown = first + scores[..., B]
    starts, columns = np.nonzero(grown + opened[1:] > least)
    grown, at = grown[starts, columns], starts + 1
    while len(at):
        keep(starts, at + 1, columns, grown + scores[at, columns, L] + closed[at + 1, columns])
        grown, at = grown + scores[at, columns, I], at + 1
        alive = grown + opened[at, columns] > least
        starts, columns, grown, at = starts[alive], columns[alive], grown[alive], at[alive]
    return found


def _best(spans: list[tuple[int, int, float]], threshold: float) -> list[tuple[int, int, float]]:
    """Of spans that may overlap, those that do not and whose probabilities rise highest above a threshold in sum."""
    spans = sorted(spans, key=lambda span: span[1])
    stops = [span[1] for span in spans]
    # totals[i]: the most that the first i spans give. before[i]: how many of them stand before span i if it is taken.
    totals: list[float] = [0.0]
    before: list[Optional[int]] = []
    for i, (start, _, score) in enumerate(spans):
        free = bisect_right(stops, start, 0, i)
        taken = totals[free] + score - threshold
        before.append(free if taken > totals[i] else None)
        totals.append(max(taken, totals[i]))
    chosen, i = [], len(spans)
    while i:
        free_before = before[i - 1]
        if free_before is None:
            i -= 1
        else:
            chosen.append(spans[i - 1])
            i = free_before
    return chosen[::-1]
