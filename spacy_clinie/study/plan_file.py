"""The plan of a study as a file. Each command adds its folds."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ClinieError
from .data import Missing
from .plan import Fold, Study
from .workspace import Workspace, read_json

_FIELDS = ("commands", "folds", "data", "missing")


def write_plan(
    workspace: Workspace,
    study: Study,
    folds: dict[str, Fold],
    data: Mapping[str, dict[str, Any]],
    missing: Sequence[Missing],
    command: str,
) -> list[str]:
    """Write the folds of a command to the plan, with those of earlier commands.

    workspace (Workspace): The study's folder.
    study (Study): The study.
    folds (dict[str, Fold]): The folds of the command, by key.
    data (Mapping[str, dict[str, Any]]): A description of each corpus, see `Workspace.describe`.
    missing (Sequence[Missing]): Corpora that are missing.
    command (str): The command line.
    RETURNS (list[str]): Messages about folds of earlier commands that are no longer valid.
    RAISES (ClinieError): CIE483 if the existing plan has another profile, CIE489 for bases with the same name.
    """
    path = workspace.folder / f"{study}.json"
    before = _read_plan(path, workspace.profile.name)
    kept, replaced, dropped = _still_valid(workspace, before, folds)
    bases: dict[str, str] = {}
    for fold in (kept | folds).values():
        if bases.setdefault(fold.model, fold.base) != fold.base:
            raise ClinieError("CIE489", first=bases[fold.model], second=fold.base)
    named = {*data, *(one.corpus for one in missing)}
    earlier = before if kept else dict.fromkeys(_FIELDS, ())
    record = {
        "study": study,
        "profile": workspace.profile.name,
        "commands": list(dict.fromkeys([*earlier["commands"], command])),
        "folds": [{"key": key, "fold": asdict(fold)} for key, fold in (kept | folds).items()],
        "data": [*(one for one in earlier["data"] if one["corpus"] not in data), *data.values()],
        "missing": [
            *(one for one in earlier["missing"] if one["corpus"] not in named),
            *(one._asdict() for one in missing),
        ],
    }
    workspace.write(path, record)
    messages = {
        "finished folds of earlier commands are done again, because what they depend on has changed": replaced,
        "folds of earlier commands leave the plan, because what they depend on has changed or is gone": dropped,
    }
    return [f"{count:,} {message}" for message, count in messages.items() if count]


def _read_plan(path: Path, profile: str) -> dict[str, Any]:
    """The existing plan; an empty one if there is none, or if it is cut off or of an earlier version."""
    record = read_json(path)
    if not isinstance(record, dict) or not {"profile", *_FIELDS} <= record.keys():
        return dict.fromkeys(_FIELDS, ())
    if record["profile"] != profile:
        raise ClinieError("CIE483", file=path, profile=profile, of=record["profile"])
    return record


def _still_valid(workspace: Workspace, plan: dict[str, Any], new: dict[str, Fold]) -> tuple[dict[str, Fold], int, int]:
    """Folds of earlier commands, for example of other base models, whose keys are still the same. Those that failed or
    have not been run stay in the plan, so that the report names them.

    workspace (Workspace): The study's folder.
    plan (dict[str, Any]): The existing plan.
    new (dict[str, Fold]): The folds of the command, by key. They replace earlier ones in the same positions.
    RETURNS (tuple[dict[str, Fold], int, int]): The valid folds by key; the number of finished ones that are replaced by
        unfinished ones; and the number of those that are dropped.
    """
    kept, replaced, dropped = {}, 0, 0
    positions = {fold.position: key for key, fold in new.items()}
    for one in plan["folds"]:
        with suppress(ClinieError, OSError, KeyError, TypeError):  # no fold, or its corpus or weights no longer exist
            fold, key = Fold.from_dict(one["fold"]), one["key"]
            if fold.position in positions:
                replaced += bool(workspace.manifest(key) and not workspace.manifest(positions[fold.position]))
                continue
            if workspace.key(fold) == key:
                kept[key] = fold
                continue
        dropped += 1
    return kept, replaced, dropped
