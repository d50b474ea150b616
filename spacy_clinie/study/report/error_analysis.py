"""The kinds of mistakes that arms make, with examples."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Optional

import numpy as np
from pandas import DataFrame, isna

from ..mistakes import KINDS
from .layout import Cell, Part, Table, counted, share
from .manifests import RECALL, SYSTEM, Study

# Examples of each kind that a page shows for each arm and corpus; the CSV file has all.
SHOWN = 5
# Characters of context on both sides of a quoted concept.
CONTEXT = 40

Texts = Callable[[str], Mapping[str, str]]


def mistakes_part(study: Study, texts: Optional[Texts] = None) -> Part:
    """A table of kinds of mistakes, and examples; quoted if `texts` gives the texts of a corpus by id."""
    by = ["corpus", *SYSTEM, "stage"]
    # In `loo`, only zero-shot: every draw of few shots makes other mistakes, too many to read.
    mistakes, examples, folds = (
        frame[(frame.study + frame.stage).isin(["singlefull", "loozero"])]
        for frame in (study.mistakes, study.examples, study.folds)
    )
    sums = {name: (name, "sum") for name in (*KINDS, *RECALL)}
    found = mistakes.groupby([*by, "label"], sort=False, as_index=False).agg(folds=("key", "size"), **sums)
    found["folds"] = found.groupby(by).folds.transform("max")
    found.loc[found.label != "", RECALL] = np.nan
    rejected = folds[folds.key.isin(mistakes.key)].groupby(by).rejected
    reasons: dict[Any, Counter[str]] = {place: sum(map(Counter, own.dropna()), Counter()) for place, own in rejected}
    overall = found[found.label == ""]
    found.loc[overall.index, "rejected"] = [reasons[tuple(place)].total() for place in overall[by].to_numpy()]
    rows = [_row(one, reasons[tuple(getattr(one, name) for name in by)]) for one in overall.itertuples()]
    # Of one seed: other seeds make much the same mistakes.
    examples = examples.merge(mistakes.groupby(by, as_index=False).seed.min())
    notes = {corpus: texts(corpus) if texts else {} for corpus in examples.corpus.unique()}
    examples["text"] = [_excerpt(notes[one.corpus].get(one.document, ""), one) for one in examples.itertuples()]
    few = examples[examples.groupby([*by, "kind"]).cumcount() < SHOWN]
    table = few[["corpus", "system", "stage", "document", "kind"]].rename(columns={"system": "arm and base"})
    for side in ("gold", "found"):
        sides = few[[f"{side}_start", f"{side}_end", f"{side}_label"]].itertuples(index=False, name=None)
        table[side] = ["" if isna(start) else f"{start:.0f}–{end:.0f} {label}" for start, end, label in sides]
    table = (table.assign(text=few.text) if texts else table).rename(columns=str.capitalize)
    tables = [
        Table(f"{corpus}: {counted(len(own), 'example')}", own.drop(columns="Corpus"), closed=True)
        for corpus, own in table.groupby("Corpus", sort=False)
    ]
    view = {"kinds": Table("Kinds of mistakes", DataFrame(rows)), "examples": tables, "quoted": bool(texts)}
    return Part({"mistakes": view | {"shown": SHOWN}}, {"errors": found, "examples": examples})


def _row(one: Any, reasons: Counter[str]) -> dict[str, Any]:
    total = sum(getattr(one, kind) for kind in KINDS)
    row = {"Corpus": one.corpus, "Arm and base": one.system, "Stage": one.stage, "Mistakes": total}
    for kind in KINDS:
        row[kind.capitalize()] = Cell(share(getattr(one, kind), total), f"{getattr(one, kind):,}")
    for name in ("seen", "unseen"):
        found, gold = (getattr(one, f"{name}_{unit}") for unit in ("found", "gold"))
        row[f"Recall, {name}"] = Cell(share(found, gold), f"{found:,.0f} of {gold:,.0f}")
    why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
    return row | {"Rejected": reasons.total(), "Why": why}


def _excerpt(text: str, example: Any) -> str:
    """The gold concept, or otherwise the predicted one, with the text around it."""
    side = "found" if isna(example.gold_start) else "gold"
    start, end = (int(getattr(example, f"{side}_{part}")) for part in ("start", "end"))
    before, after = text[max(0, start - CONTEXT) : start], text[end : end + CONTEXT]
    words = " ".join(f"{before}«{text[start:end]}»{after}".split())
    return f"{'…' if start > CONTEXT else ''}{words}{'…' if end + CONTEXT < len(text) else ''}" if text else ""
