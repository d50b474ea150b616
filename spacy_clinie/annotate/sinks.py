"""Where annotated notes go: Docs are written to the output once all of them are done.

A Doc stays a Doc until here. A new kind of output is a function that writes notes, and an entry in `Sink._writer`.
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
# What components assign that is written down.
_WRITTEN = {"doc.ents", "doc._.rel"}


class Sink:
    """An output.

    target (Path): A .jsonl, .spacy or .html file, or a new folder for brat files. A .spacy file holds the Docs as the
        pipeline left them, with all that a DocBin can hold; the others hold concepts and relations.
    source (Path): The input, which must not be written to.
    attributes (Sequence[str]): Extensions of other components that are written as attributes of concepts.
    RAISES (ClinieError): CIE433, CIE434 for a target that cannot be written.
    """

    def __init__(self, target: Path, source: Path, attributes: Sequence[str] = ()) -> None:
        self.path = target if target.name else target.resolve()  # "." has no name
        self.attributes = attributes
        self.notes = self.concepts = self.relations = 0  # that were written
        self.extensions: set[str] = set()  # names of those that were there and not written
        self._title = source.stem
        if not self.path.name:
            raise ClinieError("CIE433", target=target)
        self.is_folder = self.path.is_dir() or (not self.path.suffix and not self.path.exists())
        # Among the input's files, those of a brat folder would replace them or be taken for input by the next job.
        check_output_path(source, self.path, ("",) if self.is_folder else ())
        check_output_path(source, self.errors)
        # A dash would mean the terminal elsewhere, and no folder of that name.
        if self.path.name == "-" or not (self.is_folder or self.path.suffix.lower() in SUFFIXES):
            raise ClinieError("CIE433", target=self.path)

    @property
    def errors(self) -> Path:
        """The file beside the output that lists what could not be annotated."""
        return self.path.with_name(self.path.name + ".errors.jsonl")

    @property
    def holds_docs(self) -> bool:
        """Whether the output holds Docs with everything on them."""
        return not self.is_folder and self.path.suffix.lower() == ".spacy"

    def check_types(self, nlp: Language) -> None:
        """Refuse a pipeline whose types brat's files cannot hold, as far as it can be known before hours of work.

        nlp (Language): The pipeline.
        RAISES (ClinieError): CIE445.
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
        """Refuse a note whose id cannot be the name of its files.

        note_id (str): The id.
        RAISES (ClinieError): CIE203.
        """
        if self.is_folder:
            note_path(self.path, note_id, ".txt")

    def write(self, docs: Iterable[Doc], attrs: Iterable[int]) -> None:
        """Write the output, and count what is in it.

        docs (Iterable[Doc]): The Docs.
        attrs (Iterable[int]): The attributes of tokens that a file of Docs holds.
        RAISES (ClinieError, OSError): What the format's `write` raises.
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
