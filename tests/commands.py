"""The command line as a user runs it, over notes with a word that must not be printed."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from spacy_clinie import cli
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.formats import jsonl

# Stands in every text of these tests, and must never be seen in what is printed.
SECRET = "zyxomab"
TEXT = f"Rash after {SECRET}."
NOTE = Note("n1", TEXT, [Concept("T1", 0, 4, "ADE"), Concept("T2", 11, 18, "Drug")], [Relation("T1", "T2", "ADE-Drug")])


def run(*arguments: Any) -> tuple[int, str]:
    """RETURNS (tuple[int, str]): Exit status, and all that was printed."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert SECRET not in result.output
    assert "Traceback" not in result.output
    # Anything but the exit that a command asks for would be an exception that came through.
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def write_notes(file: Path) -> Path:
    """Write two notes, the first with a relation. RETURNS (Path): The file."""
    jsonl.write([NOTE, Note("n2", TEXT)], file)
    return file
