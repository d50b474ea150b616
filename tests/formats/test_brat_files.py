"""Which files of a brat folder are read, and how they find each other."""

import os
from pathlib import Path

import pytest

from spacy_clinie.errors import ClinieError

from .test_brat import TEXT, put, read, remarks


def test_folders_splits_and_ids(tmp_path: Path) -> None:
    for name in ("Train/x/1", "test_data/1", "development/2", "3"):
        put(tmp_path, name, "text", "T1\tX 0 4\ttext\n")
    put(tmp_path, "README", "about")
    put(tmp_path, "._3", b"\x00\x05")
    found, report = read(tmp_path)
    assert [(sourced.note.id, sourced.split) for sourced in found] == [
        ("3", None),
        ("Train/x/1", "train"),
        ("2", "dev"),
        ("test_data/1", "test"),
    ]
    assert remarks(report, "mended") == {"duplicate note id, the folder was added": ["1.txt", "1.txt"]}
    assert remarks(report, "left_out") == {
        "file about the corpus, not a note": ["README.txt"],
        "hidden file": ["._3.txt"],
    }


def test_files_that_do_not_pair_or_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, "empty-annotation", TEXT, "")
    put(tmp_path, "no-annotation", TEXT)
    put(tmp_path, "empty", "", "T1\tX 0 1\tx\n")
    put(tmp_path, "latin", "caf\xe9".encode("latin-1"), "")
    put(tmp_path, "latin-annotation", "caf\xe9", "T1\tX 0 3\tcaf\nT2\tX 0 4\tcaf\xe9\n".encode("latin-1"))
    (tmp_path / "no-text.ann").write_text("T1\tX 0 1\tx\n")
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["empty-annotation", "empty", "no-annotation"]
    assert remarks(report, "dropped") == {
        "file is not UTF-8": ["latin-annotation.ann:2", "latin.txt:1"],
        "annotation file without a text": ["no-text.ann"],
        "offset past the end of the text": ["empty.ann:1"],
    }
    assert remarks(report, "mended") == {
        "note without an annotation file": ["no-annotation.txt"],
        "note without text, kept": ["empty.txt"],
    }


def test_nothing_to_read(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nowhere", "CIE200"), (tmp_path, "CIE201")):
        with pytest.raises(ClinieError) as error:
            read(path)
        assert error.value.code == code
    put(tmp_path, "a", TEXT)
    with pytest.raises(ClinieError) as error:
        read(tmp_path)
    assert error.value.code == "CIE205"


def test_one_file(tmp_path: Path) -> None:
    put(tmp_path, "a", TEXT, "T1\tX 0 4\tTook\n")
    put(tmp_path, "b", TEXT, "T1\tX 0 4\tTook\n")
    found, _ = read(tmp_path / "b.txt")
    assert [sourced.note.id for sourced in found] == ["b"]


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.TXT").write_text(TEXT)
        (tmp_path / f"{name}.Ann").write_text("T1\tX 0 4\tTook\n")
    found, report = read(tmp_path)
    assert [(sourced.note.id, len(sourced.note.concepts)) for sourced in found] == [("a", 1), ("b", 1)]
    assert report.problems == 0
    (sourced,), _ = read(tmp_path / "b.TXT")
    assert (sourced.note.id, len(sourced.note.concepts)) == ("b", 1)
    put(tmp_path, "a", TEXT, "")
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["a", "b"]
    assert {remark.reason: remark.count for remark in report.remarks("dropped")} == {
        "two file names that differ only in case, the first was read": 2
    }


def test_names_that_are_not_utf8_stay_apart(tmp_path: Path) -> None:
    for name in map(os.fsdecode, (b"\xe8", b"\xe9")):
        put(tmp_path, name, "", "")
    assert [sourced.note.id for sourced in read(tmp_path)[0]] == ["%E8", "%E9"]


def test_a_folder_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a", b"Caf\xe9", "")
    with pytest.raises(ClinieError, match="CIE250"):
        read(tmp_path)


def test_annotations_in_another_folder_than_their_texts(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        put(tmp_path / "text", name, TEXT)
    put(tmp_path / "text" / "deeper", "two", TEXT)
    for name in ("one", "two"):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{name}.ann").write_text("T1\tDrug 5 15\tLisinopril\n")
    found, report = read(tmp_path)
    assert {sourced.note.id: len(sourced.note.concepts) for sourced in found} == {
        "one": 1,
        "text/two": 0,
        "text/deeper/two": 0,
        "three": 0,
    }
    assert remarks(report, "mended")["annotation file in another folder than its text"] == ["one.ann"]
    assert remarks(report, "dropped") == {"annotation file without a text": ["two.ann"]}


def test_utf16_without_a_mark_is_no_text(tmp_path: Path) -> None:
    put(tmp_path, "a", TEXT.encode("utf-16-le"), "T1\tDrug 5 15\tLisinopril\n")
    put(tmp_path, "b", "Took\0 Lisinopril.", "")
    found, report = read(tmp_path)
    assert [sourced.note.text for sourced in found] == ["Took\0 Lisinopril."]
    assert [one.split(":")[0] for one in remarks(report, "dropped")] == ["file is not UTF-8 but probably UTF-16"]
