"""Pipelines that are pickled, as processes that are spawned need it."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.test_components import MODELS, assert_same, build
from tests.components.test_decoder_prompt import answers
from tests.components.test_decoder_prompt import build as build_decoder

TEXT = "Took aspirin 25mg for pain.\nThen developed rash."


@pytest.mark.parametrize("kind", MODELS)
def test_a_pickled_pipeline_says_the_same(kind: str, tiny_bert: str) -> None:
    nlp = build(kind, tiny_bert, schema="n2c2_2018")
    nlp.initialize()
    assert_same(pickle.loads(pickle.dumps(nlp))(TEXT), nlp(TEXT))


def test_a_pickled_decoder_says_the_same(tiny_decoder: str) -> None:
    nlp = build_decoder(tiny_decoder, "n2c2_2018")
    nlp.initialize()
    assert answers(pickle.loads(pickle.dumps(nlp)), [TEXT]) == answers(nlp, [TEXT])


def test_processes_may_be_spawned(tiny_bert: str, tmp_path: Path) -> None:
    nlp = build("crf", tiny_bert, schema="n2c2_2018")
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
