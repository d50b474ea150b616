"""A file that lists what could not be read or annotated, without any text of notes."""

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
    problem (str): The type of the error. Messages of other packages are not kept, because they may quote the note.
    code (Optional[str]): The code at the start of the message, if any.
    at (str): Where the error was raised.
    message (str): The message of a `ClinieError`; otherwise the code or the type, and `at`.
    """

    id: str
    problem: str
    code: Optional[str]
    at: str
    message: str

    @classmethod
    def from_error(cls, note_id: str, error: Exception) -> "Failure":
        """Describe the error of a note without quoting the note."""
        found = _CODE.match(str(error))
        kind, code, at = type(error).__name__, found[1] if found else None, place_of(error)
        message = str(error) if isinstance(error, ClinieError) else f"{code or kind} at {at}"
        return cls(note_id, kind, code, at, message)


class Failures(Report):
    """A report that also lists in a file what could not be read (`drop`) or annotated (`fail`), one line each. It is
    written from `begin` on. `rejected` counts rejected answers of a language model by reason.

    path (Path): The file.
    root (Path): The input.
    """

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(root)
        self.path = path
        self.count = 0
        self.failed = 0  # number of notes on which the pipeline failed
        self.last = ""  # message of the last failure
        self.rejected: Counter[str] = Counter()
        self._pending: Optional[list[dict[str, Any]]] = []

    @property
    def listed_in(self) -> Optional[Path]:
        """The file; None if it has no lines."""
        return self.path if self.count else None

    def begin(self) -> None:
        """Replace the file of an earlier job. Called once it is certain that this job can run."""
        self.path.unlink(missing_ok=True)
        pending, self._pending = self._pending or [], None
        for record in pending:
            self._write(record)

    def drop(self, reason: str, file: Union[str, Path], line: Optional[int] = None, count: int = 1) -> None:
        super().drop(reason, file, line, count)
        self._list({"file": str(file), "line": line, "problem": reason})

    def fail(self, failure: Failure) -> None:
        """List a note that the pipeline could not annotate."""
        self.failed += 1
        self.last = failure.message
        self._list({"id": failure.id, "problem": failure.problem, "code": failure.code, "at": failure.at})

    def reject(self, note_id: str, counts: Mapping[str, int]) -> None:
        """Count the rejected answers of a language model for an annotated note. List the note if questions are
        unanswered.

        note_id (str): Its id.
        counts (Mapping[str, int]): Numbers by reason, as in `doc.user_data["clinie_rejected"]`.
        """
        self.rejected.update(counts)
        if questions := counts.get(UNANSWERED, 0):
            super().drop("question to the model that is not answered", note_id, None, questions)
            self._list({"id": note_id, "problem": "questions not answered", "count": questions})

    def _list(self, record: dict[str, Any]) -> None:
        self.count += 1
        if self._pending is None:
            self._write(record)
        else:
            self._pending.append(record)

    def _write(self, record: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with name_file_in_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
