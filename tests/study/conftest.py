"""A study of the invented notes with tiny models, done once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy

from spacy_clinie.study.data import SPLITS, Source, load
from spacy_clinie.study.fold import fold_config
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace

SMOKE = PROFILES["smoke"]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both studies of the profile smoke."""
    folder: Path = tmp_path_factory.mktemp("study")
    for name in ("single", "loo"):
        counts = run_study(name, folder, profile="smoke", corpora=folder, jobs=2)  # type: ignore[arg-type]
        assert counts["failed"] == 0
        assert counts["finished"] + counts["done"] == counts["folds"] > 0
    return folder


def manifests(study: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(study.glob("folds/*/manifest.json"))]


def prepare(workspace: Workspace, sources: Sequence[Source]) -> None:
    for source in sources:
        workspace.prepare(source)


def texts_of(workspace: Workspace, corpus: str) -> list[str]:
    return [note.text for split in SPLITS for note in load(workspace.corpus(corpus) / f"{split}.spacy")]


def texts_trained_on(fold: Fold, workspace: Workspace) -> list[str]:
    config = fold_config(fold, workspace, None)
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": config["nlp"]["tokenizer"]}})
    reader = spacy.registry.resolve({"train": config["corpora"]["train"]})["train"]
    return [example.reference.text for example in reader(nlp)]


def own_corpus(folder: Path, begin: int = 0) -> Path:
    """A user's corpus: brat files and a schema. From another number it has the same drugs in other texts."""
    folder.mkdir(parents=True)
    schema = "name: mine\nconcepts:\n  Drug:\n    description: A drug.\n    question: Which drugs?\n"
    (folder / "schema.yml").write_text(schema)
    for i in range(12):
        words = [str(number) for number in range(begin + 100, begin + 112)]
        drug = f"drug{(i + begin) % 12}"
        text = f"Note {i} says {' '.join(words[i:] + words[:i])}: took {drug} again and again."
        start = text.index("drug")
        (folder / f"n{i}.txt").write_text(text)
        (folder / f"n{i}.ann").write_text(f"T1\tDrug {start} {start + len(drug)}\t{drug}\n")
    return folder
