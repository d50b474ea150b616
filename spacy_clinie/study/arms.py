"""Arms as configs for `spacy train`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from thinc.api import Config

from ..errors import ClinieError
from .presets import Preset
from .profiles import Profile

# Share of the steps for warm-up, as in benchmarks/.
_WARM_UP = 0.1
_PROMPTS = {"concepts": "spacy_clinie.ConceptPrompt.v1", "relations": "spacy_clinie.RelationPrompt.v1"}
_LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}


def _encoder(
    rate: float, concepts: Optional[str], relations: str, *, lora: Optional[dict[str, Any]] = None, **optimizer: Any
) -> dict[str, Any]:
    """An arm with a model for concepts, if any, and one for relations."""
    settings = {"lora": lora} if lora else {}
    components: dict[str, Any] = {}
    if concepts:
        model = {"@architectures": concepts, **settings}
        components["clinie_ner_encoder"] = {"factory": "clinie_ner_encoder", "model": model}
    model = {"@architectures": relations, **settings}
    components["clinie_rel"] = {"factory": "clinie_rel", "max_distance": 1, "model": model}
    return _arm(rate, components, **optimizer)


def _decoder(rate: float, adapter: Optional[dict[str, Any]]) -> dict[str, Any]:
    """An arm with a language model: one prompt for the types of a window, and one for its relations."""
    model = {"@architectures": "spacy_clinie.CausalLM.v1", "adapter": adapter}
    return _arm(rate, {"clinie_decoder_prompt": {"factory": "clinie_decoder_prompt", "model": model}})


def _arm(rate: float, components: dict[str, Any], **optimizer: Any) -> dict[str, Any]:
    training = {"optimizer": {**optimizer, "learn_rate": {"initial_rate": rate}}}
    return {"nlp": {"pipeline": list(components)}, "components": components, "training": training}


# What the config of each arm adds to training.cfg.
_ARMS = {
    # Token classification, and all candidate pairs of a window in one pass.
    "encoder-tagger": _encoder(5e-5, "spacy_clinie.EncoderTagger.v1", "spacy_clinie.OnePass.v1"),
    # The same, but only adapters of the encoders are tuned.
    "encoder-lora": _encoder(5e-4, "spacy_clinie.EncoderTagger.v1", "spacy_clinie.OnePass.v1", lora=_LORA),
    # Machine reading comprehension: a question for each concept type, and for each head and relation type.
    "encoder-mrc": _encoder(5e-5, "spacy_clinie.EncoderMRC.v1", "spacy_clinie.PairMRC.v1", layer_decay=1.0),
    # Classification of pairs one at a time, between markers: only relations on gold concepts.
    "encoder-pairs": _encoder(5e-5, None, "spacy_clinie.MarkedPairs.v1"),
    # Adapters on every linear layer.
    "decoder-lora": _decoder(5e-4, {**_LORA, "lora_dropout": 0.0}),
    # Every weight is tuned.
    "decoder-full": _decoder(1e-4, None),
    # A small network that makes vectors before the prompt is tuned (Liu et al. 2021, arXiv 2103.10385).
    "decoder-ptuning": _decoder(1e-3, {"peft_type": "P_TUNING", "num_virtual_tokens": 20, "encoder_hidden_size": 256}),
}


def arm_config(arm: str, preset: Preset, base: str, profile: Profile, *, relations: bool = True) -> Config:
    """The config of an arm over a base model, without corpora and steps.

    arm (str): Name of the arm.
    preset (Preset): The settings of the base model.
    base (str): Its weights.
    profile (Profile): How much a step reads.
    relations (bool): Whether to train on relations. False if no corpus has any.
    RETURNS (Config): A config for `train_on` to complete.
    """
    config = Config().from_disk(Path(__file__).with_name("training.cfg"), interpolate=False).merge(_ARMS[arm])
    config["training"]["batcher"]["batcher"]["size"] = profile.step_words
    settings, optimizer = dict(preset.arms.get(arm, {})), config["training"]["optimizer"]
    if "rate" in settings:
        optimizer["learn_rate"]["initial_rate"] = settings.pop("rate")
    if "head_factor" in settings:
        optimizer["head_factor"] = settings.pop("head_factor")
    for component in config["components"].values():
        component["model"]["step_pieces"] = profile.step_pieces
        if profile.batch_pieces is not None:
            component["model"]["batch_pieces"] = profile.batch_pieces
        if preset.kind == "encoder":
            component["model"].update(encoder=base, window=preset.window)
        else:
            component["model"]["base"] = base
            for asked, prompt in _PROMPTS.items():
                template = f"{asked}_brief.v1" if preset.brief else None
                component[asked] = {
                    "@misc": prompt,
                    "window": preset.window,
                    "per_type": preset.per_type,
                    "template": template,
                }
        component["model"].update(settings)
    # A decoder without training on relations can still be asked for them; an encoder would have no labels.
    if not relations:
        config["components"].pop("clinie_rel", None)
        config["nlp"]["pipeline"] = list(config["components"])
    return config


def train_on(
    config: Config,
    corpora: Sequence[Mapping[str, Any]],
    *,
    probe: Path,
    steps: int,
    seed: int,
    parent: Optional[Path] = None,
) -> Config:
    """Complete the config of a fold. Nothing is selected on dev: the weights after the last step are the result.

    config (Config): From `arm_config`.
    corpora (Sequence[Mapping[str, Any]]): Settings of `spacy_clinie.Corpus.v1` for each corpus.
    probe (Path): A `.spacy` file with a short Doc, since spaCy evaluates before the first step and after the last.
    steps (int): Steps of training, 2 or more.
    seed (int): Seed of weights, order and dropout.
    parent (Optional[Path]): A pipeline to continue from. Components that it lacks are initialized.
    RETURNS (Config): A config for `spacy train`.
    RAISES (ClinieError): CIE487 if `parent` does not exist.
    """
    filled = config.copy()
    # Names of corpora may contain dots, which mean a section within a section in a config.
    readers = {
        f"corpus{number}": {"@readers": "spacy_clinie.Corpus.v1", **settings}
        for number, settings in enumerate(corpora, start=1)
    }
    filled["corpora"]["train"] = {"@readers": "spacy_clinie.Mixed.v1", "corpora": readers, "seed": seed}
    filled["corpora"]["dev"] = {"@readers": "spacy_clinie.Corpus.v1", "path": str(probe)}
    filled["system"]["seed"] = seed
    # spaCy counts steps from 0, and 0 means no limit.
    filled["training"].update(max_steps=max(steps - 1, 1), eval_frequency=steps)
    filled["training"]["optimizer"]["learn_rate"].update(
        warmup_steps=max(1, round(_WARM_UP * steps)), total_steps=steps
    )
    if parent is not None:
        if not (parent / "config.cfg").is_file():  # without this check, every component would be initialized
            raise ClinieError("CIE487", folder=parent.parent.name)
        sourced = {name: {"source": str(parent)} for name in filled["components"] if (parent / name).is_dir()}
        filled["components"].update(sourced)
    return filled
