"""The journal of a job: the notes done so far, in the folder OUTPUT.part next to the output.

    OUTPUT.part/journal.jsonl    a line with the pipeline, then a line for each shard: its hash, and the ids of its
                                 notes with hashes of their texts
    OUTPUT.part/000001.spacy     a shard: the Docs of one batch, a DocBin with user data

A shard is written before its line. If its line is missing or has another hash, the shard is incomplete, and its notes
are not done.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import IO, Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..doc.concepts import ID_KEY
from ..errors import ClinieError, warn
from ..formats import docbin
from ..formats.files import name_file_in_errors
from ..locks import lock
from .engine import AnnotatedBatch
from .sources import Text

_JOURNAL = "journal.jsonl"
_SHARD = re.compile(r"([0-9]{6,})\.spacy")
# The entry of a note: hash of its text, number of its shard, position in the shard. Packed, as there may be millions.
_ENTRY = Struct(">16sII")
# Shards to keep in memory while the output is written. Notes are mostly in the order of the input, so a few are enough.
_CACHED = 4


class Journal:
    """The notes done so far. A note counts as done only with the same text, since the input may change between jobs.

    target (Path): The output.
    pipeline (str): Fingerprint of the pipeline. Notes that another pipeline annotated are discarded with a warning.
    RAISES (ClinieError): CIE441 if another job writes to the target; CIE444 if another pipeline has begun to write to
        the target; CIE455 if OUTPUT.part has other files.
    """

    def __init__(self, target: Path, pipeline: str) -> None:
        self.folder = part_folder(target)
        self.attrs: set[int] = set()  # token attributes of all shards
        self.lost: Counter[str] = Counter()  # values that could not be stored, by name and type
        self._done: dict[str, bytes] = {}  # entries by note id
        self._rejected: dict[str, dict[str, int]] = {}  # rejected answers by note id and reason
        self._shards = 0
        self._is_open = False
        if has_other_files(self.folder):
            raise ClinieError("CIE455", part=self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _JOURNAL
        try:
            self._file = path.open("a+b")
        except FileNotFoundError:  # another job has ended since
            raise ClinieError("CIE441", part=self.folder.name) from None
        try:
            # Another job may have removed the file before it was locked here.
            if not lock(self._file) or not _is_same_file(self._file, path):
                raise ClinieError("CIE441", part=self.folder.name)
            if path.stat().st_size or any(self.folder.glob("*.spacy")):
                self._resume(target, pipeline)
            else:
                self._write({"pipeline": pipeline})
        except BaseException:
            self._file.close()
            raise
        self._is_open = True

    def __len__(self) -> int:
        return len(self._done)

    def holds(self, text: Text) -> bool:
        """Whether a note is done with this text."""
        return self._done.get(text.id, b"")[:16] == _hash(text.text)

    def rejected(self, note_id: str) -> dict[str, int]:
        """The numbers of rejected answers for a note, by reason."""
        return self._rejected.get(note_id, {})

    def add(self, batch: AnnotatedBatch) -> None:
        """Save annotated notes. After that, they survive the end of this process.

        batch (AnnotatedBatch): The notes.
        RAISES (OSError): With the name of the file that cannot be written.
        """
        if not batch.texts:
            return
        shard = self._shard(self._shards + 1)
        try:
            with name_file_in_errors(shard), shard.open("xb") as file:
                file.write(batch.docs)
        except FileExistsError:  # made by another job, on a file system without locks
            raise ClinieError("CIE441", part=self.folder.name) from None
        except OSError:
            shard.unlink(missing_ok=True)  # the disk may be full
            raise
        record = {
            "shard": self._shards + 1,
            "hash": _hash(batch.docs).hex(),
            "attrs": batch.attrs,
            "lost": batch.lost,
            "rejected": batch.rejected,
            "notes": [[text.id, _hash(text.text).hex()] for text in batch.texts],
        }
        self._write(record)
        self._register(record)

    def docs(self, order: Iterable[str], make_vocab: Callable[[], Vocab]) -> Iterator[Doc]:
        """Read the Docs of notes that are done.

        order (Iterable[str]): Their ids.
        make_vocab (Callable[[], Vocab]): Makes a vocabulary for the Docs of a shard.
        YIELDS (Doc): The Docs in that order.
        RAISES (ClinieError): CIE441 if a shard has been changed.
        """
        cached: dict[int, list[Doc]] = {}
        for note_id in order:
            _, number, position = _ENTRY.unpack(self._done[note_id])
            try:
                docs = cached.pop(number, None) or list(docbin.unpack(self._shard(number).read_bytes(), make_vocab()))
                cached[number] = docs  # at the end, so that the least recently used one is first
                if len(cached) > _CACHED:
                    del cached[next(iter(cached))]
                doc = docs[position]
                if doc.user_data[ID_KEY] != note_id:
                    raise ValueError
            except Exception:  # damaged data can raise anything
                raise ClinieError("CIE441", part=self.folder.name) from None
            yield doc

    def close(self) -> None:
        """Release the lock. Remove the folder of a job that has done nothing."""
        if self._is_open and not self._done:
            self.remove()
        with suppress(OSError):  # an error of writing has been raised before
            self._file.close()

    def remove(self) -> None:
        """Remove the folder, if possible before other jobs can resume it."""
        self._is_open = False
        self._file.truncate(0)  # first, since a killed job must not leave a journal of removed shards
        self._keep_shards(set())
        if os.name != "posix":  # Windows cannot remove open files
            self._file.close()
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        self._file.close()
        with suppress(OSError):  # the next job has begun, or the folder has a hidden file
            self.folder.rmdir()

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:06}.spacy"

    def _keep_shards(self, numbers: set[int]) -> None:
        for file in self.folder.iterdir():
            if (found := _SHARD.fullmatch(file.name)) and int(found[1]) not in numbers:
                file.unlink(missing_ok=True)

    def _write(self, record: dict[str, Any]) -> None:
        with name_file_in_errors(self.folder / _JOURNAL):
            self._file.write(json.dumps(record).encode("ascii") + b"\n")
            self._file.flush()

    def _resume(self, target: Path, pipeline: str) -> None:
        """Continue the journal of an earlier job, or start anew with a warning."""
        if self._recover(pipeline):
            return
        if holds_files(target):
            raise ClinieError("CIE444", target=target)
        warn("CIE435", part=self.folder.name)
        self._file.truncate(0)
        self._keep_shards(set())
        self._write({"pipeline": pipeline})

    def _recover(self, pipeline: str) -> bool:
        """Read which notes are done, and remove incomplete lines and shards.

        RETURNS (bool): False if another pipeline annotated them, or it is not known which.
        """
        self._file.seek(0)
        if _read(self._file.readline()) != {"pipeline": pipeline}:
            return False
        good = self._file.tell()
        kept = set()
        for line in iter(self._file.readline, b""):
            record = _read(line)
            try:
                number = int(record["shard"])
                self._shards = max(self._shards, number)
                if self._is_complete(number, record["hash"]):
                    self._register(record)
                    kept.add(number)
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            good = self._file.tell()
        self._file.truncate(good)
        self._keep_shards(kept)
        return True

    def _is_complete(self, number: int, expected: str) -> bool:
        try:
            return _hash(self._shard(number).read_bytes()).hex() == expected
        except OSError:
            return False

    def _register(self, record: dict[str, Any]) -> None:
        number = int(record["shard"])
        done = {
            str(note_id): _ENTRY.pack(bytes.fromhex(hashed), number, position)
            for position, (note_id, hashed) in enumerate(record["notes"])
        }
        rejected = {str(note_id): dict(counts) for note_id, counts in record["rejected"].items()}
        attrs, lost = set(record["attrs"]), Counter(record["lost"])
        self._done |= done
        for note_id in done:
            self._rejected.pop(note_id, None)
        self._rejected |= rejected
        self.attrs |= attrs
        self.lost += lost
        self._shards = max(self._shards, number)


def part_folder(target: Path) -> Path:
    """The folder of the journal for an output."""
    return target.with_name(target.name + ".part")


def check_free(target: Path) -> None:
    """Check that an output is free.

    target (Path): The output.
    RAISES (ClinieError): CIE441 if another job writes to it, CIE444 if it is a folder with files of no interrupted job.
    """
    journal = part_folder(target) / _JOURNAL
    with suppress(OSError), journal.open("rb") as file:
        if not lock(file):
            raise ClinieError("CIE441", part=journal.parent.name)
    if holds_files(target) and not journal.exists():
        raise ClinieError("CIE444", target=target)


def holds_files(target: Path) -> bool:
    """Whether a target is a folder with files in it. Hidden files do not count."""
    return target.is_dir() and any(not file.name.startswith(".") for file in target.iterdir())


def has_other_files(folder: Path) -> bool:
    """Whether a path is a file, or a folder with other files than those of a journal. Hidden files do not count."""
    if not folder.is_dir():
        return folder.exists()
    names = (file.name for file in folder.iterdir())
    return any(not (name.startswith(".") or name == _JOURNAL or _SHARD.fullmatch(name)) for name in names)


def _hash(content: "str | bytes") -> bytes:
    data = content.encode("utf-8") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=16).digest()


def _read(line: bytes) -> Any:
    """The content of a line of the journal; None if it is incomplete."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _is_same_file(file: IO[Any], path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
