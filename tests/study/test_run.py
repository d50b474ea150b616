"""A study from its corpora to its manifests: what is run, kept, run again and reported."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import spacy
from spacy.training.initialize import init_nlp
from typer.testing import CliRunner

from spacy_clinie.cli import app
from spacy_clinie.errors import ClinieError
from spacy_clinie.study import run
from spacy_clinie.study.fold import fold_config
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.presets import PRESETS, find_preset
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace
from tests.conftest import weights_of
from tests.study.conftest import SMOKE, manifests, own_corpus


def test_every_fold_has_a_complete_manifest(study: Path) -> None:
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


def test_finished_folds_are_kept_and_damaged_ones_are_run_again(study: Path) -> None:
    messages: list[str] = []
    settings: dict[str, Any] = {"profile": "smoke", "corpora": study, "echo": messages.append}
    assert run_study("single", study, **settings)["finished"] == 0
    victim = next(path for path in study.glob("folds/*/manifest.json") if '"encoder-pairs"' in path.read_text())
    before = json.loads(victim.read_text())
    victim.write_text(victim.read_text()[:100])
    counts = run_study("single", study, **settings)
    assert (counts["finished"], counts["failed"], counts["done"]) == (1, 0, counts["folds"] - 1)
    assert json.loads(victim.read_text())["results"] == before["results"]


def test_parent_without_its_pipeline_is_run_again_before_its_children(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    for pipeline in folder.glob("folds/*/pipeline"):
        shutil.rmtree(pipeline)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": folder, "echo": lambda _: None}
    # Nothing needs them.
    assert run_study("loo", folder, **settings)["finished"] == 0
    few = [one for one in manifests(folder) if one["fold"]["arm"] == "encoder-mrc" and one["fold"]["shots"]]
    victim = next(one for one in few if one["fold"]["multitask"])
    (folder / "folds" / victim["key"] / "manifest.json").unlink()
    counts = run_study("loo", folder, **settings)
    assert (counts["finished"], counts["failed"]) == (2, 0)
    again = json.loads((folder / "folds" / victim["key"] / "manifest.json").read_text())
    assert again["results"] == victim["results"]
    fold, workspace = Fold.from_dict(victim["fold"]), Workspace(folder, SMOKE)
    with pytest.raises(ClinieError, match="CIE487"):
        fold_config(fold, workspace, tmp_path / "gone" / "pipeline")


def test_another_command_adds_to_the_plan(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    settings: dict[str, Any] = {"profile": "smoke", "corpora": folder, "echo": lambda _: None}
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


def test_config_of_a_fold_works_with_spacy_train(study: Path) -> None:
    done = {one["fold"]["arm"]: one for one in manifests(study) if one["fold"]["study"] == "single"}
    assert set(done) == set(SMOKE.arms)
    for one in done.values():
        config = spacy.util.load_config(study / "folds" / one["key"] / "config.cfg", interpolate=False)
        assert one["training"]["steps"] == one["fold"]["steps"] == config["training"]["max_steps"] + 1
        # Nothing of what is saved holds words of notes.
        assert config["training"]["before_to_disk"] == {"@callbacks": "spacy_clinie.before_to_disk.v1"}
        nlp = init_nlp(config.interpolate())
        numbers = [weight.numel() for _, pipe in nlp.pipeline for weight in weights_of(pipe)]
        assert sum(numbers) == one["training"]["parameters"]


def test_key_changes_with_everything_the_result_depends_on(study: Path) -> None:
    workspace = Workspace(study, SMOKE)
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "synthetic-drugs", "full", 3)
    keys = {workspace.key(fold), workspace.key(replace(fold, seed=1))}
    keys.add(workspace.key(replace(fold, corpus="synthetic-problems")))
    changed = replace(find_preset("tiny-encoder"), arms={"encoder-tagger": {"rate": 0.1}})
    with patch.dict(PRESETS, {"tiny-encoder": changed}):
        keys.add(Workspace(study, SMOKE).key(fold))
    for profile in (replace(SMOKE, step_words=99), replace(SMOKE, step_pieces=99)):
        keys.add(Workspace(study, profile).key(fold))
    assert len(keys) == 6
    assert workspace.key(fold) in keys
    again = Workspace(study, SMOKE)
    assert again.key(fold) == workspace.key(fold)


def test_key_does_not_change_with_files_that_a_fold_does_not_read(study: Path) -> None:
    workspace = Workspace(study, SMOKE)
    fold = Fold("single", "encoder-mrc", "tiny-encoder=random", "synthetic-drugs", "full", 3)
    assert workspace.key(replace(fold, study="loo")) == workspace.key(fold)
    multi = replace(fold, study="loo", stage="multi", multitask=True, others=("synthetic-problems",))
    unread = [workspace.sample(name, "test") for name in SMOKE.corpora] + [workspace.sample("synthetic-drugs", "train")]
    with patch.object(Workspace, "_digest", lambda _, path: "changed" if path in unread else "same"):
        changed = Workspace(study, SMOKE).key(multi), Workspace(study, SMOKE).key(fold)
    with patch.object(Workspace, "_digest", lambda *_: "same"):
        assert Workspace(study, SMOKE).key(multi) == changed[0]
        assert Workspace(study, SMOKE).key(fold) != changed[1]


def test_multi_task_manifest_lists_training_notes(study: Path) -> None:
    done = {one["key"]: one for one in manifests(study)}
    zero = [one for one in done.values() if one["fold"]["stage"] == "zero"]
    multi = [one for one in done.values() if one["fold"]["stage"] == "multi"]
    assert zero
    assert multi
    assert all(one["data"]["train"]["documents"] == 0 for one in zero)
    for one in multi:
        assert len(one["shown"]) == one["data"]["train"]["documents"] > 0
        assert {corpus for corpus, _ in one["shown"]} == set(one["fold"]["others"])


@pytest.mark.parametrize("manifest", ["null", "[]", "{}", '"x"', "", '{"failed": 7}'])
def test_fold_with_an_invalid_manifest_is_not_finished(tmp_path: Path, manifest: str) -> None:
    workspace = Workspace(tmp_path, SMOKE)
    workspace.fold("k").mkdir(parents=True)
    (workspace.fold("k") / "manifest.json").write_text(manifest)
    assert workspace.manifest("k") is None
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 1)
    assert "its process ended early" in run._problem(workspace, "k", fold, run.Process)


@pytest.mark.parametrize(
    ("study", "settings"),
    [
        ("loo", {"use": ["synthetic-drugs"]}),
        ("loo", {"arms": ["encoder-mrc", "encoder-tagger"]}),
        ("single", {"arms": ["decoder-lora", "encoder-tagger"], "bases": ["tiny-encoder"]}),
        ("single", {"arms": ["encoder-tagger"], "bases": ["tiny-encoder", "tiny-decoder"]}),
    ],
)
def test_named_arm_or_base_without_folds_is_an_error(study: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE488"):
        run_study(study, tmp_path, profile="smoke", corpora=tmp_path, **settings)
    assert not (tmp_path / f"{study}.json").exists()


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
def test_unknown_names_are_refused(changed: dict[str, Any], code: str, tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match=code):
        run_study("single", tmp_path / "study", **{"profile": "smoke", "corpora": tmp_path, **changed})


def test_number_of_threads_set_by_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run.Process.share_cores(2)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    run.Process.share_cores(2)
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_failed_fold_is_reported_and_the_others_continue(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    done = CliRunner().invoke(
        app,
        f"study single {tmp_path / 'study'} --corpora {tmp_path} --profile smoke --use synthetic-drugs "
        f"--base minilm={tmp_path / 'broken'} --base tiny-encoder --arm encoder-tagger",
    )
    assert done.exit_code == 1
    assert "FAILED, [CIE" in done.output
    assert "1 are finished now, 1 failed" in done.output
    failed = next(one for one in manifests(tmp_path / "study") if "failed" in one)
    assert failed["failed"]["problem"].startswith("[CIE")


def test_the_log_of_a_fold_does_not_quote_notes(tmp_path: Path) -> None:
    fold = Fold("single", "encoder-tagger", "tiny-encoder", "synthetic-drugs", "full", 1)
    request = tmp_path / "folds" / "key" / "request.json"
    request.parent.mkdir(parents=True)
    request.write_text(json.dumps({"fold": asdict(fold), "profile": "smoke", "parent": None}), encoding="utf-8")
    script = """
import sys, warnings
from pathlib import Path
from spacy_clinie.study import fold, run

def fail(*_):
    warnings.warn("[W030] said Mrs Smith")
    raise KeyError("Mrs Smith")

fold.run_fold = fail
run._end_with_parent = lambda: None
run._run(Path(sys.argv[1]))
"""
    subprocess.run([sys.executable, "-c", script, str(request)], check=True)
    log = (request.parent / "log.txt").read_text(encoding="utf-8")
    assert "Smith" not in log + (request.parent / "manifest.json").read_text(encoding="utf-8")
    assert "W030" in log
    assert "KeyError" in log


@pytest.mark.parametrize(
    ("finds", "method"), [("has_cupy_gpu", "spawn"), ("has_torch_cuda_gpu", "spawn"), ("has_torch", "forkserver")]
)
def test_folds_are_not_forked_after_a_search_for_gpus(finds: str, method: str) -> None:
    """A process that is forked off one which has started CUDA cannot use it."""
    script = f"""
import spacy
from thinc import compat

compat.{finds} = True
from spacy_clinie.study.run import Process

Process.share_cores(2)
print(Process._context.get_start_method())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [method]


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
