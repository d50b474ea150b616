"""Vectors of tokens by an encoder: their width, and zeros for blanks."""

import numpy as np
from spacy.language import Language
from thinc.api import Model

from tests.sharing import ENCODER, TEXT


def test_vectors_have_the_width_that_layers_of_thinc_know_and_blanks_have_zeros(trained: Language) -> None:
    model: Model = trained.get_pipe(ENCODER).model  # type: ignore[attr-defined]
    doc = trained(TEXT)
    assert model.get_dim("nO") == doc.tensor.shape[1] == 32
    assert doc.tensor.shape[0] == len(doc) and doc.tensor.dtype == np.float32
    blanks = [token.i for token in doc if token.is_space]
    assert blanks and not doc.tensor[blanks].any()
