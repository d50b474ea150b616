"""Base models by name, with the lengths and learning rates that the study's authors published for them, or that were
chosen on dev here for the embedded ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ClinieError


@dataclass(frozen=True)
class Preset:
    """A base model.

    name (str): What it is called in a study.
    kind (Literal["encoder", "decoder"]): Which arms it can be the base of.
    base (str): What `models.pretrained.locate` takes; empty where weights were never released.
    window (int): Tokens that an encoder reads at once, and that a decoder is asked about at once.
    shape (Mapping[str, Any]): Arguments of transformers' `AutoConfig.for_model`, to make it with random weights.
    rates (Mapping[str, float]): Learning rates by arm, where they are not that of the arm.
    models (Mapping[str, Mapping[str, Any]]): Settings of an arm's models, where they are not those of the arm.
    head_factors (Mapping[str, float]): The optimizer's `head_factor` by arm, where it is not that of the arm.
    each (bool): Whether a decoder is asked about each type by itself.
    brief (bool): Whether a decoder's prompts name the types without describing them.
    """

    name: str
    kind: Literal["encoder", "decoder"]
    base: str
    window: int
    shape: Mapping[str, Any]
    rates: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head_factors: Mapping[str, float] = field(default_factory=dict)
    each: bool = False
    brief: bool = False

    @property
    def title(self) -> str:
        """What `find_preset` finds it by."""
        return self.name if self.name == self.base else f"{self.name}={self.base}"

    @property
    def untrained(self) -> bool:
        """Whether it has the shape of a model and no weights of it: only what it costs means something."""
        return self.base == RANDOM and PRESETS[self.name].base != RANDOM


# In the place of a base: weights at random, in the preset's shape.
RANDOM = "random"
_BERT = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "max_position_embeddings",
)
_SHAPES = {
    "bert": _BERT,
    "megatron-bert": _BERT,
    "llama": (*_BERT, "num_key_value_heads", "tie_word_embeddings"),
    "gpt2": ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
}


def _shape(model_type: str, *values: int) -> dict[str, Any]:
    return {"model_type": model_type, **dict(zip(_SHAPES[model_type], values, strict=False))}


def _encoder(name: str, base: str, shape: Mapping[str, Any]) -> Preset:
    """An encoder at the rates of arXiv 2509.04753: 1e-5 for tags, 2e-5 for questions."""
    rates = {"encoder-tagger": 1e-5, "encoder-pairs": 1e-5, "encoder-mrc": 2e-5}
    return Preset(name, "encoder", base, 512, shape, rates)


def _decoder(name: str, base: str, window: int, attention: list[str], shape: Mapping[str, Any]) -> Preset:
    """A decoder with the settings of arXiv 2509.04753: LoRA of queries, keys and values (its alpha was not said), and a
    prompt for each type."""
    lora = {"r": 256, "lora_alpha": 256, "lora_dropout": 0.2, "target_modules": attention}
    rates = {"decoder-lora": 1e-4, "decoder-full": 1e-5}
    return Preset(name, "decoder", base, window, shape, rates, {"decoder-lora": {"adapter": lora}}, each=True)


def _llama(name: str, base: str, *values: int) -> Preset:
    return _decoder(name, base, 1280, ["q_proj", "k_proj", "v_proj"], _shape("llama", 128_256, *values))


def _gatortrongpt(name: str, width: int, layers: int, heads: int) -> Preset:
    """GatorTronGPT, converted to the layout of GPT-2, which has the same architecture."""
    return _decoder(name, "", 512, ["c_attn"], _shape("gpt2", 50_257, width, layers, heads, 2048))


PRESETS = {
    known.name: known
    for known in (
        Preset(
            "minilm",
            "encoder",
            "minilm",
            192,
            _shape("bert", 30_522, 384, 6, 12, 1536, 512),
            {"encoder-tagger": 5e-4, "encoder-pairs": 3e-4, "encoder-mrc": 2e-4, "encoder-lora": 1e-3},
            # Short windows make a few hundred steps enough for pairs, with a fast head for questions (docs/roadmap.md).
            {"encoder-mrc": {"window": 64}, "encoder-pairs": {"window": 64}},
            head_factors={"encoder-mrc": 10.0},
        ),
        Preset(
            "smollm2",
            "decoder",
            "smollm2",
            192,
            _shape("llama", 49_152, 576, 30, 9, 1536, 8192, 3, True),
            {"decoder-lora": 1e-3},
            # On a processor, a long instruction takes more of a small step than the notes do (docs/roadmap.md).
            brief=True,
        ),
        Preset("tiny-encoder", "encoder", RANDOM, 128, _shape("bert", 1000, 32, 2, 2, 64, 2048)),
        Preset("tiny-decoder", "decoder", RANDOM, 96, _shape("llama", 1000, 32, 2, 2, 64, 2048)),
        _encoder("bert", "google-bert/bert-base-uncased", _shape("bert", 30_522, 768, 12, 12, 3072, 512)),
        _encoder("clinicalbert", "emilyalsentzer/Bio_ClinicalBERT", _shape("bert", 28_996, 768, 12, 12, 3072, 512)),
        _encoder("spanbert", "SpanBERT/spanbert-base-cased", _shape("bert", 28_996, 768, 12, 12, 3072, 512)),
        *(
            _encoder(name, f"UFNLP/{name}", _shape("megatron-bert", 50_176, width, layers, heads, 4 * width, 512))
            for name, width, layers, heads in (
                ("gatortron-base", 1024, 24, 16),
                ("gatortron-medium", 2560, 48, 40),
                ("gatortron-large", 3584, 56, 56),
            )
        ),
        _gatortrongpt("gatortrongpt-5b", 4096, 24, 32),
        _gatortrongpt("gatortrongpt-20b", 6144, 44, 48),
        _llama("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct", 2048, 16, 32, 8192, 8192, 8, True),
        _llama("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct", 3072, 28, 24, 8192, 8192, 8, True),
        _llama("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", 4096, 32, 32, 14_336, 8192, 8, False),
        _llama("gatortronllama-8b", "", 4096, 32, 32, 14_336, 8192, 8, False),
    )
}


def find_preset(name: str) -> Preset:
    """Find a base model, or take any other.

    name (str): A name of `PRESETS`, or `NAME=BASE` for weights of one's own, where BASE is what the architectures
        take: a folder, a model of the hub, `package:folder`.
    RETURNS (Preset): The preset, with that base.
    RAISES (ClinieError): CIE493 for an unknown name or an empty BASE, CIE494 if its weights were never released and
        none are named.
    """
    known, named, base = name.partition("=")
    if known not in PRESETS:
        raise ClinieError("CIE493", name=known, presets=", ".join(PRESETS))
    preset = PRESETS[known]
    if named and not base:  # an empty variable, and "" would be the folder that one works in
        raise ClinieError("CIE493", name=name, presets=", ".join(PRESETS))
    if named:
        base = str(Path(base).resolve()) if base != RANDOM and Path(base).exists() else base
        return replace(preset, base=base)
    if not preset.base:
        raise ClinieError("CIE494", name=known)
    return preset
