"""A fold: its training, its test and its manifest. It runs in a process of its own, so that memory, threads and crashes
are its own."""

import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
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
from .workspace import Workspace, read_json

# Name of a corpus, and id of one of its notes.
NoteKey = tuple[str, str]

PACKAGES = ("spacy_clinie", "spacy", "thinc", "torch", "transformers", "peft", "numpy")


def run_fold(fold: Fold, workspace: Workspace, key: str, parent_key: Optional[str]) -> None:
    """Run a fold, and write `manifest.json` and the `config.cfg` for `spacy train` to its folder.

    fold (Fold): The fold.
    workspace (Workspace): The study's folder, with the corpora prepared and the parent finished.
    key (str): The key of the fold.
    parent_key (Optional[str]): The key of the fold that it continues from; None if there is none.
    RAISES (ClinieError): CIE486 if nothing is left to train on; errors of components and readers.
    """
    begin = time.perf_counter()
    folder = workspace.fold(key)
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"key": key, "fold": asdict(fold), "profile": workspace.profile.name}
    record |= {"training": None, "prediction": None}
    available: dict[NoteKey, Note] = {}
    recorder = _Recorder()
    pipeline = workspace.fold(parent_key) / "pipeline" if parent_key else None
    if fold.steps:
        config = fold_config(fold, workspace, pipeline)
        config.to_disk(folder / "config.cfg")
        available = _available(config)
        if not available:
            names = ", ".join(_trained_on(fold))
            raise ClinieError("CIE486", corpora=names, corpus=fold.corpus, words=SHARED_WORDS)
        nlp, recorder, record["training"] = _train(config)
        nlp.to_disk(folder / "pipeline", exclude=["vocab"])  # the vocab holds words of the notes
        files = [file for file in (folder / "pipeline").rglob("*") if file.is_file()]
        record["training"]["disk_bytes"] = sum(file.stat().st_size for file in files)
        if fold.stage != "multi":  # no fold continues from it, and a study has hundreds
            shutil.rmtree(folder / "pipeline")
    else:
        nlp = spacy.load(cast(Path, pipeline))
    seen = _seen_by_parent(fold, workspace, parent_key) | recorder.notes
    tested = fold.stage != "multi" and not workspace.base(fold.base)[0].untrained
    test = load(workspace.sample(fold.corpus, "test")) if tested else []
    sizes = {"train": recorder.notes.values(), "offered": available.values(), "test": test}
    record["data"] = {name: size_of(notes) for name, notes in sizes.items()}
    if fold.stage == "multi":
        record["shown"] = sorted(seen)
        record["offered"] = {name: sum(corpus == name for corpus, _ in available) for name in fold.others}
    if tested:
        schema = str(workspace.corpus(fold.corpus) / "schema.yml")
        record |= _evaluate(nlp, test, list(seen.values()), schema)
    record["made"] = {
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - begin,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {name: version(name) for name in PACKAGES},
    }
    workspace.write(folder / "manifest.json", record)


def fold_config(fold: Fold, workspace: Workspace, parent: Optional[Path]) -> Config:
    """The config of a fold for `spacy train`.

    fold (Fold): The fold.
    workspace (Workspace): The study's folder.
    parent (Optional[Path]): The pipeline to continue from.
    RETURNS (Config): The config.
    """
    preset, base = workspace.base(fold.base)
    # Test texts may also occur in other corpora, or twice in their own.
    held_out = workspace.corpus(fold.corpus)
    corpora = [
        {
            "path": str(workspace.sample(name, "train")),
            "label_schema": str(workspace.corpus(name) / "schema.yml"),
            "limit": fold.shots or 0,
            "seed": fold.draw or 0,
            "apart_from": str(held_out if fold.stage == "multi" else held_out / "test.spacy"),
        }
        for name in _trained_on(fold)
    ]
    relations = any(map(workspace.has_relations, _trained_on(fold)))
    config = arm_config(fold.arm, preset, base, workspace.profile, relations=relations)
    return train_on(config, corpora, probe=workspace.probe, steps=fold.steps, seed=fold.seed, parent=parent)


def _trained_on(fold: Fold) -> tuple[str, ...]:
    return fold.others if fold.stage == "multi" else (fold.corpus,)


def _available(config: Config) -> dict[NoteKey, Note]:
    """All notes that a config has for training."""
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    reader = registry.resolve({"train": config["corpora"]["train"]})["train"]
    return dict(_key_and_note(example.reference) for example in reader(nlp))


def _key_and_note(doc: Doc) -> tuple[NoteKey, Note]:
    note = note_from_doc(doc)
    return (Path(doc.user_data[SCHEMA_KEY]).parent.name, note.id), note


def _seen_by_parent(fold: Fold, workspace: Workspace, parent_key: Optional[str]) -> dict[NoteKey, Note]:
    """The notes that a parent was trained on."""
    if parent_key is None:
        return {}
    seen = set(map(tuple, cast(dict, workspace.manifest(parent_key))["shown"]))
    notes = ((name, note) for name in fold.others for note in load(workspace.sample(name, "train")))
    return {(name, note.id): note for name, note in notes if (name, note.id) in seen}


class _Recorder:
    """A component that only records which notes the steps of training read: training may end before the last note of a
    corpus. Steps may read a part of a long note (`step_pieces`)."""

    name = "clinie_study_recorder"

    def __init__(self) -> None:
        self.notes: dict[NoteKey, Note] = {}
        self.steps = 0

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def update(self, examples: Iterable[Example], **_: Any) -> None:
        """Record a step; `nlp.update` calls this."""
        self.steps += 1
        self.notes.update(_key_and_note(example.reference) for example in examples)


@Language.factory(_Recorder.name)
def _make_recorder(nlp: Language, name: str) -> _Recorder:  # noqa: ARG001
    return _Recorder()


def _train(config: Config) -> tuple[Language, _Recorder, dict[str, Any]]:
    nlp = init_nlp(config)
    recorder = cast(_Recorder, nlp.add_pipe(_Recorder.name, first=True))
    begin = time.perf_counter()
    nlp, _ = train(nlp, None, stdout=sys.stdout, stderr=sys.stderr)
    seconds = time.perf_counter() - begin
    nlp.remove_pipe(_Recorder.name)
    nodes = [node for _, pipe in nlp.pipeline for node in cast(Any, pipe).model.walk()]
    weights = [weight for node in nodes for shim in node.shims for weight in shim.module.parameters()]
    costs = {
        "steps": recorder.steps,
        "seconds": seconds,
        "seconds_per_step": seconds / recorder.steps,
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
        "parameters": sum(weight.numel() for weight in weights),
        "peak_bytes": _peak_memory(),
    }
    return nlp, recorder, costs


def _evaluate(nlp: Language, test: Sequence[Note], training: Sequence[Note], schema: str) -> dict[str, Any]:
    """Run a pipeline over test notes, and score what it can predict: it gets no score of 0 for any other task."""
    record: dict[str, Any] = {"results": {}, "documents": {"ids": sorted(note.id for note in test)}}
    asking = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, PromptingComponent)]
    relates = "clinie_rel" in nlp.pipe_names or any(pipe.relations for pipe in asking)
    if "clinie_ner_encoder" in nlp.pipe_names or any(pipe.concepts for pipe in asking):
        begin = time.perf_counter()
        predicted = _predict(nlp, test, schema, gold=False)
        counters = [pipe.rejected for _, pipe in nlp.pipeline if isinstance(pipe, DecoderPrompt)]
        record["prediction"] = {
            "seconds": time.perf_counter() - begin,
            "words": size_of(test)["words"],
            "rejected": dict(sum(counters, Counter[str]())),
        }
        for kind in ("concepts", *(["relations"] if relates else [])):
            _score(record, kind, test, predicted, cast(Kind, kind))
        record["errors"] = analyse(test, predicted, training)
    if relates:
        _score(record, "relations_gold", test, _predict(nlp, test, schema, gold=True), "relations")
    return record


def _score(record: dict[str, Any], task: str, gold: Sequence[Note], predicted: Sequence[Note], kind: Kind) -> None:
    pairs = pair_notes(gold, predicted)
    counts = {mode: count(pairs, kind, mode) for mode in MODES}
    record["results"][task] = {mode: summarize(own) for mode, own in counts.items()}
    record["documents"][task] = {mode: own.table.sum(axis=1).tolist() for mode, own in counts.items()}


def _predict(nlp: Language, notes: Sequence[Note], schema: str, *, gold: bool) -> list[Note]:
    """Run a pipeline over notes, for everything or, with `gold`, for relations between their gold concepts."""
    docs = []
    for note in notes:
        # Not nlp.make_doc, which rejects notes with more than nlp.max_length characters.
        doc = doc_from_note(nlp.tokenizer, note if gold else Note(note.id, note.text))[0]
        set_relations(doc, [])
        doc.user_data[SCHEMA_KEY] = schema
        docs.append(doc)
    asking = [(name, pipe) for name, pipe in nlp.pipeline if isinstance(pipe, PromptingComponent)] if gold else []
    taggers = [name for name in nlp.pipe_names if name == "clinie_ner_encoder"] if gold else []
    with nlp.select_pipes(disable=[*taggers, *(name for name, _ in asking)]):
        predicted: Iterable[Doc] = nlp.pipe(docs, batch_size=256)
        for _, pipe in asking:
            predicted = pipe.relations_only().pipe(predicted, batch_size=256)
        return [note_from_doc(doc) for doc in predicted]


def _peak_memory() -> int:
    """The peak memory of the GPU if it was used, otherwise of this process, in bytes; 0 if unknown."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    """The name of the processor, which `platform` lacks on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(request: Path) -> None:
    """Run the fold that a file requests. If it fails, write why to its manifest, and raise the error.

    request (Path): JSON with `fold`, `profile` and `parent` (the key of the parent or null), in the fold's folder,
        which is named by its key.
    """
    record = read_json(request)
    fold, folder = Fold.from_dict(record["fold"]), request.parent
    workspace = Workspace(folder.parents[1], PROFILES[record["profile"]])
    try:
        run_fold(fold, workspace, folder.name, record["parent"])
    except Exception as error:
        # Messages of other errors than our own may quote notes.
        own = isinstance(error, ClinieError)
        workspace.fail(folder.name, fold, str(error) if own else f"{type(error).__name__} at {place_of(error)}")
        raise
