import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.scoring.match import Item, items, match


def concept(start, end, label="Drug"):
    return Item(label, ((label, start, end),))


def relation(head, tail, label="ADE-Drug"):
    return Item(label, (("ADE", *head), ("Drug", *tail)))


def overlap(one, other):
    """Written without a look at the code under test."""
    return one.label == other.label and all(
        a[0] == b[0] and not set(range(a[1], a[2])).isdisjoint(range(b[1], b[2]))
        for a, b in zip(one.ends, other.ends, strict=True)
    )


def largest(gold, predicted):
    """The size of the largest one-to-one matching, by trying everything."""
    if not gold:
        return 0
    best = largest(gold[1:], predicted)
    for i, other in enumerate(predicted):
        if overlap(gold[0], other):
            best = max(best, 1 + largest(gold[1:], predicted[:i] + predicted[i + 1 :]))
    return best


spans = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda pair: (pair[0], sum(pair)))
concepts = st.builds(lambda span, label: concept(*span, label), spans, st.sampled_from(["Drug", "ADE"]))
relations = st.builds(relation, spans, spans, st.sampled_from(["ADE-Drug", "other"]))
groups = st.one_of(
    st.tuples(st.lists(concepts, max_size=6), st.lists(concepts, max_size=6)),
    st.tuples(st.lists(relations, max_size=6), st.lists(relations, max_size=6)),
)


def test_items_are_types_with_offsets():
    note = Note(
        "n",
        "rash after aspirin",
        [Concept("T1", 0, 4, "ADE", fragments=[(0, 1), (3, 4)]), Concept("T2", 11, 18, "Drug")],
        [Relation("T1", "T2", "ADE-Drug")],
    )
    assert items(note, "concepts") == [concept(0, 4, "ADE"), concept(11, 18)]
    assert items(note, "relations") == [Item("ADE-Drug", (("ADE", 0, 4), ("Drug", 11, 18)))]


def test_strict_takes_type_and_both_offsets():
    gold = [concept(0, 5), concept(10, 15), concept(20, 25), concept(30, 35)]
    predicted = [concept(0, 5), concept(10, 14), concept(21, 25), concept(30, 35, "ADE")]
    assert match(gold, predicted, "strict") == [(concept(0, 5), concept(0, 5))]


@pytest.mark.parametrize(
    "gold, predicted, expected",
    [
        pytest.param([concept(0, 5)], [concept(4, 9)], 1, id="one shared character"),
        pytest.param([concept(0, 5)], [concept(5, 9)], 0, id="touching"),
        pytest.param([concept(0, 5)], [concept(0, 5, "ADE")], 0, id="other type"),
        pytest.param([concept(0, 20)], [concept(0, 5), concept(10, 15)], 1, id="one gold, two predictions"),
        pytest.param([concept(0, 5), concept(10, 15)], [concept(0, 20)], 1, id="two gold, one prediction"),
        pytest.param([concept(0, 20), concept(5, 10)], [concept(4, 11), concept(6, 9)], 2, id="nested"),
        # The long gold concept must leave the short prediction to the short gold concept, whatever comes first.
        pytest.param([concept(0, 20), concept(0, 3)], [concept(1, 2), concept(10, 12)], 2, id="augmenting path"),
        # Taking the exact pair first would strand the two others.
        pytest.param([concept(0, 10), concept(7, 10)], [concept(0, 10), concept(0, 3)], 2, id="exact pair gives way"),
        pytest.param([concept(0, 5)] * 2, [concept(1, 5), concept(1, 4)], 1, id="duplicates count once"),
        pytest.param([concept(0, 5), concept(0, 5, "ADE")], [concept(1, 5)], 1, id="two types on one span"),
        pytest.param([relation((0, 5), (9, 12))], [relation((1, 4), (10, 15))], 1, id="relation, both ends overlap"),
        pytest.param([relation((0, 5), (9, 12))], [relation((1, 4), (12, 15))], 0, id="relation, one end does not"),
        pytest.param([relation((0, 5), (9, 12))], [relation((0, 5), (9, 12), "other")], 0, id="relation, other type"),
        pytest.param([relation((0, 5), (9, 12))], [relation((9, 12), (0, 5))], 0, id="relation, turned round"),
        pytest.param(
            [Item("r", (("ADE", 0, 5), ("Drug", 9, 12)))],
            [Item("r", (("Reason", 0, 5), ("Drug", 9, 12)))],
            0,
            id="relation, other type of head",
        ),
        pytest.param(
            [relation((0, 5), (9, 12)), relation((0, 5), (20, 25))],
            [relation((0, 5), (9, 25)), relation((0, 5), (20, 21))],
            2,
            id="relations, augmenting path",
        ),
    ],
)
def test_lenient_takes_type_and_overlap(gold, predicted, expected):
    assert len(match(gold, predicted, "lenient")) == expected
    assert len(match(predicted, gold, "lenient")) == expected


@given(groups)
def test_lenient_is_a_largest_matching(sides):
    gold, predicted = sides
    found = match(gold, predicted, "lenient")
    assert all(overlap(ours, theirs) for ours, theirs in found)
    assert len({ours for ours, _ in found}) == len({theirs for _, theirs in found}) == len(found)
    assert len(found) == largest(sorted(set(gold)), sorted(set(predicted)))


@given(groups)
def test_what_is_right_in_strict_mode_is_right_in_lenient_mode(sides):
    strict, lenient = match(*sides, "strict"), match(*sides, "lenient")
    exact = {item for item, _ in strict}
    assert exact <= {ours for ours, _ in lenient}
    assert exact <= {theirs for _, theirs in lenient}


@given(groups, st.randoms())
def test_order_does_not_matter(sides, shuffler):
    gold, predicted = ([*side] for side in sides)
    before = match(gold, predicted, "lenient")
    shuffler.shuffle(gold)
    shuffler.shuffle(predicted)
    assert match(gold, predicted, "lenient") == before


def chain(size):
    """Every concept overlaps the next; all have an exact partner but one at each end, so that the only augmenting
    path runs through all of them."""
    links = [concept(2 * i, 2 * i + 3) for i in range(size)]
    return [concept(-3, 1), *links], [*links, concept(2 * size, 2 * size + 5)], size + 1


def nested(size):
    return [concept(i, 4 * size - i) for i in range(size)], [concept(i, 4 * size + 1 - i) for i in range(size)], size


def crowded(size):
    shuffler = random.Random(0)
    gold = [concept(start, start + 3000) for start in shuffler.sample(range(30000), size)]
    return gold, [concept(start, start + 2999) for start in shuffler.sample(range(30000), size // 2)], size // 2


@pytest.mark.parametrize("make", [chain, nested, crowded])
def test_thousands_of_overlapping_concepts(make):
    gold, predicted, expected = make(5000)
    start = time.perf_counter()
    assert len(match(gold, predicted, "lenient")) == expected
    # A fifth of a second in fact; a matching that is quadratic in Python takes minutes.
    assert time.perf_counter() - start < 5
