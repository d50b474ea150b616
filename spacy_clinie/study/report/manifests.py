"""A study's folder as tidy frames. All values are checked here, so the rest of the report meets no manifest that is cut
off or incomplete."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
# An arm over a base: `system` is its title, and unique; the others are for CSV files.
SYSTEM = ["system", "arm", "base"]
FOLD = ["study", "corpus", "arm", "base", "stage", "shots", "draw", "multitask", "seed"]
_OPTIONAL = {"shots": "Int64", "draw": "Int64"}
_UNITS = ("documents", "words")
SIZES = [f"{part}_{unit}" for part in ("train", "offered", "test") for unit in _UNITS]
_COSTS = ["trainable", "parameters", "seconds_per_step", "peak_bytes", "disk_bytes"]
RECALL = [f"{name}_{unit}" for name in ("seen", "unseen") for unit in ("found", "gold")]
EXAMPLE = ["document", "kind", *(f"{side}_{part}" for side in ("gold", "found") for part in ("start", "end", "label"))]
CORPUS = ["corpus", "profile", *SPLITS, *(f"{part}_{unit}" for part in ("train", "test") for unit in _UNITS)]
CORPUS += ["shared", "headers", "lost", "left_out", "why"]
# Columns of frames, after those of the fold.
_COLUMNS = {
    "folds": [
        *("state", "problem", "profile", "finished", "seconds", "machine", "versions", "steps", *SIZES, *_COSTS),
        *("tested_words", "tested_seconds", "rejected"),
    ],
    "scores": [
        *("task", "mode", "label", "f1", "low", "high", "p", "r", "tp", "fp", "fn", "support", "ids", "counts"),
    ],
    "mistakes": ["label", *KINDS, *RECALL],
    "examples": EXAMPLE,
}
# What Python raises for values of the wrong type or size.
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError)

Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What a study's folder holds. In `folds`, `scores`, `mistakes` and `examples`, a row begins with columns that
    describe its fold.

    plans (dict[str, Row]): `profile` and `command` by the name of the study.
    corpora (DataFrame): A row for each corpus and profile.
    missing (DataFrame): `corpus` and `how` to get it.
    folds (DataFrame): A row for each planned fold: `state`, `problem`, and what a finished one cost.
    scores (DataFrame): A row for each finished fold, task, mode of matching and type. The label "" stands for all types
        together; its rows have the `ids` of the documents and their `counts`: true positives, false positives and false
        negatives; shape (documents, 3).
    mistakes (DataFrame): A row for each finished fold and concept type, "" for all: the number of mistakes by kind.
    examples (DataFrame): A row for each example of a mistake.
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
        """Finished folds, without repeating those that several studies share."""
        return self.folds[self.folds.state == "finished"].drop_duplicates("key")


def read_study(folder: Path) -> Study:
    """Read a study's folder.

    folder (Path): The folder.
    RETURNS (Study): What it holds. What cannot be read is named in `unreadable`.
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
    tables: dict[str, list[Row]] = {name: [] for name in _COLUMNS}
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
            row = {"key": key, "system": fold.system, **asdict(fold), "base": fold.model}
            done: Row = {"state": "not yet run", "problem": ""}
            if key in manifests:
                try:
                    done, more = _manifest(json.loads(manifests[key].read_text(encoding="utf-8")))
                    for name, rows in more.items():
                        tables[name] += [row | one for one in rows]
                except _FAULTS as error:
                    done = {"state": "unreadable", "problem": _fault(error)}
                    unreadable[_name(manifests[key])] = done["problem"]
            tables["folds"].append(row | done)
    keys = {row["key"] for row in tables["folds"]}
    strays = [(_name(path), "is in no plan") for key, path in manifests.items() if key not in keys]
    frames = {
        name: DataFrame(rows, columns=["key", "system", *FOLD, *_COLUMNS[name]]).astype(_OPTIONAL)
        for name, rows in tables.items()
    }
    return Study(
        plans=plans,
        corpora=DataFrame(list(corpora.values()), columns=CORPUS),
        missing=DataFrame(list(missing.items()), columns=["corpus", "how"]),
        unreadable=DataFrame(sorted(unreadable.items()), columns=["file", "problem"]),
        strays=DataFrame(strays, columns=["file", "problem"]),
        **frames,
    )


def micro(scores: DataFrame, task: str, *modes: str) -> DataFrame:
    """The scores of a task over all types, in some modes of matching or in all. Scores of folds with nothing to find in
    the gold standard are left out: their F1 of 0 would say nothing about the arm."""
    own = scores[(scores.task == task) & (scores.label == "") & (scores.support > 0)]
    return own[own["mode"].isin(modes)] if modes else own


def _corpus(record: Any, profile: str) -> Row:
    row: Row = {"corpus": str(record["corpus"]), "profile": profile}
    row |= {split: int(record["documents"][split]) for split in SPLITS}
    row |= {f"{part}_{unit}": int(record["parts"][part][unit]) for part in ("train", "test") for unit in _UNITS}
    reasons = {why: {str(name): int(count) for name, count in record[why].items()} for why in ("lost", "left_out")}
    row |= {"shared": int(record["shared"]), "headers": int(record.get("headers", 0))}  # older plans have no headers
    row |= {why: sum(counts.values()) for why, counts in reasons.items()}
    return row | {"why": ", ".join(f"{why} {count:,}" for own in reasons.values() for why, count in own.items())}


def _manifest(record: Any) -> tuple[Row, dict[str, list[Row]]]:
    """A fold's columns, and its rows in other frames."""
    if "failed" in record:
        return {"state": "failed", "problem": str(record["failed"]["problem"])}, {}
    made, training, prediction = record["made"], record["training"], record["prediction"]
    machine = made["machine"]
    fold: Row = {
        "state": "finished",
        "problem": "",
        "profile": str(record["profile"]),
        "finished": str(made["finished"]),
        "seconds": float(made["seconds"]),
        # With the threads: costs can be compared only between equal shares of equal machines.
        "machine": f"{machine['processor']}, {int(machine['threads'])} of {int(machine['cores'])} cores, "
        f"{machine['gpu'] or 'no GPU'}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items())),
        "steps": 0,
        **{name: int(record["data"][part][unit]) for name in SIZES for part, unit in [name.split("_")]},
    }
    if training is not None:
        fold |= {"steps": int(training["steps"]), **{name: float(training[name]) for name in _COSTS}}
    if prediction is not None:
        fold |= {"tested_words": float(prediction["words"]), "tested_seconds": float(prediction["seconds"])}
        fold |= {"rejected": {str(reason): int(count) for reason, count in prediction["rejected"].items()}}
    return fold, {"scores": _scores(record), **(_mistakes(record["errors"]) if record.get("errors") else {})}


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


def _mistakes(record: Any) -> dict[str, list[Row]]:
    tables = {"": record, **record["by_type"]}
    rows = [{"label": str(label), **{kind: int(own[kind]) for kind in KINDS}} for label, own in tables.items()]
    rows[0] |= {name: int(record[part][unit]) for name in RECALL for part, unit in [name.split("_")]}
    examples = [
        {"document": str(one["document"]), "kind": str(one["kind"]), **_mention("gold", one), **_mention("found", one)}
        for one in record["examples"]
    ]
    return {"mistakes": rows, "examples": examples}


def _mention(side: str, record: Mapping[str, Any]) -> Row:
    if record[side] is None:
        return {}
    start, end, label = record[side]
    return {f"{side}_start": int(start), f"{side}_end": int(end), f"{side}_label": str(label)}


def _name(path: Path) -> str:
    return f"folds/{path.parent.name}/{path.name}"


def _fault(error: Exception) -> str:
    """What is wrong with a file. Messages of errors could quote its content; names of missing keys are our own."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not whole JSON"
    if isinstance(error, OSError):
        return f"cannot be opened ({error.strerror})"
    return f"lacks {error}" if isinstance(error, KeyError) else f"holds what it should not ({type(error).__name__})"
