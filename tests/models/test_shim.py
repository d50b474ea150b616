"""What the bytes of a torch module may and may not do."""

from pathlib import Path

import numpy as np
import pytest
import srsly
import torch

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.shim import TorchShim


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
