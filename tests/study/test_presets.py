"""Base models by name: each trains in an arm of its kind, as a tiny model of exactly its architecture."""

from pathlib import Path
from typing import Any

import pytest
import torch
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import docbin
from spacy_clinie.study.arms import arm_config, train_on
from spacy_clinie.study.presets import PRESETS, find_preset
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.random_models import write_random_model

CPU = PROFILES["cpu"]
# What a shape may be made smaller by, in the words of transformers.
SMALLER = {
    "vocab_size": 500,
    "hidden_size": 32,
    "n_embd": 32,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains(name: str, notes: list[Note], tmp_path: Path) -> None:
    preset = PRESETS[name]
    shape = {**preset.shape, **{key: size for key, size in SMALLER.items() if key in preset.shape}}
    base = write_random_model(tmp_path / "base", preset.kind, shape, [note.text for note in notes])
    assert AutoConfig.from_pretrained(base).model_type == preset.shape["model_type"]
    docbin.write(notes, tmp_path / "notes.spacy")
    config = arm_config({"encoder": "encoder-tagger", "decoder": "decoder-lora"}[preset.kind], preset, base, CPU)
    settings = [{"path": str(tmp_path / "notes.spacy"), "label_schema": None, "limit": 2, "seed": 0}]
    filled = train_on(config, settings, probe=tmp_path / "notes.spacy", steps=3, seed=0)
    nlp = init_nlp(filled)
    before = _weights(nlp)
    nlp, _ = train(nlp, None, stdout=(tmp_path / "log").open("w"))
    changed = {weight for weight, held in before.items() if (_weights(nlp)[weight] != held).any()}
    assert changed
    assert all("lora" in weight for weight in changed) == (preset.kind == "decoder")


def _weights(nlp: Language) -> dict[str, Any]:
    module = nlp.get_pipe(nlp.pipe_names[0]).model.shims[0].module  # type: ignore[attr-defined]
    return {name: weight.clone() for name, weight in module.state_dict().items()}


def test_weights_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE494"):
        find_preset("gatortronllama-8b")
    with pytest.raises(ClinieError, match="CIE493"):
        find_preset("minilm=")
    found = find_preset(f"gatortronllama-8b={tmp_path}")
    assert (found.base, found.window) == (str(tmp_path), PRESETS["gatortronllama-8b"].window)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("minilm", 22.7),
        ("smollm2", 134.5),
        ("bert", 109.5),
        ("clinicalbert", 108.3),
        ("spanbert", 108.3),
        ("gatortron-base", 355),
        ("gatortron-medium", 3912),
        ("gatortron-large", 8900),
        ("gatortrongpt-5b", 5000),
        ("gatortrongpt-20b", 20_000),
        ("llama-3.2-1b", 1236),
        ("llama-3.2-3b", 3213),
        ("llama-3.1-8b", 8030),
        ("gatortronllama-8b", 8030),
    ],
)
def test_random_weights_are_as_many_as_the_real_ones(name: str, millions: float) -> None:
    preset = PRESETS[name]
    maker: Any = {"encoder": AutoModel, "decoder": AutoModelForCausalLM}[preset.kind]
    with torch.device("meta"):
        model = maker.from_config(AutoConfig.for_model(**preset.shape))
    published = 0.03 if name.startswith("gatortron") else 0.001  # those are known in round numbers
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, rel=published)
