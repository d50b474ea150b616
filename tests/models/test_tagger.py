"""Concepts by tagging over vectors of tokens that another component makes."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.find_threshold import find_threshold
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example

from spacy_clinie.doc.concepts import get_spans
from tests.scripted import agree, learn_by_heart

TEXT = "Took aspirin for pain."
EMBEDDING = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16, "upstream": "tok2vec"}


@pytest.fixture
def shared() -> Language:
    """A pipeline whose components share vectors."""
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": EMBEDDING})
    textcat = {"@architectures": "spacy.TextCatReduce.v1", "exclusive_classes": True, "tok2vec": LISTENER}
    reduce = {"use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False, "use_reduce_mean": True}
    nlp.add_pipe("textcat", config={"model": {**textcat, **reduce}})
    tagger = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": LISTENER}
    nlp.add_pipe("clinie_ner_encoder", config={"model": tagger})
    return nlp


def example(nlp: Language, text: str, ents: list[Any] | None, yes: float) -> Example:
    given: dict[str, Any] = {} if ents is None else {"entities": ents}
    return Example.from_dict(nlp.make_doc(text), {"cats": {"YES": yes, "NO": 1 - yes}, **given})


@pytest.mark.parametrize(
    "others", [["No annotation."], [""], ["No annotation.", ""]], ids=["unannotated", "empty", "both"]
)
@pytest.mark.parametrize("first", [False, True])
def test_shared_vectors_learn_from_batches_with_docs_that_have_no_concepts(
    shared: Language, others: list[str], first: bool
) -> None:
    full = [example(shared, TEXT, [(5, 12, "Drug")], 1.0), example(shared, "Took ibuprofen.", [(5, 14, "Drug")], 0.0)]
    sgd = shared.initialize(lambda: full)
    more = [example(shared, text, None, 0.0) for text in others]
    batch = more + full if first else full + more
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        losses = shared.update(batch, sgd=sgd)
    assert losses["clinie_ner_encoder"] > 0
    # That nothing is learnt from an empty Doc needs no word.
    assert sum("CIE474" in str(one.message) for one in told) == any(others)


@pytest.mark.environment
@pytest.mark.parametrize("texts", [[""], [TEXT, ""], ["", TEXT], ["", ""], [" ", ""]])
def test_empty_docs_of_a_transformer_that_is_shared(tiny_bert: str, texts: list[str]) -> None:
    pytest.importorskip("spacy_transformers", reason="not installed; constraints/shared_transformer.txt has it")
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-transformers.TransformerModel.v3", "name": tiny_bert}
    model |= {"get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 64, "stride": 48}}
    nlp.add_pipe("transformer", config={"model": model})
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0}
    listener |= {"pooling": {"@layers": "reduce_mean.v1"}}
    tagger = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": listener}
    nlp.add_pipe("clinie_ner_encoder", config={"model": tagger})
    full = example(nlp, TEXT, [(5, 12, "Drug")], 1.0)
    sgd = nlp.initialize(lambda: [full])
    batch = [example(nlp, text, [(5, 12, "Drug")] if text == TEXT else [], 1.0) for text in texts]
    losses = nlp.update(batch, sgd=sgd)
    assert (losses["clinie_ner_encoder"] > 0) == (TEXT in texts)
    agree(nlp.get_pipe("clinie_ner_encoder"))
    found = [[span.text for span in get_spans(doc)] for doc in nlp.pipe(texts)]
    assert found == [["Took", "aspirin", "for", "pain", "."] if text == TEXT else [] for text in texts]
    assert [len(nlp(text)) for text in texts] == [len(nlp.make_doc(text)) for text in texts]


def test_the_threshold_can_be_looked_for(shared: Language, tmp_path: Path) -> None:
    full = [example(shared, TEXT, [(5, 12, "Drug")], 1.0)]
    learn_by_heart(shared, full, rate=1e-2)
    shared.to_disk(tmp_path / "model")
    DocBin(docs=[one.reference for one in full]).to_disk(tmp_path / "dev.spacy")
    _, _, scores = find_threshold(
        str(tmp_path / "model"),
        tmp_path / "dev.spacy",
        "clinie_ner_encoder",
        "model.threshold",
        "concepts_f",
        n_trials=3,
    )
    assert set(scores) == {0.0, 0.5, 1.0}
    assert scores[0.5] == 1.0 > scores[1.0]
