import json

import pytest

from spacy_clinie.corpora import brat, docbin, jsonl
from spacy_clinie.errors import ClinieError
from spacy_clinie.notes import Concept, Note, Relation
from spacy_clinie.scoring.evaluate import evaluate
from spacy_clinie.scoring.scores import score

FORMATS = {"brat": (brat, "notes"), "jsonl": (jsonl, "notes.jsonl"), "docbin": (docbin, "notes.spacy")}


def make_notes(shift):
    """Two notes; in the second every end is moved by `shift`, so that a concept does not end with a token."""
    notes = []
    for note_id, by in (("a", 0), ("b", shift)):
        concepts = [Concept("T1", 0, 4 + by, "ADE"), Concept("T2", 11, 18, "Drug")]
        notes.append(Note(note_id, "rash after aspirin\r\n", concepts, [Relation("T1", "T2", "ADE-Drug")]))
    return notes


def store(notes, form, folder):
    module, name = FORMATS[form]
    folder.mkdir()
    module.write(notes, folder / name)
    return folder / name


@pytest.mark.parametrize("gold_form", FORMATS)
@pytest.mark.parametrize("predicted_form", FORMATS)
def test_every_format_against_every_other(gold_form, predicted_form, tmp_path):
    gold = store(make_notes(0), gold_form, tmp_path / "gold")
    predicted = store(make_notes(-1), predicted_form, tmp_path / "predicted")
    result = evaluate(gold, predicted, seed=3, resamples=50)
    assert result.pop("reading") == {"gold": [], "predicted": []}
    assert result == score(make_notes(0), make_notes(-1), seed=3, resamples=50)
    assert result["concepts"]["strict"]["micro"]["tp"] == 3
    assert result["relations"]["lenient"]["micro"]["f1"] == 1


def test_what_could_not_be_read_is_said(tmp_path):
    gold = store(make_notes(0), "jsonl", tmp_path / "gold")
    predicted = store(make_notes(0), "jsonl", tmp_path / "predicted")
    with predicted.open("a", encoding="utf8") as file:
        file.write('{"id": "broken off\n')
    result = evaluate(gold, predicted)
    assert result["concepts"]["strict"]["micro"]["f1"] == 1
    assert result["reading"]["gold"] == []
    (problem,) = result["reading"]["predicted"]
    assert (problem["count"], problem["examples"], problem["dropped"]) == (1, ["notes.jsonl:3"], True)
    json.dumps(result)


def test_two_sides_without_a_common_note_are_no_score(tmp_path):
    gold, predicted = store(make_notes(0), "jsonl", tmp_path / "gold"), make_notes(0)
    for note in predicted:
        note.id = f"ward/{note.id}"
    with pytest.raises(ClinieError, match=r"CIE405.*'a' and 'ward/a'"):
        evaluate(gold, store(predicted, "jsonl", tmp_path / "predicted"))


def test_suffixes_in_capitals(tmp_path):
    jsonl.write(make_notes(0), tmp_path / "GOLD.JSONL")
    docbin.write(make_notes(0), tmp_path / "PREDICTED.SPACY")
    assert evaluate(tmp_path / "GOLD.JSONL", tmp_path / "PREDICTED.SPACY")["missing_documents"] == 0


@pytest.mark.parametrize("name, problem", [("nowhere.jsonl", "no such file"), ("notes.txt", r"'\.txt' are not known")])
def test_what_cannot_be_scored(name, problem, tmp_path):
    gold = store(make_notes(0), "jsonl", tmp_path / "gold")
    (tmp_path / "notes.txt").write_text("rash")
    with pytest.raises(ClinieError, match=f"CIE403.*{problem}"):
        evaluate(gold, tmp_path / name)
