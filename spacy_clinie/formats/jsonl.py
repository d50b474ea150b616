"""JSON lines of our own: one note a line, offsets in characters, ends exclusive.

    {"id": "…", "text": "…", "concepts": [{"id", "start", "end", "label", "score"}],
     "relations": [{"head", "tail", "label", "score"}]}

A concept may also have `fragments` (pairs of offsets) and `attributes` (an object of strings). Where nobody looked for
relations, there is no list of them, or an empty one beside `"relations_known": false`.
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
from .bundle import Ids, at_least_one, find_bundles, make_sound, replacing
from .files import field_name, load_json
from .source import SourcedNote

SUFFIXES = (".jsonl",)
_FIELDS = {
    "line": ("id", "text", "concepts", "relations", "relations_known"),
    "concept": ("id", "start", "end", "label", "score", "fragments", "attributes"),
    "relation": ("head", "tail", "label", "score"),
}
_BOM = b"\xef\xbb\xbf"
# Half a character cannot be written as UTF-8, and some readers break lines at the other three.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read notes from JSON lines.

    path (Path): A file, or a folder with `.jsonl` files.
    report (Report): Counts what cannot be used.
    YIELDS (SourcedNote): Notes.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return at_least_one(_read(path, report), path, "jsonl", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as JSON lines. Readers that break lines at U+2028 and the like read them right as well.

    notes (Iterable[Note]): The notes.
    path (Path): The file, replaced once all of it is written.
    RAISES (ClinieError): CIE004 to CIE006 for a note that is not whole.
    """
    not_numbers = 0
    with replacing(path) as temporary, temporary.open("wb") as out:
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
    r"""The values of a file of JSON lines. Blank lines are passed over; only `\n` ends a line.

    path (Path): The file.
    report (Report): Counts lines that are not JSON, or not UTF-8.
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
                    report.drop("line is not JSON, or breaks off", path, number)
                else:
                    yield number, value
    except OSError:
        report.drop("file cannot be opened", path)


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = Ids(report)
    for file, split in find_bundles(path, SUFFIXES, report):
        for number, record in json_lines(file, report):

            def refuse(kind: str, problem: str, file: Path = file, number: int = number) -> None:
                report.drop(f"{kind} is not usable: {problem}", file, number)

            try:
                note = Note.from_dict(record, on_problem=refuse)
            except ClinieError as error:
                refuse("line", str(error.facts["problem"]))
                continue
            if record.get("concepts") is None:
                report.mend("line without a list of concepts: taken as a note that has none", file, number)
            for name, count in _unknown(record).items():
                report.drop(f"field that this format does not have: {name}", file, number, count)
            make_sound(note, report, file, number)
            note.id = ids.unique(note.id, file, number)
            yield SourcedNote(note, file, split, {concept.id: number for concept in note.concepts})


def _unknown(record: dict[str, Any]) -> Counter[str]:
    """The fields of a line, its concepts and its relations that nothing is read from."""
    found = Counter(field_name(name) for name in record if name not in _FIELDS["line"])
    for key, kind in (("concepts", "concept"), ("relations", "relation")):
        items = record.get(key)
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                found.update(field_name(f"{kind}.{name}") for name in item if name not in _FIELDS[kind])
    return found
