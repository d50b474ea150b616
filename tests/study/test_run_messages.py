"""The messages of a study about its corpora, its plan and its folds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.study.presets import PRESETS
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.random_models import write_random_model
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace

from .test_run import manifests
from .test_workspace import own_corpus

SMOKE = PROFILES["smoke"]


def test_too_many_shots_are_reported(tmp_path: Path) -> None:
    messages: list[str] = []
    with (
        patch("spacy_clinie.study.run._run_folds", return_value={}),
        patch.dict(PROFILES, {"smoke": replace(SMOKE, shots=(1, 99))}),
    ):
        run_study("loo", tmp_path, profile="smoke", corpora=tmp_path, echo=messages.append)
    plan = json.loads((tmp_path / "loo.json").read_text())
    assert {one["fold"]["shots"] for one in plan["folds"]} == {None, 1}
    assert len([line for line in messages if "no folds of 99 shots" in line]) == len(SMOKE.corpora)


def test_dropped_folds_are_reported(tmp_path: Path) -> None:
    messages: list[str] = []
    settings: dict[str, Any] = {"corpora": tmp_path, "arms": ["encoder-tagger"], "echo": messages.append}
    use: dict[str, Any] = {"profile": "smoke", "use": ["synthetic-drugs"]}
    best = tmp_path / "best"
    write_random_model(best, "encoder", PRESETS["tiny-encoder"].shape, ["aspirin for pain"])
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, **use, bases=[f"minilm={best}"])
        shutil.rmtree(best)
        run_study("single", tmp_path / "study", **settings, **use, bases=["tiny-encoder"])
        assert [line for line in messages if line.startswith("1 folds of earlier commands leave")]
        run_study("single", tmp_path / "study", **settings, **use, bases=["tiny-encoder"])
        assert len([line for line in messages if "of earlier commands leave" in line]) == 1
        with pytest.raises(ClinieError, match="CIE483"):
            run_study("single", tmp_path / "study", **settings, **{**use, "profile": "cpu"}, bases=["tiny-encoder"])
    assert json.loads((tmp_path / "study" / "single.json").read_text())["profile"] == "smoke"


def test_missing_corpus_stays_in_the_plan(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "arms": ["encoder-tagger"]}
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, use=["synthetic-drugs", "n2c2_2018"], skip_missing=True)
        run_study("single", tmp_path / "study", **settings, use=["synthetic-problems"] * 2)
    plan = json.loads((tmp_path / "study" / "single.json").read_text())
    assert [one["corpus"] for one in plan["missing"]] == ["n2c2_2018"]
    assert [one["corpus"] for one in plan["data"]] == ["synthetic-drugs", "synthetic-problems"]
    assert {one["fold"]["corpus"] for one in plan["folds"]} == {"synthetic-drugs", "synthetic-problems"}


def test_shared_text_and_small_tests_are_reported(tmp_path: Path) -> None:
    header = "Dictated but not read. The author takes no responsibility for errors of this kind."
    for split, numbers in {"train": range(4), "dev": range(4, 6), "test": range(6, 9)}.items():
        folder = tmp_path / "alike" / split
        folder.mkdir(parents=True)
        for number in numbers:
            text = f"{header} Took aspirin {number}." if number else "Took aspirin."
            at = text.index("aspirin")
            (folder / f"{number}.txt").write_text(text)
            (folder / f"{number}.ann").write_text(f"T1\tDrug {at} {at + 7}\taspirin\n")
    (tmp_path / "alike" / "schema.yml").write_text("name: alike\nconcepts:\n  Drug: {}\n")
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": ["alike"], "arms": ["encoder-tagger"]}
    messages: list[str] = []
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, echo=messages.append)
        assert "alike: 3 of 4 training documents share text with a test document: not trained on" in messages
        assert "alike: tested on 3 of 3 documents: too few to compare arms" in messages
        for file in (tmp_path / "alike" / "train").glob("0.*"):
            file.unlink()
        with pytest.raises(ClinieError, match=r"CIE499.*alike.*12 words"):
            run_study("single", tmp_path / "study", **settings, echo=messages.append)


def test_documents_that_share_only_headers_are_used_and_reported(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "mine")
    for file in folder.glob("*.txt"):
        file.write_text(file.read_text() + " " + " ".join(f"seen{number}" for number in range(12)))
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": ["mine"], "arms": ["encoder-tagger"]}
    messages: list[str] = []
    all_of_it = {"smoke": replace(SMOKE, train_words=None)}
    with patch("spacy_clinie.study.run._run_folds", return_value={}), patch.dict(PROFILES, all_of_it):
        run_study("single", tmp_path / "study", **settings, echo=messages.append)
    assert "mine: 10 of 10 training documents share only headers with test documents: trained on" in messages
    (data,) = json.loads((tmp_path / "study" / "single.json").read_text())["data"]
    assert (data["shared"], data["headers"]) == (0, 10)


def test_lost_annotations_are_reported_without_their_types(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "mine")
    for file in (folder / "n1.ann", folder / "n2.ann", folder / "n3.ann"):
        file.write_text(file.read_text().replace("Drug", f"Mary_Smith_{file.stem}"))
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": ["mine"], "arms": ["encoder-tagger"]}
    messages: list[str] = []
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, echo=messages.append)
        assert (
            "mine: 3 things could not be converted, such as annotations of unknown types; see its report.json"
            in messages
        )
        plan = (tmp_path / "study" / "single.json").read_text()
        assert json.loads(plan)["data"][0]["lost"] == {"concept type that is not in the schema": 3}
        assert "Mary" not in plan
        (folder / "schema.yml").write_text("name: mine\nconcepts:\n  Medication: {}\n")
        with pytest.raises(ClinieError, match=r"CIE496.*no concepts for train"):
            run_study("single", tmp_path / "study", **settings)


def test_multi_task_stage_without_documents_fails_and_others_report_their_number(tmp_path: Path) -> None:
    for name, begin in (("mine", 0), ("other", 50)):
        own_corpus(tmp_path / name, begin)
    shutil.copytree(tmp_path / "mine", tmp_path / "again")
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "arms": ["encoder-mrc"]}
    messages: list[str] = []
    with patch.dict(PROFILES, {"smoke": replace(SMOKE, shots=())}):
        run_study("loo", tmp_path / "alike", **settings, use=["mine", "again"], echo=messages.append)
        problems = {
            one["fold"]["corpus"]: one["failed"]["problem"]
            for one in manifests(tmp_path / "alike")
            if one["fold"]["stage"] == "multi"
        }
        assert problems.keys() == {"mine", "again"}
        assert problems["mine"].startswith("[CIE486] No training documents of again are left")
        run_study("loo", tmp_path / "study", **settings, use=["mine", "again", "other"], echo=messages.append)
    line = next(line for line in messages if "mine" in line.split(" · ") and "multi" in line.split(" · "))
    offered = {one["fold"]["corpus"]: one.get("offered") for one in manifests(tmp_path / "study") if "shown" in one}
    assert offered["mine"]["again"] == 0
    assert offered["mine"]["other"] > 0
    assert any(
        f"share no text with it: 0 of again, {offered['mine']['other']} of other" in line for line in messages
    ), line


def test_finished_folds_that_are_run_again_are_reported(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "study")
    messages: list[str] = []
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "echo": messages.append}
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        with patch.object(Workspace, "_fingerprint", lambda *_: "other weights"):
            run_study("single", tmp_path / "study", **settings)
        finished = len(json.loads((study / "single.json").read_text())["folds"])
        line = f"{finished} finished folds of earlier commands are done again, because what they depend on has changed"
        assert line in messages
        messages.clear()
        run_study("single", tmp_path / "study", **settings)  # all is as it was, and there
    assert not any("done again" in line for line in messages)
