"""Models with known answers.

What a model answers with random weights, or after a few steps of training, depends on rounding, and so on the
processor. Tests therefore control the answers. Tests of what is done with answers write them: the right ones
(`recite`), random ones (`babble`), or yes to everything (`agree`). Tests of reading make every variant write the same
answer (`replay`), and compare its probabilities. Tests of learning train until the model is sure (`learn_by_heart`).
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
from spacy_clinie.models.tagger import TagHead
from spacy_clinie.training.optimizer import adamw

Prompts = Sequence[Any]
Constraints = Sequence[Any]


def module_of(pipe: Any) -> Any:
    """The torch module of a component."""
    return pipe.model.shims[0].module


def recite(pipe: Any, examples: Sequence[Example]) -> None:
    """Make a language model give the right answers about examples. Any other prompt raises a KeyError.

    pipe (DecoderPrompt): Its component.
    examples (Sequence[Example]): The examples.
    """
    right = right_answers(pipe, examples)

    def generate(prompts: Prompts, constraints: Constraints) -> None:
        for prompt, constraint in zip(prompts, constraints, strict=True):
            write(constraint, right[_key(prompt)])

    module_of(pipe).generate = generate


def right_answers(pipe: Any, examples: Sequence[Example]) -> dict[Any, list[int]]:
    """The ids of the right answers about examples, by prompt."""
    prompts, answers = pipe.batch(examples)
    return {_key(prompt): list(answer) for prompt, answer in zip(prompts, answers, strict=True)}


def write(constraint: Any, answer: Sequence[int], log_prob: float = -0.01) -> None:
    """Advance a constraint by an answer.

    constraint (Constraint): The constraint. It must permit the answer.
    answer (Sequence[int]): The ids.
    log_prob (float): Log of the probability of each id.
    """
    for token in answer:
        allowed = constraint.allowed()
        assert allowed is None or token in allowed
        constraint.advance(token, log_prob)


def babble(module: Any, prompts: Prompts, constraints: Constraints) -> None:
    """Answer at random, but the same to the same prompt. Replaces `CausalModule.generate`."""
    for prompt, constraint in zip(prompts, constraints, strict=True):
        random = Random(str(_key(prompt)))
        while not (constraint.done or constraint.truncated):
            allowed = constraint.allowed()
            if allowed is None:
                allowed = range(3, module.model.config.vocab_size)  # neither the end nor another control token
            constraint.advance(random.choice(allowed), -random.random())


def replay(module: Any, written: dict[Any, list[int]]) -> dict[Any, list[float]]:
    """Make a language model write the answers that were written before.

    module (CausalModule): The model. It reads and computes as usual.
    written (dict[Any, list[int]]): Ids of the answers, by prompt. New answers are added.
    RETURNS (dict[Any, list[float]]): Log probabilities of the ids, by prompt. Filled when the model answers.
    """
    generate, log_probs = module.generate, {}

    def generate_again(prompts: Prompts, constraints: Constraints) -> None:
        keys = list(map(_key, prompts))
        replayed = [_Replay(constraint, written.get(key)) for key, constraint in zip(keys, constraints, strict=True)]
        generate(prompts, replayed)
        for key, constraint in zip(keys, replayed, strict=True):
            written.setdefault(key, constraint.tokens)
            log_probs[key] = constraint.log_probs

    module.generate = generate_again
    return log_probs


def assert_as_likely(logs: dict[Any, list[float]], others: dict[Any, list[float]]) -> None:
    """The same prompts were answered with the same probabilities, up to rounding."""
    assert logs
    assert logs.keys() == others.keys()
    for key, own in logs.items():
        assert own == pytest.approx(others[key], abs=1e-3)


class _Replay:
    """A constraint that permits only an earlier answer, and records its log probabilities."""

    def __init__(self, constraint: Any, ids: Optional[Sequence[int]]) -> None:
        self.constraint, self.ids = constraint, ids
        self.tokens: list[int] = []
        self.log_probs: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.constraint, name)

    def allowed(self) -> Any:
        return self.constraint.allowed() if self.ids is None else [self.ids[len(self.tokens)]]

    def advance(self, token: int, log_prob: float) -> None:
        self.tokens.append(token)
        self.log_probs.append(log_prob)
        self.constraint.advance(token, log_prob)


def _key(prompt: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(prompt.prefix), tuple(prompt.rest)


def last_layer(head: Any) -> Any:
    """The linear layer that gives the scores of relations."""
    return head["output"][-1] if isinstance(head, torch.nn.ModuleDict) else head.output


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
        if isinstance(head, TagHead):
            tags = head.output.bias.view(head.kinds, tag_chain.TAGS)
            tags[:, tag_chain.O] = 50.0
            tags[yes, tag_chain.U] = 100.0
        elif hasattr(head, "span"):  # one that asks for concepts; the question names no type
            for layer in (head.start, head.end, head.span):
                layer.bias.fill_(50.0)
        else:
            bias = last_layer(head).bias
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
