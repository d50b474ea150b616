"""Relations by asking."""

from typing import Any

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.components.pair_loss import asked, pair_loss
from spacy_clinie.doc.concepts import cover
from spacy_clinie.models.excerpts import Excerpt, PairInput
from spacy_clinie.models.pairs_mrc import PairMRC
from spacy_clinie.schema import Schema
from tests.conftest import tiny_settings

SCHEMA = Schema.from_dict(
    {
        "name": "mine",
        "concepts": {"Drug": {}},
        "relations": {
            "same": {"question": "Which is the same as {head}?", "pairs": [["Drug", "Drug"]]},
            "other": {"question": "{head}: which ones?", "pairs": [["Drug", "Drug"]]},
        },
    }
)


@pytest.fixture(scope="module")
def module(tiny_bert: str) -> PairMRC:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "lora": None,
        "window": 96,
        "batch_pieces": 500,
        "step_pieces": None,
        "unanswered": None,
    }
    made: Any = PairMRC.create(tiny_settings(tiny_bert, **options), schema=SCHEMA.to_dict())
    return made


def item(text: str, places: list[tuple[int, int]]) -> PairInput:
    doc = spacy.blank("en")(text)
    spans = [cover(doc, start, end, "Drug") for start, end in places]
    pairs = [(h, t) for h in range(len(spans)) for t in range(len(spans)) if h != t]
    return PairInput(doc, spans, [0] * len(spans), pairs, np.ones((len(pairs), 2), dtype=bool), SCHEMA)


def test_markers_stand_around_the_head_and_ends_are_those_of_the_tail(module: PairMRC) -> None:
    text = "Took aspirin 25mg then aspirin ."
    given_ = item(text, [(5, 12), (13, 17), (23, 30)])
    read = module._read([given_])[0]
    pieces, ranges = read.pieced[0], read.ranges[0]
    excerpt = Excerpt(0, np.arange(len(pieces.ids)), [2, 3], [0, 1, 2])
    ids, places = module._marked(excerpt, ranges, 1, np.array([0, 2]), pieces.ids)
    assert ids[ids >= 0].tolist() == pieces.ids.tolist()
    for (first, last, opened, closed), tail in zip(places.tolist(), (0, 2), strict=True):
        assert ids[opened] == -1
        assert ids[closed] == -2
        inside = ids[opened + 1 : closed].tolist()
        assert inside == pieces.ids[ranges.first[1] : ranges.last[1]].tolist()
        assert ids[first : last + 1].tolist() == pieces.ids[ranges.first[tail] : ranges.last[tail]].tolist()


def test_equal_mentions_are_told_apart(module: PairMRC) -> None:
    [rows] = module.predict([item("aspirin then aspirin then 25mg", [(0, 7), (13, 20), (26, 30)])])
    by_pair = dict(zip([(h, t) for h in range(3) for t in range(3) if h != t], rows, strict=True))
    assert not np.allclose(by_pair[0, 2], by_pair[1, 2], atol=1e-4)


@given(
    st.lists(st.sampled_from(["aspirin", "25mg", ".", "\n", "é", "😀", "\u200b"]), min_size=1, max_size=120),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 300)), min_size=2, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_every_candidate_is_scored_whatever_the_text(
    module: PairMRC, words: list[str], places: list[tuple[int, int]]
) -> None:
    text = " ".join(words)
    ends = [(start % len(text), min(start % len(text) + length, len(text))) for start, length in places]
    given_ = item(text, ends)
    [rows] = module.predict([given_])
    assert rows.shape == (len(given_.pairs), 3)
    assert not np.isnan(rows).any()
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] > -100).all()


def test_questions_count_where_memory_and_time_are_bound(module: PairMRC, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(8 * i, 8 * i + 7) for i in range(12)]
    kinds = {f"kind {i}": {"question": "{head}: which ones?", "pairs": [["Drug", "Drug"]]} for i in range(4)}
    schema = Schema.from_dict({"name": "wide", "concepts": {"Drug": {}}, "relations": kinds})
    given_ = item("aspirin " * 12, places)
    given_ = given_._replace(schema=schema, allowed=np.ones((len(given_.pairs), 4), dtype=bool))
    gold = [np.ones(len(given_.pairs), dtype=np.int64)]
    read: list[list[int]] = []
    classified: list[int] = []
    encode, classify = module.encode, module.classify

    def reads(sequences: Any, **more: Any) -> torch.Tensor:
        read.append([len(ids) for ids in sequences])
        return encode(sequences, **more)

    def classifies(batch: list[Excerpt], *more: Any) -> torch.Tensor:
        classified.extend(i for excerpt in batch for i in excerpt.pairs)
        return classify(batch, *more)

    monkeypatch.setattr(module, "encode", reads)
    monkeypatch.setattr(module, "classify", classifies)
    monkeypatch.setitem(module.options, "batch_pieces", 130)
    learn(module, [given_], gold)
    assert sorted(classified) == list(range(len(given_.pairs)))
    assert all(sum(lengths) <= 130 for lengths in read)
    monkeypatch.setitem(module.options, "step_pieces", 130)
    seen: set[int] = set()
    for _ in range(400):  # a step reads few of them
        read.clear()
        classified.clear()
        learn(module, [given_], gold)
        assert 0 < sum(map(sum, read)) <= 130
        assert 0 < len(classified) < len(given_.pairs)
        seen.update(classified)
    assert seen == set(range(len(given_.pairs)))


def test_questions_without_an_answer_are_drawn_anew_in_each_step(
    module: PairMRC,
) -> None:
    given_ = item("aspirin " * 5, [(8 * i, 8 * i + 7) for i in range(5)])
    answers = np.array([2 if pair == (1, 3) else 0 for pair in given_.pairs])
    seen = set()
    for _ in range(60):
        thin = asked(given_, answers, 2.0)
        assert thin.pairs == given_.pairs
        questions = {
            (head, int(kind))
            for (head, _), row in zip(thin.pairs, thin.allowed, strict=True)
            for kind in row.nonzero()[0]
        }
        assert len(questions) == 3
        assert (1, 1) in questions
        # Every tail of a question is a candidate of it, and the answers are still those of their candidates.
        assert sum(thin.allowed.sum(0)) == 3 * 4
        assert all(thin.allowed[i, answers[i] - 1] for i in np.flatnonzero(answers))
        [scores] = module.predict([thin])
        assert (np.isnan(scores[:, 0]) == ~thin.allowed.any(1)).all()
        seen |= questions
    assert seen == {(head, kind) for head in range(5) for kind in (0, 1)}


def learn(module: PairMRC, items: list[PairInput], gold: list[np.ndarray]) -> float:
    """Add the gradients of a batch."""
    scores, backprop = module.begin_update(items)
    loss, gradients = pair_loss(scores, gold, even=False)
    backprop(gradients)
    return loss


def test_the_loss_is_that_of_what_was_asked(module: PairMRC, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve alike: half of them have the loss of all of them, for each candidate."""
    given_ = item("aspirin\n\n" * 12, [(9 * i, 9 * i + 7) for i in range(12)])
    pairs = [(2 * i, 2 * i + 1) for i in range(6)]
    given_ = given_._replace(pairs=pairs, allowed=np.ones((6, 2), dtype=bool))
    gold = [np.ones(6, dtype=np.int64)]
    whole = learn(module, [given_], gold)
    monkeypatch.setitem(module.options, "step_pieces", 3 * whole_length(module, given_))
    assert learn(module, [given_], gold) == pytest.approx(whole, rel=0.2)


def whole_length(module: PairMRC, given_: PairInput) -> int:
    read = module._read([given_])[0]
    excerpts = module.excerpts(0, read.items[0], read.ranges[0])
    return max(module.length(excerpt, read.items[0]) for excerpt in excerpts)
