"""How well each arm finds each type of concept."""

from .layout import Cell, Part, Table, counted
from .manifests import SYSTEM, Study
from .means import cells, means
from .plots import heat_map


def types_part(study: Study) -> Part:
    """For each corpus a heat map of types by arms, and its table.

    study (Study): The study.
    RETURNS (Part): The part.
    """
    scores = study.scores[(study.scores.study == "single") & (study.scores.label != "") & (study.scores.support > 0)]
    scores = scores[(scores.task == "concepts") & (scores["mode"] == "strict")]
    support = scores.groupby(["corpus", "label"], as_index=False).support.max()
    found = means(scores, ["corpus", "label", *SYSTEM]).merge(support, on=["corpus", "label"])
    view, figures = [], []
    for number, (corpus, own) in enumerate(found.groupby("corpus", sort=False), start=1):
        shown = own.assign(cell=[Cell(one.text, "", one.strong) for one in cells(own, ["label"])])
        shown = shown.sort_values(["support", "label"], ascending=[False, True], kind="stable")
        wide = shown.pivot(index=["label", "support"], columns="system", values=["f1", "cell"])
        order = shown[["label", "support"]].drop_duplicates()
        systems = [system for system in scores.system.unique() if system in set(own.system)]
        table = order.join(wide["cell"][systems], on=["label", "support"])
        table = table.rename(columns={"label": "Type", "support": "In gold"})
        values = order.join(wide["f1"][systems].astype(float), on=["label", "support"])
        values.index = [f"{one.label} ({one.support:,})" for one in order.itertuples()]
        caption = (
            f"Strict F1 by type of concept on {corpus}: {counted(len(order), 'type')}, {counted(len(systems), 'arm')}. "
            "The table below holds the same figures."
        )
        values = values[systems].rename(columns=lambda system: system.replace(" (", "\n(", 1))
        figures.append(heat_map(corpus, values, f"types-{number}", caption))
        view.append({"figure": figures[-1], "table": Table(f"Types of {corpus}", table, closed=True)})
    return Part({"types": view}, {"types": found}, figures)
