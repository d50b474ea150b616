"""Computing in a process that was forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.decoders import build_for_concepts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_has_one_thread_from_when_a_model_of_ours_computes(tiny_decoder: str, tmp_path: Path) -> None:
    """The parent's thread pool is gone there. Forks that do something else keep what they had."""
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018")
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    code = (
        "import os, sys\n"
        "import spacy_clinie, torch\n"
        "from spacy_clinie.models import architectures, causal\n"
        "def threads_of_fork(*pipelines):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        for nlp in pipelines:\n"
        "            list(nlp.pipe(['Took aspirin.'] * 4))\n"
        "        os._exit(torch.get_num_threads())\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "torch.set_num_threads(2)\n"
        "print(threads_of_fork(), end=' ')\n"
        "nlp = spacy_clinie.load(sys.argv[1])\n"
        "print(len(list(nlp.pipe(['Took aspirin.'] * 4))), end=' ')\n"
        "print(threads_of_fork(), threads_of_fork(nlp), torch.get_num_threads(), end=' ')\n"
        "print(os.environ.get('TOKENIZERS_PARALLELISM'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    environment = {key: value for key, value in os.environ.items() if key != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.stdout.strip() == "2 4 2 1 2 None", done.stderr
    assert "forked" not in done.stderr  # tokenizers would say so
