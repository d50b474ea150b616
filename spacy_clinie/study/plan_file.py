"""The plan of a study as a file, to which commands add."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ClinieError
from .data import Missing
from .plan import Fold, Study
from .workspace import Workspace


def write_plan(
    space: Workspace,
    study: Study,
    folds: dict[str, Fold],
    data: dict[str, dict[str, Any]],
    missing: Sequence[Missing],
    command: str,
) -> list[str]:
    """Write down what a study consists of: folds of this command and of those before it.

    space (Workspace): Where everything is.
    study (Study): Which.
    folds (dict[str, Fold]): Those of this command, by their keys.
    data (dict[str, dict[str, Any]]): What there is of each corpus, see `Workspace.data`.
    missing (Sequence[Missing]): Corpora that are not there.
    command (str): What was typed.
    RETURNS (list[str]): What there is to say of folds of earlier commands that it has no longer.
    RAISES (ClinieError): CIE483 if the plan that is there is of another profile, CIE489 for bases that cannot be told
        apart.
    """
    path = space.folder / f"{study}.json"
    before = _plan_before(path, space.profile.name)
    kept, replaced, forgotten = _still_valid(space, before, folds)
    commands = [*before["commands"], command] if kept else [command]
    bases: dict[str, str] = {}
    for fold in (kept | folds).values():
        if bases.setdefault(fold.system.model, fold.base) != fold.base:
            raise ClinieError("CIE489", first=bases[fold.system.model], second=fold.base)
    named = {*data, *(one.corpus for one in missing)}
    record = {
        "study": study,
        "profile": space.profile.name,
        "commands": list(dict.fromkeys(commands)),
        "folds": [{"key": key, "fold": fold.to_dict()} for key, fold in (kept | folds).items()],
        "data": [*(one for one in before["data"] if kept and one["corpus"] not in data), *data.values()],
        "missing": [
            *(one for one in before["missing"] if kept and one["corpus"] not in named),
            *(asdict(one) for one in missing),
        ],
    }
    space.write(path, record)
    said = {
        "finished folds of earlier commands are done again, because what they depend on has changed": replaced,
        "folds of earlier commands leave the plan, because what they depend on has changed or is gone": forgotten,
    }
    return [f"{count:,} {what}" for what, count in said.items() if count]


def _plan_before(path: Path, profile: str) -> dict[str, Any]:
    """The plan that a command adds to; an empty one if there is none."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = {"commands", "folds", "data", "missing"} <= record.keys()
        of = record["profile"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False  # cut off, or of an earlier version: the report tells of manifests that are in no plan
    if whole and of != profile:
        raise ClinieError("CIE483", file=path, profile=profile, of=of)
    return record if whole else {"commands": [], "folds": [], "data": [], "missing": []}


def _still_valid(space: Workspace, plan: dict[str, Any], new: dict[str, Fold]) -> tuple[dict[str, Fold], int, int]:
    """Folds of earlier commands, say of other base models, that would be done no differently today. Those that failed
    or are not done yet stay, so that the report does not forget them.

    space (Workspace): Where everything is.
    plan (dict[str, Any]): See `_plan_before`.
    new (dict[str, Fold]): Folds that may stand for those of earlier commands, by their keys.
    RETURNS (tuple[dict[str, Fold], int, int]): The folds by their keys; how many were finished and have others in their
        places that are not; and how many have gone, with none in their places.
    """
    kept, replaced, forgotten = {}, 0, 0
    places = {fold.place: key for key, fold in new.items()}
    for one in plan["folds"]:
        with suppress(ClinieError, OSError, KeyError, TypeError):  # its corpus or its weights are gone; or it is none
            fold, key = Fold.from_dict(one["fold"]), one["key"]
            if fold.place in places:
                replaced += space.manifest(key) is not None and space.manifest(places[fold.place]) is None
                continue
            if space.key(fold) == key:
                kept[key] = fold
                continue
        forgotten += 1
    return kept, replaced, forgotten
