"""A schema as a user writes it."""

from pathlib import Path

import pytest

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.schema import Schema

MINE = """
name: mine
description: Drugs and harm.
concepts:
  Drug:
    description: A medicine.
    question: Which medicines are named?
    merge: [Medication, Vaccine]
  ADE:
relations:
  ADE-Drug:
    question: Which drug caused {head}?
    pairs: [[ADE, Drug]]
    merge: [CAUSE]
drop:
  concepts: [Age]
  relations: [BEFORE]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yml"
    file.write_text(MINE, encoding="utf-8")
    return file


@pytest.fixture
def schema(file: Path) -> Schema:
    return Schema.load(file)


def note(concepts: str, relations: str = "") -> Note:
    """A note from `id type start end` and `head label tail`, separated by semicolons."""
    found = [item.split() for item in concepts.split(";")]
    linked = [item.split() for item in relations.split(";") if item]
    return Note(
        "n1",
        "x" * 100,
        [Concept(name, int(start), int(end), label) for name, label, start, end in found],
        [Relation(head, tail, label) for head, label, tail in linked],
    )


def shape(note: Note) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    return [(c.id, c.label) for c in note.concepts], [(r.head, r.label, r.tail) for r in note.relations]
