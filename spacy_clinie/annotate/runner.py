"""Annotate many notes with a trained pipeline, without losing any and without repeating work.

A source yields texts, an engine makes Docs of them in batches, a journal saves these, and a sink writes the output once
all are done. An interrupted job that is started again continues from its journal: it annotates the notes that are not
done, and those whose text has changed. If the output cannot be written, the journal is kept. Notes that could not be
read or annotated are listed in OUTPUT.errors.jsonl, without their text, and the next job tries them again. Notes with
questions that a language model did not answer are listed too, but they are in the output, and are not asked again.
"""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from tqdm import tqdm

from ..doc.report import Report
from ..errors import ClinieError, warn
from .engine import Engine, batches
from .failures import Failures
from .journal import Journal, check_free, holds_files
from .sinks import Sink
from .sources import Source, open_source


@dataclass
class Summary:
    """The result of a job.

    notes (int): Notes in the output.
    concepts (int): Concepts in the output.
    relations (int): Relations in the output.
    resumed (int): Notes that an interrupted job had annotated before.
    failed (int): Notes, files and lines that could not be read or annotated.
    errors (Optional[Path]): The file that lists them; None if there are none.
    report (Report): What was changed in the input (lone surrogates, duplicate ids) or left out (hidden files), and what
        a DocBin could not hold.
    rejected (Mapping[str, int]): Rejected answers of a language model and unanswered questions, counted by reason.
    extensions (Sequence[str]): Names of extensions of other components that are not in the output.
    """

    notes: int
    concepts: int
    relations: int
    resumed: int
    failed: int
    errors: Optional[Path]
    report: Report
    rejected: Mapping[str, int]
    extensions: Sequence[str]


def annotate(
    pipeline: Union[str, Path],
    source: Path,
    target: Path,
    *,
    schema: Optional[Union[str, Path]] = None,
    code: Optional[Path] = None,
    attributes: Sequence[str] = (),
    batch_size: int = 256,
    strict: bool = False,
) -> Summary:
    """Annotate notes. Existing annotations in the input are ignored.

    pipeline (Union[str, Path]): A spaCy pipeline, see `pipelines.load`.
    source (Path): A .txt file, a folder with .txt files at any depth, a .jsonl file (`id` and `text` are enough) or a
        .spacy file. Files of a folder get the same ids as in `convert` and `evaluate`.
    target (Path): A .jsonl, .spacy or .html file, or a new folder for brat files. A .spacy file gets the whole Docs,
        the others get concepts and relations.
    schema (Optional[Union[str, Path]]): Name or file of a schema whose types to find; None for those of the pipeline.
    code (Optional[Path]): See `pipelines.load`.
    attributes (Sequence[str]): Extensions of other components (`negex` for `ent._.negex`) to write as attributes of
        concepts. A .spacy file contains all extensions.
    batch_size (int): Number of notes to annotate and save together.
    strict (bool): Raise an error at the end if something could not be annotated or was changed. The output is written
        nevertheless.
    RETURNS (Summary): The result.
    RAISES (ClinieError): Errors of `pipelines.load`; CIE433, CIE434, CIE444, CIE455 for a target that cannot be
        written, CIE203 and CIE445 if a brat folder cannot hold the notes, CIE443 if that is found only at the end;
        CIE438 to CIE440 for a source that cannot be read, CIE452 for unknown attributes, CIE447 if no note could be
        annotated, CIE437 if strict, CIE441 if another job writes to the target.
    """
    source = Path(source)
    sink = Sink(Path(target), source, attributes)
    check_free(sink.path)
    failures = Failures(sink.errors, source)
    texts = open_source(source, failures)
    engine = Engine(pipeline, schema, code, attributes)
    sink.check_types(engine.nlp)
    with closing(Journal(sink.path, engine.fingerprint)) as journal:
        earlier = len(journal)
        _check_folder(texts, sink, journal)
        failures.begin()
        order, resumed = _annotate_all(texts, engine, journal, failures, batch_size)
        if not order:
            raise _no_notes_error(source, failures)
        try:
            sink.write(journal.docs(order, engine.make_vocab), journal.attrs)
        except (ClinieError, OSError) as error:
            if isinstance(error, ClinieError) and error.code == "CIE441":
                raise
            problem = f"{error.strerror}." if isinstance(error, OSError) else error
            raise ClinieError("CIE443", target=sink.path, problem=problem, part=journal.folder) from error
        if sink.holds_docs:
            for what, count in journal.lost.items():
                failures.leave_out(f"value that a DocBin cannot hold: {what}", sink.path, None, count)
        journal.remove()
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
            target=sink.path.name,
        )
    if failures.count:
        warn("CIE436", failed=failures.count, errors=failures.path.name)
    return Summary(
        sink.notes,
        sink.concepts,
        sink.relations,
        resumed,
        failures.count,
        failures.listed_in,
        failures,
        failures.rejected,
        sorted(sink.extensions),
    )


def _check_folder(texts: Source, sink: Sink, journal: Journal) -> None:
    """Check that an output folder can hold the notes, before hours of work."""
    if not sink.is_folder:
        return
    done = 0
    for text in texts.read(Report()):
        sink.check_id(text.id)
        done += journal.holds(text)
    # The folder may contain notes of an interrupted job that are no longer in the input, and would stay there.
    if holds_files(sink.path) and done < len(journal):
        raise ClinieError("CIE444", target=sink.path)


def _annotate_all(
    texts: Source, engine: Engine, journal: Journal, failures: Failures, batch_size: int
) -> tuple[list[str], int]:
    """Annotate all notes that are not done.

    RETURNS (tuple[list[str], int]): The ids of annotated notes in the order of the input, and the number of those that
        an earlier job had annotated.
    """
    order: list[str] = []
    resumed = 0
    # In a log file, every update is a new line.
    pause = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=texts.total(), unit="note", mininterval=pause, file=sys.stderr) as progress:
        for batch in batches(texts.read(failures), batch_size, engine.batch_characters):
            todo = [text for text in batch if not journal.holds(text)]
            resumed += len(batch) - len(todo)
            if todo:
                annotated = engine.annotate(todo)
                journal.add(annotated)
                for failure in annotated.failures:
                    failures.fail(failure)
            for text in batch:
                if journal.holds(text):
                    failures.reject(text.id, journal.rejected(text.id))
                    order.append(text.id)
            progress.update(len(batch))
    return order, resumed


def _no_notes_error(source: Path, failures: Failures) -> ClinieError:
    if failures.failed:
        return ClinieError("CIE447", count=failures.failed, reason=failures.last, errors=failures.path.name)
    listed = f" (listed in {failures.path.name})" if failures.count else ""
    return ClinieError("CIE440", source=source, failed=failures.count, listed=listed)
