"""What goes onto a Doc comes off it again, through every way in which spaCy moves Docs."""

import pytest
import spacy
from hypothesis import given, settings
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc, to_spacy_llm
from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError
from tests.doc.conftest import TOKENIZERS, any_note
from tests.encoders import build


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


def test_relations_of_concepts_that_are_no_flat_entities_are_counted_not_lost(doc: Doc) -> None:
    assert [ent.text for ent in doc.ents] == ["aspirin for pain"]
    assert to_spacy_llm(doc) == ([], 1)
    assert doc._.rel[0].dep is None


def test_a_tokenizer_that_changes_the_text_is_refused(nlp: spacy.Language) -> None:
    with pytest.raises(ClinieError, match="CIE002"):
        doc_from_note(lambda text: nlp.make_doc(text.strip()), Note("n", " pain"))


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
