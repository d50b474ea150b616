"""A pipeline for all tests of `annotate`."""

from pathlib import Path

import pytest

from tests.annotate.helpers import make_pipeline


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return make_pipeline(tmp_path)
