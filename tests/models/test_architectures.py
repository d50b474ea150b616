"""Architectures: settings that are refused, and what their models take and give."""

import re
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie.errors import ClinieError
from spacy_clinie.training.optimizer import adamw
from tests.conftest import Examples, tiny_settings
from tests.encoders import MODELS
from tests.sharing import ENCODER, TEXT, build_shared


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


def test_docs_that_no_encoder_has_read_are_refused(trained: Language) -> None:
    with trained.select_pipes(disable=ENCODER), pytest.raises(ClinieError, match="CIE337"):
        trained(TEXT)
    other = Doc(trained.vocab, words=["a", "b"])
    other.tensor = np.zeros((2, 5), dtype="f")
    with pytest.raises(ClinieError, match=r"CIE337.*\(2, 5\)"):
        trained.get_pipe("clinie_ner_encoder").predict([other])  # type: ignore[attr-defined]


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_heads_of_others_get_no_gaps_where_a_step_leaves_tokens_out(
    own: bool, tiny_bert: str, make_examples: Examples
) -> None:
    nlp = spacy.blank("en")
    settings = tiny_settings(tiny_bert, window=16, overlap=2, step_pieces=32)
    layer = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32, "upstream": ENCODER}
    if own:
        layer = {"@architectures": "spacy_clinie.Encoder.v1", **settings}
    else:
        nlp.add_pipe(ENCODER, config={"model": settings})
    reduce = {"use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False, "use_reduce_mean": True}
    model = {"@architectures": "spacy.TextCatReduce.v1", "exclusive_classes": True, "tok2vec": layer, **reduce}
    nlp.add_pipe("textcat", config={"model": model})
    examples = make_examples(nlp)
    for example in examples:
        example.reference.cats = {"YES": 1.0, "NO": 0.0}
    nlp.initialize(lambda: examples)
    losses = nlp.update(examples, sgd=adamw(1e-3))
    assert all(np.isfinite(loss) for loss in losses.values())
    assert np.isfinite(nlp(TEXT).cats["YES"])
