"""What a reader hands on: a note, and where it stood."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from ..doc.note import Note


class SourcedNote(NamedTuple):
    """A note as read from a file.

    note (Note): The note, in the corpus' own types.
    file (Path): The file with its annotation.
    split (Optional[str]): `train`, `dev` or `test` where the layout of the files tells.
    lines (dict[str, int]): Line of each concept in the file, by concept id, where lines mean something.
    others (tuple[Path, ...]): Further files of the note, where they may lie in other folders.
    relations_at (Sequence[tuple[Path, int]]): File and line of each relation, where they have lines of their own.
    """

    note: Note
    file: Path
    split: Optional[str]
    lines: dict[str, int]
    others: tuple[Path, ...] = ()
    relations_at: Sequence[tuple[Path, int]] = ()
