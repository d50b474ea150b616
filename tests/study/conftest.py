"""A study of the invented notes with tiny models, done once."""

from pathlib import Path

import pytest

from spacy_clinie.study.run import run_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both studies of the profile smoke."""
    folder: Path = tmp_path_factory.mktemp("study")
    for name in ("single", "loo"):
        counts = run_study(name, folder, profile="smoke", corpora=folder, jobs=2)  # type: ignore[arg-type]
        assert counts["failed"] == 0
        assert counts["finished"] + counts["done"] == counts["folds"] > 0
    return folder
