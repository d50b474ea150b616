"""A linear layer with LoRA that computes little besides its matrix products. What peft's own layer does around them
takes longer than they do where few ids are read at once."""

from typing import Any, Optional

import torch
from peft import PeftType
from peft.tuners.lora import Linear
from torch import nn
from torch.nn.functional import linear


class LeanLinear(Linear):
    """peft's layer, whose `forward` does two small products more than the base layer's. It takes the place of peft's
    own when adapters are put on a model (`register`); weights, names and files are those of peft."""

    # The small weights in the type that is computed in, and what they were made of.
    _copies: Optional[tuple[Any, tuple[torch.Tensor, torch.Tensor]]] = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer. What is no plain LoRA is left to peft: several adapters, none, one that is merged, dropout
        in training, DoRA and other variants.

        x (torch.Tensor): Shape (..., input features).
        RETURNS (torch.Tensor): Shape (..., output features).
        """
        name = self._only_adapter()
        if name is None or args or kwargs:
            found: torch.Tensor = super().forward(x, *args, **kwargs)
            return found
        down: Any = self.lora_A[name].weight
        up: Any = self.lora_B[name].weight
        scale, base, kind = float(self.scaling[name]), self.base_layer, x.device.type
        computed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else down.dtype
        if base.weight.dtype != computed or any(weight.requires_grad for weight in base.parameters()):
            return base(x) + linear(linear(x, down), up) * scale
        return _Products.apply(x, base.weight, base.bias, down, up, scale, self._copied(down, up, computed))

    def _only_adapter(self) -> Optional[str]:
        """The name of the one adapter, if it is plain."""
        if len(self.active_adapters) != 1 or self.merged or self.disable_adapters:
            return None
        (name,) = self.active_adapters
        if name not in self.lora_A or (self.training and getattr(self.lora_dropout[name], "p", 0.0) > 0):
            return None
        special = (getattr(self, kind, {}).get(name) for kind in ("use_dora", "lora_bias", "lora_variant"))
        return None if any(special) else str(name)

    def _copied(self, down: torch.Tensor, up: torch.Tensor, to: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Both weights in another type, made once until they change."""
        if down.dtype == to == up.dtype:
            return down.detach(), up.detach()
        versions = [0 if weight.is_inference() else weight._version for weight in (down, up)]
        state = (to, down.data_ptr(), up.data_ptr(), versions)
        held = self._copies
        if held is None or held[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # training may go on with them
                held = self._copies = state, (down.detach().to(to), up.detach().to(to))
        return held[1]


def register(config: Any, model: nn.Module) -> None:
    """Have peft make layers of this kind: its way for custom layers, see "Custom models" in its developer guides.

    config (PeftConfig): What adapters are made by, changed. One that is not of LoRA is left as it is.
    model (nn.Module): The base that they are put on. One with linear layers of its own kind, such as those whose
        weights are packed into 4 bits, gets peft's layers.
    """
    if config.peft_type != PeftType.LORA or config.fan_in_fan_out:
        return
    if {type(layer) for layer in model.modules() if isinstance(layer, nn.Linear)} == {nn.Linear}:
        config._register_custom_module({nn.Linear: LeanLinear})


class _Products(torch.autograd.Function):
    """A frozen linear layer and the product of two small ones beside it, all of one type."""

    @staticmethod
    def forward(
        ctx: Any,
        given: torch.Tensor,
        weight: torch.Tensor,
        bias: Optional[torch.Tensor],
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        copies: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        ctx.types = given.dtype, down.dtype, up.dtype
        down, up = copies
        rows = given.reshape(-1, given.shape[-1]).to(down.dtype)
        inner = rows @ down.T
        found = linear(rows, weight, bias).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale = scale
        return found.view(*given.shape[:-1], found.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Optional[torch.Tensor], ...]:  # type: ignore[override]
        rows, inner, weight, down, up = ctx.saved_tensors
        given_type, down_type, up_type = ctx.types
        back = gradient.reshape(-1, gradient.shape[-1]).to(down.dtype)
        small = (back @ up) * ctx.scale
        found = None
        if ctx.needs_input_grad[0]:
            found = (back @ weight).addmm_(small, down).to(given_type)
            found = found.view(*gradient.shape[:-1], found.shape[-1])
        downward, upward = (small.T @ rows).to(down_type), (back.T @ inner).to(up_type) * ctx.scale
        return found, None, None, downward, upward, None, None
