"""The plan of a study, to which commands add."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.study.presets import PRESETS, find_preset
from spacy_clinie.study.random_models import write_random_model
from spacy_clinie.study.run import run_study


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


def test_bases_with_the_same_name_are_refused(tmp_path: Path) -> None:
    preset = find_preset("tiny-encoder")
    for seed, name in enumerate(("a", "b")):
        write_random_model(tmp_path / name / "best", preset.kind, preset.shape, ["took aspirin"], seed)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": ["synthetic-drugs"]}
    settings |= {"arms": ["encoder-tagger"], "echo": lambda _: None}
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, bases=[f"minilm={tmp_path / 'a' / 'best'}"])
        with pytest.raises(ClinieError, match="CIE489"):
            run_study("single", tmp_path / "study", **settings, bases=[f"minilm={tmp_path / 'b' / 'best'}"])
        (fold,) = json.loads((tmp_path / "study" / "single.json").read_text())["folds"]
        assert "/a/" in fold["fold"]["base"]
        # Of the first, nothing was done yet. It is not forgotten.
        run_study("single", tmp_path / "study", **settings, bases=["tiny-encoder"], command="second")
    plan = json.loads((tmp_path / "study" / "single.json").read_text())
    assert len(plan["folds"]) == 2
    assert plan["commands"] == ["", "second"]
