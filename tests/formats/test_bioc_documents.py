"""What BioC has of its own where it is JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from spacy_clinie.doc.note import Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError

from .test_bioc import TEXT, counts, read_again


def json_document(**changes: Any) -> dict[str, Any]:
    part = {"infons": {}, "sentences": [], "annotations": [], "relations": [], "offset": 0, "text": TEXT}
    return {"id": "n1", "infons": {}, "passages": [part | changes], "annotations": [], "relations": []}


def read_json(folder: Path, value: Any) -> tuple[list[Note], Report]:
    (folder / "a.json").write_text(json.dumps(value) if not isinstance(value, str) else value)
    return read_again(folder)


def test_json_needs_no_empty_keys(tmp_path: Path) -> None:
    marks = [{"id": key, "infons": {"type": "X"}, "locations": [{"offset": 0, "length": 4}]} for key in (0, 1)]
    links = [{"infons": {"type": "Y"}, "nodes": [{"refid": 0}, {"refid": 1}]}]
    part = {"offset": 0, "text": TEXT, "annotations": marks}
    (note,), report = read_json(tmp_path, {"documents": [{"id": 0, "passages": [part], "relations": links}]})
    assert [concept.id for concept in note.concepts] == ["0", "1"]
    assert note.relations == [Relation("0", "1", "Y")]
    assert report.problems == 0
    (note,), report = read_json(tmp_path, '{"documents": [{"id": "a", "id": "b", "passages": []}]}')
    assert counts(report) == {"duplicate key in an object, the last was kept": 1}


def test_json_is_read_also_as_a_list_of_collections(tmp_path: Path) -> None:
    notes, report = read_json(tmp_path, [{"documents": [json_document()]}, {"documents": [json_document()]}])
    assert [(note.id, note.text) for note in notes] == [("n1", TEXT), ("n1~2", TEXT)]
    assert counts(report) == {"duplicate note id, a number was added to the later one": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"annotations": [7]}, "annotation that is not an object"),
        ({"annotations": 7}, "document that is not valid BioC"),
        ({"offset": "0"}, "document without an id, or with passages that are not text"),
        ({"text": 7}, "document without an id, or with passages that are not text"),
        (
            {"annotations": [{"id": "a", "infons": [], "text": "", "locations": []}]},
            "annotation without a type or location",
        ),
        (
            {
                "annotations": [
                    {"id": "a", "infons": {"type": "X"}, "text": "", "locations": [{"offset": "0", "length": 3}]}
                ]
            },
            "annotation without a type or location",
        ),
        (
            {"annotations": [{"id": "a", "infons": {"type": "X"}, "locations": [{"offset": 0}]}]},
            "annotation without a type or location",
        ),
        ({"sentences": [{"offset": 0, "text": "Other."}]}, "sentence whose text is not in its passage"),
        ({"text": "Half \ud83d."}, "lone surrogate, replaced by U+FFFD"),
    ],
)
def test_bad_json_is_counted(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    notes, report = read_json(tmp_path, {"documents": [json_document(**changes), json_document() | {"id": "n2"}]})
    assert notes[-1].id == "n2"
    assert counts(report) == {reason: 1}


@pytest.mark.parametrize("value", ["", '{"documents": [', "[" * 100_000, {}, [1], {"documents": 7}, {"documents": []}])
def test_json_without_documents_is_an_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ClinieError, match="CIE250"):
        read_json(tmp_path, value)


def test_fields_that_json_does_not_have_are_counted(tmp_path: Path) -> None:
    documents = [json_document(doi="10.1") | {"bioctype": "BioCDocument"}]
    collection = {"documents": documents, "date": "", "version": "1.0", "bioctype": "BioCCollection", "relations": [{}]}
    (_,), report = read_json(tmp_path, collection)
    assert {r.reason: r.examples for r in report.remarks("left_out")} == {
        "unknown field: passage.doi": ["a.json:1"],
        "unknown field: collection.relations": ["a.json"],
    }


def test_the_line_of_a_remark_on_json_is_the_number_of_the_document(tmp_path: Path) -> None:
    bad = json_document(annotations=[7], doi="10.1", sentences=[{"offset": 0, "text": "Other."}])
    found, report = read_json(
        tmp_path,
        [{"documents": [json_document()]}, {"documents": [bad | {"id": "n2"}, {"id": 7, "passages": [[]]}, 7]}],
    )
    assert [note.id for note in found] == ["n1", "n2", "7"]
    assert {r.reason: r.examples for kind in ("dropped", "left_out") for r in report.remarks(kind)} == {
        "annotation that is not an object": ["a.json:2"],
        "sentence whose text is not in its passage": ["a.json:2"],
        "unknown field: passage.doi": ["a.json:2"],
        "passage that is not an object": ["a.json:3"],
        "document that is not valid BioC": ["a.json:4"],
    }


def test_a_relation_keeps_a_score_of_zero(tmp_path: Path) -> None:
    marks = [
        {"id": key, "infons": {"type": "X"}, "text": "", "locations": [{"offset": 0, "length": 4}]} for key in "ab"
    ]
    nodes = [{"refid": key, "role": ""} for key in "ab"]
    links = [{"id": "R1", "infons": {"type": "Y", "score": 0}, "nodes": nodes}]
    content = {"infons": {"kind": "z"}, "documents": [json_document(annotations=marks, relations=links)]}
    (note,), report = read_json(tmp_path, content)
    assert note.relations == [Relation("a", "b", "Y", 0.0)]
    assert [remark.reason for remark in report.remarks("left_out")] == ["infon of a collection: kind"]
