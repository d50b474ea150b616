"""Learning rate schedules that thinc lacks."""

import math
from collections.abc import Iterator

from thinc.schedules import warmup_linear


def warmup_cosine(initial_rate: float, warmup_steps: int, total_steps: int) -> Iterator[float]:
    """Linear warm-up, then cosine decay (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts). Registered as
    `spacy_clinie.warmup_cosine.v1`.

    initial_rate (float): The maximum rate, as in thinc's `warmup_linear.v1`.
    warmup_steps (int): Steps of the warm-up.
    total_steps (int): Steps until the rate is zero, where it stays.
    YIELDS (float): The rate of each step.
    """
    for step, factor in enumerate(warmup_linear(1.0, warmup_steps, total_steps)):
        yield initial_rate * (factor if step < warmup_steps else (1 - math.cos(math.pi * factor)) / 2)
