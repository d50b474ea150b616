"""How a torch module lives inside a thinc Model: its bytes, averages and dropout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
import torch

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.shim import TorchShim
from tests.conftest import Examples, modules_of, tiny_settings
from tests.encoders import initialized_tagger
from tests.tiny import ARCHITECTURES, make_encoder


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "encoder/../../outside"])
def test_bytes_write_no_file_outside_their_folder(name: str) -> None:
    def restore(folder: Path) -> None:
        pytest.fail(f"restored {folder}")

    with pytest.raises(ClinieError, match="CIE311"):
        TorchShim(restore).from_bytes(srsly.msgpack_dumps({name: b"x"}))


def test_a_file_too_large_for_bytes_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Large:
        def save(self, folder: Path) -> None:
            (folder / "weights").write_bytes(b"12345")

    shim = TorchShim(lambda _: Large())  # type: ignore[arg-type,return-value]
    shim.module = Large()  # type: ignore[assignment]
    assert shim.to_bytes()
    monkeypatch.setattr("spacy_clinie.models.shim._LARGEST_FILE", 4)
    with pytest.raises(ClinieError, match="CIE309"):
        shim.to_bytes()


def test_other_averages_leave_a_module_alone() -> None:
    shim, other = TorchShim(lambda _: torch.nn.Linear(3, 2)), TorchShim(lambda _: torch.nn.Linear(3, 2))
    with shim.use_params({(other.id, "weight"): np.zeros((2, 3))}):
        assert not shim.has_module
    shim.module = torch.nn.Linear(3, 2)
    before = shim.module.weight.detach().numpy().copy()
    with shim.use_params({(other.id, "weight"): torch.zeros(2, 3)}):
        np.testing.assert_array_equal(shim.module.weight.detach().numpy(), before)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_dropout_of_a_config_reaches_every_layer(kind: str, tmp_path: Path, make_examples: Examples) -> None:
    """With none, training computes the same twice; of a base that has dropout, much of what is computed is dropped."""
    base = make_encoder(tmp_path, kind, dropout=0.1)
    nlp, examples = initialized_tagger(base, make_examples)
    pipe = nlp.get_pipe("clinie_ner_encoder")
    module = modules_of(pipe)[-1]

    def loss(drop: float) -> float:
        return pipe.update(examples, drop=drop)[pipe.name]

    assert loss(0.0) == loss(0.0)
    assert loss(0.5) != loss(0.5)
    module.train()
    ids = [np.arange(3, 40)]

    def encode(drop: float) -> torch.Tensor:
        pipe.model.layers[0].shims[0].set_dropout(drop)
        with torch.no_grad():
            return module.encode(ids)

    assert (encode(0.0) == encode(0.0)).all()
    assert (encode(0.5) != encode(0.5)).any()
    assert loss(0.0) == loss(0.0)


def test_dropout_that_is_switched_off_and_that_of_adapters_stay(tiny_bert: str, make_examples: Examples) -> None:
    settings = tiny_settings(tiny_bert, lora={"r": 2, "target_modules": ["query"], "lora_dropout": 0.25})
    nlp = spacy.blank("en")
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": settings})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe.update(examples, drop=0.5)
    head, encoder = modules_of(pipe)
    assert head.head.drop.p == 0.5
    rates = {n: one.p for n, one in encoder.named_modules() if isinstance(one, torch.nn.Dropout)}
    adapters = {name for name in rates if "lora_dropout" in name}
    assert adapters and all(rates[name] == 0.25 for name in adapters)
    assert rates.keys() - adapters and all(rates[name] == 0.0 for name in rates.keys() - adapters)
