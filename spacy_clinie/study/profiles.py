"""How much of a study is done."""

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
    """How much of a study is done.

    name (str): Its name.
    corpora (tuple[str, ...]): Corpora, where none are named.
    bases (tuple[str, ...]): Base models, where none are named.
    arms (tuple[str, ...]): Arms.
    steps (Mapping[str, Mapping[str, int]]): Steps of training, for arms of each kind by stage.
    step_words (int): Words of each step: a note is not cut, but see `step_pieces`.
    step_pieces (Optional[int]): Word pieces that each component reads in a step at most. Where notes are long, or a
        question for each head and type makes many pieces of few words, some are drawn. None for all.
    batch_pieces (Optional[int]): Word pieces of a batch, which bounds memory; None for what the architectures take.
    shots (tuple[int, ...]): Documents of few-shot training.
    draws (int): How often these are drawn.
    seeds (int): How often everything is done.
    train_words (Optional[int]): Words of each corpus that are trained on; None for all.
    test_words (Optional[int]): Words of each corpus that are tested on; None for all.
    """

    name: str
    corpora: tuple[str, ...]
    bases: tuple[str, ...]
    arms: tuple[str, ...]
    steps: Mapping[str, Mapping[str, int]]
    step_words: int
    step_pieces: Optional[int]
    batch_pieces: Optional[int]
    shots: tuple[int, ...]
    draws: int
    seeds: int
    train_words: Optional[int]
    test_words: Optional[int]

    def steps_of(self, arm: str, stage: str) -> int:
        """Steps of an arm at a stage."""
        return self.steps[arm.partition("-")[0]][stage]


PROFILES = {
    known.name: known
    for known in (
        Profile(
            name="smoke",
            corpora=("synthetic-problems", "synthetic-drugs"),
            bases=("tiny-encoder", "tiny-decoder"),
            arms=ARMS,
            steps={kind: {"full": 2, "multi": 2, "shots": 2} for kind in ("encoder", "decoder")},
            step_words=400,
            step_pieces=None,
            batch_pieces=None,
            shots=(2,),
            draws=1,
            seeds=1,
            train_words=200,
            test_words=100,
        ),
        Profile(
            name="cpu",
            corpora=OPEN,
            bases=("minilm", "smollm2"),
            arms=ARMS,
            # On a processor, a step of a language model takes as long as several of an encoder. And where there is time
            # for so few words, many small steps learn far more than few large ones (docs/roadmap.md).
            steps={
                "encoder": {"full": 400, "multi": 500, "shots": 60},
                "decoder": {"full": 120, "multi": 120, "shots": 20},
            },
            step_words=100,
            step_pieces=500,
            batch_pieces=None,
            shots=(5, 20, 50),
            draws=2,
            seeds=1,
            train_words=20_000,
            test_words=1_000,
        ),
        Profile(
            name="gpu",
            corpora=OPEN,
            bases=("minilm", "smollm2"),
            arms=ARMS,
            steps={kind: {"full": 1500, "multi": 3000, "shots": 200} for kind in ("encoder", "decoder")},
            step_words=100,
            step_pieces=8_000,
            # A GPU computes a large batch in next to the time of a small one.
            batch_pieces=8_192,
            shots=(5, 10, 20, 50),
            draws=3,
            seeds=1,
            train_words=None,
            test_words=None,
        ),
    )
}
