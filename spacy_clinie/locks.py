"""File locks."""

from typing import IO, Any


def lock(file: IO[Any]) -> bool:
    """Lock a file for this process as long as it is open.

    file (IO[Any]): The open file.
    RETURNS (bool): False if another process has locked it. True also on systems without file locks.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
