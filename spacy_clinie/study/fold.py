"""One fold: train, test, and write down what came of it. It runs in a process of its own, so that its memory, its
threads and its end are its own."""

import json
import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Optional, cast

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import registry
from thinc.api import Config

from ..components.decoder_prompt import DecoderPrompt
from ..components.prompting import PromptingComponent
from ..corpora.splits import SHARED_WORDS
from ..doc.concepts import SCHEMA_KEY
from ..doc.interchange import doc_from_note, note_from_doc
from ..doc.note import Note
from ..doc.relations import set_relations
from ..errors import ClinieError, place_of
from ..scoring.counts import count
from ..scoring.match import MODES, Kind
from ..scoring.scores import pair_notes, summarize
from .arms import arm_config, train_on
from .data import load, size_of
from .mistakes import analyse
from .plan import Fold
from .profiles import PROFILES
from .workspace import Workspace

# A corpus, and the id of one of its notes.
NoteKey = tuple[str, str]

PACKAGES = ("spacy_clinie", "spacy", "thinc", "torch", "transformers", "peft", "numpy")


def run_fold(fold: Fold, space: Workspace, key: str, stem_key: Optional[str]) -> None:
    """Do a fold, and write `manifest.json` into its folder, with `config.cfg` for `spacy train`.

    fold (Fold): The fold.
    space (Workspace): Where everything is; its corpora are prepared, and what the fold goes on from is done.
    key (str): The fold's key.
    stem_key (Optional[str]): The key of what it goes on from; None if it begins anew.
    RAISES (ClinieError): What components and readers raise.
    """
    begin = time.perf_counter()
    folder = space.fold(key)
    folder.mkdir(parents=True, exist_ok=True)
    stem = space.stem(fold)
    pipeline = space.fold(stem_key) / "pipeline" if stem_key else None
    record: dict[str, Any] = {"key": key, "fold": fold.to_dict(), "profile": space.profile.name, "training": None}
    shown: dict[NoteKey, Note] = {}
    if stem and stem_key:
        known = set(map(tuple, cast(dict, space.manifest(stem_key))["shown"]))
        parts = ((name, note) for name in stem.others for note in load(space.part(name, "train")))
        shown = {(name, note.id): note for name, note in parts if (name, note.id) in known}
    offered: dict[NoteKey, Note] = {}
    learnt = _Learnt()
    if fold.steps:
        config = fold_config(fold, space, pipeline)
        config.to_disk(folder / "config.cfg")
        offered = _offered(config)
        if not offered:
            names = fold.others if fold.stage == "multi" else (fold.corpus,)
            raise ClinieError("CIE486", corpora=", ".join(names), corpus=fold.corpus, words=SHARED_WORDS)
        nlp, learnt, record["training"] = _train(config)
        shown |= learnt.notes
        nlp.to_disk(folder / "pipeline", exclude=["vocab"])  # which holds the words of the notes
        record["training"]["disk_bytes"] = sum(
            file.stat().st_size for file in (folder / "pipeline").rglob("*") if file.is_file()
        )
        if fold.stage != "multi":  # nothing goes on from it, and a study has hundreds
            shutil.rmtree(folder / "pipeline")
    else:
        nlp = spacy.load(cast(Path, pipeline))
    tested = fold.stage != "multi" and not space.base(fold.base)[0].untrained
    test = load(space.part(fold.corpus, "test")) if tested else []
    sizes = {"train": learnt.notes.values(), "offered": offered.values(), "test": test}
    record["data"] = {name: size_of(notes) for name, notes in sizes.items()}
    record["prediction"] = None
    if fold.stage == "multi":
        record["shown"] = sorted(shown)
        record["offered"] = {name: sum(key[0] == name for key in offered) for name in fold.others}
    if tested:
        schema = str(space.whole(fold.corpus) / "schema.yml")
        record |= _tested(nlp, test, list(shown.values()), schema)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record["made"] = {
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - begin,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": gpu,
        },
        "versions": {name: version(name) for name in PACKAGES},
    }
    space.write(folder / "manifest.json", record)


def fold_config(fold: Fold, space: Workspace, stem: Optional[Path]) -> Config:
    """What `spacy train` takes to do the training of a fold.

    fold (Fold): The fold.
    space (Workspace): Where everything is.
    stem (Optional[Path]): The pipeline to go on from.
    RETURNS (Config): The config.
    """
    preset, base = space.base(fold.base)
    corpora = {}
    trained_on = fold.others if fold.stage == "multi" else (fold.corpus,)
    for name in trained_on:
        settings: dict[str, Any] = {
            "path": str(space.part(name, "train")),
            "label_schema": str(space.whole(name) / "schema.yml"),
            "limit": fold.shots or 0,
            "seed": fold.draw or 0,
        }
        # A text that is tested on may stand in another corpus, or once more in its own.
        settings["apart_from"] = str(
            space.whole(fold.corpus) if fold.stage == "multi" else space.whole(fold.corpus) / "test.spacy"
        )
        corpora[name] = settings
    relations = any(map(space.has_relations, trained_on))
    config = arm_config(fold.arm, preset, base, space.profile, relations=relations)
    return train_on(config, corpora, probe=space.probe, steps=fold.steps, seed=fold.seed, stem=stem)


def _offered(config: Config) -> dict[NoteKey, Note]:
    """What a config has to train on."""
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    reader = registry.resolve({"train": config["corpora"]["train"]})["train"]
    return dict(_keyed(example.reference) for example in reader(nlp))


def _keyed(doc: Doc) -> tuple[NoteKey, Note]:
    note = note_from_doc(doc)
    return (Path(doc.user_data[SCHEMA_KEY]).parent.name, note.id), note


class _Learnt:
    """A component that takes down what steps of training read, and changes nothing: few steps end before the last note
    of a corpus. Of a long note they may have read a part (`step_pieces`)."""

    name = "clinie_study_learnt"

    def __init__(self) -> None:
        self.notes: dict[NoteKey, Note] = {}
        self.steps = 0

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def update(self, examples: Iterable[Example], **_: Any) -> None:
        """What `nlp.update` calls for each step."""
        self.steps += 1
        self.notes.update(_keyed(example.reference) for example in examples)


@Language.factory(_Learnt.name)
def _make_learnt(nlp: Language, name: str) -> _Learnt:  # noqa: ARG001
    return _Learnt()


def _train(config: Config) -> tuple[Language, _Learnt, dict[str, Any]]:
    nlp = init_nlp(config)
    learnt = cast(_Learnt, nlp.add_pipe(_Learnt.name, first=True))
    begin = time.perf_counter()
    nlp, _ = train(nlp, None, stdout=sys.stdout, stderr=sys.stderr)
    seconds = time.perf_counter() - begin
    nlp.remove_pipe(_Learnt.name)
    weights = [
        weight
        for _, pipe in nlp.pipeline
        for shim in cast(Any, pipe).model.shims
        for weight in shim.module.parameters()
    ]
    return (
        nlp,
        learnt,
        {
            "steps": learnt.steps,
            "seconds": seconds,
            "seconds_per_step": seconds / learnt.steps,
            "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
            "parameters": sum(weight.numel() for weight in weights),
            "peak_bytes": _peak(),
        },
    )


def _tested(nlp: Language, test: Sequence[Note], shown: Sequence[Note], schema: str) -> dict[str, Any]:
    """What a pipeline finds in notes, beside what is there."""
    record: dict[str, Any] = {"results": {}, "documents": {"ids": sorted(note.id for note in test)}}
    asking = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, PromptingComponent)]
    relates = "clinie_rel" in nlp.pipe_names or any(pipe.relations for pipe in asking)
    # What a pipeline cannot look for is no score of 0.
    if "clinie_ner_encoder" in nlp.pipe_names or any(pipe.concepts for pipe in asking):
        begin = time.perf_counter()
        found = _found(nlp, test, schema, gold=False)
        counters = [pipe.rejected for _, pipe in nlp.pipeline if isinstance(pipe, DecoderPrompt)]
        record["prediction"] = {
            "seconds": time.perf_counter() - begin,
            "words": size_of(test)["words"],
            "rejected": dict(sum(counters, Counter[str]())),
        }
        for kind in ("concepts", *(["relations"] if relates else [])):
            _scored(record, kind, test, found, cast(Kind, kind))
        record["errors"] = analyse(test, found, shown)
    # Nothing to find in the gold standard is no score of 0 either, and the report knows.
    if relates:
        _scored(record, "relations_gold", test, _found(nlp, test, schema, gold=True), "relations")
    return record


def _scored(record: dict[str, Any], name: str, gold: Sequence[Note], found: Sequence[Note], kind: Kind) -> None:
    pairs = pair_notes(gold, found)
    counts = {mode: count(pairs, kind, mode) for mode in MODES}
    record["results"][name] = {mode: summarize(own) for mode, own in counts.items()}
    record["documents"][name] = {mode: own.table.sum(axis=1).tolist() for mode, own in counts.items()}


def _found(nlp: Language, notes: Sequence[Note], schema: str, *, gold: bool) -> list[Note]:
    """Run a pipeline over notes; with their gold concepts, only for the relations between them."""
    docs = []
    for note in notes:
        # Not nlp.make_doc: it refuses notes of more than nlp.max_length characters.
        doc = doc_from_note(nlp.tokenizer, note if gold else Note(note.id, note.text))[0]
        set_relations(doc, [])
        doc.user_data[SCHEMA_KEY] = schema
        docs.append(doc)
    asking = [(name, pipe) for name, pipe in nlp.pipeline if isinstance(pipe, PromptingComponent)] if gold else []
    taggers = [name for name in nlp.pipe_names if name == "clinie_ner_encoder"] if gold else []
    with nlp.select_pipes(disable=[*taggers, *(name for name, _ in asking)]):
        found: Iterable[Doc] = nlp.pipe(docs, batch_size=256)
        for _, pipe in asking:
            found = pipe.relations_only().pipe(found, batch_size=256)
        return [note_from_doc(doc) for doc in found]


def _peak() -> int:
    """The most memory that this process took: of the GPU where it used one."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    """The processor's name, which `platform` does not tell on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def problem_of(error: Exception) -> str:
    """What went wrong, without what a message may quote of a note.

    error (Exception): What was raised.
    RETURNS (str): Our own message, or the kind of the error and its place.
    """
    if isinstance(error, ClinieError):
        return str(error)
    return f"{type(error).__name__} at {place_of(error)}"


def main(request: Path) -> None:
    """Do the fold that a file asks for. A failure is written into the manifest, and raised.

    request (Path): JSON with `fold`, `profile` and `stem` (the key of what the fold goes on from), in the fold's
        folder, whose name is its key.
    """
    record = json.loads(request.read_text(encoding="utf-8"))
    fold, folder = Fold.from_dict(record["fold"]), request.parent
    space = Workspace(folder.parents[1], PROFILES[record["profile"]])
    try:
        run_fold(fold, space, folder.name, record["stem"])
    except Exception as error:
        space.fail(folder.name, fold, problem_of(error))
        raise
