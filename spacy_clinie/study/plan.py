"""The folds of a study. Each is trained and tested by itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal, NamedTuple, Optional

from .presets import Preset
from .profiles import Profile

Study = Literal["single", "loo", "cost"]
Stage = Literal["full", "multi", "zero", "shots"]

STUDIES: tuple[Study, ...] = ("single", "loo", "cost")
# Arms that can be asked for types that they were not trained on.
ZERO_SHOT_ARMS = ("encoder-mrc", "decoder-lora")
# Arms that tune every weight, and those that tune a part of them.
COST_ARMS = ("encoder-tagger", "encoder-lora", "decoder-full", "decoder-lora", "decoder-ptuning")
_FOLDER = re.compile(r"^([^/\\=]*=)?.*[/\\]")


def without_folder(name: str) -> str:
    """Remove the folder from `PATH` or `NAME=PATH`, since a report may be passed on."""
    return _FOLDER.sub(r"\1", name.rstrip("/\\"))


@dataclass(frozen=True)
class Fold:
    """A training and its test, or one of the two.

    study (Study): The study.
    arm (str): Name of the arm.
    base (str): Base model, see `presets.find_preset`.
    corpus (str): The corpus to test on; for the stage "multi", the one that is left out.
    stage (Stage): "full": trained on the corpus. "multi": trained on the others, not tested. "zero": the result of
        "multi", tested. "shots": trained on a few documents of the corpus.
    steps (int): Steps of training; 0 for none.
    shots (Optional[int]): Number of these documents.
    draw (Optional[int]): Seed that draws them.
    multitask (bool): Whether training begins with, or continues from, the stage "multi".
    others (tuple[str, ...]): The corpora of the stage "multi", if the fold depends on it.
    seed (int): Seed of weights, order and dropout.
    """

    study: Study
    arm: str
    base: str
    corpus: str
    stage: Stage
    steps: int
    shots: Optional[int] = None
    draw: Optional[int] = None
    multitask: bool = False
    others: tuple[str, ...] = ()
    seed: int = 0

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Fold":
        """Make a fold of its fields, as JSON holds them.

        RAISES (KeyError, TypeError): If a field is missing or of the wrong type.
        """
        fold = cls(**{**record, "others": tuple(record["others"])})
        names = (fold.study, fold.arm, fold.base, fold.corpus, fold.stage, *fold.others)
        numbers = (fold.steps, fold.seed, *(one for one in (fold.shots, fold.draw) if one is not None))
        if not all(isinstance(name, str) for name in names) or not all(isinstance(one, int) for one in numbers):
            raise TypeError("a name is not a string, or a number is not an integer")
        return fold

    @property
    def model(self) -> str:
        """The base without its folder."""
        return without_folder(self.base)

    @property
    def system(self) -> str:
        """The arm and its base, as tables name them."""
        return f"{self.arm} ({self.model})"

    @property
    def position(self) -> tuple:
        """Its position in the tables of a report. Folds that differ only in `others` or `steps` share one."""
        return self.arm, self.base, self.corpus, self.stage, self.shots, self.draw, self.multitask, self.seed

    @property
    def title(self) -> str:
        """Its name in messages."""
        parts = [self.study, self.corpus, self.system, self.stage]
        if self.shots is not None:
            parts += [f"{self.shots} shots", f"draw {self.draw}", "after multi" if self.multitask else "alone"]
        return " · ".join([*parts, f"seed {self.seed}"])

    def parent(self, profile: Profile) -> Optional["Fold"]:
        """The fold of the stage "multi" that this one continues from; None if there is none."""
        if not self.multitask or self.stage == "multi":
            return None
        return replace(self, stage="multi", steps=profile.steps_of(self.arm, "multi"), shots=None, draw=None)


class CorpusInfo(NamedTuple):
    """What a plan depends on: whether a corpus has types of relations, and its number of training documents."""

    relations: bool
    documents: int


def plan(study: Study, profile: Profile, corpora: Mapping[str, CorpusInfo], bases: Sequence[Preset]) -> list[Fold]:
    """Plan all folds of a study.

    study (Study): The study.
    profile (Profile): How much of it is run. A corpus with fewer documents than shots gets no fold with that number;
        one with exactly as many gets a single draw.
    corpora (Mapping[str, CorpusInfo]): The corpora by name.
    bases (Sequence[Preset]): Base models.
    RETURNS (list[Fold]): The folds, each after the one that it continues from.
    """
    folds: list[Fold] = []
    for seed, corpus, arm, preset in product(range(profile.seeds), corpora, profile.arms, bases):
        if not arm.startswith(preset.kind) or (arm == "encoder-pairs" and not corpora[corpus].relations):
            continue
        full = Fold(study, arm, preset.title, corpus, "full", profile.steps_of(arm, "full"), seed=seed)
        if study == "loo":
            folds += _leave_one_out(profile, corpora, full)
        elif study == "single" or (arm in COST_ARMS and corpus == next(iter(corpora))):
            folds.append(full)
    return list(dict.fromkeys(folds))


def _leave_one_out(profile: Profile, corpora: Mapping[str, CorpusInfo], full: Fold) -> Iterator[Fold]:
    others = tuple(name for name in corpora if name != full.corpus)
    if full.arm not in ZERO_SHOT_ARMS or not others:
        return
    # Long folds first, so that with several jobs none of them runs alone in the end.
    yield full
    multi = replace(full, stage="multi", steps=profile.steps_of(full.arm, "multi"), multitask=True, others=others)
    yield multi
    yield replace(multi, stage="zero", steps=0)
    documents = corpora[full.corpus].documents
    for shots in (k for k in profile.shots if k <= documents):
        for draw in range(profile.draws if shots < documents else 1):
            few = replace(full, stage="shots", steps=profile.steps_of(full.arm, "shots"), shots=shots, draw=draw)
            yield replace(few, multitask=True, others=others)
            yield few
