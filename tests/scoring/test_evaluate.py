import json

import pytest
import spacy
from spacy.tokens import DocBin, Span

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, docbin, jsonl
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
    assert (problem["count"], problem["examples"], problem["kind"]) == (1, ["notes.jsonl:3"], "dropped")
    json.dumps(result)


def test_two_sides_without_a_common_note_are_no_score(tmp_path):
    gold, predicted = store(make_notes(0), "jsonl", tmp_path / "gold"), make_notes(0)
    for note in predicted:
        note.id, note.text = f"ward/{note.id}", f"{note.text}."
    with pytest.raises(ClinieError, match=r"CIE405.*'a' and 'ward/a'"):
        evaluate(gold, store(predicted, "jsonl", tmp_path / "predicted"))


def test_suffixes_in_capitals_are_known(tmp_path):
    jsonl.write(make_notes(0), tmp_path / "GOLD.JSONL")
    docbin.write(make_notes(0), tmp_path / "PREDICTED.SPACY")
    assert evaluate(tmp_path / "GOLD.JSONL", tmp_path / "PREDICTED.SPACY")["missing_documents"] == 0


@pytest.mark.parametrize(
    "name, problem", [("nowhere.jsonl", "no such file"), ("notes.txt", r"'\.txt' are not supported")]
)
def test_what_cannot_be_scored(name, problem, tmp_path):
    gold = store(make_notes(0), "jsonl", tmp_path / "gold")
    (tmp_path / "notes.txt").write_text("rash")
    with pytest.raises(ClinieError, match=f"CIE403.*{problem}"):
        evaluate(gold, tmp_path / name)


def test_notes_that_lost_their_folder_in_files_are_paired(tmp_path):
    gold = make_notes(0)
    for note in gold:
        note.id = f"test/uw/{note.id}"
    with pytest.warns(ClinieWarning, match="CIE207"):
        predicted = store(gold, "brat", tmp_path / "predicted")
    result = evaluate(store(gold, "jsonl", tmp_path / "gold"), predicted)
    assert result["concepts"]["strict"]["micro"]["f1"] == 1
    (problem,) = result["reading"]["predicted"]
    assert (problem["kind"], sorted(problem["examples"])) == ("mended", sorted(note.id[8:] for note in gold))


def test_what_lies_elsewhere_on_a_doc_is_said(tmp_path):
    doc = spacy.blank("en")("Took aspirin.")
    doc.user_data["clinie_id"] = "a"
    doc.spans["sc"] = [Span(doc, 1, 2, "Drug")]
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "predicted.spacy")
    gold = tmp_path / "gold.jsonl"
    jsonl.write([Note("a", doc.text, [Concept("C1", 5, 12, "Drug")])], gold)
    (problem,) = evaluate(gold, tmp_path / "predicted.spacy")["reading"]["predicted"]
    assert (problem["kind"], problem["reason"]) == ("left_out", "spans of another group: sc")


def test_a_schema_puts_both_sides_into_its_types(tmp_path):
    """Raw gold files know neither merged types nor that a relation has no direction."""
    (tmp_path / "schema.yml").write_text(
        """name: mine
concepts:
  Drug: {merge: [Drug, Brand]}
relations:
  with:
    symmetric: true
    pairs: [[Drug, Drug]]
"""
    )
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold" / "n.txt").write_text("Aspirin and Tylenol.")
    (tmp_path / "gold" / "n.ann").write_text(
        "T1\tDrug 0 7\tAspirin\nT2\tBrand 12 19\tTylenol\nR1\twith Arg1:T2 Arg2:T1\n"
    )
    found = {"id": "n", "text": "Aspirin and Tylenol.", "relations": [{"head": "a", "tail": "b", "label": "with"}]}
    found["concepts"] = [
        {"id": name, "start": start, "end": end, "label": "Drug"} for name, start, end in (("a", 0, 7), ("b", 12, 19))
    ]
    (tmp_path / "found.jsonl").write_text(json.dumps(found))
    for schema, expected in ((None, [0.5, 0.0]), (tmp_path / "schema.yml", [1.0, 1.0])):
        result = evaluate(tmp_path / "gold", tmp_path / "found.jsonl", schema=schema)
        assert [result[kind]["strict"]["micro"]["f1"] for kind in ("concepts", "relations")] == expected


def test_docs_without_ids_are_paired_by_their_texts(tmp_path):
    texts = ("rash", "fever", "cough", "cough")
    gold = [Note(f"n{i}", text, [Concept("T1", 0, 4, "ADE")]) for i, text in enumerate(texts)]
    predicted = [Note(f"doc-{i}", note.text, note.concepts) for i, note in enumerate(gold[:3])]
    result = evaluate(store(gold, "jsonl", tmp_path / "gold"), store(predicted, "jsonl", tmp_path / "predicted"))
    assert (result["concepts"]["strict"]["micro"]["tp"], result["missing_documents"]) == (2, 2)  # two of one text
    (problem,) = result["reading"]["predicted"]
    assert (problem["reason"], problem["count"]) == ("note id without a gold note, paired by text", 2)


def test_other_folders_make_no_other_note(tmp_path):
    gold, predicted = make_notes(0), make_notes(0)
    for note, other in zip(gold, predicted, strict=True):
        note.id, other.id = f"beth/{note.id}", f"beth/txt/{note.id}"
    result = evaluate(store(gold, "jsonl", tmp_path / "gold"), store(predicted, "jsonl", tmp_path / "predicted"))
    assert result["concepts"]["strict"]["micro"]["f1"] == 1
    assert result["missing_documents"] == 0
