"""A study from its corpora to its manifests: what is done stays done, what is cut off is done again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import spacy
from spacy.training.initialize import init_nlp
from typer.testing import CliRunner

from spacy_clinie.cli import app
from spacy_clinie.corpora import docbin
from spacy_clinie.corpora.splits import overlapping
from spacy_clinie.errors import ClinieError
from spacy_clinie.notes import Note
from spacy_clinie.study import run
from spacy_clinie.study.data import SPLITS, Source, find_sources, load, stamp
from spacy_clinie.study.fold import fold_config, run_fold
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.presets import PRESETS, find_preset
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.random_models import write_random_model
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace

SMOKE = PROFILES["smoke"]
_WORDS = re.compile(r"\w+")


def manifests(study: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(study.glob("folds/*/manifest.json"))]


def prepare(space: Workspace, sources: Sequence[Source]) -> None:
    for source in sources:
        space.prepare(source)


def test_every_fold_says_what_it_did(study: Path) -> None:
    plans = [json.loads((study / f"{name}.json").read_text()) for name in ("single", "loo")]
    planned = {one["key"] for plan in plans for one in plan["folds"]}
    done = manifests(study)
    assert {one["key"] for one in done} == planned
    assert list(study.glob("folds/*/pipeline/config.cfg"))
    assert not list(study.glob("folds/*/pipeline/vocab"))  # words of notes
    for one in done:
        stage, arm = one["fold"]["stage"], one["fold"]["arm"]
        tasks = {"concepts", "relations", "relations_gold"} if arm != "encoder-pairs" else {"relations_gold"}
        assert set(one.get("results", {})) == (set() if stage == "multi" else tasks)
        assert (one["training"] is None) == (stage == "zero")
        assert one["data"]["train"]["documents"] <= one["data"]["offered"]["documents"]
        if one["training"]:
            part = one["training"]["trainable"] / one["training"]["parameters"]
            assert part < 1 if arm in ("encoder-lora", "decoder-lora", "decoder-ptuning") else part == 1
        for task, modes in one.get("documents", {}).items():
            if task != "ids":
                micro = one["results"][task]["strict"]["micro"]
                sums = [sum(column) for column in zip(*modes["strict"], strict=True)]
                assert sums == [micro[name] for name in ("tp", "fp", "fn")]
                assert len(modes["strict"]) == len(one["documents"]["ids"]) == one["data"]["test"]["documents"]


def test_nothing_is_done_twice_and_what_is_lost_is_done_again(study: Path) -> None:
    said: list[str] = []
    settings: dict[str, Any] = {"profile": "smoke", "corpora": study, "say": said.append}
    assert run_study("single", study, **settings)["finished"] == 0
    victim = next(path for path in study.glob("folds/*/manifest.json") if '"encoder-pairs"' in path.read_text())
    before = json.loads(victim.read_text())
    victim.write_text(victim.read_text()[:100])
    counts = run_study("single", study, **settings)
    assert (counts["finished"], counts["failed"], counts["done"]) == (1, 0, counts["folds"] - 1)
    assert json.loads(victim.read_text())["results"] == before["results"]


def test_a_stage_whose_pipeline_is_gone_is_done_again_before_anything_goes_on_from_it(
    study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    for pipeline in folder.glob("folds/*/pipeline"):
        shutil.rmtree(pipeline)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": folder, "say": lambda _: None}
    # Nothing needs them.
    assert run_study("loo", folder, **settings)["finished"] == 0
    victim = next(one for one in manifests(folder) if one["fold"]["arm"] == "encoder-mrc" and one["fold"]["shots"])
    assert victim["fold"]["multitask"]
    (folder / "folds" / victim["key"] / "manifest.json").unlink()
    counts = run_study("loo", folder, **settings)
    assert (counts["finished"], counts["failed"]) == (2, 0)
    again = json.loads((folder / "folds" / victim["key"] / "manifest.json").read_text())
    assert again["results"] == victim["results"]
    fold, space = Fold.from_dict(victim["fold"]), Workspace(folder, SMOKE)
    with pytest.raises(ClinieError, match="CIE487"):
        fold_config(fold, space, tmp_path / "gone" / "pipeline")


def test_another_command_adds_to_a_study(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": folder, "say": lambda _: None}
    before = json.loads((folder / "single.json").read_text())
    again: dict[str, Any] = {"use": ["synthetic-drugs"], "arms": ["encoder-tagger"], "seeds": 2, "command": "again"}
    counts = run_study("single", folder, **settings, **again)
    assert (counts["done"], counts["finished"]) == (1, 1)
    after = json.loads((folder / "single.json").read_text())
    more = [one["fold"]["seed"] for one in after["folds"] if one not in before["folds"]]
    assert more == [1]
    assert len(after["folds"]) == len(before["folds"]) + 1
    assert after["commands"] == [*before["commands"], "again"]
    assert {one["corpus"] for one in after["data"]} == set(SMOKE.corpora)
    # What would be done otherwise today is of no use beside it.
    path = folder / "data" / "whole" / "synthetic-problems" / "schema.yml"
    path.write_text(path.read_text() + "\n")
    run_study("single", folder, **settings, use=["synthetic-drugs"], arms=["encoder-tagger"])
    last = json.loads((folder / "single.json").read_text())
    assert {one["fold"]["corpus"] for one in last["folds"]} == {"synthetic-drugs"}
    assert last["folds"]


def test_the_config_of_a_fold_is_one_for_spacy_train(study: Path) -> None:
    done = {one["fold"]["arm"]: one for one in manifests(study) if one["fold"]["study"] == "single"}
    assert set(done) == set(SMOKE.arms)
    for one in done.values():
        config = spacy.util.load_config(study / "folds" / one["key"] / "config.cfg", interpolate=False)
        assert one["training"]["steps"] == one["fold"]["steps"] == config["training"]["max_steps"] + 1
        # Nothing of what is saved holds words of notes.
        assert config["training"]["before_to_disk"] == {"@callbacks": "spacy_clinie.before_to_disk.v1"}
        nlp = init_nlp(config.interpolate())
        numbers = [weight.numel() for _, pipe in nlp.pipeline for weight in pipe.model.shims[0].module.parameters()]
        assert sum(numbers) == one["training"]["parameters"]


def test_a_key_changes_with_what_the_result_depends_on(study: Path) -> None:
    space = Workspace(study, SMOKE)
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "synthetic-drugs", "full", 3)
    keys = {space.key(fold), space.key(Fold(**{**fold.to_dict(), "others": (), "seed": 1}))}
    keys.add(space.key(Fold(**{**fold.to_dict(), "others": (), "corpus": "synthetic-problems"})))
    changed = replace(find_preset("tiny-encoder"), rates={"encoder-tagger": 0.1})
    with patch.dict(PRESETS, {"tiny-encoder": changed}):
        keys.add(Workspace(study, SMOKE).key(fold))
    for profile in (replace(SMOKE, step_words=99), replace(SMOKE, step_pieces=99)):
        keys.add(Workspace(study, profile).key(fold))
    assert len(keys) == 6
    assert space.key(fold) in keys
    again = Workspace(study, SMOKE)
    assert again.key(fold) == space.key(fold)


def test_a_key_does_not_change_with_what_a_fold_does_not_read(study: Path) -> None:
    space = Workspace(study, SMOKE)
    fold = Fold("single", "encoder-mrc", "tiny-encoder=random", "synthetic-drugs", "full", 3)
    assert space.key(replace(fold, study="loo")) == space.key(fold)
    multi = replace(fold, study="loo", stage="multi", multitask=True, others=("synthetic-problems",))
    unread = [space.part(name, "test") for name in SMOKE.corpora] + [space.part("synthetic-drugs", "train")]
    with patch.object(Workspace, "_mark", lambda _, path: "changed" if path in unread else "same"):
        changed = Workspace(study, SMOKE).key(multi), Workspace(study, SMOKE).key(fold)
    with patch.object(Workspace, "_mark", lambda *_: "same"):
        assert Workspace(study, SMOKE).key(multi) == changed[0]
        assert Workspace(study, SMOKE).key(fold) != changed[1]


def test_a_fold_tells_what_its_steps_read_and_not_what_there_was(tmp_path: Path) -> None:
    """A note a step, and two steps."""
    _own_corpus(tmp_path / "corpora" / "mine")
    space = Workspace(tmp_path / "study", replace(SMOKE, step_words=1, train_words=None))
    prepare(space, find_sources(["mine"], tmp_path / "corpora")[0])
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 2)
    run_fold(fold, space, "key", None)
    manifest = space.manifest("key")
    assert manifest
    assert manifest["training"]["steps"] == manifest["data"]["train"]["documents"] == 2
    assert manifest["data"]["offered"]["documents"] == len(load(space.part("mine", "train"))) > 2
    assert "relations" not in manifest["results"]


def test_what_another_corpus_showed_counts_as_shown(tmp_path: Path) -> None:
    for name, begin in (("first", 0), ("second", 50)):
        _own_corpus(tmp_path / "corpora" / name, begin)
    space = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    prepare(space, find_sources(["first", "second"], tmp_path / "corpora")[0])
    multi = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 2, multitask=True, others=("second",))
    run_fold(multi, space, "multi", None)
    run_fold(replace(multi, stage="zero", steps=0), space, "zero", "multi")
    errors = (space.manifest("zero") or {})["errors"]
    assert (errors["seen"]["gold"], errors["unseen"]["gold"]) == (1, 0)


def test_a_multi_task_stage_tells_what_it_was_shown(study: Path) -> None:
    done = {one["key"]: one for one in manifests(study)}
    zero = [one for one in done.values() if one["fold"]["stage"] == "zero"]
    multi = [one for one in done.values() if one["fold"]["stage"] == "multi"]
    assert zero
    assert multi
    assert all(one["data"]["train"]["documents"] == 0 for one in zero)
    for one in multi:
        assert len(one["shown"]) == one["data"]["train"]["documents"] > 0
        assert {corpus for corpus, _ in one["shown"]} == set(one["fold"]["others"])


def test_training_holds_nothing_of_what_is_tested_on(tmp_path: Path) -> None:
    folder = _own_corpus(tmp_path / "corpora" / "mine")
    space = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    sources = find_sources(["mine"], tmp_path / "corpora")[0]
    prepare(space, sources)
    tested = load(space.whole("mine") / "test.spacy")[0]
    repeated = load(space.whole("mine") / "train.spacy")[0]
    (folder / f"{repeated.id}.txt").write_text("Once more. " + tested.text)
    (folder / f"{repeated.id}.ann").write_text("")
    prepare(space, sources)
    assert overlapping([note.text for note in load(space.part("mine", "train"))], [tested.text])
    for stage in ("full", "shots"):
        fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "mine", stage, 1, shots=99)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="CIE469"):
            shown = _trained_on(fold, space)
        assert shown
        assert not overlapping(shown, [note.text for note in load(space.whole("mine") / "test.spacy")])


def test_a_stage_without_relations_can_be_followed_by_one_with_them(tmp_path: Path) -> None:
    _own_corpus(tmp_path / "corpora" / "mine")
    space = Workspace(tmp_path / "study", SMOKE)
    prepare(space, find_sources(["synthetic-drugs", "mine"], tmp_path / "corpora")[0])
    for arm, base, tasks in (
        ("decoder-lora", "tiny-decoder=random", {"concepts", "relations", "relations_gold"}),
        ("encoder-mrc", "tiny-encoder=random", {"concepts"}),
    ):
        multi = Fold("loo", arm, base, "synthetic-drugs", "multi", 2, multitask=True, others=("mine",))
        zero = replace(multi, stage="zero", steps=0)
        run_fold(multi, space, f"{arm}-multi", None)
        run_fold(zero, space, f"{arm}-zero", f"{arm}-multi")
        # A language model can be asked what it was not taught; an encoder has no component for it.
        manifest = space.manifest(f"{arm}-zero") or {}
        assert set(manifest["results"]) == tasks


def test_multi_task_training_holds_nothing_of_what_is_left_out(tmp_path: Path) -> None:
    """One corpus repeats the notes of the other, two of them with words before."""
    second = tmp_path / "corpora" / "second"
    shutil.copytree(_own_corpus(tmp_path / "corpora" / "first"), second)
    for i, file in enumerate(sorted(second.glob("*.txt"))[:2]):
        shifted = file.with_suffix(".ann").read_text().split("\t")
        name, start, end = shifted[1].split()
        file.with_suffix(".ann").write_text(f"T1\t{name} {int(start) + 4} {int(end) + 4}\t{shifted[2]}")
        file.write_text(f"Yes{i}" + file.read_text())
    space = Workspace(tmp_path / "study", SMOKE)
    sources, _ = find_sources(["synthetic-drugs", "first", "second"], tmp_path / "corpora")
    prepare(space, sources)
    others = ("second", "synthetic-drugs")
    fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 1, multitask=True, others=others)
    with pytest.warns(UserWarning, match="CIE469"):
        shown = _trained_on(fold, space)
    assert shown
    assert not overlapping(shown, _texts(space, "first"))


def _texts(space: Workspace, corpus: str) -> list[str]:
    return [note.text for split in SPLITS for note in load(space.whole(corpus) / f"{split}.spacy")]


def test_open_corpora_hold_nothing_of_each_other(corpora: Path, tmp_path: Path) -> None:
    space = Workspace(tmp_path, PROFILES["gpu"])
    sources, missing = find_sources(["phee", "ddi2013"], corpora)
    assert not missing
    prepare(space, sources)
    fold = Fold("loo", "encoder-mrc", "minilm", "ddi2013", "multi", 1, multitask=True, others=("phee",))
    with pytest.warns(UserWarning, match="CIE469"):
        shown = _trained_on(fold, space)
    whole = [note.text for note in load(space.whole("phee") / "train.spacy")]
    left_out = _texts(space, "ddi2013")
    assert not overlapping(shown, left_out)
    assert 0 < len(whole) - len(shown) == len(overlapping(whole, left_out))
    # The same by other means: no sentence of six words and more stands in what was left out.
    there = " ".join([" ", *(" ".join(_WORDS.findall(text.lower())) + " |" for text in left_out)])
    shown_words = [_WORDS.findall(text.lower()) for text in shown]
    assert not [words for words in shown_words if len(words) >= 6 and f" {' '.join(words)} " in there]


def _trained_on(fold: Fold, space: Workspace) -> list[str]:
    config = fold_config(fold, space, None)
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    reader = spacy.registry.resolve({"train": config["corpora"]["train"]})["train"]
    return [example.reference.text for example in reader(nlp)]


def _own_corpus(folder: Path, begin: int = 0) -> Path:
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


def test_a_corpus_of_the_user_without_relations(tmp_path: Path) -> None:
    # A config would take a dot for a section within a section.
    _own_corpus(tmp_path / "corpora" / "mine.2024")
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


def test_a_corpus_that_changed_is_read_again(tmp_path: Path) -> None:
    folder = _own_corpus(tmp_path / "corpora" / "mine")
    space = Workspace(tmp_path / "study", SMOKE)
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
    assert any("And then no more." in text for text in _texts(space, "mine"))
    schema = (folder / "schema.yml").read_text()
    (folder / "schema.yml").write_text(schema.replace("Which drugs?", "What was taken?"))
    assert prepared() not in (first, second)


def test_a_corpus_behind_a_link_that_changed_is_read_again(tmp_path: Path) -> None:
    folder = _own_corpus(tmp_path / "elsewhere" / "mine")
    (tmp_path / "corpora" / "mine").mkdir(parents=True)
    (tmp_path / "corpora" / "mine" / "notes").symlink_to(folder)
    (folder / "schema.yml").rename(tmp_path / "corpora" / "mine" / "schema.yml")
    (source,) = find_sources(["mine"], tmp_path / "corpora")[0]
    before = stamp(source)
    (folder / "n3.ann").write_text("")
    assert stamp(source) != before


@pytest.mark.parametrize("manifest", ["null", "[]", "{}", '"x"', "", '{"failed": 7}'])
def test_a_manifest_that_is_none_is_no_end_of_a_fold(tmp_path: Path, manifest: str) -> None:
    space = Workspace(tmp_path, SMOKE)
    space.fold("k").mkdir(parents=True)
    (space.fold("k") / "manifest.json").write_text(manifest)
    assert space.manifest("k") is None
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 1)
    assert "its process was ended" in run._problem(space, "k", fold)


def test_a_conversion_that_is_cut_off_does_not_pass_for_the_one_before(tmp_path: Path) -> None:
    """Another corpus under the same name, and the first one again."""
    first, second = (_own_corpus(tmp_path / name / "mine", begin) for name, begin in (("a", 0), ("b", 50)))
    space = Workspace(tmp_path / "study", SMOKE)
    (one,), (other,) = (find_sources(["mine"], folder.parent)[0] for folder in (first, second))
    space.prepare(one)
    before = _texts(space, "mine")
    write, written = docbin.write, []

    def cut_off(notes: list[Note], path: Path) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(notes, path)

    with patch("spacy_clinie.corpora.docbin.write", cut_off), pytest.raises(KeyboardInterrupt):
        space.prepare(other)
    assert _texts(space, "mine") != before
    space.prepare(one)
    assert _texts(space, "mine") == before


def test_missing_corpora_are_named_and_can_be_done_without(tmp_path: Path) -> None:
    use = ["n2c2_2018", "phee", "synthetic-drugs"]
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": use}
    with pytest.raises(ClinieError, match=r"(?s)CIE491.*n2c2_2018: under a data use agreement.*phee: .*github"):
        run_study("loo", tmp_path / "study", **settings)
    assert not (tmp_path / "study").exists()
    with patch("spacy_clinie.study.run._work_off", return_value={}):
        run_study("single", tmp_path / "study", **settings, skip_missing=True)
    plan = json.loads((tmp_path / "study" / "single.json").read_text())
    assert [one["corpus"] for one in plan["missing"]] == ["n2c2_2018", "phee"]
    assert {one["fold"]["corpus"] for one in plan["folds"]} == {"synthetic-drugs"}


@pytest.mark.parametrize("files", [[], ["train.json"]])
def test_corpora_that_are_there_in_part_can_be_done_without(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "phee").mkdir()
    for name in files:
        (tmp_path / "phee" / name).write_text("[]")
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "say": lambda _: None}
    with pytest.raises(ClinieError, match="CIE250" if files else "CIE491"):
        run_study("single", tmp_path / "study", **settings, use=["phee", "synthetic-drugs"])
    with pytest.raises(ClinieError, match=r"(?s)CIE491.*phee"):
        run_study("single", tmp_path / "study", **settings, use=["phee"], skip_missing=True)
    with patch("spacy_clinie.study.run._work_off", return_value={}):
        run_study("single", tmp_path / "study", **settings, use=["phee", "synthetic-drugs"], skip_missing=True)
    (missing,) = json.loads((tmp_path / "study" / "single.json").read_text())["missing"]
    assert missing["corpus"] == "phee"
    assert ("CIE250" if files else "github") in missing["how"]


@pytest.mark.parametrize(
    ("study", "settings"),
    [
        ("loo", {"use": ["synthetic-drugs"]}),
        ("loo", {"arms": ["encoder-mrc", "encoder-tagger"]}),
        ("single", {"arms": ["decoder-lora", "encoder-tagger"], "bases": ["tiny-encoder"]}),
        ("single", {"arms": ["encoder-tagger"], "bases": ["tiny-encoder", "tiny-decoder"]}),
    ],
)
def test_nothing_that_was_named_is_left_out_without_a_word(
    study: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ClinieError, match="CIE488"):
        run_study(study, tmp_path, profile="smoke", corpora=tmp_path, **settings)
    assert not (tmp_path / f"{study}.json").exists()


def test_bases_that_no_table_could_tell_apart(tmp_path: Path) -> None:
    preset = find_preset("tiny-encoder")
    for seed, name in enumerate(("a", "b")):
        write_random_model(tmp_path / name / "best", preset.kind, preset.shape, ["took aspirin"], seed)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "use": ["synthetic-drugs"]}
    settings |= {"arms": ["encoder-tagger"], "say": lambda _: None}
    with patch("spacy_clinie.study.run._work_off", return_value={}):
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


def test_what_few_documents_are_not_enough_for_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        patch("spacy_clinie.study.run._work_off", return_value={}),
        patch.dict(PROFILES, {"smoke": replace(SMOKE, shots=(1, 99))}),
    ):
        run_study("loo", tmp_path, profile="smoke", corpora=tmp_path, say=said.append)
    plan = json.loads((tmp_path / "loo.json").read_text())
    assert {one["fold"]["shots"] for one in plan["folds"]} == {None, 1}
    assert len([line for line in said if "no folds of 99 shots" in line]) == len(SMOKE.corpora)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"profile": "huge"}, "CIE492"),
        ({"arms": ["encoder-magic"]}, "CIE492"),
        ({"bases": ["gatortronllama-8b"]}, "CIE494"),
        ({"bases": ["gpt-9"]}, "CIE493"),
        ({"use": ["no-such-corpus"]}, "CIE495"),
        ({"use": ["../mine"]}, "CIE497"),
        ({"use": ["/mine"]}, "CIE497"),
        ({"use": [".."]}, "CIE497"),
    ],
)
def test_wrong_names(changed: dict[str, Any], code: str, tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match=code):
        run_study("single", tmp_path / "study", **{"profile": "smoke", "corpora": tmp_path, **changed})


def test_two_commands_do_not_share_a_study(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "study", SMOKE)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path}
    with patch("spacy_clinie.study.run._work_off", return_value={}):
        with space.alone(), pytest.raises(ClinieError, match="CIE498"):
            run_study("single", tmp_path / "study", **settings)
        assert not (tmp_path / "study" / "single.json").exists()
        run_study("single", tmp_path / "study", **settings)
    assert (tmp_path / "study" / "single.json").is_file()


def test_a_fold_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    done = CliRunner().invoke(
        app,
        f"study single {tmp_path / 'study'} --corpora {tmp_path} --profile smoke --use synthetic-drugs "
        f"--base minilm={tmp_path / 'broken'} --base tiny-encoder --arm encoder-tagger",
    )
    assert done.exit_code == 1
    assert "FAILED, [CIE" in done.output
    assert "1 are now, 1 failed" in done.output
    failed = next(one for one in manifests(tmp_path / "study") if "failed" in one)
    assert failed["failed"]["problem"].startswith("[CIE")


def test_the_log_of_a_fold_does_not_quote_notes(tmp_path: Path) -> None:
    fold = Fold("single", "encoder-tagger", "tiny-encoder", "synthetic-drugs", "full", 1)
    request = tmp_path / "folds" / "key" / "request.json"
    request.parent.mkdir(parents=True)
    request.write_text(json.dumps({"fold": fold.to_dict(), "profile": "smoke", "stem": None}), encoding="utf-8")
    script = """
import sys, warnings
from pathlib import Path
from spacy_clinie.study import fold, run

def fail(*_):
    warnings.warn("[W030] said Mrs Smith")
    raise KeyError("Mrs Smith")

fold.run_fold = fail
run._end_with_parent = lambda: None
run._work(Path(sys.argv[1]))
"""
    subprocess.run([sys.executable, "-c", script, str(request)], check=True)
    log = (request.parent / "log.txt").read_text(encoding="utf-8")
    assert "Smith" not in log + (request.parent / "manifest.json").read_text(encoding="utf-8")
    assert "W030" in log
    assert "KeyError" in log


def test_killing_a_study_ends_its_folds(tmp_path: Path) -> None:
    """Of a study whose folds would never end."""
    patched = "import time, spacy_clinie.study.fold as fold\nfold.main = lambda _: time.sleep(600)\n"
    (tmp_path / "sitecustomize.py").write_text(patched)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "spacy_clinie", "study", "single", str(tmp_path / "study"), "--profile", "smoke"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    while not list(tmp_path.glob("study/folds/*/log.txt")):
        assert process.poll() is None
        time.sleep(0.1)
    found = _descendants(process.pid)
    assert len(found) >= 2  # the server that forks, and a fold
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(100):
        if not (left := [pid for pid in found if _lives(pid)]):
            break
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def _descendants(pid: int) -> list[int]:
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    children = [int(child) for child, parent in map(str.split, lines) if int(parent) == pid]
    return [*children, *(one for child in children for one in _descendants(child))]


def _lives(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip() not in ("", "Z")
