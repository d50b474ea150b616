"""What could not be read or annotated, listed in a file without any text."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from ..doc.concepts import UNANSWERED
from ..doc.report import Report
from ..errors import ClinieError, place_of
from ..formats.files import name_file_in_errors

_CODE = re.compile(r"\[([A-Z]+[0-9]+)\]")


class Failure(NamedTuple):
    """A note that could not be annotated.

    id (str): Its id.
    problem (str): The kind of error. What others say may quote the note, so nothing else is kept of their messages.
    code (Optional[str]): The code at the start of the message, if there is one.
    at (str): Where it was raised.
    told (str): Our own message, or code or kind, and place.
    """

    id: str
    problem: str
    code: Optional[str]
    at: str
    told: str

    @classmethod
    def of(cls, note_id: str, error: Exception) -> "Failure":
        """What may be told of an error.

        note_id (str): Id of the note that it came up with.
        error (Exception): The error.
        RETURNS (Failure): Its kind, code and place.
        """
        found = _CODE.match(str(error))
        kind, code, at = type(error).__name__, found[1] if found else None, place_of(error)
        told = str(error) if isinstance(error, ClinieError) else f"{code or kind} at {at}"
        return cls(note_id, kind, code, at, told)


class Failures(Report):
    """What could not be read (`drop`) or annotated (`fail`), each in a line of a file: at once, from `begin` on.
    `rejected` counts what a language model named and was not taken, by reason.

    path (Path): The file.
    root (Path): The input.
    """

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(root)
        self.path = path
        self.count = 0
        self.failed = 0  # notes that the pipeline failed for
        self.last = ""  # of the notes that failed
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

    def fail(self, failure: Failure) -> None:
        """List a note that the pipeline could not annotate.

        failure (Failure): The note, and why.
        """
        self.failed += 1
        self.last = failure.told
        self._list({"id": failure.id, "problem": failure.problem, "code": failure.code, "at": failure.at})

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
