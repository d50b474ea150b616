from pathlib import Path

import pytest

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats.reading import (
    UniqueIds,
    find_corpus_files,
    offsets_problem,
    repair,
    require_notes,
)

FILE = Path("notes.jsonl")


def counts(report: Report, kind: str) -> dict[str, int]:
    return {remark.reason: remark.count for remark in report.remarks(kind)}


def test_files_are_found_in_order_with_the_split_that_their_names_tell(tmp_path: Path) -> None:
    for name in (
        "b/CDR_TrainingSet.PubTator.txt",
        "a/dev.pubtator",
        "test/x.PubTator",
        ".hidden.pubtator",
        "README.txt",
        "LICENSE",
        ".DS_Store",
        "a/more.txt",
        "b/NOTES",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "a" / "empty.pubtator").touch()
    report = Report()
    found = find_corpus_files(tmp_path, (".pubtator.txt", ".pubtator"), report)
    assert [(path.name, split) for path, split in found] == [
        ("dev.pubtator", "dev"),
        ("CDR_TrainingSet.PubTator.txt", "train"),
        ("x.PubTator", "test"),
    ]
    assert {remark.reason: remark.examples for remark in report.remarks("left_out")} == {
        "hidden file": [".hidden.pubtator"],
        "file of another type, not read": ["more.txt", "NOTES"],
    }
    assert {remark.reason: remark.examples for remark in report.remarks("dropped")} == {
        "empty file": ["empty.pubtator"]
    }


def test_a_file_that_is_named_may_have_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "notes.ndjson").touch()
    assert [path.name for path, _ in find_corpus_files(tmp_path / "notes.ndjson", (".jsonl",), Report())] == [
        "notes.ndjson"
    ]


@pytest.mark.parametrize(("name", "code"), [("missing", "CIE200"), ("", "CIE201")])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(ClinieError) as error:
        find_corpus_files(tmp_path / name, (".jsonl",), Report())
    assert error.value.code == code


def test_a_corpus_without_notes_is_an_error_that_tells_why() -> None:
    report = Report()
    report.drop("line is not valid JSON", FILE, 7)
    with pytest.raises(ClinieError, match=r"CIE250.*line is not valid JSON \(notes.jsonl:7, 1 in total\)"):
        list(require_notes(iter([]), FILE, "jsonl", report))


def test_equal_ids_are_told_apart_and_counted() -> None:
    report = Report()
    ids = UniqueIds(report)
    assert [ids.assign(name, FILE, 1) for name in ("a", "b", "a", "a", "a-2")] == ["a", "b", "a~2", "a~3", "a-2"]
    assert counts(report, "mended") == {"duplicate note id, a number was added to the later one": 2}
    assert [ids.assign("", FILE, 7), ids.assign("", FILE)] == ["notes-7", "notes"]
    assert counts(report, "mended")["note without an id, named after its file and line"] == 2


def test_many_equal_ids_are_not_counted_anew_each_time() -> None:
    tried = 0

    class Name(str):
        def __format__(self, spec: str) -> str:
            nonlocal tried
            tried += 1
            return super().__format__(spec)

    ids = UniqueIds(Report())
    name = Name("a")
    assert [ids.assign(name, FILE) for _ in range(100)] == ["a", *(f"a~{number}" for number in range(2, 101))]
    assert tried == 99


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (0, 5, None),
        (4, 5, None),
        (0, 6, "concept outside the text"),
        (-1, 3, "concept outside the text"),
        (3, 3, "empty concept"),
        (3, 2, "concept that ends before it starts"),
    ],
)
def test_offsets_outside_of_a_text_or_of_nothing_have_a_problem(start: int, end: int, problem: str | None) -> None:
    assert offsets_problem(start, end, 5) == problem


def test_a_note_is_made_sound_and_everything_is_counted() -> None:
    note = Note(
        "n\ud800",
        "rash \udc00 after aspirin",
        [
            Concept("a", 0, 4, "ADE", score=float("nan")),
            Concept("a", 13, 20, "Drug"),
            Concept("b", 13, 99, "Drug"),
            Concept("c", 13, 20, ""),
            Concept("d", 0, 20, "ADE", fragments=[(0, 4), (13, 19)]),
            Concept("e", 0, 20, "ADE", fragments=[(13, 20), (0, 4)]),
            Concept("a-2", 5, 6, "Drug", fragments=[(5, 6)]),
        ],
        [
            Relation("a", "a-2", "ADE-Drug"),
            Relation("a", "b", "ADE-Drug"),
            Relation("a", "zz", "ADE-Drug"),
            Relation("e", "a-2", "ADE-Drug", score=float("inf")),
        ],
    )
    report = Report()
    repair(note, report, FILE, 3)
    note.check()
    assert note == Note(
        "n\ufffd",
        "rash \ufffd after aspirin",
        [
            Concept("a", 0, 4, "ADE"),
            Concept("a~2", 13, 20, "Drug"),
            Concept("d", 0, 20, "ADE"),
            Concept("e", 0, 20, "ADE", fragments=[(0, 4), (13, 20)]),
            Concept("a-2", 5, 6, "Drug"),
        ],
        [Relation("a", "a-2", "ADE-Drug"), Relation("e", "a-2", "ADE-Drug")],
    )
    assert counts(report, "dropped") == {
        "concept outside the text": 1,
        "concept without a type": 1,
        "relation to a missing concept": 1,
        "relation to a concept that was dropped": 1,
    }
    assert counts(report, "mended") == {
        "fragments that do not match their concept, removed": 1,
        "lone surrogate, replaced by U+FFFD": 2,
        "score that is not a finite number, removed": 2,
        "duplicate concept id, relations refer to the first": 1,
    }
    assert {place for remark in report.remarks("mended") for place in remark.examples} == {"notes.jsonl:3"}
