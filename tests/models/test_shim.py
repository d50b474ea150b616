"""What the bytes of a torch module may and may not do."""

from pathlib import Path

import pytest
import srsly

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
