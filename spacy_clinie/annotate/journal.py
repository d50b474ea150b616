"""What a job of annotation keeps on disk: what is done so far, and what could not be done."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Optional, Union

from ..doc.concepts import REJECTED_KEY, UNANSWERED
from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError, place_of, warn
from ..formats.atomic import atomic_write
from ..formats.files import name_file_in_errors
from ..locks import lock

_CODE = re.compile(r"\[([A-Z]+[0-9]+)\]")


class Failures(Report):
    """What could not be read (`drop`) or annotated (`fail`), each in a line of a file, without any text: at once, from
    `begin` on. `rejected` counts what a language model named and was not taken, by reason.

    path (Path): The file.
    root (Path): The input.
    """

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(root)
        self.path = path
        self.count = 0
        self.last = ""  # kind and place of the last error of the pipeline
        self.rejected: Counter[str] = Counter()
        self._held: Optional[list[dict[str, Any]]] = []

    @property
    def listed_in(self) -> Optional[Path]:
        """The file, if there is something in it."""
        return self.path if self.count else None

    def begin(self) -> None:
        """Put the file in the place of one that an earlier job left: not before it is clear that there is a job."""
        self.path.unlink(missing_ok=True)
        held, self._held = self._held or [], None
        for record in held:
            self._write(record)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        super().drop(reason, file, line, count)
        self._list({"file": str(file), "line": line, "problem": reason})

    def fail(self, note_id: str, error: Exception) -> None:
        """List a note that the pipeline could not annotate.

        note_id (str): Its id.
        error (Exception): Why. Its message may quote the note, so only its kind, its code and its place are kept.
        """
        code = _CODE.match(str(error))
        self.last = f"{code[1] if code else type(error).__name__} at {place_of(error)}"
        self._list(
            {
                "id": note_id,
                "problem": type(error).__name__,
                "code": code[1] if code else None,
                "at": place_of(error),
            }
        )

    def reject(self, note_id: str, counts: Mapping[str, int]) -> None:
        """Count what was not taken of a language model's answers about a note that is annotated; list the note if it
        did not answer all questions.

        note_id (str): Its id.
        counts (Mapping[str, int]): How often, by reason, as in `doc.user_data["clinie_rejected"]`.
        """
        self.rejected.update(counts)
        if questions := counts.get(UNANSWERED, 0):
            super().drop("question to the model that is not answered", note_id, None, questions)
            self._list({"id": note_id, "problem": "questions not answered", "count": questions})

    def _list(self, record: dict[str, Any]) -> None:
        self.count += 1
        if self._held is None:
            self._write(record)
        else:
            self._held.append(record)

    def _write(self, record: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_file_in_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Part:
    """What is done so far, in OUTPUT.part, and which pipeline made it, in OUTPUT.part.json. A note is done if one with
    its id and its text is: the input may change between two jobs.

    target (Path): The output.
    pipeline (str): Fingerprint of the pipeline. A part that was made with another is thrown away, with a warning.
    RAISES (ClinieError): CIE441 if another job writes to the target; CIE444 if one of another kind has begun to.
    """

    def __init__(self, target: Path, pipeline: str) -> None:
        self.path = part_path(target)
        self.header = target.with_name(target.name + ".part.json")
        self._done: dict[str, bytes] = {}  # hashes of texts, by the ids of notes
        self._rejected: dict[str, dict[str, int]] = {}  # of a language model's answers, by the id of the note
        self.path.parent.mkdir(parents=True, exist_ok=True)
        was_there = self.path.exists()
        self._file = self.path.open("a+b")
        try:
            # Another job may have removed the file between opening and locking.
            if not lock(self._file) or not _is_at(self._file, self.path):
                raise ClinieError("CIE441", part=self.path.name)
            if was_there:
                self._take_up(target, pipeline)
        except BaseException:
            self.close()
            raise
        with atomic_write(self.header) as temporary:
            temporary.write_text(json.dumps({"pipeline": pipeline}, indent=2), encoding="utf-8")

    def __contains__(self, note_id: str) -> bool:
        return note_id in self._done

    def __len__(self) -> int:
        return len(self._done)

    def holds(self, note: Note) -> bool:
        """Whether a note is done. One whose text is another than that was done under its id is not any more.

        note (Note): The note.
        RETURNS (bool): Whether it is.
        """
        if self._done.get(note.id) == _hash(note.text):
            return True
        self._done.pop(note.id, None)
        return False

    def rejected(self, note: Note) -> dict[str, int]:
        """What an earlier job did not take of a language model's answers about a note that it did.

        note (Note): The note.
        RETURNS (dict[str, int]): How often, by reason.
        """
        return self._rejected.get(note.id, {})

    def append(self, notes: Iterable[Note], lines: dict[str, str]) -> None:
        """Add annotated notes and hand them to the operating system, where the end of this process cannot harm them.

        notes (Iterable[Note]): The notes; those without a line could not be annotated.
        lines (dict[str, str]): A line for each note, by its id.
        """
        with name_file_in_errors(self.path):
            self._file.write("".join(f"{line}\n" for line in lines.values()).encode("ascii"))
            self._file.flush()
        self._done |= {note.id: _hash(note.text) for note in notes if note.id in lines}

    def notes(self, order: Iterable[str]) -> Iterator[Note]:
        """Everything that is done.

        order (Iterable[str]): Ids in the order of the input: those that failed in an earlier job stand behind others in
            the file, and so do those whose texts were others then.
        YIELDS (Note): Notes in that order, each once, also if another job wrote it too where files cannot be locked.
        RAISES (ClinieError): CIE441 if the file does not hold each of them.
        """
        places: dict[str, int] = {}
        try:
            with self.path.open("rb") as file:
                at = 0
                for line in file:
                    places[json.loads(line)["id"]] = at
                    at += len(line)
                for note_id in order:
                    if note_id in self:
                        file.seek(places[note_id])
                        yield Note.from_dict(json.loads(file.readline()))
        except (OSError, ValueError, KeyError, TypeError):
            raise ClinieError("CIE441", part=self.path.name) from None

    def remove(self) -> None:
        """Remove both files, where possible before other jobs can take them up."""
        if os.name == "posix":
            self._unlink()
            self.close()
        else:  # what is open cannot be removed
            self.close()
            self._unlink()

    def _unlink(self) -> None:
        # In this order: once the part file is gone, another job may begin with a header of its own.
        self.header.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other jobs write."""
        with suppress(OSError):  # what is not written by now was told of
            self._file.close()

    def _take_up(self, target: Path, pipeline: str) -> None:
        """Go on from what an earlier job left."""
        changed = self._pipeline() != pipeline
        if changed and holds_files(target):
            raise ClinieError("CIE444", target=target)
        if changed:
            warn("CIE435", part=self.path.name)
            self._file.truncate(0)
        else:
            self._recover()

    def _pipeline(self) -> Optional[str]:
        """The fingerprint of the pipeline that an earlier job used, if that can be known."""
        try:
            return str(json.loads(self.header.read_text(encoding="utf-8"))["pipeline"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _recover(self) -> None:
        """Learn what is done, and cut off a last line that was not written to its end."""
        good = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                rejected = {name: int(value) for name, value in record.get(REJECTED_KEY, {}).items()}
                self._done[record["id"]], self._rejected[record["id"]] = _hash(record["text"]), rejected
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            good += len(line)
        self._file.truncate(good)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still what stands at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def is_written(target: Path) -> bool:
    """Whether another job writes to a target.

    target (Path): The output.
    RETURNS (bool): False also where files cannot be locked.
    """
    try:
        with part_path(target).open("rb") as file:
            return not lock(file)
    except OSError:
        return False


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
