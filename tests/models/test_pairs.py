"""Relations by classifying candidate pairs."""

import pytest
import spacy

from spacy_clinie.errors import ClinieError
from tests.conftest import tiny_settings
from tests.encoders import MODELS
from tests.tiny import NO_GUESTS, make_encoder


@pytest.mark.parametrize("kind", NO_GUESTS)
def test_encoders_that_cannot_read_all_pairs_at_once_are_refused(kind: str, tmp_path, make_examples) -> None:
    nlp = spacy.blank("en")
    factory, settings_ = MODELS["one_pass"]
    nlp.add_pipe(factory, config={"model": tiny_settings(make_encoder(tmp_path, kind), **settings_)})
    with pytest.raises(ClinieError, match=r"CIE314.*MarkedPairs"):
        nlp.initialize(lambda: make_examples(nlp))
