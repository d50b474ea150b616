"""A pipeline that fails as a text says, and functions to read the files of a job."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span, Token

from spacy_clinie import set_relations
from spacy_clinie.annotate.engine import AnnotatedBatch, Engine
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.annotate.sinks import Sink
from spacy_clinie.annotate.sources import Text
from spacy_clinie.doc.concepts import add_concepts

TEXT = "Aspirin for headache and fever."
PATTERNS = [{"label": "Drug", "pattern": "Aspirin"}, {"label": "Reason", "pattern": "headache"}]


@Language.component("clinie_test_trouble")
def trouble(doc: Doc) -> Doc:
    """Relates the first two concepts, and fails as the text says."""
    if "EXPLODE" in doc.text:
        raise RuntimeError(f"[E999] cannot process {doc.text}")
    if len(doc.ents) > 1:
        set_relations(doc, [(doc.ents[1], doc.ents[0], "Reason-Drug", 0.5)])
    if "CHANGE" in doc.text:
        return Doc(doc.vocab, words=["other"])
    return doc


@Language.component("clinie_test_fever")
def find_fever(doc: Doc) -> Doc:
    """Adds concepts as the components of this package do."""
    add_concepts(doc, [(token.i, token.i + 1, "Sign", 0.5) for token in doc if token.text == "fever"])
    return doc


class Dropper:
    """Drops a failing batch, as spaCy's components do with an error handler that only logs."""

    def __call__(self, doc: Doc) -> Doc:
        return doc

    def pipe(self, stream: Iterable[Doc], **_: Any) -> Iterator[Doc]:
        docs = list(stream)
        if not any("VANISH" in doc.text for doc in docs):
            yield from docs


@Language.factory("clinie_test_dropper")
def make_dropper(nlp: Language, name: str) -> Dropper:  # noqa: ARG001
    return Dropper()


def make_pipeline(folder: Path, *more: str) -> Path:
    """A pipeline of rules.

    folder (Path): Gets the pipeline's folder.
    more (str): Factories of components behind the others.
    RETURNS (Path): The pipeline's folder.
    """
    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(PATTERNS)
    for name in ("clinie_test_dropper", "clinie_test_trouble", *more):
        nlp.add_pipe(name)
    nlp.to_disk(folder / "pipeline")
    return folder / "pipeline"


def add_pattern(pipeline: Path, label: str, pattern: str) -> None:
    """Change a saved pipeline: let it find something else as well."""
    nlp = spacy.load(pipeline)
    ruler: Any = nlp.get_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": pattern}])
    nlp.to_disk(pipeline)


def write_lines(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in texts.items()))
    return path


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name or ".errors" in path.name)


def watch_engine(patch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the notes that engines are given from now on."""
    seen: list[str] = []
    call = Engine.annotate

    def listen(self: Engine, texts: Sequence[Text]) -> AnnotatedBatch:
        seen.extend(text.id for text in texts)
        return call(self, texts)

    patch.setattr(Engine, "annotate", listen)
    return seen


def interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


def interrupted(pipeline: Path, source: Path, target: Path, *, batches: int | None = None) -> None:
    """A job that is interrupted after some batches of one note, or before it writes the output."""
    with pytest.MonkeyPatch.context() as patch:
        if batches is None:
            patch.setattr(Sink, "write", interrupt)
        else:
            call: Callable[[Engine, Sequence[Text]], AnnotatedBatch] = Engine.annotate
            done = iter(range(batches))
            patch.setattr(Engine, "annotate", lambda *both: interrupt() if next(done, None) is None else call(*both))
        with pytest.raises(KeyboardInterrupt):
            annotate(pipeline, source, target, batch_size=2 if batches is None else 1)


@Language.component("clinie_test_context")
def find_context(doc: Doc) -> Doc:
    """What negation detectors and sectionizers leave on a Doc."""
    for ent in doc.ents:
        ent._.negex = "no " in doc.text[: ent.start_char].lower()
    half = len(doc) // 2
    doc.spans["sections"] = [Span(doc, 0, half, "past"), Span(doc, half, len(doc), "present")]
    for token in doc:
        token._.section_category = "past" if token.i < half else "present"
        token.lemma_ = token.lower_
    doc.cats = {"discharge": 0.5}
    if "GRAPH" in doc.text:
        doc._.graph = object()
    return doc


for _kind, _name, _default in (
    (Span, "negex", False),
    (Token, "section_category", None),
    (Doc, "graph", None),
):
    if not _kind.has_extension(_name):
        _kind.set_extension(_name, default=_default)
