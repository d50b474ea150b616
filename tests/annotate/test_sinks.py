"""Outputs of all kinds, and early checks of what they cannot hold."""

import re
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_clinie.annotate.runner import annotate
from spacy_clinie.doc.concepts import ID_KEY, get_spans
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, docbin
from spacy_clinie.schema import Schema
from tests.annotate.helpers import (
    TEXT,
    add_pattern,
    interrupted,
    leftovers,
    make_pipeline,
    read_lines,
    watch_engine,
    write_lines,
)
from tests.decoders import build_for_concepts


def test_folder_with_files_is_refused(pipeline: Path, tmp_path: Path) -> None:
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


def test_types_that_brat_cannot_hold_are_refused_at_the_start(
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


def test_working_directory_as_target(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    annotate(pipeline, source, Path())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.ann", "a.txt"]
    with pytest.raises(ClinieError, match="CIE433"):
        annotate(pipeline, source, Path("/"))


def test_entities_of_other_components_are_written_too(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_fever")
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    annotate(pipeline, source, tmp_path / "out.jsonl")
    annotate(pipeline, source, tmp_path / "out.spacy")
    (note,) = read_lines(tmp_path / "out.jsonl")
    assert sorted((c["label"], c["start"]) for c in note["concepts"]) == [("Drug", 0), ("Reason", 12), ("Sign", 25)]
    assert len({c["id"] for c in note["concepts"]}) == 3
    (again,) = (sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report()))
    assert {(c.label, c.start) for c in again.concepts} == {("Drug", 0), ("Reason", 12), ("Sign", 25)}


def test_all_formats_have_the_same_content(pipeline: Path, tmp_path: Path) -> None:
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


def test_written_docs_have_ids_and_relations(pipeline: Path, tmp_path: Path) -> None:
    annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.spacy")
    (doc,) = DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab)
    assert doc.user_data[ID_KEY] == "a"
    (relation,) = get_relations(doc)
    assert (relation.head.text, relation.tail.text, relation.score) == ("headache", "Aspirin", 0.5)
    assert [span.text for span in get_spans(doc)] == ["Aspirin", "headache"]


CONTEXT = {"a": "No Aspirin for headache", "b": "Aspirin"}


def test_file_of_docs_has_everything_the_pipeline_set(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_fever", "clinie_test_context")
    texts = {**CONTEXT, "c": "Aspirin and fever", "d": ""}
    summary = annotate(pipeline, write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.spacy", batch_size=1)
    nlp = spacy.load(pipeline)
    stored = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(nlp.vocab))
    for doc, (note_id, text) in zip(stored, texts.items(), strict=True):
        expected = nlp(text)
        assert doc.user_data[ID_KEY] == note_id
        if not text:
            continue
        for key in ("text", "cats"):
            assert getattr(doc, key) == getattr(expected, key)
        assert [token.lemma_ for token in doc] == [token.lemma_ for token in expected]
        assert [token.norm_ for token in doc] == [token.norm_ for token in expected]
        assert [(ent.text, ent.label_, ent._.negex) for ent in doc.ents] == [
            (ent.text, ent.label_, ent._.negex) for ent in expected.ents
        ]
        assert [token._.section_category for token in doc] == [token._.section_category for token in expected]
        for key in expected.spans:
            found, wanted = doc.spans[key], expected.spans[key]
            assert [(span.start, span.end, span.label_, span.id_) for span in found] == [
                (span.start, span.end, span.label_, span.id_) for span in wanted
            ]
            assert found.attrs == wanted.attrs
        assert get_relations(doc) == [] or get_relations(doc)[0][2:] == get_relations(expected)[0][2:]
    assert (summary.notes, summary.concepts, summary.extensions) == (4, 5, [])


def test_extensions_are_written_as_attributes_on_request(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_context")
    source = write_lines(tmp_path / "in.jsonl", CONTEXT)
    for name in ("out.jsonl", "out.html", "out"):
        summary = annotate(pipeline, source, tmp_path / name, attributes=["negex"])
        assert "section_category" in summary.extensions and "negex" not in summary.extensions
    notes = read_lines(tmp_path / "out.jsonl")
    attributes = [concept["attributes"] for note in notes for concept in note["concepts"]]
    assert attributes == [{"negex": "true"}, {"negex": "true"}, {"negex": "false"}]
    assert (tmp_path / "out" / "a.ann").read_text().count("negex T") == 2
    assert "A1\tnegex T1 false\n" in (tmp_path / "out" / "b.ann").read_text()
    assert (tmp_path / "out.html").read_text("utf-8").count("negex: true") >= 2
    annotate(pipeline, source, tmp_path / "plain.jsonl")
    assert "negex" not in (tmp_path / "plain.jsonl").read_text()


def test_resumed_job_can_add_attributes(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_context")
    source, target = write_lines(tmp_path / "in.jsonl", CONTEXT), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target)
    assert annotate(pipeline, source, target, attributes=["section_category"]).resumed == 2
    assert [concept["attributes"] for concept in read_lines(target)[0]["concepts"]] == [
        {"section_category": "past"},
        {"section_category": "present"},
    ]


def test_unknown_attributes_are_refused_at_the_start(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    with pytest.raises(ClinieError, match=r"CIE452.*'negx'.*negex"):
        annotate(pipeline, source, tmp_path / "out.jsonl", attributes=["negex", "negx"])
    assert leftovers(tmp_path) == []


def test_values_that_a_file_of_docs_cannot_hold_are_reported(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_context")
    source = write_lines(tmp_path / "in.jsonl", {"a": "Aspirin GRAPH", "b": "Aspirin"})
    target = tmp_path / "out.spacy"
    interrupted(pipeline, source, target)
    summary = annotate(pipeline, source, target)
    assert (summary.notes, summary.resumed) == (2, 2)
    (remark,) = summary.report.remarks("left_out")
    assert (remark.reason, remark.count) == ("value that a DocBin cannot hold: graph (object)", 1)
    first, _ = DocBin().from_disk(target).get_docs(spacy.blank("en").vocab)
    assert first.ents[0]._.negex is False and len(first.spans["sections"]) == 2
    # Other outputs do not have it anyway.
    assert not annotate(pipeline, source, tmp_path / "out.jsonl").report.remarks("left_out")


@pytest.mark.parametrize(("name", "code"), [("graph", "CIE453"), ("has_graph", "CIE454")])
def test_attributes_that_cannot_be_stored_fail_their_note(tmp_path: Path, name: str, code: str) -> None:
    """One that cannot be stored, and one whose getter uses it."""
    Span.set_extension("has_graph", getter=lambda span: span.doc._.graph is not None, force=True)
    pipeline = make_pipeline(tmp_path, "clinie_test_context")
    source = write_lines(tmp_path / "in.jsonl", {"a": "Aspirin GRAPH", "b": "Aspirin"})
    with pytest.warns(ClinieWarning, match="CIE436"):
        annotate(pipeline, source, tmp_path / "out.jsonl", attributes=[name])
    (failure,) = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert (failure["id"], failure["code"]) == ("a", code)
    assert [note["id"] for note in read_lines(tmp_path / "out.jsonl")] == ["b"]
    with pytest.raises(ClinieError, match=f"CIE447.*{code}"):
        annotate(
            pipeline,
            write_lines(tmp_path / "in.jsonl", {"a": "Aspirin GRAPH"}),
            tmp_path / "o.jsonl",
            attributes=[name],
        )
    Span.remove_extension("has_graph")


def test_what_brat_cannot_hold_is_told_before_the_work(tiny_decoder: str, tmp_path: Path) -> None:
    relation = {"has dose": {"pairs": [["Drug", "Dose"]]}}
    schema = Schema.from_dict({"name": "mine", "concepts": {"Drug": {}, "Dose": {}}, "relations": relation})
    (tmp_path / "mine.yml").write_text(schema.to_yaml())
    nlp = build_for_concepts(tiny_decoder, str(tmp_path / "mine.yml"))
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    (tmp_path / "note.txt").write_text("Took aspirin.")
    with pytest.raises(ClinieError, match="CIE445"):
        annotate(tmp_path / "model", tmp_path / "note.txt", tmp_path / "brat")
