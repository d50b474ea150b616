"""The figures of a report, as SVG: reproducible, and readable without colours."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure as Plot
from pandas import DataFrame, isna

from ...display import shown
from .layout import NONE, Figure
from .means import MEAN

# Okabe and Ito (2008), for colour-blind readers; without yellow, which is too pale on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_INK = "#1b1f24"
# Matplotlib's default first, so that a user's own settings change nothing.
_STYLES: Any = [
    "default",
    {
        "svg.fonttype": "none",  # text stays text
        "text.parse_math": False,  # a dollar sign in a label is a dollar sign
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#e3e7eb",
        "legend.frameon": False,
    },
]


def learning_curves(found: DataFrame, name: str, caption: str) -> Figure:
    """F1 over shots for each corpus, with two curves for each arm: after the multi-task stage, and alone. `found` has
    the `means` by corpus, system and stage."""
    found = found[(found.corpus != MEAN) & found.f1.notna()]
    found = found.assign(seen=found.shots.mask(found.stage == "zero", 0))
    corpora, systems = found.corpus.unique(), found.system.unique()
    # Shots are equally spaced: a logarithmic axis has no 0, and a linear one that ends at 500 has no room for 5.
    ticks = sorted(found.seen.dropna().unique())
    across = 2 if len(corpora) == 4 else min(3, len(corpora))
    down = -(-len(corpora) // across)
    with style.context(_STYLES):
        plot = Plot(figsize=(3.3 * across + 0.2, 2.5 * down + 0.7), layout="constrained")
        axes = plot.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat
        handles: dict[str, Any] = {}
        for axis, corpus in zip(axes, corpora, strict=False):
            axis.set_title(shown(corpus), loc="left")
            axis.grid(axis="y")
            axis.set_xticks(range(len(ticks)), map(str, ticks))
            axis.tick_params(labelbottom=True, length=3)
            axis.set_xlabel("Documents seen", fontsize=8.5)
            axis.set_ylabel("Strict F1" if axis.get_subplotspec().is_first_col() else "", fontsize=8.5)
            for number, system in enumerate(systems):
                own = found[(found.corpus == corpus) & (found.system == system)]
                _draw(axis, own, number, ticks, handles)
        # After all curves: axes share their limits, and setting one ends automatic scaling.
        axes[0].set_ylim(bottom=0)
        for axis in axes[len(corpora) :]:
            axis.remove()
        plot.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=8.5)
        return Figure(name, caption, _svg(plot, name))


def heat_map(corpus: str, values: DataFrame, name: str, caption: str) -> Figure:
    """A heat map of values from 0 to 1, or missing, with the values printed in it."""
    down, across = values.shape
    with style.context(_STYLES):
        plot = Plot(figsize=(2.2 + 0.95 * across, 1.25 + 0.25 * down), layout="constrained")
        axis = plot.subplots()
        axis.pcolormesh(values, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.set_xticks([i + 0.5 for i in range(across)], map(shown, values.columns), fontsize=8)
        axis.set_yticks([i + 0.5 for i in range(down)], map(shown, values.index))
        axis.set_title(shown(corpus), loc="left", pad=8)
        for (i, j), value in np.ndenumerate(values.to_numpy()):
            text, colour = (NONE, _INK) if isna(value) else (f"{value:.2f}", _INK if value > 0.5 else "white")
            axis.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=8.5)
        return Figure(name, caption, _svg(plot, name))


def _draw(axis: Any, own: DataFrame, number: int, ticks: Sequence[int], handles: dict[str, Any]) -> None:
    """Draw the curves of one arm."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    for one in own[own.stage == "full"].itertuples():
        line = axis.axhline(one.f1, color=colour, linestyle=":", linewidth=1.3)
        handles.setdefault(f"{shown(one.system)}, full training", line)
    curves = own.dropna(subset="seen").sort_values("seen").groupby("multitask")
    for multitask, curve in reversed(list(curves)):
        x = [ticks.index(seen) for seen in curve.seen]
        line_style, fill = ("-", colour) if multitask else ("--", "white")
        look = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.6}
        (line,) = axis.plot(x, curve.f1, linestyle=line_style, markerfacecolor=fill, **look)
        several = (curve.folds > 1).to_numpy()
        axis.vlines(np.array(x)[several], curve.low[several], curve.high[several], color=colour, linewidth=1, alpha=0.7)
        handles.setdefault(f"{shown(curve.system.iloc[0])}, {'after multi-task' if multitask else 'alone'}", line)


def _svg(plot: Plot, name: str) -> str:
    file = io.StringIO()
    with warnings.catch_warnings(), style.context({"svg.hashsalt": name}):
        # The font that measures text may lack letters; the viewer's font has them.
        warnings.filterwarnings("ignore", "Glyph")
        plot.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return file.getvalue()
