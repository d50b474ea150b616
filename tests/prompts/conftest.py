"""Prompts as token ids, and texts of answers."""

import pytest

from spacy_clinie.models.pretrained import load_tokenizer
from spacy_clinie.prompts.codec import Codec
from tests.tiny import make_decoder

TEXT = "Took aspirin 25mg for pain.\nRash after aspirin."
LABELS = ["Drug", "Finding", "Order"]


@pytest.fixture(scope="module", params=[True, False], ids=["chat", "plain"])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return Codec(load_tokenizer(make_decoder(tmp_path_factory.mktemp("decoder"), chat=request.param)))
