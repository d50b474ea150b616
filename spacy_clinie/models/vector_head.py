"""Heads over vectors of tokens, wherever these come from: an encoder of the component's own, or one that is shared."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from safetensors import safe_open
from thinc.backends import get_array_ops
from thinc.util import to_numpy
from torch import nn

from .encoder import Part, load_head, load_schema, save_head


class VectorHead(nn.Module):
    """Base class. A subclass adds its layers as `head`.

    width (int): Width of the vectors.
    schema (dict[str, Any]): The schema that it answers in, as `Schema.to_dict` gives it.
    options (dict[str, Any]): The settings of the architecture, see `architectures`.
    """

    head: nn.Module
    device = torch.device("cpu")

    def __init__(self, width: int, schema: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__()
        self.width, self.schema, self.options = width, schema, options

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any]) -> Any:
        """Build it from what `save` wrote.

        folder (Path): The folder.
        options (dict[str, Any]): See the class.
        RETURNS (VectorHead): The trained module.
        """
        with safe_open(folder / "head.safetensors", framework="pt") as file:
            module = cls(int(file.metadata()["width"]), load_schema(folder), options)
            load_head(module.head, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return module.eval()

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs.

        folder (Path): An existing folder.
        """
        save_head(self.head, self.schema, folder, width=self.width)

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        """All parameters, as those of a head: see `AdamW.update_module`."""
        return [(list(self.parameters()), None)]

    def parts(self, items: Any, vectors: Sequence[torch.Tensor]) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Compute scores, in parts that bound memory.

        items (list[Any]): What is looked for in each Doc.
        vectors (Sequence[torch.Tensor]): Vectors of its tokens, shape (tokens, width): zeros for tokens that were
            given none, such as blanks, and NaN for those that a step of training does not read.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): An array for each Doc, NaN where scores go, and the parts.
        """
        raise NotImplementedError

    def predict(self, items: Any, vectors: Sequence[Any]) -> list[np.ndarray]:
        """Score Docs.

        items (list[Any]): What is looked for in each Doc.
        vectors (Sequence[Floats2d]): Vectors of its tokens, shape (tokens, width).
        RETURNS (list[np.ndarray]): Scores of each.
        """
        self.eval()
        with torch.inference_mode():
            outputs, parts = self.parts(items, [self._tensor(rows) for rows in vectors])
            for part in parts:
                part.write(outputs)
        return outputs

    def begin_update(
        self, items: Any, vectors: Sequence[Any]
    ) -> tuple[list[np.ndarray], Callable[[list[np.ndarray]], list]]:
        """Score Docs in training.

        items (list[Any]): What is looked for in each Doc.
        vectors (Sequence[Floats2d]): Vectors of its tokens, shape (tokens, width).
        RETURNS (tuple[list[np.ndarray], Callable]): What `predict` gives, and what turns its gradients into those of
            the vectors.
        """
        self.train()
        inputs = [self._tensor(rows).requires_grad_() for rows in vectors]
        outputs, parts = self.parts(items, inputs)
        held = list(parts)
        for part in held:
            part.write(outputs)

        def backprop(gradients: list[np.ndarray]) -> list:
            while held:
                held.pop().go_back(gradients)
            found = [
                np.zeros(tuple(rows.shape), dtype=np.float32) if rows.grad is None else rows.grad.cpu().numpy()
                for rows in inputs
            ]
            return [get_array_ops(given).asarray(own) for own, given in zip(found, vectors, strict=True)]

        return outputs, backprop

    def _tensor(self, rows: Any) -> torch.Tensor:
        return torch.tensor(to_numpy(rows), dtype=torch.float32, device=self.device)
