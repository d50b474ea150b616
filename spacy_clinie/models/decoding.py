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
        """Drop the last positions of each row that count: they were guessed wrong.

        wrong (Sequence[int]): How many of each row.
        """
        from_last = self.counts.flip(-1).cumsum(-1).flip(-1)
        self.counts &= from_last > torch.tensor(wrong, device=self.counts.device)[:, None]

    def settle(self, live: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Go on with some of the rows, and close the gaps between the positions of each that count: a model that reads
        no more than so many positions back, or holds no more, would count the gaps.

        live (Sequence[int]): The rows; at least one.
        RETURNS (tuple[torch.Tensor, torch.Tensor]): Where what is held comes from: the row, shape (rows, 1), and the
            position, shape (rows, positions). The last one of every row counts.
        """
        index = torch.tensor(live, dtype=torch.long, device=self.counts.device)
        counts = self.counts[index]
        longest = int(counts.sum(-1).max())
        places = counts.long().argsort(dim=-1, stable=True)[:, -longest:]
        self.counts = counts.gather(-1, places)
        return index[:, None], places


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
