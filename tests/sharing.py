"""Pipelines whose components share a tiny encoder."""

from typing import Any

import numpy as np
import spacy
from spacy.language import Language

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.doc.relations import get_relations
from tests.conftest import modules_of, tiny_settings

ENCODER = "clinie_encoder"
HEADS = {
    "clinie_ner_encoder": "spacy_clinie.Tok2VecTagger.v1",
    "clinie_rel": "spacy_clinie.Tok2VecPairs.v1",
}
TEXT = "Took aspirin 25mg for pain.\nThen developed rash."


def listener(**more: Any) -> dict[str, Any]:
    return {"@architectures": "spacy_clinie.EncoderListener.v1", **more}


def build_shared(base: str, heads: Any = HEADS, **more: Any) -> Language:
    """A pipeline whose components share an encoder; `more` is for the listeners, by name of their component."""
    nlp = spacy.blank("en")
    nlp.add_pipe(ENCODER, config={"model": tiny_settings(base, window=64, overlap=8)})
    for name in heads:
        model = {"@architectures": HEADS[name], "tok2vec": listener(**more.get(name, {}))}
        nlp.add_pipe(name, config={"model": model})
    return nlp


def weights(nlp: Language, name: str = ENCODER) -> dict[str, np.ndarray]:
    found = {}
    for module in modules_of(nlp.get_pipe(name)):
        found.update({key: weight.detach().numpy().copy() for key, weight in module.named_parameters()})
    return found


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> bool:
    assert before.keys() == after.keys()
    return any((after[key] != weight).any() for key, weight in before.items())


def said(nlp: Language, text: str = TEXT) -> list[Any]:
    doc = nlp(text)
    concepts = [(span.start, span.end, span.label_) for span in get_spans(doc)]
    return [concepts, [(rel.head.start, rel.tail.start, rel.label) for rel in get_relations(doc)]]
