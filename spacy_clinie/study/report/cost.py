"""What an arm costs, beside what it reaches."""

from typing import Any

import numpy as np
from pandas import isna

from .layout import Cell, Part, Table, counted, f1, share, size
from .manifests import SYSTEM, TASKS, Study, micro
from .means import means

# Tasks whose F1 stands beside the cost.
_SHOWN = ("concepts", "relations_gold")


def cost_part(study: Study) -> Part:
    """A table of arms and base models, from full training in `single` and `cost`.

    study (Study): The study.
    RETURNS (Part): The part.
    """
    own = study.folds[study.folds.study.isin(["single", "cost"]) & (study.folds.stage == "full")]
    own = own.dropna(subset="trainable").drop_duplicates("key")
    by = [*SYSTEM, "machine", "profile"]
    columns: dict[str, Any] = {"folds": ("key", "size"), "peak_bytes": ("peak_bytes", "max")}
    columns |= {name: (name, "mean") for name in ("trainable", "parameters", "seconds_per_step", "disk_bytes")}
    columns |= {name: (name, "sum") for name in ("tested_words", "tested_seconds")}
    found = own.groupby(by, sort=False, as_index=False).agg(**columns)
    found["peak_bytes"] = found.peak_bytes.replace(0, np.nan)
    found["words_per_second"] = found.tested_words / found.tested_seconds.replace(0, np.nan)
    for task in _SHOWN:
        scores = micro(study.scores, task, "strict").merge(own[["study", "key", "machine", "profile"]])
        over = means(scores, ["corpus", *by]).groupby(by, as_index=False)
        reached = over.agg(**{f"f1_{task}": ("f1", "mean"), f"corpora_{task}": ("f1", "size")})
        found = found.merge(reached, "left").fillna({f"corpora_{task}": 0})
    # What differs stands in a column of its own.
    varied = [name for name in ("machine", "profile") if found[name].nunique() > 1]
    table = found[["arm", "base", *varied]].rename(columns=str.capitalize)
    table["Trainable"] = [Cell(f"{count:,.0f}") for count in found.trainable]
    table["Of all"] = list(map(Cell, map(share, found.trainable, found.parameters)))
    table["Memory"] = [Cell() if isna(count) else Cell(size(count)) for count in found.peak_bytes]
    table["s / step"] = [Cell(f"{seconds:.3f}") for seconds in found.seconds_per_step]
    table["On disk"] = list(map(Cell, map(size, found.disk_bytes)))
    table["Words / s"] = [Cell() if isna(speed) else Cell(f"{speed:,.0f}") for speed in found.words_per_second]
    for task in _SHOWN:
        table[f"F1, {TASKS[task].lower()}"] = [
            Cell() if isna(value) else Cell(f1(value), f"of {counted(int(corpora), 'corpus', 'corpora')}")
            for value, corpora in zip(found[f"f1_{task}"], found[f"corpora_{task}"], strict=True)
        ]
    return Part({"cost": Table("Cost of each arm", table) if len(table) else None}, {"cost": found})
