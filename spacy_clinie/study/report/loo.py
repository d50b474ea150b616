"""Multi-task tuning with one corpus left out: what it is worth for that one, beside learning from it alone."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from ...scoring.counts import rates
from ...scoring.intervals import RESAMPLES, interval, resample
from ..plan import System
from .layout import Block, Cell, Column, Figure, Record, Section, Table, counted, emphasised, signed
from .manifests import TASKS, Planned, Study
from .means import Mean, cell_of, corpora_of, mean_of, mean_over, systems_of
from .plots import Curve, Panel, learning_curves


class Stage(NamedTuple):
    """What a corpus was learnt from: nothing but other corpora, a few of its documents, or all."""

    stage: str
    shots: Optional[int] = None
    multitask: bool = False


class Gain(NamedTuple):
    """A difference of F1, and its 95 % interval, where two documents or more tell."""

    value: float
    low: Optional[float]
    high: Optional[float]

    def cell(self, more: str = "") -> Cell:
        """As it is printed, with something behind it."""
        between = "" if self.low is None or self.high is None else f"{signed(self.low)} to {signed(self.high)}"
        return Cell(signed(self.value), "; ".join(filter(None, (between, more))))

    @property
    def record(self) -> Record:
        return {"gain": self.value, "gain_low": self.low, "gain_high": self.high}


ZERO = Stage("zero", None, True)
FULL = Stage("full")


def loo_section(study: Study) -> Section:
    """For each task and arm a table of corpora by stages, and for each task the learning curves.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    folds = study.of("loo")
    blocks: list[Block] = [
        "Each corpus in turn was held out: models were tuned on all the others together (multi-task), and then tested "
        "on it without having seen it (zero-shot) or after a few of its documents (shots). Beside that stand the same "
        "few documents without the multi-task stage (alone), and training on all of the corpus and nothing else "
        "(full), the ceiling. All figures are strict F1; results.csv has the lenient ones. The small figures are the "
        "range over draws of the few documents, or the 95 % interval of a single test. The better of each two are in "
        "bold. The gain is what the multi-task stage adds, over the draws that both have, with a 95 % interval "
        "(bootstrap over documents of the test; that another seed would train another model, or another draw take "
        "other documents, is not in it, and of fewer than some 20 documents it is too narrow). With and without that "
        "stage, few documents are learnt in equally many steps (see what training read), so the stage "
        "adds its own steps, too. The last row is of the corpora that have all figures, and counts those that gain."
    ]
    for task, title in TASKS.items():
        systems = systems_of(folds, task)
        if not systems:
            blocks.append(f"{title}: there is no finished fold with anything to score.")
            continue
        tables = [Protocol(folds, system, task) for system in systems]
        blocks += [one.table(f"{title}: {one.system.title}") for one in tables]
        blocks.append(_curves(tables, task, title))
    return Section("loo", "One corpus left out: zero and few shots", blocks)


class Protocol:
    """What one arm reached at one task, at all stages, on each corpus that was held out.

    folds (Sequence[Planned]): Folds of the study.
    system (System): The arm.
    task (str): The task.
    """

    def __init__(self, folds: Sequence[Planned], system: System, task: str) -> None:
        self.system, self.task = system, task
        own = [one for one in folds if one.fold.system == system and one.fold.stage != "multi"]
        self.corpora = corpora_of(own)
        self.shots = sorted({one.fold.shots for one in own if one.fold.shots is not None})
        self._folds: dict[tuple[str, Stage], list[Planned]] = {}
        for one in own:
            # What stands for "zero" and "full" is the same whatever a plan says of the multi-task stage there.
            few = Stage("shots", one.fold.shots, one.fold.multitask)
            stage = {"zero": ZERO, "full": FULL}.get(one.fold.stage, few)
            self._folds.setdefault((one.fold.corpus, stage), []).append(one)

    @property
    def stages(self) -> list[Stage]:
        few = [Stage("shots", k, multitask) for k in self.shots for multitask in (True, False)]
        return [ZERO, *few, FULL]

    def mean(self, corpus: str, stage: Stage) -> Optional[Mean]:
        """What was reached on a corpus, over draws and seeds."""
        return mean_of(one.outcome.score(self.task) for one in self.folds(corpus, stage) if one.outcome)

    def folds(self, corpus: str, stage: Stage) -> list[Planned]:
        """The folds of a stage."""
        return self._folds.get((corpus, stage), [])

    def gain(self, corpora: Sequence[str], shots: int) -> Optional[Gain]:
        """What the multi-task stage adds, over the draws and seeds that there are with it and without.

        corpora (Sequence[str]): Corpora, each of which counts the same; those without such draws are left out.
        shots (int): How many documents were learnt from.
        RETURNS (Optional[Gain]): None if there are no such draws.
        """
        found = [one for one in (self._pairs(corpus, shots) for corpus in corpora) if one is not None]
        if not found:
            return None
        value = float(np.mean([_difference(pairs.sum(axis=0)) for pairs in found]))
        if any(len(pairs) < 2 for pairs in found):
            return Gain(value, None, None)
        # Documents are drawn within each corpus, and for all of its draws and seeds at once: they have the same test.
        samples = [
            _difference(
                resample(pairs.reshape(len(pairs), -1), seed=seed, resamples=RESAMPLES).reshape(-1, *pairs.shape[1:])
            )
            for seed, pairs in enumerate(found)
        ]
        low, high = interval(np.mean(samples, axis=0))
        return Gain(value, float(low), float(high))

    def _pairs(self, corpus: str, shots: int) -> Optional[NDArray[np.int64]]:
        """Counts with the multi-task stage and without; shape (documents, draws and seeds, 2, 3). Draws of other
        documents than the first one's are left out, and documents with nothing to score."""
        outcomes = [
            [one.outcome for one in self.folds(corpus, Stage("shots", shots, multitask)) if one.outcome]
            for multitask in (True, False)
        ]
        scored = [[one for one in own if one.score(self.task)] for own in outcomes]
        ids = next((one.ids for own in scored for one in own), ())
        with_, without = (
            {(one.fold.draw or 0, one.fold.seed): one.counts[self.task, "strict"] for one in own if one.ids == ids}
            for own in scored
        )
        both = sorted(with_.keys() & without.keys())
        if not both:
            return None
        pairs = np.stack([np.stack([with_[key], without[key]], 1) for key in both], 1)
        return pairs[pairs.any(axis=(1, 2, 3))]

    def table(self, title: str) -> Table:
        """Corpora by stages.

        title (str): What the table is called.
        RETURNS (Table): The table.
        """
        rows = [[Cell(corpus), *self._row(corpus)] for corpus in self.corpora]
        records = [record for corpus in self.corpora for record in self._records(corpus)]
        if len(self.corpora) > 1:
            cells, more = self._last()
            rows.append([Cell("Mean", "corpora with figures"), *cells])
            records += more
        heads = [Column("Held out", words=True), Column("Zero-shot")]
        for k in self.shots:
            heads += [Column(name, group=counted(k, "shot")) for name in ("multi-task", "alone", "gain")]
        return Table("loo", title, [*heads, Column("Full")], rows, records, last=len(self.corpora) > 1)

    def _row(self, corpus: str) -> list[Cell]:
        cells = [cell_of(self.mean(corpus, ZERO), self.folds(corpus, ZERO))]
        for k in self.shots:
            pair = [Stage("shots", k, multitask) for multitask in (True, False)]
            means = [self.mean(corpus, stage) for stage in pair]
            found = [cell_of(mean, self.folds(corpus, stage)) for mean, stage in zip(means, pair, strict=True)]
            gain = self.gain([corpus], k)
            cells += emphasised(found, [mean.f1 if mean else None for mean in means])
            cells.append(gain.cell() if gain else Cell())
        return [*cells, cell_of(self.mean(corpus, FULL), self.folds(corpus, FULL))]

    def _last(self) -> tuple[list[Cell], list[Record]]:
        """The row below: means over the corpora that have all figures, and how many of them gain."""
        cells, records = [], []
        common = [corpus for corpus in self.corpora if all(self.mean(corpus, stage) for stage in self.stages)]
        for stage in self.stages:
            means = [mean for corpus in common if (mean := self.mean(corpus, stage))]
            if means:
                over = mean_over(means)
                cells.append(Cell(over.cell.text, f"of {len(means)}"))
                records.append(self._record("(mean)", stage) | {"corpora": len(means)} | over.record)
            else:
                cells.append(Cell())
            if stage.stage == "shots" and not stage.multitask:
                gains = [gain for corpus in common if (gain := self.gain([corpus], stage.shots or 0))]
                gaining = sum(gain.value > 0 for gain in gains)
                all_ = self.gain(common, stage.shots or 0)
                cells.append(all_.cell(f"{gaining} of {len(gains)} gain") if all_ else Cell())
                if all_:
                    facts = {"corpora": len(gains), "gaining": gaining, **all_.record}
                    records.append(self._record("(mean)", Stage("gain", stage.shots, True)) | facts)
        return cells, records

    def _records(self, corpus: str) -> list[Record]:
        means = [(stage, mean) for stage in self.stages if (mean := self.mean(corpus, stage))]
        records = [self._record(corpus, stage) | {"corpora": 1} | mean.record for stage, mean in means]
        gains = [(k, gain) for k in self.shots if (gain := self.gain([corpus], k)) is not None]
        records += [
            self._record(corpus, Stage("gain", k, True)) | {"corpora": 1, "gaining": int(gain.value > 0)} | gain.record
            for k, gain in gains
        ]
        return records

    def _record(self, corpus: str, stage: Stage) -> dict:
        return {
            "task": self.task,
            "corpus": corpus,
            "arm": self.system.arm,
            "base": self.system.model,
            "mode": "strict",
            **stage._asdict(),
        }


def _difference(sums: NDArray) -> NDArray[np.float64]:
    """Differences of F1 by sums of `Protocol._pairs`; over draws and seeds their mean."""
    found = rates(sums)[..., 2]
    return (found[..., 0] - found[..., 1]).mean(axis=-1)


def _curves(tables: Sequence[Protocol], task: str, title: str) -> Figure:
    """One panel for each corpus, with two curves for each arm."""
    corpora = list(dict.fromkeys(corpus for one in tables for corpus in one.corpora))
    panels = []
    for corpus in corpora:
        curves = []
        for number, one in enumerate(tables):
            ceiling = one.mean(corpus, FULL)
            for multitask in (True, False):
                stages = [(k, Stage("shots", k, multitask)) for k in one.shots]
                stages = [(0, ZERO), *stages] if multitask else stages
                points = [(k, mean) for k, stage in stages if (mean := one.mean(corpus, stage))]
                curves.append(Curve(one.system.title, number, multitask, points, ceiling.f1 if ceiling else None))
        if any(curve.points or curve.ceiling is not None for curve in curves):
            panels.append(Panel(corpus, curves))
    caption = (
        f"Learning curves. {title}, strict F1 on the corpus that was held out, by how many of its documents were seen. "
        "Filled marks: after the multi-task stage; hollow marks: without it; dotted lines: full training, the ceiling. "
        "Bars reach from the lowest to the highest draw."
    )
    return learning_curves(panels, name=f"learning-{task}", caption=caption)
