"""Adapters of language models: training, saving, and putting them on their base."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from spacy.util import fix_random_seed
from transformers import AutoModelForCausalLM

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.adapters import add_adapter
from spacy_clinie.models.pretrained import load_encoder
from tests.conftest import Examples
from tests.decoders import HOSTILE, LORA, answers, build_for_concepts
from tests.encoders import build, train
from tests.tiny import make_decoder


@pytest.mark.parametrize("adapter", [LORA, {"peft_type": "P_TUNING", "num_virtual_tokens": 8}])
def test_training_changes_adapters_and_not_the_base(
    adapter: dict[str, Any], tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    fix_random_seed(0)
    nlp = build_for_concepts(tiny_decoder, model={"adapter": adapter})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-2
    module = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    frozen = {name: value.clone() for name, value in module.named_parameters() if not value.requires_grad}
    first = nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"]
    for _ in range(60):
        last = nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"]
    assert last < 0.8 * first
    assert frozen
    assert all(value.equal(frozen[name]) for name, value in module.named_parameters() if name in frozen)
    nlp.to_disk(tmp_path / "model")
    assert answers(spacy.load(tmp_path / "model"), [examples[0].text]) == answers(nlp, [examples[0].text])


def test_a_frozen_base_is_in_bf16_and_its_adapter_in_fp32(
    tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build_for_concepts(tiny_decoder, model={"adapter": LORA, "precision": "bf16"})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-2
    first = nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"]
    for _ in range(30):
        last = nlp.update(examples, sgd=sgd)["clinie_decoder_prompt"]
    assert last < 0.8 * first
    nlp.to_disk(tmp_path / "model")
    for pipeline in (nlp, spacy.load(tmp_path / "model")):
        module = pipeline.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
        kinds = {(parameter.requires_grad, str(parameter.dtype)) for parameter in module.parameters()}
        assert kinds == {(False, "torch.bfloat16"), (True, "torch.float32")}
        assert answers(pipeline, [examples[0].text])


def test_load_in_4bit_requires_an_adapter_and_bitsandbytes(
    tiny_decoder: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes", reason="4 bits need bitsandbytes")
    nlp = build_for_concepts(tiny_decoder, model={"load_in_4bit": True})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    with pytest.raises(ClinieError, match="CIE317"):
        nlp.update(examples, sgd=sgd)
    monkeypatch.setattr("spacy_clinie.models.pretrained.find_spec", lambda _: None)
    with pytest.raises(ClinieError, match="CIE316"):
        build_for_concepts(tiny_decoder, "n2c2_2018", model={"load_in_4bit": True}).initialize()


def test_an_adapter_that_peft_saved_can_be_used(tiny_decoder: str, make_examples: Examples, tmp_path: Path) -> None:
    weights = _trained_elsewhere(tiny_decoder, tmp_path / "adapter")
    nlp = build_for_concepts(tiny_decoder, model={"adapter": str(tmp_path / "adapter")})
    nlp.initialize(lambda: make_examples(nlp))
    (tmp_path / "adapter").rename(tmp_path / "gone")
    nlp.to_disk(tmp_path / "model")
    for pipeline in (nlp, spacy.load(tmp_path / "model")):
        module = pipeline.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
        held = {name: p for name, p in module.model.named_parameters() if "lora" in name}
        assert len(held) == len(weights)
        assert all(p.requires_grad and p.equal(weights[name]) for name, p in held.items())


def _trained_elsewhere(base: str, folder: Path) -> dict[str, torch.Tensor]:
    """An adapter as other trainers save it: only the files of peft."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **LORA))
    for name, parameter in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(str(folder))
    return {name: parameter.detach() for name, parameter in model.named_parameters() if "lora" in name}


def test_adapters_that_do_not_fit_are_refused(tiny_decoder: str, tmp_path: Path) -> None:
    _trained_elsewhere(tiny_decoder, tmp_path / "adapter")
    other = make_decoder(tmp_path / "gpt2", "gpt2")
    for base, adapter in ((other, tmp_path / "adapter"), (tiny_decoder, tmp_path / "nowhere")):
        nlp = build_for_concepts(base, "n2c2_2018", model={"adapter": str(adapter)})
        with pytest.raises(ClinieError, match="CIE328"):
            nlp.initialize()
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text("utf8").replace('"r": 16', '"r": 8'), encoding="utf8")
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": str(tmp_path / "adapter")})
    with pytest.raises(ClinieError, match="CIE328"):
        nlp.initialize()
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "other"): w for name, w in load_file(weights).items()}, weights)
    config.write_text(config.read_text("utf8").replace('"r": 8', '"r": 16'), encoding="utf8")
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": str(tmp_path / "adapter")})
    with pytest.raises(ClinieError, match="CIE328"):
        nlp.initialize()


def test_an_adapter_of_a_deeper_base_is_refused(tiny_decoder: str, tmp_path: Path) -> None:
    deep = make_decoder(tmp_path / "deep", layers=3)
    _trained_elsewhere(deep, tmp_path / "adapter")
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": str(tmp_path / "adapter")})
    with pytest.raises(ClinieError, match=r"CIE328.* match no layer "):
        nlp.initialize()


def test_adapters_that_name_another_base_give_a_warning(
    tiny_decoder: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    _trained_elsewhere(tiny_decoder, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    held = file.read_text("utf8")
    for name, told in ((f"there/{Path(tiny_decoder).name.upper()}", 0), ("there/another-model", 1)):
        file.write_text(held.replace(json.dumps(tiny_decoder), json.dumps(name)), encoding="utf8")
        assert name in file.read_text("utf8")
        nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": str(tmp_path / "adapter")})
        nlp.initialize()
        assert sum("CIE333" in str(one.message) for one in recwarn) == told


def test_an_adapter_on_another_base_is_refused(make_examples: Examples, tmp_path: Path) -> None:
    base = tmp_path / "base"
    nlp = build_for_concepts(make_decoder(base), model={"adapter": LORA})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    make_decoder(base, "mistral")
    with pytest.raises(ClinieError, match="CIE306"):
        spacy.load(tmp_path / "model")
    [record] = (tmp_path / "model").rglob("base.json")
    record.write_text("{}")
    with pytest.raises(ClinieError, match=r"CIE328.*base\.json cannot be read"):
        spacy.load(tmp_path / "model")
    record.unlink()
    with pytest.raises(ClinieError, match=r"CIE328.*base\.json.* is missing"):
        spacy.load(tmp_path / "model")


def test_an_adapter_on_a_fine_tuned_copy_of_its_base_is_refused(make_examples: Examples, tmp_path: Path) -> None:
    base = tmp_path / "base"
    nlp = build_for_concepts(make_decoder(base), model={"adapter": LORA})
    nlp.initialize(lambda: make_examples(nlp))
    nlp.to_disk(tmp_path / "model")
    [record] = (tmp_path / "model").rglob("base.json")
    written = json.loads(record.read_text("utf8"))
    [weights] = base.glob("*.safetensors")
    tuned = load_file(weights)
    name = next(name for name in tuned if name.endswith("layers.1.self_attn.v_proj.weight"))
    tuned[name] += 0.01
    save_file(tuned, weights, {"format": "pt"})
    with pytest.raises(ClinieError, match="CIE306"):
        spacy.load(tmp_path / "model")
    # The fingerprint of a base in 4 bits has no hash of the layers.
    record.write_text(json.dumps(written | {"fingerprint": written["fingerprint"].partition("-")[0]}), "utf8")
    spacy.load(tmp_path / "model")


def test_prefix_tuning_is_refused(tiny_decoder: str) -> None:
    nlp = build_for_concepts(
        tiny_decoder, "n2c2_2018", model={"adapter": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}}
    )
    with pytest.raises(ClinieError, match=r"CIE305.*PREFIX_TUNING"):
        nlp.initialize()


def test_virtual_tokens_shorten_the_context_length(tiny_decoder: str) -> None:
    limits = []
    for adapter in (None, {"peft_type": "P_TUNING", "num_virtual_tokens": 8}):
        nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": adapter})
        nlp.initialize()
        limits.append(nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module.lm_tokenizer.context_length)
    assert limits[0] - limits[1] == 8


@pytest.mark.parametrize(
    "adapter",
    [
        {**LORA, "target_modules": ["q_proj", "lm_head"]},
        {**LORA, "modules_to_save": ["lm_head"]},
        {"peft_type": "LN_TUNING"},
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trainable_weights_outside_lora_are_in_fp32(
    adapter: dict[str, Any], precision: str, tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build_for_concepts(tiny_decoder, model={"adapter": adapter, "precision": precision})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    module = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    learnt = {name: weight.clone() for name, weight in module.named_parameters() if weight.requires_grad}
    assert {str(weight.dtype) for weight in learnt.values()} == {"torch.float32"}
    for _ in range(3):
        nlp.update(examples, sgd=sgd)
    moved = [name for name, weight in module.named_parameters() if name in learnt and not weight.equal(learnt[name])]
    assert len(moved) == len(learnt)
    nlp.to_disk(tmp_path / "model")
    assert answers(spacy.load(tmp_path / "model"), [examples[0].text]) == answers(nlp, [examples[0].text])


@pytest.mark.parametrize(
    "adapter",
    [
        {**LORA, "alora_invocation_tokens": [5, 6]},
        {"peft_type": "ADALORA", "total_step": 9, "target_modules": ["q_proj"]},
        {"peft_type": "MULTITASK_PROMPT_TUNING", "num_virtual_tokens": 4, "num_tasks": 2},
    ],
)
def test_unsupported_adapters_are_refused(adapter: dict[str, Any], tiny_decoder: str) -> None:
    with pytest.raises(ClinieError, match=r"CIE305.*not supported"):
        build_for_concepts(tiny_decoder, "n2c2_2018", model={"adapter": adapter}).initialize()


def test_saving_adapters_asks_no_hub(
    tiny_decoder: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nlp = build_for_concepts(tiny_decoder, model={"adapter": LORA})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    module = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    for config in module.model.peft_config.values():
        config.base_model_name_or_path = "somebody/base"  # as in an adapter from elsewhere
    asked: list[str] = []
    monkeypatch.setattr(
        "peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *args, **_: asked.append(args[0])
    )
    nlp.to_disk(tmp_path / "model")
    assert not asked


def test_adapters_refuse_another_base(tiny_bert: str, make_examples: Examples, tmp_path: Path) -> None:
    import shutil

    import torch
    from transformers import AutoModel

    base = tmp_path / "base"
    shutil.copytree(tiny_bert, base)
    nlp = build("lora", str(base))
    train(nlp, make_examples(nlp), steps=1)
    nlp.to_disk(tmp_path / "model")
    assert sum(f.stat().st_size for f in (tmp_path / "model").rglob("*.safetensors")) < 100_000
    model = AutoModel.from_pretrained(base)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(base)
    with pytest.raises(ClinieError, match="CIE306"):
        spacy.load(tmp_path / "model")


@pytest.mark.environment
@pytest.mark.parametrize(
    "settings", [{"rank": 8}, {"peft_type": "NO_SUCH"}, {"r": 0}, {"r": 4, "target_modules": ["no_such_layer"]}]
)
def test_lora_settings_that_peft_refuses_are_passed_on(settings: dict[str, Any], tiny_bert: str) -> None:
    with pytest.raises(ClinieError, match="CIE305"):
        add_adapter(load_encoder(tiny_bert), settings)


def test_a_pipeline_loads_with_a_new_path_of_its_base(tiny_decoder: str, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_decoder, tmp_path / "before")
    nlp = build_for_concepts(str(moved), "n2c2_2018", model={"adapter": LORA})
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    moved.rename(tmp_path / "behind")
    setting = "components.clinie_decoder_prompt.model.base"
    with pytest.raises(ClinieError, match="CIE303"):
        spacy.load(tmp_path / "model")
    again = spacy.load(tmp_path / "model", config={setting: str(tmp_path / "behind")})
    assert answers(again, [HOSTILE]) == answers(nlp, [HOSTILE])
    other = make_decoder(tmp_path / "other", "mistral")
    with pytest.raises(ClinieError, match="CIE306"):
        spacy.load(tmp_path / "model", config={setting: other})
