import os
from pathlib import Path

import pytest
import spacy

CORPORA = Path(os.environ.get("CLINIE_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of the real open corpora."""
    if not CORPORA.is_dir():
        pytest.skip("the open corpora are not here: set CLINIE_CORPORA to their folder")
    return CORPORA


@pytest.fixture
def nlp() -> spacy.Language:
    return spacy.blank("en")
