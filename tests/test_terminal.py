"""What a user sees of errors and warnings."""

import warnings
from pathlib import Path
from typing import Any

import pytest

from spacy_clinie.errors import ClinieWarning, warn
from spacy_clinie.scoring.evaluate import evaluate
from tests.commands import SECRET, run, write_notes


def test_an_unforeseen_error_shows_its_place_and_not_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr("spacy_clinie.scoring.evaluate.evaluate", broken)
    notes = write_notes(tmp_path / "notes.jsonl")
    status, output = run("evaluate", notes, notes)
    assert status == 1
    assert output.startswith("[CIE501] KeyError")
    assert "test_terminal.py" in output
    assert "in broken" in output


def test_warnings_are_plain_and_those_of_others_are_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(*paths: Path, **more: Any) -> dict[str, Any]:
        warn("CIE253", file="a.jsonl", count=1)
        warnings.warn(f"[W030] {SECRET}", UserWarning, stacklevel=1)
        return evaluate(*paths, **more)

    monkeypatch.setattr("spacy_clinie.scoring.evaluate.evaluate", warning)
    notes = write_notes(tmp_path / "notes.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        status, output = run("evaluate", notes, notes)
    assert status == 0
    assert "UserWarning [W030] at " in output
    assert "\n[CIE253] 1 scores in a.jsonl" in f"\n{output}"
    assert ClinieWarning.__name__ not in output
