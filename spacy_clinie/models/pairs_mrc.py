"""Relations by asking: machine reading comprehension, one question for each head and relation type, whose answers are
tails (the study's way to prompt encoders, arXiv 2509.04753). The head is named in the question and marked where it
stands, so that two equal mentions are told apart."""

import numpy as np
import torch
from torch import nn

from .encoder import gather
from .excerpts import Excerpt, PairInput, Ranges, shared
from .pairs import PairModule, Read
from .wordpieces import encode_each, pad

# Of a head that is longer, the question names so many pieces.
_NAMED = 24


class PairMRC(PairModule):
    """An encoder that reads a question and a stretch of text, and scores every candidate tail in it."""

    def own(self, item: PairInput) -> tuple[PairInput, np.ndarray]:
        return item, np.arange(len(item.schema.relations))

    def build_head(self) -> nn.Module:
        self._encoded: dict[tuple[str, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
        words = self.encoder.get_input_embeddings().weight.detach()
        markers = nn.Embedding(2, words.shape[1])
        nn.init.normal_(markers.weight, std=words.std().item())
        output = nn.Sequential(
            nn.Dropout(),
            nn.Linear(4 * self.width, self.width),
            nn.GELU(),
            nn.Linear(self.width, 1),
        )
        return nn.ModuleDict({"markers": markers, "output": output})

    def excerpts(self, number: int, item: PairInput, ranges: Ranges) -> list[Excerpt]:
        asked = max(len(before) + len(behind) for before, behind in self._questions(item)) + _NAMED
        size = self.window_size(self.specials.pair + asked)
        by_head: dict[int, list[int]] = {}
        for i, (head, _) in enumerate(item.pairs):
            by_head.setdefault(head, []).append(i)
        return [
            Excerpt(number, one.pieces, [members[i] for i in one.pairs], one.concepts)
            for members in by_head.values()
            for one in shared(number, item._replace(pairs=[item.pairs[i] for i in members]), ranges, size)
        ]

    def length(self, excerpt: Excerpt, item: PairInput) -> int:
        questions = int(item.allowed[excerpt.pairs].any(0).sum())
        return questions * (len(excerpt.pieces) + 2 * _NAMED)

    def classify(self, batch: list[Excerpt], read: Read) -> torch.Tensor:
        sequences, segments, places = [], [], []
        cells: list[tuple[int, int]] = []
        row = 0
        for excerpt in batch:
            item, ranges = read.items[excerpt.doc], read.ranges[excerpt.doc]
            pieces = read.pieced[excerpt.doc].ids
            head = item.pairs[excerpt.pairs[0]][0]
            named = pieces[ranges.first[head] : ranges.last[head]][:_NAMED]
            text, ends = self._marked(
                excerpt, ranges, head, np.array([item.pairs[i][1] for i in excerpt.pairs]), pieces
            )
            allowed, questions = item.allowed[excerpt.pairs], self._questions(item)
            for kind in np.flatnonzero(allowed.any(0)):
                before, behind = questions[kind]
                question = np.concatenate([before, named, behind])
                ahead = len(self.specials.before) + len(question) + len(self.specials.between)
                sequences.append(self.specials.wrap_pair(question, text))
                segments.append(np.where(np.arange(len(sequences[-1])) < ahead, 0, self.specials.second_segment))
                members = np.flatnonzero(allowed[:, kind])
                places.append((ends[members] + ahead).ravel())
                cells += [(row + int(member), 1 + int(kind)) for member in members]
            row += len(excerpt.pairs)
        vectors = self.encode(sequences, segments=segments, markers=self.head["markers"])
        index, real = pad(places, 0, self.device)
        chosen = gather(vectors, index).view(len(sequences), -1, 4 * self.width)[real[:, ::4]]
        # "None" always scores 0.
        most = max(len(read.items[excerpt.doc].schema.relations) for excerpt in batch)
        scores = vectors.new_zeros(row, 1 + most)
        rows, columns = torch.tensor(cells, device=self.device).unbind(-1)
        return scores.index_put((rows, columns), self.head["output"](chosen)[:, 0])

    def _questions(self, item: PairInput) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids of the question about each relation type, before and behind the head."""
        asked = tuple(relation.question for relation in item.schema.relations.values())
        if asked not in self._encoded:
            halves = [half for question in asked for half in (question.partition("{head}")[0::2])]
            encoded = encode_each(self.tokenizer.backend_tokenizer, halves)
            ids = [np.asarray(one.ids, dtype=np.int64) for one in encoded]
            self._encoded[asked] = list(zip(ids[0::2], ids[1::2], strict=True))
        return self._encoded[asked]

    def _marked(
        self, excerpt: Excerpt, ranges: Ranges, head: int, tails: np.ndarray, pieces: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """An excerpt with markers around the head.

        excerpt (Excerpt): The excerpt.
        ranges (Ranges): Where the concepts lie.
        head (int): Index of the head.
        tails (np.ndarray): Indexes of the tails, shape (tails,).
        pieces (np.ndarray): Ids of the Doc's pieces.
        RETURNS (tuple[np.ndarray, np.ndarray]): Ids, marker `m` as -1 - m; and for each tail the places of its first
            and last piece and of both markers, shape (tails, 4).
        """
        begin = int(np.searchsorted(excerpt.pieces, ranges.first[head]))
        end = max(int(np.searchsorted(excerpt.pieces, ranges.last[head])), begin)
        own = pieces[excerpt.pieces]
        text = np.concatenate([own[:begin], [-1], own[begin:end], [-2], own[end:]])
        first = np.searchsorted(excerpt.pieces, ranges.first[tails])
        last = np.maximum(np.searchsorted(excerpt.pieces, ranges.last[tails]) - 1, first)
        ends = np.stack([first, last], -1).clip(max=max(len(own) - 1, 0))
        ends = ends + (ends >= begin) + (ends >= end)
        return text, np.concatenate([ends, np.broadcast_to([begin, end + 1], ends.shape)], -1)
