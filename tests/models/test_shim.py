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
