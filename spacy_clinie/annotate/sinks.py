"""The output of a job. Docs are converted and written only here, once all notes are done.

To add a kind of output, write a function that writes notes, and add it to `Sink._writer`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..components.trainable import ClinieComponent
from ..doc.extensions import names_on
from ..doc.interchange import note_from_doc
from ..doc.note import Note
from ..errors import ClinieError
from ..formats import brat, docbin, jsonl
from ..formats.files import check_output_path, note_path
from . import html_page

SUFFIXES = (".jsonl", ".spacy", ".html")
# Attributes that outputs contain, as components declare them.
_WRITTEN = {"doc.ents", "doc._.rel"}


class Sink:
    """An output.

    target (Path): A .jsonl, .spacy or .html file, or a new folder for brat files. A .spacy file gets the whole Docs, as
        far as a DocBin can hold them; the others get concepts and relations.
    source (Path): The input, which must not be overwritten.
    attributes (Sequence[str]): Extensions of other components to write as attributes of concepts.
    RAISES (ClinieError): CIE433, CIE434 for a target that cannot be written.
    """

    def __init__(self, target: Path, source: Path, attributes: Sequence[str] = ()) -> None:
        self.path = target if target.name else target.resolve()  # "." has no name
        self.attributes = attributes
        self.notes = self.concepts = self.relations = 0  # numbers written
        self.extensions: set[str] = set()  # names of extensions that were set but not written
        self._title = source.stem
        if not self.path.name:
            raise ClinieError("CIE433", target=target)
        self.is_folder = self.path.is_dir() or (not self.path.suffix and not self.path.exists())
        # Brat files among the input files would replace them, or be input of the next job.
        check_output_path(source, self.path, ("",) if self.is_folder else ())
        check_output_path(source, self.errors)
        # For other programs, a dash means the terminal, not a folder.
        if self.path.name == "-" or not (self.is_folder or self.path.suffix.lower() in SUFFIXES):
            raise ClinieError("CIE433", target=self.path)

    @property
    def errors(self) -> Path:
        """The file next to the output that lists what could not be annotated."""
        return self.path.with_name(self.path.name + ".errors.jsonl")

    @property
    def holds_docs(self) -> bool:
        """Whether the output contains whole Docs."""
        return not self.is_folder and self.path.suffix.lower() == ".spacy"

    def check_types(self, nlp: Language) -> None:
        """Check that brat files can hold the types of a pipeline, as far as they are known before it runs.

        nlp (Language): The pipeline.
        RAISES (ClinieError): CIE445 if they cannot.
        """
        for name in nlp.pipe_names if self.is_folder else ():
            labels = list(nlp.pipe_labels.get(name, [])) if _WRITTEN & set(nlp.get_pipe_meta(name).assigns) else []
            component = nlp.get_pipe(name)
            if isinstance(component, ClinieComponent) and component.schema:
                labels += component.schema.relations
            for label in labels:
                if not brat.is_valid_type(label):
                    raise ClinieError("CIE445", component=name, label=label, format="brat")

    def check_id(self, note_id: str) -> None:
        """Check that an id can be a file name, if the output is a folder.

        note_id (str): The id.
        RAISES (ClinieError): CIE203 if it cannot.
        """
        if self.is_folder:
            note_path(self.path, note_id, ".txt")

    def write(self, docs: Iterable[Doc], attrs: Iterable[int]) -> None:
        """Write the output, and count its notes, concepts and relations.

        docs (Iterable[Doc]): The Docs.
        attrs (Iterable[int]): The token attributes for a file of Docs.
        RAISES (ClinieError, OSError): Errors of the format's `write`.
        """
        if self.holds_docs:
            docbin.save((doc for doc, _ in self._counted(docs)), self.path, attrs)
        else:
            self._writer()((note for _, note in self._counted(docs)), self.path)

    def _writer(self) -> Callable[[Iterable[Note], Path], None]:
        if self.is_folder:
            return brat.write
        if self.path.suffix.lower() == ".html":
            return partial(html_page.write, title=self._title)
        return jsonl.write

    def _counted(self, docs: Iterable[Doc]) -> Iterator[tuple[Doc, Note]]:
        self.notes = self.concepts = self.relations = 0
        for doc in docs:
            note = note_from_doc(doc, entities=True, extensions=self.attributes)
            self.notes += 1
            self.concepts += len(note.concepts)
            self.relations += len(note.relations)
            if not self.holds_docs:
                self.extensions |= names_on(doc) - set(self.attributes)
            yield doc, note
