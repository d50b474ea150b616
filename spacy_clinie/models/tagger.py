"""Concepts by tagging: a chain of BIOLU tags for each concept type, over vectors of tokens."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import nn

from ..doc.windows import Window
from ..errors import ClinieError
from . import tag_chain
from .encoder import EncoderModule, Part, gather
from .wordpieces import PiecedDoc, Sought, make_pieces, pad


class TagHead(nn.Module):
    """Scores for every tag of every concept type.

    width (int): Width of the vectors.
    kinds (int): Number of concept types.
    """

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.drop = nn.Dropout()
        self.output = nn.Linear(width, kinds * tag_chain.TAGS)
        # Nearly every tag is O: begin there, or the first steps are spent on learning it.
        with torch.no_grad():
            self.output.bias.zero_().view(kinds, tag_chain.TAGS)[:, tag_chain.O] = 3.0

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Score tags.

        vectors (torch.Tensor): Shape (..., width).
        RETURNS (torch.Tensor): Shape (..., kinds, TAGS), fp32.
        """
        scores = self.output(self.drop(vectors)).float()
        return scores.view(*scores.shape[:-1], self.kinds, tag_chain.TAGS)


class Chains:
    """Which chain of a head stands for which type.

    schema (dict[str, Any]): The schema that the head answers in.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._columns = {label: i for i, label in enumerate(schema["concepts"])}

    def __len__(self) -> int:
        return len(self._columns)

    def of(self, labels: Sequence[str]) -> np.ndarray:
        """The chains of some types.

        labels (Sequence[str]): The types.
        RETURNS (np.ndarray): One for each, shape (labels,).
        RAISES (ClinieError): CIE315 if there is none for one.
        """
        unknown = [label for label in labels if label not in self._columns]
        if unknown:
            raise ClinieError("CIE315", types=", ".join(unknown), known=", ".join(self._columns))
        return np.array([self._columns[label] for label in labels], dtype=np.int64)


class _Item(NamedTuple):
    """A window of a Doc: which units it answers for, and where their first pieces lie in it."""

    doc: int
    window: Window
    first_unit: int
    last_unit: int
    ids: np.ndarray
    positions: np.ndarray


class EncoderTagger(EncoderModule):
    """An encoder with a `TagHead`, over windows of whole notes."""

    def build_head(self) -> nn.Module:
        self.chains = Chains(self.schema)
        return TagHead(self.width, len(self.chains))

    def parts(self, items: Sequence[Sought]) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Score the tags of Docs.

        items (Sequence[Sought]): The Docs.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): Of shape (tokens, types that are looked for, TAGS) for each.
        RAISES (ClinieError): CIE315 for a type that there is no chain for.
        """
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        columns = [self.chains.of(item.labels) for item in items]
        outputs = [
            tag_chain.blank(len(item.doc), own.tokens, len(item.labels))
            for item, own in zip(items, pieced, strict=True)
        ]

        def parts() -> Iterator[Part]:
            for batch in self._batches(pieced, self.options["step_pieces"] if self.training else None):
                places = []
                for row, item in enumerate(batch):
                    units = np.arange(item.last_unit - item.first_unit)
                    tokens = pieced[item.doc].tokens[item.first_unit : item.last_unit]
                    places.append((item.doc, tokens, (row, units[:, None], columns[item.doc][None])))
                yield Part(self.head(self._unit_vectors(batch)), places)

        return outputs, parts()

    def _batches(self, pieced: Sequence[PiecedDoc], most: Optional[int] = None) -> Iterator[list[_Item]]:
        size = self.window_size(self.specials.single)
        items = []
        for i, doc in enumerate(pieced):
            for window in doc.windows(size, min(self.options["overlap"], (size - 1) // 2)):
                first, last = np.searchsorted(doc.firsts, [window.own_start, window.own_stop])
                if first < last:
                    positions = doc.firsts[first:last] - window.start + len(self.specials.before)
                    ids = self.specials.wrap(doc.ids[window.start : window.stop])
                    items.append(_Item(i, window, int(first), int(last), ids, positions))
        return self.batches(items, [len(item.ids) for item in items], most)

    def _unit_vectors(self, batch: list[_Item]) -> torch.Tensor:
        vectors = self.encode(item.ids for item in batch)
        return gather(vectors, pad([item.positions for item in batch], 0, self.device)[0])
