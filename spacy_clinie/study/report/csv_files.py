"""A report as CSV: tidy tables, a value or what belongs to one in each row, with all digits."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from ...display import shown
from .layout import Record, Report

_FOLD = ("study", "corpus", "arm", "base", "stage", "shots", "draw", "multitask", "seed")
_MEAN = ("folds", "f1", "low", "high", "bounds")
# Of each file. A file without rows is written as well, so that none is left from an earlier report.
COLUMNS = {
    "studies": ("study", "profile", "command", "planned", "finished", "failed", "unreadable", "not_yet_run"),
    "circumstances": ("what", "value"),
    "data": (
        *("corpus", "profile", "train", "dev", "test"),
        *("train_documents", "train_words", "test_documents", "test_words"),
        *("shared", "headers", "lost", "left_out", "why"),
    ),
    "training": (
        *("arm", "base", "stage", "shots", "multitask", "folds", "steps", "seconds"),
        *("train_documents", "offered_documents", "train_words", "offered_words"),
    ),
    "missing": ("corpus", "how"),
    "files": ("file", "problem"),
    "folds": (
        *("key", *_FOLD, "state", "problem", "finished", "seconds", "machine"),
        *("steps", "train_documents", "train_words", "offered_documents", "offered_words"),
        *("test_documents", "test_words"),
    ),
    "results": (*_FOLD, "task", "mode", "label", "f1", "low", "high", "p", "r", "tp", "fp", "fn"),
    "single": ("task", "corpus", "corpora", "arm", "base", "mode", *_MEAN),
    "significance": (
        *("task", "corpus", "first_arm", "first_base", "second_arm", "second_base"),
        *("comparable", "documents", "difference", "p", "p_holm"),
    ),
    "loo": (
        *("task", "corpus", "corpora", "arm", "base", "mode", "stage", "shots", "multitask"),
        *(*_MEAN, "gain", "gain_low", "gain_high", "gaining"),
    ),
    "types": ("corpus", "label", "support", "arm", "base", *_MEAN),
    "cost": (
        *("arm", "base", "machine", "profile", "folds", "trainable", "parameters", "peak_bytes", "seconds_per_step"),
        *("disk_bytes", "words_per_second"),
        *("f1_concepts", "corpora_concepts", "f1_relations_gold", "corpora_relations_gold"),
    ),
    "errors": (
        *("corpus", "arm", "base", "stage", "folds", "label", "boundary", "type", "missed", "spurious"),
        *("seen_found", "seen_gold", "unseen_found", "unseen_gold", "rejected"),
    ),
    "examples": (
        *("corpus", "arm", "base", "stage", "document", "kind", "gold_start", "gold_end", "gold_label"),
        *("found_start", "found_end", "found_label", "text"),
    ),
}


def write_csv(report: Report) -> Iterator[tuple[str, str]]:
    """Write the tables of a report.

    report (Report): The report.
    YIELDS (tuple[str, str]): Name and content of a file.
    """
    for name, columns in COLUMNS.items():
        rows = [record for table in report.tables if table.file == name for record in table.records]
        yield f"{name}.csv", _file(columns, [*rows, *report.records.get(name, ())])


def _file(columns: Sequence[str], records: Sequence[Record]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _guarded(value) for name, value in record.items()} for record in records)
    return file.getvalue()


def _guarded(value: Any) -> Any:
    """What a spreadsheet would take for a formula gets an apostrophe before it, which makes it text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        text = shown(value)
        return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
    return value
