"""Settings, error handling and exit status of commands."""

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
    # Rich would draw boxes in log files, and its tracebacks show variables, which contain notes.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}
# Number of frames of a traceback to show.
_FRAMES = 6


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command to end with a message and status 1 instead of a traceback, which could quote a note.

    command (Callable[..., None]): The command.
    RETURNS (Callable[..., None]): The decorated command.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Do not fail on the name of a type that the terminal cannot encode.
                stream.reconfigure(errors="backslashreplace")
        # On SIGTERM, clean up as after an interrupt.
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number)) if _is_main() else None
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                # Our warnings count losses, so show all of them, even with the same text.
                warnings.simplefilter("always", ClinieWarning)
                command(*args, **kwargs)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except click.UsageError as error:  # from spaCy, for config overrides
            fail(error.format_message(), status=2)
        except ClinieError as error:
            fail(str(error))
        except OSError as error:
            problem, file = error.strerror or type(error).__name__, error.filename or "A file"
            fail(str(ClinieError("CIE500", problem=problem, file=file)))
        except Exception as error:
            # The message of an unexpected error may quote a note; its type and place cannot.
            frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
            places = "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
            fail(f"{ClinieError('CIE501', kind=type(error).__name__)}\n{places}")
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    return run


def _is_main() -> bool:
    """Whether this is the main thread, which alone can handle signals."""
    return threading.current_thread() is threading.main_thread()


def fail(message: str, status: int = 1) -> NoReturn:
    """Print a message and exit.

    message (str): The message.
    status (int): The exit status.
    """
    typer.echo(message, err=True)
    raise typer.Exit(status)


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    """Print our own warnings. Others, such as spaCy's W030, may quote a note: print only their type, code and place."""
    if issubclass(category, ClinieWarning):
        typer.echo(str(message), err=True)
    else:
        code = re.match(r"\[[A-Z]+[0-9]+\]", str(message))
        typer.echo(f"{category.__name__} {code[0] if code else ''} at {filename}:{lineno}", err=True)
