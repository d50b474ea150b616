"""The folder of a study."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
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

# The text that spaCy evaluates on, see `arms.train_on`.
_PROBE = "Took aspirin for pain."


class Workspace:
    """A study's folder: `data/` with the corpora and the samples of a profile, `bases/` with random models, `folds/`
    with a folder for each fold.

    folder (Path): The folder.
    profile (Profile): How much is run.
    """

    def __init__(self, folder: Path, profile: Profile) -> None:
        self.folder, self.profile = folder.resolve(), profile
        self._digests: dict[str, str] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, since two commands would run the same folds and overwrite each other's plan. On file systems
        without locks, nothing happens.

        RAISES (ClinieError): CIE498 if another process has the lock.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            if not lock(file):
                raise ClinieError("CIE498", folder=self.folder)
            yield

    def corpus(self, name: str) -> Path:
        """The folder of a whole corpus, see `data.write_corpus`."""
        return self.folder / "data" / "whole" / name

    def sample(self, corpus: str, split: str) -> Path:
        """The file of notes to train or to test on."""
        return self.folder / "data" / self.profile.name / corpus / f"{split}.spacy"

    @property
    def probe(self) -> Path:
        """The file that spaCy evaluates on during training."""
        return self.folder / "data" / "probe.spacy"

    def prepare(self, source: Source) -> None:
        """Convert a corpus and draw its samples, unless that is done and nothing has changed.

        source (Source): The corpus.
        RAISES (ClinieError): See `data.write_corpus`.
        """
        if not self.probe.is_file():
            docbin.write([Note("probe", _PROBE)], self.probe)
        corpus, made_of = self.corpus(source.name), stamp(source)
        files = [corpus / name for name in (*(f"{split}.spacy" for split in SPLITS), "schema.yml", "report.json")]
        self._update(corpus / "stamp.json", made_of, files, partial(write_corpus, source, corpus))
        for split, words in {"train": self.profile.train_words, "test": self.profile.test_words}.items():
            sample = self.sample(source.name, split)
            make = partial(_write_sample, corpus / f"{split}.spacy", words, sample)
            self._update(sample.with_suffix(".json"), f"{made_of} {words}", [sample], make)

    def _update(self, stamp: Path, made_of: str, files: Sequence[Path], make: Callable[[], None]) -> None:
        """Make files, unless their stamp says that they were made of the same and have not changed. The stamp is
        removed first, so that files are made again after an interruption."""

        def state() -> dict[str, Any]:
            return {"made_of": made_of, "made": [digest(file) for file in files]}

        with suppress(OSError):  # a file is missing
            if read_json(stamp) == state():
                return
        stamp.unlink(missing_ok=True)
        make()
        self.write(stamp, state())

    def base(self, name: str) -> tuple[Preset, str]:
        """Find a base model, or make it if its weights are to be random.

        name (str): See `presets.find_preset`.
        RETURNS (tuple[Preset, str]): The preset, and its weights.
        RAISES (ClinieError): CIE493 and CIE494, see `presets.find_preset`.
        """
        preset = find_preset(name)
        if preset.base != RANDOM:
            return preset, preset.base
        files = sorted((self.folder / "data" / "whole").glob("*/train.spacy"))
        shape = hashlib.sha256(repr(sorted(preset.shape.items())).encode()).hexdigest()[:8]
        folder = self.folder / "bases" / f"{preset.name}-{shape}"
        texts = (note.text for file in files for note in load(file))
        return preset, write_random_model(folder, preset.kind, preset.shape, texts)

    def describe(self, corpus: str) -> dict[str, Any]:
        """Describe a prepared corpus for the report.

        corpus (str): Its name.
        RETURNS (dict[str, Any]): `documents` by split; `parts`, the size of the samples for train and test; the number
            of sampled training documents that are `shared` with test, and of those that share only `headers`; and the
            number of annotations that were `lost` or, on purpose, `left_out`, by reason.
        """
        whole = {split: load(self.corpus(corpus) / f"{split}.spacy") for split in SPLITS}
        samples = {split: load(self.sample(corpus, split)) for split in ("train", "test")}
        texts, tested = ((note.text for note in notes) for notes in (samples["train"], whole["test"]))
        shared, headers = overlapping_and_boilerplate(texts, tested)
        reasons: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        for one in read_json(self.corpus(corpus) / "report.json")["not_carried_over"]:
            # Without names of types, which come from the files and may be anything; report.json has them.
            reasons[one["on_purpose"]][one["reason"].partition(": ")[0]] += one["count"]
        return {
            "corpus": corpus,
            "documents": {split: len(notes) for split, notes in whole.items()},
            "parts": {split: size_of(notes) for split, notes in samples.items()},
            "shared": len(shared),
            "headers": len(headers),
            "lost": reasons[False],
            "left_out": reasons[True],
        }

    def key(self, fold: Fold) -> str:
        """The key of a fold: 16 characters that change with everything its result depends on, that is its settings, the
        config of its arm, its data, the base model and the version of this package. Studies share equal folds."""
        from .. import __version__

        preset, base = self.base(fold.base)
        parent = fold.parent(self.profile)
        record: dict[str, Any] = {
            "fold": {name: value for name, value in asdict(fold).items() if name not in ("study", "base")},
            "arm": arm_config(fold.arm, preset, "", self.profile).to_str(),
            "base": [preset.name, self._fingerprint(base)],
            "data": [self._digest(path) for path in self._files(fold)],
            "parent": self.key(parent) if parent else None,
            "version": __version__,
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]

    def has_relations(self, corpus: str) -> bool:
        """Whether the schema of a corpus has relations."""
        return bool(Schema.load(self.corpus(corpus) / "schema.yml").relations)

    def fold(self, key: str) -> Path:
        """The folder of a fold."""
        return self.folder / "folds" / key

    def manifest(self, key: str) -> Optional[dict[str, Any]]:
        """The manifest of a fold; None if the fold is not finished."""
        record = read_json(self.fold(key) / "manifest.json")
        return record if isinstance(record, dict) and "made" in record else None

    def problem(self, key: str) -> Optional[str]:
        """Why a fold failed, according to its manifest; None if there is no such manifest."""
        try:
            return str(read_json(self.fold(key) / "manifest.json")["failed"]["problem"])
        except (KeyError, TypeError):
            return None

    def fail(self, key: str, fold: Fold, problem: str) -> None:
        """Write a manifest that says why a fold failed."""
        record = {"key": key, "fold": asdict(fold), "profile": self.profile.name, "failed": {"problem": problem}}
        self.write(self.fold(key) / "manifest.json", record)

    def has_pipeline(self, key: str) -> bool:
        """Whether the pipeline of a multi-task stage is complete: it may have been removed, or not been copied."""
        pipeline = self.fold(key) / "pipeline"
        try:
            names = load_config(pipeline / "config.cfg", interpolate=False)["nlp"]["pipeline"]
        except (OSError, ValueError, KeyError):
            return False
        return all((pipeline / name).is_dir() for name in names)

    def write(self, path: Path, record: dict[str, Any]) -> None:
        """Write a JSON file completely or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _files(self, fold: Fold) -> list[Path]:
        """The files that a fold reads, without those of its parent."""
        corpus = self.corpus(fold.corpus)
        if fold.stage == "multi":
            left_out = [corpus / f"{split}.spacy" for split in SPLITS]
            read = [(self.sample(name, "train"), self.corpus(name) / "schema.yml") for name in fold.others]
            return [*left_out, *(path for pair in read for path in pair)]
        trained_on = [self.sample(fold.corpus, "train"), corpus / "test.spacy"] if fold.steps else []
        return [corpus / "schema.yml", self.sample(fold.corpus, "test"), *trained_on]

    def _digest(self, path: Path) -> str:
        if str(path) not in self._digests:
            self._digests[str(path)] = digest(path)
        return self._digests[str(path)]

    def _fingerprint(self, base: str) -> str:
        """The content of a base model's folder, or the commit of a hub's model in the cache."""
        from ..models.pretrained import load_config, locate

        place = locate(base)
        if Path(place).is_dir():
            return " ".join(self._digest(file) for file in all_files(Path(place)))
        if place not in self._digests:  # ask the hub only once
            self._digests[place] = f"{place} {getattr(load_config(base), '_commit_hash', None)}"
        return self._digests[place]


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or cut off."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def tested_texts(folder: Path, corpus: str) -> dict[str, str]:
    """The texts of a corpus's test notes by id, from a study's folder."""
    return {note.id: note.text for note in load(folder / "data" / "whole" / corpus / "test.spacy")}


def _write_sample(source: Path, words: Optional[int], target: Path) -> None:
    docbin.write(draw(load(source), words), target)
