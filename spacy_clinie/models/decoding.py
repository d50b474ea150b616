"""One step of decoding for a batch: the attention mask, and the tokens that constraints accept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class BatchMask:
    """Which of the cached positions each row of a batch attends to. Rejected proposals leave gaps in it.

    rows (int): Number of rows.
    prefix_length (int): Length of the prefix that all rows share.
    device (torch.device): Device of the mask.
    """

    def __init__(self, rows: int, prefix_length: int, device: torch.device) -> None:
        self.mask = torch.ones(rows, prefix_length, dtype=torch.bool, device=device)

    def append(self, real: torch.Tensor) -> torch.Tensor:
        """Add positions.

        real (torch.Tensor): Which of them are tokens and not padding, shape (rows, positions).
        RETURNS (torch.Tensor): Position ids, same shape.
        """
        start = self.mask.sum(-1, keepdim=True)
        self.mask = torch.cat([self.mask, real], -1)
        return (start + real.cumsum(-1) - 1).clamp(min=0)

    def lengths(self) -> list[int]:
        """The number of tokens in each row."""
        return self.mask.sum(-1).tolist()

    def drop_last(self, counts: Sequence[int]) -> None:
        """Mask the last tokens of each row: proposals that were rejected.

        counts (Sequence[int]): How many tokens of each row.
        """
        from_last = self.mask.flip(-1).cumsum(-1).flip(-1)
        self.mask &= from_last > torch.tensor(counts, device=self.mask.device)[:, None]

    def compact(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep some of the rows, and close the gaps between their tokens. With gaps, a model with a sliding window
        would see fewer tokens, and one with a fixed number of positions would run out of them.

        rows (Sequence[int]): The rows to keep; at least one.
        RETURNS (tuple[torch.Tensor, torch.Tensor]): For `kv_cache.select`: the old row of each new one, shape
            (rows, 1), and the old position of each new one, shape (rows, positions). The last position of every row is
            a token.
        """
        index = torch.tensor(rows, dtype=torch.long, device=self.mask.device)
        mask = self.mask[index]
        longest = int(mask.sum(-1).max())
        places = mask.long().argsort(dim=-1, stable=True)[:, -longest:]
        self.mask = mask.gather(-1, places)
        return index[:, None], places


def verify(constraint: Any, proposed: Sequence[int], logits: np.ndarray, normalizers: np.ndarray) -> tuple[int, int]:
    """Choose tokens greedily for as long as they are the proposed ones, and then one more.

    constraint (Constraint): What is permitted. It is advanced by every token.
    proposed (Sequence[int]): The proposed tokens.
    logits (np.ndarray): After the last token and after each proposed one, shape (1 + proposed, vocabulary).
    normalizers (np.ndarray): Their logsumexp, shape (1 + proposed,).
    RETURNS (tuple[int, int]): How many proposed tokens were accepted, and the last token, which has not been read yet.
    """
    accepted = 0
    while True:
        allowed = constraint.allowed()
        choices = logits[accepted] if allowed is None else logits[accepted][allowed]
        best = int(choices.argmax())
        token = best if allowed is None else allowed[best]
        constraint.advance(token, float(choices[best] - normalizers[accepted]))
        if constraint.done or accepted == len(proposed) or token != proposed[accepted]:
            return accepted, token
        accepted += 1
