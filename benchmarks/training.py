"""Training that all benchmarks share: a blank pipeline, the same passes, words a step and schedule for every system."""

import random
from collections.abc import Iterator

import spacy
from data import to_docs
from spacy.language import Language
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Adam, Optimizer

from spacy_clinie.doc.note import Note
from spacy_clinie.training.optimizer import AdamW

PASSES, WORDS, DROPOUT = 4, 400, 0.1
# Learning rates of ours, chosen on dev.
CONCEPTS = 5e-4
SHARED = 5e-4
RELATIONS = {"one pass": 3e-4, "marked pairs": 3e-4}


def blank() -> Language:
    """A pipeline with nothing but the clinical tokenizer."""
    return spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})


def notes_a_step(documents: int, tokens: int, words: int = WORDS) -> int:
    """How many notes hold about so many tokens.

    documents (int): Notes in train.
    tokens (int): Tokens in train.
    words (int): Tokens of a step.
    RETURNS (int): At least 1.
    """
    return max(1, round(words * documents / tokens))


def schedule(steps: int) -> Iterator[float]:
    """A tenth of the steps up, the rest down to zero; times the learning rate."""
    for step in range(1, steps + 1):
        yield min(step / (0.1 * steps), (steps - step) / (0.9 * steps))


def train(
    nlp: Language,
    notes: list[Note],
    seed: int,
    rate: float,
    passes: int = PASSES,
    *,
    words: int = WORDS,
    averages: bool = False,
    stock: bool = False,
) -> None:
    """Train a spaCy pipeline, ours or stock.

    nlp (Language): The pipeline, changed in place.
    notes (list[Note]): Notes with gold concepts and relations.
    seed (int): Seed of weights, order and dropout.
    rate (float): Greatest learning rate.
    passes (int): How often each note is seen.
    words (int): Tokens of a step, about.
    averages (bool): End with averages of the weights.
    stock (bool): Whether it is stock spaCy's, with thinc's Adam and without dropout of its own.
    """
    spacy.util.fix_random_seed(seed)
    references = to_docs(notes, nlp.vocab)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in references]
    size = notes_a_step(len(references), sum(map(len, references)), words)
    nlp.initialize(lambda: examples)
    rates = schedule(passes * -(-len(examples) // size))
    sgd: Optimizer = AdamW(rate, grad_clip=1.0, head_factor=3.0, layer_decay=0.8, use_averages=averages)
    if stock:
        sgd = Adam(rate, L2=0.01, grad_clip=1.0, use_averages=averages)
    for _ in range(passes):
        random.shuffle(examples)
        for batch in minibatch(examples, size):
            sgd.learn_rate = rate * next(rates)
            nlp.update(batch, sgd=sgd, drop=0.0 if stock else DROPOUT)
    if averages:  # which are what `spacy train` saves
        with nlp.use_params(sgd.averages):
            saved = nlp.to_bytes()
        nlp.from_bytes(saved)
