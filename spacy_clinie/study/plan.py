"""What a study consists of: folds, each trained and tested by itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Optional

from .presets import Preset
from .profiles import Profile

Study = Literal["single", "loo", "cost"]
Stage = Literal["full", "multi", "zero", "shots"]

STUDIES: tuple[Study, ...] = ("single", "loo", "cost")
# Arms that can look for types that they never learnt.
ASKING = ("encoder-mrc", "decoder-lora")
# What tuning a part costs, beside tuning everything.
COMPARED = ("encoder-tagger", "encoder-lora", "decoder-full", "decoder-lora", "decoder-ptuning")


_FOLDER = re.compile(r"^([^/\\=]*=)?.*[/\\]")


def without_folder(name: str) -> str:
    """`PATH` or `NAME=PATH` without the folder that it lies in, which is nobody's business.

    name (str): What may be one of them.
    RETURNS (str): What is left of it.
    """
    return _FOLDER.sub(r"\1", name.rstrip("/\\"))


class System(NamedTuple):
    """What is compared: an arm over a base model."""

    arm: str
    base: str

    @property
    def model(self) -> str:
        """The base without the folder that it lies in."""
        return without_folder(self.base)

    @property
    def title(self) -> str:
        """What it is called in a table."""
        return f"{self.arm} ({self.model})"


@dataclass(frozen=True)
class Fold:
    """One training and its test, or one of the two.

    study (Study): What it is for.
    arm (str): Name of its arm.
    base (str): Base model, see `presets.find_preset`.
    corpus (str): What it is tested on; for the stage "multi", what is left out.
    stage (Stage): "full": trained on the corpus. "multi": trained on the others, not tested. "zero": what "multi" made,
        tested. "shots": trained on a few documents of the corpus.
    steps (int): Steps of training; 0 for none.
    shots (Optional[int]): How many documents.
    draw (Optional[int]): Seed that draws them.
    multitask (bool): Whether it goes on from what "multi" made.
    others (tuple[str, ...]): What "multi" is trained on, where a fold needs it.
    seed (int): Of weights, order and dropout.
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

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON.

        RETURNS (dict[str, Any]): By name.
        """
        return {**asdict(self), "others": list(self.others)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Fold":
        """Read what `to_dict` gave.

        record (dict[str, Any]): By name.
        RETURNS (Fold): The fold.
        RAISES (KeyError, TypeError): If it is none.
        """
        fold = cls(**{**record, "others": tuple(record["others"])})
        names = (fold.study, fold.arm, fold.base, fold.corpus, fold.stage, *fold.others)
        numbers = (fold.steps, fold.seed, *(one for one in (fold.shots, fold.draw) if one is not None))
        if not all(isinstance(name, str) for name in names) or not all(isinstance(one, int) for one in numbers):
            raise TypeError("a name is no string, or a number is none")
        return fold

    @property
    def system(self) -> System:
        return System(self.arm, self.base)

    @property
    def place(self) -> tuple:
        """Where it stands in a table. Two of one place, as after other multi-task stages, are not two draws."""
        return self.system, self.corpus, self.stage, self.shots, self.draw, self.multitask, self.seed

    @property
    def title(self) -> str:
        """What a person calls it."""
        parts = [self.study, self.corpus, self.system.title, self.stage]
        if self.shots is not None:
            parts += [f"{self.shots} shots", f"draw {self.draw}", "after multi" if self.multitask else "alone"]
        return " · ".join([*parts, f"seed {self.seed}"])

    def stem(self, steps: int) -> Optional["Fold"]:
        """The fold that makes what this one goes on from.

        steps (int): Its steps.
        RETURNS (Optional[Fold]): None if there is no such.
        """
        if not self.multitask or self.stage == "multi":
            return None
        return replace(self, stage="multi", steps=steps, shots=None, draw=None)


class Known(NamedTuple):
    """What a plan has to know of a corpus.

    relations (bool): Whether it has types of relations.
    documents (int): From how many of its documents can be learnt.
    """

    relations: bool
    documents: int


def plan(study: Study, profile: Profile, corpora: Mapping[str, Known], bases: Sequence[Preset]) -> list[Fold]:
    """Everything that a study does.

    study (Study): Which.
    profile (Profile): How much of it. Where a corpus has fewer documents than shots, there is no fold of so many; where
        it has just as many, there is nothing to draw.
    corpora (Mapping[str, Known]): The corpora that are there.
    bases (Sequence[Preset]): Base models.
    RETURNS (list[Fold]): In an order in which each finds what it goes on from.
    """
    makers = {"single": _single, "loo": _leave_one_out, "cost": _cost}
    folds = [
        fold
        for seed in range(profile.seeds)
        for corpus in corpora
        for arm in profile.arms
        for preset in bases
        if arm.startswith(preset.kind) and (corpora[corpus].relations or arm != "encoder-pairs")
        for fold in makers[study](profile, corpora, Fold(study, arm, preset.title, corpus, "full", 0, seed=seed))
    ]
    return list(dict.fromkeys(folds))


def _single(profile: Profile, corpora: Mapping[str, Known], fold: Fold) -> Iterator[Fold]:  # noqa: ARG001
    yield replace(fold, steps=profile.steps_of(fold.arm, "full"))


def _cost(profile: Profile, corpora: Mapping[str, Known], fold: Fold) -> Iterator[Fold]:
    if fold.arm in COMPARED and fold.corpus == next(iter(corpora)):
        yield replace(fold, steps=profile.steps_of(fold.arm, "full"))


def _leave_one_out(profile: Profile, corpora: Mapping[str, Known], fold: Fold) -> Iterator[Fold]:
    others = tuple(name for name in corpora if name != fold.corpus)
    if fold.arm not in ASKING or not others:
        return
    # The long ones first: with several jobs, one of these would run alone in the end.
    yield replace(fold, steps=profile.steps_of(fold.arm, "full"))
    multi = replace(fold, stage="multi", steps=profile.steps_of(fold.arm, "multi"), multitask=True, others=others)
    yield multi
    yield replace(multi, stage="zero", steps=0)
    documents = corpora[fold.corpus].documents
    for shots in (k for k in profile.shots if k <= documents):
        for draw in range(profile.draws if shots < documents else 1):
            few = replace(fold, stage="shots", steps=profile.steps_of(fold.arm, "shots"), shots=shots, draw=draw)
            yield replace(few, multitask=True, others=others)
            yield few
