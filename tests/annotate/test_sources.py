"""Sources: the notes of an input with their ids and texts."""

import json
from pathlib import Path

import pytest
import spacy

from spacy_clinie.annotate.runner import annotate
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, docbin
from spacy_clinie.scoring.evaluate import evaluate
from tests.annotate.helpers import TEXT, read_lines


def test_ids_and_texts_are_the_same_as_in_evaluate(pipeline: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    gold = [Note("n1", TEXT), Note("x/n2", TEXT), Note("y/n2", TEXT), Note("readme", TEXT), Note("empty", "")]
    gold.append(Note("bom", f"\ufeff {TEXT}"))
    brat.write(gold, notes / "ward")
    # As a tool writes it that takes the byte order mark off when it reads.
    (notes / "ward" / "bom.ann").write_text("T1\tDrug 1 8\tAspirin\n")
    (notes / "ward" / "crlf.TXT").write_bytes(b"For\r\nAspirin")
    (notes / "ward" / "crlf.ann").write_text("T1\tDrug 4 11\tAspirin\n")
    (notes / "LICENSE.txt").write_text("Aspirin")
    summary = annotate(pipeline, notes, tmp_path / "out.jsonl")
    ids = [record["id"] for record in read_lines(tmp_path / "out.jsonl")]
    assert ids == ["bom", "crlf", "empty", "n1", "readme", "ward/x/n2", "ward/y/n2"]
    result = evaluate(notes, tmp_path / "out.jsonl", resamples=0)
    assert (result["documents"], result["missing_documents"], result["extra_documents"]) == (7, 0, 0)
    assert result["concepts"]["strict"]["micro"]["tp"] == 2
    assert [remark.reason for remark in summary.report.remarks("left_out")] == ["file about the corpus, not a note"]


def test_annotations_in_the_input_are_ignored(pipeline: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    record = {"id": 7, "text": TEXT, "concepts": [{"id": "X", "start": 5, "end": 900, "label": "Wrong"}]}
    source.write_text(json.dumps(record))
    summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    (note,) = read_lines(tmp_path / "out.jsonl")
    assert note["id"] == "7"
    assert [c["label"] for c in note["concepts"]] == ["Drug", "Reason"]
    assert summary.failed == 0


def test_unreadable_lines_and_files_are_listed(pipeline: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    good = json.dumps({"id": "a", "text": TEXT}).encode()
    source.write_bytes(good + b'\n{"id": "b"}\n\n\xff\xfe\n17\n{"id": "c", "te')
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(pipeline, source, tmp_path / "out.jsonl")
    assert summary.notes == 1
    assert summary.errors == tmp_path / "out.jsonl.errors.jsonl"
    assert [record["line"] for record in read_lines(summary.errors)] == [2, 4, 5, 6]

    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "good.txt").write_text(TEXT)
    (notes / "latin.txt").write_bytes("Fi\xe8vre".encode("latin-1"))
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(pipeline, notes, tmp_path / "out2.jsonl")
    (record,) = read_lines(tmp_path / "out2.jsonl.errors.jsonl")
    assert record["file"].endswith("latin.txt") and record["line"] == 1
    with pytest.raises(ClinieError, match="CIE437"):
        annotate(pipeline, notes, tmp_path / "out2.jsonl", strict=True)


def test_a_docbin_is_read_by_ids_and_texts_and_a_damaged_one_is_refused(pipeline: Path, tmp_path: Path) -> None:
    nlp = spacy.blank("de")
    named, _ = doc_from_note(nlp, Note("n1", TEXT, [Concept("C1", 0, 3, "Wrong")]))
    plain = nlp("Aspirin  again")
    docbin.save([named, plain], tmp_path / "in.spacy")
    annotate(pipeline, tmp_path / "in.spacy", tmp_path / "out.jsonl")
    first, second = read_lines(tmp_path / "out.jsonl")
    assert (first["id"], second["id"]) == ("n1", "in-2")
    assert second["text"] == "Aspirin  again"
    assert [c["label"] for c in first["concepts"]] == ["Drug", "Reason"]
    (tmp_path / "bad.spacy").write_bytes(b"not a DocBin")
    with pytest.raises(ClinieError, match="CIE439"):
        annotate(pipeline, tmp_path / "bad.spacy", tmp_path / "out.jsonl")
