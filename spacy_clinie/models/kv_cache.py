"""The key-value cache of a language model: what attention keeps of the positions that it has read."""

from collections.abc import Sequence
from inspect import signature
from typing import Any, Optional

import torch
from transformers import DynamicCache

# Keys and values of each layer, each of shape (rows, heads, positions, width); None before anything was read.
KeyValues = Optional[Sequence[tuple[torch.Tensor, torch.Tensor]]]


def argument_of(model: Any) -> Optional[str]:
    """Find out how a model takes a cache. transformers is renaming the argument.

    model (PreTrainedModel): A causal language model.
    RETURNS (Optional[str]): The name of the argument of its `forward`; None if it reads on from something other than
        keys and values, or takes no positions.
    """
    taken = signature(model.forward).parameters
    stateful = getattr(model, "_is_stateful", False) or not getattr(model, "_supports_cache_class", True)
    if stateful or "position_ids" not in taken:
        return None
    return next((name for name in ("cache", "past_key_values") if name in taken), None)


def to_cache(held: KeyValues, rows: int) -> Any:
    """Make a cache that a model of transformers reads on from. It keeps every position, also where a layer attends to a
    window only: `select` finds them by their place.

    held (KeyValues): Keys and values, of all rows or of one for all of them.
    rows (int): How many rows the model reads.
    RETURNS (DynamicCache): The cache.
    """
    cache: Any = DynamicCache()
    for layer, (keys, values) in enumerate(held or ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache


def from_cache(cache: Any) -> KeyValues:
    """Take the keys and values out of a cache that a model has filled.

    cache (DynamicCache): The cache.
    RETURNS (KeyValues): Its keys and values.
    """
    # From version 5 on, transformers adds the window of each layer.
    return tuple((keys, values) for keys, values, *_ in cache)


def length_of(held: KeyValues) -> int:
    """Count positions.

    held (KeyValues): Keys and values.
    RETURNS (int): The positions of each row, masked ones included.
    """
    return 0 if held is None else held[0][0].shape[2]


def select(held: KeyValues, rows: torch.Tensor, places: torch.Tensor) -> KeyValues:
    """Take some rows, and some positions of each.

    held (KeyValues): Keys and values.
    rows (torch.Tensor): Where each new row comes from, shape (new rows, 1).
    places (torch.Tensor): Where its positions come from, shape (new rows, new positions).
    RETURNS (KeyValues): A copy.
    """

    def take(one: torch.Tensor) -> torch.Tensor:
        return one.transpose(1, 2)[rows, places].transpose(1, 2)

    return None if held is None else tuple((take(keys), take(values)) for keys, values in held)


def detach(held: KeyValues) -> KeyValues:
    """The same keys and values as leaves of the graph of gradients.

    held (KeyValues): Keys and values.
    RETURNS (KeyValues): They, detached; `backward` takes the gradients that arrive there further back.
    """

    def leaf(one: torch.Tensor) -> torch.Tensor:
        return one.detach().requires_grad_(one.requires_grad)

    return None if held is None else tuple((leaf(keys), leaf(values)) for keys, values in held)


def backward(held: KeyValues, leaves: KeyValues) -> None:
    """Backpropagate the gradients that arrived at detached keys and values.

    held (KeyValues): Keys and values.
    leaves (KeyValues): What `detach` made of them.
    """
    pairs = [pair for layers in zip(held or (), leaves or (), strict=True) for pair in zip(*layers, strict=True)]
    arrived = [(one, leaf.grad) for one, leaf in pairs if leaf.grad is not None]
    if arrived:
        torch.autograd.backward([one for one, _ in arrived], [gradient for _, gradient in arrived])
