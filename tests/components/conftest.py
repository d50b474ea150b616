"""Pipelines that were trained once, for all tests of a process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from spacy.training import Example
from spacy.util import fix_random_seed

from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Concept, Note, Relation
from tests.scripted import learn_by_heart


@pytest.fixture(scope="session")
def pairs() -> list[Note]:
    """Notes in which a strength belongs to one of two drugs: the one that it stands behind."""
    made = []
    for first, second in (("aspirin", "ibuprofen"), ("ibuprofen", "morphine"), ("morphine", "aspirin")):
        for text in (f"Took {first} 25mg and {second} for pain.", f"Took {first} and {second} 25mg for pain."):
            mentions = ((first, "Drug"), (second, "Drug"), ("25mg", "Strength"), ("pain", "Reason"))
            concepts = [
                Concept(f"T{i}", text.index(words), text.index(words) + len(words), label)
                for i, (words, label) in enumerate(mentions)
            ]
            own = "T0" if f"{first} 25mg" in text else "T1"
            relations = [Relation("T2", own, "Strength-Drug")]
            relations += [Relation("T3", drug, "Reason-Drug") for drug in ("T0", "T1")]
            made.append(Note(f"pair-{len(made)}", text, concepts, relations))
    return made


@pytest.fixture(scope="session")
def learnt(
    tiny_bert: str, notes: list[Note], pairs: list[Note], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, list[Note]]]:
    """Gives the folder of a pipeline of `MODELS` in `tests.encoders`, and the notes that it has learnt by heart."""
    from tests.encoders import MODELS, build

    done: dict[str, tuple[Path, list[Note]]] = {}

    def make(kind: str) -> tuple[Path, list[Note]]:
        if kind not in done:
            fix_random_seed(0)
            nlp = build(kind, tiny_bert)
            own = notes[:3] + pairs if MODELS[kind][0] == "clinie_rel" else notes[:3]
            examples = [Example(nlp.make_doc(note.text), doc_from_note(nlp.make_doc, note)[0]) for note in own]
            learn_by_heart(nlp, examples, rate=1e-2 if kind == "lora" else 3e-3)
            folder: Path = tmp_path_factory.mktemp(kind)
            nlp.to_disk(folder)
            done[kind] = folder, own
        return done[kind]

    return make
