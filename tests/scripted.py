"""Models whose answers a test knows.

What a model says after a few steps, or with random weights, depends on rounding, and so on the processor. So a test of
what is made of answers writes them itself: right ones (`recite`), any (`babble`), or yes to everything (`agree`). One
of how models read has every way write the same (`follow`), and compares how likely that was. And one of learning goes
on until the model is sure (`learn_by_heart`).
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Optional

import pytest
import torch
from spacy.language import Language
from spacy.training import Example

from spacy_clinie.doc.concepts import get_scores
from spacy_clinie.doc.relations import get_relations
from spacy_clinie.models import tag_chain
from spacy_clinie.training.optimizer import adamw

Asks = Sequence[Any]
Machines = Sequence[Any]


def module_of(pipe: Any) -> Any:
    """The torch module of a component."""
    return pipe.model.shims[0].module


def recite(pipe: Any, examples: Sequence[Example]) -> None:
    """Have a language model give the right answers about examples.

    pipe (DecoderPrompt): Its component. A question that is none about the examples is a KeyError.
    examples (Sequence[Example]): The examples.
    """
    right = right_answers(pipe, examples)

    def answer(asks: Asks, machines: Machines) -> None:
        for ask, machine in zip(asks, machines, strict=True):
            write(machine, right[_key(ask)])

    module_of(pipe).answer = answer


def right_answers(pipe: Any, examples: Sequence[Example]) -> dict[Any, list[int]]:
    """The ids of the right answers about examples, by question."""
    asks, answers = pipe.batch(examples)
    return {_key(ask): list(answer) for ask, answer in zip(asks, answers, strict=True)}


def write(machine: Any, answer: Sequence[int], log: float = -0.01) -> None:
    """Have a machine take an answer.

    machine (Machine): It has to permit it.
    answer (Sequence[int]): The ids.
    log (float): Log of the probability of each.
    """
    for one in answer:
        permitted = machine.allowed()
        assert permitted is None or one in permitted
        machine.take(one, log)


def babble(module: Any, asks: Asks, machines: Machines) -> None:
    """Answer at random, and the same to the same question: a `CausalModule.answer` that reads nothing."""
    for ask, machine in zip(asks, machines, strict=True):
        random = Random(str(_key(ask)))
        while not (machine.done or machine.cut):
            permitted = machine.allowed()
            if permitted is None:
                permitted = range(3, module.model.config.vocab_size)  # neither the end nor another control token
            machine.take(random.choice(permitted), -random.random())


def follow(module: Any, written: dict[Any, list[int]]) -> dict[Any, list[float]]:
    """Have a language model write to each question what was written before.

    module (CausalModule): The model. It reads and computes as ever.
    written (dict[Any, list[int]]): The ids, by question. Where there are none, it writes what it wants to, and that is
        added.
    RETURNS (dict[Any, list[float]]): How likely each id was, as logs, by question. Filled while it answers.
    """
    answer, logs = module.answer, {}

    def answers(asks: Asks, machines: Machines) -> None:
        keys = list(map(_key, asks))
        led = [_Led(machine, written.get(key)) for key, machine in zip(keys, machines, strict=True)]
        answer(asks, led)
        for key, machine in zip(keys, led, strict=True):
            written.setdefault(key, machine.taken)
            logs[key] = machine.logs

    module.answer = answers
    return logs


def assert_as_likely(logs: dict[Any, list[float]], others: dict[Any, list[float]]) -> None:
    """The same questions, answered with the same likelihoods up to what rounding does to them."""
    assert logs
    assert logs.keys() == others.keys()
    for key, own in logs.items():
        assert own == pytest.approx(others[key], abs=1e-3)


class _Led:
    """A machine that permits what was written before, and keeps how likely that was."""

    def __init__(self, machine: Any, ids: Optional[Sequence[int]]) -> None:
        self.machine, self.ids = machine, ids
        self.taken: list[int] = []
        self.logs: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    def allowed(self) -> Any:
        return self.machine.allowed() if self.ids is None else [self.ids[len(self.taken)]]

    def take(self, chosen: int, log: float) -> None:
        self.taken.append(chosen)
        self.logs.append(log)
        self.machine.take(chosen, log)


def _key(ask: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(ask.before), tuple(ask.rest)


def agree(pipe: Any, *labels: str) -> None:
    """Have an encoder's head say yes to everything, whatever it reads: every token is a concept of each type, and every
    candidate a relation.

    pipe (ClinieComponent): An initialized component.
    *labels (str): Say yes to these types only, and no to the others; none for all.
    """
    head = module_of(pipe).head
    yes = [not labels or label in labels for label in pipe.labels]
    with torch.no_grad():
        for weight in head.parameters():
            weight.zero_()
        if hasattr(head, "kinds"):  # a tagger
            tags = head.output.bias.view(head.kinds, tag_chain.TAGS)
            tags[:, tag_chain.O] = 50.0
            tags[yes, tag_chain.U] = 100.0
        elif hasattr(head, "span"):  # one that asks for concepts; the question names no type
            for layer in (head.start, head.end, head.span):
                layer.bias.fill_(50.0)
        else:
            bias = head["output"][-1].bias
            bias[-len(yes) :] = torch.where(torch.tensor(yes), 50.0, -50.0) if len(bias) > 1 else 50.0


def learn_by_heart(nlp: Language, examples: list[Example], rate: float = 3e-3, most: int = 400, **more: Any) -> None:
    """Train until all that the examples hold is found, each with a probability above 0.9, and nothing else: then no
    rounding changes an answer about them.

    nlp (Language): A pipeline whose components learn.
    examples (list[Example]): The examples.
    rate (float): Learning rate.
    most (int): Steps after which the test fails.
    **more (Any): Arguments of `nlp.update`. With them, the pipeline is not initialized.
    """
    sgd = adamw(rate) if more else nlp.initialize(lambda: examples)
    sgd.learn_rate = rate
    for step in range(1, most + 1):
        nlp.update(examples, sgd=sgd, **more)
        if step % 10 == 0 and _is_sure(nlp, examples):
            return
    pytest.fail(f"not learnt by heart in {most} steps")


def _is_sure(nlp: Language, examples: list[Example]) -> bool:
    finds = {pipe.finds for _, pipe in nlp.pipeline if hasattr(pipe, "finds")}
    scores_of = {"concepts": ["concepts_f"], "relations": ["relations_f"], "answers": ["concepts_f", "relations_f"]}
    evaluated = nlp.evaluate(examples)
    if any(evaluated[score] < 1 for task in finds for score in scores_of[task]):
        return False
    for doc in nlp.pipe([example.text for example in examples]):
        scores = [] if finds == {"relations"} else get_scores(doc)
        scores += [relation.score for relation in get_relations(doc)]
        if min(score or 0 for score in scores) < 0.9:
            return False
    return True
