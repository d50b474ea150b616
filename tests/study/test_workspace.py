"""The data of a study: corpora, their samples, and training without text of the test."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import spacy

from spacy_clinie.corpora.splits import overlapping
from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import docbin
from spacy_clinie.study.data import SPLITS, Source, find_sources, load, stamp
from spacy_clinie.study.fold import fold_config, run_fold
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.presets import PRESETS
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace

from .test_run import manifests

SMOKE = PROFILES["smoke"]
_WORDS = re.compile(r"\w+")


def prepare(workspace: Workspace, sources: Sequence[Source]) -> None:
    for source in sources:
        workspace.prepare(source)


def test_manifest_counts_documents_that_steps_read(tmp_path: Path) -> None:
    """A note a step, and two steps."""
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", replace(SMOKE, step_words=1, train_words=None))
    prepare(workspace, find_sources(["mine"], tmp_path / "corpora")[0])
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 2)
    run_fold(fold, workspace, "key", None)
    manifest = workspace.manifest("key")
    assert manifest
    assert manifest["training"]["steps"] == manifest["data"]["train"]["documents"] == 2
    assert manifest["data"]["offered"]["documents"] == len(load(workspace.sample("mine", "train"))) > 2
    assert "relations" not in manifest["results"]


def test_random_weights_of_a_real_shape_are_trained_and_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny-encoder", replace(PRESETS["tiny-encoder"], base="some/model"))
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    prepare(workspace, find_sources(["mine"], tmp_path / "corpora")[0])
    run_fold(Fold("cost", "encoder-tagger", "tiny-encoder=random", "mine", "full", 2), workspace, "key", None)
    manifest = workspace.manifest("key")
    assert manifest
    assert manifest["training"]["steps"] == 2
    assert manifest["training"]["disk_bytes"] > 0
    assert "results" not in manifest
    assert manifest["data"]["test"]["documents"] == 0


def test_words_of_the_multi_task_stage_count_as_seen(tmp_path: Path) -> None:
    for name, begin in (("first", 0), ("second", 50)):
        own_corpus(tmp_path / "corpora" / name, begin)
    workspace = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    prepare(workspace, find_sources(["first", "second"], tmp_path / "corpora")[0])
    multi = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 2, multitask=True, others=("second",))
    run_fold(multi, workspace, "multi", None)
    run_fold(replace(multi, stage="zero", steps=0), workspace, "zero", "multi")
    errors = (workspace.manifest("zero") or {})["errors"]
    assert (errors["seen"]["gold"], errors["unseen"]["gold"]) == (1, 0)


def test_training_shares_no_text_with_the_test(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    sources = find_sources(["mine"], tmp_path / "corpora")[0]
    prepare(workspace, sources)
    tested = load(workspace.corpus("mine") / "test.spacy")[0]
    repeated = load(workspace.corpus("mine") / "train.spacy")[0]
    (folder / f"{repeated.id}.txt").write_text("Once more. " + tested.text)
    (folder / f"{repeated.id}.ann").write_text("")
    prepare(workspace, sources)
    assert overlapping([note.text for note in load(workspace.sample("mine", "train"))], [tested.text])
    for stage in ("full", "shots"):
        fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "mine", stage, 1, shots=99)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="CIE469"):
            shown = _trained_on(fold, workspace)
        assert shown
        assert not overlapping(shown, [note.text for note in load(workspace.corpus("mine") / "test.spacy")])


def test_parent_without_relations_can_have_a_child_with_relations(tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    prepare(workspace, find_sources(["synthetic-drugs", "mine"], tmp_path / "corpora")[0])
    for arm, base, tasks in (
        ("decoder-lora", "tiny-decoder=random", {"concepts", "relations", "relations_gold"}),
        ("encoder-mrc", "tiny-encoder=random", {"concepts"}),
    ):
        multi = Fold("loo", arm, base, "synthetic-drugs", "multi", 2, multitask=True, others=("mine",))
        zero = replace(multi, stage="zero", steps=0)
        run_fold(multi, workspace, f"{arm}-multi", None)
        run_fold(zero, workspace, f"{arm}-zero", f"{arm}-multi")
        # A language model can be asked what it was not taught; an encoder has no component for it.
        manifest = workspace.manifest(f"{arm}-zero") or {}
        assert set(manifest["results"]) == tasks


def test_multi_task_training_shares_no_text_with_the_held_out_corpus(tmp_path: Path) -> None:
    """One corpus repeats the notes of the other, two of them with words before."""
    second = tmp_path / "corpora" / "second"
    shutil.copytree(own_corpus(tmp_path / "corpora" / "first"), second)
    for i, file in enumerate(sorted(second.glob("*.txt"))[:2]):
        shifted = file.with_suffix(".ann").read_text().split("\t")
        name, start, end = shifted[1].split()
        file.with_suffix(".ann").write_text(f"T1\t{name} {int(start) + 4} {int(end) + 4}\t{shifted[2]}")
        file.write_text(f"Yes{i}" + file.read_text())
    workspace = Workspace(tmp_path / "study", SMOKE)
    sources, _ = find_sources(["synthetic-drugs", "first", "second"], tmp_path / "corpora")
    prepare(workspace, sources)
    others = ("second", "synthetic-drugs")
    fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 1, multitask=True, others=others)
    with pytest.warns(UserWarning, match="CIE469"):
        shown = _trained_on(fold, workspace)
    assert shown
    assert not overlapping(shown, _texts(workspace, "first"))


def _texts(workspace: Workspace, corpus: str) -> list[str]:
    return [note.text for split in SPLITS for note in load(workspace.corpus(corpus) / f"{split}.spacy")]


def test_open_corpora_share_no_text_in_training(corpora: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, PROFILES["gpu"])
    sources, missing = find_sources(["phee", "ddi2013"], corpora)
    assert not missing
    prepare(workspace, sources)
    fold = Fold("loo", "encoder-mrc", "minilm", "ddi2013", "multi", 1, multitask=True, others=("phee",))
    with pytest.warns(UserWarning, match="CIE469"):
        shown = _trained_on(fold, workspace)
    whole = [note.text for note in load(workspace.corpus("phee") / "train.spacy")]
    left_out = _texts(workspace, "ddi2013")
    assert not overlapping(shown, left_out)
    assert 0 < len(whole) - len(shown) == len(overlapping(whole, left_out))
    # The same by other means: no sentence of six words and more stands in what was left out.
    there = " ".join([" ", *(" ".join(_WORDS.findall(text.lower())) + " |" for text in left_out)])
    shown_words = [_WORDS.findall(text.lower()) for text in shown]
    assert not [words for words in shown_words if len(words) >= 6 and f" {' '.join(words)} " in there]


def _trained_on(fold: Fold, workspace: Workspace) -> list[str]:
    config = fold_config(fold, workspace, None)
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    reader = spacy.registry.resolve({"train": config["corpora"]["train"]})["train"]
    return [example.reference.text for example in reader(nlp)]


def own_corpus(folder: Path, begin: int = 0) -> Path:
    """A user's corpus: brat files and a schema. From another number it has the same drugs in other texts."""
    folder.mkdir(parents=True)
    schema = "name: mine\nconcepts:\n  Drug:\n    description: A drug.\n    question: Which drugs?\n"
    (folder / "schema.yml").write_text(schema)
    for i in range(12):
        words = [str(number) for number in range(begin + 100, begin + 112)]
        drug = f"drug{(i + begin) % 12}"
        text = f"Note {i} says {' '.join(words[i:] + words[:i])}: took {drug} again and again."
        start = text.index("drug")
        (folder / f"n{i}.txt").write_text(text)
        (folder / f"n{i}.ann").write_text(f"T1\tDrug {start} {start + len(drug)}\t{drug}\n")
    return folder


def test_corpus_of_the_user_without_relations(tmp_path: Path) -> None:
    # A config would take a dot for a section within a section.
    own_corpus(tmp_path / "corpora" / "mine.2024")
    counts = run_study(
        "single",
        tmp_path / "study",
        profile="smoke",
        corpora=tmp_path / "corpora",
        use=["mine.2024"],
        arms=["encoder-tagger", "decoder-lora"],
    )
    assert (counts["folds"], counts["finished"]) == (2, 2)
    for one in manifests(tmp_path / "study"):
        assert one["data"]["test"]["documents"] == 1
        if one["fold"]["arm"] == "decoder-lora":
            assert one["results"]["relations"]["strict"]["micro"]["support"] == 0
        else:
            assert "relations" not in one["results"]


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
    assert any("And then no more." in text for text in _texts(workspace, "mine"))
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


def test_stamp_follows_links(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "elsewhere" / "mine")
    (tmp_path / "corpora" / "mine").mkdir(parents=True)
    (tmp_path / "corpora" / "mine" / "notes").symlink_to(folder)
    (folder / "schema.yml").rename(tmp_path / "corpora" / "mine" / "schema.yml")
    (source,) = find_sources(["mine"], tmp_path / "corpora")[0]
    before = stamp(source)
    (folder / "n3.ann").write_text("")
    assert stamp(source) != before


def test_interrupted_conversion_is_repeated(tmp_path: Path) -> None:
    """Another corpus under the same name, and the first one again."""
    first, second = (own_corpus(tmp_path / name / "mine", begin) for name, begin in (("a", 0), ("b", 50)))
    workspace = Workspace(tmp_path / "study", SMOKE)
    (one,), (other,) = (find_sources(["mine"], folder.parent)[0] for folder in (first, second))
    workspace.prepare(one)
    before = _texts(workspace, "mine")
    write, written = docbin.write, []

    def cut_off(notes: list[Note], path: Path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(notes, path)

    with patch("spacy_clinie.formats.docbin.write", cut_off), pytest.raises(KeyboardInterrupt):
        workspace.prepare(other)
    assert _texts(workspace, "mine") != before
    workspace.prepare(one)
    assert _texts(workspace, "mine") == before


def test_missing_corpora_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    use = ["n2c2_2018", "phee", "synthetic-drugs"]
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": use}
    with pytest.raises(ClinieError, match=r"(?s)CIE491.*n2c2_2018: under a data use agreement.*phee: .*github"):
        run_study("loo", tmp_path / "study", **settings)
    assert not (tmp_path / "study").exists()
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, skip_missing=True)
    plan = json.loads((tmp_path / "study" / "single.json").read_text())
    assert [one["corpus"] for one in plan["missing"]] == ["n2c2_2018", "phee"]
    assert {one["fold"]["corpus"] for one in plan["folds"]} == {"synthetic-drugs"}


@pytest.mark.parametrize("files", [[], ["train.json"]])
def test_incomplete_corpora_can_be_skipped(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "phee").mkdir()
    for name in files:
        (tmp_path / "phee" / name).write_text("[]")
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "echo": lambda _: None}
    with pytest.raises(ClinieError, match="CIE250" if files else "CIE491"):
        run_study("single", tmp_path / "study", **settings, use=["phee", "synthetic-drugs"])
    with pytest.raises(ClinieError, match=r"(?s)CIE491.*phee"):
        run_study("single", tmp_path / "study", **settings, use=["phee"], skip_missing=True)
    with patch("spacy_clinie.study.run._run_folds", return_value={}):
        run_study("single", tmp_path / "study", **settings, use=["phee", "synthetic-drugs"], skip_missing=True)
    (missing,) = json.loads((tmp_path / "study" / "single.json").read_text())["missing"]
    assert missing["corpus"] == "phee"
    assert ("CIE250" if files else "github") in missing["how"]
