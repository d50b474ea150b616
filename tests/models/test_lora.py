"""Layers with LoRA that are computed with as little as they need."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from transformers import AutoModelForCausalLM

from spacy_clinie.models.lora import lean_lora
from spacy_clinie.models.pretrained import weights_in
from tests.tiny import DECODERS, make_decoder

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def tuned(folder: Path, kind: str = "llama", dtype: torch.dtype = torch.float32, **lora: Any) -> Any:
    """A model with adapters that change something, as after training."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(make_decoder(folder, kind), **weights_in(dtype))
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(base, LoraConfig(**settings))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn_like(weight) * 0.1
    return model.train()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Of all that learns, and the loss."""
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return {**found, "loss": loss.detach()}


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far the other is from the one, as a share of it."""
    return float(torch.linalg.norm((one - other).float()) / torch.linalg.norm(one.float()))


@pytest.mark.parametrize("kind", DECODERS)
def test_nothing_changes(kind: str, tmp_path: Path) -> None:
    model = tuned(tmp_path, kind)
    expected = gradients(model)
    with lean_lora(model, None):
        found = gradients(model)
    assert found.keys() == expected.keys()
    assert len(found) > 4
    for name, value in expected.items():
        assert off(value, found[name]) < 1e-4, name
    assert not any("forward" in vars(layer) for layer in model.modules())


def test_in_bf16_little_changes(tmp_path: Path) -> None:
    model = tuned(tmp_path, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(model)
        with lean_lora(model, torch.bfloat16):
            found = gradients(model)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert off(value, found[name]) < 0.1, name


@pytest.mark.parametrize("trains", ["bias", "weight"])
def test_a_base_that_learns_too_gets_its_gradients(trains: str, tmp_path: Path) -> None:
    model = tuned(tmp_path, "qwen3" if trains == "weight" else "gpt2")
    for layer in model.modules():
        if type(layer) is Linear and getattr(layer.base_layer, trains) is not None:
            getattr(layer.base_layer, trains).requires_grad_(True)
    expected = gradients(model)
    with lean_lora(model, None):
        found = gradients(model)
    assert any("base_layer" in name for name in expected)
    for name, value in expected.items():
        assert off(value, found[name]) < 1e-4, name


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_what_needs_more_is_left_to_peft(lora: dict[str, Any], tmp_path: Path) -> None:
    model = tuned(tmp_path, **lora)
    layers = [layer for layer in model.modules() if type(layer) is Linear]
    with lean_lora(model, None):
        assert layers
        assert not any("forward" in vars(layer) for layer in layers)
    with lean_lora(model.eval(), None):  # nothing is dropped then
        assert all(("forward" in vars(layer)) == ("lora_dropout" in lora) for layer in layers)


def test_layers_are_what_they_were_after_an_error(tmp_path: Path) -> None:
    model = tuned(tmp_path)
    with pytest.raises(KeyError), lean_lora(model, None):
        raise KeyError
    assert not any("forward" in vars(layer) for layer in model.modules())
