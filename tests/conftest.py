import os

# Two processes share the tests; in each, torch takes one thread. It reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.formats import docbin
from spacy_clinie.models.causal import CausalModule
from tests.scripted import babble, learn_by_heart
from tests.tiny import make_decoder, make_encoder

SmallDisk = Callable[[int], AbstractContextManager[None]]
Examples = Callable[[spacy.Language], list[Example]]
CORPORA = Path(os.environ.get("CLINIE_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test does not depend on those before it in its process: what tiny models learn depends on their weights."""
    fix_random_seed(0)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of the real open corpora."""
    if not CORPORA.is_dir():
        pytest.skip("the open corpora are not here: set CLINIE_CORPORA to their folder")
    return CORPORA


@pytest.fixture
def nlp() -> spacy.Language:
    return spacy.blank("en")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny random BERT."""
    return make_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny random Llama."""
    return make_decoder(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def babbling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Language models answer at random, but the same to the same prompt."""
    monkeypatch.setattr(CausalModule, "generate", babble)


@pytest.fixture(scope="session")
def notes() -> list[Note]:
    """A few notes that a tiny model can learn by heart. Concepts overlap, and one relation crosses sentences."""
    made = []
    for number, (drug, reason, harm) in enumerate(
        [("aspirin", "pain", "rash"), ("ibuprofen", "headache", "nausea"), ("morphine", "fever", "cough")] * 2
    ):
        text = f"Took {drug} 25mg for {reason}.\nThen developed {harm}."
        concepts = []
        for label, mention in (("Drug", drug), ("Strength", "25mg"), ("Reason", reason), ("ADE", harm)):
            start = text.index(mention)
            concepts.append(Concept(f"T{len(concepts) + 1}", start, start + len(mention), label))
        start = text.index(drug)
        concepts.append(Concept("T5", start, start + len(f"{drug} 25mg"), "Order"))
        relations = [Relation("T2", "T1", "Strength-Drug"), Relation("T3", "T1", "Reason-Drug")]
        relations.append(Relation("T4", "T1", "ADE-Drug"))
        made.append(Note(f"note-{number}", text, concepts, relations))
    return made


@pytest.fixture
def make_examples(notes: list[Note]) -> Examples:
    """Makes examples of the notes for a pipeline."""

    def make(nlp: spacy.Language) -> list[Example]:
        return [Example(nlp.make_doc(note.text), doc_from_note(nlp.make_doc, note)[0]) for note in notes]

    return make


@pytest.fixture
def write_corpus(tmp_path: Path) -> Callable[[str, int], Path]:
    """Writes a corpus of so many notes."""

    def make(name: str, number: int) -> Path:
        notes = [Note(f"{name}-{i}", f"aspirin {i}", [Concept("C1", 0, 7, "Drug")]) for i in range(number)]
        docbin.write(notes, tmp_path / f"{name}.spacy")
        return tmp_path / f"{name}.spacy"

    return make


@pytest.fixture
def trained(tiny_bert: str, make_examples: Examples) -> spacy.Language:
    """A pipeline whose components share an encoder, learnt by heart through what they share."""
    from tests.sharing import build_shared

    nlp = build_shared(tiny_bert)
    learn_by_heart(nlp, make_examples(nlp))
    return nlp


def tiny_settings(encoder: str, **more: Any) -> dict[str, Any]:
    """Settings that our encoder architectures share, for a tiny model on one thread."""
    return {"encoder": encoder, "device": "cpu", "precision": "fp32", **more}


def modules_of(pipe: Any) -> list[Any]:
    """The torch modules of a component: first that of its head, then that of its encoder where this is another."""
    return [shim.module for node in pipe.model.walk() for shim in node.shims]


def weights_of(pipe: Any) -> list[Any]:
    """All weights of a component."""
    return [weight for module in modules_of(pipe) for weight in module.parameters()]


@pytest.fixture
def small_disk() -> SmallDisk:
    """Makes a disk on which files have so many bytes at most, for a while."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def small(size: int) -> Iterator[None]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return small
