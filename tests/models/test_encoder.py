"""Learning rates by layer."""

from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch

import numpy as np
import pytest
import spacy
import torch
from peft.tuners.lora import Linear

from spacy_clinie.models.lora import LeanLinear
from spacy_clinie.models.token_vectors import TokenVectors
from tests.conftest import modules_of, tiny_settings
from tests.encoders import LORA
from tests.tiny import ARCHITECTURES, make_encoder


def build(base: str, **more: Any) -> TokenVectors:
    options = {"lora": None, "window": 64, **more}
    return TokenVectors.create(tiny_settings(base, **options))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_weight_is_of_one_layer(kind: str, tmp_path: Path) -> None:
    module = build(make_encoder(tmp_path, kind))
    places: dict[str, Optional[int]] = {}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for parameters, above in module.layers():
        places |= {names[id(parameter)]: above for parameter in parameters}
    assert places.keys() == dict(module.named_parameters()).keys()
    assert sum(len(parameters) for parameters, _ in module.layers()) == len(places)
    for name, above in places.items():
        expected = {".layer.0.": 1, ".layers.0.": 1, "encoder.embeddings.": 2}
        assert above == next((place for part, place in expected.items() if part in name), 0), name


def test_adapters_are_of_their_layer(tiny_bert: str) -> None:
    module = build(tiny_bert, lora=LORA)
    places = {id(parameter): above for parameters, above in module.layers() for parameter in parameters}
    found = {
        (name.split("encoder.layer.")[1][0], places[id(parameter)])
        for name, parameter in module.named_parameters()
        if "lora_" in name and "encoder.layer." in name
    }
    assert found == {("0", 1), ("1", 0)}


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_weights_in_bf16_say_what_autocast_says_also_after_training(kind: str, lora: Any, tmp_path: Path) -> None:
    module = build(make_encoder(tmp_path, kind), lora=LORA if lora and kind == "bert" else None, precision="bf16")
    ids = [np.arange(3, 40), np.arange(5, 25)]

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        module.eval()
        with torch.inference_mode():
            found = module.encode(ids)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            table = torch.zeros(2, 37, dtype=torch.long)
            for row, own in zip(table, ids, strict=True):
                row[: len(own)] = torch.from_numpy(own)
            mask = torch.arange(37) < torch.tensor([[37], [20]])
            direct = module.encoder(input_ids=table, attention_mask=mask.long()).last_hidden_state.float()
        return found, direct * 1.0

    before, expected = both()
    assert torch.allclose(before, expected, atol=2e-2)
    module.encode(ids).square().sum().backward()
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            if parameter.grad is not None:
                parameter.add_(parameter.grad.sign(), alpha=0.1)
    after, expected = both()
    assert not torch.allclose(after, before, atol=2e-2)
    assert torch.allclose(after, expected, atol=2e-2)


def test_predictions_read_twice_as_much_at_once_as_training(tiny_bert: str) -> None:
    module = build(tiny_bert, batch_pieces=20)
    assert list(module.batches("abcd", [10, 9, 8, 7])) == [["a", "b"], ["c", "d"]]
    with torch.inference_mode():
        assert list(module.batches("abcd", [10, 9, 8, 7])) == [["a", "b", "c", "d"]]


def test_adapters_are_read_and_learn_as_peft_has_it(tiny_bert: str) -> None:
    module = build(tiny_bert, lora=LORA, precision="fp32").eval()
    adapters = {name: p for name, p in module.encoder.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for weight in adapters.values():
            weight.normal_(std=0.1)

    def gradients(vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        vectors.square().sum().backward()
        found = {name: weight.grad.clone() for name, weight in adapters.items() if weight.grad is not None}
        module.zero_grad()
        return {**found, "vectors": vectors.detach()}

    ids = np.arange(3, 40)
    found = gradients(module.encode([ids]))
    with patch.object(LeanLinear, "forward", Linear.forward):
        expected = gradients(module.encoder(input_ids=torch.from_numpy(ids)[None]).last_hidden_state)
    assert found.keys() == expected.keys() == adapters.keys() | {"vectors"}
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max())), name


def test_weights_in_bf16_follow_a_step_that_spacy_takes_later(tiny_bert: str, make_examples: Any) -> None:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_clinie.EncoderTagger.v1", **tiny_settings(tiny_bert), "precision": "bf16"}
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-2
    module = modules_of(pipe)[-1]
    pipe.update(examples, sgd=None)
    ids = [np.arange(3, 40)]

    def read() -> torch.Tensor:
        module.eval()
        with torch.inference_mode():
            return module.encode(ids)

    read()
    pipe.finish_update(sgd)
    after = read()
    module._cast = None
    assert after.equal(read())
