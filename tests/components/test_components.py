"""What every component owes its pipeline, for each component and architecture."""

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import relation_indexes, set_relations
from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema
from tests.conftest import Examples, tiny_settings, weights_of
from tests.encoders import MODELS, Learnt, assert_same, build, items, mark_concepts, train
from tests.scripted import agree


@pytest.mark.parametrize("kind", MODELS)
def test_it_knows_by_heart_after_saving_what_it_learnt(kind: str, learnt: Learnt, tiny_bert: str) -> None:
    folder, notes = learnt(kind)
    nlp = spacy.load(folder)
    copy = build(kind, tiny_bert).from_bytes(nlp.to_bytes())
    for other in (nlp, copy):
        examples = [Example(other.make_doc(note.text), doc_from_note(other.make_doc, note)[0]) for note in notes]
        scores = other.evaluate(examples)
        assert scores["relations_gold_f" if "rel" in MODELS[kind][0] else "concepts_f"] == 1.0
    for text in (*(note.text for note in notes), "Took aspirin 25mg for headache.\nThen developed nausea."):
        assert_same(nlp(text), copy(text))


@pytest.mark.environment
@pytest.mark.parametrize("kind", MODELS)
def test_pipe_equals_call_also_on_odd_texts(kind: str, learnt: Learnt) -> None:
    folder, notes = learnt(kind)
    nlp = spacy.load(folder)
    texts = [
        notes[0].text,  # of which it is sure
        "",
        " ",
        "\n",
        "aspirin",
        "Took aspirin 25mg for pain.",
        "[SEP]",
        "\r\n\t\u200b",
        "é\u0301 🩺 aspirin",
        "aspirin " * 300,
    ]
    for text, doc in zip(texts, nlp.pipe(texts, batch_size=4), strict=True):
        assert doc.text == text
        assert_same(nlp(text), doc)
        for span in get_spans(doc):
            assert 0 <= span.start < span.end <= len(doc)
    assert sum(score > 0.9 for score in items(nlp(notes[0].text)).values()) >= 3


@pytest.mark.parametrize("kind", MODELS)
def test_says_so_when_not_trained(kind: str, tiny_bert: str) -> None:
    nlp = build(kind, tiny_bert)
    with pytest.raises(ClinieError) as error:
        nlp("Took aspirin for pain.")
    assert error.value.code in ("CIE308", "CIE461")


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_add_up_without_an_optimizer(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    """`sgd=False` leaves the weights alone until `finish_update`; two halves then weigh as much as they did apart."""
    nlp = build(kind, tiny_bert)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e-3
    pipe = nlp.get_pipe(MODELS[kind][0])
    module = pipe.model.shims[0].module
    before = {k: v.clone() for k, v in module.state_dict().items()}
    pipe.update(examples[:3], sgd=False)
    assert all((module.state_dict()[k] == v).all() for k, v in before.items())
    once = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    pipe.update(examples[:3], sgd=False)
    twice = [p.grad for p in module.parameters() if p.grad is not None]
    assert all(abs(b - 2 * a).max() <= 1e-5 * (1 + abs(b).max()) for a, b in zip(once, twice, strict=True))
    pipe.finish_update(sgd)
    assert any((module.state_dict()[k] != v).any() for k, v in before.items())


@pytest.mark.parametrize("kind", MODELS)
def test_labels_come_from_the_data_or_from_a_schema(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    nlp = build(kind, tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    expected = (
        {"Strength-Drug", "Reason-Drug", "ADE-Drug"}
        if "rel" in MODELS[kind][0]
        else {"Drug", "Strength", "Reason", "ADE", "Order"}
    )
    assert set(nlp.get_pipe(MODELS[kind][0]).labels) == expected
    from_schema = build(kind, tiny_bert, label_schema="n2c2_2018")
    assert len(from_schema.get_pipe(MODELS[kind][0]).labels) in (8, 9)
    if "rel" not in MODELS[kind][0]:
        with pytest.raises(ClinieError, match=r"CIE463.*Order"):
            train(from_schema, make_examples(from_schema), steps=1)


def test_existing_entities_stay_and_ours_give_way(learnt: Learnt) -> None:
    folder, notes = learnt("crf")
    nlp = spacy.load(folder)
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "FOREIGN", "pattern": [{"LOWER": "aspirin"}]}])  # type: ignore[attr-defined]
    doc = nlp(notes[0].text)
    assert (doc.ents[0].text, doc.ents[0].label_) == ("aspirin", "FOREIGN")
    assert "Drug" in {span.label_ for span in doc.spans["clinie"] if span.text == "aspirin"}
    assert len(doc.ents) > 1


def test_relations_are_found_between_entities_of_another_component(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    agree(nlp.get_pipe("clinie_rel"))
    nlp.remove_pipe("test_concepts")
    ruler = nlp.add_pipe("entity_ruler", first=True)
    ruler.add_patterns([{"label": "Drug", "pattern": "aspirin"}, {"label": "Reason", "pattern": "pain"}])
    doc = nlp("Took aspirin 25mg for pain.")
    assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [("pain", "Reason-Drug", "aspirin")]
    assert [(rel.dep, rel.dest) for rel in doc._.rel] == [(1, 0)]


def test_relations_are_found_between_a_concept_and_an_entity_of_another_component(
    tiny_bert: str, make_examples: Examples
) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    agree(nlp.get_pipe("clinie_rel"))
    text = "Took aspirin 25mg for pain."
    doc = nlp.make_doc(text)
    doc.ents = [doc.char_span(22, 26, label="Reason"), doc.char_span(0, 4, label="VERB")]
    set_concepts(doc, [doc.char_span(5, 12, label="Drug", span_id="C7")])
    doc = nlp.get_pipe("clinie_rel")(doc)
    assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [("pain", "Reason-Drug", "aspirin")]
    note = note_from_doc(doc, entities=True)
    assert sorted((concept.label, text[concept.start : concept.end]) for concept in note.concepts) == [
        ("Drug", "aspirin"),
        ("Reason", "pain"),
        ("VERB", "Took"),
    ]
    assert len(note.relations) == 1


@pytest.mark.parametrize("parallel", [None, "true"])
def test_two_processes_do_not_hang_and_agree(
    parallel: str | None,
    learnt: Learnt,
    tiny_bert: str,
    make_examples: Examples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Forks inherit torch's dead thread pool; see `models.forks`."""
    nlp = spacy.load(learnt("crf")[0])
    nlp.add_pipe("clinie_rel", config={"model": tiny_settings(tiny_bert, **MODELS["one_pass"][1])})
    examples = make_examples(nlp)
    nlp.get_pipe("clinie_rel").initialize(lambda: examples, nlp=nlp)
    texts = [example.text for example in examples] + ["", "No rash."]
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if parallel:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
    for alone, doc in zip(nlp.pipe(texts), nlp.pipe(texts, n_process=2, batch_size=2), strict=True):
        assert_same(doc, alone)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == parallel


def test_adapters_refuse_another_base(tiny_bert: str, make_examples: Examples, tmp_path: Path) -> None:
    import shutil

    import torch
    from transformers import AutoModel

    base = tmp_path / "base"
    shutil.copytree(tiny_bert, base)
    nlp = build("lora", str(base))
    train(nlp, make_examples(nlp), steps=1)
    nlp.to_disk(tmp_path / "model")
    assert sum(f.stat().st_size for f in (tmp_path / "model").rglob("*.safetensors")) < 100_000
    model = AutoModel.from_pretrained(base)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(base)
    with pytest.raises(ClinieError, match="CIE306"):
        spacy.load(tmp_path / "model")


def test_scores_on_gold_concepts_do_not_depend_on_predicted_ones(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    agree(nlp.get_pipe("clinie_rel"))
    nlp.remove_pipe("test_concepts")
    scores = nlp.evaluate(examples)
    assert scores["relations_gold_f"] == 1.0
    assert scores["relations_f"] == 0.0


def test_a_note_with_too_many_candidates_is_cut_down_with_a_warning(
    tiny_bert: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    monkeypatch.setattr("spacy_clinie.components.candidates.MOST_CANDIDATES", 10)
    doc = mark_concepts(nlp.make_doc("aspirin pain " * 20))
    with pytest.warns(UserWarning, match="CIE464"):
        assert len(pipe.candidates(doc, get_spans(doc)).pairs) == 10


@pytest.mark.parametrize("kind", ["crf", "one_pass"])
def test_a_drafted_schema_is_drafted_anew_from_other_data(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    nlp = build(kind, tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe: Any = nlp.get_pipe(MODELS[kind][0])
    first = pipe.labels
    doc = nlp.make_doc("No cough today.")
    set_concepts(doc, [Span(doc, 1, 2, "Sign"), Span(doc, 2, 3, "Time")])
    set_relations(doc, [(0, 1, "AT")])
    others = [Example(nlp.make_doc(doc.text), doc)]
    sgd = nlp.initialize(lambda: others)
    assert pipe.labels != first
    assert set(pipe.labels) == ({"AT"} if kind == "one_pass" else {"Sign", "Time"})
    nlp.update(others, sgd=sgd)  # the output layer fits the new types


def test_candidates_keep_to_the_distance(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    doc = mark_concepts(nlp.make_doc("Took aspirin.\nHe slept.\nNo pain."))
    assert len(get_spans(doc)) == 2
    for distance, expected in ((0, []), (1, []), (2, [(1, 0)]), (None, [(1, 0)])):
        pipe.max_distance = distance
        assert pipe.candidates(doc, get_spans(doc)).pairs == expected
    set_concepts(doc, [])
    assert pipe.candidates(doc, []).pairs == []


def test_symmetric_relations_have_candidates_in_one_order(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    doc = nlp.make_doc("pain and ache")
    set_concepts(doc, [Span(doc, 2, 3, "ADE"), Span(doc, 0, 1, "ADE")])
    for with_other, expected in ((False, [(1, 0)]), (True, [(0, 1), (1, 0)])):
        relations = {"SAME": {"pairs": [["ADE", "ADE"]], "symmetric": True}}
        if with_other:
            relations["AFTER"] = {"pairs": [["ADE", "ADE"]]}
        pipe.schema = Schema.from_dict({"name": "n", "concepts": {"ADE": {}}, "relations": relations})
        found = pipe.candidates(doc, get_spans(doc))
        assert sorted(found.pairs) == expected
        rows = {pair: row.tolist() for pair, row in zip(found.pairs, found.allowed, strict=True)}
        assert rows[1, 0] == [True] * len(relations)
        assert not with_other or rows[0, 1] == [False, True]


def test_what_is_saved_last_is_loaded(tiny_bert: str, tmp_path: Path) -> None:
    adapted, whole, untrained = (build(kind, tiny_bert, label_schema="n2c2_2018") for kind in ("lora", "crf", "crf"))
    text = "Took aspirin 25mg for pain.\nThen developed rash."
    for nlp, label in ((adapted, "Drug"), (whole, "ADE")):
        nlp.initialize()
        agree(nlp.get_pipe("clinie_ner_encoder"), label)
    for nlp, label in ((adapted, "Drug"), (whole, "ADE"), (adapted, "Drug")):
        nlp.to_disk(tmp_path / "model")
        assert {span.label_ for span in get_spans(spacy.load(tmp_path / "model")(text))} == {label}
    untrained.to_disk(tmp_path / "model")
    with pytest.raises(ClinieError, match="CIE308"):
        spacy.load(tmp_path / "model")(text)


def test_a_saved_component_without_one_of_its_files_is_refused(tiny_bert: str, tmp_path: Path) -> None:
    """As earlier versions save other files."""
    nlp = build("crf", tiny_bert, label_schema="n2c2_2018")
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    schema = tmp_path / "model" / "clinie_ner_encoder" / "schema.json"
    cut = schema.read_text("utf8")[:40]
    for break_it in (lambda: schema.write_text(cut, encoding="utf8"), schema.unlink):
        break_it()
        with pytest.raises(ClinieError, match=r"CIE477.*schema\.json.*clinie_ner_encoder"):
            spacy.load(tmp_path / "model")


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


@pytest.mark.parametrize("kind", ["crf", "tok2vec"])
def test_initialized_once_more_nothing_is_left_of_what_was_learnt(
    kind: str, tiny_bert: str, make_examples: Examples
) -> None:
    """As in the folds of a cross-validation."""
    nlp = build("crf", tiny_bert)
    if kind == "tok2vec":
        nlp.remove_pipe("clinie_ner_encoder")
        tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 2}
        tok2vec |= {"embed_size": 500, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
        model = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": tok2vec}
        nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples = make_examples(nlp)

    def weights() -> bytes:
        return nlp.get_pipe("clinie_ner_encoder").to_bytes(exclude=["vocab"])

    fix_random_seed(1)
    nlp.initialize(lambda: examples)
    before = weights()
    train(nlp, examples, steps=1)
    assert weights() != before
    fix_random_seed(1)
    nlp.initialize(lambda: examples)
    assert weights() == before


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


@pytest.mark.parametrize("kind", MODELS)
def test_what_nobody_annotated_is_not_learnt_as_nothing(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    nlp = build(kind, tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe(MODELS[kind][0])
    before = [weight.clone() for weight in weights_of(pipe)]
    # As spaCy's augmenters and DocBins without user data leave them.
    bare = [Example(nlp.make_doc(one.text), nlp.make_doc(one.text)) for one in examples]
    with pytest.warns(UserWarning, match=f"CIE474.* {len(bare)} Docs"):
        losses = nlp.update(bare, sgd=nlp.resume_training())
    assert losses[pipe.name] == 0
    assert all(weight.equal(held) for weight, held in zip(weights_of(pipe), before, strict=True))
    # That there is nothing can be learnt.
    for one in bare:
        set_concepts(one.reference, [])
        set_relations(one.reference, [])
    assert pipe.is_annotated(bare[0].reference)


def test_relations_between_given_concepts_are_scored_by_their_offsets_whatever_the_tokens(
    tiny_bert: str, notes: list[Note]
) -> None:
    nlp = build("one_pass", tiny_bert)
    reference = doc_from_note(nlp.make_doc, notes[0])[0]
    nlp.initialize(lambda: [Example(nlp.make_doc(notes[0].text), reference)])
    whole = Doc(nlp.vocab, words=notes[0].text.split(" "), spaces=[True] * notes[0].text.count(" ") + [False])
    assert whole.text == reference.text
    assert len(whole) < len(reference)
    pipe: Any = nlp.get_pipe("clinie_rel")
    right = {(head, tail): label for head, tail, label, _ in relation_indexes(reference)}
    pipe.predict = lambda docs: [[(head, tail, label, 1.0) for (head, tail), label in right.items()] for _ in docs]
    scores = pipe.score([Example(whole, reference)])
    assert scores["relations_gold_f"] == scores["relations_gold_lenient_f"] == 1.0
