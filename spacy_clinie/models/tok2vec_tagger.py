"""Concepts by tagging vectors that a thinc `tok2vec` made."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from spacy.tokens import Doc
from thinc.backends import get_array_ops
from thinc.util import to_numpy
from torch import nn

from . import tag_chain
from .encoder import Part
from .tagger import Chains, TagHead
from .wordpieces import Sought


class VectorTagger(nn.Module):
    """A `TagHead` over the vectors of tokens. Blank tokens are left to their neighbours, as with word pieces.

    width (int): Width of the vectors.
    schema (dict[str, Any]): The schema, as `Schema.to_dict` gives it.
    options (dict[str, Any]): The settings `head` and `threshold`.
    """

    def __init__(self, width: int, schema: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__()
        self.width, self.schema, self.options = width, schema, options
        self.chains = Chains(schema)
        self.head = TagHead(width, len(self.chains))

    @classmethod
    def restore(cls, folder: Path, options: dict[str, Any]) -> "VectorTagger":
        """Build it from what `save` wrote."""
        weights = load_file(folder / "head.safetensors")
        schema = json.loads((folder / "schema.json").read_text(encoding="utf8"))
        module = cls(weights["output.weight"].shape[1], schema, options)
        module.head.load_state_dict(weights)
        return module.eval()

    def save(self, folder: Path) -> None:
        """Write everything that `restore` needs."""
        save_file(self.head.state_dict(), folder / "head.safetensors")
        (folder / "schema.json").write_text(json.dumps(self.schema, ensure_ascii=False), encoding="utf8")

    def layers(self) -> list[tuple[list[nn.Parameter], Optional[int]]]:
        return [(list(self.parameters()), None)]

    def predict(self, items: Sequence[Sought], vectors: Sequence[Any]) -> list[np.ndarray]:
        """Score tags.

        items (Sequence[Sought]): The Docs.
        vectors (Sequence[Floats2d]): Vectors of each, shape (tokens, width).
        RETURNS (list[np.ndarray]): Of shape (tokens, types that are looked for, TAGS) for each.
        """
        self.eval()
        with torch.inference_mode():
            return self._scored(items, [torch.from_numpy(to_numpy(rows)) for rows in vectors])[0]

    def begin_update(
        self, items: Sequence[Sought], vectors: Sequence[Any]
    ) -> tuple[list[np.ndarray], Callable[[list[np.ndarray]], list]]:
        """Score tags in training.

        items (Sequence[Sought]): The Docs. In one that nothing is looked for in, nothing is scored.
        vectors (Sequence[Floats2d]): Vectors of each, shape (tokens, width).
        RETURNS (tuple[list[np.ndarray], Callable]): What `predict` gives, and what turns its gradients into those of
            the vectors.
        """
        self.train()
        inputs = [torch.from_numpy(to_numpy(rows)).requires_grad_() for rows in vectors]
        outputs, part = self._scored(items, inputs)

        def backprop(gradients: list[np.ndarray]) -> list:
            part.go_back(gradients)
            found = [
                np.zeros(rows.shape, dtype=np.float32) if rows.grad is None else rows.grad.numpy() for rows in inputs
            ]
            return [get_array_ops(given).asarray(own) for own, given in zip(found, vectors, strict=True)]

        return outputs, backprop

    def _scored(self, items: Sequence[Sought], vectors: Sequence[torch.Tensor]) -> tuple[list[np.ndarray], Part]:
        outputs, rows, places, done = [], [torch.zeros(0, self.width)], [], 0
        for number, (item, own) in enumerate(zip(items, vectors, strict=True)):
            units = _units(item.doc)
            outputs.append(tag_chain.blank(len(item.doc), units, len(item.labels)))
            if len(units) and item.labels:  # the rows of an empty Doc have no width where a transformer made them
                rows.append(own[torch.from_numpy(units)])
                scored = np.arange(done, done + len(units))
                places.append((number, units, (scored[:, None], self.chains.of(item.labels)[None])))
                done += len(units)
        part = Part(self.head(torch.cat(rows)), places)
        part.write(outputs)
        return outputs, part


def _units(doc: Doc) -> np.ndarray:
    return np.array([token.i for token in doc if not token.is_space], dtype=np.int64)
