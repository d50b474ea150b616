"""Files that one process has for itself."""

from typing import IO, Any


def lock(file: IO[Any]) -> bool:
    """Take a file for this process alone, for as long as it is open.

    file (IO[Any]): The open file.
    RETURNS (bool): False if another process has it; True also where files cannot be locked.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True
