"""Arms as configs of `spacy train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinc.api import Config

from ..errors import ClinieError
from .presets import Preset
from .profiles import Profile

_FOLDER = Path(__file__).parent / "arms"
# A tenth of the steps, as in the comparisons under benchmarks/.
_WARM_UP = 0.1
_PROMPTS = {"concepts": "spacy_clinie.ConceptPrompt.v1", "relations": "spacy_clinie.RelationPrompt.v1"}


def arm_config(arm: str, preset: Preset, base: str, profile: Profile, *, relations: bool = True) -> Config:
    """An arm over a base model, without corpora and steps.

    arm (str): Name of the arm.
    preset (Preset): The base model's lengths and settings.
    base (str): Where its weights are.
    profile (Profile): What a step reads.
    relations (bool): Whether relations are learnt too; False where no corpus has any.
    RETURNS (Config): For `spacy train`, once `train_on` has filled it in.
    """
    config = Config().from_disk(_FOLDER / "training.cfg", interpolate=False)
    config = config.merge(Config().from_disk(_FOLDER / f"{arm}.cfg", interpolate=False))
    config["training"]["batcher"]["batcher"]["size"] = profile.step_words
    if arm in preset.rates:
        config["training"]["optimizer"]["learn_rate"]["initial_rate"] = preset.rates[arm]
    if arm in preset.head_factors:
        config["training"]["optimizer"]["head_factor"] = preset.head_factors[arm]
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
                    "each": preset.each,
                    "template": template,
                }
        component["model"].update(preset.models.get(arm, {}))
    # A language model that learnt no relations can be asked for them all the same; an encoder would be without a task.
    if not relations:
        config["components"].pop("clinie_rel", None)
        config["nlp"]["pipeline"] = list(config["components"])
    return config


def train_on(
    config: Config,
    corpora: Mapping[str, Mapping[str, Any]],
    *,
    probe: Path,
    steps: int,
    seed: int,
    stem: Path | None = None,
) -> Config:
    """Fill in what a fold is trained on. Nothing is chosen on a development set: the last step counts.

    config (Config): From `arm_config`.
    corpora (Mapping[str, Mapping[str, Any]]): Settings of `spacy_clinie.Corpus.v1`, by the name of the corpus.
    probe (Path): A `.spacy` file with one short Doc: spaCy evaluates before the first step and behind the last.
    steps (int): Steps of training, 2 or more.
    seed (int): Of weights, order and dropout.
    stem (Path | None): A pipeline to go on from; components that it does not have begin anew.
    RETURNS (Config): What `spacy train` takes.
    RAISES (ClinieError): CIE487 if `stem` is not there.
    """
    filled = config.copy()
    # Not by their names: a config takes a dot for a section within a section, and a folder may have one in its name.
    readers = {
        f"corpus{number}": {"@readers": "spacy_clinie.Corpus.v1", **settings}
        for number, settings in enumerate(corpora.values(), start=1)
    }
    filled["corpora"]["train"] = {"@readers": "spacy_clinie.Mixed.v1", "corpora": readers, "seed": seed}
    filled["corpora"]["dev"] = {"@readers": "spacy_clinie.Corpus.v1", "path": str(probe)}
    filled["system"]["seed"] = seed
    # spaCy counts steps from 0, and takes 0 for no end.
    filled["training"].update(max_steps=max(steps - 1, 1), eval_frequency=steps)
    filled["training"]["optimizer"]["learn_rate"].update(
        warmup_steps=max(1, round(_WARM_UP * steps)), total_steps=steps
    )
    if stem is not None:
        if not (stem / "config.cfg").is_file():  # without it, every component would begin anew
            raise ClinieError("CIE487", folder=stem.parent.name)
        sourced = {name: {"source": str(stem)} for name in filled["components"] if (stem / name).is_dir()}
        filled["components"].update(sourced)
    return filled
