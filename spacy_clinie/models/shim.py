"""How a torch module lives inside a thinc Model: trained by spaCy's optimizer, saved as a folder of standard files."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import srsly
from thinc.api import Optimizer, Shim

from ..errors import ClinieError
from .forks import begin_computing

if TYPE_CHECKING:
    import torch

# Where transformers keeps the rate of a dropout that is no layer.
_RATES = ("dropout", "dropout_prob", "attention_dropout")
# What is saved in place of a module that there is not yet: an empty folder is one whose files were lost.
_UNTRAINED = "untrained"
# One msgpack value cannot hold more.
_LARGEST_FILE = 2**32 - 1


class TorchShim(Shim):
    """Holds a torch module that is built late: at initialization or when a trained one is loaded, never both.

    The module has `save(folder)` and `layers()`, see `AdamW.update_module`.

    restore (Callable[[Path], torch.nn.Module]): Builds the module from what its `save` wrote.
    """

    def __init__(self, restore: Callable[[Path], "torch.nn.Module"]) -> None:
        super().__init__(None)
        self._restore = restore
        self._dropouts: Optional[list[tuple[Any, str]]] = None

    @property
    def module(self) -> Any:
        """The torch module.

        RAISES (ClinieError): CIE308 if there is none yet.
        """
        if self._model is None:
            raise ClinieError("CIE308")
        begin_computing()
        return self._model

    @module.setter
    def module(self, module: Optional["torch.nn.Module"]) -> None:
        self._model = module
        self._dropouts = None

    @property
    def has_module(self) -> bool:
        return self._model is not None

    def finish_update(self, optimizer: Optimizer) -> None:
        """Take a step with spaCy's optimizer. One with `update_module` (`spacy_clinie.AdamW.v1`) updates the module as
        a whole; any other is called for each weight, as thinc does. thinc's own compute on the processor, so where the
        module is on a GPU, its weights go there and back.

        optimizer (Optimizer): The optimizer.
        """
        import torch

        if hasattr(optimizer, "update_module"):
            optimizer.update_module(self.id, self.module)
        else:
            for name, weight in self._learnt():
                if weight.grad is None:
                    continue
                # On a processor these are no copies.
                arrays: list[Any] = [np.ascontiguousarray(one.detach().float().cpu()) for one in (weight, weight.grad)]
                changed, _ = optimizer((self.id, name), *arrays)
                with torch.no_grad():
                    weight.copy_(torch.from_numpy(changed))
        self.module.zero_grad(set_to_none=True)

    def set_dropout(self, rate: float) -> None:
        """Set the rate of every dropout of the module, but for those that its base is made without, and those of
        adapters, which are a setting of peft (`lora_dropout`).

        rate (float): The rate, `training.dropout` of a config.
        """
        if self._dropouts is None:
            self._dropouts = list(_dropouts(self.module))
        for layer, name in self._dropouts:
            setattr(layer, name, rate)

    def _learnt(self) -> list[tuple[str, "torch.nn.Parameter"]]:
        return [(name, weight) for name, weight in self.module.named_parameters() if weight.requires_grad]

    @contextmanager
    def use_params(self, params: Any) -> Iterator[None]:
        """Compute with other weights for a while.

        params (Any): An optimizer's averages, by this object's number and name of the weight; what it lacks stays.
        """
        import torch

        learnt = self._learnt() if self.has_module else []
        held = [
            (weight, torch.as_tensor(params[self.id, name])) for name, weight in learnt if (self.id, name) in params
        ]
        backup = [weight.detach().clone() for weight, _ in held]
        with torch.no_grad():
            for weight, average in held:
                weight.copy_(average)
        try:
            yield
        finally:
            with torch.no_grad():
                for (weight, _), before in zip(held, backup, strict=True):
                    weight.copy_(before)

    def copy(self) -> "TorchShim":
        """The same module once more, as a model of its own, which optimizers tell apart by its number."""
        copied = type(self)(self._restore)
        copied.module = copy.deepcopy(self._model)
        return copied

    def to_device(self, device_type: str, device_id: int) -> None:
        """Does nothing: the module lives on the device of its own setting, which needs no CuPy."""

    def to_disk(self, path: Any) -> None:
        """Save the module, in place of whatever was saved there before: files of another kind of model would be
        loaded with those of this one."""
        folder = Path(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            new, old = Path(name, "new"), Path(name, "old")
            new.mkdir()
            if self.has_module:
                self.module.save(new)
            else:
                (new / _UNTRAINED).touch()
            if folder.exists():
                folder.rename(old)
            new.rename(folder)

    def from_disk(self, path: Any) -> "TorchShim":
        folder = Path(path)
        self.module = None if (folder / _UNTRAINED).is_file() else self._restore(folder)
        return self

    def to_bytes(self) -> bytes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.to_disk(folder)
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            for file in files:
                if file.stat().st_size > _LARGEST_FILE:
                    raise ClinieError("CIE309", gigabytes=file.stat().st_size // 2**30)
            return srsly.msgpack_dumps({file.relative_to(folder).as_posix(): file.read_bytes() for file in files})

    def from_bytes(self, data: bytes) -> "TorchShim":
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for relative, content in srsly.msgpack_loads(data).items():
                file = folder / relative
                if not file.resolve().is_relative_to(folder.resolve()):
                    raise ClinieError("CIE311", file=relative)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            return self.from_disk(folder)


def _dropouts(module: "torch.nn.Module") -> Iterator[tuple[Any, str]]:
    """Parts of a module that drop values, and the attribute that holds the rate."""
    from torch import nn

    for path, part in module.named_modules():
        if "lora_dropout" in path:
            continue
        for name in ("p",) if isinstance(part, nn.Dropout) else _RATES:
            rate = getattr(part, name, None)
            if isinstance(rate, float) and rate > 0:
                yield part, name
