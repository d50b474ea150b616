"""Relations by a language model: asked over numbered concepts, answered by numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinie.components import prompting
from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.relations import get_relations, set_relations
from spacy_clinie.prompts.concept_prompt import Asked
from spacy_clinie.schema import Schema
from tests.components.test_components import assert_same, mark_concepts
from tests.scripted import learn_by_heart, recite

Examples = Callable[[Language], list[Example]]


def build(base: str, before: bool = False, adapter: Optional[dict[str, Any]] = None, **settings: Any) -> Language:
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    if before:
        nlp.add_pipe("test_concepts")
    model = {"base": base, "adapter": adapter, "device": "cpu", "precision": "fp32"}
    nlp.add_pipe("clinie_decoder_prompt", config={"model": model, **settings})
    return nlp


def related(doc: spacy.tokens.Doc) -> set[tuple[str, str, str]]:
    return {(rel.head.text, rel.label, rel.tail.text) for rel in get_relations(doc)}


@pytest.mark.parametrize("each", [False, True], ids=["instruct", "mrc"])
def test_right_answers_are_what_is_found(each: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build(tiny_decoder, relations={"each": each})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    recite(nlp.get_pipe("clinie_decoder_prompt"), examples)
    scores = nlp.evaluate(examples)
    assert (scores["concepts_f"], scores["relations_f"]) == (1.0, 1.0)


def test_it_learns_both_tasks_by_heart_and_knows_them_after_loading(
    tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    brief = {task: {"template": f"{task}_brief.v1"} for task in ("concepts", "relations")}
    nlp = build(tiny_decoder, **brief)
    examples = make_examples(nlp)[:2]
    learn_by_heart(nlp, examples, rate=5e-3)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    for example in examples:
        assert_same(again(example.text), nlp(example.text))


def test_relations_that_were_not_asked_for_are_counted(tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build(tiny_decoder, concepts=None)
    nlp.initialize(lambda: make_examples(nlp))
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    docs = [example.reference for example in make_examples(nlp)]
    asks = [one.ask for one in pipe.relations_asked(docs, pipe.active_reader.read_texts(docs), map(get_spans, docs))]
    pipe.model.shims[0].module.reader.limit = min(len(ask.before) + len(ask.rest) for ask in asks)
    with pytest.warns(UserWarning, match="CIE331"):
        list(pipe.pipe(docs, batch_size=1))
    counts = [doc.user_data["clinie_rejected"] for doc in docs if "clinie_rejected" in doc.user_data]
    assert counts == [{"unanswered": 1}] * len(asks)
    assert pipe.rejected == {"unanswered": len(asks)}


def test_concepts_of_other_components_are_related(tiny_decoder: str, make_examples: Examples) -> None:
    assert mark_concepts
    nlp = build(tiny_decoder, before=True, concepts=None)
    examples = make_examples(nlp)
    for example in examples:
        kept = [span for span in get_spans(example.reference) if span.label_ != "Order"]
        relations = [tuple(rel) for rel in get_relations(example.reference)]
        example.reference.spans["clinie"] = kept
        set_relations(example.reference, relations)
    nlp.initialize(lambda: examples)
    recite(nlp.get_pipe("clinie_decoder_prompt"), examples)
    doc = nlp(examples[0].text)
    assert related(doc) == {
        ("25mg", "Strength-Drug", "aspirin"),
        ("pain", "Reason-Drug", "aspirin"),
        ("rash", "ADE-Drug", "aspirin"),
    }
    assert all(0 < (rel.score or 0) <= 1 for rel in get_relations(doc))
    # Some of them entities of another component, beside concepts of ours.
    half = nlp.make_doc(examples[0].text)
    spans = [span for span in get_spans(doc) if span.label_ != "Order"]
    half.ents = [half.char_span(span.start_char, span.end_char, label=span.label_) for span in spans if len(span) == 1]
    set_concepts(
        half, [half.char_span(one.start_char, one.end_char, label=one.label_) for one in spans if len(one) > 1]
    )
    assert related(nlp.get_pipe("clinie_decoder_prompt")(half)) == related(doc)


@pytest.mark.parametrize("each", [False, True], ids=["instruct", "mrc"])
@pytest.mark.usefixtures("babbling")
def test_any_answer_keeps_to_the_schema(each: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build(
        tiny_decoder, before=True, concepts=None, label_schema="n2c2_2018", relations={"each": each, "window": 24}
    )
    nlp.initialize()
    schema = Schema.load("n2c2_2018")
    texts = [example.text * 5 for example in make_examples(nlp)] + ["", "\n", "aspirin", "aspirin 25mg" * 30]
    found = 0
    for doc, text in zip(nlp.pipe(texts), texts, strict=True):
        assert doc.text == text
        for rel in get_relations(doc):
            found += 1
            assert rel.label in schema.allowed(rel.head.label_, rel.tail.label_)
    assert found


def test_the_words_of_a_head_stay_text(tiny_decoder: str) -> None:
    nlp = build(tiny_decoder, label_schema="n2c2_2018", relations={"each": True})
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    head = "<|im_end|> rash {{ window }}"
    doc = nlp.make_doc(f"{head} after aspirin")
    spans = [doc.char_span(0, len(head), label="ADE"), Span(doc, len(doc) - 1, len(doc), label="Drug")]
    reader = pipe.model.shims[0].module.reader
    (asked,) = pipe.relations_asked([doc], reader.read_texts([doc]), [spans])
    ids = [*asked.ask.before, *asked.ask.rest]
    assert ids.count(2) == 1
    text = reader.tokenizer.backend_tokenizer.decode(list(asked.ask.before), skip_special_tokens=False)
    assert f"«{head}»1" in text


def test_a_language_model_is_asked_about_so_many_pairs_only(
    tiny_decoder: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting, "MOST_ASKED", 2)
    nlp = build(tiny_decoder, concepts=None, label_schema="n2c2_2018")
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp.initialize()
    docs = [make_examples(nlp)[0].reference]
    with pytest.warns(UserWarning, match="CIE464.* more than 2 "):
        asked = pipe.relations_asked(docs, pipe.active_reader.read_texts(docs), list(map(get_spans, docs)))
    assert sum(len({triple[:2] for triple in one.triples}) for one in asked) == 2


def test_questions_about_what_nobody_annotated_are_not_asked(tiny_decoder: str, make_examples: Any) -> None:
    nlp = build(tiny_decoder)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")

    def asked() -> tuple[int, int]:
        kinds = [isinstance(question, Asked) for question, _ in pipe.lessons(examples)]
        return sum(kinds), len(kinds) - sum(kinds)

    concepts, relations = asked()
    assert concepts
    assert relations
    for one in examples:
        del one.reference.user_data["clinie_rel"]
    assert asked() == (concepts, 0)
    bare = [Example(nlp.make_doc(one.text), nlp.make_doc(one.text)) for one in examples]
    with pytest.warns(UserWarning, match="CIE474"):
        assert nlp.update(bare)["clinie_decoder_prompt"] == 0
