"""Layers with LoRA computed with as little as they need: what peft does around the products takes longer than they do
where few ids are read at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Optional

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.nn.functional import linear


@contextmanager
def lean_lora(model: nn.Module, precision: Optional[torch.dtype]) -> Iterator[None]:
    """Within this, layers with LoRA do nothing but two small products more than the base's. Gradients go back through
    them the same way.

    model (nn.Module): The model, changed for the while. Layers with DoRA, dropout or several adapters stay as they are.
    precision (Optional[torch.dtype]): The type that it computes in; None for fp32.
    """
    layers: list[Any] = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    names = [layer.active_adapters[0] for layer in layers]
    downs = [layer.lora_A[name].weight for layer, name in zip(layers, names, strict=True)]
    ups = [layer.lora_B[name].weight for layer, name in zip(layers, names, strict=True)]
    scales = [1.0] * len(layers) + [float(layer.scaling[name]) for layer, name in zip(layers, names, strict=True)]
    copies = _Copies.apply(precision or torch.float32, scales, *downs, *ups) if layers else ()
    for layer, down, up in zip(layers, copies[: len(layers)], copies[len(layers) :], strict=True):
        layer.forward = partial(_adapted, layer.base_layer, down, up)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(layer: Any) -> bool:
    """Whether a layer has one LoRA of the usual kind."""
    if len(layer.active_adapters) != 1 or layer.merged or layer.disable_adapters:
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or (layer.training and getattr(layer.lora_dropout[name], "p", 0.0) > 0):
        return False
    special = (getattr(layer, kind, {}).get(name) for kind in ("use_dora", "lora_bias", "lora_variant"))
    return not any(special)


def _adapted(layer: Any, down: torch.Tensor, up: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    if type(layer) is nn.Linear and layer.weight.dtype == down.dtype:
        weight, bias = layer.weight, layer.bias
        if not (weight.requires_grad or (bias is not None and bias.requires_grad)):
            return _Products.apply(given, weight, bias, down, up)
    found: torch.Tensor = layer(given) + linear(linear(given, down), up)
    return found


class _Copies(torch.autograd.Function):
    """Weights in the type that is computed in, times a factor for each."""

    @staticmethod
    def forward(ctx: Any, to: torch.dtype, scales: Sequence[float], *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.scales, ctx.types = scales, [weight.dtype for weight in weights]
        copies = [torch.empty_like(weight, dtype=to) for weight in weights]
        torch._foreach_copy_(copies, torch._foreach_mul(list(weights), list(scales)))
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Optional[torch.Tensor], ...]:  # type: ignore[override]
        found = [torch.empty_like(one, dtype=own) for one, own in zip(gradients, ctx.types, strict=True)]
        torch._foreach_copy_(found, list(gradients))
        torch._foreach_mul_(found, list(ctx.scales))
        return None, None, *found


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
    ) -> torch.Tensor:
        rows = given.reshape(-1, given.shape[-1]).to(down.dtype)
        inner = rows @ down.T
        found = linear(rows, weight, bias).addmm_(inner, up.T)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.type = given.dtype
        return found.view(*given.shape[:-1], found.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Optional[torch.Tensor], ...]:  # type: ignore[override]
        rows, inner, weight, down, up = ctx.saved_tensors
        back = gradient.reshape(-1, gradient.shape[-1]).to(down.dtype)
        small = back @ up
        found = None
        if ctx.needs_input_grad[0]:
            found = (back @ weight).addmm_(small, down).to(ctx.type)
            found = found.view(*gradient.shape[:-1], found.shape[-1])
        return found, None, None, small.T @ rows, back.T @ inner
