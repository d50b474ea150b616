"""Learning rates that thinc does not have."""

import math
from collections.abc import Iterator

from thinc.schedules import warmup_linear


def warmup_cosine(initial_rate: float, warmup_steps: int, total_steps: int) -> Iterator[float]:
    """Up in a straight line, then down along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, without
    restarts). Registered as `spacy_clinie.warmup_cosine.v1`.

    initial_rate (float): The greatest rate, as in thinc's `warmup_linear.v1`.
    warmup_steps (int): Steps on the way up.
    total_steps (int): Steps until it is zero; it stays there.
    YIELDS (float): The rate of each step.
    """
    for step, factor in enumerate(warmup_linear(1.0, warmup_steps, total_steps)):
        yield initial_rate * (factor if step < warmup_steps else (1 - math.cos(math.pi * factor)) / 2)
