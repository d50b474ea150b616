"""Gold boundaries are token boundaries."""

from pathlib import Path

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.vocab import Vocab

from spacy_clinie.corpora.catalogue import read_corpus
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.report import Report
from spacy_clinie.doc.tokenizer import make_tokenizer

TOKENIZER = make_tokenizer(Vocab())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("25mg po/iv x3d", ["25", "mg", "po", "/", "iv", "x", "3", "d"]),
        ("fever;pt b.i.d.", ["fever", ";", "pt", "b", ".", "i", ".", "d", "."]),
        ("0.5 1,200 0,1 3. 1.2.2020", ["0.5", "1,200", "0", ",", "1", "3", ".", "1.2.2020"]),
        ("nonsmoker none non-smoker", ["non", "smoker", "none", "non", "-", "smoker"]),
        ("dia\u00adbetes aspi\u200brin,25\u2060mg", ["dia\u00adbetes", "aspi\u200brin", ",", "25", "\u2060mg"]),
        (
            "patient's e\u0301te\u0301 30°C ≥10µg",
            ["patient", "'", "s", "e\u0301te\u0301", "30", "°", "C", "≥", "10", "µg"],
        ),
        ("a_b--c\r\n(d)", ["a", "_", "b", "-", "-", "c", "\r", "\n", "(", "d", ")"]),
    ],
)
def test_tokens_are_cut_where_a_concept_may_end(text: str, tokens: list[str]) -> None:
    assert [token.text for token in TOKENIZER(text)] == tokens


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80))
def test_the_text_is_never_changed(text: str) -> None:
    assert TOKENIZER(text).text == text


def test_it_is_a_part_of_a_config_and_of_a_saved_pipeline(tmp_path: Path) -> None:
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    nlp.tokenizer.add_special_case("b.i.d.", [{"ORTH": "b.i.d."}])
    nlp.to_disk(tmp_path)
    assert [token.text for token in spacy.load(tmp_path)("25mg b.i.d.")] == ["25", "mg", "b.i.d."]


@pytest.mark.parametrize("corpus", ["maccrobat2020", "phee", "mtsamples_sdoh", "chia", "ddi2013", "bc5cdr"])
def test_gold_concepts_of_the_open_corpora_align(corpora: Path, corpus: str) -> None:
    concepts = snapped = 0
    for sourced in read_corpus(corpus, corpora, Report()):
        _, moved = doc_from_note(TOKENIZER, sourced.note)
        concepts += len(sourced.note.concepts)
        snapped += len(moved)
    assert concepts > 3000
    assert snapped / concepts <= 0.005
