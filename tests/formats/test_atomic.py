import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import jsonl
from spacy_clinie.formats.atomic import atomic_write
from spacy_clinie.formats.files import write_text
from tests.conftest import SmallDisk


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "out.jsonl"
    with atomic_write(file) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(file) as temporary:
        temporary.write_text("ne")
        raise RuntimeError
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("write", [write_text, lambda path, text: jsonl.write([Note("a", text)], path)])
def test_a_file_that_the_disk_has_no_room_for_is_named(
    tmp_path: Path, small_disk: SmallDisk, write: Callable[[Path, str], None]
) -> None:
    with small_disk(1000), pytest.raises(OSError, match="too large") as caught:
        write(tmp_path / "full.jsonl", "x" * 2000)
    assert caught.value.filename == str(tmp_path / "full.jsonl")


def test_a_file_that_cannot_be_begun_is_named(tmp_path: Path) -> None:
    name = "x" * 250  # together with what is added while it is written, too long
    with pytest.raises(OSError, match="too long") as caught, atomic_write(tmp_path / name) as temporary:
        temporary.write_text("")
    assert caught.value.filename == str(tmp_path / name)


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE251"), atomic_write(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing tells whether a process lives")
def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = int(done.stdout)
    end = ".unfinished"
    names = [f".a.jsonl.{dead}{end}", f".a.jsonl.{os.getppid()}{end}", f".a.jsonl.x{end}", f".b.jsonl.{dead}{end}"]
    names += [f".a.jsonl.{dead}", f".a.jsonl.20240101120000{end}"]  # a copy of the user's, the number of no process
    for name in names:
        (tmp_path / name).touch()
    with atomic_write(tmp_path / "a.jsonl") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "a.jsonl"])
