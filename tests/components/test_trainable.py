"""What our trainable components share: labels and schemas, training, and what is told about data."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinie.doc.concepts import SCHEMA_KEY, get_spans, set_concepts
from spacy_clinie.doc.interchange import doc_from_note, note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.schema import Schema
from tests.conftest import Examples, tiny_settings, weights_of
from tests.encoders import MODELS, build, train
from tests.scripted import agree, module_of, recite


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


def test_what_nobody_looked_at_is_told(tiny_bert: str) -> None:
    nlp = build("crf", tiny_bert)
    partly = Example.from_dict(nlp.make_doc("Took aspirin for pain."), {"entities": ["-", "U-Drug", "-", "-", "-"]})
    with pytest.warns(ClinieWarning, match="CIE485.* 1|1 Docs"):
        nlp.initialize(lambda: [partly])


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


@pytest.mark.parametrize("factory, kind", [("clinie_rel", "crf"), ("clinie_ner_encoder", "one_pass")])
def test_an_architecture_for_another_task_is_refused(factory: str, kind: str, tiny_bert: str) -> None:
    with pytest.raises(ClinieError, match="CIE465"):
        spacy.blank("en").add_pipe(factory, config={"model": {**MODELS[kind][1], "encoder": tiny_bert}})


def _notes(examples: list[Example]) -> Any:
    return [note_from_doc(example.reference) for example in examples]


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


SCHEMA_TYPES = {"drugs": ("Drug", "Strength"), "harm": ("Reason", "ADE")}
TAGGERS = ["crf", "softmax", "mrc", "tok2vec"]


@pytest.fixture
def named(tmp_path: Path) -> dict[str, str]:
    """Files of two schemas."""
    files = {}
    for name, types in SCHEMA_TYPES.items():
        schema = Schema.from_dict({"name": name, "concepts": {label: {} for label in types}})
        (tmp_path / f"{name}.yml").write_text(schema.to_yaml())
        files[name] = str(tmp_path / f"{name}.yml")
    return files


def build_tagger(kind: str, encoder: str) -> Language:
    if kind != "tok2vec":
        return build(kind, encoder)
    nlp = spacy.blank("en")
    tok2vec = {"@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 32, "depth": 1}
    tok2vec |= {"embed_size": 200, "window_size": 1, "maxout_pieces": 2, "subword_features": True}
    model = {"@architectures": "spacy_clinie.Tok2VecTagger.v1", "tok2vec": tok2vec}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    return nlp


def mix(nlp: Language, notes: list[Note], named: dict[str, str]) -> list[Example]:
    """Every note three times with the types of one schema, and once with those of the other."""
    examples = []
    for name, own_notes in (("drugs", notes * 3), ("harm", notes)):
        types = SCHEMA_TYPES[name]
        for note in own_notes:
            own = Note(note.id, note.text, [one for one in note.concepts if one.label in types])
            gold = doc_from_note(nlp.make_doc, own)[0]
            doc = nlp.make_doc(note.text)
            doc.user_data[SCHEMA_KEY] = gold.user_data[SCHEMA_KEY] = named[name]
            examples.append(Example(doc, gold))
    return examples


def found(nlp: Language, text: str, name: str | None = None) -> set[str]:
    doc = nlp.make_doc(text)
    if name is not None:
        doc.user_data[SCHEMA_KEY] = name
    return {span.label_ for span in get_spans(nlp(doc))}


@pytest.mark.parametrize("kind", TAGGERS)
def test_what_a_doc_is_read_for_is_what_its_schema_names(
    kind: str, tiny_bert: str, notes: list[Note], named: dict[str, str], tmp_path: Path
) -> None:
    nlp = build_tagger(kind, tiny_bert)
    nlp.initialize(lambda: mix(nlp, notes, named))
    agree(nlp.get_pipe("clinie_ner_encoder"))
    nlp.to_disk(tmp_path / "model")
    text = notes[0].text
    again = spacy.load(tmp_path / "model")
    for pipeline in (nlp, again):
        assert found(pipeline, text, named["drugs"]) == set(SCHEMA_TYPES["drugs"])
        assert found(pipeline, text, named["harm"]) == set(SCHEMA_TYPES["harm"])
        assert found(pipeline, text) == {*SCHEMA_TYPES["drugs"], *SCHEMA_TYPES["harm"]}
    for file in named.values():
        Path(file).unlink()
    again = spacy.load(tmp_path / "model")
    assert found(again, text, named["harm"]) == set(SCHEMA_TYPES["harm"])
    # Each type has its own answers, in whatever order a schema names it.
    if kind != "mrc":
        for label in SCHEMA_TYPES["harm"]:
            agree(again.get_pipe("clinie_ner_encoder"), label)
            assert found(again, text, named["harm"]) == found(again, text) == {label}
            assert found(again, text, named["drugs"]) == set()


@pytest.mark.parametrize("kind", TAGGERS)
def test_what_a_corpus_does_not_annotate_is_not_learnt_as_absent(
    kind: str, tiny_bert: str, notes: list[Note], named: dict[str, str]
) -> None:
    nlp = build_tagger(kind, tiny_bert)
    examples = mix(nlp, notes, named)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_ner_encoder")
    for name, types in SCHEMA_TYPES.items():
        own = [one for one in examples if one.reference.user_data[SCHEMA_KEY] == named[name]]
        items = [pipe._item(one) for one in own]
        gold = [pipe._gold(one, item) for one, item in zip(own, items, strict=True)]
        assert {item.labels for item in items} == {types}
        assert {kind for spans in gold for *_, kind in spans} == {0, 1}
        if kind == "mrc":  # and no question is asked about other types
            assert all(len(item.questions) == len(types) for item in items)
            continue
        head = module_of(pipe).head
        head.zero_grad()
        pipe.update(own, sgd=False)
        learnt = head.output.weight.grad.view(head.kinds, -1).abs().amax(-1) > 0
        assert {label for label, moved in zip(pipe.labels, learnt, strict=True) if moved} == set(types)


def test_a_tagger_refuses_types_that_it_never_learnt(tiny_bert: str, notes: list[Note], named: dict[str, str]) -> None:
    nlp = build("crf", tiny_bert)
    nlp.initialize(lambda: mix(nlp, notes, named))
    with pytest.raises(ClinieError, match="CIE315"):
        found(nlp, "Took aspirin.", "radgraph")


def test_questions_are_asked_about_types_that_were_never_learnt(tiny_bert: str, named: dict[str, str]) -> None:
    _, model = MODELS["mrc"]
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "clinie_ner_encoder", config={"model": tiny_settings(tiny_bert, **model), "label_schema": named["drugs"]}
    )
    nlp.initialize()
    head = nlp.get_pipe("clinie_ner_encoder").model.shims[0].module.head  # type: ignore[attr-defined]
    for layer in (head.start, head.end, head.span):
        layer.bias.data.fill_(50.0)
    assert found(nlp, "Took aspirin.") == set(SCHEMA_TYPES["drugs"])
    assert found(nlp, "Took aspirin.", named["harm"]) == set(SCHEMA_TYPES["harm"])


@pytest.mark.parametrize("per_type", [False, True], ids=["instruct", "mrc"])
def test_one_adapter_reads_by_the_schema_that_a_doc_names(
    per_type: bool,
    tiny_decoder: str,
    notes: list[Note],
    named: dict[str, str],
    tmp_path: Path,
) -> None:
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    model: dict[str, Any] = {"base": tiny_decoder, "device": "cpu", "precision": "fp32"}
    settings = {"model": model, "concepts": {"per_type": per_type}, "label_schema": named["drugs"]}
    nlp.add_pipe("clinie_decoder_prompt", config=settings)
    examples = mix(nlp, notes, named)
    own = [Example(one.predicted, one.reference.copy()) for one in examples[:1]]
    del own[0].reference.user_data[SCHEMA_KEY]
    nlp.initialize(lambda: examples)
    recite(nlp.get_pipe("clinie_decoder_prompt"), own + examples)
    text = notes[0].text
    assert found(nlp, text) == found(nlp, text, named["drugs"]) == set(SCHEMA_TYPES["drugs"])
    assert found(nlp, text, named["harm"]) == set(SCHEMA_TYPES["harm"])
    nlp.to_disk(tmp_path / "model")
    for file in named.values():
        Path(file).unlink()
    again = spacy.load(tmp_path / "model")
    recite(again.get_pipe("clinie_decoder_prompt"), examples)
    assert found(again, text, named["harm"]) == set(SCHEMA_TYPES["harm"])


def test_training_data_with_other_types_than_their_schema_are_refused(
    tiny_bert: str, notes: list[Note], named: dict[str, str]
) -> None:
    nlp = build("crf", tiny_bert)
    examples = mix(nlp, notes, {"drugs": named["harm"], "harm": named["harm"]})
    with pytest.raises(ClinieError, match="CIE463"):
        nlp.initialize(lambda: examples)


def test_a_file_that_is_there_counts_more_than_what_was_saved(
    tiny_bert: str, notes: list[Note], named: dict[str, str], tmp_path: Path
) -> None:
    nlp = build("mrc", tiny_bert)
    nlp.initialize(lambda: mix(nlp, notes, named))
    nlp.to_disk(tmp_path / "model")
    doc = nlp.make_doc("Took aspirin.")
    doc.user_data[SCHEMA_KEY] = named["drugs"]
    pipes: list[Any] = [nlp.get_pipe("clinie_ner_encoder")]
    Path(named["drugs"]).write_text("name: new\nconcepts:\n  Planet: {}\n")
    pipes.append(spacy.load(tmp_path / "model").get_pipe("clinie_ner_encoder"))
    assert [list(pipe.schema_of(doc).concepts) for pipe in pipes] == [list(SCHEMA_TYPES["drugs"]), ["Planet"]]
    doc.user_data[SCHEMA_KEY] = {"name": "no name"}
    with pytest.raises(ClinieError, match="CIE471"):
        nlp(doc)


def test_a_schema_that_is_refused_changes_nothing(tiny_bert: str, named: dict[str, str]) -> None:
    nlp = build("crf", tiny_bert, label_schema=named["drugs"])
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_ner_encoder")
    with pytest.raises(ClinieError, match="CIE315"):
        pipe.use(Schema.load("radgraph"))
    assert pipe.labels == SCHEMA_TYPES["drugs"]
    nlp("Took aspirin.")


def test_a_schema_on_the_predicted_doc_alone_does_not_count(
    tiny_decoder: str,
    notes: list[Note],
    named: dict[str, str],
) -> None:
    nlp = spacy.blank("en")
    model: dict[str, Any] = {"base": tiny_decoder, "device": "cpu", "precision": "fp32"}
    nlp.add_pipe("clinie_decoder_prompt", config={"model": model, "label_schema": named["drugs"], "relations": None})
    own = Note("a", notes[0].text, [one for one in notes[0].concepts if one.label in SCHEMA_TYPES["drugs"]])
    doc = nlp.make_doc(own.text)
    doc.user_data[SCHEMA_KEY] = named["harm"]
    example = Example(doc, doc_from_note(nlp.make_doc, own)[0])
    sgd = nlp.initialize(lambda: [example])
    assert nlp.update([example], sgd=sgd)["clinie_decoder_prompt"] > 0


def test_a_saved_schema_goes_by_its_own_name_where_its_file_is_gone(
    tiny_bert: str, notes: list[Note], named: dict[str, str], tmp_path: Path
) -> None:
    nlp = build("mrc", tiny_bert)
    examples = mix(nlp, notes, named)
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "model")
    for file in named.values():
        Path(file).unlink()
    loaded = spacy.load(tmp_path / "model")
    docs = []
    for name in (named["harm"], "harm"):
        docs.append(loaded.make_doc(notes[0].text))
        docs[-1].user_data[SCHEMA_KEY] = name
    schemas = [loaded.get_pipe("clinie_ner_encoder").schema_of(doc) for doc in docs]  # type: ignore[attr-defined]
    assert [list(schema.concepts) for schema in schemas] == [["Reason", "ADE"]] * 2
    docs[0].user_data[SCHEMA_KEY] = "nobody"
    with pytest.raises(ClinieError, match="CIE101"):
        loaded(docs[0])
