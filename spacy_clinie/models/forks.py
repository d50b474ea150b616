"""Computing in a process that was forked, as those of `nlp.pipe(n_process=2)` are on Linux."""

import os
from typing import Optional


class _Process:
    """The number of the process in which a model of ours was last built, loaded or used."""

    number: Optional[int] = None


def begin_computing() -> None:
    """Say that a model of ours is about to compute in this process.

    A fork of a process that did so before gets one thread of torch from then on: its parent's pool of threads does not
    live on in it, and it would wait for the pool for ever. Processes that only import us keep their threads, and so do
    forks in which no model of ours computes.
    """
    if _Process.number == os.getpid():
        return
    if _Process.number is not None:
        import torch

        torch.set_num_threads(1)
    _Process.number = os.getpid()
