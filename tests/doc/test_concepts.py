"""How a Doc carries concepts beside those of other components."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinie.doc.concepts import add_concepts, cover, get_scores, get_spans, set_concepts
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc
from spacy_clinie.doc.note import Note
from tests.doc.conftest import TEXTS, TOKENIZERS, any_note


@given(note=any_note())
@settings(max_examples=100, deadline=None)
def test_flat_entities_never_overlap_and_are_among_the_concepts(note: Note) -> None:
    doc, _ = doc_from_note(TOKENIZERS["clinical"], note)
    known = {(span.start, span.end, span.label_) for span in get_spans(doc)}
    assert all((ent.start, ent.end, ent.label_) in known for ent in doc.ents)
    assert bool(doc.ents) == bool(known)


@given(text=TEXTS, start=st.integers(0, 59), length=st.integers(1, 20))
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
