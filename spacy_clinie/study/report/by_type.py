"""How well each arm finds each type of concept."""

from .layout import Cell, Part, Table, counted
from .manifests import SYSTEM, Study
from .means import means, score_cells
from .plots import heat_map


def types_part(study: Study) -> Part:
    """For each corpus a heat map of types by arms, and its table."""
    scores = study.scores[(study.scores.study == "single") & (study.scores.label != "") & (study.scores.support > 0)]
    scores = scores[(scores.task == "concepts") & (scores["mode"] == "strict")]
    support = scores.groupby(["corpus", "label"], as_index=False).support.max()
    found = means(scores, ["corpus", "label", *SYSTEM]).merge(support, on=["corpus", "label"])
    view, figures = [], []
    for number, (corpus, own) in enumerate(found.groupby("corpus", sort=False), start=1):
        cells = [Cell(one.text, strong=one.strong) for one in score_cells(own, ["label"])]
        rows = own.assign(cell=cells).sort_values(["support", "label"], ascending=[False, True], kind="stable")
        wide = rows.pivot(index=["label", "support"], columns="system", values=["f1", "cell"])
        wide = wide.reindex(rows.set_index(["label", "support"]).index.unique())
        systems = [system for system in scores.system.unique() if system in set(own.system)]
        table = wide["cell"][systems].reset_index().rename(columns={"label": "Type", "support": "In gold"})
        caption = (
            f"Strict F1 by type of concept on {corpus}: {counted(len(wide), 'type')}, {counted(len(systems), 'arm')}. "
            "The table below holds the same figures."
        )
        values = wide["f1"][systems].astype(float).rename(columns=lambda system: system.replace(" (", "\n(", 1))
        values.index = [f"{label} ({support:,})" for label, support in values.index]
        figures.append(heat_map(corpus, values, f"types-{number}", caption))
        view.append({"figure": figures[-1], "table": Table(f"Types of {corpus}", table, closed=True)})
    return Part({"types": view}, {"types": found}, figures)
