import pytest

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.scoring.scores import score
from spacy_clinie.scoring.table import format_table


def make_note(note_id, *concepts):
    listed = [Concept(f"T{i}", *concept) for i, concept in enumerate(concepts)]
    return Note(note_id, "x" * 40, listed)


def row(table, name):
    return next(line.split() for line in table.splitlines() if line.startswith(name))


def test_every_score_is_in_the_table():
    gold = [make_note("a", (0, 5, "Drug"), (8, 12, "ADE")), make_note("b", (0, 5, "Drug"))]
    predicted = [make_note("a", (0, 5, "Drug"), (8, 11, "ADE")), make_note("b", (0, 5, "Drug"))]
    gold[0].relations.append(Relation("T1", "T0", "ADE-Drug"))
    table = format_table(score(gold, predicted))
    parts = table.split("\n\n")
    assert [part.splitlines()[0].split("  ")[0] for part in parts] == [
        "concepts, strict",
        "concepts, lenient",
        "relations, strict",
        "relations, lenient",
        "documents: 2",
    ]
    assert row(parts[0], "micro") == ["micro", "66.67", "66.67", "66.67", "50.00", "to", "100.00", "2", "1", "1"]
    assert row(parts[0], "Drug") == ["Drug", "100.00", "100.00", "100.00", "100.00", "to", "100.00", "2", "0", "0"]
    assert row(parts[0], "macro over documents")[3:6] == ["75.00"] * 3
    assert row(parts[0], "macro over types")[3:6] == ["50.00"] * 3
    assert row(parts[1], "micro")[3] == "100.00"
    assert row(parts[2], "ADE-Drug")[1:4] == ["0.00"] * 3
    assert not any(line.endswith(" ") for line in table.splitlines())


def test_no_interval_and_nothing_to_score():
    notes = [make_note("a", (0, 5, "Drug"))]
    table = format_table(score(notes, notes))
    assert row(table, "micro") == ["micro", "100.00", "100.00", "100.00", "-", "1", "0", "0"]
    assert "relations, strict: none in gold, none predicted" in table


@pytest.mark.filterwarnings("ignore::spacy_clinie.errors.ClinieWarning")
def test_everything_about_the_documents_is_said():
    gold = [make_note("a", (0, 5, "Drug"), (0, 5, "Drug")), make_note("b")]
    gold[1].relations_known = False
    result = score(gold, [make_note("a"), make_note("c")])
    result["reading"] = {
        "gold": [{"reason": "line is not JSON", "count": 3, "examples": ["g:1", "g:2", "g:3"], "kind": "dropped"}],
        "predicted": [{"reason": "offset mended", "count": 1, "examples": ["p.jsonl:1"], "kind": "mended"}],
    }
    assert format_table(result).split("\n\n")[-1].splitlines() == [
        "documents: 3",
        "gold documents without prediction, all missed: 1",
        "predicted documents without gold, all wrong: 1",
        "gold documents without relation annotation, skipped: 1",
        "duplicates in gold, counted once: 1 concepts, 0 relations",
        "not read in gold: line is not JSON (3: g:1, g:2, …)",
        "changed in predicted: offset mended (1: p.jsonl:1)",
    ]


def test_what_a_terminal_must_not_get_is_not_in_the_table():
    notes = [make_note("a", (0, 5, "Dr\x1b[31mug\nX"))]
    table = format_table(score(notes, notes))
    assert "\x1b" not in table and row(table, "Dr")[1] == "X"
