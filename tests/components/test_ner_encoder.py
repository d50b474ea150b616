"""`clinie_ner_encoder`: concepts beside those of other components, and what tags cannot hold."""

import warnings

import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinie.doc.concepts import set_concepts
from tests.encoders import Learnt, build


def test_existing_entities_stay_and_ours_give_way(learnt: Learnt) -> None:
    folder, notes = learnt("crf")
    nlp = spacy.load(folder)
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "FOREIGN", "pattern": [{"LOWER": "aspirin"}]}])  # type: ignore[attr-defined]
    doc = nlp(notes[0].text)
    assert (doc.ents[0].text, doc.ents[0].label_) == ("aspirin", "FOREIGN")
    assert "Drug" in {span.label_ for span in doc.spans["clinie"] if span.text == "aspirin"}
    assert len(doc.ents) > 1


@pytest.mark.parametrize("kind", ["crf", "mrc"])
def test_nested_concepts_of_a_type_that_tags_cannot_hold_are_counted(kind: str, tiny_bert: str) -> None:
    nlp = build(kind, tiny_bert)
    doc = nlp.make_doc("Pain in the left knee and hip.")
    set_concepts(
        doc, [Span(doc, *place) for place in ((0, 7, "P"), (0, 5, "P"), (6, 7, "P"), (3, 5, "Q"), (4, 5, "Q"))]
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
    counts = [str(one.message) for one in told if "CIE482" in str(one.message)]
    assert [one.partition(" concepts")[0] for one in counts] == (["[CIE482] 3"] if kind == "crf" else [])
