"""Notes of every shape, and a Doc with concepts and relations."""

from collections.abc import Callable
from typing import Any

import pytest
import spacy
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.tokenizer import make_tokenizer

TOKENIZERS: dict[str, Callable[[str], Doc]] = {
    "clinical": make_tokenizer(Vocab()),
    "english": spacy.blank("en").make_doc,
}
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


@st.composite
def any_note(draw: Any) -> Note:
    text = draw(TEXTS)
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


@pytest.fixture
def doc(nlp: spacy.Language) -> Doc:
    note = Note(
        "n",
        "Took aspirin for pain.",
        [Concept("a", 5, 12, "Drug", 0.9), Concept("b", 17, 21, "Reason", 0.8), Concept("c", 5, 21, "Order", 0.7)],
        [Relation("b", "a", "Reason-Drug", 0.6)],
    )
    return doc_from_note(nlp.make_doc, note)[0]
