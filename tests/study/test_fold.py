"""A fold: its training without text of the test, the recorder of it, and its predictions."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from spacy_clinie.components import prompting
from spacy_clinie.corpora.splits import overlapping
from spacy_clinie.doc.concepts import ID_KEY, SCHEMA_KEY, get_spans
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.study import fold
from spacy_clinie.study.data import find_sources, load
from spacy_clinie.study.fold import run_fold
from spacy_clinie.study.plan import Fold
from spacy_clinie.study.presets import PRESETS
from spacy_clinie.study.profiles import PROFILES
from spacy_clinie.study.run import run_study
from spacy_clinie.study.workspace import Workspace
from tests.conftest import Examples
from tests.decoders import build_for_both
from tests.study.conftest import SMOKE, manifests, own_corpus, prepare, texts_of, texts_trained_on


def test_recorder_keeps_notes_of_training_steps_once(
    tiny_decoder: str, make_examples: Examples, tmp_path: Path
) -> None:
    nlp = build_for_both(tiny_decoder)
    examples = make_examples(nlp)
    sgd = nlp.initialize(lambda: examples)
    schema = nlp.get_pipe("clinie_decoder_prompt").schema  # type: ignore[attr-defined]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "schema.yml").write_text(schema.to_yaml())
    for number, example in enumerate(examples):
        example.reference.user_data |= {SCHEMA_KEY: str(tmp_path / "corpus" / "schema.yml"), ID_KEY: f"n{number}"}
    recorder = nlp.add_pipe("clinie_study_recorder", first=True)
    for batch in (examples[:1], examples[:2], examples[:1]):
        nlp.update(batch, sgd=sgd)
    assert (recorder.steps, sorted(recorder.notes)) == (3, [("corpus", "n0"), ("corpus", "n1")])  # type: ignore[attr-defined]
    text = examples[0].text
    found = note_from_doc(nlp(text))
    nlp.remove_pipe("clinie_study_recorder")
    assert nlp.pipe_names == ["clinie_decoder_prompt"] == nlp.config["nlp"]["pipeline"]
    assert note_from_doc(nlp(text)) == found


@pytest.mark.parametrize("gold", [False, True])
def test_concepts_are_predicted_unless_gold_ones_are_given(
    gold: bool, tiny_decoder: str, notes: list[Note], make_examples: Examples, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nlp = build_for_both(tiny_decoder)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("clinie_decoder_prompt")
    (tmp_path / "schema.yml").write_text(pipe.schema.to_yaml())  # type: ignore[attr-defined]
    asked: dict[str, int] = {"concept_queries": 0, "relation_queries": 0}
    for name in asked:
        method = getattr(prompting.PromptingComponent, name)

        def count(*args: object, name: str = name, method: Callable = method) -> list:
            found: list = method(*args)
            asked[name] += len(found)
            return found

        monkeypatch.setattr(prompting.PromptingComponent, name, count)
    prompt = pipe.concepts  # type: ignore[attr-defined]
    found = fold._predict(nlp, notes, str(tmp_path / "schema.yml"), gold=gold)
    assert bool(asked["concept_queries"]) == (not gold)
    assert pipe.concepts is prompt is not None  # type: ignore[attr-defined]
    if gold:
        assert asked["relation_queries"] > 0
        assert [one.concepts for one in found] == [note_from_doc(example.reference).concepts for example in examples]
    assert nlp.pipe_names == ["clinie_decoder_prompt"]
    assert get_spans(examples[0].reference)


def test_multi_task_stage_without_documents_fails_and_others_report_their_number(tmp_path: Path) -> None:
    for name, begin in (("mine", 0), ("other", 50)):
        own_corpus(tmp_path / name, begin)
    shutil.copytree(tmp_path / "mine", tmp_path / "again")
    settings: dict[str, Any] = {"profile": "smoke", "corpora": tmp_path, "arms": ["encoder-mrc"]}
    messages: list[str] = []
    with patch.dict(PROFILES, {"smoke": replace(SMOKE, shots=())}):
        run_study("loo", tmp_path / "alike", **settings, use=["mine", "again"], echo=messages.append)
        problems = {
            one["fold"]["corpus"]: one["failed"]["problem"]
            for one in manifests(tmp_path / "alike")
            if one["fold"]["stage"] == "multi"
        }
        assert problems.keys() == {"mine", "again"}
        assert problems["mine"].startswith("[CIE486] No training documents of again are left")
        run_study("loo", tmp_path / "study", **settings, use=["mine", "again", "other"], echo=messages.append)
    line = next(line for line in messages if "mine" in line.split(" · ") and "multi" in line.split(" · "))
    offered = {one["fold"]["corpus"]: one.get("offered") for one in manifests(tmp_path / "study") if "shown" in one}
    assert offered["mine"]["again"] == 0
    assert offered["mine"]["other"] > 0
    assert any(
        f"share no text with it: 0 of again, {offered['mine']['other']} of other" in line for line in messages
    ), line


_WORDS = re.compile(r"\w+")


def test_manifest_counts_documents_that_steps_read(tmp_path: Path) -> None:
    """A note a step, and two steps."""
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", replace(SMOKE, step_words=1, train_words=None))
    prepare(workspace, find_sources(["mine"], tmp_path / "corpora")[0])
    fold = Fold("single", "encoder-tagger", "tiny-encoder=random", "mine", "full", 2)
    run_fold(fold, workspace, "key", None)
    manifest = workspace.manifest("key")
    assert manifest
    assert manifest["training"]["steps"] == manifest["data"]["train"]["documents"] == 2
    assert manifest["data"]["offered"]["documents"] == len(load(workspace.sample("mine", "train"))) > 2
    assert "relations" not in manifest["results"]


def test_random_weights_of_a_real_shape_are_trained_and_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny-encoder", replace(PRESETS["tiny-encoder"], base="some/model"))
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    prepare(workspace, find_sources(["mine"], tmp_path / "corpora")[0])
    run_fold(Fold("cost", "encoder-tagger", "tiny-encoder=random", "mine", "full", 2), workspace, "key", None)
    manifest = workspace.manifest("key")
    assert manifest
    assert manifest["training"]["steps"] == 2
    assert manifest["training"]["disk_bytes"] > 0
    assert "results" not in manifest
    assert manifest["data"]["test"]["documents"] == 0


def test_words_of_the_multi_task_stage_count_as_seen(tmp_path: Path) -> None:
    for name, begin in (("first", 0), ("second", 50)):
        own_corpus(tmp_path / "corpora" / name, begin)
    workspace = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    prepare(workspace, find_sources(["first", "second"], tmp_path / "corpora")[0])
    multi = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 2, multitask=True, others=("second",))
    run_fold(multi, workspace, "multi", None)
    run_fold(replace(multi, stage="zero", steps=0), workspace, "zero", "multi")
    errors = (workspace.manifest("zero") or {})["errors"]
    assert (errors["seen"]["gold"], errors["unseen"]["gold"]) == (1, 0)


def test_training_shares_no_text_with_the_test(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", replace(SMOKE, train_words=None))
    sources = find_sources(["mine"], tmp_path / "corpora")[0]
    prepare(workspace, sources)
    tested = load(workspace.corpus("mine") / "test.spacy")[0]
    repeated = load(workspace.corpus("mine") / "train.spacy")[0]
    (folder / f"{repeated.id}.txt").write_text("Once more. " + tested.text)
    (folder / f"{repeated.id}.ann").write_text("")
    prepare(workspace, sources)
    assert overlapping([note.text for note in load(workspace.sample("mine", "train"))], [tested.text])
    for stage in ("full", "shots"):
        fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "mine", stage, 1, shots=99)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="CIE469"):
            shown = texts_trained_on(fold, workspace)
        assert shown
        assert not overlapping(shown, [note.text for note in load(workspace.corpus("mine") / "test.spacy")])


def test_parent_without_relations_can_have_a_child_with_relations(tmp_path: Path) -> None:
    own_corpus(tmp_path / "corpora" / "mine")
    workspace = Workspace(tmp_path / "study", SMOKE)
    prepare(workspace, find_sources(["synthetic-drugs", "mine"], tmp_path / "corpora")[0])
    for arm, base, tasks in (
        ("decoder-lora", "tiny-decoder=random", {"concepts", "relations", "relations_gold"}),
        ("encoder-mrc", "tiny-encoder=random", {"concepts"}),
    ):
        multi = Fold("loo", arm, base, "synthetic-drugs", "multi", 2, multitask=True, others=("mine",))
        zero = replace(multi, stage="zero", steps=0)
        run_fold(multi, workspace, f"{arm}-multi", None)
        run_fold(zero, workspace, f"{arm}-zero", f"{arm}-multi")
        # A language model can be asked what it was not taught; an encoder has no component for it.
        manifest = workspace.manifest(f"{arm}-zero") or {}
        assert set(manifest["results"]) == tasks


def test_multi_task_training_shares_no_text_with_the_held_out_corpus(tmp_path: Path) -> None:
    """One corpus repeats the notes of the other, two of them with words before."""
    second = tmp_path / "corpora" / "second"
    shutil.copytree(own_corpus(tmp_path / "corpora" / "first"), second)
    for i, file in enumerate(sorted(second.glob("*.txt"))[:2]):
        shifted = file.with_suffix(".ann").read_text().split("\t")
        name, start, end = shifted[1].split()
        file.with_suffix(".ann").write_text(f"T1\t{name} {int(start) + 4} {int(end) + 4}\t{shifted[2]}")
        file.write_text(f"Yes{i}" + file.read_text())
    workspace = Workspace(tmp_path / "study", SMOKE)
    sources, _ = find_sources(["synthetic-drugs", "first", "second"], tmp_path / "corpora")
    prepare(workspace, sources)
    others = ("second", "synthetic-drugs")
    fold = Fold("loo", "encoder-mrc", "tiny-encoder=random", "first", "multi", 1, multitask=True, others=others)
    with pytest.warns(UserWarning, match="CIE469"):
        shown = texts_trained_on(fold, workspace)
    assert shown
    assert not overlapping(shown, texts_of(workspace, "first"))


def test_open_corpora_share_no_text_in_training(corpora: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, PROFILES["gpu"])
    sources, missing = find_sources(["phee", "ddi2013"], corpora)
    assert not missing
    prepare(workspace, sources)
    fold = Fold("loo", "encoder-mrc", "minilm", "ddi2013", "multi", 1, multitask=True, others=("phee",))
    with pytest.warns(UserWarning, match="CIE469"):
        shown = texts_trained_on(fold, workspace)
    whole = [note.text for note in load(workspace.corpus("phee") / "train.spacy")]
    left_out = texts_of(workspace, "ddi2013")
    assert not overlapping(shown, left_out)
    assert 0 < len(whole) - len(shown) == len(overlapping(whole, left_out))
    # The same by other means: no sentence of six words and more stands in what was left out.
    there = " ".join([" ", *(" ".join(_WORDS.findall(text.lower())) + " |" for text in left_out)])
    shown_words = [_WORDS.findall(text.lower()) for text in shown]
    assert not [words for words in shown_words if len(words) >= 6 and f" {' '.join(words)} " in there]
