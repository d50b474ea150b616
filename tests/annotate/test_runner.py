"""Annotating many notes, from the source to the output."""

import json
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie.annotate import engine
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.errors import ClinieError, ClinieWarning
from tests.annotate.helpers import TEXT, leftovers, read_lines, write_lines


def test_folder_of_texts_to_jsonl(pipeline: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "ward").mkdir(parents=True)
    (notes / "a.txt").write_bytes(b"Aspirin\r\nfor headache.")
    (notes / "ward" / "a.txt").write_text("No drugs.")
    summary = annotate(pipeline, notes, tmp_path / "out" / "notes.jsonl")
    first, second = read_lines(tmp_path / "out" / "notes.jsonl")
    assert (first["id"], second["id"]) == ("a", "ward/a")
    assert first["text"] == "Aspirin\r\nfor headache."
    assert [(c["start"], c["end"], c["label"]) for c in first["concepts"]] == [(0, 7, "Drug"), (13, 21, "Reason")]
    assert [(r["label"], r["score"]) for r in first["relations"]] == [("Reason-Drug", 0.5)]
    assert (summary.notes, summary.concepts, summary.relations, summary.failed) == (2, 2, 1, 0)
    assert summary.errors is None
    assert leftovers(tmp_path / "out") == []


def test_strict_raises_after_the_output_is_written(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": "EXPLODE"})
    with pytest.raises(ClinieError, match=r"CIE437.*1 not annotated"):
        annotate(pipeline, source, tmp_path / "out.jsonl", strict=True)
    assert len(read_lines(tmp_path / "out.jsonl")) == 1


def test_notes_with_unusual_ids_and_texts(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH_CHARACTERS", 50_000)
    long = "x. " * 400_000 + TEXT
    texts = {
        "empty": "",
        "blank": " \n",
        "bell": "\x00\x07 Aspirin \u2028 headache 👩‍👩‍👧",
        "long": long,
        "half": "\ud83d Aspirin",
    }
    source = write_lines(tmp_path / "in.jsonl", texts)
    source.write_text(source.read_text() + json.dumps({"id": "bell", "text": TEXT}) + "\n")
    summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    notes = {note["id"]: note for note in read_lines(tmp_path / "out.jsonl")}
    assert list(notes) == ["empty", "blank", "bell", "long", "half", "bell~2"]
    assert summary.failed == 0
    assert notes["empty"]["text"] == "" and notes["blank"]["concepts"] == []
    assert notes["half"]["text"] == "\ufffd Aspirin"
    for key in ("bell", "long", "bell~2"):
        text = long if key == "long" else texts["bell"] if key == "bell" else TEXT
        assert notes[key]["text"] == text
        assert [text[c["start"] : c["end"]] for c in notes[key]["concepts"]] == ["Aspirin", "headache"]
    with pytest.raises(ClinieError, match=r"CIE437.*2 changed.*; duplicate note id"):
        annotate(pipeline, source, tmp_path / "out.jsonl", strict=True)


def test_no_output_if_every_note_fails(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": "EXPLODE", "b": "EXPLODE"})
    with pytest.raises(ClinieError, match=r"^\[CIE447\] None of the 2 .*E999"):
        annotate(pipeline, source, tmp_path / "out.jsonl")
    assert leftovers(tmp_path) == ["out.jsonl.errors.jsonl"]
    assert not (tmp_path / "out.jsonl").exists()


@Language.component("clinie_test_silent")
def leave_unanswered(doc: Doc) -> Doc:
    """Reports unanswered questions, as a language model does."""
    doc.user_data["clinie_rejected"] = {"unanswered": 2, "concept": 1}
    return doc


def test_unanswered_questions_are_listed(pipeline: Path, tmp_path: Path) -> None:
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_silent")
    nlp.to_disk(tmp_path / "silent")
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(tmp_path / "silent", source, target)
    assert (summary.notes, summary.failed, summary.rejected) == (1, 1, {"unanswered": 2, "concept": 1})
    assert read_lines(tmp_path / "out.jsonl.errors.jsonl") == [
        {"id": "a", "problem": "questions not answered", "count": 2}
    ]
    with pytest.raises(ClinieError, match="CIE437"):
        annotate(tmp_path / "silent", source, target, strict=True)


def test_invalid_sources_and_targets_are_refused(pipeline: Path, tmp_path: Path) -> None:
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
