"""Scores of a corpus: concepts and relations, strict and lenient, micro, macro and per type, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..doc.note import Note
from ..errors import ClinieError, warn
from .counts import Counts, count, rates
from .intervals import CONFIDENCE, RESAMPLES, interval, resample
from .match import KINDS, MODES, items


def score(
    gold: Sequence[Note], predicted: Sequence[Note], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Score predicted notes against gold notes of the same ids.

    In a gold note without a prediction, everything counts as missed; in a predicted note without gold, everything
    counts as wrong. A warning (CIE402) counts both. Relation scores skip gold notes without relation annotation,
    counted by `without_relations`. Concepts of a note with the same type and offsets count once, and so do relations
    between the same ends; `duplicates` counts the others.

    gold (Sequence[Note]): Gold notes.
    predicted (Sequence[Note]): Predicted notes. To score relations on gold concepts: notes with the gold concepts.
    seed (int): Seed of the bootstrap.
    resamples (int): Number of bootstrap samples for the intervals; 0 for none.
    RETURNS (dict[str, Any]): JSON-serialisable: `documents`, `missing_documents` (in gold only), `extra_documents`
        (in the prediction only), `without_relations`, `duplicates`, `bootstrap`; `concepts` and `relations`, each with
        `strict` and `lenient` results of `summarize`.
    RAISES (ClinieError): CIE400 if the texts of a document differ, CIE401 for a duplicate id, CIE004 to CIE006 for an
        invalid note.
    """
    pairs = pair_notes(gold, predicted)
    gold_ids, predicted_ids = {note.id for note in gold}, {note.id for note in predicted}
    missing, extra = len(gold_ids - predicted_ids), len(predicted_ids - gold_ids)
    if missing or extra:
        warn("CIE402", missing=missing, extra=extra)
    result: dict[str, Any] = {
        "documents": len(pairs),
        "missing_documents": missing,
        "extra_documents": extra,
        "without_relations": sum(note.relations_unknown for note in gold),
        "duplicates": {"gold": _duplicates(gold), "predicted": _duplicates(predicted)},
        "bootstrap": {"resamples": resamples, "seed": seed, "confidence": CONFIDENCE},
    }
    for kind in KINDS:
        result[kind] = {mode: summarize(count(pairs, kind, mode), seed=seed, resamples=resamples) for mode in MODES}
    return result


def pair_notes(gold: Sequence[Note], predicted: Sequence[Note]) -> list[tuple[Note, Note]]:
    """Pair gold and predicted notes by id. A missing note is replaced by one without annotation.

    gold (Sequence[Note]): Gold notes.
    predicted (Sequence[Note]): Predicted notes.
    RETURNS (list[tuple[Note, Note]]): Gold and predicted note of each document, sorted by id.
    RAISES (ClinieError): CIE400, CIE401, CIE004 to CIE006, see `score`.
    """
    ours, theirs = _by_id(gold, "gold"), _by_id(predicted, "predicted")
    pairs = []
    for key in sorted(ours.keys() | theirs.keys()):
        one = ours.get(key) or Note(key, theirs[key].text)
        other = theirs.get(key) or Note(key, one.text)
        check_texts(one, other)
        pairs.append((one, other))
    return pairs


def check_texts(gold: Note, predicted: Note) -> None:
    """Raise if two notes have different texts, so that their offsets cannot be compared.

    gold (Note): Gold note.
    predicted (Note): Predicted note.
    RAISES (ClinieError): CIE400 if their texts differ.
    """
    if gold.text != predicted.text:
        raise ClinieError("CIE400", note=gold.id, expected=len(gold.text), found=len(predicted.text))


def summarize(counts: Counts, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Rates and intervals of counts.

    - `micro`: over all annotations of the corpus.
    - `per_type`: the same for each type in gold or prediction.
    - `macro_documents`: mean over documents, called macro in the official n2c2 scripts. Documents with nothing in gold
      and nothing predicted have no rates; they are left out of the mean and counted as `empty_documents`.
    - `macro_types`: mean over types.

    counts (Counts): The counts.
    seed (int): Seed of the bootstrap.
    resamples (int): Number of bootstrap samples; 0 for no intervals.
    RETURNS (dict[str, Any]): The four results, with `p`, `r`, `f1` (0 if undefined) and their intervals `p_interval`,
        `r_interval`, `interval` ([low, high], or None if fewer than two documents have anything to score); the first
        two also with `tp`, `fp`, `fn` and `support` (tp + fn).
    """
    documents, types = counts.table.shape[:2]
    by_document = counts.table.sum(axis=1)
    filled = by_document.any(axis=1)
    columns = np.hstack([counts.table.reshape(documents, 3 * types), rates(by_document), filled[:, None]])
    points, _ = _measures(columns.sum(axis=0), types)
    held_by = [filled.sum()] * 3 + list(counts.table.any(axis=2).sum(axis=0))
    rows = [_row(point) for point in points]
    if documents > 1 and resamples:
        samples, occurs = _measures(resample(columns, seed=seed, resamples=resamples), types)
        for i, row in enumerate(rows):
            # A type that does not occur in a sample has no rate there, which is not a rate of 0.
            usable = samples[occurs[:, i], i]
            if held_by[i] > 1 and len(usable):
                row["p_interval"], row["r_interval"], row["interval"] = interval(usable).T.tolist()
    micro, macro_documents, macro_types, *per_type = rows
    totals = counts.table.sum(axis=0)
    return {
        "micro": {**micro, **_tally(totals.sum(axis=0))},
        "per_type": {
            label: {**row, **_tally(total)} for label, row, total in zip(counts.labels, per_type, totals, strict=True)
        },
        "macro_documents": {
            **macro_documents,
            "documents": int(filled.sum()),
            "empty_documents": documents - int(filled.sum()),
        },
        "macro_types": {**macro_types, "types": types},
    }


def _measures(sums: NDArray, types: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Precision, recall and F1 from sums over documents: micro, macro over documents, macro over types, then of each
    type; shape (..., 3 + types, 3). And whether there was anything to score; shape (..., 3 + types)."""
    by_type = sums[..., : 3 * types].reshape(*sums.shape[:-1], types, 3)
    per_type = rates(by_type)
    occurs = by_type.any(axis=-1)
    micro = rates(by_type.sum(axis=-2))
    macro_documents = sums[..., -4:-1] / np.maximum(sums[..., -1:], 1)
    macro_types = per_type.sum(axis=-2) / np.maximum(occurs.sum(axis=-1), 1)[..., None]
    values = np.concatenate([np.stack([micro, macro_documents, macro_types], axis=-2), per_type], axis=-2)
    anything = np.repeat(sums[..., -1:] > 0, 3, axis=-1)
    return values, np.concatenate([anything, occurs], axis=-1)


def _row(point: NDArray) -> dict[str, Any]:
    p, r, f1 = point.tolist()
    return {"p": p, "r": r, "f1": f1, "interval": None, "p_interval": None, "r_interval": None}


def _tally(counts: NDArray) -> dict[str, int]:
    tp, fp, fn = counts.tolist()
    return {"tp": tp, "fp": fp, "fn": fn, "support": tp + fn}


def _duplicates(notes: Sequence[Note]) -> dict[str, int]:
    listed = {kind: [items(note, kind) for note in notes] for kind in KINDS}
    return {kind: sum(len(found) - len(set(found)) for found in lists) for kind, lists in listed.items()}


def _by_id(notes: Sequence[Note], side: str) -> dict[str, Note]:
    table: dict[str, Note] = {}
    for note in notes:
        note.check()
        if note.id in table:
            raise ClinieError("CIE401", side=side, note=note.id)
        table[note.id] = note
    return table
