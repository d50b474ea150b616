"""Errors and warnings with a code of `messages.MESSAGES`."""

import traceback
import warnings
from pathlib import Path
from typing import Any

from .messages import MESSAGES


class ClinieError(ValueError):
    """An error with a code of `MESSAGES`.

    code (str): The code, also the start of the message.
    **facts (Any): Values for the placeholders. Never document text.
    """

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(f"[{code}] {MESSAGES[code].format(**facts)}")
        self.code = code
        self.facts = facts

    def __reduce__(self) -> tuple:
        # Without this, the error cannot be unpickled, because its constructor does not take the message, and a worker
        # process would die silently.
        return _rebuild, (self.code, self.facts)


class ClinieWarning(UserWarning):
    """A warning with a code of `MESSAGES`."""


def _rebuild(code: str, facts: dict[str, Any]) -> ClinieError:
    return ClinieError(code, **facts)


def warn(code: str, **facts: Any) -> None:
    """Warn with a code of `MESSAGES`.

    code (str): The code.
    **facts (Any): Values for the placeholders. Never document text.
    """
    warnings.warn(f"[{code}] {MESSAGES[code].format(**facts)}", ClinieWarning, stacklevel=2)


def place_of(error: BaseException) -> str:
    """Where an error was raised: all that may be shown of an error whose message could quote a note.

    error (BaseException): The error.
    RETURNS (str): File and line.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
