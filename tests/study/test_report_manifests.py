"""Studies are read, whole or in part; and the invented studies that the other tests of reports are made of."""

import json
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.scoring.counts import Counts
from spacy_clinie.scoring.scores import summarize
from spacy_clinie.study.plan import System
from spacy_clinie.study.report.manifests import read_study

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
        for study, folds in self.plans.items():
            record = {"study": study, "profile": "cpu", "commands": [f"python -m spacy_clinie study {study} study"]}
            record |= {"folds": folds, "missing": self.missing, "data": [DATA]}  # type: ignore[dict-item]
            (self.folder / f"{study}.json").write_text(json.dumps(record), encoding="utf-8")
        return self.folder


@pytest.fixture
def maker(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path)


def test_a_folder_without_a_plan_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE480"):
        read_study(tmp_path)


def test_every_planned_fold_has_a_state(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.fail(make_fold("single", "encoder-mrc", "phee"), "ValueError: [CIE303] no weights")
    maker.plan(make_fold("single", "decoder-lora", "phee"))
    maker.put(maker.plan(make_fold("single", "decoder-full", "phee")), '{"key": ')
    study = read_study(maker.write())
    assert [one.state for one in study.folds] == ["finished", "failed", "not yet run", "unreadable"]
    assert study.folds[1].problem == "ValueError: [CIE303] no weights"
    assert study.unreadable == [("folds/0000000000000003/manifest.json", "is not whole JSON")]


@pytest.mark.parametrize("lost", ["made", "training", "prediction", "profile", "data"])
def test_a_manifest_that_lacks_something_is_named_and_not_used(maker: StudyMaker, lost: str) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    del record[lost]
    maker.put(key, record)
    study = read_study(maker.write())
    assert study.unreadable == [(f"folds/{key}/manifest.json", f"lacks '{lost}'")]
    assert study.outcomes == []


@pytest.mark.parametrize("record", ["", "[]", "7", "null", '{"failed": {}}', '{"failed": 3}', "\udcff"])
def test_a_manifest_can_hold_anything(maker: StudyMaker, record: str) -> None:
    key = maker.plan(make_fold("single", "encoder-tagger", "phee"))
    path = maker.folder / "folds" / key / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(record.encode("utf-8", "surrogateescape"))
    study = read_study(maker.write())
    assert [name for name, _ in study.unreadable] == [f"folds/{key}/manifest.json"]


def test_counts_of_other_documents_than_the_ids_are_not_used(maker: StudyMaker) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    record["documents"]["ids"].pop()
    maker.put(key, record)
    assert read_study(maker.write()).unreadable == [
        (f"folds/{key}/manifest.json", "holds what it should not (ValueError)")
    ]
    del record["documents"]["concepts"]
    maker.put(key, record)
    assert read_study(maker.write()).unreadable == [(f"folds/{key}/manifest.json", "lacks 'documents.concepts'")]


def test_a_number_beyond_measure_is_not_used(maker: StudyMaker) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    record["results"]["concepts"]["strict"]["micro"]["tp"] = float("inf")
    maker.put(key, record)
    assert [why for _, why in read_study(maker.write()).unreadable] == ["holds what it should not (OverflowError)"]


def test_a_fold_without_a_base_makes_its_plan_unreadable(maker: StudyMaker) -> None:
    maker.plan(make_fold("single", "encoder-tagger", "phee") | {"base": None})
    assert read_study(maker.write()).unreadable == [("single.json", "holds what it should not (TypeError)")]


def test_a_plan_that_is_cut_off_is_named_and_the_others_are_read(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    folder = maker.write()
    (folder / "loo.json").write_text('{"study": "loo", "fol')
    study = read_study(folder)
    assert list(study.plans) == ["single"]
    assert study.unreadable == [("loo.json", "is not whole JSON")]


def test_folds_of_no_plan_are_told_apart(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.put("00000000000000ff", {"left": "over"})
    study = read_study(maker.write())
    assert study.strays == ["folds/00000000000000ff/manifest.json"]
    assert len(study.outcomes) == 1


def test_a_base_is_shown_without_its_folder() -> None:
    assert System("encoder-mrc", "gatortron-base=/home/someone/weights/gt").title == "encoder-mrc (gatortron-base=gt)"
    assert System("encoder-mrc", "bert=google-bert/bert-base-uncased").model == "bert=bert-base-uncased"
    assert System("encoder-mrc", "tiny-encoder=random").model == "tiny-encoder=random"
    assert System("encoder-mrc", "minilm").model == "minilm"
