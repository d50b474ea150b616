"""A head that reads the vectors of a shared encoder."""

import gc
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.util import fix_random_seed
from thinc.api import Config

from spacy_clinie.errors import ClinieError
from spacy_clinie.training.optimizer import adamw
from tests.conftest import Examples, tiny_settings
from tests.sharing import ENCODER, HEADS, build_shared, listener, said, weights


@pytest.mark.parametrize("name", HEADS)
def test_a_step_through_a_listener_is_that_of_an_encoder_of_its_own(
    name: str, tiny_bert: str, make_examples: Examples
) -> None:
    own = spacy.blank("en")
    encoder = {"@architectures": "spacy_clinie.Encoder.v1", **tiny_settings(tiny_bert, window=64, overlap=8)}
    own.add_pipe(name, config={"model": {"@architectures": HEADS[name], "tok2vec": encoder}})
    shared = build_shared(tiny_bert, [name])
    for nlp in (own, shared):
        fix_random_seed(0)
        examples = make_examples(nlp)
        nlp.initialize(lambda examples=examples: examples)
        sgd = adamw(1e-3)
        for _ in range(2):
            nlp.update(examples, sgd=sgd, drop=0.0)
    expected, found = weights(own, name), weights(shared, name) | weights(shared)
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        np.testing.assert_allclose(found[key], weight, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("late", [False, True], ids=["spacy train", "nlp.update"])
def test_the_encoder_learns_from_all_and_as_much_as_each_may_teach_it(
    late: bool, tiny_bert: str, make_examples: Examples
) -> None:
    """SGD with a rate of 1 subtracts the gradient."""
    block = Config().from_str('[sgd]\n@optimizers = "SGD.v1"\nlearn_rate = 1.0\ngrad_clip = 0.0\nL2 = 0.0')
    steps = {}
    for tagger, rel in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 3.0)):
        factors = {"clinie_ner_encoder": {"grad_factor": tagger}, "clinie_rel": {"grad_factor": rel}}
        nlp = build_shared(tiny_bert, **factors)
        examples = make_examples(nlp)
        fix_random_seed(0)
        nlp.initialize(lambda examples=examples: examples)
        before, sgd = weights(nlp), spacy.registry.resolve(block)["sgd"]
        if late:
            nlp.update(examples, sgd=sgd, drop=0.0)
        else:
            nlp.update(examples, sgd=False, drop=0.0)  # type: ignore[arg-type]
            for _, pipe in nlp.pipeline:
                pipe.finish_update(sgd)  # type: ignore[attr-defined]
        steps[tagger, rel] = {key: weight - before[key] for key, weight in weights(nlp).items()}
    assert any(step.any() for step in steps[1.0, 0.0].values())
    for key in steps[1.0, 1.0]:
        tagger, rel = steps[1.0, 0.0][key], steps[0.0, 1.0][key]
        np.testing.assert_allclose(steps[1.0, 1.0][key], tagger + rel, atol=1e-5, err_msg=key)
        np.testing.assert_allclose(steps[1.0, 3.0][key], tagger + 3 * rel, atol=1e-5, err_msg=key)


def test_a_listener_wants_an_encoder_before_it(tiny_bert: str, make_examples: Examples) -> None:
    nlp = spacy.blank("en")
    model = {"@architectures": HEADS["clinie_ner_encoder"], "tok2vec": listener(upstream="other")}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    nlp.add_pipe(ENCODER, name="other", config={"model": tiny_settings(tiny_bert)})
    with pytest.raises(ClinieError, match=r"CIE338.*'other'"):
        nlp.initialize(lambda: make_examples(nlp))


def test_another_batch_than_the_encoders_is_refused(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.get_pipe(ENCODER).update(examples)  # type: ignore[attr-defined]
    with pytest.raises(ClinieError, match="CIE336"):
        nlp.get_pipe("clinie_rel").update(examples[:1])  # type: ignore[attr-defined]


def test_a_removed_encoder_is_missed(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build_shared(tiny_bert)
    nlp.remove_pipe(ENCODER)
    gc.collect()
    with pytest.raises(ClinieError, match="CIE338"):
        nlp.initialize(lambda: make_examples(nlp))


@pytest.mark.environment
def test_a_listener_becomes_an_encoder(trained: Language, tmp_path: Path) -> None:
    expected = said(trained)
    for name in HEADS:
        trained.replace_listeners(ENCODER, name, ["model.tok2vec"])
    trained.remove_pipe(ENCODER)
    assert said(trained) == expected
    trained.to_disk(tmp_path / "model")
    assert said(spacy.load(tmp_path / "model")) == expected
    shims = [shim for name in HEADS for node in trained.get_pipe(name).model.walk() for shim in node.shims]  # type: ignore[attr-defined]
    assert len({shim.id for shim in shims}) == len(shims) == 4  # or an optimizer would take two for one
