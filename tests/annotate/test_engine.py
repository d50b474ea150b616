"""The engine: annotation of batches, and failures of single notes."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie.annotate.engine import Engine, batches
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.annotate.sources import Text
from spacy_clinie.errors import ClinieError, ClinieWarning
from tests.annotate.helpers import TEXT, Dropper, read_lines, write_lines


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_failing_notes_are_listed_and_the_others_annotated(pipeline: Path, tmp_path: Path, batch_size: int) -> None:
    texts = {str(i): TEXT for i in range(9)}
    texts |= {"3": "EXPLODE, Mr Secret", "5": "VANISH, Mr Secret", "6": "CHANGE, Mr Secret"}
    source, target = write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match=r"CIE436.*3 note"):
        summary = annotate(pipeline, source, target, batch_size=batch_size)
    assert [note["id"] for note in read_lines(target)] == ["0", "1", "2", "4", "7", "8"]
    assert all(len(note["concepts"]) == 2 for note in read_lines(target))
    assert (summary.notes, summary.failed) == (6, 3)
    assert summary.errors is not None
    errors = summary.errors.read_text()
    assert "Secret" not in errors
    listed = {record["id"]: (record["problem"], record["code"]) for record in map(json.loads, errors.splitlines())}
    assert listed == {"3": ("RuntimeError", "E999"), "5": ("ClinieError", "CIE431"), "6": ("ClinieError", "CIE432")}
    assert json.loads(errors.splitlines()[0])["at"].startswith("helpers.py:")


def test_notes_without_words_skip_the_pipeline(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(self: Dropper, stream: Iterable[Doc], **_: Any) -> Iterator[Doc]:
        for doc in stream:
            seen.append(doc.text)
            yield self(doc)

    monkeypatch.setattr(Dropper, "pipe", look)
    annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": "", "b": " \t", "c": TEXT}), tmp_path / "out.jsonl")
    assert seen == [TEXT]


def test_batches_have_a_maximum_of_notes_and_characters() -> None:
    texts = [Text(str(i), "x" * size) for i, size in enumerate([3, 3, 3, 3, 50, 1, 9, 0, 0, 0, 0])]
    sizes = [[len(text.text) for text in batch] for batch in batches(texts, 4, 10)]
    assert sizes == [[3, 3, 3], [3], [50], [1, 9, 0, 0], [0, 0]]


def test_fingerprint_follows_links(pipeline: Path, tmp_path: Path) -> None:
    (pipeline / "entity_ruler").rename(tmp_path / "elsewhere")
    (pipeline / "entity_ruler").symlink_to(tmp_path / "elsewhere")
    before = Engine(pipeline).fingerprint
    patterns = tmp_path / "elsewhere" / "patterns.jsonl"
    patterns.write_text(patterns.read_text() + json.dumps({"label": "Drug", "pattern": "Other"}) + "\n")
    assert Engine(pipeline).fingerprint != before


@Language.component("clinie_test_unlabelled")
def leave_unlabelled(doc: Doc) -> Doc:
    doc.spans["clinie"] = [doc[:1]] if "EXPLODE" in doc.text else []
    return doc


def test_concept_without_a_label_fails_only_its_note(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("clinie_test_unlabelled")
    nlp.to_disk(tmp_path / "model")
    source = write_lines(tmp_path / "notes.jsonl", {"a": TEXT, "b": f"EXPLODE {TEXT}"})
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(tmp_path / "model", source, tmp_path / "out.jsonl")
    assert (summary.notes, summary.failed) == (1, 1)
    (failure,) = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert failure["id"] == "b"


def test_pipeline_with_code_of_the_user(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("""from spacy.language import Language

@Language.component("clinie_test_of_ones_own")
def rules(doc):
    doc.ents = [doc.char_span(0, 7, "Drug")]
    return doc
""")
    nlp = spacy.blank("en")
    config = nlp.config.copy()
    config["nlp"]["pipeline"] = ["mine"]
    config["components"] = {"mine": {"factory": "clinie_test_of_ones_own"}}
    nlp.to_disk(tmp_path / "model")
    config.to_disk(tmp_path / "model" / "config.cfg")
    source = write_lines(tmp_path / "notes.jsonl", {"a": TEXT})
    with pytest.raises(ClinieError, match=r"CIE448.*clinie_test_of_ones_own.*--code"):
        annotate(tmp_path / "model", source, tmp_path / "out.jsonl")
    assert annotate(tmp_path / "model", source, tmp_path / "out.jsonl", code=code).concepts == 1
    fingerprint = Engine(tmp_path / "model", code=code).fingerprint
    code.write_text(code.read_text() + "\n")
    assert Engine(tmp_path / "model", code=code).fingerprint != fingerprint


@pytest.mark.parametrize("missing", ["entity_ruler/patterns.jsonl", "vocab/strings.json", "tokenizer", "config.cfg"])
def test_incomplete_pipeline_is_not_reported_as_missing(pipeline: Path, tmp_path: Path, missing: str) -> None:
    (pipeline / missing).unlink()
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    with pytest.raises(ClinieError, match=f"CIE442.*{missing}"):
        annotate(pipeline, source, tmp_path / "out.jsonl")
    with pytest.raises(ClinieError, match="CIE430"):
        annotate(tmp_path, source, tmp_path / "out.jsonl")
