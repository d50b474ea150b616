"""Pipelines of one component with a tiny encoder, and how what they find is compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import add_concepts, get_scores, get_spans
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import get_relations
from tests.conftest import Examples, tiny_settings

Learnt = Callable[[str], tuple[Path, list[Note]]]
# What batches of other shapes may do to a probability.
ROUNDING = 1e-3

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "key", "value", "dense"]}
TAGGER = {"@architectures": "spacy_clinie.EncoderTagger.v1", "head": "crf", "window": 64, "overlap": 8}
ENCODER = {"@architectures": "spacy_clinie.Encoder.v1", "window": 64, "overlap": 8}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "crf": ("clinie_ner_encoder", TAGGER),
    "softmax": ("clinie_ner_encoder", TAGGER | {"head": "softmax"}),
    "lora": ("clinie_ner_encoder", TAGGER | {"lora": LORA}),
    "mrc": ("clinie_ner_encoder", {"@architectures": "spacy_clinie.EncoderMRC.v1", "window": 96, "overlap": 8}),
    "marked_pairs": ("clinie_rel", {"@architectures": "spacy_clinie.MarkedPairs.v1", "window": 64}),
    "pair_mrc": ("clinie_rel", {"@architectures": "spacy_clinie.PairMRC.v1", "window": 96}),
    "one_pass": ("clinie_rel", {"@architectures": "spacy_clinie.OnePass.v1", "window": 64}),
    "tok2vec_pairs": ("clinie_rel", {"@architectures": "spacy_clinie.Tok2VecPairs.v1", "tok2vec": ENCODER}),
}


def build(kind: str, encoder: str, **more: Any) -> Language:
    """A pipeline with one component. The relation component gets its concepts from a rule before it."""
    factory, model = MODELS[kind]
    nlp = spacy.blank("en")
    nlp.tokenizer = spacy.registry.tokenizers.get("spacy_clinie.ClinicalTokenizer.v1")()(nlp)
    if factory == "clinie_rel":
        nlp.add_pipe("test_concepts")
    own = {"tok2vec": tiny_settings(encoder, **model["tok2vec"])} if "tok2vec" in model else tiny_settings(encoder)
    nlp.add_pipe(factory, config={"model": model | own, **more})
    return nlp


@Language.component("test_concepts")
def mark_concepts(doc: spacy.tokens.Doc) -> spacy.tokens.Doc:
    words = {"aspirin": "Drug", "ibuprofen": "Drug", "morphine": "Drug", "25": "Strength", "pain": "Reason"}
    words |= {"headache": "Reason", "fever": "Reason", "rash": "ADE", "nausea": "ADE", "cough": "ADE"}
    found = [(t.i, t.i + 1 + (t.text == "25"), words[t.text], 0.5) for t in doc if t.text in words]
    add_concepts(doc, found)
    return doc


def train(nlp: Language, examples: list[Example], steps: int = 60, rate: float = 3e-3) -> dict[str, float]:
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = rate
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = {}
        nlp.update(examples, sgd=sgd, losses=losses)
    return losses


def assert_same(doc: spacy.tokens.Doc, other: spacy.tokens.Doc) -> None:
    """The same concepts and relations, and the same scores up to what batches of other shapes do to them. What one of
    both does not hold was in doubt."""
    first, second = items(doc), items(other)
    for key in first.keys() & second.keys():
        assert first[key] == pytest.approx(second[key], abs=ROUNDING)
    for key in first.keys() ^ second.keys():
        assert (first | second)[key] <= 0.5 + ROUNDING


def items(doc: spacy.tokens.Doc) -> dict[tuple[Any, ...], float]:
    """Scores of concepts and relations by their places and types."""
    pairs = zip(get_spans(doc), get_scores(doc), strict=True)
    found: dict[tuple[Any, ...], float] = {(span.start, span.end, span.label_): score or 0 for span, score in pairs}
    for rel in get_relations(doc):
        found[rel.head.start, rel.head.end, rel.label, rel.tail.start, rel.tail.end] = rel.score or 0
    return found


def initialized_tagger(tiny_bert: str, make_examples: Examples) -> tuple[Language, list[Example]]:
    nlp = spacy.blank("en")
    nlp.add_pipe("clinie_ner_encoder", config={"model": tiny_settings(tiny_bert)})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples
