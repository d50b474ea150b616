"""The key-value cache of a language model: the keys and values of the positions that it has read."""

from collections.abc import Sequence
from inspect import signature
from typing import Any, Optional

import torch
from transformers import DynamicCache

# Keys and values of each layer, each of shape (rows, heads, positions, width). None if nothing was read yet.
KeyValues = Optional[Sequence[tuple[torch.Tensor, torch.Tensor]]]


def cache_argument(model: Any) -> Optional[str]:
    """The argument of `forward` that takes a cache. transformers is renaming it.

    model (PreTrainedModel): A causal language model.
    RETURNS (Optional[str]): Its name. None if the model keeps another state than keys and values, or takes no position
        ids.
    """
    accepted = signature(model.forward).parameters
    stateful = getattr(model, "_is_stateful", False) or not getattr(model, "_supports_cache_class", True)
    if stateful or "position_ids" not in accepted:
        return None
    return next((name for name in ("cache", "past_key_values") if name in accepted), None)


def to_cache(cached: KeyValues, rows: int) -> Any:
    """Make a cache for a model of transformers. It keeps every position, also in layers with a sliding window, because
    `select` takes positions by their index.

    cached (KeyValues): Keys and values of all rows, or of one row for all of them.
    rows (int): How many rows the model reads.
    RETURNS (DynamicCache): The cache.
    """
    cache: Any = DynamicCache()
    for layer, (keys, values) in enumerate(cached or ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    return cache


def from_cache(cache: Any) -> KeyValues:
    """Take keys and values out of a cache that a model has filled.

    cache (DynamicCache): The cache.
    RETURNS (KeyValues): Its keys and values.
    """
    # From version 5 on, transformers yields the sliding window of each layer as well.
    return tuple((keys, values) for keys, values, *_ in cache)


def length(cached: KeyValues) -> int:
    """The number of positions of each row, masked ones included.

    cached (KeyValues): Keys and values.
    RETURNS (int): The number.
    """
    return 0 if cached is None else cached[0][0].shape[2]


def select(cached: KeyValues, rows: torch.Tensor, places: torch.Tensor) -> KeyValues:
    """Take some rows, and some positions of each.

    cached (KeyValues): Keys and values.
    rows (torch.Tensor): The old row of each new one, shape (new rows, 1).
    places (torch.Tensor): The old position of each new one, shape (new rows, new positions).
    RETURNS (KeyValues): A copy.
    """

    def take(one: torch.Tensor) -> torch.Tensor:
        return one.transpose(1, 2)[rows, places].transpose(1, 2)

    return None if cached is None else tuple((take(keys), take(values)) for keys, values in cached)


def detach(cached: KeyValues) -> KeyValues:
    """Cut the autograd graph at keys and values, so that several backward passes can end there.

    cached (KeyValues): Keys and values.
    RETURNS (KeyValues): The same as leaves of the graph. `backward` takes their gradients further.
    """

    def leaf(one: torch.Tensor) -> torch.Tensor:
        return one.detach().requires_grad_(one.requires_grad)

    return None if cached is None else tuple((leaf(keys), leaf(values)) for keys, values in cached)


def backward(cached: KeyValues, leaves: KeyValues) -> None:
    """Backpropagate the gradients that have accumulated at detached keys and values.

    cached (KeyValues): Keys and values.
    leaves (KeyValues): What `detach` made of them.
    """
    layers = zip(cached or (), leaves or (), strict=True)
    pairs = [pair for layer in layers for pair in zip(*layer, strict=True)]
    arrived = [(one, leaf.grad) for one, leaf in pairs if leaf.grad is not None]
    if arrived:
        torch.autograd.backward([one for one, _ in arrived], [gradient for _, gradient in arrived])
