"""A linear layer with LoRA that computes little more than its matrix products. If few tokens are read at once, the
overhead of peft's own layer takes longer than the products do."""

from typing import Any, Optional

import torch
from peft import PeftType
from peft.tuners.lora import Linear
from torch import nn
from torch.nn.functional import linear


class LeanLinear(Linear):
    """peft's layer with a faster `forward`. After `register`, peft makes these layers in place of its own. Weights,
    their names and saved files are those of peft."""

    # The LoRA weights in the dtype of the computation, and the state that they were cast from.
    _cached: Optional[tuple[Any, tuple[torch.Tensor, torch.Tensor]]] = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the layer. peft computes everything but plain LoRA: several adapters or none, merged ones, dropout in
        training, DoRA and other variants.

        x (torch.Tensor): Shape (..., input features).
        RETURNS (torch.Tensor): Shape (..., output features).
        """
        name = self._plain_adapter()
        if name is None or args or kwargs:
            output: torch.Tensor = super().forward(x, *args, **kwargs)
            return output
        down: Any = self.lora_A[name].weight
        up: Any = self.lora_B[name].weight
        scale, base, kind = float(self.scaling[name]), self.base_layer, x.device.type
        computed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else down.dtype
        if base.weight.dtype != computed or any(weight.requires_grad for weight in base.parameters()):
            return base(x) + linear(linear(x, down), up) * scale
        return _Products.apply(x, base.weight, base.bias, down, up, scale, self._cast(down, up, computed))

    def _plain_adapter(self) -> Optional[str]:
        """The name of the adapter, if there is just one and it is plain LoRA."""
        if len(self.active_adapters) != 1 or self.merged or self.disable_adapters:
            return None
        (name,) = self.active_adapters
        if name not in self.lora_A or (self.training and getattr(self.lora_dropout[name], "p", 0.0) > 0):
            return None
        special = (getattr(self, kind, {}).get(name) for kind in ("use_dora", "lora_bias", "lora_variant"))
        return None if any(special) else str(name)

    def _cast(self, down: torch.Tensor, up: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Both weights in another dtype. They are cast again only after they have changed."""
        if down.dtype == dtype == up.dtype:
            return down.detach(), up.detach()
        versions = [0 if weight.is_inference() else weight._version for weight in (down, up)]
        state = (dtype, down.data_ptr(), up.data_ptr(), versions)
        cached = self._cached
        if cached is None or cached[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # training may use them later
                cached = self._cached = state, (down.detach().to(dtype), up.detach().to(dtype))
        return cached[1]


def register(config: Any, model: nn.Module) -> None:
    """Have peft make `LeanLinear`s, by its interface for custom layers ("Custom models" in its developer guides).

    config (PeftConfig): The config of the adapters, changed in place. Configs of other methods than LoRA stay as they
        are.
    model (nn.Module): The base that the adapters are put on. If it has linear layers of other classes, such as those
        with weights in 4 bits, peft makes its own layers.
    """
    if config.peft_type != PeftType.LORA or config.fan_in_fan_out:
        return
    if {type(layer) for layer in model.modules() if isinstance(layer, nn.Linear)} == {nn.Linear}:
        config._register_custom_module({nn.Linear: LeanLinear})


class _Products(torch.autograd.Function):
    """A frozen linear layer plus the product of the two LoRA layers, all in one dtype."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: Optional[torch.Tensor],
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        cast: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        ctx.dtypes = x.dtype, down.dtype, up.dtype
        down, up = cast
        rows = x.reshape(-1, x.shape[-1]).to(down.dtype)
        inner = rows @ down.T
        output = linear(rows, weight, bias).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scale = scale
        return output.view(*x.shape[:-1], output.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Optional[torch.Tensor], ...]:  # type: ignore[override]
        rows, inner, weight, down, up = ctx.saved_tensors
        x_dtype, down_dtype, up_dtype = ctx.dtypes
        rows_gradient = gradient.reshape(-1, gradient.shape[-1]).to(down.dtype)
        inner_gradient = (rows_gradient @ up) * ctx.scale
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = (rows_gradient @ weight).addmm_(inner_gradient, down).to(x_dtype)
            x_gradient = x_gradient.view(*gradient.shape[:-1], x_gradient.shape[-1])
        down_gradient = (inner_gradient.T @ rows).to(down_dtype)
        up_gradient = (rows_gradient.T @ inner).to(up_dtype) * ctx.scale
        return x_gradient, None, None, down_gradient, up_gradient, None, None
