"""The corpus of clinical notes: annotation of the package, texts of others."""

import csv
import hashlib
import json
from pathlib import Path

import pytest

from spacy_clinie.corpora.catalogue import read_corpus
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import clinical_notes
from spacy_clinie.schema import Schema

# Notes as the three collections have them, and the texts that were annotated.
SECTION, VISIT, CONSULTATION = "Denies fever.\nTakes aspirin 81 mg.", "No rash.", "Cough, nil else\n"
TEXTS = {"mts-7": SECTION, "aci-D2N001": VISIT, "primock-day1-01": CONSULTATION}


@pytest.fixture
def annotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the place of the package's annotation."""
    folder = tmp_path / "annotation"
    folder.mkdir()
    own = {
        "mts-7": {
            "concepts": [[7, 12, "problem", "absent"], [20, 27, "treatment"]],
            "drugs": [[20, 27, "Drug"], [28, 33, "Strength"]],
            "links": [["Strength-Drug", 1, 0]],
            "relations": [["TrAP", 1, 0]],
        },
        "aci-D2N001": {"concepts": [[3, 7, "problem", "absent"]], "drugs": [], "links": [], "relations": []},
        "primock-day1-01": {"concepts": [[0, 5, "problem", "present"]], "drugs": [], "links": [], "relations": []},
    }
    files = {"mts-7": "train", "aci-D2N001": "dev", "primock-day1-01": "test"}
    for name, split in files.items():
        sha1 = hashlib.sha1(TEXTS[name].encode()).hexdigest()
        record = {"id": name, "sha1": sha1, "readers": ["r01"], **own[name]}
        (folder / f"{split}.jsonl").write_text(json.dumps(record) + "\n", encoding="utf8")
    monkeypatch.setattr(clinical_notes, "ANNOTATION", folder)


def write_texts(folder: Path) -> None:
    """The three collections as their repositories have them."""
    folder.mkdir(exist_ok=True)
    with (folder / "sections.csv").open("w", encoding="utf8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ID", "section_header", "section_text", "dialogue"])
        rows.writerow([7, "PLAN", SECTION.replace("\n", "\r\n") + " ", "Doctor: hello"])
    with (folder / "visits.csv").open("w", encoding="utf8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["dataset", "encounter_id", "dialogue", "note"])
        rows.writerow(["virtassist", "D2N001", "[doctor] hello", VISIT])
    record = {"day": 1, "consultation": 1, "note": CONSULTATION}
    (folder / "day1_consultation01.json").write_text(json.dumps(record), encoding="utf8")


def read(folder: Path, report: Report | None = None) -> dict[str, clinical_notes.SourcedNote]:
    return {sourced.note.id: sourced for sourced in clinical_notes.read(folder, report or Report())}


@pytest.mark.usefixtures("annotation")
def test_texts_of_all_collections_are_joined_with_their_annotation(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    report = Report()
    found = read(tmp_path / "texts", report)
    assert {name: sourced.note.text for name, sourced in found.items()} == TEXTS
    assert {name: sourced.split for name, sourced in found.items()} == {
        "mts-7": "train",
        "aci-D2N001": "dev",
        "primock-day1-01": "test",
    }
    note = found["mts-7"].note
    note.check()
    said = {one.id: (note.text[one.start : one.end], one.label, one.attributes) for one in note.concepts}
    assert said == {
        "C0": ("fever", "problem", {"assertion": "absent"}),
        "C1": ("aspirin", "treatment", {}),
        "D0": ("aspirin", "Drug", {}),
        "D1": ("81 mg", "Strength", {}),
    }
    assert {(one.head, one.label, one.tail) for one in note.relations} == {
        ("D1", "Strength-Drug", "D0"),
        ("C1", "TrAP", "C0"),
    }
    assert not report.problems


@pytest.mark.usefixtures("annotation")
def test_texts_may_stand_in_json_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"id": name, "text": text}) for name, text in TEXTS.items()]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines), encoding="utf8")
    assert read(tmp_path / "notes.jsonl").keys() == TEXTS.keys()


@pytest.mark.usefixtures("annotation")
def test_another_text_is_refused_and_a_missing_one_counted(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    (tmp_path / "texts" / "visits.csv").write_text("encounter_id,note\nD2N001,No rush.\n", encoding="utf8")
    (tmp_path / "texts" / "day1_consultation01.json").unlink()
    report = Report()
    assert read(tmp_path / "texts", report).keys() == {"mts-7"}
    assert {(one.reason, one.count) for one in report.remarks("dropped")} == {
        ("text is not the one that was annotated", 1),
        ("text of an annotated note is not there", 1),
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "[1, 2]"),
        ("x.json", "{"),
        ("x.json", '{"day": 1, "consultation": 1}'),
        ("x.csv", "a,b\n1\n"),
        ("x.csv", '"'),
        ("x.jsonl", '{"id": 1, "text": null}\n7\n'),
    ],
)
@pytest.mark.usefixtures("annotation")
def test_files_of_others_are_passed_over(name: str, content: str, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    (tmp_path / "texts" / name).write_text(content, encoding="utf8")
    assert read(tmp_path / "texts").keys() == TEXTS.keys()


@pytest.mark.usefixtures("annotation")
def test_a_folder_without_the_texts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "other.csv").write_text("a,b\n1,2\n", encoding="utf8")
    with pytest.raises(ClinieError, match="CIE250"):
        read(tmp_path / "texts")


def test_the_annotation_of_the_package_fits_its_texts(corpora: Path) -> None:
    report = Report(corpora)
    notes = [sourced.note for sourced in read_corpus("clinical_notes", corpora, report)]
    assert len(notes) == sum(len(clinical_notes.records(split)) for split in ("train", "dev", "test"))
    assert not report.problems
    schema = Schema.load("clinical_notes")
    states = {"present", "absent", "possible", "conditional", "hypothetical", "family"}
    for note in notes:
        note.check()
        labels = {one.id: one.label for one in note.concepts}
        for one in note.concepts:
            said = note.text[one.start : one.end]
            assert said.strip() == said != ""
            assert one.label in schema.concepts
            assert (one.label == "problem") == (one.attributes.get("assertion") in states)
        for relation in note.relations:
            assert relation.label in schema.allowed(labels[relation.head], labels[relation.tail])


def test_no_note_stands_in_two_splits() -> None:
    ids = [record["id"] for split in ("train", "dev", "test") for record in clinical_notes.records(split)]
    texts = [record["sha1"] for split in ("train", "dev", "test") for record in clinical_notes.records(split)]
    assert len(set(ids)) == len(ids)
    assert len(set(texts)) == len(texts)
