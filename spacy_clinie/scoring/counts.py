"""True positives, false positives and false negatives by document and type, and precision, recall and F1."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..doc.note import Note
from .match import Kind, Mode, items, match


@dataclass
class Counts:
    """The counts of a corpus.

    documents (list[str]): Ids of documents.
    labels (list[str]): Types in gold or prediction, sorted.
    table (NDArray[np.int64]): True positives, false positives, false negatives; shape (documents, labels, 3).
    """

    documents: list[str]
    labels: list[str]
    table: NDArray[np.int64]


def count(pairs: Sequence[tuple[Note, Note]], kind: Kind, mode: Mode) -> Counts:
    """Match gold and predicted notes and count.

    A gold relation whose concepts were not predicted counts as missed. Predicted relations are ignored for gold notes
    without relation annotation (`Note.relations_unknown`).

    pairs (Sequence[tuple[Note, Note]]): The gold and the predicted note of each document.
    kind (Kind): `concepts` or `relations`.
    mode (Mode): `strict` or `lenient`.
    RETURNS (Counts): Documents in the order given.
    """
    rows = []
    for gold_note, predicted_note in pairs:
        gold, predicted = set(items(gold_note, kind)), set(items(predicted_note, kind))
        if kind == "relations" and gold_note.relations_unknown:
            predicted.clear()
        right = Counter(item.label for item, _ in match(gold, predicted, mode))
        rows.append((right, Counter(item.label for item in gold), Counter(item.label for item in predicted)))
    labels = sorted({label for _, gold_labels, predicted_labels in rows for label in (*gold_labels, *predicted_labels)})
    table = np.zeros((len(rows), len(labels), 3), dtype=np.int64)
    place = {label: i for i, label in enumerate(labels)}
    for document, (right, in_gold, in_predicted) in enumerate(rows):
        for label in in_gold | in_predicted:
            tp = right[label]
            table[document, place[label]] = tp, in_predicted[label] - tp, in_gold[label] - tp
    return Counts([gold_note.id for gold_note, _ in pairs], labels, table)


def rates(counts: NDArray) -> NDArray[np.float64]:
    """Precision, recall and F1. Undefined rates are 0.

    counts (NDArray): True positives, false positives, false negatives; shape (..., 3).
    RETURNS (NDArray[np.float64]): Precision, recall, F1; shape (..., 3).
    """
    tp, fp, fn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    below = np.stack([tp + fp, tp + fn, tp + (fp + fn) / 2], axis=-1)
    return np.divide(tp[..., None], below, out=np.zeros_like(below), where=below > 0)
