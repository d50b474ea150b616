"""Folds on a Ray cluster of this machine."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.study import run
from spacy_clinie.study.run import run_study

pytest.importorskip("ray", reason="Ray is not installed")


def test_invalid_address_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE484"):
        run_study("single", tmp_path / "study", profile="smoke", corpora=tmp_path, ray="nonsense")
    assert not (tmp_path / "study").exists()


def test_task_that_cannot_start_has_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that lacks the package."""
    import ray

    class Unseen:
        def __reduce__(self) -> tuple:
            return (__import__, ("no_such_package",))

    unseen = Unseen()
    monkeypatch.setattr(run, "_run_on_cluster", lambda _: unseen)
    ray.init(address="local", num_cpus=1, ignore_reinit_error=True)
    try:
        task = run.Task(tmp_path / "request.json")
        while not task.done():
            time.sleep(0.1)
        assert task.problem.startswith("Ray raised a ")
        monkeypatch.setattr(run, "_run_on_cluster", lambda _: None)
        task, waited = run.Task(tmp_path / "request.json"), 0
        while not task.done():
            time.sleep(0.1)
            if task._deadline:  # it has ended, and its manifest shows late
                waited += 1
                (tmp_path / "manifest.json").touch()
        assert waited == 1
    finally:
        ray.shutdown()


def test_folds_run_and_fail_on_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    arguments = f"""study single {tmp_path / "study"} --corpora {tmp_path} --profile smoke --use synthetic-drugs
        --base minilm={tmp_path / "broken"} --base tiny-encoder --arm encoder-tagger --ray local --jobs 2"""
    command = [sys.executable, "-m", "spacy_clinie", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "1 are finished now, 1 failed" in done.stdout
    found = {}
    for path in tmp_path.glob("study/folds/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found[manifest["fold"]["base"].partition("=")[0]] = manifest
        assert (path.parent / "log.txt").is_file()
    assert found["minilm"]["failed"]["problem"].startswith("[CIE")
    assert found["tiny-encoder"]["results"]["concepts"]["strict"]["micro"]["support"] > 0
