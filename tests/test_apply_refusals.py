"""What `annotate` refuses before it begins: sources that cannot be read, targets that cannot be written."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import spacy

from spacy_clinie.annotate import runner
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.errors import ClinieError, ClinieWarning
from tests.test_apply import TEXT, leftovers, make_pipeline, spy, write_lines


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return make_pipeline(tmp_path)


def test_bad_sources_and_targets(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    notes = tmp_path / "notes"
    notes.mkdir()
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for code, use, take, give in (
        ("CIE430", tmp_path / "nowhere", source, "out.jsonl"),
        ("CIE433", pipeline, source, "out.csv"),
        ("CIE433", pipeline, source, "-"),
        ("CIE434", pipeline, source, "in.jsonl"),
        ("CIE438", pipeline, tmp_path / "nowhere.jsonl", "out.jsonl"),
        ("CIE438", pipeline, notes, "out.jsonl"),
        ("CIE440", pipeline, empty, "out.jsonl"),
    ):
        with pytest.raises(ClinieError, match=code):
            annotate(use, take, tmp_path / give)
    assert not list(tmp_path.glob("*.part*"))
    (notes / "a.txt").write_text(TEXT)
    errors = write_lines(tmp_path / "x.jsonl.errors.jsonl", {"a": TEXT})
    for take, target in ((notes, notes), (notes, notes / "brat"), (errors, tmp_path / "x.jsonl")):
        with pytest.raises(ClinieError, match="CIE434"):
            annotate(pipeline, take, target)
    assert errors.read_text() == source.read_text()
    # Nor does a slip of the pen remove what an earlier job listed.
    for code, use, take in (("CIE430", tmp_path / "no", source), ("CIE438", pipeline, tmp_path / "no.jsonl")):
        with pytest.raises(ClinieError, match=code):
            annotate(use, take, tmp_path / "x.jsonl")
        assert errors.is_file()
    assert source.read_text() == json.dumps({"id": "a", "text": TEXT}) + "\n"


@pytest.mark.parametrize("missing", ["entity_ruler/patterns.jsonl", "vocab/strings.json", "tokenizer", "config.cfg"])
def test_a_pipeline_without_one_of_its_files_is_not_called_missing(
    pipeline: Path, tmp_path: Path, missing: str
) -> None:
    (pipeline / missing).unlink()
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    with pytest.raises(ClinieError, match=f"CIE442.*{missing}"):
        annotate(pipeline, source, tmp_path / "out.jsonl")
    with pytest.raises(ClinieError, match="CIE430"):
        annotate(tmp_path, source, tmp_path / "out.jsonl")


def test_a_folder_that_holds_files_is_not_written_to(pipeline: Path, tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": "EXPLODE"}), tmp_path / "out"
    target.mkdir()
    (target / ".DS_Store").touch()
    with pytest.warns(ClinieWarning, match="CIE436"):
        annotate(pipeline, source, target)
    for take in (source, write_lines(tmp_path / "other.jsonl", {"c": TEXT})):
        with pytest.raises(ClinieError, match="CIE444"):
            annotate(pipeline, take, target)
    assert sorted(file.name for file in target.iterdir()) == [".DS_Store", "a.ann", "a.txt"]
    # What the earlier job could not annotate is still listed.
    assert leftovers(tmp_path) == ["out.errors.jsonl"]


def test_what_brat_cannot_hold_is_refused_before_any_work(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked: list[str] = []
    monkeypatch.setattr(runner, "_annotate", spy(runner._annotate, worked))
    source = tmp_path / "in.jsonl"
    for name in ("../c", "c" * 252):
        with pytest.raises(ClinieError, match=rf"CIE203.*'{re.escape(name)}'"):
            annotate(pipeline, write_lines(source, {"a": TEXT, "b": TEXT, name: TEXT}), tmp_path / "out")
    nlp = spacy.load(pipeline)
    ruler: Any = nlp.get_pipe("entity_ruler")
    ruler.add_patterns([{"label": "Side effect", "pattern": "rash"}])
    nlp.to_disk(pipeline)
    with pytest.raises(ClinieError, match=r"CIE445.*'entity_ruler'.*'Side effect'"):
        annotate(pipeline, write_lines(source, {"a": TEXT}), tmp_path / "out")
    assert worked == [] and leftovers(tmp_path) == []
    annotate(pipeline, source, tmp_path / "out.jsonl")


def test_the_folder_that_one_works_in_as_target(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    annotate(pipeline, source, Path())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.ann", "a.txt"]
    with pytest.raises(ClinieError, match="CIE433"):
        annotate(pipeline, source, Path("/"))
