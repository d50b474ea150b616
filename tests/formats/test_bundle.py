import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import jsonl
from spacy_clinie.formats.bundle import Ids, at_least_one, find_bundles, make_sound, offsets_problem, replacing
from spacy_clinie.formats.files import write_text
from tests.conftest import SmallDisk

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
    found = find_bundles(tmp_path, (".pubtator.txt", ".pubtator"), report)
    assert [(path.name, split) for path, split in found] == [
        ("dev.pubtator", "dev"),
        ("CDR_TrainingSet.PubTator.txt", "train"),
        ("x.PubTator", "test"),
    ]
    assert {remark.reason: remark.examples for remark in report.remarks("left_out")} == {
        "hidden file": [".hidden.pubtator"],
        "file of another kind, not read": ["more.txt", "NOTES"],
    }
    assert {remark.reason: remark.examples for remark in report.remarks("dropped")} == {
        "file is empty": ["empty.pubtator"]
    }


def test_a_file_that_is_named_may_have_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "notes.ndjson").touch()
    assert [path.name for path, _ in find_bundles(tmp_path / "notes.ndjson", (".jsonl",), Report())] == ["notes.ndjson"]


@pytest.mark.parametrize(("name", "code"), [("missing", "CIE200"), ("", "CIE201")])
def test_nothing_to_read_is_an_error(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(ClinieError) as error:
        find_bundles(tmp_path / name, (".jsonl",), Report())
    assert error.value.code == code


def test_a_corpus_without_notes_is_an_error_that_tells_why() -> None:
    report = Report()
    report.drop("line is not JSON, or breaks off", FILE, 7)
    with pytest.raises(ClinieError, match=r"CIE250.*line is not JSON, or breaks off \(notes.jsonl:7, 1 in all\)"):
        list(at_least_one(iter([]), FILE, "jsonl", report))


def test_equal_ids_are_told_apart_and_counted() -> None:
    report = Report()
    ids = Ids(report)
    assert [ids.unique(name, FILE, 1) for name in ("a", "b", "a", "a", "a-2")] == ["a", "b", "a~2", "a~3", "a-2"]
    assert counts(report, "mended") == {"two notes with one id: the later one got a number behind it": 2}
    assert [ids.unique("", FILE, 7), ids.unique("", FILE)] == ["notes-7", "notes"]
    assert counts(report, "mended")["note without an id: named by its file and line"] == 2


def test_many_equal_ids_are_not_counted_anew_each_time() -> None:
    tried = 0

    class Name(str):
        def __format__(self, spec: str) -> str:
            nonlocal tried
            tried += 1
            return super().__format__(spec)

    ids = Ids(Report())
    name = Name("a")
    assert [ids.unique(name, FILE) for _ in range(100)] == ["a", *(f"a~{number}" for number in range(2, 101))]
    assert tried == 99


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (0, 5, None),
        (4, 5, None),
        (0, 6, "concept outside the text"),
        (-1, 3, "concept outside the text"),
        (3, 3, "concept without characters"),
        (3, 2, "concept that ends before it begins"),
    ],
)
def test_offsets(start: int, end: int, problem: str | None) -> None:
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
    make_sound(note, report, FILE, 3)
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
        "relation to a concept that is not there": 1,
        "relation to a concept that was dropped": 1,
    }
    assert counts(report, "mended") == {
        "fragments that do not fit their concept were left out": 1,
        "half a character (lone surrogate) was replaced": 2,
        "score that is not a number was left out": 2,
        "two concepts with one id: relations go to the first": 1,
    }
    assert {place for remark in report.remarks("mended") for place in remark.examples} == {"notes.jsonl:3"}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "out.jsonl"
    with replacing(file) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as temporary:
        temporary.write_text("ne")
        raise RuntimeError
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("write", [write_text, lambda path, text: jsonl.write([Note("a", text)], path)])
def test_a_file_that_the_disk_has_no_room_for_is_named(
    tmp_path: Path, small_disk: SmallDisk, write: Callable[[Path, str], None]
) -> None:
    with small_disk(1000), pytest.raises(OSError, match="too large") as caught:
        write(tmp_path / "full.jsonl", "x" * 2000)
    assert caught.value.filename == str(tmp_path / "full.jsonl")


def test_a_file_that_cannot_be_begun_is_named(tmp_path: Path) -> None:
    name = "x" * 250  # together with what is added while it is written, too long
    with pytest.raises(OSError, match="too long") as caught, replacing(tmp_path / name) as temporary:
        temporary.write_text("")
    assert caught.value.filename == str(tmp_path / name)


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE251"), replacing(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing tells whether a process lives")
def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(done.stdout)
    end = ".unfinished"
    names = [f".a.jsonl.{dead}{end}", f".a.jsonl.{os.getppid()}{end}", f".a.jsonl.x{end}", f".b.jsonl.{dead}{end}"]
    names += [f".a.jsonl.{dead}", f".a.jsonl.20240101120000{end}"]  # a copy of the user's, the number of no process
    for name in names:
        (tmp_path / name).touch()
    with replacing(tmp_path / "a.jsonl") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "a.jsonl"])
