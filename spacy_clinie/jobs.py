"""What a job of annotation keeps on disk: what is done so far, and what could not be done."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

from .corpora.bundle import replacing
from .corpora.report import Report
from .errors import ClinieError, place_of, warn
from .notes import Note

_CODE = re.compile(r"\[([A-Z]+[0-9]+)\]")


class Failures(Report):
    """What could not be read (`drop`) or annotated (`fail`), each at once in a line of a file, without any text.

    path (Path): The file; one that an earlier job left is removed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.count = 0
        path.unlink(missing_ok=True)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        super().drop(reason, file, line, count)
        self._list({"file": str(file), "line": line, "problem": reason})

    def fail(self, note_id: str, error: Exception) -> None:
        """List a note that the pipeline could not annotate.

        note_id (str): Its id.
        error (Exception): Why. Its message may quote the note, so only its kind, its code and its place are kept.
        """
        code = _CODE.match(str(error))
        self._list(
            {
                "id": note_id,
                "problem": type(error).__name__,
                "code": code[1] if code else None,
                "at": place_of(error),
            }
        )

    def _list(self, record: dict[str, Any]) -> None:
        self.count += 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Part:
    """What is done so far, in OUTPUT.part, and what it was made with, in OUTPUT.part.json.

    target (Path): The output.
    made_with (dict[str, str]): Fingerprints. A part that was made with others is thrown away, with a warning.
    RAISES (ClinieError): CIE444 if another job has begun to write to the target.
    """

    def __init__(self, target: Path, made_with: dict[str, str]) -> None:
        self.path = part_path(target)
        self.header = target.with_name(target.name + ".part.json")
        self.done: set[str] = set()
        if self.path.exists():
            changed = self._differs(made_with)
            if changed and holds_files(target):
                raise ClinieError("CIE444", target=target)
            if changed:
                warn("CIE435", part=self.path.name, changed=" and ".join(changed))
                self.path.unlink()
            else:
                self._recover()
        with replacing(self.header) as temporary:
            temporary.write_text(json.dumps(made_with, indent=2), encoding="utf-8")

    def append(self, lines: dict[str, str]) -> None:
        """Add annotated notes and hand them to the operating system, where the end of this process cannot harm them.

        lines (dict[str, str]): A line for each note, by its id.
        """
        with self.path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines.values()).encode("ascii"))
        self.done.update(lines)

    def notes(self) -> Iterator[Note]:
        """Everything that is done, in order.

        YIELDS (Note): Notes.
        RAISES (ClinieError): CIE441 if the file does not hold each of them once, as when two jobs write to it.
        """
        left = set(self.done)
        try:
            with self.path.open("rb") as file:
                for line in file:
                    note = Note.from_dict(json.loads(line))
                    left.remove(note.id)
                    yield note
        except (OSError, ValueError, KeyError):
            raise ClinieError("CIE441", part=self.path.name) from None
        if left:
            raise ClinieError("CIE441", part=self.path.name)

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.header.unlink()

    def _differs(self, made_with: dict[str, str]) -> list[str]:
        try:
            before = json.loads(self.header.read_text(encoding="utf-8"))
            return [name for name, mark in made_with.items() if before[name] != mark]
        except (OSError, ValueError, KeyError, TypeError):
            return list(made_with)

    def _recover(self) -> None:
        """Learn what is done, and cut off a last line that was not written to its end."""
        good = 0
        with self.path.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    self.done.add(json.loads(line)["id"])
                except (ValueError, KeyError, TypeError):
                    break
                good += len(line)
            file.truncate(good)


def part_path(target: Path) -> Path:
    """Where a job keeps what is done.

    target (Path): The output.
    RETURNS (Path): The file.
    """
    return target.with_name(target.name + ".part")


def holds_files(target: Path) -> bool:
    """Whether a target is a folder with something in it.

    target (Path): The output.
    RETURNS (bool): False for a file, and for a folder with hidden files alone.
    """
    return target.is_dir() and any(not file.name.startswith(".") for file in target.iterdir())
