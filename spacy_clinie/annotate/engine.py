"""The engine: a pipeline that annotates batches of notes.

Its input and output are plain data (texts, and Docs as bytes), so any process with an `Engine` can annotate a batch.
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

# Characters of a batch at most, so that long notes do not fill the memory.
BATCH_CHARACTERS = 1_000_000
# The same with a language model: on a processor it takes minutes, which are lost if the job is killed within a batch.
PROMPTED_CHARACTERS = 30_000
# A transformer's vectors of word pieces, which spaCy's doc_cleaner also removes from Docs.
_VECTORS: Any = ("._.", "trf_data", None, None)


@dataclass
class AnnotatedBatch:
    """An annotated batch.

    texts (list[Text]): The annotated notes.
    docs (bytes): Their Docs in the same order, in the format of `docbin.pack`.
    attrs (list[int]): The token attributes in these bytes.
    rejected (dict[str, dict[str, int]]): Numbers of rejected answers of a language model, by note id and reason.
    lost (Counter[str]): Numbers of values that could not be stored with the Docs, by name and type.
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
    schema (Optional[Union[str, Path]]): Name or file of a schema whose types to find; None for those of the pipeline.
    code (Optional[Path]): See `pipelines.load`.
    attributes (Sequence[str]): Extensions to read as attributes of concepts.
    RAISES (ClinieError): Errors of `pipelines.load`; CIE452 for an extension that is not registered.
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
        """A string that identifies the pipeline by its content, whatever its folder."""
        folder = Path(self.nlp.path)
        files = [file for file in all_files(folder) if "__pycache__" not in file.parts]
        types = "" if self._schema is None else f" {json.dumps(Schema.load(self._schema).to_dict())}"
        code = "" if self._code is None else f" {_hash_of([self._code], self._code.parent)}"
        return f"{_hash_of(files, folder)} spacy {spacy.__version__} spacy_clinie {__version__}{types}{code}"

    @property
    def batch_characters(self) -> int:
        """The maximum number of characters of a batch."""
        asking = any(isinstance(pipe, PromptingComponent) for _, pipe in self.nlp.pipeline)
        return PROMPTED_CHARACTERS if asking else BATCH_CHARACTERS

    def make_vocab(self) -> Vocab:
        """An empty vocabulary to read stored Docs with. If extensions are read, it has the language's attributes, since
        their getters may use attributes such as `like_num`."""
        return create_vocab(self.nlp.lang, self.nlp.Defaults) if self.attributes else Vocab()

    def annotate(self, texts: Sequence[Text]) -> AnnotatedBatch:
        """Annotate a batch; if that fails, each of its notes alone.

        spaCy's error handlers cannot do this: they get the whole batch that failed, and to continue is to drop it.

        texts (Sequence[Text]): The notes.
        RETURNS (AnnotatedBatch): The annotated notes in their order, and the failures.
        """
        # Otherwise the vocabulary grows with every new word of a long job. spaCy 3.7 has no memory zones.
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
                    failures.append(Failure.from_error(text.id, error))
            batch = self._pack([text for text, _ in done], [doc for _, doc in done]) if done else AnnotatedBatch()
            batch.failures = failures
            return batch

    def _docs(self, texts: Sequence[Text]) -> list[Doc]:
        """The Docs of notes. Notes without words do not go through the pipeline."""
        with_words = [text for text in texts if text.text.strip()]
        found = list(self.nlp.pipe(list(map(self._tokenize, with_words))))
        if len(found) != len(with_words):
            raise ClinieError("CIE431", expected=len(with_words), found=len(found))
        annotated = {text.id: doc for text, doc in zip(with_words, found, strict=True)}
        docs = [annotated[text.id] if text.id in annotated else self._empty_doc(text) for text in texts]
        for text, doc in zip(texts, docs, strict=True):
            doc.user_data[ID_KEY] = text.id
            doc.user_data.pop(_VECTORS, None)
            note = self._note(doc)
            if note.text != text.text:
                raise ClinieError("CIE432", note=text.id, expected=len(text.text), found=len(note.text))
            note.check()  # now, and not when the output is written
            if not all(concept.label for concept in note.concepts):
                raise ClinieError(
                    "CIE005",
                    kind="concept",
                    note=text.id,
                    problem="label is missing",
                    expected=EXPECTED["concept"],
                )
        return docs

    def _tokenize(self, text: Text) -> Doc:
        doc = self.nlp.tokenizer(text.text)  # not nlp.make_doc, which rejects more than nlp.max_length characters
        doc.user_data[ID_KEY] = text.id
        return doc

    def _empty_doc(self, text: Text) -> Doc:
        """The Doc of a note without words, with no concepts and relations."""
        words = [text.text] if text.text else []
        doc = Doc(self.nlp.vocab, words=words, spaces=[False] * len(words))
        set_concepts(doc, [])
        set_relations(doc, [])
        return doc

    def _pack(self, texts: Sequence[Text], docs: Sequence[Doc]) -> AnnotatedBatch:
        notes = [self._note(doc) for doc in docs] if self.attributes else []
        data, attrs, lost = docbin.pack(docs)
        if lost:
            for note, stored in zip(notes, docbin.unpack(data, self.make_vocab()), strict=False):
                if self._note(stored) != note:
                    raise ClinieError("CIE454", note=note.id)
        rejected = {text.id: doc.user_data.get(REJECTED_KEY) for text, doc in zip(texts, docs, strict=True)}
        kept = {note_id: dict(counts) for note_id, counts in rejected.items() if counts}
        return AnnotatedBatch(list(texts), data, attrs, kept, lost)

    def _note(self, doc: Doc) -> Note:
        return note_from_doc(doc, entities=True, extensions=self.attributes)


def batches(texts: Iterable[Text], size: int, characters: int) -> Iterator[list[Text]]:
    """Divide notes into batches that are annotated and saved together.

    texts (Iterable[Text]): The notes.
    size (int): Maximum number of notes in a batch.
    characters (int): Maximum number of characters in a batch; a longer note is a batch of its own.
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
    """A hash of the names of files, relative to the folder, and of their contents."""
    digest = hashlib.blake2b(digest_size=20)
    for file in files:
        digest.update(f"\0{file.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
        try:
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
        except OSError:  # the pipeline was loaded without this file
            continue
    return digest.hexdigest()
