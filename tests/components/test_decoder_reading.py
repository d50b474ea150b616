"""How a language model reads and is answered: batches, guesses, gaps, room and layers, which must change no answer."""

import json
import shutil
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch

import pytest
import torch
from spacy.training import Example
from transformers import AutoConfig, AutoModelForCausalLM

from spacy_clinie.doc.concepts import set_concepts
from spacy_clinie.errors import ClinieError
from spacy_clinie.prompts.machines import Ask, Free
from tests.components.test_decoder_prompt import FORMATS, HOSTILE, LORA, Examples, answers, build
from tests.scripted import assert_as_likely, follow, module_of
from tests.tiny import DECODERS, make_decoder

# These have layers that read no more than so many positions back.
NEAR_SIGHTED = ("gemma3_text", "phi3")
# The others are newer than the oldest transformers, or read on there from something other than its cache.
_OLD = ("llama", "mistral")
KINDS = [
    pytest.param(kind, marks=[pytest.mark.environment] if kind in _OLD else []) for kind in (*DECODERS, *NEAR_SIGHTED)
]


def make(folder: Path, kind: str) -> str:
    """A tiny model; of a kind that reads few positions back, one that reads fewer than a prompt has."""
    base = make_decoder(folder, kind)
    if kind in NEAR_SIGHTED:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sliding_window": 24}))
    return base


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_guesses_and_batches_change_no_answer(form: str, kind: str, make_examples: Examples, tmp_path: Path) -> None:
    """Nor how likely it is."""
    base = make(tmp_path, kind)
    settings = {"format": {"@misc": form}, "template": "concepts_brief.v1", "window": 24, "overlap": 4}
    written: dict[Any, list[int]] = {}
    logs = []
    for model in ({"guess": 0, "batch_pieces": 1}, {"guess": 3, "batch_pieces": 300}, {"guess": 9}):
        nlp = build(base, "n2c2_2018", model, **settings)
        nlp.initialize()
        logs.append(follow(module_of(nlp.get_pipe("clinie_decoder_prompt")), written))
        texts = [example.text for example in make_examples(nlp)[:3]] + ["aspirin po bid and rash " * 6, HOSTILE]
        list(nlp.pipe(texts))
    assert_as_likely(logs[0], logs[1])
    assert_as_likely(logs[0], logs[2])
    assert sum(map(len, written.values())) > 50


@pytest.mark.parametrize("room", [310, 330])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_holds_no_more_than_it_can(room: int, precision: str, make_examples: Examples, tmp_path: Path) -> None:
    """GPT-2 has a mask of that size."""
    base = make_decoder(tmp_path, "gpt2")
    config = AutoConfig.from_pretrained(base, n_positions=room)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    nlp = build(base, model={"precision": precision}, template="concepts_brief.v1", window=60, overlap=4)
    nlp.initialize(lambda: make_examples(nlp))
    module: Any = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    read_on, held = module._read_on, []

    def watched(sequences: Any, read: Any, rows: Any, wanted: Any) -> Any:
        found = read_on(sequences, read, rows, wanted)
        held.append(found[1][0][0].shape[2])
        return found

    with patch.object(module, "_read_on", watched), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a random model answers may be too long
        nlp("aspirin po bid and rash " * 30)
    assert 200 < max(held) <= room


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", [None, LORA, {"peft_type": "P_TUNING", "num_virtual_tokens": 8}])
def test_checkpoints_and_batches_change_memory_and_not_gradients(
    adapter: Optional[dict[str, Any]], kind: str, make_examples: Examples, tmp_path: Path
) -> None:
    base = make(tmp_path, kind)
    gradients, reads = [], []
    ways = ((False, 9999, False), (False, 1, False), (True, 9999, True), (False, 9999, True))
    for checkpoint, pieces, whole in ways:
        torch.manual_seed(0)
        nlp = build(base, model={"adapter": adapter, "checkpoint": checkpoint, "batch_pieces": pieces})
        examples = make_examples(nlp)
        nlp.initialize(lambda own=examples: own)
        pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
        module = pipe.model.shims[0].module
        assert module._rereads(1) == checkpoint  # here is no GPU
        module._rereads = lambda _, whole=whole: whole
        block = next(m for m in module.plain.modules() if isinstance(m, torch.nn.ModuleList))[0]
        counted: Counter[str] = Counter()
        attention = block.attn if kind == "gpt2" else block.self_attn
        attention.register_forward_hook(lambda *_, own=counted: own.update(["reads"]))
        loss = pipe.update(examples[:3])["clinie_decoder_prompt"]
        gradients.append([loss, *(p.grad.clone() for p in module.parameters() if p.requires_grad)])
        reads.append(counted["reads"])
    for way in (1, 2, 3):
        assert gradients[0][0] == pytest.approx(gradients[way][0], rel=1e-4)
        for one, other in zip(gradients[0][1:], gradients[way][1:], strict=True):
            assert torch.allclose(one, other, atol=1e-4 * float(one.abs().max()) + 1e-7)
    # Without, the beginning is read once, and the rest of each batch; with, all of it twice; and as on a GPU, once.
    rows = len(list(pipe.lessons(examples[:3])))
    assert reads == [2, 1 + rows, 2, 1]


def test_checkpoints_bound_what_is_read_at_once(tiny_decoder: str) -> None:
    nlp = build(tiny_decoder, "maccrobat2020", model={"checkpoint": True, "batch_pieces": 3000})
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp.initialize()
    gold = nlp.make_doc("Took aspirin.")
    set_concepts(gold, [])
    asks, answers_ = pipe.batch([Example(nlp.make_doc("Took aspirin."), gold)] * 6)
    module = pipe.model.shims[0].module
    read: list[int] = []
    filled = module._filled
    module._filled = lambda rows, wanted: read.append(len(rows) * max(map(len, rows))) or filled(rows, wanted)
    module.learn(asks, answers_)
    assert len(asks[0].before) > 500
    assert max(read) <= max(3000, len(asks[0].before) + 100)


def test_threads_do_not_disturb_each_other(tiny_decoder: str) -> None:
    nlp = build(tiny_decoder, "n2c2_2018")
    nlp.initialize()
    texts = ["Took aspirin for pain. " * (1 + i % 3) for i in range(6)]
    alone = [answers(nlp, [text]) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: answers(nlp, [text]), texts)) == alone


def test_guesses_that_leave_no_room_for_prompts_are_refused(tiny_decoder: str) -> None:
    nlp = build(tiny_decoder, "n2c2_2018", model={"guess": 99_999})
    with pytest.raises(ClinieError, match=r"CIE307.*guess must be .*, got 99999"):
        nlp.initialize()


@pytest.mark.environment
@pytest.mark.parametrize("kind", ["mamba", "mpt"])
def test_models_that_keep_nothing_to_read_on_from_are_refused(kind: str, tiny_decoder: str, tmp_path: Path) -> None:
    shutil.copytree(tiny_decoder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    size = {"mamba": {"hidden_size": 8, "num_hidden_layers": 1}, "mpt": {"d_model": 8, "n_heads": 1, "n_layers": 1}}
    config = AutoConfig.for_model(kind, vocab_size=400, **size[kind])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ClinieError, match=f"CIE318.*{kind}"):
        build(str(tmp_path), "n2c2_2018").initialize()


def test_virtual_tokens_take_their_room_once(tiny_decoder: str) -> None:
    nlp = build(tiny_decoder, "n2c2_2018", model={"adapter": {"peft_type": "P_TUNING", "num_virtual_tokens": 64}})
    nlp.initialize()
    module: Any = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    assert module.reader.limit == 4096 - 64
    module.reader.limit = 300 - 64  # as a model of 300 positions has it
    machine = Free(999, -1)
    with pytest.warns(UserWarning, match="CIE326"):
        module.answer([Ask((5,) * 100, [6] * 50)], [machine])
    assert 300 - 64 - 150 - module.options["guess"] <= len(machine.found) <= 300 - 64 - 150
