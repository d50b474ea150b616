"""How a language model reads: batches, proposals, gaps in the cache and checkpointing must not change any answer."""

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
from spacy_clinie.models import kv_cache
from spacy_clinie.prompts.constraints import PromptIds, Unconstrained
from tests.conftest import Examples
from tests.decoders import FORMATS, HOSTILE, LORA, answers, build_for_concepts, watched_causal
from tests.scripted import assert_as_likely, module_of, replay
from tests.tiny import DECODERS, make_decoder

# These have layers with a sliding window.
SLIDING_WINDOW = ("gemma3_text", "phi3")
# The oldest supported transformers does not have the others, or not with its common cache.
_OLD = ("llama", "mistral")
KINDS = [
    pytest.param(kind, marks=[pytest.mark.environment] if kind in _OLD else []) for kind in (*DECODERS, *SLIDING_WINDOW)
]


def make(folder: Path, kind: str) -> str:
    """A tiny model. A sliding window is shorter than the prompts."""
    base = make_decoder(folder, kind)
    if kind in SLIDING_WINDOW:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sliding_window": 24}))
    return base


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_lookahead_and_batches_change_no_answer(form: str, kind: str, make_examples: Examples, tmp_path: Path) -> None:
    """Nor its probability."""
    base = make(tmp_path, kind)
    settings = {"format": {"@misc": form}, "template": "concepts_brief.v1", "window": 24, "overlap": 4}
    written: dict[Any, list[int]] = {}
    logs = []
    for model in ({"lookahead": 0, "batch_pieces": 1}, {"lookahead": 3, "batch_pieces": 300}, {"lookahead": 9}):
        nlp = build_for_concepts(base, "n2c2_2018", model, **settings)
        nlp.initialize()
        logs.append(replay(module_of(nlp.get_pipe("clinie_decoder_prompt")), written))
        texts = [example.text for example in make_examples(nlp)[:3]] + ["aspirin po bid and rash " * 6, HOSTILE]
        list(nlp.pipe(texts))
    assert_as_likely(logs[0], logs[1])
    assert_as_likely(logs[0], logs[2])
    assert sum(map(len, written.values())) > 50


@pytest.mark.parametrize("room", [310, 330])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_more_positions_are_cached_than_a_model_has(
    room: int, precision: str, make_examples: Examples, tmp_path: Path
) -> None:
    """GPT-2 has a mask of a fixed size."""
    base = make_decoder(tmp_path, "gpt2")
    config = AutoConfig.from_pretrained(base, n_positions=room)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    nlp = build_for_concepts(base, model={"precision": precision}, template="concepts_brief.v1", window=60, overlap=4)
    nlp.initialize(lambda: make_examples(nlp))
    module: Any = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    read, lengths = module._read_with_cache, []

    def watched(*args: Any) -> Any:
        logits, cached = read(*args)
        lengths.append(kv_cache.length(cached))
        return logits, cached

    with patch.object(module, "_read_with_cache", watched), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # answers of a random model may be too long
        nlp("aspirin po bid and rash " * 30)
    assert 200 < max(lengths) <= room


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", [None, LORA, {"peft_type": "P_TUNING", "num_virtual_tokens": 8}])
def test_checkpointing_and_batches_change_no_gradient(
    adapter: Optional[dict[str, Any]], kind: str, make_examples: Examples, tmp_path: Path
) -> None:
    base = make(tmp_path, kind)
    gradients, reads = [], []
    ways = ((False, 9999, False), (False, 1, False), (True, 9999, True), (False, 9999, True))
    for checkpoint, pieces, whole in ways:
        torch.manual_seed(0)
        nlp = build_for_concepts(
            base, model={"adapter": adapter, "gradient_checkpointing": checkpoint, "batch_pieces": pieces}
        )
        examples = make_examples(nlp)
        nlp.initialize(lambda own=examples: own)
        pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
        module = pipe.model.shims[0].module
        assert module._repeats_prefix(1) == checkpoint  # on a CPU
        module._repeats_prefix = lambda _, whole=whole: whole
        block = next(m for m in module.base_model.modules() if isinstance(m, torch.nn.ModuleList))[0]
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
    # How often the first layer is computed: for the prefix and for each batch, here one batch, then one for each row;
    # twice with checkpointing; and once as on a GPU, where rows include the prefix.
    rows = len(list(pipe.training_pairs(examples[:3])))
    assert reads == [2, 1 + rows, 2, 1]


def test_batch_pieces_counts_prefixes_with_checkpointing(tiny_decoder: str) -> None:
    nlp = build_for_concepts(
        tiny_decoder, "maccrobat2020", model={"gradient_checkpointing": True, "batch_pieces": 3000}
    )
    pipe: Any = nlp.get_pipe("clinie_decoder_prompt")
    nlp.initialize()
    gold = nlp.make_doc("Took aspirin.")
    set_concepts(gold, [])
    prompts, answers_ = pipe.batch([Example(nlp.make_doc("Took aspirin."), gold)] * 6)
    module = pipe.model.shims[0].module
    read: list[int] = []
    pad = module._pad
    module._pad = lambda rows, scored: read.append(len(rows) * max(map(len, rows))) or pad(rows, scored)
    module.add_gradients(prompts, answers_)
    assert len(prompts[0].prefix) > 500
    assert max(read) <= max(3000, len(prompts[0].prefix) + 100)


def test_threads_can_share_a_model(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018")
    nlp.initialize()
    texts = ["Took aspirin for pain. " * (1 + i % 3) for i in range(6)]
    alone = [answers(nlp, [text]) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: answers(nlp, [text]), texts)) == alone


def test_a_lookahead_that_leaves_no_room_for_prompts_is_refused(tiny_decoder: str) -> None:
    nlp = build_for_concepts(tiny_decoder, "n2c2_2018", model={"lookahead": 99_999})
    with pytest.raises(ClinieError, match=r"CIE307.*lookahead must be .*, got 99999"):
        nlp.initialize()


@pytest.mark.environment
@pytest.mark.parametrize("kind", ["mamba", "mpt"])
def test_models_without_a_key_value_cache_are_refused(kind: str, tiny_decoder: str, tmp_path: Path) -> None:
    shutil.copytree(tiny_decoder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    size = {"mamba": {"hidden_size": 8, "num_hidden_layers": 1}, "mpt": {"d_model": 8, "n_heads": 1, "n_layers": 1}}
    config = AutoConfig.for_model(kind, vocab_size=400, **size[kind])
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ClinieError, match=f"CIE318.*{kind}"):
        build_for_concepts(str(tmp_path), "n2c2_2018").initialize()


def test_virtual_tokens_are_counted_once_in_the_context_length(tiny_decoder: str) -> None:
    nlp = build_for_concepts(
        tiny_decoder, "n2c2_2018", model={"adapter": {"peft_type": "P_TUNING", "num_virtual_tokens": 64}}
    )
    nlp.initialize()
    module: Any = nlp.get_pipe("clinie_decoder_prompt").model.shims[0].module  # type: ignore[attr-defined]
    assert module.lm_tokenizer.context_length == 4096 - 64
    module.lm_tokenizer.context_length = 300 - 64  # as of a model with 300 positions
    constraint = Unconstrained(999, -1)
    with pytest.warns(UserWarning, match="CIE326"):
        module.generate([PromptIds((5,) * 100, [6] * 50)], [constraint])
    assert 300 - 64 - 150 - module.options["lookahead"] <= len(constraint.found) <= 300 - 64 - 150


def test_prompts_are_drawn_from_each_prefix_in_turn(tiny_decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, _ = watched_causal(tiny_decoder)
    monkeypatch.setitem(module.options, "step_pieces", 25)
    prompts = [PromptIds((5, 6, 7), [8, 9, 10, 11, 12, 13])] + [PromptIds((5, 6), [8, 9, 10, 11, 12, 13])] * 20
    read: list[tuple[int, ...]] = []
    loss = module._loss
    monkeypatch.setattr(module, "_loss", lambda prefix, *more: read.append(prefix) or loss(prefix, *more))
    for _ in range(10):
        module.add_gradients(prompts, [[14, 15, 16, 17]] * 21)
    assert sorted(read) == [(5, 6)] * 10 + [(5, 6, 7)] * 10
