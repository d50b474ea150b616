"""Components are saved as folders of files, and loaded."""

import json
from pathlib import Path

import pytest
import spacy
from spacy.language import Language

from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.errors import ClinieError
from tests.encoders import build
from tests.scripted import agree


def test_what_is_saved_last_is_loaded(tiny_bert: str, tmp_path: Path) -> None:
    adapted, whole, untrained = (build(kind, tiny_bert, label_schema="n2c2_2018") for kind in ("lora", "crf", "crf"))
    text = "Took aspirin 25mg for pain.\nThen developed rash."
    for nlp, label in ((adapted, "Drug"), (whole, "ADE")):
        nlp.initialize()
        agree(nlp.get_pipe("clinie_ner_encoder"), label)
    for nlp, label in ((adapted, "Drug"), (whole, "ADE"), (adapted, "Drug")):
        nlp.to_disk(tmp_path / "model")
        assert {span.label_ for span in get_spans(spacy.load(tmp_path / "model")(text))} == {label}
    untrained.to_disk(tmp_path / "model")
    with pytest.raises(ClinieError, match="CIE308"):
        spacy.load(tmp_path / "model")(text)


def test_a_saved_component_without_one_of_its_files_is_refused(tiny_bert: str, tmp_path: Path) -> None:
    """As earlier versions save other files."""
    nlp = build("crf", tiny_bert, label_schema="n2c2_2018")
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    schema = tmp_path / "model" / "clinie_ner_encoder" / "schema.json"
    cut = schema.read_text("utf8")[:40]
    for break_it in (lambda: schema.write_text(cut, encoding="utf8"), schema.unlink):
        break_it()
        with pytest.raises(ClinieError, match=r"CIE477.*schema\.json.*clinie_ner_encoder"):
            spacy.load(tmp_path / "model")


def test_a_head_of_another_schema_is_told(trained: Language, tmp_path: Path) -> None:
    trained.to_disk(tmp_path / "model")
    file = tmp_path / "model" / "clinie_ner_encoder" / "model" / "torch" / "schema.json"
    schema = json.loads(file.read_text())
    schema["concepts"].popitem()
    file.write_text(json.dumps(schema))
    with pytest.raises(ClinieError, match="CIE477"):
        spacy.load(tmp_path / "model")
