"""`export-instructions`: the training set as text."""

import json
import re
from pathlib import Path

import pytest
from spacy.language import Language
from spacy.tokens import DocBin
from thinc.api import Config
from tokenizers import Tokenizer, pre_tokenizers
from typer.testing import CliRunner

from spacy_clinie.cli import app
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.tokenizer import make_tokenizer
from spacy_clinie.models import pretrained
from tests.tiny import make_decoder

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def train(notes: list[Note], nlp, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    docs = [doc_from_note(make_tokenizer(nlp.vocab), note)[0] for note in notes]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "train.spacy")
    return tmp_path / "train.spacy"


def run(config: Path, target: Path, train: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        app, ["export-instructions", str(config), str(target), "--paths.train", str(train), *more]
    )
    return result.exit_code, result.output


def test_each_line_has_a_prompt_and_its_answer(
    train: Path, notes: list[Note], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_decoder(tmp_path / "base")
    monkeypatch.setattr(pretrained, "load_causal", lambda *_: pytest.fail("no weights are needed"))
    more = ("--components.clinie_decoder_prompt.model.base", folder)
    status, said = run(CONFIGS / "decoder_lora.cfg", tmp_path / "out.jsonl", train, *more)
    assert status == 0, said
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf8").splitlines()]
    assert f"{len(lines)} questions" in said
    assert len(lines) == 2 * len(notes)
    for line in lines:
        assert [(one["role"]) for side in ("prompt", "completion") for one in line[side]] == ["user", "assistant"]
    concepts = [line for line in lines if f"Text:\n{notes[0].text}\nAnswer:" in line["prompt"][0]["content"]]
    copy = "Took«« aspirin»Drug»« 25mg»Strength»»Order» for« pain»Reason».\nThen developed« rash»ADE»."
    assert [line["completion"][0]["content"] for line in concepts] == [copy] * 2
    related = [line for line in lines if "Took« aspirin»1 Drug»« 25mg»2 Strength» for" in line["prompt"][0]["content"]]
    assert {line["completion"][0]["content"] for line in related} == {
        "2 Strength-Drug 1\n3 Reason-Drug 1\n4 ADE-Drug 1\n"
    }


def test_invalid_configs_and_files_are_refused(train: Path, tmp_path: Path) -> None:
    cases = [
        ((CONFIGS / "ner_encoder.cfg", tmp_path / "out.jsonl", train), "CIE329"),
        ((CONFIGS / "decoder_lora.cfg", tmp_path / "out.jsonl", tmp_path / "none.spacy"), "CIE330"),
        ((tmp_path / "none.cfg", tmp_path / "out.jsonl", train), "CIE"),
        ((CONFIGS / "decoder_lora.cfg", CONFIGS / "decoder_lora.cfg", train), "CIE"),
    ]
    for arguments, code in cases:
        status, said = run(*arguments)
        assert (status, code in said) == (1, True), said
    assert not (tmp_path / "out.jsonl").exists()
    assert (CONFIGS / "decoder_lora.cfg").stat().st_size


def test_a_copy_has_the_text_of_its_window(train: Path, tmp_path: Path) -> None:
    """Also if a window begins after a blank, or if the tokenizer adds a blank where it splits a word ("25mg")."""
    folder = make_decoder(tmp_path / "base")
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.save(f"{folder}/tokenizer.json")
    prefix = "--components.clinie_decoder_prompt"
    more = [f"{prefix}.model.base", folder, f"{prefix}.concepts.window", "5", f"{prefix}.concepts.overlap", "2"]
    status, said = run(CONFIGS / "decoder_lora.cfg", tmp_path / "out.jsonl", train, *more)
    assert status == 0, said
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf8").splitlines()]
    pairs = [(line["prompt"][0]["content"], line["completion"][0]["content"]) for line in lines]
    windows = [(re.search(r"Text:\n(.*)\nAnswer:", prompt, re.DOTALL), answer) for prompt, answer in pairs]
    # Prompts for relations have marks in their text.
    concepts = [(found[1], answer) for found, answer in windows if found and "»" not in found[1]]
    copies = [(window, re.sub("«|»(?:[A-Za-z]+»)?", "", answer)) for window, answer in concepts]
    assert len(copies) > 12
    for window, copied in copies:
        assert copied == window


def test_types_without_a_description_get_a_neutral_one(train: Path, tmp_path: Path) -> None:
    more = ("--components.clinie_decoder_prompt.model.base", make_decoder(tmp_path / "base"))
    assert run(CONFIGS / "decoder_lora.cfg", tmp_path / "out.jsonl", train, *more)[0] == 0
    first = json.loads((tmp_path / "out.jsonl").read_text("utf8").splitlines()[0])["prompt"][0]["content"]
    assert first.startswith("Find every mention of these types in the text:\n")
    assert "- Drug: Mentions of drug.\n" in first


def test_labels_of_the_config_are_asked_for(train: Path, tmp_path: Path) -> None:
    types = {name: {"description": f"My {name}."} for name in ("Order", "Drug", "Strength", "Reason", "ADE", "Form")}
    relation = {
        name: {"pairs": [[name.partition("-")[0], "Drug"]]} for name in ("Strength-Drug", "Reason-Drug", "ADE-Drug")
    }
    schema = {"name": "mine", "concepts": types, "relations": relation}
    (tmp_path / "labels.json").write_text(json.dumps(schema), encoding="utf8")
    config = Config().from_disk(CONFIGS / "decoder_lora.cfg", interpolate=False)
    labels = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "labels.json"), "require": True}
    config["initialize"]["components"] = {"clinie_decoder_prompt": {"labels": labels}}
    config.to_disk(tmp_path / "mine.cfg")
    more = ("--components.clinie_decoder_prompt.model.base", make_decoder(tmp_path / "base"))
    status, said = run(tmp_path / "mine.cfg", tmp_path / "out.jsonl", train, *more)
    assert status == 0, said
    assert "- Form: My Form.\n" in (tmp_path / "out.jsonl").read_text("utf8").replace("\\n", "\n")


def test_unannotated_docs_give_a_warning(nlp: Language, train: Path, tmp_path: Path) -> None:
    docs = [nlp.make_doc("Nobody has looked."), *DocBin().from_disk(train).get_docs(nlp.vocab)]
    # Answers use the schema of their own Doc.
    (tmp_path / "one.yml").write_text("{name: one, concepts: {Nothing: , Drug: }}", encoding="utf8")
    docs[-1].user_data["clinie_schema"] = str(tmp_path / "one.yml")
    docs[-1].spans["clinie"] = [span for span in docs[-1].spans["clinie"] if span.label_ == "Drug"]
    docs[-1]._.rel = []
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "more.spacy")
    more = ("--components.clinie_decoder_prompt.model.base", make_decoder(tmp_path / "base"))
    status, said = run(CONFIGS / "decoder_lora.cfg", tmp_path / "out.jsonl", tmp_path / "more.spacy", *more)
    assert status == 0
    assert re.search("CIE474.* 1 Docs", said)
    last = json.loads((tmp_path / "out.jsonl").read_text("utf8").splitlines()[len(docs) - 2])
    assert last["completion"][0]["content"] == f"Took«{docs[-1].text[4:].replace(' 25mg', '»Drug» 25mg', 1)}"
