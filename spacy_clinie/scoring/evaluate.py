"""Scores files of predictions against gold files, for the command line."""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Optional, Union

from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError
from ..formats import brat, docbin, jsonl
from ..formats.source import SourcedNote
from ..schema import Schema
from .intervals import RESAMPLES
from .scores import score


def evaluate(
    gold: Path,
    predicted: Path,
    *,
    schema: Optional[Union[str, Path]] = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score predictions in files. The two sides may have different formats.

    gold (Path): A DocBin (`.spacy`), a brat folder or a `.jsonl` file.
    predicted (Path): The predictions, in any of these formats.
    schema (Optional[Union[str, Path]]): Name or file of a schema to map both sides to first, with merged types and one
        direction for symmetric relations. None to score both sides unchanged.
    seed (int): Seed of the bootstrap.
    resamples (int): Number of bootstrap samples for the intervals; 0 for none.
    RETURNS (dict[str, Any]): The result of `score`, and `reading`: for `gold` and `predicted` a list of what could not
        be read, was changed in reading or was left out on purpose, each with `kind` (`dropped`, `mended`, `left_out`),
        `reason`, `count` and `examples` (file and line).
    RAISES (ClinieError): CIE403 for any other path, CIE405 if the two sides have no note in common, and the errors of
        `score` and of the readers.
    """
    types = None if schema is None else Schema.load(schema)
    gold_notes, gold_problems = _read(Path(gold), types)
    predicted_notes, predicted_problems = _read(Path(predicted), types)
    for what, alike in {"name and text": _name_and_text, "text": _text}.items():
        if found := _pair(gold_notes, predicted_notes, alike):
            reason = f"note id without a gold note, paired by {what}"
            predicted_problems.append({"kind": "mended", "reason": reason, "count": len(found), "examples": found})
    gold_ids, predicted_ids = ({note.id for note in notes} for notes in (gold_notes, predicted_notes))
    if gold_ids.isdisjoint(predicted_ids):
        raise ClinieError(
            "CIE405",
            gold=len(gold_ids),
            predicted=len(predicted_ids),
            first=min(gold_ids, default=None),
            second=min(predicted_ids, default=None),
        )
    result = score(gold_notes, predicted_notes, seed=seed, resamples=resamples)
    result["reading"] = {"gold": gold_problems, "predicted": predicted_problems}
    return result


def _name_and_text(note: Note) -> tuple[str, str]:
    """Files of notes lose the folder in the note id if their names are unique."""
    return note.id.rpartition("/")[2], note.text


def _text(note: Note) -> str:
    """Docs from other tools have no ids."""
    return note.text


def _pair(gold: list[Note], predicted: list[Note], alike: Callable[[Note], Hashable]) -> list[str]:
    """Pair unmatched predicted notes with unmatched gold notes by a key that is unique on both sides, and give them the
    gold id.

    RETURNS (list[str]): The old ids.
    """
    known = {note.id for note in gold} & {note.id for note in predicted}
    sides = []
    for notes in (gold, predicted):
        found: dict[Hashable, list[Note]] = {}
        for note in notes:
            if note.id not in known:
                found.setdefault(alike(note), []).append(note)
        sides.append(found)
    renamed = []
    for key, own in sides[1].items():
        others = sides[0].get(key, [])
        if len(own) == len(others) == 1:
            renamed.append(own[0].id)
            own[0].id = others[0].id
    return renamed


def _read(path: Path, schema: Optional[Schema]) -> tuple[list[Note], list[dict[str, Any]]]:
    read: Callable[[Path, Report], Iterator[SourcedNote]]
    if path.is_dir():
        read = brat.read
    elif not path.exists():
        raise ClinieError("CIE403", path=str(path), problem="there is no such file or folder")
    elif path.suffix.lower() == ".spacy":
        read = docbin.read
    elif path.suffix.lower() == ".jsonl":
        read = jsonl.read
    else:
        raise ClinieError("CIE403", path=str(path), problem=f"files ending in {path.suffix!r} are not supported")
    report = Report(path)
    notes = [
        sourced.note
        if schema is None
        else schema.apply(sourced.note, report, sourced.file, sourced.lines, sourced.relation_locations)
        for sourced in read(path, report)
    ]
    problems = [
        {"kind": kind, "reason": remark.reason, "count": remark.count, "examples": remark.examples}
        for kind in ("dropped", "mended", "left_out")
        for remark in report.remarks(kind)
    ]
    return notes, problems
