"""`clinie_decoder_prompt` with tiny random language models."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.training import Example
from thinc.config import ConfigValidationError
from transformers import AutoModelForCausalLM

from spacy_clinie.doc.concepts import get_scores, get_spans, set_concepts
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.relations import get_relations, set_relations
from spacy_clinie.errors import ClinieError
from spacy_clinie.prompts.constraints import ListConstraint, Unconstrained
from spacy_clinie.schema import Schema
from tests.conftest import Examples
from tests.decoders import FORMATS, HOSTILE, build_for_both, build_for_concepts
from tests.encoders import assert_same
from tests.scripted import babble, learn_by_heart, module_of, recite, write
from tests.tiny import make_decoder


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("per_type", [False, True], ids=["instruct", "mrc"])
def test_the_right_answer_gives_the_gold_concepts_also_after_loading(
    form: str, per_type: bool, tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build_for_concepts(tiny_decoder, format={"@misc": form}, per_type=per_type)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    weights = module_of(again.get_pipe("clinie_decoder_prompt")).state_dict()
    for name, weight in module_of(nlp.get_pipe("clinie_decoder_prompt")).state_dict().items():
        assert weight.equal(weights[name])
    for pipeline in (nlp, again):
        # `recite` knows the prompts of training only, so those of prediction must be the same.
        recite(pipeline.get_pipe("clinie_decoder_prompt"), examples)
        assert pipeline.evaluate(examples)["concepts_f"] == 1.0


@pytest.mark.usefixtures("babbling")
@pytest.mark.parametrize("form", FORMATS)
def test_unlikely_mentions_are_rejected_and_counted(form: str, tiny_decoder: str) -> None:
    text = "Took aspirin 25mg for pain. Then developed rash and took morphine."
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", format={"@misc": form})
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp.initialize()
    everything = pipe.predict([nlp.make_doc(text)])[0].concepts
    scores = sorted(one.score for one in everything)
    assert len(scores) > 1
    pipe.concepts = replace(pipe.concepts, threshold=scores[1])
    doc = nlp(text)
    kept = sorted(score or 0 for score in get_scores(doc))
    assert kept == pytest.approx(scores[1:])
    assert doc.user_data["clinie_rejected"] == pipe.rejected == {"unlikely": 1}
    assert pipe.predict([nlp.make_doc("")])[0].rejected == {}


class NeverEnding(ListConstraint):
    """Ends only if nothing else is allowed."""

    def allowed(self) -> list[int]:
        choices = super().allowed()
        return choices if choices == [self.end] else [token for token in choices if token != self.end]


def test_a_score_is_the_probability_among_all_tokens(tiny_decoder: str) -> None:
    """With one label, which is not written, a mention is its words and a mark. A plain forward pass scores both."""
    nlp = build_for_concepts(tiny_decoder, format={"@misc": "spacy_clinie.MentionList.v1"}, per_type=True)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    pipe.schema = Schema.from_dict({"name": "one", "concepts": {"Drug": {}}})
    nlp.initialize()
    module = pipe.model.shims[0].module
    doc = nlp.make_doc("aspirin")
    (query,) = pipe.concept_queries([doc], module.lm_tokenizer.tokenize([doc]))
    marks = module.lm_tokenizer.codec.marks
    constraint = NeverEnding(query.ids, query.question.labels, marks.close, marks.end)
    module.generate([query.prompt_ids], [constraint])
    ids = [*query.ids.id_list, marks.close, marks.newline]
    whole = torch.tensor([[*query.prompt_ids.prefix, *query.prompt_ids.rest, *ids]])
    with torch.inference_mode():
        logs = module.model(whole).logits[0, -len(ids) - 1 : -1].log_softmax(-1)
    likelihood = float(logs[range(len(ids)), ids].sum().exp())
    assert [one.score for one in constraint.found] == [pytest.approx(likelihood, rel=1e-3, abs=0)]


_words = [*"ab 1.\n«»<|>é😀\u0301\x00\t\u200b", "aspirin ", "rash ", "<|im_end|>", " 25mg"]
_texts = st.lists(st.sampled_from(_words), max_size=30).map("".join)


@pytest.fixture(scope="module")
def pipelines(tiny_decoder: str) -> list[Language]:
    made = []
    for form in FORMATS:
        for per_type in (False, True):
            nlp = build_for_concepts(
                tiny_decoder, "i2b2_2010", format={"@misc": form}, per_type=per_type, window=16, overlap=4
            )
            nlp.initialize()
            made.append(nlp)
    return made


@given(text=_texts)
@settings(max_examples=40, deadline=None)
def test_every_mention_is_the_text_at_its_offsets(text: str, pipelines: list[Language]) -> None:
    """Whatever a model answers."""
    for nlp in pipelines:
        module = module_of(nlp.get_pipe("clinie_decoder_prompt"))
        module.generate = partial(babble, module)
        doc = nlp(text)
        assert doc.text == text
        for span in get_spans(doc):
            assert span.label_ in nlp.get_pipe("clinie_decoder_prompt").labels  # type: ignore[attr-defined]
            assert text[span.start_char : span.end_char] == span.text
            assert span.text.strip()


@pytest.mark.parametrize("form", FORMATS)
def test_mentions_of_free_text_answers_are_looked_up_in_the_text(
    form: str, tiny_decoder: str, make_examples: Examples
) -> None:
    nlp = build_for_concepts(tiny_decoder, format={"@misc": form}, grounded=False)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    recite(pipe, examples)
    assert nlp.evaluate(examples)["concepts_f"] == 1.0
    assert not pipe.rejected
    # With the answers about other texts, mentions that the text contains are found, and the others are counted.
    texts = ["Gave morphine and took aspirin 25mg.", HOSTILE, ""]
    shown = pipe.batch(examples)[1]
    module_of(pipe).generate = lambda _, constraints: [write(*one) for one in zip(constraints, shown, strict=False)]
    held = Counter[str]()
    for doc in nlp.pipe(texts):
        held.update(doc.user_data.get("clinie_rejected", {}))
        assert {span.text for span in get_spans(doc)} == (
            {"aspirin", "25mg", "aspirin 25mg"} if "Gave" in doc.text else set()
        )
        for span in get_spans(doc):
            assert doc.text[span.start_char : span.end_char] == span.text
    assert pipe.rejected == held
    assert held["text"]


def test_invented_mentions_of_free_text_answers_are_counted(tiny_decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", format={"@misc": FORMATS[1]}, grounded=False)
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    module = pipe.model.shims[0].module
    codec = module.lm_tokenizer.codec
    answer = codec.encode("aspirin»Drug\nibuprofen»Drug\nspirin»Form\nRASH»ADE\naspirin»Pill\n")

    def generate(_: Any, constraints: Any) -> None:
        for constraint in constraints:
            for token in [*answer, codec.marks.end]:
                constraint.advance(token, -0.5)

    monkeypatch.setattr(module, "generate", generate)
    doc = nlp("Took aspirin 25mg, then a rash.")
    details = doc.spans["clinie"].attrs["details"]
    found = [(span.text, span.label_, details[span.id_]["status"]) for span in get_spans(doc)]
    assert found == [("aspirin", "Drug", "exact"), ("rash", "ADE", "spelling")]
    assert doc.user_data["clinie_rejected"] == {"text": 2, "label": 1} == pipe.rejected
    assert [one.attributes for one in note_from_doc(doc).concepts] == [{"status": "exact"}, {"status": "spelling"}]


def test_loss_and_gradients_come_from_answers_only(tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_concepts(tiny_decoder)
    examples = make_examples(nlp)[:2]
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    prompts, right = pipe.batch(examples)
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    total = torch.zeros(())
    for prompt, answer in zip(prompts, right, strict=True):
        prompt_ids = [*prompt.prefix, *prompt.rest]
        ids = torch.tensor([[*prompt_ids, *answer]])
        labels = torch.tensor([[-100] * len(prompt_ids) + list(answer)])
        total = total + model(input_ids=ids, labels=labels).loss * len(answer) / sum(map(len, right))
    total.backward()
    loss = pipe.update(examples)["clinie_decoder_prompt"]
    assert loss == pytest.approx(total.item(), rel=1e-4)
    for name, weight in module_of(pipe).base_model.named_parameters():
        expected = model.get_parameter(name).grad
        assert torch.allclose(weight.grad, expected, atol=1e-4 * float(expected.abs().max())), name


def test_a_window_too_long_for_the_model_is_refused(tmp_path: Path) -> None:
    nlp = build_for_concepts(make_decoder(tmp_path), "n2c2_2018", window=1000)
    nlp.initialize()
    with pytest.raises(ClinieError, match=r"CIE325.* 1000 .* 4096 "):
        nlp("aspirin")


def test_an_answer_too_long_for_the_model_is_truncated_with_a_warning(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "i2b2_2010")
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp("rash")
    module = pipe.model.shims[0].module
    doc = nlp.make_doc("aspirin po bid and rash " * 8)
    set_concepts(doc, [])
    prompts, _ = pipe.batch([Example(doc, doc)])
    module.lm_tokenizer.context_length = len(prompts[0].prefix) + len(prompts[0].rest) + module.options["lookahead"] + 5
    with pytest.warns(UserWarning, match="CIE326.* 1 answers"):
        doc = nlp(doc.text)
    assert doc.user_data["clinie_rejected"]["unanswered"] == 1
    assert pipe.rejected["unanswered"] == 1


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_prompts_too_long_for_the_model_are_counted(kind: str, tmp_path: Path, make_examples: Examples) -> None:
    nlp = build_for_concepts(make_decoder(tmp_path, kind), window=60)
    examples = make_examples(nlp)[:1]
    nlp.initialize(lambda: examples)
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    prompts, answers = pipe.batch(examples)
    module = pipe.model.shims[0].module
    module.lm_tokenizer.context_length = len(prompts[0].prefix) + len(prompts[0].rest)
    with pytest.warns(UserWarning, match="CIE331.* 1 prompts"):
        pipe.model.predict((prompts, [Unconstrained(9, 0)]))
    with pytest.warns(UserWarning, match="CIE331.* 1 prompts"):
        module.add_gradients(prompts, answers)


@pytest.mark.usefixtures("babbling")
def test_unlikely_mentions_in_overlapping_windows_are_counted_once(tiny_decoder: str) -> None:
    text = "aspirin po bid and rash " * 8
    counts = []
    for threshold in (0.0, 0.9999):
        nlp = build_for_concepts(tiny_decoder, "i2b2_2010", window=24, overlap=8, threshold=threshold)
        nlp.initialize()
        doc = nlp(text)
        counts.append(len(doc.spans["clinie"]) + doc.user_data.get("clinie_rejected", {}).get("unlikely", 0))
    assert counts[0] == counts[1] > 0


def test_settings_of_a_wrong_type_are_refused_by_name(tiny_decoder: str) -> None:
    assert build_for_concepts(tiny_decoder, "phee", format=None).get_pipe("clinie_decoder_prompt").labels  # type: ignore[attr-defined]
    with pytest.raises(ConfigValidationError, match="format"):
        build_for_concepts(tiny_decoder, "phee", format=3)


def test_truncated_free_text_answers_are_counted(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", grounded=False)
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    tokenizer, docs = pipe.active_tokenizer, [nlp.make_doc("Took aspirin.")]
    (query,) = pipe.concept_queries(docs, tokenizer.tokenize(docs))
    constraint = pipe.concepts.constraint(query, tokenizer.codec)
    end = torch.tensor([tokenizer.codec.marks.end])
    module_of(pipe).base_model.lm_head.register_forward_hook(lambda _, __, scores: scores.index_fill(-1, end, -1e9))
    with pytest.warns(UserWarning, match="CIE326.* 1 answers"):
        doc = nlp("Took aspirin.")
    assert doc.user_data["clinie_rejected"]["unanswered"] == 1
    # There is room for a concept in every token.
    spans = [(i, i + 1, i % 3) for i in range(len(query.ids.firsts))]
    answer, left_out = pipe.concepts.answer_ids(query, spans, tokenizer.codec)
    assert (left_out, len(answer) <= constraint.max_tokens) == (0, True)


@pytest.mark.parametrize("form", FORMATS)
def test_a_concept_next_to_a_mark_of_the_note(form: str, tiny_decoder: str) -> None:
    """If an answer about it cannot be read back, it is left out and counted."""
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", format={"@misc": form})
    nlp.initialize()
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    codec = pipe.model.shims[0].module.lm_tokenizer.codec
    doc = nlp.make_doc("Took«aspirin»for pain, then aspirin and morphine.")
    (query,) = pipe.concept_queries([doc], pipe.model.shims[0].module.lm_tokenizer.tokenize([doc]))
    words = [doc.text[start:stop] for start, stop in query.units]
    spans = [(i, i + 1, 0) for i, word in enumerate(words) if word in ("aspirin", "morphine")]
    assert len(spans) == 3
    answer, left_out = pipe.concepts.answer_ids(query, spans, codec)
    assert 1 <= left_out < 3
    constraint = pipe.concepts.constraint(query, codec)
    for token in answer:
        assert token in constraint.allowed()
        constraint.advance(token, 0.0)
    assert constraint.done
    assert len(constraint.found) == 3 - left_out
    assert {words[one.start] for one in constraint.found} >= {"morphine"}


def related(doc: spacy.tokens.Doc) -> set[tuple[str, str, str]]:
    return {(rel.head.text, rel.label, rel.tail.text) for rel in get_relations(doc)}


@pytest.mark.parametrize("per_type", [False, True], ids=["instruct", "mrc"])
def test_the_right_answer_gives_the_gold_relations(per_type: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(tiny_decoder, relations={"per_type": per_type})
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


@pytest.mark.parametrize("per_type", [False, True], ids=["instruct", "mrc"])
@pytest.mark.usefixtures("babbling")
def test_no_answer_leaves_the_schema(per_type: bool, tiny_decoder: str, make_examples: Examples) -> None:
    nlp = build_for_both(
        tiny_decoder,
        before=True,
        concepts=None,
        label_schema="n2c2_2018",
        relations={"per_type": per_type, "window": 24},
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
