"""Arms as configs for `spacy train`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from thinc.api import Config

from ..errors import ClinieError
from .presets import Preset
from .profiles import Profile

_FOLDER = Path(__file__).parent / "arms"
# Share of the steps for warm-up, as in benchmarks/.
_WARM_UP = 0.1
_PROMPTS = {"concepts": "spacy_clinie.ConceptPrompt.v1", "relations": "spacy_clinie.RelationPrompt.v1"}


def arm_config(arm: str, preset: Preset, base: str, profile: Profile, *, relations: bool = True) -> Config:
    """The config of an arm over a base model, without corpora and steps.

    arm (str): Name of the arm.
    preset (Preset): The settings of the base model.
    base (str): Its weights.
    profile (Profile): How much a step reads.
    relations (bool): Whether to train on relations. False if no corpus has any.
    RETURNS (Config): A config for `train_on` to complete.
    """
    config = Config().from_disk(_FOLDER / "training.cfg", interpolate=False)
    config = config.merge(Config().from_disk(_FOLDER / f"{arm}.cfg", interpolate=False))
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
                component[asked] = {"@misc": prompt, "window": preset.window, "each": preset.each, "template": template}
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
