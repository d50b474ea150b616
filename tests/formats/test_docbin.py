import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_clinie.doc.concepts import set_concepts
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.relations import get_relations, has_relations, set_relations
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import docbin

FOREIGN: Any = ("._.", "rel", None, None)
TEXT = "Rash after zyxomab now"


def foreign_doc(relations: Any = None) -> Doc:
    """A Doc as a library leaves it that knows nothing of us."""
    doc = spacy.blank("en")(TEXT)
    doc.ents = [Span(doc, 0, 1, "ADE"), Span(doc, 2, 3, "Drug")]
    if relations is not None:
        doc.user_data[FOREIGN] = relations
    return doc


def put(file: Path, *docs: Doc, user_data: bool = True) -> None:
    DocBin(docs=docs, store_user_data=user_data).to_disk(file)


def read(path: Path) -> tuple[list[Note], Report]:
    report = Report()
    return [sourced.note for sourced in docbin.read(path, report)], report


@pytest.mark.parametrize(
    "relations",
    [
        [{"dep": 0, "dest": 1, "relation": "ADE-Drug"}],
        [(0, 1, "ADE-Drug")],
        [{"head": 0, "tail": 1, "label": "ADE-Drug"}],
        {(0, 2): {"ADE-Drug": 1.0, "Other": 0.1}, (2, 0): {"ADE-Drug": 0.2}},
    ],
)
def test_relations_of_other_libraries(tmp_path: Path, relations: Any) -> None:
    put(tmp_path / "dev.spacy", foreign_doc(relations))
    (note,), report = read(tmp_path)
    assert (note.id, note.text) == ("dev-1", TEXT)
    assert [(c.start, c.end, c.label) for c in note.concepts] == [(0, 4, "ADE"), (11, 18, "Drug")]
    assert [(r.head, r.tail, r.label) for r in note.relations] == [("C1", "C2", "ADE-Drug")]
    assert report.problems == 0


@pytest.mark.parametrize("relations", [[{"zyxomab": 1}], [7], {(0, 9): {"X": 1.0}}, [(0, 5, "X")], "zyxomab", 7])
def test_relations_of_an_unknown_shape_are_counted(tmp_path: Path, relations: Any) -> None:
    put(tmp_path / "a.spacy", foreign_doc(relations), foreign_doc())
    notes, report = read(tmp_path)
    assert [len(note.concepts) for note in notes] == [2, 2]
    assert [(r.reason, r.count) for r in report.remarks("dropped")] == [
        ("relation in an unknown shape, or of what is no concept", 1)
    ]
    assert "zyxomab" not in json.dumps(report.to_dict())


def test_without_user_data_there_are_concepts(tmp_path: Path) -> None:
    put(tmp_path / "a.spacy", foreign_doc([(0, 1, "ADE-Drug")]), user_data=False)
    (note,), report = read(tmp_path)
    assert (len(note.concepts), note.relations, report.problems) == (2, [], 0)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda data: data[:60], lambda data: b"zyxomab" + data])
def test_a_damaged_file_is_counted_and_the_others_are_read(tmp_path: Path, damage: Any) -> None:
    put(tmp_path / "good.spacy", foreign_doc())
    (tmp_path / "bad.spacy").write_bytes(damage((tmp_path / "good.spacy").read_bytes()))
    notes, report = read(tmp_path)
    assert len(notes) == 1
    assert report.remarks("dropped")[0].examples == ["bad.spacy"]
    with pytest.raises(ClinieError, match=r"CIE250.*not a DocBin, or is damaged") as error:
        read(tmp_path / "bad.spacy")
    assert "zyxomab" not in str(error.value)


def test_broken_annotation_of_our_own_is_counted(tmp_path: Path) -> None:
    docs = [foreign_doc(), foreign_doc()]
    docs[0].user_data["clinie_rel"] = [[0, 1]]
    docs[1].spans["clinie"] = list(docs[1].ents)
    docs[1].spans["clinie"].attrs = {"details": 7}
    put(tmp_path / "a.spacy", *docs)
    notes, report = read(tmp_path)
    assert [len(note.concepts) for note in notes] == [2]
    assert {r.reason: r.count for r in report.remarks("dropped")} == {
        "relation in an unknown shape, or of what is no concept": 1,
        "document with concepts in an unknown shape": 1,
    }


def test_an_empty_note_is_kept(tmp_path: Path) -> None:
    docbin.write([Note("a", ""), Note("b", "  "), Note("c", TEXT)], tmp_path / "a.spacy")
    assert [(note.id, note.text) for note in read(tmp_path)[0]] == [("a", ""), ("b", "  "), ("c", TEXT)]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def notes(draw: st.DrawFn) -> Note:
    text = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=40))
    scores = st.none() | st.floats(0, 1)
    concepts: dict[str, Concept] = {}
    for key in draw(st.lists(words, max_size=4, unique=True)):
        edges = draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4, unique=True).map(sorted))
        pairs = [(edges[0], edges[1]), (edges[2], edges[3])] if len(edges) == 4 else []
        attributes = draw(st.dictionaries(words, words, max_size=2))
        concepts[key] = Concept(key, edges[0], edges[-1], draw(words), draw(scores), pairs, attributes)
    ends = st.sampled_from(list(concepts)) if concepts else st.nothing()
    relations = draw(st.lists(st.builds(Relation, ends, ends, words, scores), max_size=3)) if concepts else []
    return Note(draw(words), text, list(concepts.values()), relations)


@settings(max_examples=100, deadline=None)
@given(notes())
def test_what_is_written_is_read_back(note: Note) -> None:
    with TemporaryDirectory() as folder:
        docbin.write([note], Path(folder) / "a.spacy")
        (back,), report = read(Path(folder))
    assert back == note
    assert report.problems == 0


def test_spans_of_other_groups_are_counted(tmp_path: Path) -> None:
    doc = spacy.blank("en")("Took aspirin.")
    doc.spans["sc"] = [doc[1:2]]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    report = Report()
    list(docbin.read(tmp_path / "a.spacy", report))
    assert [(one.reason, one.count) for one in report.remarks("left_out")] == [("spans of another group: sc", 1)]


@pytest.mark.parametrize(
    "relations",
    [
        [{"dep": 0, "dest": 1, "relation": "ADE-Drug"}, {"dep": 0, "dest": 7, "relation": "ADE-Drug"}, 7],
        {(0, 2): {"ADE-Drug": 1.0}, (0, 1): {"ADE-Drug": 1.0}, 7: {}},
    ],
)
def test_a_bad_relation_takes_no_other_along(tmp_path: Path, relations: Any) -> None:
    put(tmp_path / "a.spacy", foreign_doc(), foreign_doc(relations))
    notes, report = read(tmp_path)
    assert [(r.head, r.tail, r.label) for r in notes[1].relations] == [("C1", "C2", "ADE-Drug")]
    (remark,) = report.remarks("dropped")
    assert (remark.count, remark.examples) == (2, ["a.spacy:2"])


def test_values_that_are_no_text_are_made_so_or_counted(tmp_path: Path) -> None:
    doc = foreign_doc()
    mark = Span(doc, 2, 3, "Drug", span_id="C1", kb_id="C0004057")
    set_concepts(doc, [mark], None, {"C1": {"attributes": {"negated": True, 7: 8}}})  # type: ignore[dict-item]
    good = [0, 0, "SELF", 0.5, [11, 18, "Drug"], [11, 18, "Drug"]]
    doc.user_data["clinie_rel"] = [good, [*good[:2], None, *good[3:]], [*good[:3], "high", *good[4:]]]
    put(tmp_path / "a.spacy", doc)
    (note,), report = read(tmp_path)
    assert note.concepts[0].attributes == {"kb_id": "C0004057", "negated": "True", "7": "8"}
    assert note.relations == [Relation("C1", "C1", "SELF", 0.5)]
    assert {r.reason: r.count for r in report.remarks("dropped")} == {
        "relation in an unknown shape, or of what is no concept": 2
    }


def test_what_a_note_has_no_place_for_is_counted(tmp_path: Path) -> None:
    doc = foreign_doc([(0, 1, "ADE-Drug")])
    doc.cats = {"urgent": 1.0}
    doc.user_data["._.", "ward", None, None] = "zyxomab"
    put(tmp_path / "a.spacy", doc)
    (_,), report = read(tmp_path)
    assert [r.reason for r in report.remarks("left_out")] == ["categories of a document", "extension: ward"]


def test_that_user_data_were_not_stored_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.spacy", foreign_doc([(0, 1, "ADE-Drug")]), user_data=False)
    _, report = read(tmp_path)
    assert any("user data" in remark.reason for remark in report.remarks("left_out"))


def test_concepts_that_somebody_took_out_or_renamed_do_not_come_back(tmp_path: Path) -> None:
    note = Note("n", "Took aspirin for pain.", [Concept("C1", 5, 12, "Drug"), Concept("C2", 17, 21, "Reason")])
    docbin.write([note], tmp_path / "a.spacy")
    (doc,) = DocBin().from_disk(tmp_path / "a.spacy").get_docs(Vocab())
    doc.spans["clinie"] = [Span(doc, 1, 2, label="Medication", span_id="C1")]
    docbin.save([doc], tmp_path / "a.spacy")
    (read,) = docbin.read(tmp_path / "a.spacy", Report())
    assert [(one.start, one.end, one.label) for one in read.note.concepts] == [(5, 12, "Medication")]


def test_notes_without_relations_that_nobody_looked_for_stay_so(tmp_path: Path) -> None:
    concepts = [Concept("C1", 5, 12, "Drug")]
    notes = [Note("n", "Took aspirin.", concepts, relations_known=False), Note("m", "Took aspirin.", concepts)]
    docbin.write(notes, tmp_path / "a.spacy")
    assert [has_relations(doc) for doc in DocBin().from_disk(tmp_path / "a.spacy").get_docs(Vocab())] == [False, True]
    assert [one.note.relations_known for one in docbin.read(tmp_path / "a.spacy", Report())] == [False, True]


def test_relations_of_the_doc_that_one_was_cut_out_of_are_counted(tmp_path: Path) -> None:
    doc = foreign_doc()
    set_relations(doc, [(doc.ents[0], doc.ents[1], "ADE-Drug"), (doc.ents[1], doc.ents[0], "ADE-Drug")])
    put(tmp_path / "a.spacy", doc, doc[1:3].as_doc(copy_user_data=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        notes, report = read(tmp_path)
    assert [len(note.relations) for note in notes] == [2, 0]
    assert [(r.reason, r.count, r.examples) for r in report.remarks("dropped")] == [
        ("relation of a longer document that this one was cut out of", 2, ["a.spacy:2"])
    ]
    assert not [one for one in caught if issubclass(one.category, ClinieWarning)]


def test_a_name_of_a_group_that_may_be_text_is_not_told(tmp_path: Path) -> None:
    doc = foreign_doc()
    doc.spans["Rash after zyxomab"] = list(doc.ents)
    put(tmp_path / "a.spacy", doc)
    _, report = read(tmp_path)
    assert [(r.reason, r.count) for r in report.remarks("left_out")] == [("spans of another group: (no name)", 2)]


def test_what_another_process_left_beside_our_own_is_counted(tmp_path: Path) -> None:
    """It knows nothing of us, and works on Docs that have our annotation."""
    doc = foreign_doc()
    set_concepts(doc, list(doc.ents))
    doc.ents = []
    set_concepts(doc, list(doc.spans["clinie"]))
    set_relations(doc, [])
    doc.user_data[FOREIGN] = {(0, 2): {"ADE-Drug": 1.0, "Reason-Drug": 0.1}, (2, 0): {"ADE-Drug": 0.0}}
    doc.ents = [doc.ents[1]]
    put(tmp_path / "a.spacy", doc)
    (note,), report = read(tmp_path)
    assert (len(note.concepts), note.relations) == (2, [])
    assert [(one.reason, one.count) for one in report.remarks("dropped")] == [
        ("relation of another library beside our own", 1)
    ]
    assert [(one.reason, one.count) for one in report.remarks("mended")] == [
        ("concept that is not in doc.ents any more, but in doc.spans", 1)
    ]


def test_relations_that_were_taken_over_are_none_beside_our_own(tmp_path: Path) -> None:
    doc = foreign_doc({(0, 2): {"ADE-Drug": 1.0}})
    set_concepts(doc, list(doc.ents))
    set_relations(doc, get_relations(doc))
    assert FOREIGN in doc.user_data
    file = tmp_path / "a.spacy"
    put(file, doc)
    (note,), report = read(file)
    assert (len(note.relations), report.problems) == (1, 0)
    DocBin(attrs=["ORTH", "SPACY"], store_user_data=True, docs=[doc]).to_disk(file)  # without entities
    assert read(file)[1].problems == 0
