"""What is done before a training, and before its pipeline is saved."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_clinie.errors import ClinieWarning
from spacy_clinie.training.callbacks import before_init, before_to_disk


def test_a_pipeline_without_words_keeps_labels_and_vectors(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.vocab.set_vector("ibuprofen", np.ones(4, dtype="f"))
    tagger = nlp.add_pipe("tagger")
    words = ["Mr", "Quux", "rests"]
    doc = Doc(nlp.vocab, words, tags=["NOUN-X", "NAME-X", "VERB-X"])
    nlp.initialize(lambda: [Example(Doc(nlp.vocab, words), doc)])
    before_to_disk()(nlp).to_disk(tmp_path / "kept")
    assert "Quux" in nlp.vocab.strings
    again = spacy.load(tmp_path / "kept")
    assert "Quux" not in again.vocab.strings
    assert again.vocab.has_vector("ibuprofen")
    scores = [pipeline.get_pipe("tagger").model.predict([pipeline("Mr Quux rests")])[0] for pipeline in (nlp, again)]
    assert np.allclose(*scores)
    assert set(tagger.labels) <= set(again.vocab.strings)


def test_a_lemmatizer_that_was_trained_keeps_what_it_puts_in_place(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("trainable_lemmatizer", config={"min_tree_freq": 1})
    words = ["Rashes", "quuxed"]
    examples = [Example(Doc(nlp.vocab, words), Doc(nlp.vocab, words, lemmas=["rash", "quux"]))]
    sgd = nlp.initialize(lambda: examples)
    losses = [nlp.update(examples, sgd=sgd)["trainable_lemmatizer"] for _ in range(30)]
    assert losses[-1] < 0.001  # it is sure of both words
    before_to_disk()(nlp).to_disk(tmp_path / "kept")
    again = spacy.load(tmp_path / "kept")
    assert "quuxed" not in again.vocab.strings
    assert [token.lemma_ for token in again(" ".join(words))] == ["rash", "quux"]


def test_a_knowledge_base_that_holds_words_of_notes_is_told() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_linker")
    with pytest.warns(ClinieWarning, match="CIE475.*entity_linker"):
        before_to_disk()(nlp)


@pytest.mark.parametrize(
    ("patience", "max_steps", "every", "ends_early"),
    [(10, 20, 20, True), (10, 0, 11, True), (10, 10, 20, False), (10, 50, 10, False), (0, 0, 9, False)],
)
def test_training_that_would_end_before_its_second_evaluation_is_told(
    patience: int, max_steps: int, every: int, ends_early: bool
) -> None:
    training = {"patience": patience, "max_steps": max_steps, "eval_frequency": every}
    nlp = spacy.blank("en", config={"training": training})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before_init()(nlp)
    assert [f"at step {patience}" in str(one.message) for one in told] == [True] * ends_early
