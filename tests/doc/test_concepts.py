"""What goes onto a Doc comes off it again, through every way in which spaCy moves Docs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from spacy_clinie.doc.concepts import add_concepts, cover, get_scores, get_spans, set_concepts
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc, to_rel_component, to_spacy_llm
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.relations import get_relations, register_extension, set_relations
from spacy_clinie.doc.tokenizer import make_tokenizer
from spacy_clinie.errors import ClinieError
from tests.encoders import build

TOKENIZERS: dict[str, Callable[[str], Doc]] = {
    "clinical": make_tokenizer(Vocab()),
    "english": spacy.blank("en").make_doc,
}
TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@st.composite
def any_note(draw: Any) -> Note:
    text = draw(TEXT)
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 12))
    concepts = []
    for i, (start, length) in enumerate(draw(st.lists(places, max_size=8))):
        end = min(start + length, len(text))
        fragments = [(start, start + 1), (end - 1, end)] if end - start > 2 and draw(st.booleans()) else []
        score = draw(st.none() | st.floats(0, 1))
        attributes = draw(st.dictionaries(st.sampled_from(["assertion", "time"]), st.text(max_size=5), max_size=2))
        attributes = {k: v.encode("utf8", "ignore").decode() for k, v in attributes.items()}
        concepts.append(Concept(f"T{i}", start, end, draw(st.sampled_from("AB")), score, fragments, attributes))
    relations = []
    if concepts:
        ids = st.sampled_from([concept.id for concept in concepts])
        for head, tail in draw(st.lists(st.tuples(ids, ids), max_size=5)):
            relations.append(Relation(head, tail, draw(st.sampled_from("XY")), draw(st.none() | st.floats(0, 1))))
    return Note("n", text, concepts, relations)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@given(note=any_note())
@settings(max_examples=150, deadline=None)
def test_a_note_comes_off_a_doc_as_it_went_on(tokenizer: str, note: Note) -> None:
    doc, snapped = doc_from_note(TOKENIZERS[tokenizer], note)
    assert note_from_doc(doc) == note
    for span, concept in zip(get_spans(doc), note.concepts, strict=True):
        # A blank behind the last word of a text belongs to no token.
        words = [i for i in range(*concept.offsets) if not note.text[i].isspace()]
        assert not words or (span.start_char <= words[0] and span.end_char > words[-1])
    assert {concept.id for concept in snapped} == {
        concept.id
        for span, concept in zip(get_spans(doc), note.concepts, strict=True)
        if (span.start_char, span.end_char) != concept.offsets
    }
    for vocab in (doc.vocab, Vocab()):
        assert note_from_doc(Doc(vocab).from_bytes(doc.to_bytes())) == note
        data = DocBin(store_user_data=True, docs=[doc]).to_bytes()
        assert note_from_doc(next(DocBin().from_bytes(data).get_docs(vocab))) == note
    assert note_from_doc(doc.copy()) == note


@given(note=any_note())
@settings(max_examples=100, deadline=None)
def test_flat_entities_never_overlap_and_are_among_the_concepts(note: Note) -> None:
    doc, _ = doc_from_note(TOKENIZERS["clinical"], note)
    known = {(span.start, span.end, span.label_) for span in get_spans(doc)}
    assert all((ent.start, ent.end, ent.label_) in known for ent in doc.ents)
    assert bool(doc.ents) == bool(known)


@given(text=TEXT, start=st.integers(0, 59), length=st.integers(1, 20))
def test_cover_is_the_smallest_span_of_tokens(text: str, start: int, length: int) -> None:
    doc = TOKENIZERS["english"](text)
    start = min(start, len(text) - 1)
    end = min(start + length, len(text))
    span = cover(doc, start, end)
    touched = [t.i for t in doc if t.idx < end and t.idx + len(t) > start]
    if touched:
        assert (span.start, span.end) == (touched[0], touched[-1] + 1)
    else:
        assert len(span) == 1


def test_of_two_types_on_the_same_words_entities_get_the_likelier(nlp: spacy.Language) -> None:
    doc = nlp("Aspirin for pain.")
    for likely in ("test", "treatment"):
        set_concepts(doc, [])
        add_concepts(doc, [(0, 1, label, 0.9 if label == likely else 0.5) for label in ("test", "treatment")])
        assert [ent.label_ for ent in doc.ents] == [likely]
        assert len(doc.spans["clinie"]) == 2


@pytest.fixture
def doc(nlp: spacy.Language) -> Doc:
    note = Note(
        "n",
        "Took aspirin for pain.",
        [Concept("a", 5, 12, "Drug", 0.9), Concept("b", 17, 21, "Reason", 0.8), Concept("c", 5, 21, "Order", 0.7)],
        [Relation("b", "a", "Reason-Drug", 0.6)],
    )
    return doc_from_note(nlp.make_doc, note)[0]


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


def test_relations_of_concepts_that_are_no_flat_entities_are_counted_not_lost(doc: Doc) -> None:
    assert [ent.text for ent in doc.ents] == ["aspirin for pain"]
    assert to_spacy_llm(doc) == ([], 1)
    assert doc._.rel[0].dep is None


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


def test_adding_concepts_keeps_what_is_there_and_repeats_nothing(doc: Doc) -> None:
    before = note_from_doc(doc)
    add_concepts(doc, [(0, 1, "Verb", 0.4), (1, 2, "Drug", 0.1)])
    add_concepts(doc, [(0, 1, "Verb", 0.4)])
    after = note_from_doc(doc)
    assert after.concepts[:-1] == before.concepts
    assert (after.concepts[-1].label, after.concepts[-1].score) == ("Verb", 0.4)
    assert get_scores(doc) == [0.9, 0.8, 0.7, 0.4]
    doc.spans["clinie"].append(Span(doc, 2, 3, label="New"))
    assert get_scores(doc)[-1] is None


def test_what_others_keep_beside_the_concepts_stays(doc: Doc) -> None:
    doc.spans["clinie"].attrs["mine"] = 1
    add_concepts(doc, [(0, 1, "Other", 0.5)])
    assert doc.spans["clinie"].attrs["mine"] == 1


def test_adding_concepts_behind_merged_tokens_moves_none(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Type 2 diabetes was treated with metformin later that same day")
    add_concepts(doc, [(0, 3, "problem", 0.9), (6, 7, "treatment", 0.8)])
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:3])
    add_concepts(doc, [])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Type 2 diabetes", "problem"), ("metformin", "treatment")]
    add_concepts(doc, [(4, 5, "treatment", 0.5), (5, 6, "Time", 0.5)])
    assert [(span.text, span.label_) for span in get_spans(doc)] == [
        ("Type 2 diabetes", "problem"), ("metformin", "treatment"), ("later", "Time"),
    ]  # fmt: skip


@pytest.mark.parametrize("merged", [(0, 3), (7, 11), (2, 9)], ids=["before", "behind", "across"])
def test_spans_of_others_stand_where_they_stood(merged: tuple[int, int], nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Type 2 diabetes was treated with metformin later that same day")
    doc.spans["clinie"] = [Span(doc, i, i + 1, label=token.text, span_id=f"T{i}") for i, token in enumerate(doc)]
    places = [(token.idx, token.idx + len(token)) for token in doc]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[slice(*merged)])
    spans = get_spans(doc)
    assert [(span.label_, span.id_) for span in spans] == [
        (doc.text[start:end], f"T{i}") for i, (start, end) in enumerate(places)
    ]
    for span, (start, end) in zip(spans, places, strict=True):
        assert span.start_char <= start < end <= span.end_char
        assert len(span) == 1


def test_what_a_linker_found_is_kept_and_written(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Took aspirin for pain.")
    add_concepts(doc, [(1, 2, "Drug", 0.9)])
    doc.ents = [Span(doc, 1, 2, label="Drug", kb_id="RxNorm:1191")]
    add_concepts(doc, [(3, 4, "Reason", 0.5)])
    assert [(ent.text, ent.kb_id_) for ent in doc.ents] == [("aspirin", "RxNorm:1191"), ("pain", "")]
    assert [concept.attributes for concept in note_from_doc(doc).concepts] == [{"kb_id": "RxNorm:1191"}, {}]


def test_entities_of_others_stay(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Took aspirin for pain.")
    doc.ents = [Span(doc, 1, 2, label="CHEBI")]
    add_concepts(doc, [(1, 4, "Order", 0.5), (3, 4, "Reason", 0.5)])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("aspirin", "CHEBI"), ("pain", "Reason")]
    set_concepts(doc, [])
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("aspirin", "CHEBI")]


def test_tokens_that_others_blocked_stay_blocked(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Took aspirin 25 mg for pain.")
    doc.set_ents([Span(doc, 5, 6, "Own")], blocked=[doc[2:4]])
    for _ in range(2):
        set_concepts(
            doc, [Span(doc, *one) for one in ((1, 2, "Drug"), (2, 4, "Strength"), (3, 4, "Unit"), (5, 6, "X"))]
        )
        assert [(ent.text, ent.label_) for ent in doc.ents] == [("aspirin", "Drug"), ("pain", "Own")]
        assert len(get_spans(doc)) == 4
    assert [token.ent_iob_ for token in doc] == ["O", "B", "B", "B", "O", "B", "O"]
    set_concepts(nlp.make_doc(""), [])


def test_two_labels_on_one_span_keep_their_own_scores(nlp: spacy.Language) -> None:
    doc = nlp.make_doc("Took aspirin.")
    add_concepts(doc, [(1, 2, "Drug", 0.9), (1, 2, "treatment", 0.3)])
    assert {span.label_: score for span, score in zip(get_spans(doc), get_scores(doc), strict=True)} == {
        "Drug": 0.9,
        "treatment": 0.3,
    }


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


def test_errors_survive_a_process_boundary() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ClinieError("CIE002", note="n", expected=3, found=2)))
    assert error.code == "CIE002"
    assert "3 characters in, 2 out" in str(error)


def test_a_tokenizer_that_changes_the_text_is_refused(nlp: spacy.Language) -> None:
    with pytest.raises(ClinieError, match="CIE002"):
        doc_from_note(lambda text: nlp.make_doc(text.strip()), Note("n", " pain"))


def test_get_relations_without_any(nlp: spacy.Language) -> None:
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


def test_what_another_component_takes_out_does_not_come_back() -> None:
    doc = TOKENIZERS["english"]("Aspirin for pain and fever")
    add_concepts(doc, [(0, 1, "Drug", 0.9), (2, 3, "Reason", 0.2), (4, 5, "Reason", 0.8)])
    assert len(doc.ents) == 3
    kept = [span for span, score in zip(get_spans(doc), get_scores(doc), strict=True) if (score or 0) > 0.5]
    doc.spans["clinie"] = kept
    for held in (doc, Doc(doc.vocab).from_bytes(doc.to_bytes())):
        assert [one.start for one in note_from_doc(held, entities=True).concepts] == [0, 17 + 4]
    add_concepts(doc, [(0, 1, "Dose", 0.5)])
    assert {ent.label_ for ent in doc.ents} == {"Drug", "Reason"}
    assert len(doc.ents) == 2


def test_scores_do_not_move_to_other_concepts() -> None:
    doc = TOKENIZERS["english"]("Aspirin for pain and fever")
    add_concepts(doc, [(0, 1, "Drug", 0.9), (2, 3, "Reason", 0.2), (4, 5, "Reason", 0.8)])
    del doc.spans["clinie"][1]
    assert get_scores(doc) == [None, None]


def test_tokens_that_are_merged_afterwards_double_no_concept(tiny_bert: str) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.remove_pipe("clinie_rel")
    nlp.add_pipe("merge_entities")
    text = "Took aspirin 25mg for pain.\nThen developed rash."
    doc = nlp(f"{text} Nothing else.")
    found = note_from_doc(doc, entities=True).concepts
    assert [text[one.start : one.end] for one in found] == ["aspirin", "25mg", "pain", "rash"]
    assert [span.text for span in get_spans(doc)] == ["aspirin", "25mg", "pain", "rash"]
    doc = nlp("Took aspirin 25mg for rash")  # whose last concept lies behind the last token
    assert [(span.text, span.label_, span.id_) for span in get_spans(doc)] == [
        ("aspirin", "Drug", "C1"),
        ("25mg", "Strength", "C2"),
        ("rash", "ADE", "C3"),
    ]
    assert note_from_doc(doc, entities=True).concepts[-1].offsets == (22, 26)


def test_a_new_concept_takes_nothing_from_one_that_is_gone(nlp: Language) -> None:
    doc = nlp.make_doc("Took aspirin")
    set_concepts(
        doc, [Span(doc, 1, 2, "Drug", span_id="C1")], details={"C1": {"offsets": [6, 8], "fragments": [[6, 8]]}}
    )
    details = dict(doc.spans["clinie"].attrs["details"])
    doc.spans["clinie"] = []
    doc.spans["clinie"].attrs["details"] = details
    add_concepts(doc, [(0, 1, "Verb", 0.9)])
    (concept,) = note_from_doc(doc).concepts
    assert (concept.start, concept.end, concept.fragments) == (0, 4, [])
