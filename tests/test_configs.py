"""Every config is filled, and trains."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import spacy
from peft import LoraConfig, get_peft_model
from spacy.cli.debug_data import debug_data
from spacy.cli.init_config import fill_config
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from transformers import AutoModelForCausalLM

from spacy_clinie.components.trainable import ClinieComponent
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.tokenizer import make_tokenizer
from tests.conftest import weights_of
from tests.tiny import make_decoder

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.cfg"))
_SHARED = pytest.mark.skipif(
    find_spec("spacy_transformers") is None,
    reason="not installed; constraints/shared_transformer.txt has it",
)
_MARKS = {stem: [pytest.mark.environment] for stem in ("ner_encoder", "shared_encoder", "decoder_lora")}
_MARKS["ner_transformer"] = [pytest.mark.environment, _SHARED]
TRAINED = [pytest.param(path, id=path.stem, marks=_MARKS.get(path.stem, [])) for path in CONFIGS]


@pytest.mark.environment
@pytest.mark.parametrize("path", TRAINED)
def test_a_config_is_complete(path: Path, tmp_path: Path) -> None:
    fill_config(tmp_path / "filled.cfg", path, silent=True)
    # Versions of spaCy write the settings in different orders.
    filled = load_config(tmp_path / "filled.cfg", interpolate=False)
    assert dict(filled) == dict(load_config(path, interpolate=False))


@pytest.fixture(scope="module")
def corpus(notes: list[Note], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "notes.spacy"
    tokenizer = make_tokenizer(spacy.blank("en").vocab)
    DocBin(store_user_data=True, docs=[doc_from_note(tokenizer, note)[0] for note in notes]).to_disk(path)
    return str(path)


@pytest.mark.parametrize("path", TRAINED)
def test_trains_saves_the_best_and_loads(path: Path, corpus: str, tiny_bert: str, tmp_path: Path) -> None:
    config = load_config(path, interpolate=False)
    config["paths"].update(train=corpus, dev=corpus, schema=None)
    for split in ("train", "dev"):
        for part in config["corpora"][split].get("corpora", {}).values():
            part.update(path=corpus, label_schema=None, apart_from=None)
    config["training"].update(max_steps=4, eval_frequency=2)
    config["training"]["optimizer"]["learn_rate"].update(warmup_steps=1, initial_rate=0.003)
    config["training"]["logger"]["progress_bar"] = False
    if "encoder" in config["paths"]:
        config["paths"]["encoder"] = tiny_bert
    for component in config["components"].values():
        if "encoder" in component["model"]:
            component["model"].update(encoder=tiny_bert, window=96)
        if "base" in component["model"]:
            component["model"].update(base=make_decoder(tmp_path / "base"))
    if "adapter" in config["paths"]:  # of an earlier training
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        adapter = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        adapter.save_pretrained(tmp_path / "adapter")
        config["paths"]["adapter"] = str(tmp_path / "adapter")
    nlp = init_nlp(config)
    before = _weights(nlp)
    train(nlp, tmp_path, stdout=(tmp_path / "log").open("w"))
    assert len((tmp_path / "log").read_text().strip().splitlines()) >= 4
    last = _weights(spacy.load(tmp_path / "model-last"))
    assert any((last[name] != weight).any() for name, weight in before.items())
    best = spacy.load(tmp_path / "model-best")
    words = {token.text for doc in DocBin().from_disk(corpus).get_docs(best.vocab) for token in doc}
    kept = set(json.loads((tmp_path / "model-best" / "vocab" / "strings.json").read_text(encoding="utf-8")))
    assert "aspirin" in words
    assert kept.isdisjoint(words.difference(spacy.blank("en").vocab.strings))
    best("Took aspirin 25mg for pain.\nThen developed rash.")
    best.resume_training()
    again = spacy.blank("en").from_config(best.config)
    assert again.pipe_names == best.pipe_names


def test_spacy_can_debug_the_data_of_a_config(
    corpus: str, tiny_bert: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shown, dev = str(tmp_path / "train.spacy"), str(tmp_path / "dev.spacy")
    # spaCy calls fewer than 100 documents an error.
    docs = list(DocBin().from_disk(corpus).get_docs(spacy.blank("en").vocab))
    DocBin(store_user_data=True, docs=docs * 100).to_disk(shown)
    DocBin(docs=[spacy.blank("en")("Nothing is found.")]).to_disk(dev)
    overrides = {"paths.train": shown, "paths.dev": dev, "paths.encoder": tiny_bert}
    debug_data(CONFIGS[0].parent / "ner_encoder.cfg", config_overrides=overrides, silent=False)
    assert "Pipeline can be initialized with data" in capsys.readouterr().out


def _weights(nlp: spacy.Language) -> dict[str, Any]:
    """A copy of what our component learns."""
    pipe: Any = next(pipe for _, pipe in nlp.pipeline if isinstance(pipe, ClinieComponent))
    return {name: weight.clone() for name, weight in pipe.model.shims[0].module.state_dict().items()}


@pytest.mark.environment
def test_relations_are_learnt_on_the_frozen_encoder_of_a_trained_tagger(
    corpus: str, tiny_bert: str, tmp_path: Path
) -> None:
    """As docs/training.md has it."""
    config = load_config(CONFIGS[0].parent / "shared_encoder.cfg", interpolate=False)
    config["paths"].update(train=corpus, dev=corpus)
    config["training"].update(max_steps=4, eval_frequency=2)
    config["training"]["logger"]["progress_bar"] = False
    config["components"]["clinie_encoder"]["model"].update(encoder=tiny_bert, window=96)
    trained = init_nlp(config.interpolate())
    trained.remove_pipe("clinie_rel")
    trained.to_disk(tmp_path / "concepts")
    frozen = ["clinie_encoder", "clinie_ner_encoder"]
    for name in frozen:
        config["components"][name] = {"source": str(tmp_path / "concepts")}
    config["training"].update(frozen_components=frozen, annotating_components=["clinie_encoder"])
    nlp = init_nlp(config)
    before = {name: [weight.clone() for weight in weights_of(nlp.get_pipe(name))] for name in nlp.pipe_names}
    train(nlp, tmp_path, stdout=(tmp_path / "log").open("w"))
    last = spacy.load(tmp_path / "model-last")
    for name, weights in before.items():
        same = [one.equal(other) for one, other in zip(weights, weights_of(last.get_pipe(name)), strict=True)]
        assert all(same) if name in frozen else not all(same)
    last("Took aspirin 25mg for pain.")


def test_two_trained_components_become_one_pipeline(corpus: str, tiny_bert: str, tmp_path: Path) -> None:
    for stem in ("ner_encoder", "rel_one_pass"):
        config = load_config(CONFIGS[0].parent / f"{stem}.cfg", interpolate=False)
        config["paths"].update(train=corpus, dev=corpus)
        for component in config["components"].values():
            component["model"].update(encoder=tiny_bert, window=96)
        init_nlp(config.interpolate()).to_disk(tmp_path / stem)
    nlp = spacy.load(tmp_path / "ner_encoder")
    nlp.add_pipe("clinie_rel", source=spacy.load(tmp_path / "rel_one_pass"))
    nlp.to_disk(tmp_path / "both")
    nlp = spacy.load(tmp_path / "both")
    assert nlp.pipe_names == ["clinie_ner_encoder", "clinie_rel"]
    assert nlp.get_pipe("clinie_rel").labels
    nlp("Took aspirin 25mg for pain.")


def test_a_packaged_pipeline_loads_elsewhere_without_a_hub(
    corpus: str, tiny_bert: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`spacy package`, pip install, and loading where the base model is gone and no hub can be reached."""
    base = tmp_path_factory.mktemp("base") / "encoder"
    shutil.copytree(tiny_bert, base)
    config = load_config(CONFIGS[0].parent / "ner_encoder.cfg", interpolate=False)
    config["paths"].update(train=corpus, dev=corpus)
    config["components"]["clinie_ner_encoder"]["model"].update(encoder=str(base), window=96)
    init_nlp(config.interpolate()).to_disk(tmp_path / "pipeline")
    shutil.rmtree(base)
    (tmp_path / "packages").mkdir()
    python = [sys.executable, "-m"]
    package = [*python, "spacy", "package", str(tmp_path / "pipeline"), str(tmp_path / "packages"), "--name", "tiny"]
    subprocess.run(package, capture_output=True, check=True)
    (archive,) = (tmp_path / "packages").rglob("*.tar.gz")
    install = [*python, "pip", "install", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    subprocess.run([*install, str(archive)], capture_output=True, check=True)
    shutil.rmtree(tmp_path / "pipeline")
    code = "import en_tiny; nlp = en_tiny.load(); print(nlp.pipe_names, len(nlp('Took aspirin 25mg for pain.')))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "['clinie_ner_encoder'] 7", done.stderr
