"""Relations by a language model, whose prompts number the concepts."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from spacy_clinie.components import prompting
from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.relations import get_relations, set_relations
from spacy_clinie.prompts.concept_prompt import ConceptQuery
from spacy_clinie.schema import Schema
from tests.conftest import Examples
from tests.decoders import build_for_both
from tests.encoders import assert_same
from tests.scripted import learn_by_heart, recite


def related(doc: spacy.tokens.Doc) -> set[tuple[str, str, str]]:
    return {(rel.head.text, rel.label, rel.tail.text) for rel in get_relations(doc)}


@pytest.mark.parametrize("each", [False, True], ids=["instruct", "mrc"])
def test_the_right_answer_gives_the_gold_relations(each: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(tiny_decoder, relations={"each": each})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    recite(nlp.get_pipe("clinie_decoder_prompt"), examples)
    scores = nlp.evaluate(examples)
    assert (scores["concepts_f"], scores["relations_f"]) == (1.0, 1.0)


def test_both_tasks_can_be_learned_and_survive_saving(
    tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    brief = {task: {"template": f"{task}_brief.v1"} for task in ("concepts", "relations")}
    nlp = build_for_both(tiny_decoder, **brief)
    examples = make_examples(nlp)[:2]
    learn_by_heart(nlp, examples, rate=5e-3)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    for example in examples:
        assert_same(again(example.text), nlp(example.text))


def test_prompts_for_relations_that_are_too_long_are_counted(tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(tiny_decoder, concepts=None)
    nlp.initialize(lambda: make_examples(nlp))
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    docs = [example.reference for example in make_examples(nlp)]
    queries = pipe.relation_queries(docs, pipe.active_tokenizer.tokenize(docs), map(get_spans, docs))
    lengths = [len(query.prompt_ids.prefix) + len(query.prompt_ids.rest) for query in queries]
    pipe.model.shims[0].module.lm_tokenizer.context_length = min(lengths)
    with pytest.warns(UserWarning, match="CIE331"):
        list(pipe.pipe(docs, batch_size=1))
    counts = [doc.user_data["clinie_rejected"] for doc in docs if "clinie_rejected" in doc.user_data]
    assert counts == [{"unanswered": 1}] * len(queries)
    assert pipe.rejected == {"unanswered": len(queries)}


def test_relations_between_concepts_of_other_components(tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(tiny_decoder, before=True, concepts=None)
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
    # Some of the ends can be entities of another component.
    half = nlp.make_doc(examples[0].text)
    spans = [span for span in get_spans(doc) if span.label_ != "Order"]
    half.ents = [half.char_span(span.start_char, span.end_char, label=span.label_) for span in spans if len(span) == 1]
    set_concepts(
        half, [half.char_span(one.start_char, one.end_char, label=one.label_) for one in spans if len(one) > 1]
    )
    assert related(nlp.get_pipe("clinie_decoder_prompt")(half)) == related(doc)


@pytest.mark.parametrize("each", [False, True], ids=["instruct", "mrc"])
@pytest.mark.usefixtures("babbling")
def test_no_answer_leaves_the_schema(each: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(
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


def test_control_tokens_in_a_head_are_encoded_as_text(tiny_decoder: str) -> None:
    nlp = build_for_both(tiny_decoder, label_schema="n2c2_2018", relations={"each": True})
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
