"""What trainings had to read, and what they read: few steps end before the last document."""

from collections import defaultdict
from collections.abc import Sequence

from .layout import Cell, Column, Record, Table, counted, share
from .manifests import Outcome, Study

# Stages in the order in which they are told, and what they are called.
_STAGES = {"multi": "multi-task", "shots": "shots", "full": "full"}


def training_table(study: Study) -> Table:
    """A row for each arm and stage: the steps, and the documents that they read.

    study (Study): The study.
    RETURNS (Table): The table; without rows if no training is finished.
    """
    groups: dict[tuple, list[Outcome]] = defaultdict(list)
    for outcome in study.outcomes:
        fold = outcome.fold
        if outcome.training and fold.stage in _STAGES:
            place = fold.system, list(_STAGES).index(fold.stage), fold.shots or 0, fold.multitask, outcome.steps
            groups[place].append(outcome)
    rows, records = [], []
    systems = list(dict.fromkeys(system for system, *_ in groups))
    for place, outcomes in sorted(groups.items(), key=lambda one: (systems.index(one[0][0]), one[0][1:])):
        system, _, _, multitask, steps = place
        fold = outcomes[0].fold
        stage = _STAGES[fold.stage] if fold.shots is None else f"{fold.shots} {_STAGES[fold.stage]}"
        if fold.stage == "shots":
            stage += ", after multi-task" if multitask else ", alone"
        cells, record = _read(outcomes)
        rows.append([Cell(system.title), Cell(stage), Cell(f"{len(outcomes):,}"), Cell(f"{steps:,}"), *cells])
        facts = {"arm": system.arm, "base": system.model, "stage": fold.stage, "shots": fold.shots}
        records.append({**facts, "multitask": multitask, "folds": len(outcomes), "steps": steps, **record})
    columns = [Column("Arm and base", words=True), Column("Stage", words=True), Column("Folds"), Column("Steps")]
    columns += [Column(title) for title in ("Documents read", "Words read", "Seconds")]
    return Table("training", "What training read, of what there was, wholly or in part", columns, rows, records)


def _read(outcomes: Sequence[Outcome]) -> tuple[list[Cell], Record]:
    sums = {
        f"{part}_{unit}": sum(outcome.sizes[f"{part}_{unit}"] for outcome in outcomes)
        for part in ("train", "offered")
        for unit in ("documents", "words")
    }
    cells = [
        Cell(share(sums[f"train_{unit}"], sums[f"offered_{unit}"]), f"of {counted(sums[f'offered_{unit}'], unit[:-1])}")
        for unit in ("documents", "words")
    ]
    seconds = sum(outcome.training["seconds_per_step"] * outcome.steps for outcome in outcomes if outcome.training)
    return [*cells, Cell(f"{seconds:,.0f}")], {**sums, "seconds": seconds}
