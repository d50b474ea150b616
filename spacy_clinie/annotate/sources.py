"""Sources of notes: ids and texts. Existing annotations in the input are ignored.

To add a kind of input, write a class with `_read` and, if that is cheap, `total`, and add it to `_BY_SUFFIX`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from spacy.vocab import Vocab

from ..doc.concepts import ID_KEY
from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError
from ..formats import docbin, jsonl
from ..formats.files import NoteFile, find_files, find_notes, read_text, replace_surrogates
from ..formats.reading import UniqueIds


class Text(NamedTuple):
    """A note to annotate.

    id (str): An id that is unique in the input.
    text (str): The text, without lone surrogates.
    """

    id: str
    text: str


class _Found(NamedTuple):
    """A note as it is in the input, with its file and, for JSON lines, its line."""

    id: str
    text: str
    file: Path
    line: Optional[int] = None


class Source(ABC):
    """An input.

    path (Path): A file or a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, report: Report) -> Iterator[Text]:
        """Read the notes, always in the same order.

        report (Report): Gets what cannot be read, replaced surrogates and duplicate ids.
        YIELDS (Text): The notes.
        RAISES (ClinieError): CIE439 for a damaged file of Docs.
        """
        ids = UniqueIds(report)
        for found in self._read(report):
            note_id, replaced = replace_surrogates(found.id)
            text, more = replace_surrogates(found.text)
            if replaced + more:
                reason = "lone surrogate, replaced by U+FFFD"
                report.mend(reason, found.file, found.line, replaced + more)
            yield Text(ids.assign(note_id, found.file, found.line), text)

    def total(self) -> Optional[int]:
        """The approximate number of notes; None if counting takes as long as reading."""
        return None

    @abstractmethod
    def _read(self, report: Report) -> Iterator[_Found]: ...


class TextFiles(Source):
    """Plain text files, one for each note.

    path (Path): The folder, or the file.
    files (list[NoteFile]): The files.
    """

    def __init__(self, path: Path, files: list[NoteFile]) -> None:
        super().__init__(path)
        self.files = files

    def total(self) -> Optional[int]:
        return len(self.files)

    def _read(self, report: Report) -> Iterator[_Found]:
        for file, note_id, _split in self.files:
            text = read_text(file, report)
            if text is not None:
                yield _Found(note_id, text, file)


class JsonLines(Source):
    """A file of JSON lines with `id` and `text`."""

    def total(self) -> Optional[int]:
        with self.path.open("rb") as content:
            return sum(block.count(b"\n") for block in iter(lambda: content.read(1 << 20), b""))

    def _read(self, report: Report) -> Iterator[_Found]:
        for number, record in jsonl.json_lines(self.path, report):
            known = {key: record[key] for key in ("id", "text") if key in record} if isinstance(record, dict) else None
            try:
                note = Note.from_dict(known)
            except ClinieError as error:
                report.drop(str(error.facts["problem"]), self.path, number)
            else:
                yield _Found(note.id, note.text, self.path, number)


class DocBinFile(Source):
    """A file of Docs. A Doc without an id gets one of the file's name and its number."""

    def _read(self, report: Report) -> Iterator[_Found]:  # noqa: ARG002
        try:
            for number, doc in enumerate(docbin.unpack(self.path.read_bytes(), Vocab()), start=1):
                yield _Found(str(doc.user_data.get(ID_KEY, f"{self.path.stem}-{number}")), doc.text, self.path)
        except Exception as error:  # a damaged file can raise anything
            raise ClinieError("CIE439", file=self.path.name, problem=type(error).__name__) from error


_BY_SUFFIX = {".jsonl": JsonLines, ".spacy": DocBinFile}


def open_source(path: Path, report: Report) -> Source:
    """Open an input.

    path (Path): A .txt file, a folder with .txt files at any depth, a .jsonl file or a .spacy file. Files of a folder
        get the same ids as in `convert` and `evaluate`.
    report (Report): Counts files of a folder that are not notes.
    RETURNS (Source): The input.
    RAISES (ClinieError): CIE438 for anything else.
    """
    suffix = path.suffix.lower()
    if path.is_file() and suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix](path)
    if path.is_file() and suffix == ".txt":
        return TextFiles(path, [NoteFile(path, path.stem, None)])
    try:
        return TextFiles(path, find_notes(path, ".txt", report, find_files(path, ".ann", Report()), (".ann",)))
    except ClinieError:
        raise ClinieError("CIE438", source=path) from None
