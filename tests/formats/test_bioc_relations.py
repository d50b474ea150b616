"""Which annotations a relation of a BioC file is between."""

from pathlib import Path

import pytest

from spacy_clinie.doc.note import Relation

from .test_bioc import (
    DRUG,
    RASH,
    TEXT,
    annotation,
    counts,
    document,
    passage,
    read,
    relation,
)
from .test_bioc_documents import json_document, read_json


@pytest.mark.parametrize(
    ("roles", "kind", "ends"),
    [
        (("", ""), "type", ("a", "b")),
        (("Arg1", "Arg2"), "relation", ("a", "b")),
        (("Arg2", "Arg1"), "relation type", ("b", "a")),
        (("tail", "head"), "type", ("b", "a")),
    ],
)
def test_roles_tell_the_direction(tmp_path: Path, roles: tuple[str, str], kind: str, ends: tuple[str, str]) -> None:
    link = relation(("a", roles[0]), ("b", roles[1]), kind=kind)
    (note,), _ = read(tmp_path, document(passage(0, TEXT, RASH, DRUG), link))
    assert note.relations == [Relation(*ends, "ADE-Drug")]


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


def test_a_relation_of_a_passage_means_its_own_annotations(tmp_path: Path) -> None:
    """Ids begin anew in each passage, and relations of the document mean the first."""
    link = relation(("a", ""), ("b", ""))
    parts = [
        passage(start, TEXT, annotation("a", start, 4, "ADE"), annotation("b", start + 11, 7), link)
        for start in (0, 20)
    ]
    (note,), report = read(tmp_path, document(*parts, link))
    starts = {concept.id: concept.start for concept in note.concepts}
    assert [(starts[one.head], starts[one.tail]) for one in note.relations] == [(0, 11), (0, 11), (20, 31)]
    assert counts(report) == {"annotation id reused in a passage or sentence, renamed": 2}


def named(**infons: str) -> str:
    parts = [f'<infon key="{name}">{value}</infon>' for name, value in infons.items()]
    return f'<relation id="R1">{"".join(parts)}</relation>'


@pytest.mark.parametrize(
    ("link", "label", "left_out"),
    [
        (named(relation="CID", Chemical="D1", Disease="D2"), "CID", 0),
        (named(entity1="D1", entity2="D2", type="Association", novel="No"), "Association", 1),
    ],
)
def test_relations_between_identifiers(tmp_path: Path, link: str, label: str, left_out: int) -> None:
    """As BC5CDR and BioRED have them."""
    text = "Zyxomab. Rash after zyxomab."
    mentions = [
        annotation("a", 0, 7, "Chemical", MESH="D1"),
        annotation("b", 9, 4, "Disease", MESH="D9|D2"),
        annotation("c", 20, 7, "Chemical", identifier="D1"),
    ]
    (note,), report = read(tmp_path, document(passage(0, text, *mentions), link))
    assert note.relations == [Relation("a", "b", label)]
    assert counts(report) == {"relation between identifiers, assigned to their closest mentions": 1}
    assert sum(remark.count for remark in report.remarks("left_out")) == left_out


@pytest.mark.parametrize(
    "link", [named(relation="CID", Chemical="D1", Disease="D7"), named(Chemical="D1", Disease="D2")]
)
def test_relations_between_identifiers_that_nothing_has_are_counted(tmp_path: Path, link: str) -> None:
    mentions = [annotation("a", 0, 4, "Disease", MESH="D2"), annotation("b", 11, 7, "Chemical", MESH="D1")]
    (note,), report = read(tmp_path, document(passage(0, TEXT, *mentions), link))
    assert note.relations == []
    assert counts(report) == {"relation without a type, or not between two annotations or identifiers": 1}


def test_a_relation_of_a_sentence_means_its_own_annotations(tmp_path: Path) -> None:
    """A passage's means the first of them, or its own."""
    link = relation(("a", ""), ("b", ""))
    sentences = [
        f"<sentence><offset>{start}</offset><text>{TEXT}</text>"
        f"{annotation('a', start, 4, 'ADE')}{annotation('b', start + 11, 7)}{link}</sentence>"
        for start in (0, 20)
    ]
    first = f"<passage><offset>0</offset>{''.join(sentences)}{link}</passage>"
    second = passage(40, TEXT, annotation("b", 51, 7), relation(("a", ""), ("b", "")))
    (note,), report = read(tmp_path, document(first, second))
    starts = {concept.id: concept.start for concept in note.concepts}
    found = [(starts[one.head], starts[one.tail]) for one in note.relations]
    assert found == [(0, 11), (0, 11), (20, 31), (0, 51)]
    assert counts(report) == {"annotation id reused in a passage or sentence, renamed": 3}


def test_what_equals_an_identifier_by_chance_is_none(tmp_path: Path) -> None:
    marks = {"annotator": "Bob", "negated": "No"}
    mentions = [
        annotation("a", 0, 4, "Disease", identifier="D2", **marks),
        annotation("b", 11, 7, "Chemical", identifier="D1", **marks),
    ]
    links = [
        named(type="Association", entity1="D1", entity2="D2", novel="No", annotator="Bob"),
        named(type="Association", entity1="D8", entity2="D9", annotator="Bob", novel="No"),
    ]
    (note,), report = read(tmp_path, document(passage(0, TEXT, *mentions), *links))
    assert note.relations == [Relation("b", "a", "Association")]
    assert counts(report)["relation without a type, or not between two annotations or identifiers"] == 1


def test_identifiers_of_mentions_that_cannot_be_used(tmp_path: Path) -> None:
    """Two of one id, and one without characters, beside which others are there."""
    mentions = [
        annotation("a", 0, 4, "Disease", identifier="D2"),
        annotation("a", 11, 7, "Chemical", identifier="D1"),
        annotation("c", 5, 0, "Chemical", identifier="D1"),
    ]
    (note,), _ = read(
        tmp_path, document(passage(0, TEXT, *mentions), named(type="Association", entity1="D1", entity2="D2"))
    )
    starts = {concept.id: concept.start for concept in note.concepts}
    assert [(starts[one.head], starts[one.tail]) for one in note.relations] == [(11, 0)]
