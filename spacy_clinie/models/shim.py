"""How a torch module lives inside a thinc Model: trained by spaCy's optimizer, saved as a folder of standard files."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import srsly
from thinc.api import Optimizer, Shim

from ..errors import ClinieError
from .forks import begin_computing

if TYPE_CHECKING:
    import torch

# How much more late steps count in averages: a step's weight grows with this power of its number.
_LATE = 2
# What is saved in place of a module that there is not yet: an empty folder is one whose files were lost.
_UNTRAINED = "untrained"
# One msgpack value cannot hold more.
_LARGEST_FILE = 2**32 - 1


class TorchShim(Shim):
    """Holds a torch module that is built late: at initialization or when a trained one is loaded, never both.

    The module has `save(folder)` and `rate_groups()`, pairs of parameters and the factor that their learning rate is
    multiplied by.

    restore (Callable[[Path], torch.nn.Module]): Builds the module from what its `save` wrote.
    """

    def __init__(self, restore: Callable[[Path], "torch.nn.Module"]) -> None:
        super().__init__(None)
        self._restore = restore

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
        self._optimizer = None

    @property
    def has_module(self) -> bool:
        return self._model is not None

    def finish_update(self, optimizer: Optimizer) -> None:
        """Take a step with AdamW at spaCy's current learning rate, betas, weight decay and gradient clipping.

        The arithmetic is torch's: fused over all weights, on any device, and with a learning rate for each group,
        which thinc's optimizer does not have. The moments stay with this object. With `use_averages`, the optimizer
        gets averages of the weights, which spaCy scores and saves in their place.

        optimizer (Optimizer): The optimizer that spaCy hands to `update`.
        """
        import torch

        if self._optimizer is None:
            groups = []
            for parameters, factor in self.module.rate_groups():
                for decays in (True, False):
                    # Biases and normalisation weights are vectors; decaying them only hurts.
                    members = [p for p in parameters if p.requires_grad and (p.ndim > 1) == decays]
                    if members:
                        groups.append({"params": members, "factor": factor, "decays": decays})
            self._optimizer = torch.optim.AdamW(groups, fused=True)
        for group in self._optimizer.param_groups:
            group["lr"] = float(optimizer.learn_rate) * group["factor"]
            group["betas"] = (float(optimizer.b1), float(optimizer.b2))
            group["eps"] = float(optimizer.eps)
            group["weight_decay"] = float(optimizer.L2) if group["decays"] else 0.0
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), float(optimizer.grad_clip))
        self._optimizer.step()
        # The fused step does not tell that it changed them; copies of them are kept (`EncoderModule._at_precision`).
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                torch.autograd.graph.increment_version(parameter)
        self._optimizer.zero_grad(set_to_none=True)
        if optimizer.averages is not None:
            self._average(optimizer)

    def _average(self, optimizer: Optimizer) -> None:
        """Take the weights into their averages, where late steps count more (polynomial decay: Shamir and Zhang,
        "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013)."""
        import torch

        counter = (self.id, "averages")
        step = optimizer.nr_update[counter]
        optimizer.nr_update[counter] += 1
        weights = {(self.id, name): weight for name, weight in self._learnt()}
        averages: Any = optimizer.averages
        if step == 0:
            averages.update({key: weight.detach().float().clone() for key, weight in weights.items()})
            return
        now = [weight.detach().float() for weight in weights.values()]
        torch._foreach_lerp_([averages[key] for key in weights], now, (_LATE + 1) / (step + _LATE + 1))

    def _learnt(self) -> list[tuple[str, "torch.nn.Parameter"]]:
        return [(name, weight) for name, weight in self.module.named_parameters() if weight.requires_grad]

    @contextmanager
    def use_params(self, params: Any) -> Iterator[None]:
        """Compute with other weights for a while.

        params (Any): An optimizer's averages, by this object's number and name of the weight; what it lacks stays.
        """
        import torch

        learnt = self._learnt() if self.has_module else []
        held = [(weight, params[self.id, name]) for name, weight in learnt if (self.id, name) in params]
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
