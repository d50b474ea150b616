"""The folder of a study: its corpora, samples, pipelines and lock."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import docbin
from spacy_clinie.study.data import find_sources
from spacy_clinie.study.fold import run_fold
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace
from tests.study.conftest import SMOKE, own_corpus, prepare, texts_of


def test_changed_corpus_is_converted_again(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 1)

    def prepared() -> str:
        again = Workspace(tmp_path / "study", SMOKE)
        prepare(again, find_sources(["mine"], tmp_path / "corpora")[0])
        return again.key(fold)

    first = prepared()
    assert prepared() == first
    (folder / "n3.txt").write_text((folder / "n3.txt").read_text() + " And then no more.")
    second = prepared()
    assert second != first
    assert any("And then no more." in text for text in texts_of(workspace, "mine"))
    schema = (folder / "schema.yml").read_text()
    (folder / "schema.yml").write_text(schema.replace("Which drugs?", "What was taken?"))
    assert prepared() not in (first, second)


@pytest.mark.parametrize("name", ["whole/mine/test.spacy", "whole/mine/schema.yml", "smoke/mine/train.spacy"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_damaged_files_of_a_corpus_are_made_again(name: str, damage: Any, tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    (source,) = find_sources(["mine"], tmp_path / "corpora")[0]
    workspace.prepare(source)
    path = tmp_path / "study" / "data" / name
    before = path.read_bytes()
    damage(path)
    workspace.prepare(source)
    assert path.read_bytes() == before


def test_incomplete_pipeline_is_not_used(tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    prepare(workspace, find_sources(["synthetic-drugs", "mine"], tmp_path / "corpora")[0])
    fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "mine", "multi", 1, multitask=True)
    run_fold(replace(fold, others=("synthetic-drugs",)), workspace, "multi", None)
    assert workspace.has_pipeline("multi")
    shutil.rmtree(workspace.fold("multi") / "pipeline" / "clinie_rel")
    assert not workspace.has_pipeline("multi")


def test_interrupted_conversion_is_repeated(tmp_path: Path) -> None:
    """Another corpus under the same name, and the first one again."""
    first, second = (own_corpus(tmp_path / name / "mine", begin) for name, begin in (("a", 0), ("b", 50)))
    workspace = Workspace(tmp_path / "study", SMOKE)
    (one,), (other,) = (find_sources(["mine"], folder.parent)[0] for folder in (first, second))
    workspace.prepare(one)
    before = texts_of(workspace, "mine")
    write, written = docbin.write, []

    def cut_off(notes: list[Note], path: Path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(notes, path)

    with patch("spacy_clinie.formats.docbin.write", cut_off), pytest.raises(KeyboardInterrupt):
        workspace.prepare(other)
    assert texts_of(workspace, "mine") != before
    workspace.prepare(one)
    assert texts_of(workspace, "mine") == before


def test_a_hub_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("spacy_clinie.models.pretrained.load_config", asked.append)
    workspace = Workspace(tmp_path, SMOKE)
    assert workspace._fingerprint("some/model") == workspace._fingerprint("some/model")
    assert asked == ["some/model"]


def test_second_command_in_a_folder_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "study", SMOKE)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path}
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        with workspace.locked(), pytest.raises(ClinieError, match="CIE498"):
            run_study("single", tmp_path / "study", **settings)
        assert not (tmp_path / "study" / "single.json").exists()
        run_study("single", tmp_path / "study", **settings)
    assert (tmp_path / "study" / "single.json").is_file()
