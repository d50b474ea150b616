"""The JSON lines format of this package: one note per line, offsets in characters, ends exclusive.

    {"id": "…", "text": "…", "concepts": [{"id", "start", "end", "label", "score"}],
     "relations": [{"head", "tail", "label", "score"}]}

A concept may also have `fragments` (pairs of offsets) and `attributes` (an object of strings). A note without relation
annotation has no list of relations, or an empty one and `"relations_known": false`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError, warn
from .atomic import atomic_write
from .files import field_name, load_json
from .reading import UniqueIds, find_corpus_files, repair, require_notes
from .source import SourcedNote

SUFFIXES = (".jsonl",)
_FIELDS = {
    "line": ("id", "text", "concepts", "relations", "relations_known"),
    "concept": ("id", "start", "end", "label", "score", "fragments", "attributes"),
    "relation": ("head", "tail", "label", "score"),
}
_BOM = b"\xef\xbb\xbf"
# UTF-8 cannot encode lone surrogates, and some readers break lines at the other three.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read notes from JSON lines.

    path (Path): A file, or a folder with `.jsonl` files.
    report (Report): Counts what cannot be read.
    YIELDS (SourcedNote): The notes.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return require_notes(_read(path, report), path, "jsonl", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as JSON lines, without raw U+2028 and the like, at which some readers break lines.

    notes (Iterable[Note]): The notes.
    path (Path): The file, written atomically.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note.
    """
    not_numbers = 0
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        for note in notes:
            note.check()
            record = note.to_dict()
            for item in (*record["concepts"], *record["relations"]):
                if item["score"] is not None and not math.isfinite(item["score"]):
                    item["score"] = None
                    not_numbers += 1
            line = json.dumps(record, ensure_ascii=False, allow_nan=False)
            out.write(_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", line).encode("utf-8") + b"\n")
    if not_numbers:
        warn("CIE253", file=Path(path).name, count=not_numbers)


def json_lines(path: Path, report: Report) -> Iterator[tuple[int, Any]]:
    r"""The values of a JSON lines file. Blank lines are skipped; only `\n` ends a line.

    path (Path): The file.
    report (Report): Counts lines that are not valid JSON or UTF-8.
    YIELDS (tuple[int, Any]): Line number and value.
    """
    try:
        with Path(path).open("rb") as file:
            for number, data in enumerate(file, start=1):
                line = data.removeprefix(_BOM) if number == 1 else data
                if not line.strip():
                    continue
                try:
                    value = load_json(line.decode("utf-8"), path, report, number)
                except UnicodeDecodeError:
                    report.drop("line is not UTF-8", path, number)
                except (ValueError, RecursionError):
                    report.drop("line is not valid JSON", path, number)
                else:
                    yield number, value
    except OSError:
        report.drop("file cannot be opened", path)


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in find_corpus_files(path, SUFFIXES, report):
        for number, record in json_lines(file, report):

            def refuse(kind: str, problem: str, file: Path = file, number: int = number) -> None:
                report.drop(f"invalid {kind}: {problem}", file, number)

            try:
                note = Note.from_dict(record, on_problem=refuse)
            except ClinieError as error:
                refuse("line", str(error.facts["problem"]))
                continue
            if record.get("concepts") is None:
                report.mend("line without a list of concepts, read as a note without any", file, number)
            for name, count in _unknown(record).items():
                report.drop(f"unknown field: {name}", file, number, count)
            repair(note, report, file, number)
            note.id = ids.assign(note.id, file, number)
            yield SourcedNote(note, file, split, {concept.id: number for concept in note.concepts})


def _unknown(record: dict[str, Any]) -> Counter[str]:
    """The unknown fields of a line, its concepts and its relations."""
    found = Counter(field_name(name) for name in record if name not in _FIELDS["line"])
    for key, kind in (("concepts", "concept"), ("relations", "relation")):
        items = record.get(key)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                found.update(field_name(f"{kind}.{name}") for name in item if name not in _FIELDS[kind])
    return found
