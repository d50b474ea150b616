"""What components learn from gold Docs as other libraries and people leave them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.find_threshold import find_threshold
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from spacy_clinie.doc.concepts import add_concepts, get_spans, set_concepts
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.relations import get_relations, has_relations, register_extension, set_relations
from spacy_clinie.errors import ClinieWarning
from spacy_clinie.schema import Schema
from tests.encoders import build
from tests.scripted import agree, learn_by_heart
from tests.tiny import make_decoder

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


def test_what_nobody_looked_at_is_told(tiny_bert: str) -> None:
    nlp = build("crf", tiny_bert)
    partly = Example.from_dict(nlp.make_doc(TEXT), {"entities": ["-", "U-Drug", "-", "-", "-"]})
    with pytest.warns(ClinieWarning, match="CIE485.* 1|1 Docs"):
        nlp.initialize(lambda: [partly])


@pytest.fixture
def rel(tiny_bert: str) -> Iterator[Any]:
    """A relation component with a symmetric type."""
    nlp = build("one_pass", tiny_bert)
    pipe: Any = nlp.get_pipe("clinie_rel")
    relations = {"Takes": {"pairs": [["Drug", "Reason"]]}, "With": {"pairs": [["Drug", "Drug"]], "symmetric": True}}
    concepts: dict[str, Any] = {"Drug": {}, "Reason": {}}
    pipe.schema = Schema.from_dict({"name": "mine", "concepts": concepts, "relations": relations})
    return pipe


def learnt(pipe: Any, gold: Doc) -> set[tuple[str, str, str]]:
    """Words of head and tail, and label, of what a component learns of a Doc."""
    bare = Doc(gold.vocab, [t.text for t in gold], [bool(t.whitespace_) for t in gold])
    item, answers = pipe.gold(Example(bare, gold))
    labels = tuple(item.schema.relations)
    texts = [span.text for span in item.spans]
    pairs = zip(item.pairs, answers.tolist(), strict=True)
    return {(texts[head], texts[tail], labels[answer - 1]) for (head, tail), answer in pairs if answer}


def test_symmetric_relations_are_learnt_whichever_end_is_named_first(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin and ibuprofen")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Drug")])
    for pair in ((0, 1), (1, 0)):
        set_relations(doc, [(*pair, "With")])
        assert learnt(rel, doc) == {("aspirin", "ibuprofen", "With")}


def test_symmetric_relations_are_scored_whichever_end_is_named_first(
    rel: Any, nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = nlp.make_doc("aspirin and ibuprofen")
    set_concepts(gold, [Span(gold, 0, 1, "Drug"), Span(gold, 2, 3, "Drug")])
    set_relations(gold, [(1, 0, "With")])
    found = nlp.make_doc(gold.text)
    set_concepts(found, [Span(found, 0, 1, "Drug"), Span(found, 2, 3, "Drug")])
    set_relations(found, [(0, 1, "With")])
    monkeypatch.setattr(rel, "predict", lambda docs: [[(0, 1, "With", 0.9)] for _ in docs])
    scores = rel.score([Example(found, gold)])
    assert (scores["relations_f"], scores["relations_gold_f"]) == (1.0, 1.0)
    set_relations(gold, [(1, 0, "Takes")])
    set_relations(found, [(0, 1, "Takes")])
    assert rel.score([Example(found, gold)])["relations_f"] == 0.0


def test_concepts_that_are_given_twice_are_learnt_once(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    twice = [Span(doc, 0, 1, "Drug", span_id="A"), Span(doc, 0, 1, "Drug", span_id="B")]
    set_concepts(doc, [*twice, Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(1, 2, "Takes")])
    item, answers = rel.gold(Example(nlp.make_doc(doc.text), doc))
    assert (item.pairs, answers.tolist()) == ([(0, 2)], [1])


def test_relations_with_entities_of_others_are_learnt_and_scored(
    rel: Any, nlp: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug")])
    doc.ents = [*doc.ents, Span(doc, 2, 3, "Reason")]
    set_relations(doc, [(doc.spans["clinie"][0], doc.ents[1], "Takes")])
    assert learnt(rel, doc) == {("aspirin", "pain", "Takes")}
    monkeypatch.setattr(rel, "predict", lambda docs: [[(0, 1, "Takes", 0.9)] for _ in docs])
    scores = rel.score([Example(nlp.make_doc(doc.text), doc)])
    assert scores["relations_gold_f"] == 1.0
    assert scores["relations_f"] == 0.0


def test_a_language_model_learns_relations_with_entities_of_others(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    model = {"base": make_decoder(tmp_path / "base"), "device": "cpu"}
    nlp.add_pipe("clinie_decoder_prompt", config={"model": model, "label_schema": "n2c2_2018"})
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug")])
    doc.ents = [*doc.ents, Span(doc, 2, 3, "Reason")]
    set_relations(doc, [(doc.ents[1], doc.spans["clinie"][0], "Reason-Drug")])
    examples = [Example(nlp.make_doc(doc.text), doc)]
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    answers = [one["completion"][0]["content"] for one in pipe.instructions(examples)]
    assert answers == ["aspirin for pain".replace("aspirin", "«aspirin»Drug»"), "2 Reason-Drug 1\n"]


def test_relations_to_oneself_are_told(rel: Any, nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(0, 0, "Takes"), (0, 1, "Takes"), (0, 1, "Takes"), (1, 0, "Takes")])
    with pytest.warns(ClinieWarning) as told:
        rel.warn_unlearnable([Example(nlp.make_doc(doc.text), doc)])
    # To itself, and of types that the schema does not list this way; what is said twice is said.
    assert [str(one.message)[:11] for one in told] == ["[CIE472] 2 "]


def test_a_part_of_a_doc_has_no_relations_that_anybody_gave(nlp: Language) -> None:
    doc = nlp.make_doc("aspirin for pain")
    set_concepts(doc, [Span(doc, 0, 1, "Drug"), Span(doc, 2, 3, "Reason")])
    set_relations(doc, [(0, 1, "Takes")])
    assert has_relations(doc)
    assert not has_relations(doc[0:2].as_doc(copy_user_data=True))


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
