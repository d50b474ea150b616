"""What a conversion carried over, and everything that it did not, by reason, with file and line."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from .note import Note


@dataclass
class Remark:
    """One reason, how often it occurred, and where.

    reason (str): In plain words, without document text.
    count (int): How often.
    examples (list[str]): All places, as `file:line`.
    """

    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


class Report:
    """Counts of a conversion.

    Three kinds of remark: `leave_out` for what the corpus' definition leaves out on purpose (remark lines, types
    that the schema drops), `drop` for what should have been carried over and could not be, `mend` for what was
    carried over after a change (snapped, repaired). Only the last two are problems that `--strict` refuses.

    root (Optional[Union[str, Path]]): Folder of the corpus: files in it are named by their path from there, other files
        by their name alone.
    """

    def __init__(self, root: Optional[Union[str, Path]] = None) -> None:
        self.root = None if root is None else Path(root)
        self.documents = 0
        self.concepts: Counter[str] = Counter()
        self.relations: Counter[str] = Counter()
        self.discontinuous = 0
        self.flat_entities: Optional[int] = None  # how many of the concepts `doc.ents` can hold, once there are Docs
        self._remarks: dict[str, dict[str, Remark]] = {"left_out": {}, "dropped": {}, "mended": {}}

    def leave_out(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that is left out on purpose."""
        self._remark("left_out", reason, file, line, count)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that could not be carried over."""
        self._remark("dropped", reason, file, line, count)

    def mend(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        """Count something that was carried over after a change."""
        self._remark("mended", reason, file, line, count)

    def add(self, note: Note) -> None:
        """Count a note that was carried over."""
        self.documents += 1
        self.concepts.update(concept.label for concept in note.concepts)
        self.relations.update(relation.label for relation in note.relations)
        self.discontinuous += sum(bool(concept.fragments) for concept in note.concepts)

    @property
    def problems(self) -> int:
        """How often something was dropped or mended."""
        return sum(remark.count for kind in ("dropped", "mended") for remark in self._remarks[kind].values())

    def remarks(self, kind: str) -> list[Remark]:
        """The remarks of a kind, most frequent first.

        kind (str): `left_out`, `dropped` or `mended`.
        RETURNS (list[Remark]): Remarks.
        """
        return sorted(self._remarks[kind].values(), key=lambda remark: (-remark.count, remark.reason))

    def to_dict(self) -> dict[str, Any]:
        """The report as it is written beside a converted corpus.

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
