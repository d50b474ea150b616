"""Folds on a cluster of Ray: one of this machine, which a test can start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed")


def test_folds_on_a_cluster_and_one_that_fails_there(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    arguments = f"""study single {tmp_path / "study"} --corpora {tmp_path} --profile smoke --use synthetic-drugs
        --base minilm={tmp_path / "broken"} --base tiny-encoder --arm encoder-tagger --ray local --jobs 2"""
    command = [sys.executable, "-m", "spacy_clinie", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "1 are now, 1 failed" in done.stdout
    found = {}
    for path in tmp_path.glob("study/folds/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found[manifest["fold"]["base"].partition("=")[0]] = manifest
        assert (path.parent / "log.txt").is_file()
    assert found["minilm"]["failed"]["problem"].startswith("[CIE")
    assert found["tiny-encoder"]["results"]["concepts"]["strict"]["micro"]["support"] > 0
