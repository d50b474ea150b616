"""A chain of tags for each concept type: outside, begin, inside, last, unit (BIOLU), in that order.

Every type has a chain of its own, so concepts of different types may overlap. The only transitions are the ones that
make sense; there are no learned ones. A chain therefore is either between concepts ("closed": behind O, L, U) or within
one ("open": behind B, I), and all sums over its paths are products of 2 x 2 matrices.
"""

from typing import NamedTuple

import numpy as np
import torch

TAGS = 5
O, B, I, L, U = range(TAGS)  # noqa: E741
_IMPOSSIBLE = -1e4


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


def decode(scores: np.ndarray) -> list[Found]:
    """The best path of every chain of a document.

    The best tag of each unit, taken alone, makes a valid path nearly always, and is then the best one. Only
    the other chains are searched step by step (Viterbi).

    scores (np.ndarray): Score of each tag, shape (units, kinds, TAGS).
    RETURNS (list[Found]): Concepts by type, then position.
    """
    tags = scores.argmax(-1)
    busy = np.flatnonzero((tags != O).any(0))
    if not len(busy):
        return []
    path = tags[:, busy]
    opens = (path == B) | (path == I)
    follows = (path == I) | (path == L)
    broken = (opens[:-1] != follows[1:]).any(0) | follows[0] | opens[-1]
    if broken.any():
        path[:, broken] = _viterbi(scores[:, busy[broken]])
    marginals = _Marginals(scores[:, busy])
    found = []
    for chain, kind in enumerate(busy):
        start = 0
        for unit in np.flatnonzero(path[:, chain] != O).tolist():
            tag = path[unit, chain]
            if tag in (B, U):
                start = unit
            if tag in (L, U):
                score = marginals(start, unit + 1, chain)
                found.append(Found(start, unit + 1, int(kind), score))
    return found


class _Marginals:
    """Probabilities of concepts, by the forward-backward algorithm over some chains."""

    def __init__(self, scores: np.ndarray) -> None:
        units, chains, _ = scores.shape
        scores = scores.astype(np.float64)
        self.scores = scores
        self.inside = np.concatenate([np.zeros((1, chains)), scores[..., I].cumsum(0)])
        stay = np.logaddexp(scores[..., O], scores[..., U])
        # before[t]: all paths up to unit t that are closed there; after[t]: all paths from unit t on that begin closed.
        self.before, self.after = np.zeros((units + 1, chains)), np.zeros((units + 1, chains))
        opened = np.full(chains, _IMPOSSIBLE)
        for t in range(units):
            closed = self.before[t]
            self.before[t + 1] = np.logaddexp(closed + stay[t], opened + scores[t, :, L])
            opened = np.logaddexp(closed + scores[t, :, B], opened + scores[t, :, I])
        opened = np.full(chains, _IMPOSSIBLE)
        for t in range(units - 1, -1, -1):
            closed = self.after[t + 1]
            self.after[t] = np.logaddexp(closed + stay[t], opened + scores[t, :, B])
            opened = np.logaddexp(closed + scores[t, :, L], opened + scores[t, :, I])

    def __call__(self, start: int, stop: int, chain: int) -> float:
        if stop - start == 1:
            own = self.scores[start, chain, U]
        else:
            own = self.scores[start, chain, B] + self.scores[stop - 1, chain, L]
            own += self.inside[stop - 1, chain] - self.inside[start + 1, chain]
        total = self.before[start, chain] + own + self.after[stop, chain] - self.before[-1, chain]
        return float(np.exp(min(total, 0.0)))


def _viterbi(scores: np.ndarray) -> np.ndarray:
    """The best valid path of each chain.

    scores (np.ndarray): Shape (units, chains, TAGS).
    RETURNS (np.ndarray): Tags, shape (units, chains).
    """
    units, chains, _ = scores.shape
    stay = np.maximum(scores[..., O], scores[..., U])
    single = np.where(scores[..., U] > scores[..., O], U, O)
    closed, opened = np.zeros(chains), np.full(chains, _IMPOSSIBLE, dtype=scores.dtype)
    ends_concept, goes_on = np.zeros((units, chains), dtype=bool), np.zeros((units, chains), dtype=bool)
    for t in range(units):
        last, inside = opened + scores[t, :, L], opened + scores[t, :, I]
        free, begin = closed + stay[t], closed + scores[t, :, B]
        ends_concept[t], goes_on[t] = last > free, inside > begin
        closed, opened = np.maximum(free, last), np.maximum(begin, inside)
    path = np.zeros((units, chains), dtype=np.int64)
    is_open = np.zeros(chains, dtype=bool)
    for t in range(units - 1, -1, -1):
        path[t] = np.where(is_open, np.where(goes_on[t], I, B), np.where(ends_concept[t], L, single[t]))
        is_open = np.where(is_open, goes_on[t], ends_concept[t])
    return path
