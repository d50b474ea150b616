"""Multi-task tuning with one corpus left out: what it is worth for that one, beside learning from it alone."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat

from ...scoring.counts import rates
from ...scoring.intervals import RESAMPLES, interval, resample
from .layout import Cell, Part, Table, counted, f1, signed
from .manifests import SYSTEM, TASKS, Study, micro
from .means import MEAN, cells, gaps, grid, mean_row, means, places
from .plots import learning_curves

STAGE = ["stage", "shots", "multitask"]


def loo_part(study: Study) -> Part:
    """For each task and arm a table of corpora by stages, and for each task the learning curves.

    study (Study): The study.
    RETURNS (Part): The part.
    """
    folds, scores = (frame[(frame.study == "loo") & (frame.stage != "multi")] for frame in (study.folds, study.scores))
    view, csv, figures = [], [DataFrame()], []
    for task, title in TASKS.items():
        tables, reached = [], [DataFrame()]
        for system, own in micro(scores, task, "strict").groupby("system", sort=False):
            table, found = _protocol(f"{title}: {system}", folds[folds.system == system], own)
            tables.append(table)
            reached.append(found.assign(task=task, mode="strict"))
        csv += reached
        if tables:
            caption = (
                f"Learning curves. {title}, strict F1 on the corpus that was held out, by the number of its documents "
                "seen in training. Filled marks: after the multi-task stage. Hollow marks: without it. Dotted lines: "
                "full training, the ceiling. Bars show the range over draws."
            )
            figures.append(learning_curves(concat(reached), f"learning-{task}", caption))
        view.append({"title": title, "tables": tables, "figure": figures[-1] if tables else None})
    return Part({"loo": view}, {"loo": concat(csv)}, figures)


def _protocol(title: str, folds: DataFrame, scores: DataFrame) -> tuple[Table, DataFrame]:
    """What one arm reached at one task: a table of corpora by stages, and the same for CSV."""
    names = {corpus: Cell(corpus) for corpus in folds.corpus.unique()}
    shots = sorted(folds.shots.dropna().unique())
    found = means(scores, ["corpus", *SYSTEM, *STAGE])
    shown = gaps(folds, ["corpus", *STAGE])
    shown |= places(found, ["corpus", *STAGE], cells(found, ["corpus", "stage", "shots"]))
    pairs = {place: _pairs(own) for place, own in scores.dropna(subset="shots").groupby(["corpus", "shots"])}
    gained = {place: [own] for place, own in pairs.items() if own is not None}
    if len(names) > 1:
        names[MEAN] = Cell("Mean", "corpora with figures")
        common, over = mean_row(found, [*SYSTEM, *STAGE], 2 + 2 * len(shots))
        found = concat([found, over])
        shown |= places(over, ["corpus", *STAGE], [Cell(f1(value), f"of {len(common)}") for value in over.f1])
        gained |= {(MEAN, k): [own for corpus in common for own in gained.get((corpus, k), [])] for k in shots}
    gains = [_gain(own) | {"corpus": corpus, "shots": k} for (corpus, k), own in gained.items() if own]
    shown |= {(one["corpus"], "gain", one["shots"], True): _gain_cell(one) for one in gains}
    heads = {("", "Zero-shot"): ("zero", None, True)}
    for k in shots:
        few = {"multi-task": ("shots", k, True), "alone": ("shots", k, False), "gain": ("gain", k, True)}
        heads |= {(counted(k, "shot"), name): stage for name, stage in few.items()}
    heads |= {("", "Full"): ("full", None, False)}
    table = grid("Held out", names, heads, shown)
    more = DataFrame(gains).assign(stage="gain", multitask=True, **scores.iloc[0][SYSTEM])
    return Table(title, table, last=MEAN in names), concat([found, more])


def _pairs(few: DataFrame) -> Optional[NDArray[np.int64]]:
    """Counts with the multi-task stage and without; shape (documents, draws and seeds, 2, 3). Draws of other test
    documents than those of the first are left out, and documents with nothing to score."""
    first = few.sort_values("multitask", ascending=False, kind="stable").ids.iloc[0]
    same = few[[ids == first for ids in few.ids]]
    wide = same.pivot(index=["draw", "seed"], columns="multitask", values="counts").reindex(columns=[True, False])
    both = [np.stack(row, axis=1) for row in wide.dropna().itertuples(index=False, name=None)]
    if not both:
        return None
    pairs = np.stack(both, axis=1)
    return pairs[pairs.any(axis=(1, 2, 3))]


def _gain(pairs: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """What the multi-task stage adds, over the draws and seeds that there are with it and without, in the mean over
    corpora, with a 95 % interval where two documents or more tell. `pairs` has those of each corpus."""
    each = [float(_difference(own.sum(axis=0))) for own in pairs]
    gain = {"corpora": len(each), "gaining": sum(one > 0 for one in each), "gain": float(np.mean(each))}
    if min(map(len, pairs)) < 2:
        return gain
    # Documents are drawn within each corpus, and for all of its draws and seeds at once: they have the same test.
    sums = [
        resample(own.reshape(len(own), -1), seed=seed, resamples=RESAMPLES).reshape(-1, *own.shape[1:])
        for seed, own in enumerate(pairs)
    ]
    low, high = interval(np.mean([_difference(own) for own in sums], axis=0))
    return gain | {"gain_low": low, "gain_high": high}


def _difference(sums: NDArray) -> NDArray[np.float64]:
    """Differences of F1 by sums of `_pairs`; over draws and seeds their mean."""
    found = rates(sums)[..., 2]
    return (found[..., 0] - found[..., 1]).mean(axis=-1)


def _gain_cell(gain: dict[str, Any]) -> Cell:
    between = f"{signed(gain['gain_low'])} to {signed(gain['gain_high'])}" if "gain_low" in gain else ""
    gaining = f"{gain['gaining']} of {gain['corpora']} gain" if gain["corpus"] == MEAN else ""
    return Cell(signed(gain["gain"]), "; ".join(filter(None, (between, gaining))))
