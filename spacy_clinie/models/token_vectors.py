"""Vectors of tokens by an encoder: what several components of a pipeline can share."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from spacy.tokens import Doc

from ..doc.windows import Window
from .encoder import EncoderModule, Part, gather
from .wordpieces import PiecedDoc, make_pieces, pad


class _Item(NamedTuple):
    """A window of a Doc: which units it answers for, and where their first pieces lie in it."""

    doc: int
    window: Window
    first_unit: int
    last_unit: int
    ids: np.ndarray
    positions: np.ndarray


class TokenVectors(EncoderModule):
    """Reads whole notes in windows. The vector of a token is that of its first word piece, in the window that has the
    most of the text around it. Tokens without word pieces, such as blanks, have zeros."""

    def parts(self, docs: Sequence[Doc]) -> tuple[list[np.ndarray], Iterator[Part]]:
        """Compute vectors.

        docs (Sequence[Doc]): The Docs.
        RETURNS (tuple[list[np.ndarray], Iterator[Part]]): Of shape (tokens, width) for each Doc; in training, NaN for
            tokens that `step_pieces` leaves out.
        """
        pieced = make_pieces(docs, self.tokenizer)
        outputs = []
        for doc, own in zip(docs, pieced, strict=True):
            outputs.append(np.zeros((len(doc), self.width), dtype=np.float32))
            outputs[-1][own.tokens] = np.nan

        def parts() -> Iterator[Part]:
            for batch in self._batches(pieced, self.options["step_pieces"] if self.training else None):
                vectors = self.encode(item.ids for item in batch)
                places: list[tuple[int, Any, Any]] = []
                for row, item in enumerate(batch):
                    tokens = pieced[item.doc].tokens[item.first_unit : item.last_unit]
                    places.append((item.doc, tokens, (row, np.arange(len(tokens)))))
                yield Part(gather(vectors, pad([item.positions for item in batch], 0, self.device)[0]), places)

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
