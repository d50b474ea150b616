"""Concepts by asking: what a step of training asks, and what is an answer."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from spacy_clinie.models.mrc import EncoderMRC
from spacy_clinie.models.wordpieces import Sought
from tests.conftest import tiny_settings

LABELS = ("Drug", "Dose", "Route", "Reason")
QUESTIONS = ("Which drugs?", "Which doses?", "Which routes?", "Which reasons?")


def make_module(encoder: str) -> Any:
    options: dict[str, Any] = {
        "lora": None,
        "window": 64,
        "overlap": 4,
        "batch_pieces": 500,
        "step_pieces": None,
        "unanswered": None,
        "threshold": 0.4,
    }
    return EncoderMRC.create({}, tiny_settings(encoder, **options))


@pytest.fixture
def items() -> list[Sought]:
    docs = [spacy.blank("en")(f"aspirin {number} mg by mouth") for number in range(6)]
    return [Sought(doc, LABELS, QUESTIONS) for doc in docs]


def test_an_answer_surpasses_the_threshold(
    tiny_bert: str, items: list[Sought], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(tiny_bert)
    # Starts, ends and spans alike are seldom likely, and each may be the least likely of an answer.
    torch.nn.init.constant_(module.head.span.bias, -3.0)

    def scores(threshold: float) -> list[float]:
        monkeypatch.setitem(module.options, "threshold", threshold)
        return sorted(score for spans in module.predict(items) for *_, score in spans)

    every = scores(0.001)
    middle = every[len(every) // 2]
    above = [score for score in every if score > middle]
    assert 0 < len(above) < len(every)
    assert scores(middle) == pytest.approx(above)
    assert not scores(0.999)


def test_questions_without_an_answer_are_drawn_anew_in_each_step(
    tiny_bert: str, items: list[Sought], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(tiny_bert)
    gold = [[(0, 1, 0)] for _ in items]
    read: list[tuple[int, ...]] = []
    encode = module.encode

    def reads(sequences: Iterable[np.ndarray], **more: Any) -> torch.Tensor:
        held = list(sequences)
        read.extend(tuple(ids.tolist()) for ids in held)
        return encode(held, **more)

    monkeypatch.setattr(module, "encode", reads)
    module.learn(items, gold)
    everything = set(read)
    assert len(read) == len(everything) == len(items) * len(QUESTIONS)
    monkeypatch.setitem(module.options, "unanswered", 0.5)
    always, seen = everything, set[tuple[int, ...]]()
    for _ in range(40):
        read.clear()
        module.learn(items, gold)
        assert len(read) == len(items) + 3
        seen.update(read)
        always = always.intersection(read)
    assert seen == everything
    assert len(always) == len(items), "what has an answer is always asked"
