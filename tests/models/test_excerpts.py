"""Every candidate is decided in exactly one excerpt that fits, with its concepts in it."""

import re

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.concepts import cover
from spacy_clinie.models.excerpts import PairInput, Ranges, one_each, shared
from spacy_clinie.models.pretrained import load_tokenizer
from spacy_clinie.models.wordpieces import make_pieces
from spacy_clinie.schema import Schema

SCHEMA = Schema.from_dict({"name": "mine", "concepts": {"X": {}}, "relations": {"R": {"pairs": [["X", "X"]]}}})
WORDS = ["pain", "aspirin", "25mg", "then", ".", "\n", "Took", "é", "rash,"]


@pytest.mark.parametrize("make", [one_each, shared])
def test_every_candidate_once_and_within_the_window(make, tiny_bert: str) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    nlp = spacy.blank("en")

    @given(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=120),
        st.lists(st.tuples(st.integers(0, 500), st.integers(1, 60)), min_size=2, max_size=12),
        st.integers(16, 64),
    )
    @settings(max_examples=150, deadline=None)
    def check(words: list[str], places: list[tuple[int, int]], size: int) -> None:
        text = " ".join(words)
        doc = nlp(text)
        ends = [(start % len(text), min(start % len(text) + length, len(text))) for start, length in places]
        spans = [cover(doc, start, end, "X") for start, end in ends]
        pairs = [(h, t) for h in range(len(spans)) for t in range(len(spans)) if h != t]
        item = PairInput(doc, spans, [0] * len(spans), pairs, np.ones((len(pairs), 1), dtype=bool), SCHEMA)
        (pieced,) = make_pieces([doc], tokenizer)
        ranges = Ranges(item, pieced.starts, pieced.ends)
        excerpts = make(0, item, ranges, size)
        assert sorted(i for excerpt in excerpts for i in excerpt.pairs) == list(range(len(pairs)))
        for excerpt in excerpts:
            assert len(excerpt.pieces) + 2 * len(excerpt.concepts) <= size
            assert (np.diff(excerpt.pieces) > 0).all()
            assert {concept for i in excerpt.pairs for concept in pairs[i]} == set(excerpt.concepts)
            for i in excerpt.pairs:
                start, stop = ranges.hull(*pairs[i])
                if stop - start <= size - 4:
                    assert set(range(start, stop)) <= set(excerpt.pieces.tolist())

    check()


def test_a_note_full_of_concepts_needs_few_windows(tiny_bert: str) -> None:
    """Windows are shared in long sentences, and by candidates far apart: or a list without line ends takes for ever."""
    doc = spacy.blank("en")("aspirin 25mg , " * 300)
    spans = [cover(doc, i * 15, i * 15 + 7, "X") for i in range(300)]
    pairs = [(h, t) for h in range(300) for t in range(300) if h != t]
    item = PairInput(doc, spans, [0] * 300, pairs, np.ones((len(pairs), 1), dtype=bool), SCHEMA)
    (pieced,) = make_pieces([doc], load_tokenizer(tiny_bert))
    assert len(shared(0, item, Ranges(item, pieced.starts, pieced.ends), 128)) < len(pairs) / 20


def test_sentences_that_no_candidate_connects_are_read_apart(tiny_bert: str) -> None:
    doc = spacy.blank("en")("Took aspirin for pain. Took aspirin for pain. Took aspirin for pain.")
    spans = [cover(doc, match.start(), match.end(), "X") for match in re.finditer("aspirin|pain", doc.text)]
    (pieced,) = make_pieces([doc], load_tokenizer(tiny_bert))

    def sentences(pairs: list[tuple[int, int]]) -> list[str]:
        item = PairInput(doc, spans, [0] * len(spans), pairs, np.ones((len(pairs), 1), dtype=bool), SCHEMA)
        excerpts = shared(0, item, Ranges(item, pieced.starts, pieced.ends), 64)
        ends = [(pieced.starts[one.pieces[0]], pieced.ends[one.pieces[-1]]) for one in excerpts]
        return [doc.text[start:end] for start, end in ends]

    assert sentences([(0, 1), (2, 3), (3, 2), (5, 4)]) == ["Took aspirin for pain."] * 3
    assert sentences([(0, 1), (0, 3), (4, 5)]) == [
        "Took aspirin for pain. Took aspirin for pain.",
        "Took aspirin for pain.",
    ]


def test_rivals_stand_nearer_to_the_other_end_and_are_of_the_same_type(tiny_bert: str) -> None:
    text = "Took aspirin 81 mg daily , ibuprofen , morphine 20 mg daily for pain"
    doc = spacy.blank("en")(text)
    found = list(re.finditer("aspirin|ibuprofen|morphine|81 mg|20 mg|pain", text))
    spans = [cover(doc, match.start(), match.end(), "X") for match in found]
    kinds = np.array([1 if "mg" in span.text else 2 if span.text == "pain" else 0 for span in spans])
    item = PairInput(doc, spans, kinds.tolist(), [], np.zeros((0, 1), dtype=bool), SCHEMA)
    (pieced,) = make_pieces([doc], load_tokenizer(tiny_bert))
    at = {span.text: i for i, span in enumerate(spans)}

    def nearer(head: str, tail: str) -> list[int]:
        return Ranges(item, pieced.starts, pieced.ends).nearer(np.array([[at[head], at[tail]]]), kinds)[0].tolist()

    assert nearer("81 mg", "aspirin") == [0, 0]
    assert nearer("aspirin", "81 mg") == [0, 0]
    assert nearer("20 mg", "ibuprofen") == [0, 1], "morphine is nearer to 20 mg"
    assert nearer("20 mg", "aspirin") == [1, 2]
    assert nearer("aspirin", "morphine") == [1, 1], "ibuprofen lies between; none is its own rival"
    assert nearer("aspirin", "pain") == [2, 0]
