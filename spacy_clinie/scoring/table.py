"""Scores as text tables."""

from collections.abc import Mapping
from typing import Any

from wasabi import table

from ..display import one_line
from .intervals import CONFIDENCE
from .match import KINDS, MODES

COLUMNS = ("P", "R", "F1", f"{100 * CONFIDENCE:.0f} % interval", "TP", "FP", "FN")
MACRO = {"macro_documents": "macro over documents", "macro_types": "macro over types"}
_PLACES = 2


def format_table(result: Mapping[str, Any]) -> str:
    """Format the result of `score` or `evaluate`: tables for concepts and relations, strict and lenient, and remarks on
    the documents.

    result (Mapping[str, Any]): The result.
    RETURNS (str): The tables and remarks.
    """
    blocks = []
    for kind in KINDS:
        for mode in MODES:
            scores = result[kind][mode]
            if not scores["per_type"]:
                blocks.append(f"{kind}, {mode}: none in gold, none predicted")
                continue
            rows = [_row("micro", scores["micro"])]
            rows += [_row(name, scores[key]) for key, name in MACRO.items()]
            rows += [_row(label, row) for label, row in scores["per_type"].items()]
            header = (f"{kind}, {mode}", *COLUMNS)
            blocks.append(table(rows, header=header, divider=True, aligns=("l", *"r" * len(COLUMNS))))
    lines = "\n\n".join(block.strip("\n") for block in [*blocks, "\n".join(_remarks(result))]).split("\n")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    rates = [f"{100 * row[key]:.2f}" for key in ("p", "r", "f1")]
    bounds = "-" if row["interval"] is None else " to ".join(f"{100 * bound:.2f}" for bound in row["interval"])
    return (one_line(name), *rates, bounds, *[str(row.get(key, "")) for key in ("tp", "fp", "fn")])


def _remarks(result: Mapping[str, Any]) -> list[str]:
    lines = [f"documents: {result['documents']}"]
    if result["missing_documents"]:
        lines.append(f"gold documents without prediction, all missed: {result['missing_documents']}")
    if result["extra_documents"]:
        lines.append(f"predicted documents without gold, all wrong: {result['extra_documents']}")
    if result["without_relations"]:
        lines.append(f"gold documents without relation annotation, skipped: {result['without_relations']}")
    for side, counts in result["duplicates"].items():
        if any(counts.values()):
            what = ", ".join(f"{n} {kind}" for kind, n in counts.items())
            lines.append(f"duplicates in {side}, counted once: {what}")
    for side, problems in result.get("reading", {}).items():
        for problem in problems:
            what = {"dropped": "not read", "mended": "changed", "left_out": "left out"}[problem["kind"]]
            where = ", ".join(problem["examples"][:_PLACES]) + (", …" if problem["count"] > _PLACES else "")
            lines.append(f"{what} in {side}: {one_line(problem['reason'])} ({problem['count']}: {where})")
    return lines
