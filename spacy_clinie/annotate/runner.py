"""Annotate many notes with a trained pipeline: none lost, none done twice.

While a job runs, what is done goes to OUTPUT.part, one note a line, and OUTPUT.part.json tells which pipeline made it.
A job that was interrupted goes on from there when it is started again, with what was not done and what has another
text by now; OUTPUT itself appears once everything is done, and should it then turn out that it cannot be written,
OUTPUT.part stays. Notes that could not be read or annotated are listed in OUTPUT.errors.jsonl, without their text; they
are tried again whenever the job is. Those that a language model left questions of unanswered are listed too, but are in
the output and not asked again.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional, Union

import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from tqdm import tqdm

from .. import __version__
from ..components.prompting import AskingComponent
from ..components.trainable import ClinieComponent
from ..doc.concepts import ID_KEY, REJECTED_KEY
from ..doc.interchange import doc_from_note, note_from_doc
from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError, warn
from ..formats import brat, docbin, jsonl
from ..formats.bundle import Ids
from ..formats.files import NoteFile, all_files, clean, find_files, find_notes, keep_apart, note_path, read_text
from ..pipelines import load
from ..schema import Schema
from . import html_page
from .journal import Failures, Part, holds_files, is_written, part_path

# A batch also ends here, so that long notes neither fill the memory nor take many others with them if they fail.
BATCH_CHARACTERS = 1_000_000
# What a language model reads takes a processor minutes, and is lost if the job is killed before the batch ends.
ASKED_CHARACTERS = 30_000
# What components assign that is written down.
_WRITTEN = {"doc.ents", "doc._.rel"}
_SUFFIXES = (".jsonl", ".spacy", ".html")

Writer = Callable[[Iterable[Note], Path], None]


@dataclass
class Summary:
    """What a job did.

    notes (int): Notes in the output.
    concepts (int): Concepts in the output.
    relations (int): Relations in the output.
    resumed (int): Notes that an interrupted job had done before.
    failed (int): Notes, files and lines that could not be read or annotated.
    errors (Optional[Path]): The file that lists them; None if there are none.
    report (Report): What was changed in the input (half characters, double ids) or left out of it (hidden files).
    rejected (Mapping[str, int]): What a language model named and was not taken, and questions that it did not answer,
        by reason.
    """

    notes: int
    concepts: int
    relations: int
    resumed: int
    failed: int
    errors: Optional[Path]
    report: Report
    rejected: Mapping[str, int]


def annotate(
    pipeline: Union[str, Path],
    source: Path,
    target: Path,
    *,
    schema: Optional[Union[str, Path]] = None,
    code: Optional[Path] = None,
    batch_size: int = 256,
    strict: bool = False,
) -> Summary:
    """Annotate notes. Annotation that the input has already is ignored.

    pipeline (Union[str, Path]): A spaCy pipeline, see `pipelines.load`.
    source (Path): A .txt file, a folder with .txt files at any depth, a .jsonl file (`id` and `text` are enough) or a
        .spacy file. Files of a folder get the ids that `convert` and `evaluate` give them.
    target (Path): A .jsonl, .spacy or .html file, or a new folder for brat files. A .spacy file holds tokens, concepts
        and relations, as `convert` writes them, and nothing else that the pipeline may have set.
    schema (Optional[Union[str, Path]]): Name or file of a schema whose types are looked for; None for the pipeline's.
    code (Optional[Path]): See `pipelines.load`.
    batch_size (int): Notes that are annotated and saved together.
    strict (bool): Raise in the end if something could not be annotated or had to be changed. The output is written
        all the same.
    RETURNS (Summary): What was done.
    RAISES (ClinieError): What `pipelines.load` raises; CIE433, CIE434, CIE444 for a target that cannot be written,
        CIE203 and CIE445 if a brat folder cannot hold the notes, CIE443 if that shows only in the end; CIE438 to CIE440
        for a source that cannot be read, CIE437 if strict, CIE441 if another job writes to the target.
    """
    source, target = Path(source), Path(target)
    target = target if target.name else target.resolve()  # "." has no name
    if not target.name:
        raise ClinieError("CIE433", target=target)
    errors = target.with_name(target.name + ".errors.jsonl")
    _check_target(source, target, errors)
    failures = Failures(errors, source)
    files = _files(source, failures)
    nlp = load(pipeline, schema, code)
    if _is_folder(target):
        _check_brat(nlp, _read(source, files, Report()), target)
    fingerprint = _pipeline_fingerprint(nlp, schema, code)
    asking = any(isinstance(pipe, AskingComponent) for _, pipe in nlp.pipeline)
    most = ASKED_CHARACTERS if asking else BATCH_CHARACTERS
    with closing(Part(target, fingerprint)) as part:
        earlier = len(part)
        # Some of what is done may be written, and would stay there where the input does not have it any more.
        if holds_files(target) and sum(map(part.holds, _read(source, files, Report()))) < earlier:
            raise ClinieError("CIE444", target=target)
        failures.begin()
        # In a log file every update is a line of its own.
        pause = 0.5 if sys.stderr.isatty() else 30
        with tqdm(total=_total(source, files), unit="note", mininterval=pause, file=sys.stderr) as progress:
            batches = _batches(_read(source, files, failures), batch_size, most)
            order, resumed = _work_through(nlp, batches, part, failures, progress)
        if not any(note_id in part for note_id in order):
            if not earlier:
                part.remove()
            if order:
                raise ClinieError("CIE447", count=len(order), reason=failures.last, errors=failures.path.name)
            listed = f" (listed in {failures.path.name})" if failures.count else ""
            raise ClinieError("CIE440", source=source, failed=failures.count, listed=listed)
        summary = Summary(0, 0, 0, resumed, failures.count, failures.listed_in, failures, failures.rejected)
        try:
            _writer(source, target, nlp)(_counted(part.notes(order), summary), target)
        except (ClinieError, OSError) as error:
            if isinstance(error, ClinieError) and error.code == "CIE441":
                raise
            problem = f"{error.strerror}." if isinstance(error, OSError) else error
            raise ClinieError("CIE443", target=target, problem=problem, part=part.path) from error
        part.remove()
    if earlier > resumed:
        warn("CIE449", count=earlier - resumed)
    if strict and (failures.count or failures.problems):
        mended = failures.remarks("mended")
        raise ClinieError(
            "CIE437",
            failed=failures.count,
            mended=sum(remark.count for remark in mended),
            reasons="".join(f"; {remark.reason}" for remark in mended),
            errors=failures.path.name,
            target=target.name,
        )
    if failures.count:
        warn("CIE436", failed=failures.count, errors=failures.path.name)
    return summary


def _work_through(
    nlp: Language, batches: Iterable[list[Note]], part: Part, failures: Failures, progress: tqdm
) -> tuple[list[str], int]:
    """Annotate what is not done.

    RETURNS (tuple[list[str], int]): The ids of all notes in their order, and how many an earlier job had done.
    """
    order: list[str] = []
    resumed = 0
    for batch in batches:
        todo = []
        for note in batch:
            if part.holds(note):
                failures.reject(note.id, part.rejected(note))
            else:
                todo.append(note)
        if todo:
            part.append(todo, _annotate(nlp, todo, failures))
        order += [note.id for note in batch]
        resumed += len(batch) - len(todo)
        progress.update(len(batch))
    return order, resumed


def _annotate(nlp: Language, notes: list[Note], failures: Failures) -> dict[str, str]:
    """Annotate a batch, and if that fails each of its notes alone.

    spaCy's error handlers do not do this: they get a batch that fails as a whole, and one that goes on drops all of it.
    """
    with nlp.memory_zone():  # or the vocabulary would grow with every new word of a long job
        try:
            return _process(nlp, notes, failures)
        except Exception:
            lines: dict[str, str] = {}
        for note in notes:
            try:
                lines |= _process(nlp, [note], failures)
            except Exception as error:
                failures.fail(note.id, error)
        return lines


def _process(nlp: Language, notes: list[Note], failures: Failures) -> dict[str, str]:
    """What goes to the part file for some notes, by id. A note without words passes by the pipeline."""
    worded = [note for note in notes if note.text.strip()]
    docs = []
    for note in worded:
        # Not nlp.make_doc: it refuses notes of more than nlp.max_length characters.
        doc = nlp.tokenizer(note.text)
        doc.user_data[ID_KEY] = note.id
        docs.append(doc)
    docs = list(nlp.pipe(docs))
    if len(docs) != len(worded):
        raise ClinieError("CIE431", expected=len(worded), found=len(docs))
    found = {note.id: note for note in notes}
    for note, doc in zip(worded, docs, strict=True):
        if doc.text != note.text:
            raise ClinieError("CIE432", note=note.id, expected=len(note.text), found=len(doc.text))
        annotated = note_from_doc(doc, entities=True)
        annotated.id = note.id
        annotated.check()
        # As it will be read in the end, which asks for more: labels, for one thing.
        found[note.id] = Note.from_dict(annotated.to_dict())
    records = {note_id: note.to_dict() for note_id, note in found.items()}
    for note, doc in zip(worded, docs, strict=True):
        if rejected := doc.user_data.get(REJECTED_KEY):
            failures.reject(note.id, rejected)
            records[note.id][REJECTED_KEY] = rejected  # for a job that goes on from here
    return {note_id: json.dumps(record) for note_id, record in records.items()}


def _read(source: Path, files: list[NoteFile], report: Report) -> Iterator[Note]:
    """The notes of the input, without annotation, under ids of their own and in text that UTF-8 can hold."""
    suffix = source.suffix.lower() if source.is_file() else ".txt"
    read = {".txt": _read_texts, ".jsonl": _read_lines, ".spacy": _read_docs}[suffix]
    ids = Ids(report)
    for note, file, line in read(source, files, report):
        note.id, halves = clean(note.id)
        note.text, more = clean(note.text)
        if halves + more:
            report.mend("half a character (lone surrogate) was replaced", file, line, halves + more)
        note.id = ids.unique(note.id, file, line)
        yield note


def _read_texts(_: Path, files: list[NoteFile], report: Report) -> Iterator[tuple[Note, Path, Optional[int]]]:
    for file, note_id, _split in files:
        text = read_text(file, report)
        if text is not None:
            yield Note(note_id, text), file, None


def _read_lines(source: Path, _: list[NoteFile], report: Report) -> Iterator[tuple[Note, Path, Optional[int]]]:
    for number, record in jsonl.json_lines(source, report):
        known = {key: record[key] for key in ("id", "text") if key in record} if isinstance(record, dict) else record
        try:
            yield Note.from_dict(known), source, number
        except ClinieError as error:
            report.drop(str(error.facts["problem"]), source, number)


def _read_docs(source: Path, _: list[NoteFile], __: Report) -> Iterator[tuple[Note, Path, Optional[int]]]:
    try:
        for number, doc in enumerate(DocBin().from_disk(source).get_docs(Vocab()), start=1):
            yield Note(str(doc.user_data.get(ID_KEY, f"{source.stem}-{number}")), doc.text), source, None
    except Exception as error:  # a damaged file can raise anything
        raise ClinieError("CIE439", file=source.name, problem=type(error).__name__) from error


def _files(source: Path, report: Report) -> list[NoteFile]:
    if source.is_file() and source.suffix.lower() in (".txt", ".jsonl", ".spacy"):
        return [NoteFile(source, source.stem, None)]
    try:
        return find_notes(source, ".txt", report, find_files(source, ".ann", Report()), (".ann",))
    except ClinieError:
        raise ClinieError("CIE438", source=source) from None


def _total(source: Path, files: list[NoteFile]) -> Optional[int]:
    """How many notes there may be, for the progress bar; None if that takes as long as to read them."""
    if source.is_dir() or source.suffix.lower() == ".txt":
        return len(files)
    if source.suffix.lower() == ".spacy":
        return None
    with source.open("rb") as content:
        return sum(block.count(b"\n") for block in iter(lambda: content.read(1 << 20), b""))


def _batches(notes: Iterable[Note], size: int, characters: int) -> Iterator[list[Note]]:
    batch: list[Note] = []
    length = 0
    for note in notes:
        if batch and (len(batch) == size or length + len(note.text) > characters):
            yield batch
            batch, length = [], 0
        batch.append(note)
        length += len(note.text)
    if batch:
        yield batch


def _pipeline_fingerprint(nlp: Language, schema: Optional[Union[str, Path]] = None, code: Optional[Path] = None) -> str:
    files = [file for file in all_files(Path(nlp.path)) if "__pycache__" not in file.parts]
    types = "" if schema is None else f" {json.dumps(Schema.load(schema).to_dict())}"
    own = "" if code is None else f" {_fingerprint([code], code.parent)}"
    return f"{_fingerprint(files, Path(nlp.path))} spacy {spacy.__version__} spacy_clinie {__version__}{types}{own}"


def _fingerprint(files: list[Path], folder: Path) -> str:
    """A hash over names and contents, wherever the folder is."""
    digest = hashlib.blake2b(digest_size=20)
    for file in files:
        digest.update(f"\0{file.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
        try:
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
        except OSError:  # the pipeline was loaded without it
            continue
    return digest.hexdigest()


def _is_folder(target: Path) -> bool:
    return target.is_dir() or (not target.suffix and not target.exists())


def _check_target(source: Path, target: Path, errors: Path) -> None:
    """Refuse a target that cannot be written before hours of work, and before anything of an earlier job is touched."""
    # Among the input's files, those of a brat folder would replace them or be taken for input by the next job.
    keep_apart(source, target, ("",) if _is_folder(target) else ())
    keep_apart(source, errors)
    # A dash would mean the terminal elsewhere, and no folder of that name.
    if target.name == "-" or (not _is_folder(target) and target.suffix.lower() not in _SUFFIXES):
        raise ClinieError("CIE433", target=target)
    if is_written(target):
        raise ClinieError("CIE441", part=part_path(target).name)
    if holds_files(target) and not part_path(target).exists():
        raise ClinieError("CIE444", target=target)


def _check_brat(nlp: Language, notes: Iterable[Note], target: Path) -> None:
    """Refuse what brat's files cannot hold, as far as it can be known before hours of work."""
    for name in nlp.pipe_names:
        labels = list(nlp.pipe_labels.get(name, [])) if _WRITTEN & set(nlp.get_pipe_meta(name).assigns) else []
        component = nlp.get_pipe(name)
        if isinstance(component, ClinieComponent) and component.schema:
            labels += component.schema.relations
        for label in labels:
            if not brat.can_hold(label):
                raise ClinieError("CIE445", component=name, label=label, format="brat")
    for note in notes:
        note_path(target, note.id, ".txt")


def _writer(source: Path, target: Path, nlp: Language) -> Writer:
    """How the target is written."""

    def write_docs(notes: Iterable[Note], path: Path) -> None:
        docbin.save((doc_from_note(nlp.tokenizer, note)[0] for note in notes), path)

    if _is_folder(target):
        return brat.write
    page: Writer = partial(html_page.write, title=source.stem)
    return {".jsonl": jsonl.write, ".spacy": write_docs, ".html": page}[target.suffix.lower()]


def _counted(notes: Iterable[Note], summary: Summary) -> Iterator[Note]:
    for note in notes:
        summary.notes += 1
        summary.concepts += len(note.concepts)
        summary.relations += len(note.relations)
        yield note
