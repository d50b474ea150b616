"""How commands meet a terminal: their settings, and how they end."""

import functools
import io
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import click
import typer

from .errors import ClinieError, ClinieWarning

SETTINGS: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    # Rich would draw boxes into log files, and its tracebacks show variables, which hold notes.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}
# Of a traceback, the last ones are shown.
_FRAMES = 6


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end with a message and status 1 instead of a traceback, which could quote a note.

    command (Callable[..., None]): The command.
    RETURNS (Callable[..., None]): The same, for the same arguments.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A type's name that the terminal cannot show must not end the job.
                stream.reconfigure(errors="backslashreplace")
        # Let a job that is told to end tidy up, as one that is interrupted does.
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number)) if _is_main() else None
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                # Ours count what is lost: each of them adds something, also where two are worded alike.
                warnings.simplefilter("always", ClinieWarning)
                command(*args, **kwargs)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except click.UsageError as error:  # of spaCy's, for settings of a config that are changed on the command line
            fail(error.format_message(), status=2)
        except ClinieError as error:
            fail(str(error))
        except OSError as error:
            problem, file = error.strerror or type(error).__name__, error.filename or "A file"
            fail(str(ClinieError("CIE500", problem=problem, file=file)))
        except Exception as error:
            # The message of an unforeseen error may quote what was being read; kind and place cannot.
            frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            places = "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
            fail(f"{ClinieError('CIE501', kind=type(error).__name__)}\n{places}")
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    return run


def _is_main() -> bool:
    """Whether this is the thread that signals can be handled in."""
    return threading.current_thread() is threading.main_thread()


def fail(message: str, status: int = 1) -> NoReturn:
    """End.

    message (str): What is printed.
    status (int): What the command ends with.
    """
    typer.echo(message, err=True)
    raise typer.Exit(status)


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    """Print our own warnings plainly. Others may quote a note, as spaCy's W030 does: kind, code and place must do."""
    if issubclass(category, ClinieWarning):
        typer.echo(str(message), err=True)
    else:
        code = re.match(r"\[[A-Z]+[0-9]+\]", str(message))
        typer.echo(f"{category.__name__} {code[0] if code else ''} at {filename}:{lineno}", err=True)
