"""Where a study keeps what it makes."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from spacy.util import load_config

from ..corpora.splits import overlapping_and_boilerplate
from ..doc.note import Note
from ..errors import ClinieError
from ..formats import docbin
from ..formats.atomic import atomic_write
from ..formats.files import all_files
from ..locks import lock
from ..schema import Schema
from .arms import arm_config
from .data import SPLITS, Source, digest, draw, load, size_of, stamp, write_corpus
from .plan import Fold
from .presets import RANDOM, Preset, find_preset
from .profiles import Profile
from .random_models import write_random_model

# What spaCy evaluates on where it must, see `arms.train_on`.
_PROBE = "Took aspirin for pain."


class Workspace:
    """A study's folder: `data/` with the corpora, whole and as a profile takes them, `bases/` with random models,
    `folds/` with a folder for each fold.

    folder (Path): The folder.
    profile (Profile): How much is done.
    """

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.folder, self.profile = folder.resolve(), profile
        self._marks: dict[str, str] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the folder alone: two commands would do folds twice, and write over each other's plans.

        RAISES (ClinieError): CIE498 if another process has it. Where files cannot be locked, nobody is kept out.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            if not lock(file):
                raise ClinieError("CIE498", folder=self.folder)
            yield

    def whole(self, corpus: str) -> Path:
        """The folder of a corpus with all of its notes, `schema.yml` and `report.json`."""
        return self.folder / "data" / "whole" / corpus

    def part(self, corpus: str, split: str) -> Path:
        """The file of what is trained or tested on."""
        return self.folder / "data" / self.profile.name / corpus / f"{split}.spacy"

    @property
    def probe(self) -> Path:
        """The file that spaCy evaluates on while it trains."""
        return self.folder / "data" / "probe.spacy"

    def prepare(self, source: Source) -> None:
        """Convert a corpus and draw the parts of it, unless that is done and it is as it was.

        source (Source): The corpus.
        RAISES (ClinieError): See `data.write_corpus`.
        """
        if not self.probe.is_file():
            docbin.write([Note("probe", _PROBE)], self.probe)
        whole, made_of = self.whole(source.name), stamp(source)
        made = [whole / name for name in (*(f"{split}.spacy" for split in SPLITS), "schema.yml", "report.json")]
        with self._made_anew(whole / "stamp.json", made_of, made) as differs:
            if differs:
                write_corpus(source, whole)
        for split, words in {"train": self.profile.train_words, "test": self.profile.test_words}.items():
            part = self.part(source.name, split)
            with self._made_anew(part.with_suffix(".json"), f"{made_of} {words}", [part]) as differs:
                if differs:
                    docbin.write(draw(load(whole / f"{split}.spacy"), words), part)

    @contextmanager
    def _made_anew(self, path: Path, made_of: str, made: Sequence[Path]) -> Iterator[bool]:
        """Whether what a file says that others were made of differs from what it should be, or they are not as they
        were made. If so, the file says nothing until they are: what is cut off in between must not pass for what was
        there before."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            differs = bool(record != {"made_of": made_of, "made": [digest(one) for one in made]})
        except (OSError, ValueError):
            differs = True
        if differs:
            path.unlink(missing_ok=True)
        yield differs
        if differs:
            self.write(path, {"made_of": made_of, "made": [digest(one) for one in made]})

    def base(self, name: str) -> tuple[Preset, str]:
        """A base model, made if its weights are to be random.

        name (str): See `presets.find_preset`.
        RETURNS (tuple[Preset, str]): The preset, and where its weights are.
        RAISES (ClinieError): CIE493 and CIE494, see there.
        """
        preset = find_preset(name)
        if preset.base != RANDOM:
            return preset, preset.base
        texts = (
            note.text for path in sorted((self.folder / "data" / "whole").glob("*/train.spacy")) for note in load(path)
        )
        shape = hashlib.sha256(repr(sorted(preset.shape.items())).encode()).hexdigest()[:8]
        folder = self.folder / "bases" / f"{preset.name}-{shape}"
        return preset, write_random_model(folder, preset.kind, preset.shape, texts)

    def data(self, corpus: str) -> dict[str, Any]:
        """What there is of a corpus, for the report.

        corpus (str): Its name; it is prepared.
        RETURNS (dict[str, Any]): `documents` of each split, `parts` that the profile takes of train and test, how many
            documents of that part of train are `shared` with test, how many more share with it only what several do
            (`headers`), and annotations that were `lost` or, on purpose, `left_out`, by reason.
        """
        whole = {split: load(self.whole(corpus) / f"{split}.spacy") for split in SPLITS}
        parts = {split: load(self.part(corpus, split)) for split in ("train", "test")}
        texts, tested = ((note.text for note in notes) for notes in (parts["train"], whole["test"]))
        shared, alike = overlapping_and_boilerplate(texts, tested)
        report = json.loads((self.whole(corpus) / "report.json").read_text(encoding="utf-8"))
        reasons: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        for one in report["not_carried_over"]:
            # Names of types come from the files and may be anything; `report.json` has them.
            reasons[one["on_purpose"]][one["reason"].partition(": ")[0]] += one["count"]
        return {
            "corpus": corpus,
            "documents": {split: len(notes) for split, notes in whole.items()},
            "parts": {split: size_of(notes) for split, notes in parts.items()},
            "shared": len(shared),
            "headers": len(alike),
            "lost": reasons[False],
            "left_out": reasons[True],
        }

    def key(self, fold: Fold) -> str:
        """What a fold is known by: 16 characters, which change with anything that its result depends on: its settings,
        the config of its arm, the data that it reads, the base model, and the version of this package. Studies share
        what is the same in them.

        fold (Fold): The fold.
        RETURNS (str): The key.
        """
        from .. import __version__

        preset, base = self.base(fold.base)
        stem = self.stem(fold)
        settings = {name: value for name, value in fold.to_dict().items() if name not in ("study", "base")}
        record: dict[str, Any] = {
            "fold": settings,
            "arm": arm_config(fold.arm, preset, "", self.profile).to_str(),
            "base": [preset.name, self._fingerprint(base)],
            "data": [self._mark(path) for path in self._files(fold)],
            "stem": self.key(stem) if stem else None,
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

    def stem(self, fold: Fold) -> Optional[Fold]:
        """The fold that another goes on from; None if it begins anew."""
        return fold.stem(self.profile.steps_of(fold.arm, "multi"))

    def has_relations(self, corpus: str) -> bool:
        """Whether a corpus has types of relations."""
        return bool(Schema.load(self.whole(corpus) / "schema.yml").relations)

    def fold(self, key: str) -> Path:
        """The folder of a fold."""
        return self.folder / "folds" / key

    def manifest(self, key: str) -> Optional[dict[str, Any]]:
        """What a fold that is done says of itself; None if it is not done."""
        try:
            record = json.loads((self.fold(key) / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "made" in record else None

    def fail(self, key: str, fold: Fold, problem: str) -> None:
        """Write down why a fold is not done."""
        record = {"key": key, "fold": fold.to_dict(), "profile": self.profile.name, "failed": {"problem": problem}}
        self.write(self.fold(key) / "manifest.json", record)

    def can_go_on_from(self, key: str) -> bool:
        """Whether what a multi-task stage made is still there: somebody may have removed it or a part of it, or copied
        the rest."""
        pipeline = self.fold(key) / "pipeline"
        try:
            names = load_config(pipeline / "config.cfg", interpolate=False)["nlp"]["pipeline"]
        except (OSError, ValueError, KeyError):
            return False
        return all((pipeline / name).is_dir() for name in names)

    def write(self, path: Path, record: dict[str, Any]) -> None:
        """Write JSON, whole or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _files(self, fold: Fold) -> list[Path]:
        """What a fold reads; what it goes on from has a key of its own."""
        own = self.whole(fold.corpus)
        if fold.stage == "multi":
            apart_from = [own / f"{split}.spacy" for split in SPLITS]
            learnt = [(self.part(name, "train"), self.whole(name) / "schema.yml") for name in fold.others]
            return [*apart_from, *(path for pair in learnt for path in pair)]
        learnt_from = [self.part(fold.corpus, "train"), own / "test.spacy"] if fold.steps else []
        return [own / "schema.yml", self.part(fold.corpus, "test"), *learnt_from]

    def _mark(self, path: Path) -> str:
        if str(path) not in self._marks:
            self._marks[str(path)] = digest(path)
        return self._marks[str(path)]

    def _fingerprint(self, base: str) -> str:
        """Of a base model: the content of its folder, or for a hub's the state that is in the cache."""
        from ..models.pretrained import load_config, locate

        place = locate(base)
        if not Path(place).is_dir():
            if place not in self._marks:  # a hub is asked over the network
                self._marks[place] = f"{place} {getattr(load_config(base), '_commit_hash', None)}"
            return self._marks[place]
        return " ".join(self._mark(file) for file in all_files(Path(place)))


def texts_of(folder: Path) -> Callable[[str], dict[str, str]]:
    """The notes that a study tests on.

    folder (Path): The study's folder.
    RETURNS (Callable[[str], dict[str, str]]): The texts of a corpus by the ids of its notes.
    """

    def read(corpus: str) -> dict[str, str]:
        return {note.id: note.text for note in load(folder / "data" / "whole" / corpus / "test.spacy")}

    return read
