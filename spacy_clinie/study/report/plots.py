"""The pictures of a report, as SVG: the same for the same figures, readable without colours."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Optional
from xml.etree import ElementTree

from ...display import shown
from ...errors import ClinieError
from .layout import Figure
from .means import Mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

# Okabe and Ito (2008): colours that the colour-blind can tell apart. Yellow is left out, it is too pale on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_INK = "#1b1f24"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a939d",
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": "#4d5763",
    "ytick.color": "#4d5763",
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
}


class Curve(NamedTuple):
    """F1 over shots. `number` tells arms apart; `ceiling` is where full training ends."""

    title: str
    number: int
    multitask: bool
    points: Sequence[tuple[int, Mean]]
    ceiling: Optional[float]


class Panel(NamedTuple):
    title: str
    curves: Sequence[Curve]


def learning_curves(panels: Sequence[Panel], *, name: str, caption: str) -> Figure:
    """Small pictures side by side with the same axes.

    panels (Sequence[Panel]): What each shows.
    name (str): Name of the figure.
    caption (str): Its caption.
    RETURNS (Figure): The figure.
    RAISES (ClinieError): CIE481 if matplotlib is not installed.
    """
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = -(-len(panels) // across)
    # Shots are steps of an axis of their own: 0 has no place on a logarithmic one, and 5 none on a linear one with 500.
    shots = sorted({k for panel in panels for curve in panel.curves for k, _ in curve.points})
    place = {k: i for i, k in enumerate(shots)}
    with _plot(3.3 * across + 0.2, 2.5 * down + 0.7) as plot:
        grid = plot.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        axes = list(grid.flat)
        handles: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=False):
            axis.set_title(shown(panel.title), loc="left")
            axis.grid(axis="y")
            axis.set_xticks(range(len(shots)), map(str, shots))
            axis.tick_params(labelbottom=True, length=3)
            for curve in panel.curves:
                _draw(axis, curve, place, handles)
        # Axes share their limits, and setting those ends their growth: not before everything is drawn.
        axes[0].set_ylim(bottom=0)
        for axis in axes[len(panels) :]:
            axis.remove()
        for axis in axes[max(0, len(panels) - across) : len(panels)]:
            axis.set_xlabel("Documents seen", fontsize=8.5)
        for axis in axes[::across][:down]:
            axis.set_ylabel("Strict F1", fontsize=8.5)
        plot.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=8.5)
        return Figure(name, caption, _svg(plot, name, caption))


def heat_map(
    corpus: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[Optional[float]]],
    *,
    name: str,
    caption: str,
) -> Figure:
    """Figures as shades, with the figures written into them.

    corpus (str): Title.
    rows (Sequence[str]): What the rows are.
    columns (Sequence[str]): What the columns are.
    values (Sequence[Sequence[Optional[float]]]): From 0 to 1, by row and column; None where there is none.
    name (str): Name of the figure.
    caption (str): Its caption.
    RETURNS (Figure): The figure.
    RAISES (ClinieError): CIE481 if matplotlib is not installed.
    """
    with _plot(2.2 + 0.95 * len(columns), 1.25 + 0.25 * len(rows)) as plot:
        axis = plot.subplots()
        filled = [[float("nan") if value is None else value for value in row] for row in values]
        axis.pcolormesh(filled, cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
        axis.invert_yaxis()
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axis.set_xticks([i + 0.5 for i in range(len(columns))], [shown(title) for title in columns], fontsize=8)
        axis.set_yticks([i + 0.5 for i in range(len(rows))], [shown(title) for title in rows])
        axis.set_title(shown(corpus), loc="left", pad=8)
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                text = "–" if value is None else f"{value:.2f}"
                colour = _INK if value is None or value > 0.5 else "white"
                axis.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=colour, fontsize=8.5)
        return Figure(name, caption, _svg(plot, name, caption))


def _draw(axis: Any, curve: Curve, place: dict[int, int], handles: dict[str, Any]) -> None:
    colour, marker = COLOURS[curve.number % len(COLOURS)], MARKERS[curve.number % len(MARKERS)]
    if curve.ceiling is not None:
        line = axis.axhline(curve.ceiling, color=colour, linestyle=":", linewidth=1.3)
        handles.setdefault(f"{shown(curve.title)}, full training", line)
    if not curve.points:
        return
    x = [place[k] for k, _ in curve.points]
    y = [mean.f1 for _, mean in curve.points]
    (line,) = axis.plot(
        x,
        y,
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.6,
        linestyle="-" if curve.multitask else "--",
        markerfacecolor=colour if curve.multitask else "white",
        label="_",
    )
    for at, (_, mean) in zip(x, curve.points, strict=True):
        if mean.folds > 1:
            axis.vlines(at, mean.low, mean.high, color=colour, linewidth=1, alpha=0.7)
    handles.setdefault(f"{shown(curve.title)}, {'after multi-task' if curve.multitask else 'alone'}", line)


def need_matplotlib() -> None:
    """Tell at once, and not behind hours of training, that a report could not be written.

    RAISES (ClinieError): CIE481 if matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ClinieError("CIE481")


@contextmanager
def _plot(width: float, height: float) -> Iterator["Plot"]:
    """An empty picture, in inches, that knows nothing of a user's settings and leaves none behind."""
    need_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure as Plot

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Plot(figsize=(width, height), layout="constrained")


def _svg(plot: "Plot", name: str, caption: str) -> str:
    """A picture as an element of a page: ids are its own, and what it shows is said in words too."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = name
    file = io.StringIO()
    with warnings.catch_warnings():
        # Letters that the font for measuring lacks: whoever shows the picture has one that has them.
        warnings.filterwarnings("ignore", "Glyph")
        plot.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # The style would be that of the whole page: it is in report.css.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == _LINK and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")
    root.set("role", "img")
    root.set("aria-label", shown(caption))
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(root, encoding="unicode")
