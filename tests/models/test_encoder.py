"""What all our encoder models share: adapters, windows, layers with their learning rates, and bf16."""

from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch

import numpy as np
import pytest
import spacy
import torch
from peft.tuners.lora import Linear
from thinc.api import Adam

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.lora import LeanLinear
from spacy_clinie.models.token_vectors import TokenVectors
from spacy_clinie.training.optimizer import adamw
from tests.conftest import Examples, modules_of, tiny_settings
from tests.encoders import LORA, MODELS, build, train
from tests.sharing import ENCODER, HEADS, TEXT, listener
from tests.tiny import ARCHITECTURES, NO_GUESTS, make_encoder


def read_by(base: str, **more: Any) -> TokenVectors:
    options = {"lora": None, "window": 64, **more}
    return TokenVectors.create(tiny_settings(base, **options))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_weight_is_of_one_layer(kind: str, tmp_path: Path) -> None:
    module = read_by(make_encoder(tmp_path, kind))
    places: dict[str, Optional[int]] = {}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for parameters, above in module.layers():
        places |= {names[id(parameter)]: above for parameter in parameters}
    assert places.keys() == dict(module.named_parameters()).keys()
    assert sum(len(parameters) for parameters, _ in module.layers()) == len(places)
    for name, above in places.items():
        expected = {".layer.0.": 1, ".layers.0.": 1, "encoder.embeddings.": 2}
        assert above == next((place for part, place in expected.items() if part in name), 0), name


def test_adapters_are_of_their_layer(tiny_bert: str) -> None:
    module = read_by(tiny_bert, lora=LORA)
    places = {id(parameter): above for parameters, above in module.layers() for parameter in parameters}
    found = {
        (name.split("encoder.layer.")[1][0], places[id(parameter)])
        for name, parameter in module.named_parameters()
        if "lora_" in name and "encoder.layer." in name
    }
    assert found == {("0", 1), ("1", 0)}


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_weights_in_bf16_say_what_autocast_says_also_after_training(kind: str, lora: Any, tmp_path: Path) -> None:
    module = read_by(make_encoder(tmp_path, kind), lora=LORA if lora and kind == "bert" else None, precision="bf16")
    ids = [np.arange(3, 40), np.arange(5, 25)]

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        module.eval()
        with torch.inference_mode():
            found = module.encode(ids)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            table = torch.zeros(2, 37, dtype=torch.long)
            for row, own in zip(table, ids, strict=True):
                row[: len(own)] = torch.from_numpy(own)
            mask = torch.arange(37) < torch.tensor([[37], [20]])
            direct = module.encoder(input_ids=table, attention_mask=mask.long()).last_hidden_state.float()
        return found, direct * 1.0

    before, expected = both()
    assert torch.allclose(before, expected, atol=2e-2)
    module.encode(ids).square().sum().backward()
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            if parameter.grad is not None:
                parameter.add_(parameter.grad.sign(), alpha=0.1)
    after, expected = both()
    assert not torch.allclose(after, before, atol=2e-2)
    assert torch.allclose(after, expected, atol=2e-2)


def test_predictions_read_twice_as_much_at_once_as_training(tiny_bert: str) -> None:
    module = read_by(tiny_bert, batch_pieces=20)
    assert list(module.batches("abcd", [10, 9, 8, 7])) == [["a", "b"], ["c", "d"]]
    with torch.inference_mode():
        assert list(module.batches("abcd", [10, 9, 8, 7])) == [["a", "b", "c", "d"]]


def test_adapters_are_read_and_learn_as_peft_has_it(tiny_bert: str) -> None:
    module = read_by(tiny_bert, lora=LORA, precision="fp32").eval()
    adapters = {name: p for name, p in module.encoder.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for weight in adapters.values():
            weight.normal_(std=0.1)

    def gradients(vectors: torch.Tensor) -> dict[str, torch.Tensor]:
        vectors.square().sum().backward()
        found = {name: weight.grad.clone() for name, weight in adapters.items() if weight.grad is not None}
        module.zero_grad()
        return {**found, "vectors": vectors.detach()}

    ids = np.arange(3, 40)
    found = gradients(module.encode([ids]))
    with patch.object(LeanLinear, "forward", Linear.forward):
        expected = gradients(module.encoder(input_ids=torch.from_numpy(ids)[None]).last_hidden_state)
    assert found.keys() == expected.keys() == adapters.keys() | {"vectors"}
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max())), name


def test_weights_in_bf16_follow_a_step_that_spacy_takes_later(tiny_bert: str, make_examples: Any) -> None:
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_clinie.EncoderTagger.v1", **tiny_settings(tiny_bert), "precision": "bf16"}
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-2
    module = modules_of(pipe)[-1]
    pipe.update(examples, sgd=None)
    ids = [np.arange(3, 40)]

    def read() -> torch.Tensor:
        module.eval()
        with torch.inference_mode():
            return module.encode(ids)

    read()
    pipe.finish_update(sgd)
    after = read()
    module._cast = None
    assert after.equal(read())


def test_an_empty_list_of_adapter_settings_still_means_adapters(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("crf", tiny_bert)
    nlp.remove_pipe("clinie_ner_encoder")
    nlp.add_pipe("clinie_ner_encoder", config={"model": {**MODELS["crf"][1], "encoder": tiny_bert, "lora": {}}})
    nlp.initialize(lambda: make_examples(nlp))
    module = modules_of(nlp.get_pipe("clinie_ner_encoder"))[-1]
    trained = [name for name, weight in module.encoder.named_parameters() if weight.requires_grad]
    assert trained and all("lora" in name for name in trained)


@pytest.mark.parametrize("kind", ["crf", "mrc", "one_pass", "marked_pairs"])
def test_a_window_without_room_for_text_is_refused(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    factory, model = MODELS[kind]
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": tiny_settings(tiny_bert, **model | {"window": 5})})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    with pytest.raises(ClinieError, match="CIE310"):
        nlp.update(examples, sgd=sgd)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_learns(kind: str, tmp_path, make_examples) -> None:
    """Windows, special pieces, positions and segments differ; each must learn by heart, over several windows."""
    encoder = make_encoder(tmp_path, kind)
    relations = "marked_pairs" if kind in NO_GUESTS else "one_pass"
    for factory, settings_ in (MODELS["crf"], MODELS[relations], MODELS["mrc"]):
        nlp = spacy.blank("en")
        nlp.add_pipe(factory, config={"model": tiny_settings(encoder, **settings_)})
        examples = make_examples(nlp)
        losses = train(nlp, examples, steps=1)
        later = train_more(nlp, examples, 120)
        assert later[factory] < 0.5 * losses[factory]


def train_more(nlp, examples, steps):
    sgd = Adam(3e-3)
    for _ in range(steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses


def test_a_copy_reads_with_its_own_weights(tiny_bert: str, make_examples: Examples) -> None:
    """In bf16, copies of the weights are kept."""
    nlp = spacy.blank("en")
    nlp.add_pipe(ENCODER, config={"model": {**tiny_settings(tiny_bert), "precision": "bf16"}})
    model = {"@architectures": HEADS["clinie_ner_encoder"], "tok2vec": listener()}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples, sgd = make_examples(nlp), adamw(0.05)
    nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=sgd)
    nlp(TEXT)
    nlp.replace_listeners(ENCODER, "clinie_ner_encoder", ["model.tok2vec"])
    nlp.update(examples, sgd=sgd)
    module = modules_of(nlp.get_pipe("clinie_ner_encoder"))[-1]
    found = module.predict([nlp.make_doc(TEXT)])[0]
    module._cast = None
    np.testing.assert_array_equal(module.predict([nlp.make_doc(TEXT)])[0], found)
