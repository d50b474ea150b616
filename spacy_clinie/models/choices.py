"""Generation step by step: which positions of a batch count, and the choices that machines permit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class Rows:
    """Which of the positions that were read count, for each row of a batch.

    number (int): Rows.
    before (int): Positions that all rows begin with.
    """

    def __init__(self, number: int, before: int, device: torch.device) -> None:
        self.counts = torch.ones(number, before, dtype=torch.bool, device=device)

    def append(self, here: torch.Tensor) -> torch.Tensor:
        """Add positions.

        here (torch.Tensor): Which of them count, shape (rows, positions).
        RETURNS (torch.Tensor): The place of each in its row's text, same shape.
        """
        start = self.counts.sum(-1, keepdim=True)
        self.counts = torch.cat([self.counts, here], -1)
        return (start + here.cumsum(-1) - 1).clamp(min=0)

    def lengths(self) -> list[int]:
        """How many positions of each row count."""
        return self.counts.sum(-1).tolist()

    def forget(self, wrong: Sequence[int]) -> None:
        """Drop the last positions of each row, which were guessed wrong.

        wrong (Sequence[int]): How many of each row.
        """
        total = self.counts.shape[1]
        place = torch.arange(total, device=self.counts.device)
        self.counts &= place < total - torch.tensor(wrong, device=self.counts.device)[:, None]

    def select(self, index: torch.Tensor) -> None:
        """Go on with some of the rows."""
        self.counts = self.counts[index]


def choose(machine: Any, guess: Sequence[int], scores: np.ndarray, totals: np.ndarray) -> tuple[int, int]:
    """Make choices as long as they are what was guessed, and one more.

    machine (Machine): What is permitted; takes the choices.
    guess (Sequence[int]): What was guessed.
    scores (np.ndarray): Of every id of the vocabulary behind the last choice and behind each guess, shape
        (1 + guesses, vocabulary).
    totals (np.ndarray): Log of the sum of their exponentials, shape (1 + guesses,).
    RETURNS (tuple[int, int]): How many guesses were right, and the last choice.
    """
    right = 0
    while True:
        permitted = machine.allowed()
        logits = scores[right] if permitted is None else scores[right][permitted]
        best = int(logits.argmax())
        chosen = best if permitted is None else permitted[best]
        machine.take(chosen, float(logits[best] - totals[right]))
        if machine.done or right == len(guess) or chosen != guess[right]:
            return right, chosen
        right += 1
