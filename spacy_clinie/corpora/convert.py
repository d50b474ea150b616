"""Converts a corpus to Docs or JSONL, with a report of everything that was lost or changed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..doc.interchange import doc_from_note, note_from_doc
from ..doc.note import Note
from ..doc.report import Report
from ..doc.tokenizer import make_tokenizer
from ..errors import ClinieError
from ..formats import docbin, jsonl
from ..formats.atomic import atomic_write
from ..formats.files import SPLITS, check_output_path
from ..formats.source import SourcedNote
from ..schema import Schema
from .catalogue import read_corpus, resolve
from .splits import assign_splits

SPACY, JSONL = ".spacy", ".jsonl"


def convert(
    corpus: str, source: Path, target: Path, schema: str | Path | None = None, split: str | None = None
) -> Report:
    """Read a corpus, map it to the types of a schema, and write it with a report beside it.

    corpus (str): Name of a corpus or of a format.
    source (Path): The path of the corpus.
    target (Path): A file that ends in `.spacy` (a DocBin) or `.jsonl`. The report is written beside it, see
        `report_path`. Both files are written atomically.
    schema (str | Path | None): Name or file of a schema; None for the schema of the corpus. A format has no schema and
        keeps all types.
    split (str | None): Convert only this split: `train`, `dev`, `test`, or another folder name for one of them, such as
        `validation`. The report then leaves out remarks on files that only have notes of other splits.
    RETURNS (Report): The report.
    RAISES (ClinieError): CIE254 for an unknown name, CIE255 for an invalid suffix of the target, CIE256 for an unknown
        split, CIE434 for a target that is the input or would be read with it, and the errors of readers and schemas.
    """
    source, target = Path(source), Path(target)
    if target.suffix.lower() not in (SPACY, JSONL):
        raise ClinieError("CIE255", path=target.name)
    known, raw = resolve(corpus)
    for written in (target, report_path(target)):
        check_output_path(known.locate(source) if known else source, written, raw.suffixes)
    name = schema or (known.schema if known else None)
    types = Schema.load(name) if name else None
    report = Report(source)
    if split is None:
        found = read_corpus(corpus, source, report)
    else:
        found = iter(_read_split(corpus, source, report, split, known.group if known else None))
    notes = ((_apply_schema(sourced, types, report), sourced) for sourced in found)
    if target.suffix.lower() == SPACY:
        docbin.save(_docs(notes, report), target)
    else:
        jsonl.write((note for note, _ in notes), target)
    with atomic_write(report_path(target)) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    return report


def report_path(target: Path) -> Path:
    """The path of the report on a converted corpus: `x.report.json` for `x.spacy`, `x.jsonl.report.json` for `x.jsonl`.

    target (Path): The converted corpus.
    RETURNS (Path): The file.
    """
    stem = target.with_suffix("") if target.suffix.lower() == SPACY else target
    return stem.with_name(f"{stem.name}.report.json")


class _RecordingReport(Report):
    """A report that also records single remarks, because the wanted ones are only known later."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str | Path, int | None, int]] = []

    def _remark(self, kind: str, reason: str, file: str | Path, line: int | None, count: int) -> None:
        super()._remark(kind, reason, file, line, count)
        self.calls.append((kind, reason, file, line, count))


def _read_split(corpus: str, source: Path, report: Report, split: str, group: str | None) -> list[SourcedNote]:
    """The notes of a split. The report gets the remarks on their files and on files without notes."""
    recording = _RecordingReport()
    found = list(read_corpus(corpus, source, recording))
    splits = assign_splits(((sourced.note.id, sourced.split) for sourced in found), group)
    name = SPLITS.get(split.lower(), split)
    if name not in splits.values():
        raise ClinieError("CIE256", split=split, path=source.name, splits=", ".join(sorted(set(splits.values()))))
    wanted = [sourced for sourced in found if splits.get(sourced.note.id) == name]
    other = _stems(found) - _stems(wanted)
    for kind, reason, file, line, count in recording.calls:
        if Path(file).with_suffix("") not in other:
            report._remark(kind, reason, file, line, count)
    for sourced in found:
        if sourced.note.id not in splits:
            report.drop("document without a split, although others have one", sourced.file)
    if len(wanted) < len(splits):
        report.leave_out("document of another split", source, count=len(splits) - len(wanted))
    return wanted


def _stems(found: list[SourcedNote]) -> set[Path]:
    """The files of notes, without suffixes, because a note may have several files."""
    return {file.with_suffix("") for sourced in found for file in (sourced.file, *sourced.other_files)}


def _apply_schema(sourced: SourcedNote, types: Schema | None, report: Report) -> Note:
    note = sourced.note
    if types:
        note = types.apply(note, report, sourced.file, sourced.lines, sourced.relation_locations)
    report.add(note)
    return note


def _docs(notes: Iterable[tuple[Note, SourcedNote]], report: Report) -> Iterator[Doc]:
    tokenizer = make_tokenizer(Vocab())
    report.flat_entities = 0
    for note, sourced in notes:
        doc, snapped = doc_from_note(tokenizer, note)
        back = note_from_doc(doc)
        for what in ("id", "text", "concepts", "relations"):
            if getattr(back, what) != getattr(note, what):
                raise ClinieError("CIE257", note=note.id, what=what)
        for concept in snapped:
            blank = not note.text[concept.start : concept.end].strip()
            reason = (
                "concept of whitespace alone, moved to an adjacent token"
                if blank
                else "concept extended to token boundaries"
            )
            report.mend(reason, sourced.file, sourced.lines.get(concept.id))
        report.flat_entities += len(doc.ents)
        yield doc
