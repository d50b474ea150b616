"""Concepts by tagging: a chain of BIOLU tags for each concept type, over vectors of tokens."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from spacy.attrs import IS_SPACE
from torch import nn

from ..errors import ClinieError
from . import tag_chain
from .encoder import Part
from .vector_head import VectorHead
from .wordpieces import ConceptInput


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


class Tagger(VectorHead):
    """A `TagHead` over the vectors of tokens."""

    def __init__(self, width: int, schema: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(width, schema, options)
        self._columns = {label: i for i, label in enumerate(schema["concepts"])}
        self.head = TagHead(width, len(self._columns))

    def parts(
        self, items: Sequence[ConceptInput], vectors: Sequence[torch.Tensor]
    ) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Score tags.

        items (Sequence[ConceptInput]): The Docs.
        vectors (Sequence[torch.Tensor]): See `VectorHead.parts`. Blanks and tokens with nothing but zeros are left to
            their neighbours.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): Of shape (tokens, types that are looked for, TAGS) for each.
        RAISES (ClinieError): CIE315 for a type that it has not learnt.
        """
        outputs: list[np.ndarray] = []
        rows, places, done = [torch.zeros(0, self.width)], [], 0
        for number, (item, own) in enumerate(zip(items, vectors, strict=True)):
            columns = self._chains(item.labels)
            values = own.detach().numpy()
            units = np.flatnonzero((values != 0).any(-1) & ~item.doc.to_array([IS_SPACE]).astype(bool).ravel())
            outputs.append(tag_chain.blank(len(item.doc), units, len(columns)))
            read = units[~np.isnan(values[units]).any(-1)]
            if len(read) and len(columns):  # the rows of an empty Doc have no width where a transformer made them
                rows.append(own[torch.from_numpy(read)])
                scored = np.arange(done, done + len(read))
                places.append((number, read, (scored[:, None], columns[None])))
                done += len(read)
        return outputs, (Part(self.head(torch.cat(one)), places) for one in [rows])

    def _chains(self, labels: Sequence[str]) -> np.ndarray:
        """Which chain of the head stands for each of some types, shape (labels,)."""
        unknown = [label for label in labels if label not in self._columns]
        if unknown:
            raise ClinieError("CIE315", types=", ".join(unknown), known=", ".join(self._columns))
        return np.array([self._columns[label] for label in labels], dtype=np.int64)
