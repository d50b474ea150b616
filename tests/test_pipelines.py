"""Loading of pipelines, and other types than a pipeline was trained for."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.language import Language

import spacy_clinie
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.annotate.sinks import Sink
from spacy_clinie.doc.concepts import get_spans
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import jsonl
from spacy_clinie.pipelines import bundled
from spacy_clinie.schema import Schema
from spacy_clinie.training.callbacks import before_to_disk
from tests.decoders import build_for_concepts
from tests.encoders import build


def save(nlp: Language, path: Path) -> Path:
    nlp.initialize()
    nlp.to_disk(path)
    return path


def schema_file(tmp_path: Path, *types: str) -> str:
    schema = Schema.from_dict({"name": "mine", "concepts": {label: {} for label in types}})
    (tmp_path / "mine.yml").write_text(schema.to_yaml())
    return str(tmp_path / "mine.yml")


@pytest.mark.usefixtures("babbling")
def test_a_decoder_looks_for_the_types_of_any_schema(tiny_decoder: str, tmp_path: Path) -> None:
    path = save(build_for_concepts(tiny_decoder, "i2b2_2010"), tmp_path / "model")
    mine = schema_file(tmp_path, "Planet")
    (tmp_path / "note.txt").write_text("Took aspirin po bid and rash. " * 4)
    for schema, types in ((None, {"problem", "treatment", "test"}), (mine, {"Planet"})):
        nlp = spacy_clinie.load(path, schema)
        labels = {span.label_ for span in get_spans(nlp("Took aspirin po bid and rash. " * 4))}
        assert labels
        assert labels <= types
        annotate(path, tmp_path / "note.txt", tmp_path / "found.jsonl", schema=schema)
        [found] = jsonl.read(tmp_path / "found.jsonl", Report())
        assert {concept.label for concept in found.note.concepts} == labels


@pytest.mark.usefixtures("babbling")
def test_a_job_for_one_schema_does_not_go_on_with_another(
    tiny_decoder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = save(build_for_concepts(tiny_decoder, "i2b2_2010"), tmp_path / "model")
    (tmp_path / "note.txt").write_text("Took aspirin po bid and rash. " * 4)
    job = path, tmp_path / "note.txt", tmp_path / "found.jsonl"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Sink, "write", full)
        with pytest.raises(ClinieError, match="CIE443"):
            annotate(*job)
    with pytest.warns(ClinieWarning, match="CIE435"):
        assert not annotate(*job, schema=schema_file(tmp_path, "Planet")).resumed
    [found] = jsonl.read(tmp_path / "found.jsonl", Report())
    assert {concept.label for concept in found.note.concepts} == {"Planet"}


def test_a_tagger_finds_a_part_of_its_types_and_no_others(tiny_bert: str, tmp_path: Path) -> None:
    nlp = build("crf", tiny_bert, label_schema="n2c2_2018")
    path = save(nlp, tmp_path / "model")
    assert spacy_clinie.load(path, schema_file(tmp_path, "ADE", "Drug")).get_pipe("clinie_ner_encoder").labels == (
        "ADE",
        "Drug",
    )
    with pytest.raises(ClinieError, match="CIE315"):
        spacy_clinie.load(path, schema_file(tmp_path, "Drug", "Planet"))


def test_relations_of_another_schema_are_refused(tiny_bert: str, tmp_path: Path) -> None:
    path = save(build("one_pass", tiny_bert, label_schema="n2c2_2018"), tmp_path / "model")
    with pytest.raises(ClinieError, match="CIE315"):
        spacy_clinie.load(path, "i2b2_2010")
    spacy_clinie.load(path, "n2c2_2018")


def test_pipelines_that_look_for_nothing_or_are_not_there(tmp_path: Path) -> None:
    path = save(spacy.blank("en"), tmp_path / "blank")
    with pytest.raises(ClinieError, match="CIE319"):
        spacy_clinie.load(path, "phee")
    with pytest.raises(ClinieError, match="CIE430") as caught:
        spacy_clinie.load("no-such-pipeline")
    assert all(name in str(caught.value) for name in bundled())


@pytest.mark.parametrize("packaged", [False, True])
@pytest.mark.parametrize(
    ("setting", "known"), [("factory", "clinie_ner_encoder"), ("@architectures", "spacy_clinie.EncoderTagger.v1")]
)
def test_a_pipeline_that_needs_what_nobody_registered(
    setting: str, known: str, packaged: bool, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "en_mine").mkdir()
    path = save(build("crf", tiny_bert, label_schema="n2c2_2018"), tmp_path / "en_mine" / "en_mine-0.1")
    config = (path / "config.cfg").read_text()
    assert f'{setting} = "{known}"' in config
    (path / "config.cfg").write_text(config.replace(f'{setting} = "{known}"', f'{setting} = "own.v1"'))
    use: str | Path = path
    if packaged:
        (path / "meta.json").write_text(json.dumps(spacy.blank("en").meta | {"name": "mine", "version": "0.1"}))
        shutil.copy(path / "meta.json", path.parent)
        code = "import spacy\ndef load(**more): return spacy.util.load_model_from_init_py(__file__, **more)"
        (path.parent / "__init__.py").write_text(code)
        (tmp_path / "en_mine-0.1.dist-info").mkdir()
        (tmp_path / "en_mine-0.1.dist-info" / "METADATA").write_text("Name: en_mine\nVersion: 0.1\n")
        monkeypatch.syspath_prepend(tmp_path)
        use = "en_mine"
    with pytest.raises(ClinieError, match=r"CIE448.*'own.v1'"):
        spacy_clinie.load(use)
    assert not spacy_clinie.load(use, exclude=["clinie_ner_encoder"]).pipe_names
    assert not spacy_clinie.load(use, exclude="clinie_ner_encoder").pipe_names
    sys.modules.pop("en_mine", None)


def test_a_function_that_another_takes_the_place_of_need_not_be_there(tiny_bert: str, tmp_path: Path) -> None:
    path = save(build("crf", tiny_bert, label_schema="n2c2_2018"), tmp_path / "model")
    config = spacy.util.load_config(path / "config.cfg")
    tokenizer = config["nlp"]["tokenizer"]["@tokenizers"]
    config["nlp"]["tokenizer"]["@tokenizers"] = "own.Tokenizer.v1"
    config.to_disk(path / "config.cfg")
    with pytest.raises(ClinieError, match=r"CIE448.*'own.Tokenizer.v1'"):
        spacy_clinie.load(path)
    for settings in ({"nlp": {"tokenizer": {"@tokenizers": tokenizer}}}, {"nlp.tokenizer.@tokenizers": tokenizer}):
        assert spacy_clinie.load(path, config=settings).pipe_names == ["clinie_ner_encoder"]


def test_a_config_without_a_language_is_told(tmp_path: Path) -> None:
    path = save(spacy.blank("en"), tmp_path / "blank")
    for text in ("", "[nlp]\n"):
        (path / "config.cfg").write_text(text)
        with pytest.raises(ClinieError, match=r"CIE44[26]"):
            spacy_clinie.load(path)


def test_texts_of_over_a_million_characters_are_read(tmp_path: Path) -> None:
    nlp = spacy.blank("en")
    text = "".join(f"{' ' * 100_000}rash" for _ in range(11))
    (doc,) = spacy_clinie.load(save(nlp, tmp_path / "blank")).pipe([text])
    assert doc.text == text
    nlp.add_pipe("ner").add_label("Drug")
    nlp.initialize()
    with pytest.raises(ValueError, match="E088"):
        spacy_clinie.load(save(nlp, tmp_path / "ner"))(text)


@pytest.mark.environment
@pytest.mark.parametrize("name", bundled())
def test_a_bundled_pipeline_reads_a_note(name: str) -> None:
    nlp = spacy_clinie.load(name)
    text = "She has pneumonia. She was treated with ceftriaxone. No rash."
    # It is sure of these: with a probability above 0.9.
    found = {(span.text, span.label_) for span in get_spans(nlp(text))}
    assert {("pneumonia", "problem"), ("ceftriaxone", "treatment"), ("rash", "problem")} <= found
    drugs = {(span.text, span.label_) for span in get_spans(spacy_clinie.load(name, schema="phee")(text))}
    assert ("ceftriaxone", "Drug") in drugs
    assert not {label for _, label in drugs} & {"problem", "treatment", "test"}
    nlp.resume_training()


def test_a_pipeline_is_loaded_with_other_settings() -> None:
    """As `spacy.load` takes them."""
    settings = {"components.clinie_ner_encoder.model.threshold": 1.0}
    text = "She has pneumonia. She was treated with ceftriaxone."
    assert get_spans(spacy_clinie.load("open-minilm")(text))
    assert not get_spans(spacy_clinie.load("open-minilm", config=settings)(text))
    assert spacy_clinie.load("open-minilm", "phee", disable=["clinie_ner_encoder"]).pipe_names == ["clinie_encoder"]


def test_bundled_pipelines_are_small_and_tell_nothing_of_where_they_were_made() -> None:
    folder = Path(spacy_clinie.__file__).parent / "data" / "pipelines"
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert bundled() == ("open-minilm", "open-smollm2")
    assert sum(file.stat().st_size for file in files) < 12 * 2**20
    for file in files:
        content = file.read_bytes()
        # Neither a folder of the machine, nor the words of a corpus.
        assert b"site-packages" not in content
        assert b"/home/" not in content
        assert file.parent.name != "vocab"
    for name in bundled():
        meta = json.loads((folder / name / "meta.json").read_text(encoding="utf-8"))
        assert meta["spacy_version"] == ">=3.7.2,<3.9.0"  # what the package takes
        card = (folder / name / "README.md").read_text(encoding="utf-8")
        assert "strict F1 (95 %)" in card
        assert "{scores}" not in card


@pytest.mark.parametrize("load", [spacy.load, spacy_clinie.load])
@pytest.mark.parametrize(
    "name", ["head.safetensors", "schema.json", "tokenizer.json", "config.json", "model.safetensors"]
)
def test_damaged_files_are_told(load: Callable[[Path], Language], name: str, tiny_bert: str, tmp_path: Path) -> None:
    path = save(build("crf", tiny_bert, label_schema="n2c2_2018"), tmp_path / "model")
    [file] = [one for one in path.rglob(name) if "torch" in one.parts]
    content = file.read_bytes()
    for damaged in (content[:20], content[:-20], b""):
        file.write_bytes(damaged)
        with pytest.raises(ClinieError, match=r"CIE477.*'clinie_ner_encoder'"):
            load(path)
    file.unlink()
    with pytest.raises(ClinieError, match=r"CIE477.*'clinie_ner_encoder'"):
        load(path)
    file.write_bytes(content)
    load(path)


def test_a_typing_error_in_a_config_is_told(tiny_bert: str, tmp_path: Path) -> None:
    path = save(build("crf", tiny_bert, label_schema="n2c2_2018"), tmp_path / "model")
    config = (path / "config.cfg").read_text()
    (path / "config.cfg").write_text(config.replace("window = ", "windoww = "))
    with pytest.raises(ClinieError, match=r"CIE446.*windoww"):
        spacy_clinie.load(path)


@pytest.mark.parametrize("lost", [0, 1], ids=["head", "encoder"])
def test_a_pipeline_whose_weights_were_lost_is_told(lost: int, tiny_bert: str, tmp_path: Path) -> None:
    path = save(build("crf", tiny_bert, label_schema="n2c2_2018"), tmp_path / "model")
    folder = sorted(path.rglob("torch"))[lost]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ClinieError, match="CIE477"):
        spacy_clinie.load(path)


def test_components_that_are_disabled_are_saved_and_used_like_the_others(tiny_decoder: str, tmp_path: Path) -> None:
    nlp = build_for_concepts(tiny_decoder, "i2b2_2010")
    nlp.add_pipe("tagger", first=True).add_label("UNHEARD_OF")  # type: ignore[attr-defined]
    nlp.initialize()
    nlp.disable_pipes("tagger", "clinie_decoder_prompt")
    before_to_disk()(nlp).to_disk(tmp_path / "model")
    again = spacy_clinie.load(tmp_path / "model", schema_file(tmp_path, "Planet"))
    assert again.pipe_names == []
    again.enable_pipe("tagger")
    assert again("aspirin")[0].tag_ == "UNHEARD_OF"
    assert again.get_pipe("clinie_decoder_prompt").labels == ("Planet",)  # type: ignore[attr-defined]
