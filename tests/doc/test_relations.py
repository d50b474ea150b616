"""Relations of a Doc, as our components and others set and read them."""

import pytest
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.relations import get_relations, has_relations, register_extension, set_relations
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
