"""Docs that name the schema they are to be read with: one component, many corpora."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import SCHEMA_KEY, get_spans
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema
from tests.conftest import tiny_settings
from tests.encoders import MODELS, build
from tests.scripted import agree, last_layer, module_of, recite

TYPES = {"drugs": ("Drug", "Strength"), "harm": ("Reason", "ADE")}
KINDS = ["crf", "softmax", "mrc", "tok2vec"]


@pytest.fixture
def named(tmp_path: Path) -> dict[str, str]:
    """Files of two schemas."""
    files = {}
    for name, types in TYPES.items():
        schema = Schema.from_dict({"name": name, "concepts": {label: {} for label in types}})
        (tmp_path / f"{name}.yml").write_text(schema.to_yaml())
        files[name] = str(tmp_path / f"{name}.yml")
    return files


def make(kind: str, encoder: str) -> Language:
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
        types = TYPES[name]
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_doc_is_read_for_is_what_its_schema_names(
    kind: str, tiny_bert: str, notes: list[Note], named: dict[str, str], tmp_path: Path
) -> None:
    nlp = make(kind, tiny_bert)
    nlp.initialize(lambda: mix(nlp, notes, named))
    agree(nlp.get_pipe("clinie_ner_encoder"))
    nlp.to_disk(tmp_path / "model")
    text = notes[0].text
    again = spacy.load(tmp_path / "model")
    for pipeline in (nlp, again):
        assert found(pipeline, text, named["drugs"]) == set(TYPES["drugs"])
        assert found(pipeline, text, named["harm"]) == set(TYPES["harm"])
        assert found(pipeline, text) == {*TYPES["drugs"], *TYPES["harm"]}
    for file in named.values():
        Path(file).unlink()
    again = spacy.load(tmp_path / "model")
    assert found(again, text, named["harm"]) == set(TYPES["harm"])
    # Each type has its own answers, in whatever order a schema names it.
    if kind != "mrc":
        for label in TYPES["harm"]:
            agree(again.get_pipe("clinie_ner_encoder"), label)
            assert found(again, text, named["harm"]) == found(again, text) == {label}
            assert found(again, text, named["drugs"]) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_corpus_does_not_annotate_is_not_learnt_as_absent(
    kind: str, tiny_bert: str, notes: list[Note], named: dict[str, str]
) -> None:
    nlp = make(kind, tiny_bert)
    examples = mix(nlp, notes, named)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_ner_encoder")
    for name, types in TYPES.items():
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
    assert found(nlp, "Took aspirin.") == set(TYPES["drugs"])
    assert found(nlp, "Took aspirin.", named["harm"]) == set(TYPES["harm"])


@pytest.mark.parametrize("each", [False, True], ids=["instruct", "mrc"])
def test_one_adapter_reads_by_the_schema_that_a_doc_names(
    each: bool,
    tiny_decoder: str,
    notes: list[Note],
    named: dict[str, str],
    tmp_path: Path,
) -> None:
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    model: dict[str, Any] = {"base": tiny_decoder, "device": "cpu", "precision": "fp32"}
    settings = {"model": model, "concepts": {"each": each}, "label_schema": named["drugs"]}
    nlp.add_pipe("clinie_decoder_prompt", config=settings)
    examples = mix(nlp, notes, named)
    own = [Example(one.predicted, one.reference.copy()) for one in examples[:1]]
    del own[0].reference.user_data[SCHEMA_KEY]
    nlp.initialize(lambda: examples)
    recite(nlp.get_pipe("clinie_decoder_prompt"), own + examples)
    text = notes[0].text
    assert found(nlp, text) == found(nlp, text, named["drugs"]) == set(TYPES["drugs"])
    assert found(nlp, text, named["harm"]) == set(TYPES["harm"])
    nlp.to_disk(tmp_path / "model")
    for file in named.values():
        Path(file).unlink()
    again = spacy.load(tmp_path / "model")
    recite(again.get_pipe("clinie_decoder_prompt"), examples)
    assert found(again, text, named["harm"]) == set(TYPES["harm"])


def test_training_data_with_other_types_than_their_schema_are_refused(
    tiny_bert: str, notes: list[Note], named: dict[str, str]
) -> None:
    nlp = build("crf", tiny_bert)
    examples = mix(nlp, notes, {"drugs": named["harm"], "harm": named["harm"]})
    with pytest.raises(ClinieError, match="CIE463"):
        nlp.initialize(lambda: examples)


@pytest.mark.parametrize("kind", ["one_pass", "marked_pairs", "pair_mrc", "tok2vec_pairs"])
def test_relations_are_learnt_and_looked_for_by_the_schema_that_a_doc_names(
    kind: str, tiny_bert: str, notes: list[Note], tmp_path: Path
) -> None:
    files = {}
    for label, head in (("ADE-Drug", "ADE"), ("Reason-Drug", "Reason"), ("Planet-Drug", "Planet")):
        # In another order than in the union of both, so that an index is not taken for a name.
        record = {"name": label, "concepts": {"Drug": {}, head: {}}, "relations": {label: {"pairs": [[head, "Drug"]]}}}
        files[label] = str(tmp_path / f"{label}.yml")
        Path(files[label]).write_text(Schema.from_dict(record).to_yaml())
    nlp = build(kind, tiny_bert)
    examples = []
    for label, repeat in (("ADE-Drug", 2), ("Reason-Drug", 1)):
        for note in notes * repeat:
            types = ("Drug", label.split("-")[0])
            concepts = [one for one in note.concepts if one.label in types]
            own = Note(note.id, note.text, concepts, [one for one in note.relations if one.label == label])
            gold = doc_from_note(nlp.make_doc, own)[0]
            gold.user_data[SCHEMA_KEY] = files[label]
            examples.append(Example(nlp.make_doc(note.text), gold))
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_rel")

    def related(name: str | None) -> set[str]:
        doc = nlp.make_doc(notes[0].text)
        if name is not None:
            doc.user_data[SCHEMA_KEY] = name
        return {relation.label for relation in get_relations(nlp(doc))}

    output = last_layer(module_of(pipe).head)
    for label in ("ADE-Drug", "Reason-Drug"):
        own = [one for one in examples if one.reference.user_data[SCHEMA_KEY] == files[label]]
        items, gold = zip(*map(pipe.gold, own), strict=True)
        assert {tuple(item.schema.relations) for item in items} == {(label,)}
        assert {answer for answers in gold for answer in answers.tolist()} == {1}
        if kind != "pair_mrc":  # which asks about these only
            output.zero_grad()
            pipe.update(own, sgd=False)
            moved = output.weight.grad.abs().amax(-1) > 0
            assert moved.tolist() == [True, *(one == label for one in pipe.labels)]
    agree(pipe)
    assert related(files["ADE-Drug"]) == {"ADE-Drug"}
    assert related(files["Reason-Drug"]) == {"Reason-Drug"}
    assert related(None) == {"ADE-Drug", "Reason-Drug"}
    if kind == "pair_mrc":
        assert related(files["Planet-Drug"]) == set()  # nothing there can be the head
    else:
        agree(pipe, "Reason-Drug")
        assert related(None) == related(files["Reason-Drug"]) == {"Reason-Drug"}
        assert related(files["ADE-Drug"]) == set()
        with pytest.raises(ClinieError, match="CIE315"):
            related(files["Planet-Drug"])


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
    assert [list(pipe.schema_of(doc).concepts) for pipe in pipes] == [list(TYPES["drugs"]), ["Planet"]]
    doc.user_data[SCHEMA_KEY] = {"name": "no name"}
    with pytest.raises(ClinieError, match="CIE471"):
        nlp(doc)


def test_a_schema_that_is_refused_changes_nothing(tiny_bert: str, named: dict[str, str]) -> None:
    nlp = build("crf", tiny_bert, label_schema=named["drugs"])
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_ner_encoder")
    with pytest.raises(ClinieError, match="CIE315"):
        pipe.use(Schema.load("radgraph"))
    assert pipe.labels == TYPES["drugs"]
    nlp("Took aspirin.")


def test_a_schema_on_the_predicted_doc_alone_does_not_count(
    tiny_decoder: str,
    notes: list[Note],
    named: dict[str, str],
) -> None:
    nlp = spacy.blank("en")
    model: dict[str, Any] = {"base": tiny_decoder, "device": "cpu", "precision": "fp32"}
    nlp.add_pipe("clinie_decoder_prompt", config={"model": model, "label_schema": named["drugs"], "relations": None})
    own = Note("a", notes[0].text, [one for one in notes[0].concepts if one.label in TYPES["drugs"]])
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
