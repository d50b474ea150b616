"""Configs of the arms of a study."""

from dataclasses import replace
from pathlib import Path

from spacy_clinie.study.arms import arm_config, train_on
from spacy_clinie.study.presets import PRESETS, find_preset
from spacy_clinie.study.profiles import PROFILES

CPU = PROFILES["cpu"]


def test_published_rates_and_lengths_reach_the_config() -> None:
    gatortron, own = PRESETS["gatortron-base"], PRESETS["minilm"]
    config = arm_config("encoder-mrc", gatortron, "x", CPU)
    assert config["training"]["optimizer"]["learn_rate"]["initial_rate"] == 2e-5
    assert {component["model"]["window"] for component in config["components"].values()} == {512}
    config = arm_config("encoder-mrc", own, "x", CPU)
    assert config["training"]["optimizer"]["learn_rate"]["initial_rate"] == 2e-4
    assert {component["model"]["window"] for component in config["components"].values()} == {64}
    config = arm_config("encoder-tagger", own, "x", CPU)
    assert {component["model"]["window"] for component in config["components"].values()} == {192}


def test_published_adapters_and_prompts_reach_the_config() -> None:
    for name, attention in (("llama-3.1-8b", ["q_proj", "k_proj", "v_proj"]), ("gatortrongpt-5b=x", ["c_attn"])):
        component = arm_config("decoder-lora", find_preset(name), "x", CPU)["components"]["clinie_decoder_prompt"]
        published = {"r": 256, "lora_alpha": 256, "lora_dropout": 0.2, "target_modules": attention}
        assert component["model"]["adapter"] == published
        assert component["concepts"]["per_type"] and component["relations"]["per_type"]
        assert component["concepts"]["template"] is component["relations"]["template"] is None
        whole = arm_config("decoder-full", find_preset(name), "x", CPU)["components"]["clinie_decoder_prompt"]
        assert whole["model"]["adapter"] is None
    own = arm_config("decoder-lora", PRESETS["smollm2"], "x", CPU)["components"]["clinie_decoder_prompt"]
    assert own["model"]["adapter"]["target_modules"] == "all-linear"
    assert not own["concepts"]["per_type"]
    assert [own[asked]["template"] for asked in ("concepts", "relations")] == [
        "concepts_brief.v1",
        "relations_brief.v1",
    ]


def test_size_of_steps_reaches_the_config(tmp_path: Path) -> None:
    for arm in ("encoder-mrc", "encoder-pairs", "decoder-lora"):
        profile = replace(CPU, step_words=90, step_pieces=70)
        config = arm_config(arm, PRESETS["minilm" if arm.startswith("encoder") else "smollm2"], "x", profile)
        assert {component["model"]["step_pieces"] for component in config["components"].values()} == {70}
        filled = train_on(config, [], probe=tmp_path / "notes.spacy", steps=3, seed=0)
        assert filled["training"]["batcher"]["batcher"]["size"] == 90
