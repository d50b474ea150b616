"""Concepts by tagging vectors that a thinc `tok2vec` made."""

import json
from collections.abc import Sequence
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
from .tagger import Chains, GoldSpan, TagHead
from .wordpieces import Sought, pad


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
        self.head = TagHead(width, len(self.chains), options["head"] == "crf")

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

    def learn(
        self, items: Sequence[Sought], vectors: Sequence[Any], gold: Sequence[list[GoldSpan]]
    ) -> tuple[float, list]:
        """Add the gradient of a batch.

        items (Sequence[Sought]): The Docs. From one in which nothing is looked for nothing is learnt.
        vectors (Sequence[Floats2d]): Vectors of each Doc, shape (tokens, width).
        gold (Sequence[list[GoldSpan]]): Concepts of each Doc, see `EncoderTagger.learn`.
        RETURNS (tuple[float, list[Floats2d]]): Loss for each unit, and the gradient of the vectors.
        """
        self.train()
        inputs = [torch.from_numpy(to_numpy(rows)).requires_grad_() for rows in vectors]
        units = [_units(item.doc) for item in items]
        total = sum(len(own) for own, item in zip(units, items, strict=True) if item.labels)
        if not total:
            return 0.0, [_like(np.zeros(rows.shape, dtype=np.float32), rows) for rows in vectors]
        table, mask = pad([np.zeros(len(own)) for own in units], 0)
        tags = table[..., None].repeat(1, 1, self.head.kinds)
        sought = torch.zeros(len(items), self.head.kinds, dtype=torch.bool)
        for i, (own, spans) in enumerate(zip(units, gold, strict=True)):
            columns = self.chains.of(items[i].labels)
            sought[i, columns] = True
            in_units = [(*np.searchsorted(own, [start, end]), columns[kind]) for start, end, kind in spans]
            answer = tag_chain.encode(len(own), self.head.kinds, [span for span in in_units if span[0] < span[1]])
            tags[i, : len(own)] = torch.from_numpy(answer)
        # The rows of an empty Doc have no width where a transformer made them.
        chosen = [
            rows[torch.from_numpy(own)] if len(own) else rows.new_zeros(0, self.width)
            for rows, own in zip(inputs, units, strict=True)
        ]
        stacked = nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        loss = self.head.loss(stacked, tags, mask, torch.zeros(len(items), 2, dtype=torch.bool), sought) / total
        loss.backward()
        gradients = [
            rows.grad.numpy() if rows.grad is not None else np.zeros(rows.shape, dtype=np.float32) for rows in inputs
        ]
        return loss.item(), [_like(gradient, given) for gradient, given in zip(gradients, vectors, strict=True)]

    def predict(self, items: Sequence[Sought], vectors: Sequence[Any]) -> list[list[tuple[int, int, int, float]]]:
        """Find concepts, see `EncoderTagger.predict`."""
        self.eval()
        units = [_units(item.doc) for item in items]
        with torch.inference_mode():
            scores = [
                self.head(torch.from_numpy(to_numpy(rows)[own]) if len(own) else torch.zeros(0, self.width)).numpy()
                for own, rows in zip(units, vectors, strict=True)
            ]
        found = tag_chain.decode(scores, self.options["threshold"])
        return [self.chains.answer(*one) for one in zip(items, units, found, strict=True)]


def _units(doc: Doc) -> np.ndarray:
    return np.array([token.i for token in doc if not token.is_space], dtype=np.int64)


def _like(array: np.ndarray, given: Any) -> Any:
    """An array on the device of another."""
    return get_array_ops(given).asarray(array)
