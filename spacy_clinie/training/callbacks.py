"""Callbacks for `[initialize.before_init]` and `[training.before_to_disk]` of a training config."""

from collections.abc import Callable
from copy import copy

import srsly
from spacy.language import Language
from spacy.vocab import create_vocab

from ..errors import warn


def before_init() -> Callable[[Language], Language]:
    """Resolve variables in the settings of the optimizer, because `nlp.resume_training` and `spacy debug data` do not,
    and warn if training would end before its second evaluation (CIE479). Registered as `spacy_clinie.before_init.v1`,
    for `[initialize.before_init]`.

    RETURNS (Callable[[Language], Language]): Changes the config of the pipeline in place.
    """
    return _resolve_optimizer


def _resolve_optimizer(nlp: Language) -> Language:
    settings = nlp.config.interpolate()["training"]
    nlp.config["training"]["optimizer"] = settings["optimizer"]
    patience, steps, every = (int(settings.get(name) or 0) for name in ("patience", "max_steps", "eval_frequency"))
    if 0 < patience < every and not 0 < steps <= patience:
        warn("CIE479", patience=patience, every=every)
    return nlp


def before_to_disk() -> Callable[[Language], Language]:
    """Remove the words of the training notes, including names of patients, from spaCy's vocabulary before a pipeline is
    saved. Registered as `spacy_clinie.before_to_disk.v1`, for `[training.before_to_disk]`.

    RETURNS (Callable[[Language], Language]): Makes a copy. Its vocabulary only has labels and words with vectors.
    """
    return _without_training_words


def _without_training_words(nlp: Language) -> Language:
    kept = copy(nlp)
    held = nlp.vocab
    kept.vocab = create_vocab(nlp.lang, nlp.Defaults, vectors_name=held.vectors.name)
    kept.vocab.lookups = held.lookups
    if len(held.vectors):  # assigning the vectors would also copy all words
        kept.vocab.vectors.from_bytes(held.vectors.to_bytes(exclude=["strings"]))
    for key in held.vectors.keys():  # noqa: SIM118
        kept.vocab.strings.add(held.strings[key])
    for name, pipe in nlp.components:
        if hasattr(pipe, "kb"):  # an entity linker, whose knowledge base is saved with its own vocabulary
            warn("CIE475", component=name)
        for label in getattr(pipe, "labels", ()):
            if isinstance(label, str):
                kept.vocab.strings.add(label)
        # The affixes of spaCy's trainable lemmatizer, whose labels are numbers.
        trees = srsly.msgpack_loads(pipe.trees.to_bytes())["trees"] if hasattr(pipe, "trees") else []
        for ends in ((tree.get("orig"), tree.get("subst")) for tree in trees):
            for end in filter(None, ends):
                kept.vocab.strings.add(held.strings[end])
    return kept
