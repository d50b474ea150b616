"""What the bytes of a torch module may and may not do."""

from pathlib import Path

import numpy as np
import pytest
import srsly
import torch
from thinc.api import Adam

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


class Line(torch.nn.Linear):
    def rate_groups(self) -> list[tuple[list[torch.nn.Parameter], float]]:
        return [([self.weight, self.bias], 1.0)]


def test_averages_count_late_steps_more_and_are_used_for_a_while() -> None:
    torch.manual_seed(0)
    shim = TorchShim(lambda _: Line(3, 2))
    shim.module = Line(3, 2)
    shim.module.bias.requires_grad_(False)
    sgd = Adam(0.1, use_averages=True)
    seen = []
    for step in range(5):
        shim.module(torch.full((1, 3), float(step))).square().sum().backward()
        shim.finish_update(sgd)
        seen.append(shim.module.weight.detach().numpy().copy())
    # The weight of step t of a polynomial of power 2 is in proportion to (t + 1)(t + 2).
    shares = [(t + 1) * (t + 2) for t in range(5)]
    expected = np.average(seen, axis=0, weights=shares)
    last, bias = seen[-1], shim.module.bias.detach().numpy().copy()
    assert sgd.averages
    with shim.use_params(sgd.averages):
        np.testing.assert_allclose(shim.module.weight.detach().numpy(), expected, rtol=1e-5)
        np.testing.assert_array_equal(shim.module.bias.detach().numpy(), bias)
    np.testing.assert_array_equal(shim.module.weight.detach().numpy(), last)
    with pytest.raises(KeyError), shim.use_params(sgd.averages):
        raise KeyError
    np.testing.assert_array_equal(shim.module.weight.detach().numpy(), last)


def test_other_averages_leave_a_module_alone() -> None:
    shim, other = TorchShim(lambda _: Line(3, 2)), TorchShim(lambda _: Line(3, 2))
    with shim.use_params({(other.id, "weight"): np.zeros((2, 3))}):
        assert not shim.has_module
    shim.module = Line(3, 2)
    before = shim.module.weight.detach().numpy().copy()
    with shim.use_params({(other.id, "weight"): torch.zeros(2, 3)}):
        np.testing.assert_array_equal(shim.module.weight.detach().numpy(), before)
