"""What each arm costs, with the F1 that it reaches."""

from typing import Any

import numpy as np

from .layout import Cell, Part, Table, cells_of, counted, f1, share, size
from .manifests import SYSTEM, TASKS, Study, micro
from .means import means

# Tasks whose F1 is shown with the cost.
_SHOWN = ("concepts", "relations_gold")


def cost_part(study: Study) -> Part:
    """A table of arms and base models, from full training in `single` and `cost`."""
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
    # Machine and profile are shown only if they differ.
    varied = [name for name in ("machine", "profile") if found[name].nunique() > 1]
    table = found[["arm", "base", *varied]].rename(columns=str.capitalize)
    table["Trainable"] = cells_of(found.trainable, "{:,.0f}".format)
    table["Of all"] = list(map(Cell, map(share, found.trainable, found.parameters)))
    table["Memory"] = cells_of(found.peak_bytes, size)
    table["s / step"] = cells_of(found.seconds_per_step, "{:.3f}".format)
    table["On disk"] = cells_of(found.disk_bytes, size)
    table["Words / s"] = cells_of(found.words_per_second, "{:,.0f}".format)
    for task in _SHOWN:
        corpora = [f"of {counted(int(number), 'corpus', 'corpora')}" for number in found[f"corpora_{task}"]]
        table[f"F1, {TASKS[task].lower()}"] = cells_of(found[f"f1_{task}"], f1, corpora)
    return Part({"cost": Table("Cost of each arm", table) if len(table) else None}, {"cost": found})
