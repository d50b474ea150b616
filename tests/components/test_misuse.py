"""What components do with settings, schemas and training data that do not fit together."""

import re
import warnings
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.doc.windows import sentence_starts
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.models.pretrained import locate, pick_device
from spacy_clinie.schema import Schema
from tests.conftest import Examples, modules_of, tiny_settings
from tests.encoders import MODELS, build, train
from tests.tiny import make_decoder


@pytest.mark.parametrize("kind", ["crf", "one_pass"])
def test_a_trained_component_needs_its_schema_file_no_more(
    kind: str, tiny_bert: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build("crf", tiny_bert)
    drafted = Schema.draft((note for note in _notes(make_examples(nlp))), "mine")
    file = tmp_path / "mine.yml"
    file.write_text(drafted.to_yaml(), encoding="utf8")
    nlp = build(kind, tiny_bert, label_schema=str(file))
    train(nlp, make_examples(nlp), steps=1)
    labels = nlp.get_pipe(MODELS[kind][0]).labels
    nlp.to_disk(tmp_path / "model")
    file.unlink()
    loaded = spacy.load(tmp_path / "model")
    assert loaded.get_pipe(MODELS[kind][0]).labels == labels
    loaded("Took aspirin.")
    with pytest.raises(ClinieError, match="CIE101"):
        build(kind, tiny_bert, label_schema=str(file)).initialize(lambda: make_examples(nlp))


def test_initialized_once_more_it_begins_anew(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("crf", tiny_bert)
    examples = make_examples(nlp)
    train(nlp, examples, steps=1)
    pipe = nlp.get_pipe("clinie_ner_encoder")
    first = pipe.model.shims[0].module
    pipe.initialize(lambda: examples)
    assert pipe.model.shims[0].module is not first  # or a cross-validation would test what was trained on
    record = pipe.label_data
    record["concepts"] = {"New": {}, **dict(reversed(record["concepts"].items()))}
    pipe.initialize(lambda: examples, labels=record)
    module = pipe.model.shims[0].module
    assert (module.head.kinds, list(module.schema["concepts"])) == (len(pipe.labels), list(pipe.labels))
    assert pipe.labels[0] == "New"


def test_an_edited_schema_is_read_again(tiny_bert: str, make_examples: Examples, tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    types = ["Drug", "Strength", "Reason", "ADE"]
    file.write_text(Schema.from_dict({"name": "mine", "concepts": {name: {} for name in types}}).to_yaml())
    nlp = build("crf", tiny_bert, label_schema=str(file))
    examples = make_examples(nlp)
    with pytest.raises(ClinieError, match=r"CIE463.*Order"):
        nlp.initialize(lambda: examples)
    file.write_text(Schema.from_dict({"name": "mine", "concepts": {name: {} for name in [*types, "Order"]}}).to_yaml())
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    file.unlink()
    loaded.initialize(lambda: examples)
    assert "Order" in loaded.get_pipe("clinie_ner_encoder").labels


def test_no_types_at_all_is_an_error_of_the_component(tiny_bert: str) -> None:
    nlp = build("crf", tiny_bert)
    with pytest.raises(ClinieError, match="CIE461"):
        nlp.initialize()


def test_unknown_relation_types_are_refused_before_training(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert, label_schema="n2c2_2018")
    examples = make_examples(nlp)
    examples[-1].reference._.rel = [(0, 1, "Causes")]
    with pytest.raises(ClinieError, match=r"CIE463.*Causes"):
        nlp.initialize(lambda: examples)


def test_relations_of_what_is_no_concept_are_counted_and_passed_over(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    examples = make_examples(nlp)
    sound = len(examples[0].reference._.rel)
    examples[0].reference._.rel = [*examples[0].reference._.rel, (examples[0].reference[0:1], 1, "ADE-Drug")]
    with pytest.warns(ClinieWarning, match="CIE466.* 1 |1 relations"):
        sgd = nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("clinie_rel")
    assert (pipe.gold(examples[0])[1] > 0).sum() == sound
    nlp.update(examples, sgd=sgd)


def test_relations_that_cannot_be_learnt_are_counted(tiny_bert: str) -> None:
    nlp = build("one_pass", tiny_bert, max_distance=1)
    doc = nlp.make_doc("Took aspirin.\nIt helped.\nShe slept.\nNo pain, no rash.")
    drug, pain, rash = (next(token.i for token in doc if token.text == word) for word in ("aspirin", "pain", "rash"))
    set_concepts(doc, [Span(doc, i, i + 1, label) for i, label in ((drug, "Drug"), (pain, "ADE"), (rash, "ADE"))])
    set_relations(doc, [(1, 0, "FAR"), (1, 2, "SAME"), (1, 2, "WITH")])
    with pytest.warns(ClinieWarning) as told:
        nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])
    messages = [str(one.message) for one in told if issubclass(one.category, ClinieWarning)]
    assert [message[:11] for message in messages] == ["[CIE472] 1 ", "[CIE476] 1 "]


@pytest.mark.parametrize("again", [False, True], ids=["initialized", "loaded"])
@pytest.mark.parametrize("kind", ["crf", "one_pass"])
def test_what_cannot_be_learnt_is_told_where_a_training_goes_on(
    kind: str, again: bool, tiny_bert: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build(kind, tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    if again:
        nlp.to_disk(tmp_path)
        nlp = spacy.load(tmp_path)
    doc = nlp.make_doc("Took aspirin 25 mg for pain.")
    set_concepts(doc, [Span(doc, *one) for one in ((1, 2, "Drug"), (2, 4, "Strength"), (3, 4, "Strength"))])
    set_relations(doc, [(0, 1, "ADE-Drug")])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        nlp.update([Example(nlp.make_doc(doc.text), doc)], sgd=nlp.resume_training())
    expected = {"crf": "[CIE482] 1 ", "one_pass": "[CIE472] 1 "}[kind]
    assert [str(one.message)[:11] for one in told] == ([expected] if again else [])


def test_a_training_that_diverges_ends(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("crf", tiny_bert)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    sgd.learn_rate = 1e20
    with pytest.raises(ClinieError, match=r"CIE450.*clinie_ner_encoder"):
        for _ in range(5):
            nlp.update(examples, sgd=sgd)


@pytest.mark.parametrize("kind", ["crf", "one_pass"])
def test_scores_on_docs_that_nobody_annotated_are_told(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    nlp = build(kind, tiny_bert)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    bare = [Example(nlp.make_doc("No word."), nlp.make_doc("No word."))]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        nlp.evaluate(make_examples(nlp)[:1] + bare)
        assert not [one for one in told if "CIE451" in str(one.message)]
        nlp.evaluate(bare)
    assert [str(one.message)[:15] for one in told if "CIE451" in str(one.message)] == ["[CIE451] None o"]


def test_relations_that_a_language_model_cannot_learn_are_counted(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    model = {"base": make_decoder(tmp_path / "base"), "device": "cpu"}
    nlp.add_pipe("clinie_decoder_prompt", config={"model": model, "relations": {"max_distance": 0}})
    doc = nlp.make_doc("Took aspirin.\nNo pain.\nNo rash with aspirin.")
    kinds = {"aspirin": "Drug", "pain": "ADE", "rash": "ADE"}
    set_concepts(doc, [Span(doc, one.i, one.i + 1, kinds[one.text]) for one in doc if one.text in kinds])
    set_relations(doc, [(0, 1, "FAR"), (3, 2, "NEAR")])
    with pytest.warns(ClinieWarning, match=r"CIE472\] 1 "):
        nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc)])


@pytest.mark.parametrize("factory, kind", [("clinie_rel", "crf"), ("clinie_ner_encoder", "one_pass")])
def test_an_architecture_for_another_task_is_refused(factory: str, kind: str, tiny_bert: str) -> None:
    with pytest.raises(ClinieError, match="CIE465"):
        spacy.blank("en").add_pipe(factory, config={"model": {**MODELS[kind][1], "encoder": tiny_bert}})


@pytest.mark.parametrize(
    "kind, setting, value",
    [
        ("crf", "head", "crff"),
        ("crf", "threshold", -0.1),
        ("crf", "threshold", 1.1),
        ("crf", "overlap", -1),
        ("crf", "batch_pieces", 0),
        ("mrc", "precision", "fp8"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(kind: str, setting: str, value: Any) -> None:
    factory, model = MODELS[kind]
    with pytest.raises(ClinieError, match=rf"CIE307.*{setting} must be .*, got {re.escape(repr(value))}"):
        spacy.blank("en").add_pipe(factory, config={"model": {**model, setting: value}})


def test_a_distance_below_zero_is_refused() -> None:
    with pytest.raises(ClinieError, match=r"CIE307.*max_distance"):
        spacy.blank("en").add_pipe("clinie_rel", config={"max_distance": -1})


def test_no_such_base_and_no_such_device() -> None:
    for name in ("no_such_package:model", "no.such.package:model", "..:model", "numpy:no_such_folder"):
        with pytest.raises(ClinieError, match="CIE302"):
            locate(name)
    for device in ("gpu", "", "cuda:99"):
        with pytest.raises(ClinieError, match="CIE312"):
            pick_device(device)


def test_an_empty_list_of_adapter_settings_still_means_adapters(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("crf", tiny_bert)
    nlp.remove_pipe("clinie_ner_encoder")
    nlp.add_pipe("clinie_ner_encoder", config={"model": {**MODELS["crf"][1], "encoder": tiny_bert, "lora": {}}})
    nlp.initialize(lambda: make_examples(nlp))
    module = modules_of(nlp.get_pipe("clinie_ner_encoder"))[-1]
    trained = [name for name, weight in module.encoder.named_parameters() if weight.requires_grad]
    assert trained and all("lora" in name for name in trained)


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 3), st.sampled_from("ABCD")), max_size=8),
    st.sampled_from([0, 1, 2, None]),
)
@settings(max_examples=80, deadline=None)
def test_candidates_are_all_pairs_that_the_schema_and_the_distance_allow(
    places: list[tuple[int, int, str]], distance: int | None
) -> None:
    relations = {
        "AB": {"pairs": [["A", "B"], ["B", "A"]]},
        "AA": {"pairs": [["A", "A"], ["A", "B"]], "symmetric": True},
        "BC": {"pairs": [["B", "C"]], "symmetric": True},
    }
    concepts = {"A": {}, "B": {}, "C": {}}
    pipe: Any = spacy.blank("en").add_pipe("clinie_rel", config={"max_distance": distance})
    pipe.schema = Schema.from_dict({"name": "n", "concepts": concepts, "relations": relations})
    words = ["one", "two", "three", ".", "Four", "five", "six", ".", "Seven", "eight", "nine", "."]
    doc = Doc(spacy.blank("en").vocab, words)
    set_concepts(doc, [Span(doc, start, min(start + length, 12), label) for start, length, label in places])
    spans, starts = get_spans(doc), sentence_starts(doc)
    sentence = [sum(start <= token for start in starts) for token in range(12)]
    expected = {}
    # Of several on the same words and of one type, the first stands for all.
    different = {(span.start, span.end, span.label_): i for i, span in reversed(list(enumerate(spans)))}
    for head, tail in permutations(sorted(different.values()), 2):
        first, second = sorted((spans[head], spans[tail]), key=lambda span: (span.start, span.end))
        apart = sentence[second.start] - sentence[first.end - 1]
        in_order = (spans[head].start, spans[head].end) <= (spans[tail].start, spans[tail].end)
        types = [spans[head].label_, spans[tail].label_]
        row = [
            in_order and (types in spec["pairs"] or types[::-1] in spec["pairs"])
            if spec.get("symmetric")
            else types in spec["pairs"]
            for spec in relations.values()
        ]
        if any(row) and (distance is None or apart <= distance):
            expected[head, tail] = row
    found = pipe.candidates(doc, spans)
    assert len(found.pairs) == len(set(found.pairs))
    assert {pair: row.tolist() for pair, row in zip(found.pairs, found.allowed, strict=True)} == expected


def _notes(examples: list[Example]) -> Any:
    from spacy_clinie.doc.interchange import note_from_doc

    return [note_from_doc(example.reference) for example in examples]


@pytest.mark.parametrize("kind", ["crf", "mrc", "one_pass", "marked_pairs"])
def test_a_window_without_room_for_text_is_refused(kind: str, tiny_bert: str, make_examples: Examples) -> None:
    factory, model = MODELS[kind]
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": tiny_settings(tiny_bert, **model | {"window": 5})})
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    with pytest.raises(ClinieError, match="CIE310"):
        nlp.update(examples, sgd=sgd)


def test_an_example_of_two_texts_is_refused_without_quoting_them(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("crf", tiny_bert)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    reference = examples[0].reference
    spaces = [bool(token.whitespace_) for token in reference]
    spaces[0] = not spaces[0]
    other = Doc(nlp.vocab, words=[token.text for token in reference], spaces=spaces)
    with pytest.raises(ClinieError, match="CIE462") as error:
        nlp.update([Example(other, reference)], sgd=sgd)
    assert "aspirin" not in str(error.value)
