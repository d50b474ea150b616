"""The engine: a pipeline that annotates batches of notes.

What goes in and comes out is plain data (texts, and Docs as bytes), so a batch can be annotated in any process that has
an `Engine`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import spacy
from spacy.tokens import Doc
from spacy.vocab import Vocab, create_vocab

from .. import __version__
from ..components.prompting import PromptingComponent
from ..doc.concepts import ID_KEY, REJECTED_KEY, set_concepts
from ..doc.extensions import check_registered
from ..doc.interchange import note_from_doc
from ..doc.note import EXPECTED, Note
from ..doc.relations import set_relations
from ..errors import ClinieError
from ..formats import docbin
from ..formats.files import all_files
from ..pipelines import load
from ..schema import Schema
from .failures import Failure
from .sources import Text

# A batch also ends here, so that long notes neither fill the memory nor take many others with them if they fail.
BATCH_CHARACTERS = 1_000_000
# What a language model reads takes a processor minutes, and is lost if the job is killed before the batch ends.
ASKED_CHARACTERS = 30_000
# A transformer's vectors for every word piece, which spaCy's doc_cleaner takes off Docs as well.
_VECTORS: Any = ("._.", "trf_data", None, None)


@dataclass
class Annotated:
    """An annotated batch.

    texts (list[Text]): The notes that are annotated.
    docs (bytes): Their Docs, in the same order, as `docbin.pack` writes them.
    attrs (list[int]): The attributes of tokens that are in there.
    rejected (dict[str, dict[str, int]]): What was not taken of a language model's answers, by id and reason.
    lost (Counter[str]): What could not be stored of Docs, by name and kind.
    failures (list[Failure]): The notes that could not be annotated.
    """

    texts: list[Text] = field(default_factory=list)
    docs: bytes = b""
    attrs: list[int] = field(default_factory=list)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)


class Engine:
    """A pipeline in this process.

    pipeline (Union[str, Path]): See `pipelines.load`.
    schema (Optional[Union[str, Path]]): Name or file of a schema whose types are looked for; None for the pipeline's.
    code (Optional[Path]): See `pipelines.load`.
    attributes (Sequence[str]): Extensions that will be read as attributes of concepts.
    RAISES (ClinieError): What `pipelines.load` raises; CIE452 for an extension that nothing has registered.
    """

    def __init__(
        self,
        pipeline: Union[str, Path],
        schema: Optional[Union[str, Path]] = None,
        code: Optional[Path] = None,
        attributes: Sequence[str] = (),
    ) -> None:
        self.nlp = load(pipeline, schema, code)
        check_registered(attributes)
        self.attributes = attributes
        self._schema, self._code = schema, code

    @property
    def fingerprint(self) -> str:
        """Tells this pipeline from others, wherever its folder is."""
        folder = Path(self.nlp.path)
        files = [file for file in all_files(folder) if "__pycache__" not in file.parts]
        types = "" if self._schema is None else f" {json.dumps(Schema.load(self._schema).to_dict())}"
        own = "" if self._code is None else f" {_hash_of([self._code], self._code.parent)}"
        return f"{_hash_of(files, folder)} spacy {spacy.__version__} spacy_clinie {__version__}{types}{own}"

    @property
    def batch_characters(self) -> int:
        """How many characters a batch should have at most."""
        asking = any(isinstance(pipe, PromptingComponent) for _, pipe in self.nlp.pipeline)
        return ASKED_CHARACTERS if asking else BATCH_CHARACTERS

    def make_vocab(self) -> Vocab:
        """A vocabulary for Docs of this pipeline that are read again.

        RETURNS (Vocab): The vocabulary, without words. It knows the language where extensions are read, whose getters
            may ask whether a word is like a number.
        """
        return create_vocab(self.nlp.lang, self.nlp.Defaults) if self.attributes else Vocab()

    def annotate(self, texts: Sequence[Text]) -> Annotated:
        """Annotate a batch, and if that fails each of its notes alone.

        spaCy's error handlers do not do this: they get a batch that fails as a whole, and one that goes on drops all
        of it.

        texts (Sequence[Text]): The notes.
        RETURNS (Annotated): Those that could be annotated, in their order, and why others could not.
        """
        # Without it, the vocabulary would grow with every new word of a long job. spaCy 3.7 has none.
        with self.nlp.memory_zone() if hasattr(self.nlp, "memory_zone") else nullcontext():
            try:
                return self._pack(texts, self._docs(texts))
            except Exception:
                done: list[tuple[Text, Doc]] = []
            failures = []
            for text in texts:
                try:
                    (doc,) = docs = self._docs([text])
                    self._pack([text], docs)
                    done.append((text, doc))
                except Exception as error:
                    failures.append(Failure.of(text.id, error))
            batch = self._pack([text for text, _ in done], [doc for _, doc in done]) if done else Annotated()
            batch.failures = failures
            return batch

    def _docs(self, texts: Sequence[Text]) -> list[Doc]:
        """The Docs of some notes. One without words passes by the pipeline."""
        worded = [text for text in texts if text.text.strip()]
        found = list(self.nlp.pipe(list(map(self._tokenized, worded))))
        if len(found) != len(worded):
            raise ClinieError("CIE431", expected=len(worded), found=len(found))
        annotated = {text.id: doc for text, doc in zip(worded, found, strict=True)}
        docs = [annotated[text.id] if text.id in annotated else self._wordless(text) for text in texts]
        for text, doc in zip(texts, docs, strict=True):
            doc.user_data[ID_KEY] = text.id
            doc.user_data.pop(_VECTORS, None)
            note = self._note(doc)
            if note.text != text.text:
                raise ClinieError("CIE432", note=text.id, expected=len(text.text), found=len(note.text))
            note.check()  # or the output could not be written in the end
            if not all(concept.label for concept in note.concepts):
                raise ClinieError(
                    "CIE005",
                    kind="concept",
                    note=text.id,
                    problem="label is missing",
                    expected=EXPECTED["concept"],
                )
        return docs

    def _tokenized(self, text: Text) -> Doc:
        doc = self.nlp.tokenizer(text.text)  # not nlp.make_doc: it refuses more than nlp.max_length characters
        doc.user_data[ID_KEY] = text.id
        return doc

    def _wordless(self, text: Text) -> Doc:
        """A Doc in which there is nothing to find."""
        words = [text.text] if text.text else []
        doc = Doc(self.nlp.vocab, words=words, spaces=[False] * len(words))
        set_concepts(doc, [])
        set_relations(doc, [])
        return doc

    def _pack(self, texts: Sequence[Text], docs: Sequence[Doc]) -> Annotated:
        notes = [self._note(doc) for doc in docs] if self.attributes else []
        data, attrs, lost = docbin.pack(docs)
        if lost:
            for note, stored in zip(notes, docbin.unpack(data, self.make_vocab()), strict=False):
                if self._note(stored) != note:
                    raise ClinieError("CIE454", note=note.id)
        rejected = {text.id: doc.user_data.get(REJECTED_KEY) for text, doc in zip(texts, docs, strict=True)}
        kept = {note_id: dict(counts) for note_id, counts in rejected.items() if counts}
        return Annotated(list(texts), data, attrs, kept, lost)

    def _note(self, doc: Doc) -> Note:
        return note_from_doc(doc, entities=True, extensions=self.attributes)


def batches(texts: Iterable[Text], size: int, characters: int) -> Iterator[list[Text]]:
    """Notes in groups that are annotated and saved together.

    texts (Iterable[Text]): The notes.
    size (int): How many notes a batch has at most.
    characters (int): How many characters a batch has at most; a longer note is a batch of its own.
    YIELDS (list[Text]): A batch.
    """
    batch: list[Text] = []
    length = 0
    for text in texts:
        if batch and (len(batch) == size or length + len(text.text) > characters):
            yield batch
            batch, length = [], 0
        batch.append(text)
        length += len(text.text)
    if batch:
        yield batch


def _hash_of(files: list[Path], folder: Path) -> str:
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
