"""What an arm costs, beside what it reaches."""

from collections import defaultdict
from collections.abc import Sequence

from .layout import NONE, Block, Cell, Column, Section, Table, counted, f1, share, size
from .manifests import TASKS, Outcome, Study
from .means import Mean, mean_of, mean_over

# Tasks whose F1 stands beside the cost.
_SHOWN = ("concepts", "relations_gold")


def cost_section(study: Study) -> Section:
    """A table of arms and base models, from full training in `single` and `cost`.

    study (Study): The study.
    RETURNS (Section): The section.
    """
    groups: dict[tuple, list[Outcome]] = defaultdict(list)
    # Both studies may have the same fold.
    for one in {one.key: one for one in [*study.of("single"), *study.of("cost")]}.values():
        if one.outcome and one.outcome.training and one.fold.stage == "full":
            groups[one.fold.system, one.outcome.machine, one.outcome.profile].append(one.outcome)
    # What differs stands in a column of its own.
    machines, profiles = ({key[i] for key in groups} for i in (1, 2))
    blocks: list[Block] = [
        "Parameters that training changes and their share of all, the most memory that a fold took (of the GPU where "
        "it used one, else of the whole process), seconds for a step of training, the trained pipeline's size on disk, "
        "and words read in a second at the test: means over folds, of memory the highest. F1 is strict and its "
        "mean over as many corpora as stand below it: compare those of the same corpora only. A base that ends in "
        "=random has the shape of a model and no trained weights: it says what training costs, and is not tested."
    ]
    if not groups:
        blocks.append("No finished fold has figures of a training.")
        return Section("cost", "Cost", blocks)
    rows, records = [], []
    for (system, machine, profile), outcomes in groups.items():
        cells, record = _row(outcomes)
        where = [Cell(machine)] * (len(machines) > 1) + [Cell(profile)] * (len(profiles) > 1)
        rows.append([Cell(system.arm), Cell(system.model), *where, *cells])
        records.append({"arm": system.arm, "base": system.model, "machine": machine, "profile": profile, **record})
    heads = ["Arm", "Base", *["Machine"] * (len(machines) > 1), *["Profile"] * (len(profiles) > 1)]
    columns = [Column(title, words=True) for title in heads]
    columns += [Column(title) for title in ("Trainable", "Of all", "Memory", "s / step", "On disk", "Words / s")]
    columns += [Column(f"F1, {TASKS[task].lower()}") for task in _SHOWN]
    blocks.append(Table("cost", "Cost of each arm", columns, rows, records))
    return Section("cost", "Cost", blocks)


def _row(outcomes: Sequence[Outcome]) -> tuple[list[Cell], dict]:
    figures = [outcome.training for outcome in outcomes if outcome.training]
    trainable, parameters, seconds, disk = (
        sum(own[name] for own in figures) / len(figures)
        for name in ("trainable", "parameters", "seconds_per_step", "disk_bytes")
    )
    peak = max(own["peak_bytes"] for own in figures)
    speeds = [outcome.speed for outcome in outcomes if outcome.speed]
    words, taken = sum(speed[0] for speed in speeds), sum(speed[1] for speed in speeds)
    speed = words / taken if taken else None
    cells = [
        Cell(f"{trainable:,.0f}"),
        Cell(share(trainable, parameters)),
        Cell(size(peak) if peak else NONE),
        Cell(f"{seconds:.3f}"),
        Cell(size(disk)),
        Cell(NONE if speed is None else f"{speed:,.0f}"),
    ]
    record = {
        "folds": len(outcomes),
        "trainable": trainable,
        "parameters": parameters,
        "peak_bytes": peak or None,
        "seconds_per_step": seconds,
        "disk_bytes": disk,
        "words_per_second": speed,
    }
    for task in _SHOWN:
        means = _by_corpus(outcomes, task)
        over = mean_over(means) if means else None
        cells.append(Cell(f1(over.f1), f"of {counted(len(means), 'corpus', 'corpora')}") if over else Cell())
        record |= {f"f1_{task}": over.f1 if over else None, f"corpora_{task}": len(means)}
    return cells, record


def _by_corpus(outcomes: Sequence[Outcome], task: str) -> list[Mean]:
    corpora = dict.fromkeys(outcome.fold.corpus for outcome in outcomes)
    means = (mean_of(one.score(task) for one in outcomes if one.fold.corpus == corpus) for corpus in corpora)
    return [mean for mean in means if mean]
