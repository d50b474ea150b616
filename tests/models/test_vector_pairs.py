"""Relations over vectors of tokens."""

import numpy as np
import pytest
import spacy
import torch

from spacy_clinie.errors import ClinieError
from spacy_clinie.models.excerpts import PairInput
from spacy_clinie.models.vector_pairs import VectorPairs
from spacy_clinie.schema import Schema

SCHEMA = Schema.from_dict(
    {
        "name": "drugs",
        "concepts": {"Drug": {}, "Reason": {}},
        "relations": {"Reason-Drug": {"pairs": [["Reason", "Drug"]]}},
    },
    source="test",
)
TEXT = "Aspirin for pain , ibuprofen for fever , nothing else is known of this man ."
WIDTH = 32


@pytest.fixture(scope="module")
def head() -> VectorPairs:
    """A head whose layers of attention are not those of its beginning, which add nothing."""
    torch.manual_seed(0)
    head = VectorPairs(WIDTH, SCHEMA.to_dict(), {"device": "auto"})
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return head


def item(pairs: list[tuple[int, int]], text: str = TEXT, kinds: tuple[int, ...] = (0, 1, 0, 1)) -> PairInput:
    """A Doc with the concepts aspirin, pain, ibuprofen and fever, and candidates among them."""
    doc = spacy.blank("en")(text)
    spans = [doc[i : i + 1] for i in (0, 2, 4, 6)]
    return PairInput(doc, spans, list(kinds), pairs, np.ones((len(pairs), 1), dtype=bool), SCHEMA)


def vectors(one: PairInput, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(one.doc), WIDTH)).astype(np.float32)


def scored(head: VectorPairs, *items: PairInput, rows: list[np.ndarray] | None = None) -> list[np.ndarray]:
    return head.predict(items, rows or [vectors(one) for one in items])


def test_a_score_does_not_depend_on_other_candidates_or_docs(head: VectorPairs) -> None:
    alone, among = item([(1, 0)]), item([(3, 2), (1, 0), (1, 2)])
    long = item([(3, 0)], f"{TEXT} {TEXT} {TEXT}")
    expected = scored(head, alone)[0]
    assert expected.shape == (1, 2)
    together = scored(head, long, among, alone)
    np.testing.assert_allclose(together[1][1], expected[0], atol=1e-5)
    np.testing.assert_allclose(together[2], expected, atol=1e-5)


def test_head_and_tail_are_told_apart(head: VectorPairs) -> None:
    there, back = scored(head, item([(1, 0), (0, 1)], kinds=(1, 1, 1, 1)))[0]
    assert np.abs(there - back).max() > 0.01


def test_types_count(head: VectorPairs) -> None:
    assert np.abs(scored(head, item([(1, 0)]))[0] - scored(head, item([(1, 0)], kinds=(1, 0, 0, 1)))[0]).max() > 0.01


def test_words_between_and_around_count(head: VectorPairs) -> None:
    one = item([(1, 0)])
    for place in (1, 12):
        other = vectors(one)
        other[place] *= -1
        assert np.abs(scored(head, one)[0] - scored(head, one, rows=[other])[0]).max() > 1e-4


def test_what_the_schema_does_not_allow_scores_next_to_nothing(head: VectorPairs) -> None:
    one = item([(1, 0), (3, 2)])
    one.allowed[0] = False
    forbidden, allowed = scored(head, one)[0][:, 1]
    # Of what is not allowed at all, nothing is computed.
    assert np.isnan(forbidden) or forbidden < -1e3
    assert abs(allowed) < 1e3


def test_a_concept_without_vectors_is_not_scored(head: VectorPairs) -> None:
    one, rows = item([(1, 0), (3, 2)]), vectors(item([]))
    rows[2] = np.nan
    left_out, read = scored(head, one, rows=[rows])[0]
    assert np.isnan(left_out).all()
    assert np.isfinite(read).all()


def test_gradients_reach_the_vectors_that_were_read(head: VectorPairs) -> None:
    one = item([(1, 0)])
    scores, backprop = head.begin_update([one], [vectors(one)])
    (gradient,) = backprop([np.ones_like(scores[0])])
    assert gradient.shape == (len(one.doc), WIDTH)
    assert np.abs(gradient[[0, 1, 2]]).sum(1).all()
    head.zero_grad()


def test_types_that_the_model_does_not_have_are_refused(head: VectorPairs) -> None:
    other = Schema.from_dict({"name": "other", "concepts": {"Device": {}}, "relations": {}}, source="test")
    with pytest.raises(ClinieError, match="CIE315"):
        scored(head, item([(1, 0)])._replace(schema=other))


def test_a_saved_head_gives_the_same_scores(head: VectorPairs, tmp_path) -> None:
    head.save(tmp_path)
    again = VectorPairs.restore(tmp_path, {"device": "auto"})
    np.testing.assert_array_equal(scored(again, item([(1, 0)]))[0], scored(head, item([(1, 0)]))[0])
