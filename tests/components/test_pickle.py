"""Pipelines that are pickled, as processes that are spawned need it."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy

from tests.conftest import modules_of
from tests.decoders import answers, build_for_concepts
from tests.encoders import MODELS, Learnt, assert_same, build, items

TEXT = "Took aspirin 25mg for pain.\nThen developed rash."


@pytest.mark.parametrize("kind", MODELS)
def test_a_pickled_pipeline_says_the_same(kind: str, learnt: Learnt) -> None:
    folder, notes = learnt(kind)
    nlp = spacy.load(folder)
    pickled = pickle.loads(pickle.dumps(nlp))
    for text in (TEXT, notes[0].text):
        assert_same(pickled(text), nlp(text))
    assert len(items(pickled(text))) >= 3


def test_a_pickled_decoder_says_the_same(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018")
    nlp.initialize()
    assert answers(pickle.loads(pickle.dumps(nlp)), [TEXT]) == answers(nlp, [TEXT])


def test_processes_may_be_spawned(tiny_bert: str, tmp_path: Path) -> None:
    nlp = build("crf", tiny_bert, label_schema="n2c2_2018")
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    code = (
        "import multiprocessing, sys, spacy\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    nlp = spacy.load(sys.argv[1])\n"
        f"    print(len(list(nlp.pipe([{TEXT!r}] * 4, n_process=2, batch_size=2))))\n"
    )
    (tmp_path / "spawn.py").write_text(code)
    command = [sys.executable, str(tmp_path / "spawn.py"), str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "4", done.stderr


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "again", [lambda nlp: pickle.loads(pickle.dumps(nlp)), copy.deepcopy], ids=["pickled", "copied"]
)
def test_a_copy_reads_control_tokens_as_text_too(kind: str, again: Any, tiny_bert: str, tiny_decoder: str) -> None:
    nlp = (
        build("crf", tiny_bert, label_schema="n2c2_2018")
        if kind == "encoder"
        else build_for_concepts(tiny_decoder, "n2c2_2018")
    )
    nlp.initialize()
    tokenizer = modules_of(again(nlp).get_pipe(nlp.pipe_names[-1]))[-1].tokenizer
    special = tokenizer.all_special_tokens
    ids = tokenizer.backend_tokenizer.encode(" ".join(special), add_special_tokens=False).ids
    assert special and not set(ids) & set(tokenizer.convert_tokens_to_ids(special)) - {tokenizer.unk_token_id}
