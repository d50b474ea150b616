"""Saving and loading models: whole, or as adapters with the fingerprint of their base."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from safetensors import SafetensorError

from ..errors import ClinieError, warn
from .pretrained import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The file beside adapters with name and fingerprint of their base.
_BASE = "base.json"
_ADAPTER = "adapter_config.json"


def fingerprint(model: "PreTrainedModel", tokenizer: Any) -> str:
    """Identify a base model. The first hash is of its type and sizes, its vocabulary and its first weights. The second,
    after a hyphen, is of one row of every matrix, and tells a base from a fine-tuned copy of it. A base in 4 bits has
    only the first.

    model (PreTrainedModel): The base, without an adapter.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    RETURNS (str): 64 hexadecimal digits, or twice as many and the hyphen.
    """
    import torch

    # Not the whole config, which depends on the version of transformers and on how the base is loaded.
    settings = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    digest = hashlib.sha256(json.dumps([getattr(model.config, name, None) for name in settings]).encode())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode("utf8", "surrogatepass"))
    first, *others = (weight.detach() for weight in model.parameters())

    def as_bytes(weight: torch.Tensor) -> bytes:
        return weight.to(torch.bfloat16).float().cpu().numpy().tobytes()

    digest.update(as_bytes(first[:64]))
    matrices = [weight for weight in others if weight.dim() > 1]
    if not all(weight.is_floating_point() for weight in matrices):
        return digest.hexdigest()
    # Sorted, because versions of transformers order the layers differently.
    rows = sorted(hashlib.sha256(as_bytes(weight[0])).digest() for weight in matrices)
    return f"{digest.hexdigest()}-{hashlib.sha256(b''.join(rows)).hexdigest()}"


def _differs(expected: str, found: str) -> Optional[tuple[str, str]]:
    """The first hashes in which two fingerprints differ, or None. A hash that only one of them has does not count."""
    parts = zip(expected.split("-"), found.split("-"), strict=False)
    return next((pair for pair in parts if pair[0] != pair[1]), None)


def add_adapter(model: "PreTrainedModel", settings: dict[str, Any]) -> Any:
    """Freeze a model and put new adapters on it with peft.

    model (PreTrainedModel): The base.
    settings (dict[str, Any]): Arguments of one of peft's configs: of LoRA (Hu et al. 2021, arXiv 2106.09685), such as
        `r`, `lora_alpha` and `target_modules`, or of the one that `peft_type` names, such as `P_TUNING`.
    RETURNS (PeftModel): The adapted model; only the adapters are trainable.
    RAISES (ClinieError): CIE305 if peft refuses the settings.
    """
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, get_peft_model

    from .lora import register

    kind = settings.get("peft_type", "LORA")
    try:
        config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](**{k: v for k, v in settings.items() if k != "peft_type"})
        register(config, model)
        return _in_fp32(get_peft_model(model, config))
    except KeyError as error:
        raise ClinieError("CIE305", problem=f"there is no peft_type {kind!r}") from error
    except (TypeError, ValueError) as error:
        raise ClinieError("CIE305", problem=str(error)) from error


def _in_fp32(model: Any) -> Any:
    """Cast all trainable weights to fp32, because bf16 loses small steps. peft does this for adapters, but not for
    weights of the base that are trained with them."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


def save_model(model: Any, tokenizer: Any, base: str, base_fingerprint: str, folder: Path) -> None:
    """Save a model: all of it, or only its adapters with the name and fingerprint of the base.

    model (PreTrainedModel | PeftModel): The model.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    base (str): Name of the base model.
    base_fingerprint (str): Fingerprint of the base model.
    folder (Path): An existing folder.
    """
    for config in getattr(model, "peft_config", {}).values():
        config.base_model_name_or_path = None  # otherwise peft asks the hub about it
    model.save_pretrained(folder)
    if hasattr(model, "peft_config"):
        (folder / _BASE).write_text(json.dumps({"name": base, "fingerprint": base_fingerprint}), encoding="utf8")
        # peft writes a model card, which contains the path of the base and nothing useful.
        (folder / "README.md").unlink(missing_ok=True)
    else:
        tokenizer.save_pretrained(folder)


def restore_model(folder: Path, base: str, load: Callable[[str], Any]) -> tuple[Any, Any, str]:
    """Load what `save_model` wrote, without a hub unless the base of adapters is on one.

    folder (Path): The folder.
    base (str): Name of the base that adapters are put on. Its fingerprint must match.
    load (Callable[[str], PreTrainedModel]): Loads a model, such as `pretrained.load_encoder`.
    RETURNS (tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerFast, str]): Model, tokenizer, fingerprint of the
        base ("" without adapters).
    RAISES (ClinieError): What `load_adapter` raises.
    """
    if not (folder / _BASE).exists():
        if (folder / _ADAPTER).exists():
            raise ClinieError("CIE328", folder=folder, problem=f"{_BASE} with its fingerprint is missing")
        return load(str(folder)), load_tokenizer(str(folder)), ""
    loaded, tokenizer = load(base), load_tokenizer(base)
    model, found = load_adapter(loaded, tokenizer, folder)
    return model, tokenizer, found


def load_adapter(model: "PreTrainedModel", tokenizer: Any, folder: Path) -> tuple[Any, str]:
    """Put saved adapters on a model: ours, or any that peft saved.

    model (PreTrainedModel): The base.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    folder (Path): The folder.
    RETURNS (tuple[PeftModel, str]): The adapted model, and the fingerprint of the base.
    RAISES (ClinieError): CIE306 if the fingerprint of the base is not the one in the folder; CIE328 if the adapters
        cannot be loaded, or some of their weights match no layer. Warns (CIE333) if the adapters have no fingerprint
        and name another base.
    """
    from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict

    from .lora import register

    found = fingerprint(model, tokenizer)
    if (folder / _BASE).exists():
        name, expected = _base_of(folder)
        if differing := _differs(expected, found):
            raise ClinieError("CIE306", name=name, expected=differing[0][:12], found=differing[1][:12])
    if not (folder / _ADAPTER).is_file():  # otherwise peft looks for it on a hub
        raise ClinieError("CIE328", folder=folder, problem=f"it holds no {_ADAPTER}")
    try:
        # p-tuning and prompt tuning save the virtual tokens, without the layers that produced them: they cannot be
        # trained further.
        config = PeftConfig.from_pretrained(str(folder))
        trainable = not config.is_prompt_learning
        register(config, model)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable, config=config)
        # peft ignores weights that match no layer.
        weights = load_peft_weights(str(folder), device="cpu") if trainable else {}
        result: Any = set_peft_model_state_dict(adapted, weights) if weights else None
        unused = result.unexpected_keys if result else []
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, UserWarning, SafetensorError) as error:
        raise ClinieError("CIE328", folder=folder, problem=f"peft raised a {type(error).__name__}") from error
    if unused:
        raise ClinieError("CIE328", folder=folder, problem=f"{len(unused)} of their weights match no layer of the base")
    names = [str(name or "") for name in (config.base_model_name_or_path, getattr(model.config, "_name_or_path", ""))]
    named, given = (Path(name).name.lower() for name in names)
    if not (folder / _BASE).exists() and named and named != given:
        warn("CIE333", folder=folder, said=names[0], given=given)
    return _in_fp32(adapted), found


def _base_of(folder: Path) -> tuple[str, str]:
    """Name and fingerprint of the base of adapters."""
    try:
        record = json.loads((folder / _BASE).read_text(encoding="utf8"))
        return str(record["name"]), str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClinieError("CIE328", folder=folder, problem=f"{_BASE} cannot be read") from error
