"""How much of a study is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

ARMS = (
    "encoder-tagger",
    "encoder-pairs",
    "encoder-mrc",
    "encoder-lora",
    "decoder-lora",
    "decoder-full",
    "decoder-ptuning",
)
OPEN = ("maccrobat2020-coarse", "phee", "mtsamples_sdoh", "chia", "ddi2013")


@dataclass(frozen=True)
class Profile:
    """How much of a study is run.

    name (str): Its name.
    steps (Mapping[str, Mapping[str, int]]): Steps of training, by kind of arm and stage.
    step_words (int): Words of a training step. Notes are not cut, but see `step_pieces`.
    shots (tuple[int, ...]): Numbers of documents for few-shot training.
    draws (int): How often such documents are drawn.
    step_pieces (Optional[int]): Word pieces that each component reads in a step at most; of more, some are drawn, as
        where notes are long, or a question for each head and type makes many pieces of few words. None for all.
    batch_pieces (Optional[int]): Word pieces of a batch, which bound memory. None for the default of the architectures.
    train_words (Optional[int]): Words of each corpus to train on. None for all.
    test_words (Optional[int]): Words of each corpus to test on. None for all.
    corpora (tuple[str, ...]): Corpora, unless others are named.
    bases (tuple[str, ...]): Base models, unless others are named.
    arms (tuple[str, ...]): Arms.
    seeds (int): How often everything is run, each time with another seed.
    """

    name: str
    steps: Mapping[str, Mapping[str, int]]
    step_words: int
    shots: tuple[int, ...]
    draws: int
    step_pieces: Optional[int] = None
    batch_pieces: Optional[int] = None
    train_words: Optional[int] = None
    test_words: Optional[int] = None
    corpora: tuple[str, ...] = OPEN
    bases: tuple[str, ...] = ("minilm", "smollm2")
    arms: tuple[str, ...] = ARMS
    seeds: int = 1

    def steps_of(self, arm: str, stage: str) -> int:
        """Steps of an arm at a stage."""
        return self.steps[arm.partition("-")[0]][stage]


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            steps={kind: {"full": 2, "multi": 2, "shots": 2} for kind in ("encoder", "decoder")},
            step_words=400,
            shots=(2,),
            draws=1,
            train_words=200,
            test_words=100,
            corpora=("synthetic-problems", "synthetic-drugs"),
            bases=("tiny-encoder", "tiny-decoder"),
        ),
        Profile(
            "cpu",
            # On a processor, a step of a language model takes as long as several of an encoder; and in a limited time,
            # many small steps teach more than few large ones (docs/roadmap.md).
            steps={
                "encoder": {"full": 400, "multi": 500, "shots": 60},
                "decoder": {"full": 120, "multi": 120, "shots": 20},
            },
            step_words=100,
            step_pieces=500,
            shots=(5, 20, 50),
            draws=2,
            train_words=20_000,
            test_words=1_000,
        ),
        Profile(
            "gpu",
            steps={kind: {"full": 1500, "multi": 3000, "shots": 200} for kind in ("encoder", "decoder")},
            step_words=100,
            step_pieces=8_000,
            # A GPU computes a large batch in little more than the time of a small one.
            batch_pieces=8_192,
            shots=(5, 10, 20, 50),
            draws=3,
        ),
    )
}
