"""Base models by name. Window lengths and learning rates are from arXiv 2509.04753. For the two embedded models, they
were chosen on dev."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ClinieError


@dataclass(frozen=True)
class Preset:
    """A base model.

    name (str): Its name in a study.
    kind (Literal["encoder", "decoder"]): The kind of its arms.
    base (str): The model, as `models.pretrained.locate` takes it; "" if its weights were never released.
    window (int): Tokens that an encoder reads at once, or that one prompt of a decoder is about.
    shape (Mapping[str, Any]): Arguments of transformers' `AutoConfig.for_model`, for random weights.
    arms (Mapping[str, Mapping[str, Any]]): Settings by arm, instead of those of the arms: `rate` (the learning rate)
        and `head_factor` of the optimizer, and any settings of the models.
    per_type (bool): Whether a decoder gets a prompt for each type.
    brief (bool): Whether the prompts of a decoder name the types without their descriptions.
    """

    name: str
    kind: Literal["encoder", "decoder"]
    base: str
    window: int
    shape: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    per_type: bool = False
    brief: bool = False

    @property
    def title(self) -> str:
        """The name by which `find_preset` finds it."""
        return self.name if self.name == self.base else f"{self.name}={self.base}"

    @property
    def untrained(self) -> bool:
        """Whether it has random weights instead of its own, so that only its costs are of interest."""
        return self.base == RANDOM and PRESETS[self.name].base != RANDOM


# Instead of a base: random weights in the shape of the preset.
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


def _encoder(name: str, base: str, model_type: str, *shape: int) -> Preset:
    arms = {"encoder-tagger": {"rate": 1e-5}, "encoder-pairs": {"rate": 1e-5}, "encoder-mrc": {"rate": 2e-5}}
    return Preset(name, "encoder", base, 512, _shape(model_type, *shape), arms)


def _gatortron(name: str, width: int, layers: int, heads: int) -> Preset:
    return _encoder(name, f"UFNLP/{name}", "megatron-bert", 50_176, width, layers, heads, 4 * width, 512)


def _decoder(name: str, base: str, window: int, attention: list[str], shape: Mapping[str, Any]) -> Preset:
    """LoRA on queries, keys and values (its alpha was not published), and a prompt for each type."""
    lora = {"r": 256, "lora_alpha": 256, "lora_dropout": 0.2, "target_modules": attention}
    arms: Any = {"decoder-lora": {"rate": 1e-4, "adapter": lora}, "decoder-full": {"rate": 1e-5}}
    return Preset(name, "decoder", base, window, shape, arms, per_type=True)


def _llama(name: str, base: str, *shape: int) -> Preset:
    return _decoder(name, base, 1280, ["q_proj", "k_proj", "v_proj"], _shape("llama", 128_256, *shape))


def _gatortrongpt(name: str, *shape: int) -> Preset:
    """GatorTronGPT, converted to the layout of GPT-2, which has the same architecture."""
    return _decoder(name, "", 512, ["c_attn"], _shape("gpt2", 50_257, *shape, 2048))


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "minilm",
            "encoder",
            "minilm",
            192,
            _shape("bert", 30_522, 384, 6, 12, 1536, 512),
            # With short windows, a few hundred steps are enough for pairs, and for questions with a fast head
            # (docs/roadmap.md).
            {
                "encoder-tagger": {"rate": 5e-4},
                "encoder-pairs": {"rate": 3e-4, "window": 64},
                "encoder-mrc": {"rate": 2e-4, "window": 64, "head_factor": 10.0},
                "encoder-lora": {"rate": 1e-3},
            },
        ),
        Preset(
            "smollm2",
            "decoder",
            "smollm2",
            192,
            _shape("llama", 49_152, 576, 30, 9, 1536, 8192, 3, True),
            {"decoder-lora": {"rate": 1e-3}},
            # On a processor, a long instruction takes more time of a small step than the notes (docs/roadmap.md).
            brief=True,
        ),
        Preset("tiny-encoder", "encoder", RANDOM, 128, _shape("bert", 1000, 32, 2, 2, 64, 2048)),
        Preset("tiny-decoder", "decoder", RANDOM, 96, _shape("llama", 1000, 32, 2, 2, 64, 2048)),
        _encoder("bert", "google-bert/bert-base-uncased", "bert", 30_522, 768, 12, 12, 3072, 512),
        _encoder("clinicalbert", "emilyalsentzer/Bio_ClinicalBERT", "bert", 28_996, 768, 12, 12, 3072, 512),
        _encoder("spanbert", "SpanBERT/spanbert-base-cased", "bert", 28_996, 768, 12, 12, 3072, 512),
        _gatortron("gatortron-base", 1024, 24, 16),
        _gatortron("gatortron-medium", 2560, 48, 40),
        _gatortron("gatortron-large", 3584, 56, 56),
        _gatortrongpt("gatortrongpt-5b", 4096, 24, 32),
        _gatortrongpt("gatortrongpt-20b", 6144, 44, 48),
        _llama("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct", 2048, 16, 32, 8192, 8192, 8, True),
        _llama("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct", 3072, 28, 24, 8192, 8192, 8, True),
        _llama("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct", 4096, 32, 32, 14_336, 8192, 8, False),
        _llama("gatortronllama-8b", "", 4096, 32, 32, 14_336, 8192, 8, False),
    )
}


def find_preset(name: str) -> Preset:
    """Find a base model.

    name (str): A name of `PRESETS`, or `NAME=BASE` for other weights of the same kind, where BASE is a folder, a model
        of the hub or `package:folder`.
    RETURNS (Preset): The preset, with that base.
    RAISES (ClinieError): CIE493 for an unknown name or an empty BASE, CIE494 if the weights were never released and
        BASE is missing.
    """
    known, named, base = name.partition("=")
    if known not in PRESETS or (named and not base):  # an empty path would be the working directory
        raise ClinieError("CIE493", name=name, presets=", ".join(PRESETS))
    preset = PRESETS[known]
    if named:
        return replace(preset, base=str(Path(base).resolve()) if base != RANDOM and Path(base).exists() else base)
    if not preset.base:
        raise ClinieError("CIE494", name=known)
    return preset
