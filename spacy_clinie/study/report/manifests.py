"""What a study's folder holds: its plans, and what each fold came to. Everything is checked here, once, so that nothing
behind this file meets a manifest that is cut off or lacks something."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from ...errors import ClinieError
from ...scoring.match import MODES
from ..mistakes import KINDS, Mention
from ..plan import STUDIES, Fold

TASKS = {
    "concepts": "Concepts",
    "relations_gold": "Relations on gold concepts",
    "relations": "Relations, end to end",
}
COSTS = ("trainable", "parameters", "seconds_per_step", "peak_bytes", "disk_bytes")

State = Literal["finished", "failed", "unreadable", "not yet run"]

# What Python raises over a file that is not what it should be.
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Score:
    """Rates and counts. `low` and `high` bound the F1, where enough documents tell."""

    p: float
    r: float
    f1: float
    low: Optional[float]
    high: Optional[float]
    tp: int
    fp: int
    fn: int

    @property
    def support(self) -> int:
        return self.tp + self.fn

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Score":
        """Read a row of `scoring.scores.summarize`."""
        low, high = map(float, record["interval"]) if record["interval"] else (None, None)
        p, r, f1 = (float(record[name]) for name in ("p", "r", "f1"))
        tp, fp, fn = (int(record[name]) for name in ("tp", "fp", "fn"))
        return cls(p, r, f1, low, high, tp, fp, fn)


@dataclass(frozen=True)
class Result:
    """How well a fold did a task, by one way of matching."""

    micro: Score
    types: Mapping[str, Score]


class Example(NamedTuple):
    """A mistake; see `study.mistakes.Mistake`."""

    document: str
    kind: str
    gold: Optional[Mention]
    found: Optional[Mention]


@dataclass(frozen=True)
class Mistakes:
    """What `study.mistakes.analyse` counted: by kind, by type and kind, and of mentions that training had shown and of
    others how many there were and how many were found."""

    kinds: Mapping[str, int]
    types: Mapping[str, Mapping[str, int]]
    seen: tuple[int, int]
    unseen: tuple[int, int]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Outcome:
    """What a fold that is finished says of itself.

    fold (Fold): Which.
    profile (str): How much was done.
    finished (str): When, as ISO 8601.
    seconds (float): How long it took.
    machine (str): Processor, cores, GPU.
    versions (Mapping[str, str]): Of packages.
    steps (int): Of training.
    sizes (Mapping[str, int]): Documents and words that training read (`train_documents`, `train_words`) and had to
        read (`offered_...`), and of the test (`test_...`).
    training (Optional[Mapping[str, float]]): What its training cost, by the names of `COSTS`.
    speed (Optional[tuple[float, float]]): Words that were read at the test, and the seconds that it took.
    rejected (Mapping[str, int]): What a model said and could not be used, by reason.
    results (Mapping[tuple[str, str], Result]): By task and mode.
    ids (tuple[str, ...]): Documents of the test.
    counts (Mapping[tuple[str, str], NDArray[np.int64]]): By task and mode, true positives, false positives and false
        negatives of each; shape (documents, 3).
    mistakes (Optional[Mistakes]): Of concepts.
    """

    fold: Fold
    profile: str
    finished: str
    seconds: float
    machine: str
    versions: Mapping[str, str]
    steps: int
    sizes: Mapping[str, int]
    training: Optional[Mapping[str, float]]
    speed: Optional[tuple[float, float]]
    rejected: Mapping[str, int]
    results: Mapping[tuple[str, str], Result]
    ids: tuple[str, ...]
    counts: Mapping[tuple[str, str], NDArray[np.int64]]
    mistakes: Optional[Mistakes]

    def score(self, task: str, mode: str = "strict") -> Optional[Score]:
        """How well it did a task; None if it did not do it, or if the gold standard holds nothing to find: an F1 of 0
        would then be the corpus' fault."""
        result = self.results.get((task, mode))
        return result.micro if result and result.micro.support else None


@dataclass(frozen=True)
class Planned:
    """A fold of a plan. `problem` says why it failed or cannot be read."""

    key: str
    fold: Fold
    state: State
    problem: str = ""
    outcome: Optional[Outcome] = None


class Data(NamedTuple):
    """A corpus of a study; see `workspace.Workspace.data`."""

    corpus: str
    documents: Mapping[str, int]
    parts: Mapping[str, tuple[int, int]]
    shared: int
    headers: int
    lost: Mapping[str, int]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """A study as it was started, by one command or more. `missing` holds corpora that were not there, and how they can
    be had; `data` the others."""

    study: str
    profile: str
    commands: tuple[str, ...]
    folds: tuple[Planned, ...]
    missing: tuple[tuple[str, str], ...]
    data: tuple[Data, ...]

    @property
    def outcomes(self) -> list[Outcome]:
        return [one.outcome for one in self.folds if one.outcome]

    def count(self, state: State) -> int:
        """How many folds are in a state."""
        return sum(one.state == state for one in self.folds)


@dataclass(frozen=True)
class Study:
    """A study's folder.

    plans (Mapping[str, Plan]): By name of the study.
    unreadable (list[tuple[str, str]]): Files that cannot be used, and why.
    strays (list[str]): Manifests of folds that no plan names, as those of an earlier version.
    """

    plans: Mapping[str, Plan]
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def folds(self) -> list[Planned]:
        return [one for plan in self.plans.values() for one in plan.folds]

    @property
    def outcomes(self) -> list[Outcome]:
        """What came of all folds that are finished; of those that studies share, once."""
        return list({one.key: one.outcome for one in self.folds if one.outcome}.values())

    def of(self, study: str) -> list[Planned]:
        """The folds of one study; none if it was not started."""
        return list(self.plans[study].folds) if study in self.plans else []


def read_study(folder: Path) -> Study:
    """Read a study's folder.

    folder (Path): The folder.
    RETURNS (Study): What it holds. What cannot be read is in `unreadable`.
    RAISES (ClinieError): CIE480 if it holds no plan.
    """
    paths = [path for path in (folder / f"{name}.json" for name in STUDIES) if path.is_file()]
    if not paths:
        raise ClinieError("CIE480", folder=folder)
    unreadable: dict[str, str] = {}
    records = {path.parent.name: path for path in sorted(folder.glob("folds/*/manifest.json"))}
    plans: dict[str, Plan] = {}
    for path in paths:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            plans[path.stem] = _plan(path.stem, record, records, unreadable)
        except _FAULTS as error:
            unreadable[path.name] = _fault(error)
    planned = {one.key for plan in plans.values() for one in plan.folds}
    strays = [_name(path) for key, path in records.items() if key not in planned]
    return Study(plans, sorted(unreadable.items()), strays)


def _plan(study: str, record: Any, records: Mapping[str, Path], unreadable: dict[str, str]) -> Plan:
    return Plan(
        study=study,
        profile=str(record["profile"]),
        commands=tuple(map(str, record["commands"])),
        folds=tuple(
            _planned(str(one["key"]), Fold.from_dict(one["fold"]), records, unreadable) for one in record["folds"]
        ),
        missing=tuple((str(one["corpus"]), str(one["how"])) for one in record["missing"]),
        data=tuple(map(_data, record["data"])),
    )


def _data(record: Any) -> Data:
    parts = {str(name): (int(own["documents"]), int(own["words"])) for name, own in record["parts"].items()}
    lost, left_out = _counts(record["lost"]), _counts(record["left_out"])
    shared, headers = int(record["shared"]), int(record.get("headers", 0))  # older plans do not tell of the second
    return Data(str(record["corpus"]), _counts(record["documents"]), parts, shared, headers, lost, left_out)


def _planned(key: str, fold: Fold, records: Mapping[str, Path], unreadable: dict[str, str]) -> Planned:
    if key not in records:
        return Planned(key, fold, "not yet run")
    try:
        record = json.loads(records[key].read_text(encoding="utf-8"))
        if "failed" in record:
            return Planned(key, fold, "failed", str(record["failed"]["problem"]))
        return Planned(key, fold, "finished", outcome=_outcome(record, fold))
    except _FAULTS as error:
        unreadable[_name(records[key])] = _fault(error)
        return Planned(key, fold, "unreadable", _fault(error))


def _outcome(record: Any, fold: Fold) -> Outcome:
    made = record["made"]
    training, prediction = record["training"], record["prediction"]
    documents = record.get("documents", {"ids": []})
    ids = tuple(map(str, documents["ids"]))
    for task in TASKS:
        if task in record.get("results", {}) and task not in documents:
            raise KeyError(f"documents.{task}")
    return Outcome(
        fold=fold,
        profile=str(record["profile"]),
        finished=str(made["finished"]),
        seconds=float(made["seconds"]),
        machine=_machine(made["machine"]),
        steps=0 if training is None else int(training["steps"]),
        versions={str(name): str(version) for name, version in made["versions"].items()},
        sizes={
            f"{part}_{unit}": int(record["data"][part][unit])
            for part in ("train", "offered", "test")
            for unit in ("documents", "words")
        },
        training=None if training is None else {name: float(training[name]) for name in COSTS},
        speed=None if prediction is None else (float(prediction["words"]), float(prediction["seconds"])),
        rejected=_counts(prediction["rejected"]) if prediction else {},
        results={
            (task, mode): Result(
                Score.from_dict(own["micro"]),
                {str(label): Score.from_dict(row) for label, row in own["per_type"].items()},
            )
            for task, mode, own in _each(record.get("results", {}))
        },
        ids=ids,
        counts={
            (task, mode): np.array(own, dtype=np.int64).reshape(len(ids), 3) for task, mode, own in _each(documents)
        },
        mistakes=_mistakes(record["errors"]) if record.get("errors") else None,
    )


def _machine(record: Any) -> str:
    """A machine, and how much of it a fold had: what it cost can be compared on equal ones only."""
    threads = f"{int(record['threads'])} of {int(record['cores'])} cores"
    return f"{record['processor']}, {threads}, {record['gpu'] or 'no GPU'}"


def _each(record: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    return ((task, mode, record[task][mode]) for task in TASKS if task in record for mode in MODES)


def _mistakes(record: Mapping[str, Any]) -> Mistakes:
    seen, unseen = ((int(record[name]["found"]), int(record[name]["gold"])) for name in ("seen", "unseen"))
    examples = (
        Example(str(one["document"]), str(one["kind"]), _mention(one["gold"]), _mention(one["found"]))
        for one in record["examples"]
    )
    return Mistakes(
        kinds={kind: int(record[kind]) for kind in KINDS},
        types={str(label): {kind: int(own[kind]) for kind in KINDS} for label, own in record["by_type"].items()},
        seen=seen,
        unseen=unseen,
        examples=tuple(examples),
    )


def _mention(record: Any) -> Optional[Mention]:
    return None if record is None else (int(record[0]), int(record[1]), str(record[2]))


def _counts(record: Mapping[str, Any]) -> dict[str, int]:
    return {str(reason): int(count) for reason, count in record.items()}


def _name(path: Path) -> str:
    return f"folds/{path.parent.name}/{path.name}"


def _fault(error: Exception) -> str:
    """What is wrong with a file. The message of an error could quote what it holds; names of our own keys cannot."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not whole JSON"
    if isinstance(error, OSError):
        return f"cannot be opened ({error.strerror})"
    return f"lacks {error}" if isinstance(error, KeyError) else f"holds what it should not ({type(error).__name__})"
