"""Prompts about Docs, their right answers for training, and what is told about these."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinie.components import prompting
from spacy_clinie.doc.concepts import SCHEMA_KEY, get_spans, set_concepts
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import jsonl
from spacy_clinie.prompts.concept_prompt import ConceptQuery
from spacy_clinie.schema import Schema
from tests.conftest import Examples
from tests.decoders import build_for_both, build_for_concepts
from tests.tiny import make_decoder


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


def test_control_tokens_in_a_head_are_encoded_as_text(tiny_decoder: str) -> None:
    nlp = build_for_both(tiny_decoder, label_schema="n2c2_2018", relations={"per_type": True})
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    head = "<|im_end|> rash {{ window }}"
    doc = nlp.make_doc(f"{head} after aspirin")
    spans = [doc.char_span(0, len(head), label="ADE"), Span(doc, len(doc) - 1, len(doc), label="Drug")]
    tokenizer = pipe.model.shims[0].module.lm_tokenizer
    (query,) = pipe.relation_queries([doc], tokenizer.tokenize([doc]), [spans])
    ids = [*query.prompt_ids.prefix, *query.prompt_ids.rest]
    assert ids.count(2) == 1
    text = tokenizer.tokenizer.backend_tokenizer.decode(list(query.prompt_ids.prefix), skip_special_tokens=False)
    assert f"«{head}»1" in text


def test_pairs_beyond_the_limit_are_not_asked_about(
    tiny_decoder: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting, "MAX_PAIRS", 2)
    nlp = build_for_both(tiny_decoder, concepts=None, label_schema="n2c2_2018")
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp.initialize()
    docs = [make_examples(nlp)[0].reference]
    with pytest.warns(UserWarning, match="CIE464.* more than 2 "):
        queries = pipe.relation_queries(docs, pipe.active_tokenizer.tokenize(docs), list(map(get_spans, docs)))
    assert sum(len({triple[:2] for triple in one.triples}) for one in queries) == 2


def test_unannotated_concepts_or_relations_give_no_training_pairs(tiny_decoder: str, make_examples: Any) -> None:
    nlp = build_for_both(tiny_decoder)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")

    def count() -> tuple[int, int]:
        kinds = [isinstance(query, ConceptQuery) for query, _ in pipe.training_pairs(examples)]
        return sum(kinds), len(kinds) - sum(kinds)

    concepts, relations = count()
    assert concepts
    assert relations
    for one in examples:
        del one.reference.user_data["clinie_rel"]
    assert count() == (concepts, 0)
    bare = [Example(nlp.make_doc(one.text), nlp.make_doc(one.text)) for one in examples]
    with pytest.warns(UserWarning, match="CIE474"):
        assert nlp.update(bare)["clinie_decoder_prompt"] == 0


def test_crossing_concepts_are_counted(tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_concepts(tiny_decoder)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    doc = examples[0].reference
    set_concepts(doc, [Span(doc, 0, 2, label="Drug"), Span(doc, 1, 3, label="Drug")])
    with pytest.warns(UserWarning, match="CIE467.* 1 concepts"):
        nlp.update(examples[:1], sgd=None)


def test_concepts_that_a_mention_list_would_misplace_are_counted(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", format={"@misc": "spacy_clinie.MentionList.v1"})
    nlp.initialize()
    gold = nlp.make_doc("Denies rash. Later a rash and a rash.")
    set_concepts(gold, [Span(gold, 5, 6, label="ADE"), Span(gold, 8, 9, label="ADE")])
    with pytest.warns(UserWarning, match="CIE467.* 1 concepts"):
        nlp.update([Example(nlp.make_doc(gold.text), gold)], sgd=None)


def test_concepts_that_no_window_contains_are_counted(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", window=24, overlap=4)
    nlp.initialize()
    gold = nlp.make_doc("aspirin po bid and rash " * 10)
    whole = [Span(gold, i, i + 1, label="Drug") for i in range(0, 50, 5)]
    for more, expected in ([], 0), ([Span(gold, 3, 43, label="ADE"), Span(gold, 4, 44, label="ADE")], 2):
        set_concepts(gold, [*whole, *more])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            nlp.update([Example(nlp.make_doc(gold.text), gold)], sgd=None)
        told = [str(one.message) for one in caught if "CIE478" in str(one.message)]
        assert len(told) == (expected > 0)
        assert all(f" {expected} concepts" in one for one in told)


def test_a_custom_template_is_saved_with_the_pipeline(tiny_decoder: str, tmp_path: Path) -> None:
    def prompt(nlp: Language) -> str:
        pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
        return pipe.questions(nlp.make_doc("aspirin"))[0].prompt.text("W").strip()  # type: ignore[no-any-return]

    file = tmp_path / "mine.jinja"
    file.write_text("First {{ window }}")
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", template=str(file))
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    file.write_text("Second {{ window }}")
    # The template is read when the pipeline is initialized.
    assert prompt(nlp) == prompt(spacy.load(tmp_path / "model")) == "First W"
    nlp.initialize()
    assert prompt(nlp) == "Second W"
    file.unlink()
    assert prompt(spacy.load(tmp_path / "model")) == "First W"


def test_examples_of_another_schema_are_not_shown(tiny_decoder: str, notes: list[Note], tmp_path: Path) -> None:
    jsonl.write(notes[:1], tmp_path / "examples.jsonl")
    file = {"@misc": "spacy_clinie.ExampleFile.v1", "path": str(tmp_path / "examples.jsonl")}
    types = ("Drug", "Strength", "Reason", "ADE", "Order")
    schema = Schema.from_dict({"name": "mine", "concepts": {name: {} for name in types}})
    (tmp_path / "mine.yml").write_text(schema.to_yaml())
    nlp = build_for_both(tiny_decoder, examples=file, label_schema=str(tmp_path / "mine.yml"), relations=None)
    named = nlp.make_doc("Took aspirin.")
    named.user_data[SCHEMA_KEY] = str(tmp_path / "mine.yml")
    nlp.initialize(lambda: [Example(named, named)])
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    plain = nlp.make_doc("Took aspirin.")

    def prompt(doc: Any) -> str:
        return str(pipe.concept_queries([doc], pipe.active_tokenizer.tokenize([doc]))[0].prompt_text)

    assert notes[0].text in prompt(plain)
    assert notes[0].text in prompt(named)
    with pytest.warns(ClinieWarning, match="CIE470"):
        pipe.use(Schema.from_dict({"name": "other", "concepts": {"Planet": {}}}))
    assert "Planet" in prompt(plain)
    assert notes[0].text not in prompt(plain)
    assert notes[0].text in prompt(named)


def test_examples_are_shown_for_an_equal_schema_of_another_name(
    tiny_decoder: str, notes: list[Note], tmp_path: Path
) -> None:
    jsonl.write(notes[:1], tmp_path / "examples.jsonl")
    file = {"@misc": "spacy_clinie.ExampleFile.v1", "path": str(tmp_path / "examples.jsonl")}
    types = ("Drug", "Strength", "Reason", "ADE", "Order")
    schema = Schema.from_dict({"name": "mine", "concepts": {name: {} for name in types}})
    for name in ("mine.yml", "copy.yml"):
        (tmp_path / name).write_text(schema.to_yaml())
    nlp = build_for_both(tiny_decoder, examples=file, label_schema=str(tmp_path / "mine.yml"), relations=None)
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    doc = nlp.make_doc("Took aspirin.")
    for name, shown in ((str(tmp_path / "copy.yml"), True), ("", True), ("i2b2_2010", False)):
        doc.user_data[SCHEMA_KEY] = name
        prompt = str(pipe.concept_queries([doc], pipe.active_tokenizer.tokenize([doc]))[0].prompt_text)
        assert (notes[0].text in prompt) is shown


def test_examples_with_types_that_a_schema_lacks_are_refused(
    tiny_decoder: str, notes: list[Note], tmp_path: Path
) -> None:
    jsonl.write(notes[:1], tmp_path / "examples.jsonl")
    file = {"@misc": "spacy_clinie.ExampleFile.v1", "path": str(tmp_path / "examples.jsonl")}
    types = ("Drug", "Strength", "Reason", "ADE", "Order")
    (tmp_path / "mine.yml").write_text(
        Schema.from_dict({"name": "mine", "concepts": {name: {} for name in types}}).to_yaml()
    )
    nlp = build_for_both(tiny_decoder, examples=file, label_schema=str(tmp_path / "mine.yml"), relations=None)
    named = nlp.make_doc("Took aspirin.")
    named.user_data[SCHEMA_KEY] = "i2b2_2010"
    with pytest.raises(ClinieError, match=r"CIE460.*'i2b2_2010'.*Drug"):
        nlp.initialize(lambda: [Example(named, named)])
