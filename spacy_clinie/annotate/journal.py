"""The journal of a job: what is done so far, in the folder OUTPUT.part beside the output.

    OUTPUT.part/journal.jsonl    first which pipeline annotates, then a line for each shard: its hash, and which notes
                                 are in it, by id and a hash of their texts
    OUTPUT.part/000001.spacy     a shard: the Docs of one batch, a DocBin with user data

A shard is written before its line. One without a line, or with another hash than its line tells, was not written to its
end: its notes are not done.
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
from .engine import Annotated
from .sources import Text

_JOURNAL = "journal.jsonl"
_SHARD = re.compile(r"([0-9]{6,})\.spacy")
# What is known of a note that is done, in as few bytes as a million of them need: a hash of its text, the number of its
# shard, and its place there.
_ENTRY = Struct(">16sII")
# Shards whose Docs are held while they are written out. Each job that went on with an input in the same order added to
# what is done in that order, so a few are enough.
_HELD = 4


class Journal:
    """What is done so far. A note is done if one with its id and its text is: the input may change between two jobs.

    target (Path): The output.
    pipeline (str): Fingerprint of the pipeline. What another one did is thrown away, with a warning.
    RAISES (ClinieError): CIE441 if another job writes to the target; CIE444 if one of another kind has begun to; CIE455
        if OUTPUT.part is something else.
    """

    def __init__(self, target: Path, pipeline: str) -> None:
        self.folder = part_folder(target)
        self.attrs: set[int] = set()  # of tokens, in any shard
        self.lost: Counter[str] = Counter()  # what could not be stored, by name and kind
        self._done: dict[str, bytes] = {}  # entries by the ids of notes
        self._rejected: dict[str, dict[str, int]] = {}  # of a language model's answers, by the ids of notes
        self._shards = 0
        self._is_ours = False
        if others_in(self.folder):
            raise ClinieError("CIE455", part=self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _JOURNAL
        try:
            self._file = path.open("a+b")
        except FileNotFoundError:  # another job has ended since
            raise ClinieError("CIE441", part=self.folder.name) from None
        try:
            # Another job may have removed the file between opening and locking.
            if not lock(self._file) or not _is_at(self._file, path):
                raise ClinieError("CIE441", part=self.folder.name)
            if path.stat().st_size or any(self.folder.glob("*.spacy")):
                self._take_up(target, pipeline)
            else:
                self._write({"pipeline": pipeline})
        except BaseException:
            self._file.close()
            raise
        self._is_ours = True

    def __len__(self) -> int:
        return len(self._done)

    def holds(self, text: Text) -> bool:
        """Whether a note is done, with this text.

        text (Text): The note.
        RETURNS (bool): Whether it is.
        """
        return self._done.get(text.id, b"")[:16] == _hash(text.text)

    def rejected(self, note_id: str) -> dict[str, int]:
        """What was not taken of a language model's answers about a note that is done.

        note_id (str): Its id.
        RETURNS (dict[str, int]): How often, by reason.
        """
        return self._rejected.get(note_id, {})

    def add(self, batch: Annotated) -> None:
        """Hand annotated notes to the operating system, where the end of this process cannot harm them.

        batch (Annotated): The notes.
        RAISES (OSError): With the name of the file that cannot be written.
        """
        if not batch.texts:
            return
        shard = self._shard(self._shards + 1)
        try:
            with name_file_in_errors(shard), shard.open("xb") as file:
                file.write(batch.docs)
        except FileExistsError:  # of another job, where files cannot be locked
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
        self._enter(record)

    def docs(self, order: Iterable[str], make_vocab: Callable[[], Vocab]) -> Iterator[Doc]:
        """The Docs of notes that are done.

        order (Iterable[str]): Their ids.
        make_vocab (Callable[[], Vocab]): Makes a vocabulary for the Docs of a shard.
        YIELDS (Doc): The Docs in that order.
        RAISES (ClinieError): CIE441 if a shard does not hold what was written to it.
        """
        held: dict[int, list[Doc]] = {}
        for note_id in order:
            _, number, place = _ENTRY.unpack(self._done[note_id])
            try:
                docs = held.pop(number, None) or list(docbin.unpack(self._shard(number).read_bytes(), make_vocab()))
                held[number] = docs  # the last one used is the last one
                if len(held) > _HELD:
                    del held[next(iter(held))]
                doc = docs[place]
                if doc.user_data[ID_KEY] != note_id:
                    raise ValueError
            except Exception:  # damaged data can raise anything
                raise ClinieError("CIE441", part=self.folder.name) from None
            yield doc

    def close(self) -> None:
        """Let other jobs write. Nothing stays of a job that has done nothing."""
        if self._is_ours and not self._done:
            self.remove()
        with suppress(OSError):  # what is not written by now was told of
            self._file.close()

    def remove(self) -> None:
        """Remove the folder, where possible before other jobs can take it up."""
        self._is_ours = False
        self._file.truncate(0)  # or a job that is killed from here on would leave a journal of shards that are gone
        self._keep_shards(set())
        if os.name != "posix":  # what is open cannot be removed
            self._file.close()
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        self._file.close()
        with suppress(OSError):  # the next job has begun, or a file manager has left its own file there
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

    def _take_up(self, target: Path, pipeline: str) -> None:
        """Go on from what an earlier job left."""
        if self._recover(pipeline):
            return
        if holds_files(target):
            raise ClinieError("CIE444", target=target)
        warn("CIE435", part=self.folder.name)
        self._file.truncate(0)
        self._keep_shards(set())
        self._write({"pipeline": pipeline})

    def _recover(self, pipeline: str) -> bool:
        """Learn what is done, and cut off what was not written to its end.

        RETURNS (bool): False if another pipeline did it, or nothing tells which.
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
                if self._is_whole(number, record["hash"]):
                    self._enter(record)
                    kept.add(number)
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            good = self._file.tell()
        self._file.truncate(good)
        self._keep_shards(kept)
        return True

    def _is_whole(self, number: int, expected: str) -> bool:
        try:
            return _hash(self._shard(number).read_bytes()).hex() == expected
        except OSError:
            return False

    def _enter(self, record: dict[str, Any]) -> None:
        number = int(record["shard"])
        done = {
            str(note_id): _ENTRY.pack(bytes.fromhex(hashed), number, place)
            for place, (note_id, hashed) in enumerate(record["notes"])
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
    """Where a job keeps what is done.

    target (Path): The output.
    RETURNS (Path): The folder.
    """
    return target.with_name(target.name + ".part")


def check_free(target: Path) -> None:
    """Refuse a target of another job, or that holds files which no job has begun to write.

    target (Path): The output.
    RAISES (ClinieError): CIE441 for the one, CIE444 for the other.
    """
    journal = part_folder(target) / _JOURNAL
    with suppress(OSError), journal.open("rb") as file:
        if not lock(file):
            raise ClinieError("CIE441", part=journal.parent.name)
    if holds_files(target) and not journal.exists():
        raise ClinieError("CIE444", target=target)


def holds_files(target: Path) -> bool:
    """Whether a target is a folder with something in it.

    target (Path): The output.
    RETURNS (bool): False for a file, and for a folder with hidden files alone.
    """
    return target.is_dir() and any(not file.name.startswith(".") for file in target.iterdir())


def others_in(folder: Path) -> bool:
    """Whether there is something at the place of OUTPUT.part that no job has put there.

    folder (Path): The place.
    RETURNS (bool): True for a file, and for a folder that holds other files. Hidden ones do not count.
    """
    if not folder.is_dir():
        return folder.exists()
    names = (file.name for file in folder.iterdir())
    return any(not (name.startswith(".") or name == _JOURNAL or _SHARD.fullmatch(name)) for name in names)


def _hash(content: "str | bytes") -> bytes:
    data = content.encode("utf-8") if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=16).digest()


def _read(line: bytes) -> Any:
    """What stands in a line of the journal; None if it was not written to its end."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still what stands at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False
