"""`step_pieces`: the most that a training step reads."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import spacy
import torch

from spacy_clinie.components.pair_loss import _shift
from spacy_clinie.doc.concepts import add_concepts
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.models.causal import CausalModule
from spacy_clinie.prompts.constraints import PromptIds
from tests.conftest import modules_of, tiny_settings

# Eight of it are a window each: what is drawn of them has the same loss as all of them.
NOTE = "Took aspirin 25 mg by mouth for pain today . \n\n"
LEARN = Callable[[], float]


@pytest.fixture(params=["tagger", "mrc", "causal"])
def step(request: pytest.FixtureRequest) -> tuple[Any, LEARN, list[int]]:
    """A model, a step of its training, and the lengths of the sequences that it reads."""
    if request.param == "causal":
        return causal(request.getfixturevalue("tiny_decoder"))
    return encoder(request.param, request.getfixturevalue("tiny_bert"))


def encoder(kind: str, base: str) -> tuple[Any, LEARN, list[int]]:
    architecture = {"tagger": "spacy_clinie.EncoderTagger.v1", "mrc": "spacy_clinie.EncoderMRC.v1"}[kind]
    model = {"@architectures": architecture, **tiny_settings(base, window=64, overlap=4, batch_pieces=200)}
    nlp = spacy.blank("en")
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    gold = nlp.make_doc(NOTE)
    add_concepts(gold, [(1, 2, "Drug", 1.0)])
    examples = [spacy.training.Example(nlp.make_doc(NOTE), gold) for _ in range(8)]
    nlp.initialize(lambda: examples)
    module = modules_of(pipe)[-1]
    read: list[int] = []
    encode = module.encode

    def reads(sequences: Iterable[np.ndarray], **more: Any) -> torch.Tensor:
        held = list(sequences)
        read.extend(map(len, held))
        return encode(held, **more)

    module.encode = reads
    return module, lambda: pipe.update(examples)[pipe.name], read


def causal(base: str) -> tuple[Any, LEARN, list[int]]:
    options = {
        "base": base,
        "adapter": None,
        "lookahead": 2,
        "load_in_4bit": False,
        "gradient_checkpointing": False,
        "batch_pieces": 40,
    }
    module: Any = CausalModule.create({**options, "step_pieces": None, "device": "cpu", "precision": "fp32"})
    prompts = [PromptIds((5, 6, 7), [8, 9, 10, 11, 12, 13])] * 8
    read: list[int] = []
    loss = module._loss

    def reads(prefix: Any, cached: Any, rests: list[Any], answers: list[Any]) -> torch.Tensor:
        read.extend(len(ids) + len(answer) for ids, answer in zip(rests, answers, strict=True))
        return loss(prefix, cached, rests, answers)

    module._loss = reads
    return module, lambda: module.add_gradients(prompts, [[14, 15, 16, 17]] * 8), read


def test_a_step_reads_step_pieces_and_has_the_loss_of_what_it_read(step: tuple[Any, LEARN, list[int]]) -> None:
    module, learn, read = step
    whole = learn()
    length = read[0]
    assert read == [length] * 8
    module.options["step_pieces"] = 3 * length + 1
    read.clear()
    assert learn() == pytest.approx(whole, rel=0.01)
    assert read == [length] * 3


def test_a_step_reads_one_sequence_even_if_all_are_longer(step: tuple[Any, LEARN, list[int]]) -> None:
    module, learn, read = step
    module.options["step_pieces"] = 1
    learn()
    assert len(read) == 1


def test_prompts_are_drawn_from_each_prefix_in_turn(tiny_decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, _ = causal(tiny_decoder)
    monkeypatch.setitem(module.options, "step_pieces", 25)
    prompts = [PromptIds((5, 6, 7), [8, 9, 10, 11, 12, 13])] + [PromptIds((5, 6), [8, 9, 10, 11, 12, 13])] * 20
    read: list[tuple[int, ...]] = []
    loss = module._loss
    monkeypatch.setattr(module, "_loss", lambda prefix, *more: read.append(prefix) or loss(prefix, *more))
    for _ in range(10):
        module.add_gradients(prompts, [[14, 15, 16, 17]] * 21)
    assert sorted(read) == [(5, 6)] * 10 + [(5, 6, 7)] * 10


def test_candidates_that_are_related_are_drawn_as_often_as_the_others(tiny_bert: str) -> None:
    """One of twelve drugs is given for the pain, and every step learns that."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_clinie.MarkedPairs.v1", **tiny_settings(tiny_bert), "window": 24}
    pipe: Any = nlp.add_pipe("clinie_rel", config={"label_schema": "n2c2_2018", "max_distance": 0, "model": model})
    gold = nlp.make_doc("pain " + "aspirin " * 12)
    add_concepts(gold, [(0, 1, "Reason", 1.0), *((i, i + 1, "Drug", 1.0) for i in range(1, 13))])
    set_relations(gold, [(0, 1, "Reason-Drug", 1.0)])
    example = spacy.training.Example(gold.copy(), gold)
    nlp.initialize(lambda: [example])
    module = pipe.model.shims[0].module
    drawn: list[int] = []
    classify = module.classify
    module.classify = lambda batch, read: drawn.extend(one.pairs[0] for one in batch) or classify(batch, read)
    module.options["step_pieces"] = 2 * 24
    pair = pipe.candidates(gold, list(gold.spans["clinie"])).pairs.index((0, 1))
    for _ in range(10):
        drawn.clear()
        pipe.update([example])
        assert len(drawn) >= 2
        assert drawn.count(pair) == 1


@pytest.mark.parametrize("part", [0.01, 0.2, 0.5])
def test_scores_are_what_they_would_be_if_nothing_were_drawn(part: float) -> None:
    """A model that sees no difference says of a candidate how many are related; what it answers to half of either side
    is no more than "none" plus the shift."""
    related, read = np.arange(1000) < 1000 * part, np.zeros(1000, dtype=bool)
    read[[*range(5), *range(995, 1000)]] = True
    assert 1 / (1 + np.exp(-_shift(related, read))) == pytest.approx(part)


@pytest.mark.parametrize(
    ("related", "read"), [([1, 1], [1, 0]), ([1, 0], [1, 0]), ([0], [1]), ([1, 0], [1, 1]), ([], [])]
)
def test_nothing_is_shifted_where_nothing_was_chosen_by_it(related: list[int], read: list[int]) -> None:
    assert _shift(np.array(related, dtype=bool), np.array(read, dtype=bool)) == 0.0
