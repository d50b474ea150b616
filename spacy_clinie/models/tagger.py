"""Concepts by tagging: a chain of BIOLU tags for each concept type, over vectors of tokens."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import nn

from ..doc.windows import Window
from ..errors import ClinieError
from . import tag_chain
from .encoder import EncoderModule, gather
from .wordpieces import PiecedDoc, Sought, make_pieces, pad

# First token, one past the last, index of the concept type.
GoldSpan = tuple[int, int, int]


class TagHead(nn.Module):
    """Scores for every tag of every concept type.

    width (int): Width of the vectors.
    kinds (int): Number of concept types.
    crf (bool): Train whole paths (CRF); otherwise each tag by itself (softmax).
    """

    def __init__(self, width: int, kinds: int, crf: bool) -> None:
        super().__init__()
        self.kinds, self.crf = kinds, crf
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

    def loss(
        self, vectors: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor, cut: torch.Tensor, sought: torch.Tensor
    ) -> torch.Tensor:
        """Loss of gold tags, summed over units and types.

        vectors (torch.Tensor): Shape (windows, units, width).
        tags (torch.Tensor): Shape (windows, units, kinds).
        mask (torch.Tensor): Which units are there, shape (windows, units).
        cut (torch.Tensor): Whether the text goes on before and behind a window, shape (windows, 2).
        sought (torch.Tensor): Which types count in a window, shape (windows, kinds).
        RETURNS (torch.Tensor): A scalar.
        """
        scores = self(vectors)
        if not self.crf:
            chosen = mask[..., None] & sought[:, None]
            return nn.functional.cross_entropy(scores[chosen], tags[chosen], reduction="sum")
        window, kind = sought.nonzero(as_tuple=True)
        return tag_chain.crf_loss(
            scores.transpose(1, 2)[window, kind], tags.transpose(1, 2)[window, kind], mask[window], cut[window]
        )


class Chains:
    """Which chain of a head stands for which type.

    schema (dict[str, Any]): The schema that the head answers in.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._columns = {label: i for i, label in enumerate(schema["concepts"])}

    def __len__(self) -> int:
        return len(self._columns)

    def of(self, labels: Sequence[str]) -> list[int]:
        """The chains of some types.

        labels (Sequence[str]): The types.
        RETURNS (list[int]): One for each.
        RAISES (ClinieError): CIE315 if there is none for one.
        """
        unknown = [label for label in labels if label not in self._columns]
        if unknown:
            raise ClinieError("CIE315", types=", ".join(unknown), known=", ".join(self._columns))
        return [self._columns[label] for label in labels]

    def answer(
        self, item: Sought, tokens: np.ndarray, found: Sequence[tag_chain.Found]
    ) -> list[tuple[int, int, int, float]]:
        """What was found of the types that are looked for, by tokens.

        item (Sought): The Doc.
        tokens (np.ndarray): Token of each unit, shape (units,).
        found (Sequence[chain.Found]): Concepts by units and chains.
        RETURNS (list[tuple[int, int, int, float]]): First token, one past the last, index of the type, score.
        """
        kinds = {column: kind for kind, column in enumerate(self.of(item.labels))}
        return [
            (int(tokens[f.start]), int(tokens[f.stop - 1]) + 1, kinds[f.kind], f.score)
            for f in found
            if f.kind in kinds
        ]


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
        return TagHead(self.width, len(self.chains), self.options["head"] == "crf")

    def learn(self, items: Sequence[Sought], gold: Sequence[list[GoldSpan]]) -> float:
        """Add the gradient of a batch.

        items (Sequence[Sought]): The Docs. Types that are not looked for in one are not learnt from it.
        gold (Sequence[list[GoldSpan]]): Concepts of each Doc by tokens and index of the type among those looked for.
        RETURNS (float): Loss for each unit.
        RAISES (ClinieError): CIE315 for a type that there is no chain for.
        """
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        tags, sought = [], []
        for item, doc, spans in zip(items, pieced, gold, strict=True):
            columns = self.chains.of(item.labels)
            own = [(start, stop, columns[kind]) for start, stop, kind in to_units(doc, spans)]
            tags.append(tag_chain.encode(len(doc.tokens), self.head.kinds, own))
            sought.append(np.isin(np.arange(self.head.kinds), columns))

        batches = list(self._batches(pieced, self.options["step_pieces"]))

        def losses() -> Iterator[torch.Tensor]:
            for batch in batches:
                vectors = self._unit_vectors(batch)
                answers = [tags[item.doc][item.first_unit : item.last_unit] for item in batch]
                _, mask = pad([item.positions for item in batch], 0, self.device)
                table = np.zeros((*mask.shape, self.head.kinds), dtype=np.int64)
                for i, answer in enumerate(answers):
                    table[i, : len(answer)] = answer
                cut = [[item.first_unit > 0, item.last_unit < len(pieced[item.doc].tokens)] for item in batch]
                counts = np.stack([sought[item.doc] for item in batch])
                given = (torch.from_numpy(table), mask, torch.tensor(cut), torch.from_numpy(counts))
                yield self.head.loss(vectors, *(part.to(self.device) for part in given))

        return self.accumulate(losses(), sum(item.last_unit - item.first_unit for batch in batches for item in batch))

    def predict(self, items: Sequence[Sought]) -> list[list[tuple[int, int, int, float]]]:
        """Find concepts.

        items (Sequence[Sought]): The Docs.
        RETURNS (list[list[tuple[int, int, int, float]]]): For each Doc first token, one past the last, index of the
            type among those looked for, score.
        RAISES (ClinieError): CIE315 for a type that there is no chain for.
        """
        self.eval()
        pieced = make_pieces([item.doc for item in items], self.tokenizer)
        scores = [np.zeros((len(doc.tokens), self.head.kinds, tag_chain.TAGS), dtype=np.float32) for doc in pieced]
        with torch.inference_mode():
            for batch in self._batches(pieced):
                rows = self.head(self._unit_vectors(batch)).cpu().numpy()
                for item, row in zip(batch, rows, strict=True):
                    scores[item.doc][item.first_unit : item.last_unit] = row[: len(item.positions)]
        found = tag_chain.decode(scores, self.options["threshold"])
        return [self.chains.answer(*one) for one in zip(items, [doc.tokens for doc in pieced], found, strict=True)]

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


def to_units(doc: PiecedDoc, spans: Sequence[GoldSpan]) -> list[GoldSpan]:
    """Gold spans by units. One that covers no unit (blanks only) cannot be learnt and is left out."""
    found = []
    for start, end, kind in spans:
        first, last = np.searchsorted(doc.tokens, [start, end])
        if first < last:
            found.append((int(first), int(last), kind))
    return found
