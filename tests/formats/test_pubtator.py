import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import pubtator

TITLE, ABSTRACT = "Zyxomab and gout.", "Gout or rash, after zyxomab; two quellin users."
TEXT = f"{TITLE}\n{ABSTRACT}"


def row(word: str, kind: str, identifier: str, nth: int = 0, number: int = 1) -> str:
    start = -1
    for _ in range(nth + 1):
        start = TEXT.index(word, start + 1)
    return f"{number}\t{start}\t{start + len(word)}\t{word}\t{kind}\t{identifier}"


HEAD = [f"1|t|{TITLE}", f"1|a|{ABSTRACT}"]
ZYXOMAB, GOUT, RASH = row("Zyxomab", "Chemical", "D1"), row("gout", "Disease", "D2"), row("rash", "Disease", "D3")
LATER_ZYXOMAB = row("zyxomab", "Chemical", "D1")


def read(tmp_path: Path, *lines: str | bytes, end: str = "\n") -> tuple[list[Note], Report]:
    data = end.encode().join(line if isinstance(line, bytes) else line.encode() for line in lines)
    (tmp_path / "set.PubTator.txt").write_bytes(data)
    report = Report()
    return [sourced.note for sourced in pubtator.read(tmp_path, report)], report


def remarks(report: Report) -> dict[str, list[str]]:
    return {r.reason: r.examples for kind in ("dropped", "mended") for r in report.remarks(kind)}


def texts(note: Note) -> dict[str, str]:
    return {concept.id: note.text[concept.start : concept.end] for concept in note.concepts}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_document_has_concepts_and_relations(tmp_path: Path, end: str) -> None:
    (note,), report = read(tmp_path, *HEAD, ZYXOMAB, GOUT, "1\tCID\tD1\tD2", "", end=end)
    assert note == Note(
        "1",
        TEXT,
        [
            Concept("T1", 0, 7, "Chemical", attributes={"identifier": "D1"}),
            Concept("T2", 12, 16, "Disease", attributes={"identifier": "D2"}),
        ],
        [Relation("T1", "T2", "CID")],
    )
    assert report.problems == 0


def test_a_relation_is_between_the_closest_mentions(tmp_path: Path) -> None:
    (note,), _ = read(tmp_path, *HEAD, ZYXOMAB, RASH, LATER_ZYXOMAB, "1\tCID\tD1\tD3")
    (relation,) = note.relations
    assert (note.concepts[2].id, relation.head, relation.tail) == ("T3", "T3", "T2")


def test_a_mention_of_several_identifiers_takes_part_in_the_relations_of_each(tmp_path: Path) -> None:
    both = row("Gout or rash", "Disease", "D2|D3") + "\tgout|rash"
    relations = ["1\tCID\tD1\tD3", "1\tCID\tD1\tD2"]
    (note,), _ = read(tmp_path, *HEAD, ZYXOMAB, both, *relations)
    assert note.relations == [Relation("T1", "T2", "CID")] * 2
    assert note.concepts[1].attributes == {"identifier": "D2|D3", "composite": "gout|rash"}
    pubtator.write([note], tmp_path / "out.PubTator")
    assert (tmp_path / "out.PubTator").read_text().split("\n")[4:6] == relations


def test_empty_titles_and_abstracts_count_as_they_stand(tmp_path: Path) -> None:
    notes, report = read(
        tmp_path, "1|t|", "1|a|Rash.", "1\t1\t5\tRash\tDisease\tD3", "", "2|t| Rash. ", "2\t1\t5\tRash\tDisease"
    )
    assert [note.text for note in notes] == ["\nRash.", " Rash. "]
    assert [texts(note) for note in notes] == [{"T1": "Rash"}] * 2
    assert report.problems == 0


def test_documents_need_no_blank_line_between_them(tmp_path: Path) -> None:
    notes, _ = read(tmp_path, "1|t|One.", "2|t|Two.", "2|a|More.", "", "", "3|t|Three.")
    assert [note.text for note in notes] == ["One.", "Two.\nMore.", "Three."]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1\t0\t400\tzyxomab\tChemical\tD1", "concept outside the text"),
        ("1\t4\t4\tzyxomab\tChemical\tD1", "empty concept"),
        ("1\t-4\t4\tzyxomab\tChemical\tD1", "concept outside the text"),
        ("1\t0\t7\tzyxomab\t\tD1", "mention without a type"),
        ("1\tnought\t7\tZyxomab\tChemical\tD1", "line that is neither a mention nor a relation"),
        ("1\t0\t7\tzyxo", "mention without a type"),
        ("1\t0", "line that is neither a mention nor a relation"),
        ("9\t0\t7\tZyxomab\tChemical\tD1", "line with the id of another document"),
        ("1|a|Another one.", "second abstract of a document"),
        ("1\tCID\tD1\tD9", "relation to an identifier without a mention"),
        ("1\tCID\tD1\tD1", "relation between an identifier and itself, with a single mention"),
        ("1\t12\t16\tzyxo\tDisease\tD2", "recorded text differs from the text at the offsets"),
    ],
)
def test_a_bad_line_is_counted_and_the_others_are_read(tmp_path: Path, line: str, reason: str) -> None:
    (note,), report = read(tmp_path, *HEAD, ZYXOMAB, line, RASH, "1\tCID\tD1\tD3")
    assert {"Zyxomab", "rash"} <= set(texts(note).values())
    assert len(note.relations) == 1
    assert remarks(report) == {reason: ["set.PubTator.txt:4"]}
    assert "zyxo" not in json.dumps(report.to_dict())


def test_columns_that_have_no_place_are_counted(tmp_path: Path) -> None:
    lines = [f"{ZYXOMAB}\t\tzyxo\tzyxo", f"{RASH}\t\t", "1\tCID\tD1\tD3\tNovel", "1\tCID\tD3\tD1\t"]
    (note,), report = read(tmp_path, *HEAD, *lines)
    assert (len(note.concepts), len(note.relations)) == (2, 2)
    assert [(remark.reason, remark.examples) for remark in report.remarks("left_out")] == [
        ("additional column of a mention", ["set.PubTator.txt:3"]),
        ("additional column of a relation", ["set.PubTator.txt:5"]),
    ]
    assert report.problems == 0


def test_identifiers_are_looked_at_once_for_each_mention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identified: list[Concept] = []
    compared: list[int] = []
    identifiers, closest = pubtator._identifiers, pubtator.closest_pair

    def look(concept: Concept) -> set[str]:
        identified.append(concept)
        return identifiers(concept)

    def compare(heads: list[Concept], tails: list[Concept]) -> tuple[Concept, Concept] | None:
        compared.append(len(heads) * len(tails))
        return closest(heads, tails)

    monkeypatch.setattr(pubtator, "_identifiers", look)
    monkeypatch.setattr(pubtator, "closest_pair", compare)
    (note,), _ = read(tmp_path, *HEAD, *[ZYXOMAB, RASH] * 10, *["1\tCID\tD1\tD3", "1\tNO\tD1\tD3"] * 10)
    assert (len(note.concepts), len(note.relations)) == (20, 20)
    assert (len(identified), compared) == (20, [100])


def test_lines_outside_of_documents_and_doubled_ids_are_counted(tmp_path: Path) -> None:
    notes, report = read(tmp_path, "zyxomab", "", "1|t|One.", "", "1|t|Again.")
    assert [note.id for note in notes] == ["1", "1~2"]
    assert remarks(report) == {
        "line outside of a document": ["set.PubTator.txt:1"],
        "duplicate note id, a number was added to the later one": ["set.PubTator.txt:5"],
    }


@pytest.mark.parametrize("lines", [[""], ["zyxomab"], [b"1|t|\xff"]])
def test_a_file_without_documents_is_an_error(tmp_path: Path, lines: list[Any]) -> None:
    with pytest.raises(ClinieError, match="CIE250") as error:
        read(tmp_path, *lines)
    assert "zyxomab" not in str(error.value)


@pytest.mark.parametrize(
    "note",
    [
        Note("1", "One\ntwo\nthree"),
        Note("1", "One\r\ntwo"),
        Note("1|t", "One"),
        Note("1", "One\ttwo", [Concept("a", 0, 7, "X")]),
        Note("1", "One\ntwo", [Concept("a", 0, 7, "X")]),
        Note("1", "One two", [Concept("a", 0, 7, "X", fragments=[(0, 3), (4, 7)])]),
        Note("1", "One two", [Concept("a", 0, 7, "X\tY")]),
        Note("1", "One two", [Concept("a", 0, 3, "X"), Concept("b", 4, 7, "X")], [Relation("a", "b", "7")]),
    ],
)
def test_what_the_format_cannot_hold_is_an_error(tmp_path: Path, note: Note) -> None:
    with pytest.raises(ClinieError, match="CIE252"):
        pubtator.write([note], tmp_path / "out.PubTator")
    assert list(tmp_path.iterdir()) == []


def test_concepts_of_other_origin_get_their_id_as_identifier(tmp_path: Path) -> None:
    concepts = [Concept("a", 0, 7, "Chemical"), Concept("b", 12, 16, "Disease")]
    pubtator.write([Note("1", TEXT, concepts, [Relation("a", "b", "CID")])], tmp_path / "out.PubTator")
    (sourced,) = pubtator.read(tmp_path, Report())
    assert [concept.attributes["identifier"] for concept in sourced.note.concepts] == ["a", "b"]
    assert sourced.note.relations == [Relation("T1", "T2", "CID")]


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """The lines of a document, with identifiers that mentions share."""
    words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t"), min_size=2, max_size=12)
    title, abstract = draw(words), draw(words)
    text = f"{title}\n{abstract}"
    lines, known = [f"1|t|{title}", f"1|a|{abstract}"], set()
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(text) - 2))
        if "\n" in text[start : start + 2]:
            continue
        identifiers = draw(st.lists(st.sampled_from(["D1", "D2", "D3"]), min_size=1, max_size=2, unique=True))
        known.add(tuple(identifiers))
        lines.append(f"1\t{start}\t{start + 2}\t{text[start : start + 2]}\tX\t{'|'.join(identifiers)}")
    pairs = [(a, b) for first in known for second in known if first != second for a in first for b in second]
    chosen = draw(st.lists(st.sampled_from(sorted(set(pairs))), max_size=4, unique=True)) if pairs else []
    return lines + [f"1\tCID\t{first}\t{second}" for first, second in chosen]


@settings(max_examples=150, deadline=None)
@given(documents())
def test_what_is_read_is_written_back_line_by_line(lines: list[str]) -> None:
    with TemporaryDirectory() as folder:
        notes, report = read(Path(folder), *lines)
        assert report.problems == 0
        pubtator.write(notes, Path(folder) / "back.txt")
        assert (Path(folder) / "back.txt").read_bytes().decode().split("\n") == [*lines, "", ""]


def test_counts_of_bc5cdr(corpora: Path, tmp_path: Path) -> None:
    report = Report()
    splits: Counter[str | None] = Counter()
    notes = []
    for sourced in pubtator.read(corpora / "bc5cdr", report):
        sourced.note.check()
        report.add(sourced.note)
        splits[sourced.split] += 1
        notes.append(sourced.note)
    assert splits == {"train": 500, "dev": 500, "test": 500}
    assert report.concepts == {"Chemical": 15935, "Disease": 12850}
    assert report.relations == {"CID": 3116}
    assert report.problems == 0 and report.remarks("left_out") == []
    pubtator.write(notes, tmp_path / "back.PubTator")
    files = sorted((corpora / "bc5cdr").glob("*.PubTator.txt"))
    # The only difference: the corpus has an empty last column in a few lines.
    originals = [line.rstrip("\t") for file in files for line in file.read_text("utf-8").split("\n")]
    assert [line for line in (tmp_path / "back.PubTator").read_text("utf-8").split("\n") if line] == [
        line for line in originals if line
    ]


def test_a_document_that_is_not_utf8_leaves_the_others(tmp_path: Path) -> None:
    notes, report = read(tmp_path, *HEAD, ZYXOMAB, "", b"2|t|Caf\xe9", b"2|a|x", "", "3|t|Gout", "3|a|")
    assert [note.id for note in notes] == ["1", "3"]
    assert remarks(report) == {"document that is not UTF-8": ["set.PubTator.txt:5"]}


@pytest.mark.parametrize(("unit", "starts"), [("UTF-16 units", (3, 14)), ("bytes", (5, 16))])
def test_offsets_that_count_otherwise_are_translated(tmp_path: Path, unit: str, starts: tuple[int, int]) -> None:
    rows = [
        f"1\t{start}\t{start + len(word)}\t{word}\tX" for start, word in zip(starts, ("Rash", "zyxomab"), strict=True)
    ]
    (note,), report = read(tmp_path, "1|t|\U0001f600 Rash after", "1|a|zyxomab", *rows)
    assert list(texts(note).values()) == ["Rash", "zyxomab"]
    assert list(remarks(report)) == [f"offsets count {unit}, converted to characters"]


def test_a_tab_within_a_mention_moves_no_column(tmp_path: Path) -> None:
    (note,), report = read(tmp_path, "1|t|Rash\tnow", "1|a|", "1\t0\t8\tRash\tnow\tDisease\tD1")
    assert note.concepts == [Concept("T1", 0, 8, "Disease", attributes={"identifier": "D1"})]
    assert report.problems == 0


def test_identifiers_with_blanks_are_written_as_they_were(tmp_path: Path) -> None:
    lines = [*HEAD, row("Zyxomab", "Chemical", "D1, D4"), row("gout", "Disease", "D2|D3")]
    notes, report = read(tmp_path, *lines, "1\tCID\tD1, D4\tD3", "1\tCID\tD4\tD2", "")
    assert len(notes[0].relations) == 2
    pubtator.write(notes, tmp_path / "set.PubTator.txt")
    assert (tmp_path / "set.PubTator.txt").read_text() == "\n".join(
        [*lines, "1\tCID\tD1, D4\tD3", "1\tCID\tD4\tD2", "", ""]
    )
    assert report.problems == 0


def test_only_ends_of_relations_get_an_identifier(tmp_path: Path) -> None:
    concepts = [Concept("D1", 0, 7, "Chemical"), Concept("b", 12, 16, "Disease", attributes={"identifier": "D1"})]
    note = Note("1", TEXT, [*concepts, Concept("c", 25, 29, "Disease")], [Relation("D1", "b", "CID")])
    pubtator.write([note], tmp_path / "set.PubTator.txt")
    lines = (tmp_path / "set.PubTator.txt").read_text().splitlines()
    assert [line.split("\t")[4:] for line in lines[2:5]] == [["Chemical", "D1'"], ["Disease", "D1"], ["Disease"]]
    assert lines[5] == "1\tCID\tD1'\tD1"
