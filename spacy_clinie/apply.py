"""Annotate many notes with a trained pipeline: none lost, none done twice.

While a job runs, what is done goes to OUTPUT.part, one note a line, and OUTPUT.part.json tells which pipeline and
which input made it. A job that was interrupted goes on from there when it is started again; OUTPUT itself appears
once everything is done. Notes that could not be read or annotated are listed in OUTPUT.errors.jsonl, without their
text; they are tried again whenever the job is.
"""

import hashlib
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab
from tqdm import tqdm

from . import __version__
from .annotation import ID_KEY
from .conversion import doc_from_note, note_from_doc
from .corpora import brat, docbin, jsonl
from .corpora.bundle import Ids, replacing
from .corpora.files import clean, find_files, read_text
from .corpora.report import Report
from .errors import ClinieError, warn
from .notes import Note
from .visual import render

# A batch also ends here, so that long notes neither fill the memory nor take many others with them if they fail.
BATCH_CHARACTERS = 1_000_000
_CODE = re.compile(r"\[([A-Z]+[0-9]+)\]")

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
    """

    notes: int
    concepts: int
    relations: int
    resumed: int
    failed: int
    errors: Optional[Path]
    report: Report


def annotate(
    pipeline: Union[str, Path], source: Path, target: Path, *, batch_size: int = 256, strict: bool = False
) -> Summary:
    """Annotate notes. Annotation that the input has already is ignored.

    pipeline (Union[str, Path]): Folder or package name of a spaCy pipeline.
    source (Path): A .txt file, a folder with .txt files at any depth, a .jsonl file (`id` and `text` are enough) or a
        .spacy file.
    target (Path): A .jsonl, .spacy or .html file, or a folder for brat files. A .spacy file holds tokens, concepts and
        relations, as `convert` writes them, and nothing else that the pipeline may have set.
    batch_size (int): Notes that are annotated and saved together.
    strict (bool): Raise in the end if something could not be annotated or had to be changed. The output is written
        all the same.
    RETURNS (Summary): What was done.
    RAISES (ClinieError): CIE430 if there is no such pipeline, CIE433, CIE434 for a target that cannot be written,
        CIE438 to CIE440 for a source that cannot be read, CIE437 if strict, CIE441 if another job writes to the target.
    """
    source, target = Path(source), Path(target)
    failures = _Failures(target.with_name(target.name + ".errors.jsonl"))
    files = _files(source, failures)
    nlp = _load(pipeline)
    write = _writer(source, target, nlp)
    input_hash, lines = _fingerprint(files)
    total = {".jsonl": lines, ".spacy": None}.get(source.suffix.lower(), len(files))
    part = _Part(target, {"pipeline": _pipeline_fingerprint(nlp), "input": input_hash})
    resumed = len(part.done)
    # In a log file every update is a line of its own.
    pause = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=total, unit="note", mininterval=pause, file=sys.stderr) as progress:
        seen = 0
        for batch in _batches(_read(source, files, failures), batch_size):
            todo = [note for note in batch if note.id not in part.done]
            if todo:
                part.append(_annotate(nlp, todo, failures))
            seen += len(batch)
            progress.update(len(batch))
    if not seen:
        raise ClinieError("CIE440", source=source, failed=failures.count, errors=failures.path.name)
    summary = Summary(0, 0, 0, resumed, failures.count, failures.path if failures.count else None, failures)
    write(_counted(part.notes(), summary), target)
    part.remove()
    if strict and (failures.count or failures.problems):
        mended = sum(remark.count for remark in failures.remarks("mended"))
        raise ClinieError("CIE437", failed=failures.count, mended=mended, errors=failures.path.name, target=target.name)
    if failures.count:
        warn("CIE436", failed=failures.count, errors=failures.path.name)
    return summary


class _Failures(Report):
    """What could not be read (`drop`) or annotated (`fail`), each at once in a line of a file, without any text.

    path (Path): The file; one that an earlier job left is removed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.count = 0
        path.unlink(missing_ok=True)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        super().drop(reason, file, line, count)
        self._list({"file": str(file), "line": line, "problem": reason})

    def fail(self, note_id: str, error: Exception) -> None:
        """List a note that the pipeline could not annotate.

        note_id (str): Its id.
        error (Exception): Why. Its message may quote the note, so only its kind, its code and its place are kept.
        """
        code = _CODE.match(str(error))
        frame = traceback.extract_tb(error.__traceback__)[-1]
        self._list(
            {
                "id": note_id,
                "problem": type(error).__name__,
                "code": code[1] if code else None,
                "at": f"{Path(frame.filename).name}:{frame.lineno}",
            }
        )

    def _list(self, record: dict[str, Any]) -> None:
        self.count += 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class _Part:
    """What is done so far, in OUTPUT.part, and what it was made with, in OUTPUT.part.json.

    target (Path): The output.
    made_with (dict[str, str]): Fingerprints. A part that was made with others is thrown away, with a warning.
    """

    def __init__(self, target: Path, made_with: dict[str, str]) -> None:
        self.path = target.with_name(target.name + ".part")
        self.header = target.with_name(target.name + ".part.json")
        self.done: set[str] = set()
        if self.path.exists():
            changed = self._differs(made_with)
            if changed:
                warn("CIE435", part=self.path.name, changed=" and ".join(changed))
                self.path.unlink()
            else:
                self._recover()
        with replacing(self.header) as temporary:
            temporary.write_text(json.dumps(made_with, indent=2), encoding="utf-8")

    def append(self, lines: dict[str, str]) -> None:
        """Add annotated notes and hand them to the operating system, where the end of this process cannot harm them.

        lines (dict[str, str]): A line for each note, by its id.
        """
        with self.path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines.values()).encode("ascii"))
        self.done.update(lines)

    def notes(self) -> Iterator[Note]:
        """Everything that is done, in order.

        YIELDS (Note): Notes.
        RAISES (ClinieError): CIE441 if the file does not hold each of them once, as when two jobs write to it.
        """
        left = set(self.done)
        try:
            with self.path.open("rb") as file:
                for line in file:
                    note = Note.from_dict(json.loads(line))
                    left.remove(note.id)
                    yield note
        except (OSError, ValueError, KeyError):
            raise ClinieError("CIE441", part=self.path.name) from None
        if left:
            raise ClinieError("CIE441", part=self.path.name)

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink()
        self.header.unlink()

    def _differs(self, made_with: dict[str, str]) -> list[str]:
        try:
            before = json.loads(self.header.read_text(encoding="utf-8"))
            return [name for name, mark in made_with.items() if before[name] != mark]
        except (OSError, ValueError, KeyError, TypeError):
            return list(made_with)

    def _recover(self) -> None:
        """Learn what is done, and cut off a last line that was not written to its end."""
        good = 0
        with self.path.open("r+b") as file:
            for line in file:
                try:
                    self.done.add(json.loads(line)["id"])
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                good += len(line)
            file.truncate(good)


def _annotate(nlp: Language, notes: list[Note], failures: _Failures) -> dict[str, str]:
    """Annotate a batch, and if that fails each of its notes alone.

    spaCy's error handlers do not do this: they get a batch that fails as a whole, and one that goes on drops all of it.
    """
    with nlp.memory_zone():  # or the vocabulary would grow with every new word of a long job
        try:
            return _process(nlp, notes)
        except Exception:
            lines: dict[str, str] = {}
        for note in notes:
            try:
                lines |= _process(nlp, [note])
            except Exception as error:
                failures.fail(note.id, error)
        return lines


def _process(nlp: Language, notes: list[Note]) -> dict[str, str]:
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
        annotated = note_from_doc(doc)
        annotated.id = note.id
        annotated.check()
        found[note.id] = annotated
    return {note_id: json.dumps(note.to_dict()) for note_id, note in found.items()}


def _read(source: Path, files: list[Path], failures: _Failures) -> Iterator[Note]:
    """The notes of the input, without annotation, under ids of their own and in text that UTF-8 can hold."""
    suffix = source.suffix.lower() if source.is_file() else ".txt"
    read = {".txt": _read_texts, ".jsonl": _read_lines, ".spacy": _read_docs}[suffix]
    ids = Ids(failures)
    for note, file, line in read(source, files, failures):
        note.id, halves = clean(note.id)
        note.text, more = clean(note.text)
        if halves + more:
            failures.mend("half a character (lone surrogate) was replaced", file, line, halves + more)
        note.id = ids.unique(note.id, file, line)
        yield note


def _read_texts(source: Path, files: list[Path], failures: _Failures) -> Iterator[tuple[Note, Path, Optional[int]]]:
    root = source.parent if source.is_file() else source
    for file in files:
        text = read_text(file, failures)
        if text is not None:
            yield Note(file.relative_to(root).with_suffix("").as_posix(), text), file, None


def _read_lines(source: Path, _: list[Path], failures: _Failures) -> Iterator[tuple[Note, Path, Optional[int]]]:
    for number, record in jsonl.json_lines(source, failures):
        known = {key: record[key] for key in ("id", "text") if key in record} if isinstance(record, dict) else record
        try:
            yield Note.from_dict(known), source, number
        except ClinieError as error:
            failures.drop(str(error.facts["problem"]), source, number)


def _read_docs(source: Path, _: list[Path], __: _Failures) -> Iterator[tuple[Note, Path, Optional[int]]]:
    try:
        docs = DocBin().from_disk(source).get_docs(Vocab())
        for number, doc in enumerate(docs, start=1):
            yield Note(str(doc.user_data.get(ID_KEY, f"{source.stem}-{number}")), doc.text), source, None
    except Exception as error:  # a damaged file can raise anything
        raise ClinieError("CIE439", file=source.name, problem=type(error).__name__) from error


def _files(source: Path, failures: _Failures) -> list[Path]:
    if source.is_file() and source.suffix.lower() in (".txt", ".jsonl", ".spacy"):
        return [source]
    found = find_files(source, ".txt", failures) if source.is_dir() else []
    if not found:
        raise ClinieError("CIE438", source=source)
    return found


def _batches(notes: Iterable[Note], size: int) -> Iterator[list[Note]]:
    batch: list[Note] = []
    length = 0
    for note in notes:
        if batch and (len(batch) == size or length + len(note.text) > BATCH_CHARACTERS):
            yield batch
            batch, length = [], 0
        batch.append(note)
        length += len(note.text)
    if batch:
        yield batch


def _load(pipeline: Union[str, Path]) -> Language:
    try:
        return spacy.load(pipeline)
    except OSError as error:
        raise ClinieError("CIE430", pipeline=pipeline) from error


def _pipeline_fingerprint(nlp: Language) -> str:
    files = sorted(file for file in Path(nlp.path).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return f"{_fingerprint(files)[0]} spacy {spacy.__version__} spacy_clinie {__version__}"


def _fingerprint(files: list[Path]) -> tuple[str, int]:
    """A hash over names and contents, and the number of lines."""
    digest, lines = hashlib.blake2b(digest_size=20), 0
    for file in files:
        digest.update(f"\0{file}\0".encode("utf-8", "surrogateescape"))
        try:
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
                    lines += block.count(b"\n")
        except OSError:  # the reader lists it
            continue
    return digest.hexdigest(), lines


def _writer(source: Path, target: Path, nlp: Language) -> Writer:
    """How the target is written; a target that cannot be written is refused before hours of work."""

    def write_docs(notes: Iterable[Note], path: Path) -> None:
        docbin.save((doc_from_note(nlp.tokenizer, note)[0] for note in notes), path)

    def write_page(notes: Iterable[Note], path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(render(list(notes), title=source.stem), encoding="utf-8")

    writers: dict[str, Writer] = {".jsonl": jsonl.write, ".spacy": write_docs, ".html": write_page}
    place = target.resolve()
    if target.is_dir() or (not target.suffix and not target.exists()):
        # Among the input's files, what is written would replace them or be taken for input by the next job.
        if place == source.parent.resolve() or source.resolve() in (place, *place.parents):
            raise ClinieError("CIE434", target=target)
        return brat.write
    if target.suffix.lower() not in writers:
        raise ClinieError("CIE433", target=target)
    if place == source.resolve():
        raise ClinieError("CIE434", target=target)
    return writers[target.suffix.lower()]


def _counted(notes: Iterable[Note], summary: Summary) -> Iterator[Note]:
    for note in notes:
        summary.notes += 1
        summary.concepts += len(note.concepts)
        summary.relations += len(note.relations)
        yield note
