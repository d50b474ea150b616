"""Sinks: what is done reaches every kind of output, and what an output cannot hold is refused before any work."""

import re
from pathlib import Path

import pytest
import spacy

from spacy_clinie.annotate.runner import annotate
from spacy_clinie.doc.concepts import ID_KEY, get_spans
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, docbin
from tests.annotate.helpers import TEXT, add_pattern, leftovers, make_pipeline, read_lines, watch_engine, write_lines


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
    worked = watch_engine(monkeypatch)
    source = tmp_path / "in.jsonl"
    for name in ("../c", "c" * 252):
        with pytest.raises(ClinieError, match=rf"CIE203.*'{re.escape(name)}'"):
            annotate(pipeline, write_lines(source, {"a": TEXT, "b": TEXT, name: TEXT}), tmp_path / "out")
    add_pattern(pipeline, "Side effect", "rash")
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


def test_entities_of_other_components_are_written_beside_ours(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_fever")
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    annotate(pipeline, source, tmp_path / "out.jsonl")
    annotate(pipeline, source, tmp_path / "out.spacy")
    (note,) = read_lines(tmp_path / "out.jsonl")
    assert sorted((c["label"], c["start"]) for c in note["concepts"]) == [("Drug", 0), ("Reason", 12), ("Sign", 25)]
    assert len({c["id"] for c in note["concepts"]}) == 3
    (again,) = (sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report()))
    assert {(c.label, c.start) for c in again.concepts} == {("Drug", 0), ("Reason", 12), ("Sign", 25)}


def test_every_output_holds_the_same(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b/c": "Aspirin <b>", "d": "none"})
    for name in ("out.jsonl", "out.spacy", "out.html", "out"):
        summary = annotate(pipeline, source, tmp_path / name)
        assert (summary.notes, summary.concepts, summary.relations) == (3, 3, 1)
    assert leftovers(tmp_path) == []
    expected = [Note.from_dict(record) for record in read_lines(tmp_path / "out.jsonl")]
    assert [sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report())] == expected

    report = Report()
    written = [sourced.note for sourced in brat.read(tmp_path / "out", report)]
    assert report.problems == 0
    for found, note in zip(written, expected, strict=True):
        assert [c.offsets for c in found.concepts] == [c.offsets for c in note.concepts]
    assert "Aspirin" in (tmp_path / "out.html").read_text("utf-8")


def test_written_docs_carry_ids_and_relations(pipeline: Path, tmp_path: Path) -> None:
    annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.spacy")
    (doc,) = spacy.tokens.DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab)
    assert doc.user_data[ID_KEY] == "a"
    (relation,) = get_relations(doc)
    assert (relation.head.text, relation.tail.text, relation.score) == ("headache", "Aspirin", 0.5)
    assert [span.text for span in get_spans(doc)] == ["Aspirin", "headache"]
