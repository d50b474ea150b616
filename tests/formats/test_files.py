import os
import sys
from pathlib import Path

import pytest

from spacy_clinie.doc.note import Note
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats.files import (
    check_output_path,
    find_files,
    find_notes,
    note_path,
    numbered_lines,
    split_from_path,
    writable_notes,
    write_text,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def counts(report: Report, kind: str) -> dict[str, int]:
    return {remark.reason: remark.count for remark in report.remarks(kind)}


def test_links_to_folders_are_followed_and_nothing_is_read_twice(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/1.txt", "elsewhere/2.txt", "elsewhere/sub/3.txt")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "in" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "z").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "4.txt").symlink_to(tmp_path / "elsewhere" / "2.txt")
    report = Report()
    found = find_files(tmp_path / "in", ".txt", report)
    assert [file.relative_to(tmp_path / "in").as_posix() for file in found] == [
        "4.txt",
        "b/1.txt",
        "z/2.txt",
        "z/sub/3.txt",
    ]
    # in/a, in/b/up/in, in/b/up/elsewhere
    assert counts(report, "left_out") == {"link to a folder that is read already": 3}
    assert report.problems == 0


def test_what_cannot_be_opened_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.txt", "closed/b.txt")
    (tmp_path / "c.txt").symlink_to(tmp_path / "gone.txt")
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = Report()
    assert [file.name for file in find_files(tmp_path, ".txt", report)] == ["a.txt"]
    assert counts(report, "dropped") == {"file cannot be opened": 1, "folder cannot be opened": 1}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("val", "dev"),
        ("test_data", "test"),
        ("training_20180910", "train"),
        ("concept_assertion_relation_training_data", "train"),
        ("reference_standard_for_test_data", "test"),
        ("gold-standard-test-data", "test"),
        ("CDR_TrainingSet.PubTator.txt", "train"),
        ("CDR_DevelopmentSet.BioC.xml", "dev"),
        ("TestSet", "test"),
        ("dev.json", "dev"),
        ("valid", "dev"),
        ("notes_train.jsonl", "train"),
        ("notes.train.jsonl", "train"),
        ("train_v2", "train"),
        ("test2.jsonl", "test"),
        ("lab_test", None),
        ("stress-test", None),
        ("LabTest", None),
        ("test_results", None),
        ("nurse_training", None),
        ("child_development", None),
        ("lab_test.jsonl", None),
        ("train_and_dev", None),
        ("data", None),
        ("2018", None),
        (".json", None),
    ],
)
def test_the_split_that_a_name_tells(tmp_path: Path, name: str, split: str | None) -> None:
    assert split_from_path(tmp_path / name, tmp_path) == split


def test_the_nearest_name_decides_and_the_root_only_if_it_is_a_split(tmp_path: Path) -> None:
    assert split_from_path(tmp_path / "train" / "lab_test" / "a", tmp_path) == "train"
    assert split_from_path(tmp_path / "train" / "test", tmp_path) == "test"
    assert split_from_path(tmp_path / "Validation" / "a", tmp_path / "Validation") == "dev"
    assert split_from_path(tmp_path / "test_data" / "a", tmp_path / "test_data") is None


def test_files_about_a_corpus_are_notes_if_they_are_annotated(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "README.txt", "source.txt")
    report = Report()
    assert [note.id for note in find_notes(tmp_path, ".txt", report)] == ["a"]
    assert counts(report, "left_out") == {"file about the corpus, not a note": 2}
    found = find_notes(tmp_path, ".txt", Report(), [tmp_path / "source.ann"])
    assert [note.id for note in found] == ["a", "source"]


def test_lines_end_with_a_carriage_return_only_where_there_is_nothing_else() -> None:
    assert list(numbered_lines("\ufeffa\rb\u2028c\r")) == [(1, "a"), (2, "b\u2028c"), (3, "")]
    assert list(numbered_lines("a\rb\r\nc\n")) == [(1, "a\rb"), (2, "c"), (3, "")]


def test_a_target_that_would_be_read_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jsonl")
    folder, file = tmp_path / "in", tmp_path / "in" / "a.jsonl"
    (tmp_path / "link.jsonl").symlink_to(file)
    for source, target in ((file, file), (file, tmp_path / "link.jsonl"), (folder, folder / "sub" / "b.JSONL")):
        with pytest.raises(ClinieError, match="CIE434"):
            check_output_path(source, target, (".jsonl",))
    check_output_path(folder, folder / "b.spacy", (".jsonl",))
    check_output_path(file, folder / "b.jsonl", (".jsonl",))
    check_output_path(folder, tmp_path / "b.jsonl", (".jsonl",))


def test_a_name_that_is_not_utf8_makes_a_whole_id(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"pati\xebnt.txt")).touch()
    report = Report(tmp_path)
    (found,) = find_notes(tmp_path, ".txt", report)
    assert found.id == "pati%EBnt"
    (remark,) = report.remarks("mended")
    assert remark.examples == ["pati?nt.txt"]


def test_files_are_named_by_their_path_in_the_corpus(tmp_path: Path) -> None:
    report = Report(tmp_path / "in")
    for file in (tmp_path / "in" / "uw" / "1.ann", tmp_path / "out" / "1.ann", tmp_path / "in"):
        report.drop("x", file, 3)
    assert report.remarks("dropped")[0].examples == ["uw/1.ann:3", "1.ann:3", "in:3"]


@pytest.mark.parametrize(("system", "refused"), [("linux", False), ("darwin", True), ("win32", True)])
def test_ids_that_a_disk_does_not_tell_apart(system: str, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    notes = [Note("A1", "x"), Note("a1", "y")]
    if refused:
        with pytest.raises(ClinieError, match="CIE204"):
            list(writable_notes(notes))
    else:
        assert list(writable_notes(notes)) == notes


def test_a_colon_in_an_id_is_no_hidden_part_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert note_path(tmp_path, "2020-01-01 10:30", ".txt").name == "2020-01-01 10:30.txt"
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ClinieError, match="CIE203"):
        note_path(tmp_path, "2020-01-01 10:30", ".txt")


def test_an_id_that_is_too_long_for_a_file_name_is_refused(tmp_path: Path) -> None:
    longest = "ä" * 125 + "b"
    for note_id in (longest, f"{longest}cccc/a"):
        write_text(note_path(tmp_path, note_id, ".txt"), "")
    for note_id in (f"{longest}c", f"{longest}ccccc/a"):
        with pytest.raises(ClinieError, match=r"CIE203.*251 bytes"):
            note_path(tmp_path, note_id, ".txt")


def test_files_that_nothing_reads_are_counted(tmp_path: Path) -> None:
    for name in ("a.txt", "a.ann", "b.rtf", "annotation.conf", "README", "source.md", ".git/x", "sub/c.TXT"):
        write_text(tmp_path / name, "text")
    report = Report(tmp_path)
    assert [note.id for note in find_notes(tmp_path, ".txt", report, (), (".ann",))] == ["a", "c"]
    told = {remark.reason: remark.examples for remark in report.remarks("left_out")}
    assert told == {"file of another type, not read": ["annotation.conf", "b.rtf"]}


def test_a_link_to_itself_is_no_file(tmp_path: Path) -> None:
    link = tmp_path / "loop"
    link.symlink_to(link)
    check_output_path(link, tmp_path / "out.jsonl")
    with pytest.raises(ClinieError, match="CIE200"):
        find_notes(link, ".txt", Report())
    with pytest.raises(OSError, match="loop"):
        write_text(link / "a.txt", "text")
    assert split_from_path(link, link) is None
