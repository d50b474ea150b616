"""The files of a report: HTML and Markdown from one template, and CSV with all digits."""

import base64
import re
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Optional

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from pandas import DataFrame

from ...corpora.splits import SEVERAL
from ...display import shown
from ..data import MIN_DOCUMENTS
from ..mistakes import KINDS
from .by_type import types_part
from .cost import cost_part
from .error_analysis import Texts, mistakes_part
from .layout import counted
from .loo import loo_part
from .manifests import CORPUS, EXAMPLE, FOLD, RECALL, SIZES, read_study
from .overview import overview_part
from .significance import LEAST, LEVEL
from .single import significance_part, single_part

_MEAN = ["folds", "f1", "low", "high", "bounds"]
# Columns of the CSV files. Files without rows are written too, so that none is left over from an earlier report.
COLUMNS = {
    "studies": ["study", "profile", "command", "planned", "finished", "failed", "unreadable", "not_yet_run"],
    "circumstances": ["what", "value"],
    "data": CORPUS,
    "training": ["arm", "base", "stage", "shots", "multitask", "folds", "steps", "seconds", *SIZES[:4]],
    "missing": ["corpus", "how"],
    "files": ["file", "problem"],
    "folds": ["key", *FOLD, "state", "problem", "finished", "seconds", "machine", "steps", *SIZES],
    "results": [*FOLD, "task", "mode", "label", "f1", "low", "high", "p", "r", "tp", "fp", "fn"],
    "single": ["task", "corpus", "corpora", "arm", "base", "mode", *_MEAN],
    "significance": [
        *("task", "corpus", "first_arm", "first_base", "second_arm", "second_base"),
        *("comparable", "documents", "difference", "p", "p_holm"),
    ],
    "loo": [
        *("task", "corpus", "corpora", "arm", "base", "mode", "stage", "shots", "multitask"),
        *(*_MEAN, "gain", "gain_low", "gain_high", "gaining"),
    ],
    "types": ["corpus", "label", "support", "arm", "base", *_MEAN],
    "cost": [
        *("arm", "base", "machine", "profile", "folds", "trainable", "parameters", "peak_bytes", "seconds_per_step"),
        *("disk_bytes", "words_per_second"),
        *("f1_concepts", "corpora_concepts", "f1_relations_gold", "corpora_relations_gold"),
    ],
    "errors": ["corpus", "arm", "base", "stage", "folds", "label", *KINDS, *RECALL, "rejected"],
    "examples": ["corpus", "arm", "base", "stage", *EXAMPLE, "text"],
}
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")


def report_files(folder: Path, texts: Optional[Texts]) -> dict[str, str]:
    """Make the files of a report, by name and with the page first. See `write_report`."""
    study = read_study(folder)
    parts = [make(study) for make in (overview_part, single_part, significance_part, loo_part, types_part, cost_part)]
    parts.append(mistakes_part(study, texts))
    view: dict[str, Any] = {"title": "Concepts and relations in clinical notes: results of a study"}
    view |= {"plans": study.plans, "folds": len(study.folds), "counted": counted, "several": SEVERAL}
    view |= {"least": LEAST, "level": LEVEL, "fewest": MIN_DOCUMENTS}
    frames: dict[str, DataFrame] = {}
    for part in parts:
        view |= part.view
        frames |= part.csv
    files = {f"report.{kind}": _rendered(kind, view) for kind in ("html", "md")}
    files |= {f"{figure.name}.svg": figure.svg for part in parts for figure in part.figures}
    return files | {f"{name}.csv": _csv(frames[name].reindex(columns=columns)) for name, columns in COLUMNS.items()}


def _rendered(kind: str, view: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("spacy_clinie", "data"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_in_html if kind == "html" else _in_markdown,
    )
    environment.filters["base64"] = lambda text: base64.b64encode(text.encode()).decode()
    environment.filters["joined"] = lambda heads: [(group, list(own)) for group, own in groupby(heads, itemgetter(0))]
    text = environment.get_template(f"report.{kind}.jinja").render(view)
    return text if kind == "html" else re.sub(r"\n{3,}", "\n\n", text)


def _in_html(value: Any) -> Any:
    """Escaping of all values of a page, except our own markup."""
    if isinstance(value, Markup):
        return value
    return f"{value:,}" if isinstance(value, int) else shown(value)


def _in_markdown(value: Any) -> Any:
    """A value in one line, escaped for Markdown."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(_in_html(value)).split())
    return Markup(_MARKS.sub(r"\\\1", str(Markup.escape(text))))


def _csv(frame: DataFrame) -> str:
    return frame.convert_dtypes().astype(object).map(_guarded).to_csv(index=False, lineterminator="\n")


def _guarded(value: Any) -> Any:
    """Text that a spreadsheet would read as a formula gets an apostrophe in front, which makes it text again."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        text = shown(value)
        return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
    return value
