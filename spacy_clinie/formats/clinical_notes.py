"""The corpus of clinical notes that comes with the package: its annotation is in the package, its texts are not.

Of each note `corpora/clinical_notes/{train,dev,test}.jsonl` has the id, the SHA-1 of the text, the readers, and what
they marked by offsets. The texts come from the files of three public collections, wherever they lie under a folder:
CSV files of ACI-Bench (`encounter_id`, `note`) and of MTS-Dialog (`ID`, `section_header`, `section_text`), JSON files
of PriMock57 (`day`, `consultation`, `note`), and JSON lines with `id` and `text`.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from .files import find_files, load_json, read_text
from .jsonl import json_lines
from .reading import require_notes
from .source import SourcedNote

SUFFIXES = (".csv", ".json", ".jsonl")
ANNOTATION = Path(__file__).parents[1] / "corpora" / "clinical_notes"


class _Text(NamedTuple):
    """A text of a public collection, and where it lies."""

    text: str
    file: Path
    line: int


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Join the annotation of the package with the texts in a folder.

    path (Path): The folder, with the files of the collections at any depth.
    report (Report): Counts notes whose text is missing or is another than the one that was annotated.
    YIELDS (SourcedNote): A note for each text. Problems have an `assertion`; Drugs and what belongs to them stand
        beside problems, treatments and tests, on the same words or others.
    RAISES (ClinieError): CIE250 if no text is there.
    """
    return require_notes(_read(Path(path), report), path, "clinical-notes", report)


def records(split: str) -> list[dict[str, Any]]:
    """The annotation of a split, as it stands in the package.

    split (str): `train`, `dev` or `test`.
    RETURNS (list[dict[str, Any]]): One for each note.
    """
    lines = (ANNOTATION / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    texts = _texts(path, report)
    for split in ("train", "dev", "test"):
        for record in records(split):
            found = texts.get(record["id"])
            if found is None:
                report.drop("text of an annotated note is not there", ANNOTATION / f"{split}.jsonl")
            elif hashlib.sha1(found.text.encode()).hexdigest() != record["sha1"]:
                report.drop("text is not the one that was annotated", found.file, found.line)
            else:
                yield SourcedNote(_note(record, found.text), found.file, split, {})


def _note(record: dict[str, Any], text: str) -> Note:
    note = Note(record["id"], text)
    for number, (start, end, label, *assertion) in enumerate(record["concepts"]):
        attributes = {"assertion": assertion[0]} if assertion else {}
        note.concepts.append(Concept(f"C{number}", start, end, label, attributes=attributes))
    for number, (start, end, label) in enumerate(record["drugs"]):
        note.concepts.append(Concept(f"D{number}", start, end, label))
    for prefix, layer in (("C", "relations"), ("D", "links")):
        note.relations += [Relation(f"{prefix}{a}", f"{prefix}{b}", label) for label, a, b in record[layer]]
    return note


def _texts(path: Path, report: Report) -> dict[str, _Text]:
    """Texts by id. Of two with one id, the first is taken."""
    texts: dict[str, _Text] = {}
    files = [path] if path.is_file() else find_files(path, SUFFIXES, report)
    for file in files:
        rows = {".csv": _csv_rows, ".json": _json_rows, ".jsonl": json_lines}[file.suffix.lower()](file, report)
        for line, row in rows:
            if known := _identified(row):
                texts.setdefault(known[0], _Text(known[1], file, line))
    return texts


def _csv_rows(file: Path, report: Report) -> Iterator[tuple[int, Any]]:
    text = read_text(file, report)
    rows = csv.DictReader(io.StringIO(text or "", newline=""))
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error:
        report.drop("file is not CSV", file, rows.line_num)


def _json_rows(file: Path, report: Report) -> Iterator[tuple[int, Any]]:
    text = read_text(file, report)
    try:
        yield 1, load_json(text or "null", file, report)
    except (ValueError, RecursionError):
        report.leave_out("file that is none of the collections", file)


def _identified(row: Any) -> Optional[tuple[str, str]]:
    """Id and text of a row, with line ends as they were annotated; None for rows of other files."""
    if not isinstance(row, dict):
        return None
    if "encounter_id" in row and isinstance(row.get("note"), str):
        name, text = f"aci-{row['encounter_id']}", row["note"]
    elif "ID" in row and isinstance(row.get("section_text"), str):
        name, text = f"mts-{row['ID']}", row["section_text"].strip()
    elif all(isinstance(row.get(key), kind) for key, kind in (("day", int), ("consultation", int), ("note", str))):
        name, text = f"primock-day{row['day']}-{row['consultation']:02}", row["note"]
    elif isinstance(row.get("id"), str) and isinstance(row.get("text"), str):
        name, text = row["id"], row["text"]
    else:
        return None
    return name, text.replace("\r\n", "\n")
