"""Pretrained models and tokenizers: what is loaded, and what is refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
import torch
import transformers

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.pretrained import load_config, load_encoder, load_tokenizer, locate, pick_device


@pytest.mark.environment
@pytest.mark.parametrize("load", [load_encoder, load_tokenizer])
def test_a_folder_without_a_model_is_named(load: Any, tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE303") as error:
        load(str(tmp_path))
    assert str(tmp_path) in str(error.value)


@pytest.mark.environment
def test_a_tokenizer_without_offsets_is_refused(tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SimpleNamespace(is_fast=False)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: slow)
    with pytest.raises(ClinieError, match="CIE304"):
        load_tokenizer(tiny_bert)


@pytest.mark.environment
@pytest.mark.parametrize("load", [load_encoder, load_config])
def test_a_model_of_a_later_transformers_is_refused(load: Any, tiny_bert: str, tmp_path: Path) -> None:
    """What transformers 5 calls `rope_parameters`, 4 replaces by a default, and predicts something else."""
    folder = tmp_path / "later"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "99.0.1"}))
    with pytest.raises(ClinieError, match=r"CIE334.*99\.0\.1"):
        load(str(folder))


@pytest.mark.environment
def test_a_damaged_model_is_named(tiny_bert: str, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_bert, folder)
    (folder / "config.json").write_text('{"model_type": "no-such-model"}', encoding="utf8")
    with pytest.raises(ClinieError, match="CIE303"):
        load_encoder(str(folder))


@pytest.mark.environment
@pytest.mark.parametrize(
    ("words", "read"),
    [
        (("Pain", "pain", "Hives", "MRI"), ["Hives", "pain"]),
        (("pain", "hives", "mri", "tablet"), ["hives", "pain"]),
        # One word of a control token's kind makes no vocabulary with capitals.
        ((*(f"word{i}" for i in range(30)), "hives", "pain", "[DATE]"), ["hives", "pain"]),
    ],
)
def test_a_vocabulary_with_capitals_is_read_with_them(words: tuple[str, ...], read: list[str], tmp_path: Path) -> None:
    """As ClinicalBERT comes: a vocabulary, and no word on capitals."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.tokenize("Hives pain") == read
    tokenizer.save_pretrained(tmp_path / "saved")
    assert load_tokenizer(str(tmp_path / "saved")).tokenize("Hives pain") == read


def test_a_base_and_a_device_that_are_not_there_are_refused() -> None:
    for name in ("no_such_package:model", "no.such.package:model", "..:model", "numpy:no_such_folder"):
        with pytest.raises(ClinieError, match="CIE302"):
            locate(name)
    for device in ("gpu", "", "cuda:99"):
        with pytest.raises(ClinieError, match="CIE312"):
            pick_device(device)


def test_the_device_is_the_one_that_spacy_chose_or_else_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--gpu-id 1` makes 1 the current device of torch, too; without CuPy, spaCy refuses to choose."""
    assert pick_device("auto").type == "cpu" or torch.cuda.is_available()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 1)
    assert str(pick_device("auto")) == "cuda:1"
    assert str(pick_device("cpu")) == "cpu"
    monkeypatch.setattr("thinc.util.gpu_is_available", lambda: True)
    assert str(pick_device("auto")) == "cpu"  # CuPy is there, and spaCy says "Using CPU"
    monkeypatch.setattr("thinc.util.get_torch_default_device", lambda: torch.device("cuda:1"))
    assert str(pick_device("auto")) == "cuda:1"


def test_spacy_refuses_to_choose_a_gpu_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/training.md says of `--gpu-id`: should spaCy once do without CuPy, it can say more."""
    monkeypatch.setattr("thinc.util.has_cupy", False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(ValueError, match="CuPy is not installed"):
        spacy.require_gpu(0)
