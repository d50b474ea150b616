"""The report of a conversion: counts, and everything that was lost or changed, by reason, with file and line."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from .note import Note


@dataclass
class Remark:
    """A reason for a loss or change, with count and places.

    reason (str): The reason, without document text.
    count (int): The number of occurrences.
    examples (list[str]): All places, as `file:line`.
    """

    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """Counts of a conversion.

    There are three kinds of remarks: `leave_out` for what is left out on purpose (comments, types that the schema
    drops), `drop` for what should have been converted but could not be, and `mend` for what was converted after a
    change (repaired, extended to tokens). Only the last two are problems that `--strict` refuses.

    root (Optional[Union[str, Path]]): Folder of the corpus. Files in it are shown with their relative path, others only
        by name.
    """

    def __init__(self, root: Optional[Union[str, Path]] = None) -> None:
        self.root = None if root is None else Path(root)
        self.documents = 0
        self.concepts: Counter[str] = Counter()
        self.relations: Counter[str] = Counter()
        self.discontinuous = 0
        self.flat_entities: Optional[int] = None  # number of concepts that `doc.ents` can hold, once there are Docs
        self._remarks: dict[str, dict[str, Remark]] = {"left_out": {}, "dropped": {}, "mended": {}}

    def leave_out(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that is left out on purpose."""
        self._remark("left_out", reason, file, line, count)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that could not be converted."""
        self._remark("dropped", reason, file, line, count)

    def mend(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that was converted after a change."""
        self._remark("mended", reason, file, line, count)

    def add(self, note: Note) -> None:
        """Count a converted note."""
        self.documents += 1
        self.concepts.update(concept.label for concept in note.concepts)
        self.relations.update(relation.label for relation in note.relations)
        self.discontinuous += sum(bool(concept.fragments) for concept in note.concepts)

    @property
    def problems(self) -> int:
        """The number of dropped and mended items."""
        return sum(remark.count for kind in ("dropped", "mended") for remark in self._remarks[kind].values())

    def remarks(self, kind: str) -> list[Remark]:
        """Get the remarks of a kind.

        kind (str): `left_out`, `dropped` or `mended`.
        RETURNS (list[Remark]): The remarks, most frequent first.
        """
        return sorted(self._remarks[kind].values(), key=lambda remark: (-remark.count, remark.reason))

    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary, as written beside a converted corpus.

        RETURNS (dict[str, Any]): JSON-serialisable.
        """

        def rows(kind: str, **more: Any) -> list[dict[str, Any]]:
            return [{"reason": r.reason, "count": r.count, "examples": r.examples, **more} for r in self.remarks(kind)]

        return {
            "documents": self.documents,
            "concepts": sum(self.concepts.values()),
            "relations": sum(self.relations.values()),
            "concepts_by_type": dict(self.concepts.most_common()),
            "relations_by_type": dict(self.relations.most_common()),
            "discontinuous": self.discontinuous,
            "flat_entities": self.flat_entities,
            "not_carried_over": rows("dropped", on_purpose=False) + rows("left_out", on_purpose=True),
            "mended": rows("mended"),
        }

    def _remark(self, kind: str, reason: str, file: Union[str, Path], line: Optional[int], count: int) -> None:
        remark = self._remarks[kind].setdefault(reason, Remark(reason))
        remark.count += count
        name = self._name(Path(file))
        remark.examples.append(name if line is None else f"{name}:{line}")

    def _name(self, file: Path) -> str:
        name = file.name
        if self.root and file != self.root and file.is_relative_to(self.root):
            name = file.relative_to(self.root).as_posix()
        # Bytes of a name that are not UTF-8 cannot be printed.
        return name.encode("utf-8", "replace").decode("utf-8")
