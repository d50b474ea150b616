"""What a language model holds of what it has read."""

from collections.abc import Sequence
from typing import Optional

import torch

# Layers' keys and values, each of shape (rows, heads, positions, width); None before anything was read.
Memory = Optional[Sequence[tuple[torch.Tensor, torch.Tensor]]]


def length_of(memory: Memory) -> int:
    """How many positions it holds.

    memory (Memory): What is held.
    RETURNS (int): The positions of each row, those that do not count included.
    """
    return 0 if memory is None else memory[0][0].shape[2]


def moved(memory: Memory, rows: torch.Tensor, places: torch.Tensor) -> Memory:
    """What is held, from other rows and positions.

    memory (Memory): What is held.
    rows (torch.Tensor): Where each new row comes from, shape (new rows, 1).
    places (torch.Tensor): Where its positions come from, shape (new rows, new positions).
    RETURNS (Memory): A copy.
    """

    def move(one: torch.Tensor) -> torch.Tensor:
        return one.transpose(1, 2)[rows, places].transpose(1, 2)

    return None if memory is None else tuple((move(key), move(value)) for key, value in memory)


def copied(memory: Memory) -> Memory:
    """The same keys and values, where gradients end.

    memory (Memory): What is held.
    RETURNS (Memory): It, detached.
    """

    def copy(one: torch.Tensor) -> torch.Tensor:
        return one.detach().requires_grad_(one.requires_grad)

    return None if memory is None else tuple((copy(key), copy(value)) for key, value in memory)


def go_back(memory: Memory, copy: Memory) -> None:
    """Go on with the gradients that arrived at a copy.

    memory (Memory): What is held.
    copy (Memory): What `copied` made of it.
    """
    pairs = [pair for layers in zip(memory or (), copy or (), strict=True) for pair in zip(*layers, strict=True)]
    arrived = [(one, left.grad) for one, left in pairs if left.grad is not None]
    if arrived:
        torch.autograd.backward([one for one, _ in arrived], [gradient for _, gradient in arrived])
