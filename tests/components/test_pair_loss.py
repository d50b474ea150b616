"""Which candidate pairs a step asks about, and what that means for their scores."""

from typing import Any

import numpy as np
import pytest
import spacy

from spacy_clinie.components.pair_loss import _shift
from spacy_clinie.doc.concepts import add_concepts
from spacy_clinie.doc.relations import set_relations
from tests.conftest import tiny_settings


def test_candidates_that_are_related_are_drawn_as_often_as_the_others(tiny_bert: str) -> None:
    """One of twelve drugs is given for the pain, and every step learns that."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_clinie.MarkedPairs.v1", **tiny_settings(tiny_bert), "window": 24}
    pipe: Any = nlp.add_pipe("clinie_rel", config={"label_schema": "n2c2_2018", "max_distance": 0, "model": model})
    gold = nlp.make_doc("pain " + "aspirin " * 12)
    add_concepts(gold, [(0, 1, "Reason", 1.0), *((i, i + 1, "Drug", 1.0) for i in range(1, 13))])
    set_relations(gold, [(0, 1, "Reason-Drug", 1.0)])
    example = spacy.training.Example(gold.copy(), gold)
    nlp.initialize(lambda: [example])
    module = pipe.model.shims[0].module
    drawn: list[int] = []
    classify = module.classify
    module.classify = lambda batch, read: drawn.extend(one.pairs[0] for one in batch) or classify(batch, read)
    module.options["step_pieces"] = 2 * 24
    pair = pipe.candidates(gold, list(gold.spans["clinie"])).pairs.index((0, 1))
    for _ in range(10):
        drawn.clear()
        pipe.update([example])
        assert len(drawn) >= 2
        assert drawn.count(pair) == 1


@pytest.mark.parametrize("part", [0.01, 0.2, 0.5])
def test_scores_are_what_they_would_be_if_nothing_were_drawn(part: float) -> None:
    """A model that sees no difference says of a candidate how many are related; what it answers to half of either side
    is no more than "none" plus the shift."""
    related, read = np.arange(1000) < 1000 * part, np.zeros(1000, dtype=bool)
    read[[*range(5), *range(995, 1000)]] = True
    assert 1 / (1 + np.exp(-_shift(related, read))) == pytest.approx(part)


@pytest.mark.parametrize(
    ("related", "read"), [([1, 1], [1, 0]), ([1, 0], [1, 0]), ([0], [1]), ([1, 0], [1, 1]), ([], [])]
)
def test_nothing_is_shifted_where_nothing_was_chosen_by_it(related: list[int], read: list[int]) -> None:
    assert _shift(np.array(related, dtype=bool), np.array(read, dtype=bool)) == 0.0
