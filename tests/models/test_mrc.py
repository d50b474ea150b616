"""Concepts by asking: what a step of training asks."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from spacy_clinie.models.mrc import EncoderMRC
from spacy_clinie.models.pieces import Sought
from tests.conftest import tiny_settings

LABELS = ("Drug", "Dose", "Route", "Reason")
QUESTIONS = ("Which drugs?", "Which doses?", "Which routes?", "Which reasons?")


def test_questions_without_an_answer_are_drawn_anew_in_each_step(
    tiny_bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "lora": None,
        "window": 64,
        "overlap": 4,
        "layer_rate": 1.0,
        "batch_pieces": 500,
        "step_pieces": None,
    }
    module: Any = EncoderMRC.create({}, tiny_settings(tiny_bert, **options, unanswered=None))
    docs = [spacy.blank("en")(f"aspirin {number} mg by mouth") for number in range(6)]
    items = [Sought(doc, LABELS, QUESTIONS) for doc in docs]
    gold = [[(0, 1, 0)] for _ in docs]
    read: list[tuple[int, ...]] = []
    encode = module.encode

    def reads(sequences: Iterable[np.ndarray], **more: Any) -> torch.Tensor:
        held = list(sequences)
        read.extend(tuple(ids.tolist()) for ids in held)
        return encode(held, **more)

    monkeypatch.setattr(module, "encode", reads)
    module.learn(items, gold)
    everything = set(read)
    assert len(read) == len(everything) == len(docs) * len(QUESTIONS)
    monkeypatch.setitem(module.options, "unanswered", 0.5)
    always, seen = everything, set[tuple[int, ...]]()
    for _ in range(40):
        read.clear()
        module.learn(items, gold)
        assert len(read) == len(docs) + 3
        seen.update(read)
        always = always.intersection(read)
    assert seen == everything
    assert len(always) == len(docs), "what has an answer is always asked"
