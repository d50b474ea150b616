"""Notes written as brat files, and read back."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat
from tests.formats.test_brat import TEXT, read, remarks


def test_a_concept_across_lines_is_written_as_one_fragment(tmp_path: Path) -> None:
    note = Note("n", "sore\r\nthroat", [Concept("T1", 0, 12, "A")])
    brat.write([note], tmp_path)
    assert (tmp_path / "n.txt").read_bytes() == b"sore\r\nthroat"
    assert (tmp_path / "n.ann").read_bytes() == b"T1\tA 0 12\tsore  throat\n"
    (sourced,), report = read(tmp_path)
    assert sourced.note == note
    assert report.problems == 0


def test_writing_replaces_ids_that_are_not_brats(tmp_path: Path) -> None:
    concepts = [Concept("x", 0, 4, "A"), Concept("T1", 5, 15, "B"), Concept("7", 16, 19, "C", score=0.5)]
    brat.write([Note("n", TEXT, concepts, [Relation("7", "x", "of", 0.5)])], tmp_path)
    (sourced,), _ = read(tmp_path)
    assert sourced.note.concepts == [Concept("T2", 0, 4, "A"), Concept("T1", 5, 15, "B"), Concept("T3", 16, 19, "C")]
    assert sourced.note.relations == [Relation("T3", "T2", "of")]


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (Note("a", "text", [Concept("T1", 0, 4, "two words")]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X", attributes={"k": "two\nlines"})]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X", attributes={"k": ""})]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X")], [Relation("T1", "T1", "")]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 9, "X")]), "CIE004"),
        (Note("a", "te\ud800t", []), "CIE202"),
        (Note("../a", "text", []), "CIE203"),
        (Note("", "text", []), "CIE203"),
    ],
)
def test_what_brat_cannot_hold(tmp_path: Path, note: Note, code: str) -> None:
    with pytest.raises(ClinieError) as error:
        brat.write([note], tmp_path / "out")
    assert error.value.code == code
    assert "te" not in str(error.value).replace("text", "").split()
    assert not (tmp_path / "out").exists()


def test_notes_that_are_empty_or_called_like_files_about_a_corpus_are_read_back(tmp_path: Path) -> None:
    notes = [Note("License", TEXT), Note("empty", ""), Note("readme", TEXT, [Concept("T1", 0, 4, "X")])]
    brat.write(notes, tmp_path)
    found, report = read(tmp_path)
    assert [sourced.note for sourced in found] == notes
    assert remarks(report, "left_out") == {}


def test_ids_with_a_slash_stay_apart_and_shortened_ones_are_told(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        brat.write([Note("a/1", TEXT), Note("b/1", TEXT), Note("2", TEXT)], tmp_path / "both")
    assert [sourced.note.id for sourced in read(tmp_path / "both")[0]] == ["2", "a/1", "b/1"]
    with pytest.warns(ClinieWarning, match=r"CIE207\] 1 note ids.*'a/1'.*'1'"):
        brat.write([Note("a/1", TEXT), Note("2", TEXT)], tmp_path / "one")
    assert [sourced.note.id for sourced in read(tmp_path / "one")[0]] == ["2", "1"]


def test_two_notes_to_write_with_one_id(tmp_path: Path) -> None:
    with pytest.raises(ClinieError) as error:
        brat.write([Note("a", "x"), Note("a", "y")], tmp_path)
    assert error.value.code == "CIE204"


words = st.text(st.characters(blacklist_categories=("Cs", "Zs", "Zl", "Zp", "Cc")), min_size=1, max_size=5)

values = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n"), min_size=1, max_size=8)
values = values.filter(lambda value: value == value.strip(" \t"))


@st.composite
def notes(draw: st.DrawFn) -> Note:
    """Any text without lone surrogates, line ends of every kind among it; any spans, fragments and relations."""
    odd = st.sampled_from("\n\r\t \x0b\x0c\x1c\x85\u2028\ufeff\x00;\U0001f600")
    text = draw(st.text(st.one_of(odd, st.characters(blacklist_categories=("Cs",))), min_size=1, max_size=30))
    span = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda s: s[0] != s[1])
    concepts = []
    for number in range(draw(st.integers(0, 4))):
        pieces = sorted((min(s), max(s)) for s in draw(st.lists(span, min_size=1, max_size=3)))
        concepts.append(
            Concept(
                f"T{number + 1}",
                pieces[0][0],
                max(end for _, end in pieces),
                draw(words),
                fragments=pieces if len(pieces) > 1 else [],
                attributes=draw(st.dictionaries(words, values, max_size=2)),
            )
        )
    relations = []
    if concepts:
        ends = st.sampled_from([concept.id for concept in concepts])
        triples = draw(st.lists(st.tuples(ends, ends, words), max_size=4, unique=True))
        relations = [Relation(*triple) for triple in triples]
    return Note("note", text, concepts, relations)


@settings(max_examples=150, deadline=None)
@given(notes())
def test_what_is_written_is_read_back(note: Note) -> None:
    with TemporaryDirectory() as folder:
        brat.write([note], Path(folder))
        (sourced,), report = read(Path(folder))
    assert sourced.note == note
    assert report.problems == 0
