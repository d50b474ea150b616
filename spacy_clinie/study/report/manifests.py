"""A study's folder as tidy frames. Everything is checked here, once, so that no other part of the report meets a
manifest that is cut off or lacks something."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from ...errors import ClinieError
from ...scoring.match import MODES
from ..data import SPLITS
from ..mistakes import KINDS
from ..plan import STUDIES, Fold

TASKS = {
    "concepts": "Concepts",
    "relations_gold": "Relations on gold concepts",
    "relations": "Relations, end to end",
}
# What is compared: its title is enough to tell it apart, the others are for CSV files.
SYSTEM = ["system", "arm", "base"]
FOLD = ["study", "corpus", "arm", "base", "stage", "shots", "draw", "multitask", "seed"]
_UNITS = ("documents", "words")
SIZES = [f"{part}_{unit}" for part in ("train", "offered", "test") for unit in _UNITS]
COSTS = ["trainable", "parameters", "seconds_per_step", "peak_bytes", "disk_bytes"]
DONE = ["profile", "finished", "seconds", "machine", "versions", "steps", *SIZES, *COSTS]
DONE += ["tested_words", "tested_seconds", "rejected"]
SCORE = ["task", "mode", "label", "f1", "low", "high", "p", "r", "tp", "fp", "fn", "support", "ids", "counts"]
RECALL = [f"{name}_{unit}" for name in ("seen", "unseen") for unit in ("found", "gold")]
EXAMPLE = ["document", "kind", *(f"{side}_{part}" for side in ("gold", "found") for part in ("start", "end", "label"))]

CORPUS = ["corpus", "profile", *SPLITS, *(f"{part}_{unit}" for part in ("train", "test") for unit in _UNITS)]
CORPUS += ["shared", "headers", "lost", "left_out", "why"]

# What Python raises over a file that is not what it should be.
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What a study's folder holds. In all frames but `corpora`, a row begins with the columns of its fold.

    plans (dict[str, Row]): `profile` and `command` by the name of the study.
    corpora (DataFrame): A row for each corpus and profile.
    missing (DataFrame): `corpus` and `how` to get it.
    folds (DataFrame): A row for each planned fold: `key`, `state`, `problem`, and what a finished one cost.
    scores (DataFrame): A row for each finished fold, task, way of matching and type. The label "" stands for all types
        together, and has the `ids` of the documents and their `counts`: true positives, false positives and false
        negatives; shape (documents, 3).
    mistakes (DataFrame): A row for each finished fold and type of concept, "" for all: how many mistakes of each kind.
    examples (DataFrame): A row for each mistake that was kept.
    unreadable (DataFrame): `file` and `problem`.
    strays (DataFrame): The same, for manifests that are in no plan.
    """

    plans: dict[str, Row]
    corpora: DataFrame
    missing: DataFrame
    folds: DataFrame
    scores: DataFrame
    mistakes: DataFrame
    examples: DataFrame
    unreadable: DataFrame
    strays: DataFrame

    @property
    def done(self) -> DataFrame:
        """Finished folds, those that two studies share once."""
        return self.folds[self.folds.state == "finished"].drop_duplicates("key")


def read_study(folder: Path) -> Study:
    """Read a study's folder.

    folder (Path): The folder.
    RETURNS (Study): What it holds. What cannot be read is in `unreadable`.
    RAISES (ClinieError): CIE480 if it holds no plan.
    """
    paths = [path for path in (folder / f"{name}.json" for name in STUDIES) if path.is_file()]
    if not paths:
        raise ClinieError("CIE480", folder=folder)
    manifests = {path.parent.name: path for path in sorted(folder.glob("folds/*/manifest.json"))}
    plans: dict[str, Row] = {}
    corpora: dict[tuple[str, str], Row] = {}
    missing: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    folds: list[Row] = []
    scores: list[Row] = []
    mistakes: list[Row] = []
    examples: list[Row] = []
    for path in paths:
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
            profile, command = str(plan["profile"]), "; ".join(map(str, plan["commands"]))
            planned = {str(one["key"]): Fold.from_dict(one["fold"]) for one in plan["folds"]}
            missing |= {str(one["corpus"]): str(one["how"]) for one in plan["missing"]}
            corpora |= {(profile, str(one["corpus"])): _corpus(one, profile) for one in plan["data"]}
        except _FAULTS as error:
            unreadable[path.name] = _fault(error)
            continue
        plans[path.stem] = {"profile": profile, "command": command}
        for key, fold in planned.items():
            row = {"key": key, "system": fold.system.title, **fold.to_dict(), "base": fold.system.model}
            row |= {"state": "not yet run", "problem": ""}
            if key in manifests:
                try:
                    done, *more = _manifest(json.loads(manifests[key].read_text(encoding="utf-8")))
                    for rows, table in zip(more, (scores, mistakes, examples), strict=True):
                        table.extend(row | one for one in rows)
                    row |= done
                except _FAULTS as error:
                    row |= {"state": "unreadable", "problem": _fault(error)}
                    unreadable[_name(manifests[key])] = row["problem"]
            folds.append(row)
    keys = {row["key"] for row in folds}
    strays = [(_name(path), "is in no plan") for key, path in manifests.items() if key not in keys]
    first = ["key", "system", *FOLD]
    return Study(
        plans=plans,
        corpora=DataFrame(list(corpora.values()), columns=CORPUS),
        missing=DataFrame(list(missing.items()), columns=["corpus", "how"]),
        folds=_frame(folds, [*first, "state", "problem", *DONE]),
        scores=_frame(scores, [*first, *SCORE]),
        mistakes=_frame(mistakes, [*first, "label", *KINDS, *RECALL]),
        examples=_frame(examples, [*first, *EXAMPLE]),
        unreadable=DataFrame(sorted(unreadable.items()), columns=["file", "problem"]),
        strays=DataFrame(strays, columns=["file", "problem"]),
    )


def micro(scores: DataFrame, task: str, *modes: str) -> DataFrame:
    """Scores over all types. Those of folds without anything to find in the gold standard are left out: an F1 of 0
    would be the fault of the corpus.

    scores (DataFrame): Scores.
    task (str): What was done.
    modes (str): Ways of matching; none for all.
    RETURNS (DataFrame): Some of the scores.
    """
    own = scores[(scores.task == task) & (scores.label == "") & (scores.support > 0)]
    return own[own["mode"].isin(modes)] if modes else own


def _frame(rows: list[Row], columns: list[str]) -> DataFrame:
    return DataFrame(rows, columns=columns).astype({"shots": "Int64", "draw": "Int64"})


def _corpus(record: Any, profile: str) -> Row:
    row: Row = {"corpus": str(record["corpus"]), "profile": profile}
    row |= {split: int(record["documents"][split]) for split in SPLITS}
    row |= {f"{part}_{unit}": int(record["parts"][part][unit]) for part in ("train", "test") for unit in _UNITS}
    reasons = {why: {str(name): int(count) for name, count in record[why].items()} for why in ("lost", "left_out")}
    row |= {"shared": int(record["shared"]), "headers": int(record.get("headers", 0))}  # older plans have no headers
    row |= {why: sum(counts.values()) for why, counts in reasons.items()}
    return row | {"why": ", ".join(f"{why} {count:,}" for own in reasons.values() for why, count in own.items())}


def _manifest(record: Any) -> tuple[Row, list[Row], list[Row], list[Row]]:
    """A fold's columns, its scores, its mistakes and its examples."""
    if "failed" in record:
        return {"state": "failed", "problem": str(record["failed"]["problem"])}, [], [], []
    made, training, prediction = record["made"], record["training"], record["prediction"]
    machine = made["machine"]
    fold: Row = {
        "state": "finished",
        "profile": str(record["profile"]),
        "finished": str(made["finished"]),
        "seconds": float(made["seconds"]),
        # How much of a machine a fold had: what it cost can be compared on equal ones only.
        "machine": f"{machine['processor']}, {int(machine['threads'])} of {int(machine['cores'])} cores, "
        f"{machine['gpu'] or 'no GPU'}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items())),
        "steps": 0,
        **{name: int(record["data"][part][unit]) for name in SIZES for part, unit in [name.split("_")]},
    }
    if training is not None:
        fold |= {"steps": int(training["steps"]), **{name: float(training[name]) for name in COSTS}}
    if prediction is not None:
        fold |= {"tested_words": float(prediction["words"]), "tested_seconds": float(prediction["seconds"])}
        fold |= {"rejected": {str(reason): int(count) for reason, count in prediction["rejected"].items()}}
    mistakes, examples = _mistakes(record["errors"]) if record.get("errors") else ([], [])
    return fold, _scores(record), mistakes, examples


def _scores(record: Any) -> list[Row]:
    rows = []
    results, documents = record.get("results", {}), record.get("documents", {"ids": []})
    ids = tuple(map(str, documents["ids"]))
    for task, mode in ((task, mode) for task in TASKS if task in results for mode in MODES):
        counts = np.array(documents[task][mode], dtype=np.int64).reshape(len(ids), 3)
        for label, own in {"": results[task][mode]["micro"], **results[task][mode]["per_type"]}.items():
            low, high = map(float, own["interval"] or (np.nan, np.nan))
            row: Row = {"task": task, "mode": mode, "label": str(label), "low": low, "high": high}
            row |= {name: float(own[name]) for name in ("f1", "p", "r")}
            row |= {name: int(own[name]) for name in ("tp", "fp", "fn")}
            row |= {"support": row["tp"] + row["fn"]} | ({} if label else {"ids": ids, "counts": counts})
            rows.append(row)
    return rows


def _mistakes(record: Any) -> tuple[list[Row], list[Row]]:
    tables = {"": record, **record["by_type"]}
    rows = [{"label": str(label), **{kind: int(own[kind]) for kind in KINDS}} for label, own in tables.items()]
    rows[0] |= {name: int(record[part][unit]) for name in RECALL for part, unit in [name.split("_")]}
    examples = [
        {"document": str(one["document"]), "kind": str(one["kind"]), **_mention("gold", one), **_mention("found", one)}
        for one in record["examples"]
    ]
    return rows, examples


def _mention(side: str, record: Mapping[str, Any]) -> Row:
    if record[side] is None:
        return {}
    start, end, label = record[side]
    return {f"{side}_start": int(start), f"{side}_end": int(end), f"{side}_label": str(label)}


def _name(path: Path) -> str:
    return f"folds/{path.parent.name}/{path.name}"


def _fault(error: Exception) -> str:
    """What is wrong with a file. The message of an error could quote what it holds; names of our own keys cannot."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not whole JSON"
    if isinstance(error, OSError):
        return f"cannot be opened ({error.strerror})"
    return f"lacks {error}" if isinstance(error, KeyError) else f"holds what it should not ({type(error).__name__})"
