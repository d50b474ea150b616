"""Multi-task tuning with one corpus left out: its gain on that corpus over training on it alone."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat

from ...scoring.counts import rates
from ...scoring.intervals import RESAMPLES, interval, resample
from .layout import Cell, Part, Table, counted, f1, signed
from .manifests import SYSTEM, TASKS, Study, micro
from .means import MEAN, by_columns, grid, mean_row, means, missing_scores, score_cells
from .plots import learning_curves

STAGE = ["stage", "shots", "multitask"]


def loo_part(study: Study) -> Part:
    """For each task and arm a table of corpora by stages, and for each task the learning curves."""
    folds, scores = (frame[(frame.study == "loo") & (frame.stage != "multi")] for frame in (study.folds, study.scores))
    view, csv, figures = [], [DataFrame()], []
    for task, title in TASKS.items():
        tables, reached = [], [DataFrame()]
        for system, own in micro(scores, task, "strict").groupby("system", sort=False):
            table, found = _table(f"{title}: {system}", folds[folds.system == system], own)
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


def _table(title: str, folds: DataFrame, scores: DataFrame) -> tuple[Table, DataFrame]:
    """A table of corpora by stages for one arm and task, and the same for CSV."""
    names = {corpus: Cell(corpus) for corpus in folds.corpus.unique()}
    shots = sorted(folds.shots.dropna().unique())
    found = means(scores, ["corpus", *SYSTEM, *STAGE])
    cells = missing_scores(folds, ["corpus", *STAGE])
    cells |= by_columns(found, ["corpus", *STAGE], score_cells(found, ["corpus", "stage", "shots"]))
    paired = {key: _paired_counts(own) for key, own in scores.dropna(subset="shots").groupby(["corpus", "shots"])}
    gained = {key: [counts] for key, counts in paired.items() if counts is not None}
    if len(names) > 1:
        names[MEAN] = Cell("Mean", "corpora with figures")
        common, over = mean_row(found, [*SYSTEM, *STAGE], 2 + 2 * len(shots))
        found = concat([found, over])
        cells |= by_columns(over, ["corpus", *STAGE], [Cell(f1(value), f"of {len(common)}") for value in over.f1])
        gained |= {(MEAN, k): [counts for corpus in common for counts in gained.get((corpus, k), [])] for k in shots}
    gains = [_gain(counts) | {"corpus": corpus, "shots": k} for (corpus, k), counts in gained.items() if counts]
    cells |= {(one["corpus"], "gain", one["shots"], True): _gain_cell(one) for one in gains}
    heads = {("", "Zero-shot"): ("zero", None, True)}
    for k in shots:
        few = {"multi-task": ("shots", k, True), "alone": ("shots", k, False), "gain": ("gain", k, True)}
        heads |= {(counted(k, "shot"), name): key for name, key in few.items()}
    heads |= {("", "Full"): ("full", None, False)}
    table = grid("Held out", names, heads, cells)
    more = DataFrame(gains).assign(stage="gain", multitask=True, **scores.iloc[0][SYSTEM])
    return Table(title, table, last=MEAN in names), concat([found, more])


def _paired_counts(few: DataFrame) -> Optional[NDArray[np.int64]]:
    """Counts with and without the multi-task stage; shape (documents, draws and seeds, 2, 3). Left out are draws with
    other test documents than the first, and documents with nothing to score."""
    first = few.sort_values("multitask", ascending=False, kind="stable").ids.iloc[0]
    same = few[[ids == first for ids in few.ids]]
    wide = same.pivot(index=["draw", "seed"], columns="multitask", values="counts").reindex(columns=[True, False])
    both = [np.stack(row, axis=1) for row in wide.dropna().itertuples(index=False, name=None)]
    if not both:
        return None
    counts = np.stack(both, axis=1)
    return counts[counts.any(axis=(1, 2, 3))]


def _gain(corpora: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """The mean gain of the multi-task stage over corpora, from the paired counts of each. A 95 % interval is given if
    every corpus has two documents or more."""
    each = [float(_difference(counts.sum(axis=0))) for counts in corpora]
    gain = {"corpora": len(each), "gaining": sum(one > 0 for one in each), "gain": float(np.mean(each))}
    if min(map(len, corpora)) < 2:
        return gain
    # Documents are resampled within each corpus, and together for all draws and seeds, which share the test documents.
    sums = [
        resample(counts.reshape(len(counts), -1), seed=seed, resamples=RESAMPLES).reshape(-1, *counts.shape[1:])
        for seed, counts in enumerate(corpora)
    ]
    low, high = interval(np.mean([_difference(own) for own in sums], axis=0))
    return gain | {"gain_low": low, "gain_high": high}


def _difference(sums: NDArray) -> NDArray[np.float64]:
    """F1 with the multi-task stage minus F1 without it, in the mean over draws and seeds; from summed counts."""
    found = rates(sums)[..., 2]
    return (found[..., 0] - found[..., 1]).mean(axis=-1)


def _gain_cell(gain: dict[str, Any]) -> Cell:
    between = f"{signed(gain['gain_low'])} to {signed(gain['gain_high'])}" if "gain_low" in gain else ""
    gaining = f"{gain['gaining']} of {gain['corpora']} gain" if gain["corpus"] == MEAN else ""
    return Cell(signed(gain["gain"]), "; ".join(filter(None, (between, gaining))))
