"""`LeanLinear` computes the same as peft's own layer."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from spacy.language import Language
from spacy.training import Example
from transformers import AutoModelForCausalLM

from spacy_clinie.doc.concepts import get_scores, get_spans
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.models import lora as lora_module
from spacy_clinie.models.adapters import add_adapter, load_adapter
from spacy_clinie.models.lora import LeanLinear
from spacy_clinie.models.pretrained import weights_in
from tests.conftest import modules_of
from tests.decoders import build_for_concepts
from tests.encoders import LORA, MODELS, build
from tests.tiny import DECODERS, make_decoder

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def tuned(folder: Path, kind: str = "llama", dtype: torch.dtype = torch.float32, **lora: Any) -> tuple[Any, Any]:
    """Two models with equal adapters that are not zero, as after training: one with peft's layers, one with ours."""
    settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    place = make_decoder(folder, kind)
    models = []
    for lean in (False, True):
        base = AutoModelForCausalLM.from_pretrained(place, **weights_in(dtype))
        models.append(add_adapter(base, settings) if lean else get_peft_model(base, LoraConfig(**settings)))
    torch.manual_seed(0)
    for (name, weight), (_, same) in zip(*(model.named_parameters() for model in models), strict=True):
        if "lora_" in name:
            weight.data = torch.randn_like(weight) * 0.1
            same.data = weight.data.clone()
    return models[0].train(), models[1].train()


def layers(model: Any) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, Linear)]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """The gradients of all trainable weights, and the loss."""
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return {**found, "loss": loss.detach()}


def off(one: torch.Tensor, other: torch.Tensor) -> float:
    """The norm of the difference, as a share of the norm of the first."""
    return float(torch.linalg.norm((one - other).detach().float()) / torch.linalg.norm(one.detach().float()))


def assert_close(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], share: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert off(value, found[name]) < share, name


@pytest.mark.parametrize("kind", DECODERS)
def test_outputs_and_gradients_equal_those_of_peft(kind: str, tmp_path: Path) -> None:
    plain, lean = tuned(tmp_path, kind, torch.float64)
    expected = gradients(plain)
    assert len(expected) > 4
    with patch.object(Linear, "forward", lambda *_: pytest.fail("peft's own layer computed")):
        if kind != "gpt2":  # its layers are of a class of transformers, for which peft makes its own
            assert all(type(layer) is LeanLinear for layer in layers(lean))
            assert_close(expected, gradients(lean), 1e-9)
    assert_close(expected, gradients(lean), 1e-9)


def test_gradients_in_bf16_are_close_to_those_of_peft(tmp_path: Path) -> None:
    plain, lean = tuned(tmp_path, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(gradients(plain), gradients(lean), 0.1)


def test_cast_weights_follow_changes(tmp_path: Path) -> None:
    _, model = tuned(tmp_path, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        before = model(input_ids=IDS).logits.clone()
    with torch.no_grad():
        for layer in layers(model):
            layer.lora_B["default"].weight.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        gradients(model)  # with weights that were cast in inference mode
        assert off(before, model(input_ids=IDS).logits) > 0.01
        with model.disable_adapter():
            base = model(input_ids=IDS).logits
        assert off(base, model(input_ids=IDS).logits) < 1e-6


@pytest.mark.parametrize("trains", ["bias", "weight"])
def test_a_trainable_base_gets_gradients(trains: str, tmp_path: Path) -> None:
    models = tuned(tmp_path, "qwen3" if trains == "weight" else "gpt2")
    for model in models:
        for layer in layers(model):
            if getattr(layer.base_layer, trains) is not None:
                getattr(layer.base_layer, trains).requires_grad_(True)
    expected, found = map(gradients, models)
    assert any("base_layer" in name for name in expected)
    assert_close(expected, found, 1e-4)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"lora_bias": True}])
def test_variants_of_lora_are_computed_by_peft(settings: dict[str, Any], tmp_path: Path) -> None:
    plain, lean = tuned(tmp_path, **settings)
    with patch.object(lora_module, "linear", None), patch.object(lora_module, "_Products", None):
        gradients(lean)
        if "lora_dropout" in settings:  # nothing is dropped in prediction
            with pytest.raises((TypeError, AttributeError)):
                lean.eval()(input_ids=IDS)
    plain.eval(), lean.eval()
    assert off(plain(input_ids=IDS).logits, lean(input_ids=IDS).logits) < 1e-4


def test_adapters_can_be_merged_and_disabled(tmp_path: Path) -> None:
    _, model = tuned(tmp_path)
    model.eval()
    adapted = model(input_ids=IDS).logits
    with model.disable_adapter():
        bare = model(input_ids=IDS).logits
    model.merge_adapter()
    merged = model(input_ids=IDS).logits
    model.unmerge_adapter()
    assert off(adapted, merged) < 1e-4 < off(adapted, bare)
    assert off(adapted, model(input_ids=IDS).logits) < 1e-4


def test_saved_adapters_are_interchangeable_with_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    plain, lean = tuned(tmp_path / "base")
    for name, model in (("plain", plain), ("lean", lean)):
        model.save_pretrained(str(tmp_path / name))
    expected = plain.eval()(input_ids=IDS).logits

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(str(tmp_path / "base"), torch_dtype=torch.float32)

    from spacy_clinie.models.pretrained import load_tokenizer

    ours, _ = load_adapter(base(), load_tokenizer(str(tmp_path / "base")), tmp_path / "plain")
    theirs = PeftModel.from_pretrained(base(), str(tmp_path / "lean"))
    assert all(type(layer) is LeanLinear for layer in layers(ours))
    assert all(type(layer) is Linear for layer in layers(theirs))
    assert off(expected, ours.eval()(input_ids=IDS).logits) < 1e-4
    assert off(expected, theirs.eval()(input_ids=IDS).logits) < 1e-4


KINDS = ["lora", "marked_pairs", "one_pass", "decoder"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_threads_can_share_a_pipeline(
    kind: str, tiny_bert: str, tiny_decoder: str, make_examples: Callable[[Language], list[Example]]
) -> None:
    if kind == "decoder":
        nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": LORA | {"target_modules": "all-linear"}})
        nlp.initialize()
    else:
        with patch.dict(MODELS[kind][1], lora=LORA):
            nlp = build(kind, tiny_bert)
        examples = make_examples(nlp)
        nlp.initialize(lambda: examples)
    module = modules_of(nlp.get_pipe(nlp.pipe_names[-1]))[-1]
    assert any(type(layer) is LeanLinear for layer in module.modules())
    text = "Took aspirin {}mg for pain. "
    texts = [[text.format(n) * (1 + n % 4) + "Then developed rash." for n in range(k, 24, 2)] for k in (0, 1)]
    expected = [[said(nlp, text) for text in own] for own in texts]
    found: list[list[Any]] = [[], []]
    start = threading.Barrier(2)

    def ask(k: int) -> None:
        start.wait()
        for text in texts[k]:
            try:
                found[k].append(said(nlp, text))
            except Exception as error:
                found[k].append(error)

    threads = [threading.Thread(target=ask, args=(k,)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def said(nlp: Language, text: str) -> Any:
    """What a pipeline finds in a text, with scores."""
    doc = nlp(text)
    spans = [(span.start, span.end, span.label_) for span in get_spans(doc)]
    scores = [round(score or 0, 3) for score in get_scores(doc)]
    relations = [(rel.head.start, rel.tail.start, rel.label, round(rel.score or 0, 3)) for rel in get_relations(doc)]
    return spans, scores, relations
