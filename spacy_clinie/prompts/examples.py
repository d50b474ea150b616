"""Examples for prompts: notes with their concepts and relations, from a file or sampled from the training data."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, Union, runtime_checkable

from spacy.tokens import Doc

from ..corpora.splits import shuffled
from ..doc.concepts import get_spans
from ..doc.interchange import note_from_doc
from ..doc.note import Concept, Note
from ..doc.report import Report
from ..doc.windows import sentence_starts
from ..errors import ClinieError
from ..formats import jsonl

# Most words of a sampled sentence, since every prompt repeats it.
_MAX_WORDS = 60


@runtime_checkable  # spaCy validates settings by their types
class Examples(Protocol):
    """A source of examples."""

    def take(self, docs: Iterable[Doc]) -> list[Note]:
        """Take examples.

        docs (Iterable[Doc]): The training data.
        RETURNS (list[Note]): At least one example.
        RAISES (ClinieError): CIE327 if there is none.
        """


class ExampleFile:
    """All notes of a file of our JSON lines. Registered as `spacy_clinie.ExampleFile.v1`.

    path (Union[str, Path]): The file.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = Path(path)

    def take(self, docs: Iterable[Doc]) -> list[Note]:  # noqa: ARG002
        report = Report()
        notes = [sourced.note for sourced in jsonl.read(self.path, report)]
        for remark in [*report.remarks("dropped"), *report.remarks("mended")]:
            raise ClinieError("CIE327", source=remark.examples[0], problem=remark.reason)
        return notes


class SampledExamples:
    """Random sentences of the training data that have concepts. Sentences with a type that was not shown before come
    first. Registered as `spacy_clinie.SampledExamples.v1`.

    number (int): How many sentences.
    seed (int): Seed of the random choice.
    """

    def __init__(self, number: int, seed: int = 0) -> None:
        self.number, self.seed = number, seed

    def take(self, docs: Iterable[Doc]) -> list[Note]:
        sentences = [
            note
            for i, doc in enumerate(docs)
            for note in _sentences(_concepts_only(doc, f"note-{i}"), doc)
            if note.concepts
        ]
        if not sentences:
            raise ClinieError("CIE327", source="the training data", problem="no short sentence in it has a concept")
        shown: set[str] = set()
        with_new_type: list[Note] = []
        others: list[Note] = []
        for note in shuffled(sentences, self.seed):
            types = {one.label for one in note.concepts} | {one.label for one in note.relations}
            (others if types <= shown else with_new_type).append(note)
            shown |= types
        return [*with_new_type, *others][: self.number]


def _concepts_only(doc: Doc, note_id: str) -> Note:
    """A Doc as a note with its concepts only. Entities of other components, which relations can have as ends, are left
    out: the model is not asked for them."""
    note = note_from_doc(doc, note_id)
    note.concepts = note.concepts[: len(get_spans(doc))]
    known = {concept.id for concept in note.concepts}
    note.relations = [one for one in note.relations if one.head in known and one.tail in known]
    return note


def _sentences(note: Note, doc: Doc) -> Iterator[Note]:
    """The short sentences of a Doc, each as a note. Sentences with a concept that crosses their ends are left out."""
    starts = sentence_starts(doc)
    for start, stop in zip(starts, [*starts, len(doc)][1:], strict=True):
        words = doc[start:stop].text.rstrip()
        begin = doc[start].idx
        end = begin + len(words)
        touching = [one for one in note.concepts if one.start < end and one.end > begin]
        if stop - start > _MAX_WORDS or any(one.start < begin or one.end > end for one in touching):
            continue
        moved = [Concept(one.id, one.start - begin, one.end - begin, one.label) for one in touching]
        ids = {one.id for one in moved}
        inside = [one for one in note.relations if one.head in ids and one.tail in ids]
        yield Note(f"{note.id}:{begin}", words, moved, inside)
