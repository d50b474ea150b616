"""Architectures refuse settings that make no sense, and say what they are for."""

import re
from typing import Any

import pytest
import spacy

from spacy_clinie.errors import ClinieError
from tests.conftest import tiny_settings
from tests.encoders import MODELS
from tests.sharing import build_shared


@pytest.mark.parametrize(
    "kind, setting, value",
    [
        ("crf", "head", "crff"),
        ("crf", "threshold", -0.1),
        ("crf", "threshold", 1.1),
        ("crf", "overlap", -1),
        ("crf", "batch_pieces", 0),
        ("mrc", "precision", "fp8"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(kind: str, setting: str, value: Any) -> None:
    factory, model = MODELS[kind]
    with pytest.raises(ClinieError, match=rf"CIE307.*{setting} must be .*, got {re.escape(repr(value))}"):
        spacy.blank("en").add_pipe(factory, config={"model": {**model, setting: value}})


def test_a_language_model_is_trained_by_its_component_alone(tiny_decoder: str) -> None:
    model = {"@architectures": "spacy_clinie.CausalLM.v1", "base": tiny_decoder, "device": "cpu"}
    pipe: Any = spacy.blank("en").add_pipe("clinie_decoder_prompt", config={"model": model})
    with pytest.raises(ClinieError, match="CIE335"):
        pipe.model.begin_update(([], []))


def test_settings_that_moved_are_refused_by_name(tiny_bert: str) -> None:
    for setting in ("dropout", "head_rate", "layer_rate"):
        settings = {"@architectures": "spacy_clinie.EncoderTagger.v1", **tiny_settings(tiny_bert), setting: 0.1}
        with pytest.raises(ValueError, match=setting):
            spacy.blank("en").add_pipe("clinie_ner_encoder", config={"model": settings})


@pytest.mark.parametrize("value", [-0.5])
def test_a_weight_below_zero_is_refused(value: float, tiny_bert: str) -> None:
    with pytest.raises(ClinieError, match=r"CIE307.*grad_factor"):
        build_shared(tiny_bert, clinie_rel={"grad_factor": value})
