"""Files that are written completely or not at all."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ClinieError
from .files import name_file_in_errors

# Suffix of the temporary files, which tells them from hidden files of the user.
_TEMPORARY = ".unfinished"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all: a temporary file replaces it at the end.

    path (Path): The file. Its folder is created.
    YIELDS (Path): The temporary file to write to.
    RAISES (ClinieError): CIE251 if the path exists and is not a file.
    RAISES (OSError): With the name of the file.
    """
    path = Path(os.path.realpath(path))  # `resolve` fails for symlink loops
    if path.exists() and not path.is_file():
        raise ClinieError("CIE251", path=path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    with name_file_in_errors(path, temporary):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of processes that were killed while writing."""
    if os.name != "posix":  # elsewhere there is no harmless test whether a process is alive
        return
    for file in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        number = file.name.removesuffix(_TEMPORARY).rpartition(".")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            file.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a valid number
        return True
    return True
