"""Which pairs of concepts may be related."""

from itertools import permutations
from typing import Any

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span

from spacy_clinie.doc.concepts import get_spans, set_concepts
from spacy_clinie.doc.windows import sentence_starts
from spacy_clinie.schema import Schema
from tests.conftest import Examples
from tests.encoders import build, mark_concepts


def test_a_note_with_too_many_candidates_is_cut_down_with_a_warning(
    tiny_bert: str, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    monkeypatch.setattr("spacy_clinie.components.candidates.MOST_CANDIDATES", 10)
    doc = mark_concepts(nlp.make_doc("aspirin pain " * 20))
    with pytest.warns(UserWarning, match="CIE464"):
        assert len(pipe.candidates(doc, get_spans(doc)).pairs) == 10


def test_candidates_keep_to_the_distance(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    doc = mark_concepts(nlp.make_doc("Took aspirin.\nHe slept.\nNo pain."))
    assert len(get_spans(doc)) == 2
    for distance, expected in ((0, []), (1, []), (2, [(1, 0)]), (None, [(1, 0)])):
        pipe.max_distance = distance
        assert pipe.candidates(doc, get_spans(doc)).pairs == expected
    set_concepts(doc, [])
    assert pipe.candidates(doc, []).pairs == []


def test_symmetric_relations_have_candidates_in_one_order(tiny_bert: str, make_examples: Examples) -> None:
    nlp = build("one_pass", tiny_bert)
    nlp.initialize(lambda: make_examples(nlp))
    pipe = nlp.get_pipe("clinie_rel")
    doc = nlp.make_doc("pain and ache")
    set_concepts(doc, [Span(doc, 2, 3, "ADE"), Span(doc, 0, 1, "ADE")])
    for with_other, expected in ((False, [(1, 0)]), (True, [(0, 1), (1, 0)])):
        relations = {"SAME": {"pairs": [["ADE", "ADE"]], "symmetric": True}}
        if with_other:
            relations["AFTER"] = {"pairs": [["ADE", "ADE"]]}
        pipe.schema = Schema.from_dict({"name": "n", "concepts": {"ADE": {}}, "relations": relations})
        found = pipe.candidates(doc, get_spans(doc))
        assert sorted(found.pairs) == expected
        rows = {pair: row.tolist() for pair, row in zip(found.pairs, found.allowed, strict=True)}
        assert rows[1, 0] == [True] * len(relations)
        assert not with_other or rows[0, 1] == [False, True]


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 3), st.sampled_from("ABCD")), max_size=8),
    st.sampled_from([0, 1, 2, None]),
)
@settings(max_examples=80, deadline=None)
def test_candidates_are_all_pairs_that_the_schema_and_the_distance_allow(
    places: list[tuple[int, int, str]], distance: int | None
) -> None:
    relations = {
        "AB": {"pairs": [["A", "B"], ["B", "A"]]},
        "AA": {"pairs": [["A", "A"], ["A", "B"]], "symmetric": True},
        "BC": {"pairs": [["B", "C"]], "symmetric": True},
    }
    concepts = {"A": {}, "B": {}, "C": {}}
    pipe: Any = spacy.blank("en").add_pipe("clinie_rel", config={"max_distance": distance})
    pipe.schema = Schema.from_dict({"name": "n", "concepts": concepts, "relations": relations})
    words = ["one", "two", "three", ".", "Four", "five", "six", ".", "Seven", "eight", "nine", "."]
    doc = Doc(spacy.blank("en").vocab, words)
    set_concepts(doc, [Span(doc, start, min(start + length, 12), label) for start, length, label in places])
    spans, starts = get_spans(doc), sentence_starts(doc)
    sentence = [sum(start <= token for start in starts) for token in range(12)]
    expected = {}
    # Of several on the same words and of one type, the first stands for all.
    different = {(span.start, span.end, span.label_): i for i, span in reversed(list(enumerate(spans)))}
    for head, tail in permutations(sorted(different.values()), 2):
        first, second = sorted((spans[head], spans[tail]), key=lambda span: (span.start, span.end))
        apart = sentence[second.start] - sentence[first.end - 1]
        in_order = (spans[head].start, spans[head].end) <= (spans[tail].start, spans[tail].end)
        types = [spans[head].label_, spans[tail].label_]
        row = [
            in_order and (types in spec["pairs"] or types[::-1] in spec["pairs"])
            if spec.get("symmetric")
            else types in spec["pairs"]
            for spec in relations.values()
        ]
        if any(row) and (distance is None or apart <= distance):
            expected[head, tail] = row
    found = pipe.candidates(doc, spans)
    assert len(found.pairs) == len(set(found.pairs))
    assert {pair: row.tolist() for pair, row in zip(found.pairs, found.allowed, strict=True)} == expected
