"""Concepts by asking: what a step of training asks, and what is an answer."""

from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_clinie.doc.concepts import set_concepts
from spacy_clinie.models.mrc import EncoderMRC, decode
from spacy_clinie.models.wordpieces import ConceptInput
from spacy_clinie.schema import Schema
from tests.conftest import tiny_settings

LABELS = ("Drug", "Dose", "Route", "Reason")
QUESTIONS = ("Which drugs?", "Which doses?", "Which routes?", "Which reasons?")


def make_module(encoder: str) -> Any:
    options: dict[str, Any] = {
        "lora": None,
        "window": 64,
        "overlap": 4,
        "batch_pieces": 500,
        "step_pieces": None,
        "unanswered": None,
        "threshold": 0.4,
    }
    return EncoderMRC.create(tiny_settings(encoder, **options), schema={})


@pytest.fixture
def items() -> list[ConceptInput]:
    docs = [spacy.blank("en")(f"aspirin {number} mg by mouth") for number in range(6)]
    return [ConceptInput(doc, LABELS, QUESTIONS) for doc in docs]


def test_an_answer_surpasses_the_threshold(
    tiny_bert: str, items: list[ConceptInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(tiny_bert)
    # Starts, ends and spans alike are seldom likely, and each may be the least likely of an answer.
    torch.nn.init.constant_(module.head.span.bias, -3.0)

    def scores(threshold: float) -> list[float]:
        monkeypatch.setitem(module.options, "threshold", threshold)
        answers = module.predict(module.questions(items))
        return sorted(score for spans in decode(answers, len(items), threshold) for *_, score in spans)

    every = scores(0.001)
    middle = every[len(every) // 2]
    above = [score for score in every if score > middle]
    assert 0 < len(above) < len(every)
    assert scores(middle) == pytest.approx(above)
    assert not scores(0.999)


def test_questions_without_an_answer_are_drawn_anew_in_each_step(tiny_bert: str) -> None:
    model = {"@architectures": "spacy_clinie.EncoderMRC.v1", **tiny_settings(tiny_bert), "unanswered": None}
    nlp = spacy.blank("en")
    pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    examples = []
    for number in range(6):
        gold = nlp.make_doc(f"aspirin {number} mg by mouth")
        set_concepts(gold, [Span(gold, 0, 1, "Drug")])
        examples.append(Example(nlp.make_doc(gold.text), gold))
    concepts = {label: {"question": question} for label, question in zip(LABELS, QUESTIONS, strict=True)}
    nlp.initialize(lambda: examples)
    pipe.schema = Schema.from_dict({"name": "mine", "concepts": concepts})

    def asked() -> set[tuple[int, int]]:
        questions = pipe.inputs(examples)
        assert all(one.places == (((0, 0),) if one.kind == 0 else ()) for one in questions)
        found = {(one.doc, one.kind) for one in questions}
        assert len(found) == len(questions)
        return found

    everything = asked()
    assert len(everything) == len(examples) * len(QUESTIONS)
    pipe.module.options["unanswered"] = 0.5
    always, seen = everything, set[tuple[int, int]]()
    for _ in range(40):
        drawn = asked()
        assert len(drawn) == len(examples) + 3
        seen |= drawn
        always = always & drawn
    assert seen == everything
    assert always == {(number, 0) for number in range(6)}, "what has an answer is always asked"


def test_a_window_holds_what_lies_in_it_as_a_whole_with_blanks_at_its_edges(tiny_bert: str) -> None:
    words, kind = ["aspirin", "\n\n", "mg", "by", "\n", "mouth"], 0
    module = make_module(tiny_bert)
    item = ConceptInput(Doc(spacy.blank("en").vocab, words, [False] * 6), LABELS[:1], QUESTIONS[:1])
    [question] = module.questions([item])
    assert question.tokens.tolist() == [0, 2, 3, 5]
    assert question.answers([(0, 1, kind)]) == ((0, 0),)
    assert question.answers([(0, 2, kind), (1, 5, kind), (5, 6, kind)]) == ((0, 0), (1, 2), (3, 3))
    assert question.answers([(1, 2, kind), (0, 1, 1)]) == ()
    middle = question._replace(tokens=np.array([2, 3]), reach=(1, 5))
    assert middle.answers([(1, 5, kind), (0, 3, kind), (3, 6, kind), (2, 3, kind)]) == ((0, 1), (0, 0))
