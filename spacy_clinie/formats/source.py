"""The output of readers: a note and its location."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from ..doc.note import Note


class SourcedNote(NamedTuple):
    """A note that was read from a file.

    note (Note): The note, in the types of the corpus.
    file (Path): The file with its annotation.
    split (Optional[str]): `train`, `dev` or `test`, if file or folder names say so.
    lines (dict[str, int]): Line of each concept in the file by concept id, if the format has lines.
    other_files (tuple[Path, ...]): Other files of the note, possibly in other folders.
    relation_locations (Sequence[tuple[Path, int]]): File and line of each relation, if relations have their own lines.
    """

    note: Note
    file: Path
    split: Optional[str]
    lines: dict[str, int]
    other_files: tuple[Path, ...] = ()
    relation_locations: Sequence[tuple[Path, int]] = ()
