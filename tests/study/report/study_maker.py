"""Invented studies, and what tests ask of their tables."""

import json
from pathlib import Path
from typing import Any, Optional

import numpy as np

from spacy_clinie.scoring.counts import Counts
from spacy_clinie.scoring.scores import summarize
from spacy_clinie.study.report.layout import Table

EVIL = "<script>|=1+1"
MACHINE = {"processor": "Invented CPU", "cores": 2, "threads": 1, "gpu": None}
DATA = {
    "corpus": "phee",
    "documents": {"train": 40, "dev": 5, "test": 10},
    "parts": {"train": {"documents": 20, "words": 2000}, "test": {"documents": 10, "words": 1000}},
    "shared": 3,
    "lost": {"a concept of nothing": 2},
    "left_out": {"document of another split": 7, "notes": 1},
}


def make_fold(study: str, arm: str, corpus: str, stage: str = "full", **more: Any) -> dict[str, Any]:
    base = "minilm" if arm.startswith("encoder") else "smollm2"
    fold = {"study": study, "arm": arm, "base": base, "corpus": corpus, "stage": stage, "steps": 3, "others": []}
    return {**fold, "shots": None, "draw": None, "multitask": False, "seed": 0, **more}


def flat(documents: list[list[int]], label: str = "Drug") -> dict[str, list[list[int]]]:
    """The counts of one type: true positives, false positives, false negatives of each document."""
    return {label: documents}


def same(tp: int, fp: int, fn: int, *, documents: int = 10) -> dict[str, list[list[int]]]:
    return flat([[tp, fp, fn]] * documents)


class StudyMaker:
    """Writes a study's folder. Counts are by type and document."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plans: dict[str, list[dict[str, Any]]] = {}
        self.missing: list[dict[str, str]] = []

    def plan(self, fold: dict[str, Any]) -> str:
        """Plan a fold without doing it."""
        own = self.plans.setdefault(fold["study"], [])
        key = f"{sum(map(len, self.plans.values())):016x}"
        own.append({"key": key, "fold": fold})
        return key

    def fail(self, fold: dict[str, Any], problem: str) -> str:
        key = self.plan(fold)
        return self.put(key, {"key": key, "fold": fold, "profile": "cpu", "failed": {"problem": problem}})

    def done(
        self,
        fold: dict[str, Any],
        tasks: Optional[dict[str, dict[str, list[list[int]]]]] = None,
        lenient: Optional[dict[str, list[list[int]]]] = None,
        **more: Any,
    ) -> str:
        """Do a fold. Matched leniently, it has the same counts unless others are given."""
        results: dict[str, Any] = {}
        documents: dict[str, Any] = {"ids": []}
        for task, strict in (tasks or {}).items():
            both = {"strict": strict, "lenient": lenient or strict}
            tables = {
                mode: np.array(list(own.values()), dtype=np.int64).transpose(1, 0, 2) for mode, own in both.items()
            }
            documents["ids"] = [f"note-{i}" for i in range(len(tables["strict"]))]
            results[task] = {
                mode: summarize(Counts(documents["ids"], list(own), tables[mode]), resamples=50)
                for mode, own in both.items()
            }
            documents[task] = {mode: tables[mode].sum(axis=1).tolist() for mode in both}
        key = self.plan(fold)
        record = {
            "key": key,
            "fold": fold,
            "profile": "cpu",
            "made": {
                "finished": "2025-11-24T12:00:00+00:00",
                "seconds": 60.0,
                "machine": MACHINE,
                "versions": {"spacy_clinie": "0.4.0", "torch": "2.5.0"},
            },
            "data": {
                "train": {"documents": 10, "words": 900},
                "offered": {"documents": 20, "words": 2000},
                "test": {"documents": len(documents["ids"]), "words": 1000},
            },
            "training": {
                "steps": 3,
                "seconds": 3.0,
                "seconds_per_step": 1.0,
                "trainable": 250_000,
                "parameters": 1_000_000,
                "peak_bytes": 1_500_000_000,
                "disk_bytes": 90_000_000,
            },
            "prediction": {"seconds": 4.0, "words": 1000, "rejected": {}} if results else None,
            "results": results,
            "documents": documents,
            **more,
        }
        return self.put(key, record)

    def put(self, key: str, record: Any) -> str:
        path = self.folder / "folds" / key / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
        return key

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        for study, folds in self.plans.items():
            record = {"study": study, "profile": "cpu", "commands": [f"python -m spacy_clinie study {study} study"]}
            record |= {"folds": folds, "missing": self.missing, "data": [DATA]}  # type: ignore[dict-item]
            (self.folder / f"{study}.json").write_text(json.dumps(record), encoding="utf-8")
        return self.folder


def few(maker: StudyMaker, corpus: str, draw: int, multitask: bool, counts: dict) -> None:
    """Do a fold of few shots."""
    fold = make_fold("loo", "encoder-mrc", corpus, "shots", shots=5, draw=draw, multitask=multitask)
    maker.done(fold, {"concepts": counts})


def texts(table: Table) -> list[list[str]]:
    """What is read first in the cells of a table."""
    return [[cell.text for cell in row] for row in table.rows]
