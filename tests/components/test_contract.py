"""What every component and its model owe a pipeline, for each component and architecture."""

import os
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.errors import ClinieError
from spacy_clinie.models.mrc import SpanScores
from tests.conftest import Examples, modules_of, tiny_settings, weights_of
from tests.encoders import MODELS, Learnt, assert_same, build, items

KINDS = [*MODELS, "tok2vec"]


@pytest.fixture(params=KINDS)
def learner(request: pytest.FixtureRequest, tiny_bert: str, make_examples: Examples) -> tuple[Any, list[Example]]:
    """An initialized component and its batch."""
    if request.param == "tok2vec":
        tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 1}
        tok2vec |= {"embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
        nlp = spacy.blank("en")
        model = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": tok2vec}
        nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    else:
        nlp = build(request.param, tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe(nlp.pipe_names[-1])
    if "unanswered" in pipe.module.options:
        pipe.module.options["unanswered"] = None
    return pipe, examples


def arrays(scores: list[Any]) -> list[np.ndarray]:
    """The numbers of scores, or of their gradient."""
    if not isinstance(scores[0], SpanScores):
        return scores
    return [array for one in scores for array in (one.edges, one.logits)]


def test_a_model_scores_in_training_what_it_scores_in_prediction(learner: tuple[Any, list[Example]]) -> None:
    """So no gold comes in: without dropout, the same inputs have the same scores."""
    pipe, examples = learner
    inputs = pipe.inputs(examples)
    scores, _ = pipe.model.begin_update(inputs)
    predicted = pipe.model.predict(inputs)
    if isinstance(scores[0], SpanScores):  # which spans are scored depends on a threshold
        scores, predicted = [one.edges for one in scores], [one.edges for one in predicted]
    for own, other in zip(scores, predicted, strict=True):
        assert not np.isnan(own).any()
        np.testing.assert_allclose(own, other, atol=1e-4)


def test_the_gradient_of_a_loss_is_its_slope(learner: tuple[Any, list[Example]]) -> None:
    pipe, examples = learner
    scores, _ = pipe.model.begin_update(pipe.inputs(examples))
    loss, gradients = pipe.get_loss(examples, scores)
    assert loss > 0
    chance = np.random.default_rng(0)
    compared = 0
    for own, slopes in zip(arrays(scores), arrays(gradients), strict=True):
        assert own.shape == slopes.shape and slopes.dtype == np.float32
        for _ in range(2 if own.size else 0):
            place = tuple(chance.integers(own.shape))
            if own[place] <= -100:  # of what is not allowed
                assert slopes[place] == 0
                continue
            sides = []
            held = own[place]
            for step in (0.1, -0.1):
                own[place] = held + step
                sides.append(float(pipe.get_loss(examples, scores)[0]))
            own[place] = held
            assert (sides[0] - sides[1]) / 0.2 == pytest.approx(
                float(slopes[place]), abs=2e-2 * float(abs(slopes).max()) + 1e-6
            )
            compared += 1
    assert compared > 3


def test_gradients_go_back_to_the_weights(learner: tuple[Any, list[Example]]) -> None:
    """Along the gradient, the loss rises by as much as the gradient is long."""
    pipe, examples = learner
    inputs = pipe.inputs(examples)

    def loss() -> float:
        scores, _ = pipe.model.begin_update(inputs)
        return pipe.get_loss(examples, scores)[0]

    scores, backprop = pipe.model.begin_update(inputs)
    backprop(pipe.get_loss(examples, scores)[1])
    weights = [weight for weight in weights_of(pipe) if weight.grad is not None]
    length = float(sum(weight.grad.square().sum() for weight in weights)) ** 0.5
    sides = []
    for step in (1e-2, -2e-2):
        with torch.no_grad():
            for weight in weights:
                weight.add_(weight.grad, alpha=step / length)
        sides.append(loss())
    assert (sides[0] - sides[1]) / 2e-2 == pytest.approx(length, rel=0.05)


def test_an_update_is_scores_their_loss_and_its_gradient(learner: tuple[Any, list[Example]]) -> None:
    pipe, examples = learner
    fix_random_seed(1)
    losses = pipe.update(examples, drop=0.0)
    once = [weight.grad.clone() for weight in weights_of(pipe) if weight.grad is not None]
    for module in modules_of(pipe):
        module.zero_grad()
    fix_random_seed(1)
    scores, backprop = pipe.model.begin_update(pipe.inputs(examples))
    loss, gradients = pipe.get_loss(examples, scores)
    backprop(gradients)
    assert losses == {pipe.name: loss}
    again = [weight.grad for weight in weights_of(pipe) if weight.grad is not None]
    assert all((one == other).all() for one, other in zip(once, again, strict=True))


@pytest.mark.parametrize("kind", ["crf", "softmax", "one_pass", "marked_pairs", "pair_mrc", "tok2vec_pairs"])
def test_what_a_step_leaves_out_has_no_scores_and_no_gradient(
    kind: str, tiny_bert: str, make_examples: Examples
) -> None:
    nlp = build(kind, tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe(MODELS[kind][0])
    modules_of(pipe)[-1].options["step_pieces"] = 120 if kind == "pair_mrc" else 60
    scores, backprop = pipe.model.begin_update(pipe.inputs(examples))
    _, gradients = pipe.get_loss(examples, scores)
    left_out = [np.isnan(own) for own in scores]
    assert 0 < sum(own.sum() for own in left_out) < sum(own.size for own in left_out)
    for own, slopes in zip(left_out, gradients, strict=True):
        assert (slopes[own] == 0).all() and not np.isnan(slopes).any()
    assert any(slopes.any() for slopes in gradients)
    backprop(gradients)


def test_scores_that_are_no_numbers_end_a_training(learner: tuple[Any, list[Example]]) -> None:
    """They must not look like what a step left out."""
    pipe, examples = learner
    with torch.no_grad():
        for weight in pipe.module.head.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(ClinieError, match="CIE450"):
        pipe.update(examples, drop=0.0)


@pytest.mark.parametrize("kind", MODELS)
def test_it_knows_by_heart_after_saving_what_it_learnt(kind: str, learnt: Learnt, tiny_bert: str) -> None:
    folder, notes = learnt(kind)
    nlp = spacy.load(folder)
    copy = build(kind, tiny_bert).from_bytes(nlp.to_bytes())
    for other in (nlp, copy):
        examples = [Example(other.make_doc(note.text), doc_from_note(other.make_doc, note)[0]) for note in notes]
        scores = other.evaluate(examples)
        assert scores["relations_gold_f" if "rel" in MODELS[kind][0] else "concepts_f"] == 1.0
    for text in (*(note.text for note in notes), "Took aspirin 25mg for headache.\nThen developed nausea."):
        assert_same(nlp(text), copy(text))


@pytest.mark.environment
@pytest.mark.parametrize("kind", MODELS)
def test_pipe_equals_call_also_on_odd_texts(kind: str, learnt: Learnt) -> None:
    folder, notes = learnt(kind)
    nlp = spacy.load(folder)
    texts = [
        notes[0].text,  # of which it is sure
        "",
        " ",
        "\n",
        "aspirin",
        "Took aspirin 25mg for pain.",
        "[SEP]",
        "\r\n\t\u200b",
        "é\u0301 🩺 aspirin",
        "aspirin " * 300,
    ]
    for text, doc in zip(texts, nlp.pipe(texts, batch_size=4), strict=True):
        assert doc.text == text
        assert_same(nlp(text), doc)
        for span in get_spans(doc):
            assert 0 <= span.start < span.end <= len(doc)
    assert sum(score > 0.9 for score in items(nlp(notes[0].text)).values()) >= 3


@pytest.mark.parametrize("parallel", [None, "true"])
def test_two_processes_do_not_hang_and_agree(
    parallel: str | None,
    learnt: Learnt,
    tiny_bert: str,
    make_examples: Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forks inherit torch's dead thread pool; see `models.forks`."""
    nlp = spacy.load(learnt("crf")[0])
    nlp.add_pipe("clinie_rel", config={"model": tiny_settings(tiny_bert, **MODELS["one_pass"][1])})
    examples = make_examples(nlp)
    nlp.get_pipe("clinie_rel").initialize(lambda: examples, nlp=nlp)
    texts = [example.text for example in examples] + ["", "No rash."]
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if parallel:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
    for alone, doc in zip(nlp.pipe(texts), nlp.pipe(texts, n_process=2, batch_size=2), strict=True):
        assert_same(doc, alone)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == parallel
