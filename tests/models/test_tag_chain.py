"""The chain against sums and maxima over all paths, one by one."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.models import tag_chain

_NEXT_OF_CLOSED, _NEXT_OF_OPEN = {tag_chain.O, tag_chain.B, tag_chain.U}, {tag_chain.I, tag_chain.L}


def paths(length: int, cut: tuple[bool, bool] = (False, False)) -> list[tuple[int, ...]]:
    """All valid paths, by the definition of the tags."""
    found = []
    for path in itertools.product(range(tag_chain.TAGS), repeat=length):
        opened = [tag in (tag_chain.B, tag_chain.I) for tag in path]
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
    scores = torch.randn(1, 7, tag_chain.TAGS, generator=generator)
    mask = torch.arange(7)[None] < length
    all_paths = paths(length, cut)
    expected = torch.logsumexp(torch.tensor([weight(scores[0].numpy(), path) for path in all_paths]), 0)
    assert tag_chain.log_partition(scores, mask, torch.tensor([cut])).item() == pytest.approx(expected.item(), abs=1e-4)
    gold = all_paths[-1]
    tags = torch.tensor([[*gold, *[0] * (7 - length)]])
    loss = tag_chain.crf_loss(scores, tags, mask, torch.tensor([cut])).item()
    assert loss == pytest.approx(expected.item() - weight(scores[0].numpy(), gold), abs=1e-4)


@given(st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([0.2, 0.4, 0.5, 0.8]))
@settings(max_examples=150, deadline=None)
def test_decoding_chooses_among_the_marginals_of_all_paths(length: int, seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    # Documents of other lengths share a batch; the last is empty.
    documents = [random.normal(0, 2, (size, 2, tag_chain.TAGS)).astype(np.float32) for size in (length, length + 2, 0)]
    for scores, found in zip(documents, tag_chain.decode(documents, threshold), strict=True):
        for kind in (0, 1) if len(scores) else ():
            probabilities = _span_probabilities(scores[:, kind])
            own = {(span.start, span.stop): span.score for span in found if span.kind == kind}
            assert own == {span: pytest.approx(probabilities[span], abs=1e-4) for span in own}
            gain = sum(probabilities[span] - threshold for span in own)
            assert gain == pytest.approx(_most(probabilities, threshold, len(scores)), abs=1e-4)
            ends = sorted(own)
            assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))
    assert tag_chain.decode([], threshold) == []


def test_a_boundary_in_doubt_does_not_lose_the_concept() -> None:
    scores = np.full((2, 1, tag_chain.TAGS), -20.0, dtype=np.float32)
    # Nothing, or the first word alone (0.41), or both words: 0.35, 0.41, 0.24.
    scores[:, 0, tag_chain.O] = 0.0
    scores[0, 0, tag_chain.U] = np.log(0.41 / 0.35)
    scores[0, 0, tag_chain.B] = np.log(0.24 / 0.35)
    scores[1, 0, tag_chain.L] = 0.0
    assert [(f.start, f.stop) for f in tag_chain.decode([scores], 0.4)[0]] == [(0, 1)]
    assert tag_chain.decode([scores], 0.5) == [[]]


def test_a_long_concept_is_sure_though_none_of_its_words_is() -> None:
    scores = np.full((4, 1, tag_chain.TAGS), -20.0, dtype=np.float32)
    scores[:, 0, tag_chain.O] = 0.0
    for unit, tag in enumerate((tag_chain.B, tag_chain.I, tag_chain.I, tag_chain.L)):
        scores[unit, 0, tag] = 1.2
    assert [(f.start, f.stop) for f in tag_chain.decode([scores], 0.8)[0]] == [(0, 4)]


def _span_probabilities(scores: np.ndarray) -> dict[tuple[int, int], float]:
    all_paths = paths(len(scores))
    weights = np.array([weight(scores, path) for path in all_paths], dtype=np.float64)
    share = np.exp(weights - weights.max())
    share /= share.sum()
    spans = [(start, stop) for start in range(len(scores)) for stop in range(start + 1, len(scores) + 1)]
    return {
        span: float(sum(p for p, path in zip(share, all_paths, strict=True) if _holds(path, *span))) for span in spans
    }


def _most(probabilities: dict[tuple[int, int], float], threshold: float, length: int) -> float:
    """The best sum over all ways to choose spans that do not overlap, by the recursion over positions."""
    best = [0.0] * (length + 1)
    for stop in range(1, length + 1):
        taken = [best[start] + probabilities[start, stop] - threshold for start in range(stop)]
        best[stop] = max(best[stop - 1], *taken)
    return best[length]


def _holds(path: tuple[int, ...], start: int, stop: int) -> bool:
    if stop - start == 1:
        return path[start] == tag_chain.U
    return (
        path[start] == tag_chain.B
        and path[stop - 1] == tag_chain.L
        and all(t == tag_chain.I for t in path[start + 1 : stop - 1])
    )


def test_encoding_keeps_the_longer_of_two_overlapping_spans_of_a_type() -> None:
    tags = tag_chain.encode(5, 2, [(1, 2, 0), (0, 3, 0), (4, 5, 0), (1, 3, 1)])
    assert tags[:, 0].tolist() == [tag_chain.B, tag_chain.I, tag_chain.L, tag_chain.O, tag_chain.U]
    assert tags[:, 1].tolist() == [tag_chain.O, tag_chain.B, tag_chain.L, tag_chain.O, tag_chain.O]


def test_chains_without_units_have_one_path_of_no_weight() -> None:
    scores, mask = torch.zeros(2, 0, tag_chain.TAGS), torch.zeros(2, 0, dtype=torch.bool)
    assert tag_chain.log_partition(scores, mask, torch.zeros(2, 2, dtype=torch.bool)).tolist() == [0.0, 0.0]


def with_blanks(scores: np.ndarray, places: list[int]) -> tuple[np.ndarray, list[int]]:
    """The same scores with blank tokens before some of the tokens, and where these are then."""
    length = len(scores) + len(places)
    units = [i + sum(place <= i for place in places) for i in range(len(scores))]
    padded = tag_chain.blank(length, np.array(units, dtype=np.int64), scores.shape[1])
    assert np.isnan(padded[units]).all() and not np.isnan(np.delete(padded, units, 0)).any()
    padded[units] = scores
    return padded, units


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("places", [[0], [1, 2, 2], [4], [0, 2, 4]])
def test_blanks_change_neither_loss_nor_answers(crf: bool, places: list[int]) -> None:
    scores = np.random.default_rng(1).normal(0, 2, (4, 2, tag_chain.TAGS)).astype(np.float32)
    padded, units = with_blanks(scores, places)
    gold = [(0, 3, 0), (3, 4, 1)]
    moved = [(units[start], units[stop - 1] + 1, kind) for start, stop, kind in gold]
    loss, [slopes] = tag_chain.loss([scores], [gold], crf=crf)
    with_them, [others] = tag_chain.loss([padded], [moved], crf=crf)
    assert with_them == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(others[units], slopes, atol=1e-6)
    [found], [same] = tag_chain.decode([scores], 0.2), tag_chain.decode([padded], 0.2)
    assert found
    assert [(units[one.start], units[one.stop - 1] + 1, one.kind) for one in found] == [one[:3] for one in same]
    assert [one.score for one in found] == pytest.approx([one.score for one in same], abs=1e-6)


def test_blanks_at_the_edges_of_a_concept_are_no_part_of_it() -> None:
    scores = np.random.default_rng(1).normal(0, 2, (4, 1, tag_chain.TAGS)).astype(np.float32)
    padded, _ = with_blanks(scores, [1, 3])
    inner, outer = tag_chain.loss([padded], [[(2, 4, 0)]], crf=True), tag_chain.loss([padded], [[(1, 5, 0)]], crf=True)
    assert inner[0] == outer[0] < 100
    assert tag_chain.loss([padded], [[(1, 2, 0)]], crf=True)[0] == tag_chain.loss([padded], [[]], crf=True)[0]


def test_what_was_not_read_cuts_a_chain_in_two() -> None:
    """Each part is a chain whose paths may reach out of it, and a concept across the cut counts in both."""
    scores = np.random.default_rng(2).normal(0, 2, (7, 1, tag_chain.TAGS)).astype(np.float32)
    scores[3] = np.nan
    loss, [slopes] = tag_chain.loss([scores], [[(1, 6, 0)]], crf=True)
    tags = [tag_chain.O, tag_chain.B, tag_chain.I], [tag_chain.I, tag_chain.L, tag_chain.O]
    expected = 0.0
    for part, own, cut in ((scores[:3, 0], tags[0], (False, True)), (scores[4:, 0], tags[1], (True, False))):
        every = [weight(part, path) for path in paths(3, cut)]
        expected += float(np.logaddexp.reduce(every)) - weight(part, tuple(own))
    assert loss == pytest.approx(expected / 6, rel=1e-5)
    assert (slopes[3] == 0).all() and slopes[[0, 1, 2, 4, 5, 6]].any(axis=(1, 2)).all()
    nothing = np.full_like(scores, np.nan)
    assert tag_chain.loss([nothing], [[(1, 6, 0)]], crf=True)[0] == 0.0
