"""The chain against sums and maxima over all paths, one by one."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.models import chain

_NEXT_OF_CLOSED, _NEXT_OF_OPEN = {chain.O, chain.B, chain.U}, {chain.I, chain.L}


def paths(length: int, cut: tuple[bool, bool] = (False, False)) -> list[tuple[int, ...]]:
    """All valid paths, by the definition of the tags."""
    found = []
    for path in itertools.product(range(chain.TAGS), repeat=length):
        opened = [tag in (chain.B, chain.I) for tag in path]
        starts = path[0] in _NEXT_OF_CLOSED or (cut[0] and path[0] in _NEXT_OF_OPEN)
        inside = all(b in (_NEXT_OF_OPEN if opened[i] else _NEXT_OF_CLOSED) for i, b in enumerate(path[1:]))
        if starts and inside and (not opened[-1] or cut[1]):
            found.append(path)
    return found


def weight(scores: np.ndarray, path: tuple[int, ...]) -> float:
    return float(sum(scores[i, tag] for i, tag in enumerate(path)))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("cut", list(itertools.product([False, True], repeat=2)))
def test_partition_and_loss_equal_the_sum_over_all_paths(length: int, cut: tuple[bool, bool]) -> None:
    generator = torch.Generator().manual_seed(length)
    scores = torch.randn(1, 7, chain.TAGS, generator=generator)
    mask = torch.arange(7)[None] < length
    all_paths = paths(length, cut)
    expected = torch.logsumexp(torch.tensor([weight(scores[0].numpy(), path) for path in all_paths]), 0)
    assert chain.log_partition(scores, mask, torch.tensor([cut])).item() == pytest.approx(expected.item(), abs=1e-4)
    gold = all_paths[-1]
    tags = torch.tensor([[*gold, *[0] * (7 - length)]])
    loss = chain.crf_loss(scores, tags, mask, torch.tensor([cut])).item()
    assert loss == pytest.approx(expected.item() - weight(scores[0].numpy(), gold), abs=1e-4)


@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_decoding_finds_the_best_path_and_its_marginals(length: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(0, 3, (length, 2, chain.TAGS)).astype(np.float32)
    found = chain.decode(scores)
    for kind in (0, 1):
        all_paths = paths(length)
        weights = np.array([weight(scores[:, kind], path) for path in all_paths], dtype=np.float64)
        best = all_paths[int(weights.argmax())]
        own = [span for span in found if span.kind == kind]
        tags = chain.encode(length, 1, [(span.start, span.stop, 0) for span in own])[:, 0]
        assert tuple(tags) == best
        probabilities = np.exp(weights - weights.max())
        probabilities /= probabilities.sum()
        for span in own:
            expected = sum(
                p for p, path in zip(probabilities, all_paths, strict=True) if _holds(path, span.start, span.stop)
            )
            assert span.score == pytest.approx(expected, abs=1e-4)


def _holds(path: tuple[int, ...], start: int, stop: int) -> bool:
    if stop - start == 1:
        return path[start] == chain.U
    return (
        path[start] == chain.B and path[stop - 1] == chain.L and all(t == chain.I for t in path[start + 1 : stop - 1])
    )


def test_encoding_keeps_the_longer_of_two_overlapping_spans_of_a_type() -> None:
    tags = chain.encode(5, 2, [(1, 2, 0), (0, 3, 0), (4, 5, 0), (1, 3, 1)])
    assert tags[:, 0].tolist() == [chain.B, chain.I, chain.L, chain.O, chain.U]
    assert tags[:, 1].tolist() == [chain.O, chain.B, chain.L, chain.O, chain.O]
