"""Which candidate pairs a step of training asks about, and the loss of the answers."""

import math
from collections.abc import Sequence

import numpy as np

from ..models.excerpts import PairInput
from ..models.wordpieces import in_turns_by_group, sample_unanswered


def asked(item: PairInput, right: np.ndarray, share: float | None) -> PairInput:
    """Ask about some heads and relation types only, drawn by chance.

    item (PairInput): The candidates of a Doc.
    right (np.ndarray): For each 0 for none, or else 1 + the index of its relation type, shape (pairs,).
    share (float | None): How many questions without an answer for each with one; None for all.
    RETURNS (PairInput): With fewer relation types allowed; no answer is lost.
    """
    heads = np.array([head for head, _ in item.pairs], dtype=np.int64)
    possible = np.zeros((len(item.spans), item.allowed.shape[1]), dtype=bool)
    answered = possible.copy()
    np.logical_or.at(possible, heads, item.allowed)
    answered[heads[right > 0], right[right > 0] - 1] = True
    questions = np.argwhere(possible)
    drawn = questions[sample_unanswered(answered[possible].tolist(), share)]
    possible[:] = False
    possible[tuple(drawn.T)] = True
    return item._replace(allowed=item.allowed & possible[heads])


def in_turns(items: Sequence[PairInput], right: Sequence[np.ndarray]) -> list[PairInput]:
    """Say in which order candidates are read: by chance, those that are related and those that are not in turn.

    items (Sequence[PairInput]): The candidates of each Doc.
    right (Sequence[np.ndarray]): See `asked`.
    RETURNS (list[PairInput]): The same, with `turns`.
    """
    order = in_turns_by_group([bool(one) for own in right for one in own])
    turns = np.empty(len(order), dtype=np.int64)
    turns[order] = np.arange(len(order))
    parts = np.split(turns, np.cumsum([len(own) for own in right])[:-1])
    return [item._replace(turns=part) for item, part in zip(items, parts, strict=True)]


def pair_loss(
    scores: Sequence[np.ndarray], right: Sequence[np.ndarray], *, even: bool
) -> tuple[float, list[np.ndarray]]:
    """Cross-entropy of candidates, and its gradient.

    scores (Sequence[np.ndarray]): Scores of each Doc, shape (pairs, 1 + relations), first "none"; NaN for candidates
        that were not read.
    right (Sequence[np.ndarray]): See `asked`.
    even (bool): Whether those that were read were drawn in turn, see `_shift`.
    RETURNS (tuple[float, list[np.ndarray]]): Loss for each candidate that was read, and the gradient of each array.
    """
    read = [~np.isnan(own[:, 0]) for own in scores]
    number = max(sum(int(own.sum()) for own in read), 1)
    shift = _shift(np.concatenate(right) > 0, np.concatenate(read)) if even else 0.0
    total, gradients = 0.0, []
    for own, answers, there in zip(scores, right, read, strict=True):
        given, place = own[there], (np.arange(there.sum()), answers[there])
        given[:, 0] += shift
        given -= given.max(-1, keepdims=True, initial=-np.inf)
        total += float((np.log(np.exp(given).sum(-1)) - given[place]).sum())
        shares = softmax(given)
        shares[place] -= 1.0
        gradients.append(np.zeros_like(own))
        gradients[-1][there] = shares / number
    return total / number, gradients


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of scores, along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(-1, keepdims=True)


def _shift(related: np.ndarray, read: np.ndarray) -> float:
    """What the score of "none" has more of in training than it will have, where few candidates are read: as many that
    are related as such that are not, or a model would learn for long that nothing is. With it, scores become what they
    would be if all were learnt from (prior correction: King and Zeng, "Logistic Regression in Rare Events Data",
    Political Analysis 2001).

    related (np.ndarray): Whether each candidate is, shape (pairs,).
    read (np.ndarray): Whether it was read, shape (pairs,).
    RETURNS (float): Log of the share of those without a relation that were read, less that of those with one.
    """
    shares = [float(read[related == side].mean()) if (related == side).any() else 0.0 for side in (False, True)]
    return math.log(shares[0] / shares[1]) if all(shares) else 0.0
