"""Relations of a Doc, as our components and others set and read them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.interchange import note_from_doc, to_rel_component, to_spacy_llm
from spacy_clinie.doc.relations import get_relations, has_relations, register_extension, set_relations
from spacy_clinie.errors import ClinieError
from tests.doc.conftest import TOKENIZERS
from tests.encoders import build


def test_a_part_of_a_doc_has_no_relations_that_anybody_gave(nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(0, 1, "Takes")])
    assert has_relations(doc)
    assert not has_relations(doc[0:2].as_doc(copy_user_data=True))


def test_the_tables_of_others_name_entities_first(nlp: Language) -> None:
    doc = nlp.make_doc("aspirin 25mg for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 4, 5, "Reason")])
    longer = Span(doc, 0, 3, "Order")
    doc.ents = [longer, Span(doc, 4, 5, "Reason")]
    set_relations(doc, {(0, 4): {"X": 0.9}})
    (found,) = get_relations(doc)
    assert (found.head.start, found.head.end, found.head.label_) == (0, 3, "Order")
    assert len(get_spans(doc)) == 2


def test_the_extension_of_another_library_stays_until_a_component_is_made(tiny_bert: str) -> None:
    original = Doc.get_extension("rel")
    try:
        Doc.set_extension("rel", method=len, force=True)
        with pytest.warns(UserWarning, match="CIE003"):
            register_extension()
        assert Doc.get_extension("rel")[1] is not None
        Doc.set_extension("rel", default={}, force=True)
        build("crf", tiny_bert)
        assert Doc.get_extension("rel")[2] is get_relations
    finally:
        Doc.set_extension("rel", getter=original[2], setter=original[3], force=True)


def test_shapes_that_other_libraries_write_are_read(doc: Doc) -> None:
    from spacy_llm.tasks.rel import RelationItem

    drug, reason, _ = get_spans(doc)
    expected = [("pain", "aspirin", "Reason-Drug")]
    set_concepts(doc, [drug, reason])
    for value in (
        [(reason, drug, "Reason-Drug")],
        [(1, 0, "Reason-Drug", 0.5)],
        [{"head": 1, "tail": drug, "label": "Reason-Drug"}],
        [RelationItem(dep=1, dest=0, relation="Reason-Drug")],
        {(reason.start, drug.start): {"Reason-Drug": 0.9, "ADE-Drug": 0.1}, (drug.start, reason.start): {"X": 0.2}},
        doc._.rel,
    ):
        doc._.rel = value
        assert [(rel.head.text, rel.tail.text, rel.label) for rel in doc._.rel] == expected
    items, left_out = to_spacy_llm(doc)
    assert [(item.dep, item.dest, item.relation) for item in items] == [(1, 0, "Reason-Drug")]
    assert left_out == 0
    assert [(rel.dep, rel.dest, rel.relation) for rel in doc._.rel] == [(1, 0, "Reason-Drug")]
    table = to_rel_component(doc)
    assert table == {(reason.start, drug.start): {"Reason-Drug": 0.6}, (drug.start, reason.start): {"Reason-Drug": 0.0}}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "aspirin",
        7,
        [3],
        [("aspirin", "pain", "X")],
        [(0, 9, "X")],
        [(0, -1, "X")],
        [(True, 0, "X")],
        [(0, 1)],
        [(0, 1, None)],
        [(0, 1, "")],
        [(0, 1, "X", "high")],
        [(0, 1, "X", float("nan"))],
        [{"head": 0}],
        [SimpleNamespace(dep=None, dest=0, relation="X")],
        {(0, 99): {"X": 1.0}},
        {3: {"X": 1.0}},
        {(1, 3): None},
    ],
)
def test_what_is_no_relation_is_refused_without_quoting_the_note(doc: Doc, value: Any) -> None:
    with pytest.raises(ClinieError, match="CIE001") as error:
        doc._.rel = value
    assert "aspirin" not in str(error.value)
    assert len(doc._.rel) == 1


def test_tokens_and_spans_of_another_doc_are_no_concepts(doc: Doc) -> None:
    for value in ([(doc[1], doc[3], "X")], [(doc.copy()[0:1], 1, "X")]):
        with pytest.raises(ClinieError, match="CIE001") as error:
            doc._.rel = value
        assert "aspirin" not in str(error.value)
    doc._.rel = [(np.int64(1), np.int32(0), "X", np.float32(0.5))]
    assert [(rel.head.text, rel.tail.text, rel.score) for rel in doc._.rel] == [("pain", "aspirin", 0.5)]


def test_relations_keep_to_the_label_of_their_concept(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("old aspirin pain")
    labels = [(0, "Age"), (1, "Drug"), (1, "Treatment"), (2, "Problem")]
    set_concepts(doc, [Span(doc, i, i + 1, label) for i, label in labels])
    doc._.rel = [(2, 3, "TrIP")]
    set_concepts(doc, list(doc.spans["clinie"])[1:])
    assert [(rel.head.label_, rel.tail.label_) for rel in doc._.rel] == [("Treatment", "Problem")]
    set_concepts(doc, [span for span in doc.spans["clinie"] if span.label_ == "Problem"])
    assert doc._.rel[0].head.label_ == "Treatment"
    assert [concept.label for concept in note_from_doc(doc).concepts] == ["Problem", "Treatment"]


def test_relations_are_not_read_off_a_part_of_the_doc(doc: Doc) -> None:
    part = doc[1:4].as_doc(copy_user_data=True)
    with pytest.warns(UserWarning, match="CIE007"):
        assert part._.rel == []
    assert len(doc._.rel) == 1


def test_relations_can_be_read_although_another_library_took_the_name(doc: Doc) -> None:
    Doc.set_extension("rel", default=[], force=True)
    doc._.rel = []
    set_relations(doc, [(1, 0, "X")])
    assert [rel.label for rel in doc._.rel] == ["X"]


def test_relations_follow_their_concepts_by_offsets(doc: Doc) -> None:
    drug, reason, _ = get_spans(doc)
    set_concepts(doc, [reason, drug])
    assert [(rel.head.text, rel.tail.text) for rel in doc._.rel] == [("pain", "aspirin")]
    set_concepts(doc, [])
    assert [(rel.head.text, rel.tail.text) for rel in doc._.rel] == [("pain", "aspirin")]
    note = note_from_doc(doc)
    note.check()
    assert len(note.concepts) == 2


def test_a_plain_rel_of_another_library_is_taken_over_and_stays_readable(nlp: spacy.Language) -> None:
    original = Doc.get_extension("rel")
    try:
        Doc.set_extension("rel", default=[], force=True)
        doc = nlp.make_doc("Took aspirin for pain.")
        doc.ents = [Span(doc, 1, 2, label="Drug"), Span(doc, 3, 4, label="Reason")]
        doc._.rel = {(3, 1): {"Reason-Drug": 1.0}}
        register_extension()
        assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [("pain", "Reason-Drug", "aspirin")]
        Doc.set_extension("rel", getter=len, force=True)
        with pytest.warns(UserWarning, match="CIE003"):
            register_extension()
        assert Doc.get_extension("rel")[2] is len
    finally:
        Doc.set_extension("rel", getter=original[2], setter=original[3], force=True)


def test_a_doc_without_relations_has_an_empty_list(nlp: spacy.Language) -> None:
    assert get_relations(nlp.make_doc("nothing")) == []


def test_a_relation_of_an_entity_keeps_its_type_where_a_concept_has_its_words() -> None:
    """An existing component calls it a chemical, ours a drug."""
    doc = TOKENIZERS["english"]("Aspirin caused a rash")
    chemical = Span(doc, 0, 1, label="CHEMICAL")
    doc.ents = [chemical]
    set_concepts(doc, [Span(doc, 0, 1, label="Drug", span_id="T1"), Span(doc, 3, 4, label="ADE", span_id="T2")])
    drug, rash = get_spans(doc)
    set_relations(doc, [(rash, chemical, "by"), (rash, drug, "by")])
    for held in (doc, Doc(doc.vocab).from_bytes(doc.to_bytes())):
        assert [rel.tail.label_ for rel in get_relations(held)] == ["CHEMICAL", "Drug"]
    # What has no type of its own, or another one by now, is found by its place.
    set_relations(doc, [(rash, Span(doc, 0, 1), "by")])
    assert get_relations(doc)[0].tail.label_ == "Drug"
    set_concepts(doc, [Span(doc, 0, 1, label="Medicine", span_id="T1"), rash])
    assert get_relations(doc)[0].tail.label_ == "Medicine"
