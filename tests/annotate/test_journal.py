"""Jobs that are interrupted, killed, started twice, or out of disk space lose no notes and repeat no work."""

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie.annotate import journal
from spacy_clinie.annotate.engine import AnnotatedBatch, Engine
from spacy_clinie.annotate.journal import Journal
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.annotate.sinks import Sink
from spacy_clinie.annotate.sources import Text
from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat
from tests.annotate.helpers import (
    TEXT,
    add_pattern,
    interrupted,
    leftovers,
    make_pipeline,
    read_lines,
    watch_engine,
    write_lines,
)
from tests.conftest import SmallDisk


def test_job_interrupted_while_writing_a_folder_is_resumed(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out"

    def broken(notes: Iterable[Note], path: Path) -> None:
        write([next(iter(notes))], path)
        raise KeyboardInterrupt

    write = brat.write
    with monkeypatch.context() as patch:
        patch.setattr(brat, "write", broken)
        with pytest.raises(KeyboardInterrupt):
            annotate(pipeline, source, target)
    assert sorted(file.name for file in target.iterdir()) == ["a.ann", "a.txt"]
    for texts in ({"c": TEXT}, {"a": TEXT}, {"a": TEXT, "b": "Aspirin."}):
        with pytest.raises(ClinieError, match="CIE444"):
            annotate(pipeline, write_lines(tmp_path / "other.jsonl", texts), target)
    assert annotate(pipeline, source, target).resumed == 2
    assert sorted(file.name for file in target.iterdir()) == ["a.ann", "a.txt", "b.ann", "b.txt"]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", ["label", "disk"])
def test_journal_is_kept_if_the_output_cannot_be_written(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """With an undeclared type, or a full disk. The message says how to save the finished notes."""
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if error == "label":
            add_pattern(pipeline, "Some Sign", "fever")
            patch.setattr(Sink, "check_types", lambda *_: None)
        else:
            patch.setattr(brat, "write", full)
        expected = {"label": "CIE206.*'C3'", "disk": "No space left on device"}[error]
        with pytest.raises(ClinieError, match=rf"CIE443.*{expected}.*rename .*out\.part to other\.jsonl\.part"):
            annotate(pipeline, source, tmp_path / "out")
    (tmp_path / "out.part").rename(tmp_path / "other.jsonl.part")
    assert annotate(pipeline, source, tmp_path / "other.jsonl").resumed == 1
    (note,) = read_lines(tmp_path / "other.jsonl")
    assert len(note["concepts"]) == (3 if error == "label" else 2)


def run_until(count: int, pipeline: Path, source: Path, target: Path) -> None:
    """Run a job in a process of its own and kill it once so many shards are written."""
    code = (
        "import sys, time\n"
        "from tests.annotate.helpers import Dropper\n"
        "from spacy_clinie.annotate.runner import annotate\n"
        "Dropper.pipe = lambda self, stream, **_: (time.sleep(0.03) or doc for doc in stream)\n"
        "annotate(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=2)"
    )
    command = [sys.executable, "-c", code, str(pipeline), str(source), str(target)]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = target.with_name(f"{target.name}.part") / "journal.jsonl"
    until = time.monotonic() + 120
    while not (part.exists() and part.read_bytes().count(b"\n") > count):
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()


def tear_line(part: Path) -> None:
    """The last line of the journal is incomplete."""
    content = (part / "journal.jsonl").read_bytes()
    (part / "journal.jsonl").write_bytes(content[:-20])


def tear_end(part: Path) -> None:
    content = (part / "journal.jsonl").read_bytes()
    (part / "journal.jsonl").write_bytes(content[:-1])


def add_line(part: Path) -> None:
    with (part / "journal.jsonl").open("ab") as file:
        file.write(b'{"shard": 99, "hash": "cut of')


def tear_shard(part: Path) -> None:
    shard = max(part.glob("*.spacy"))
    shard.write_bytes(shard.read_bytes()[:-9])


def empty_shard(part: Path) -> None:
    """As after a power failure."""
    shard = min(part.glob("*.spacy"))
    shard.write_bytes(bytes(shard.stat().st_size))


def remove_shard(part: Path) -> None:
    min(part.glob("*.spacy")).unlink()


def leave_shard(part: Path) -> None:
    """A shard that the journal does not know yet."""
    (part / "000999.spacy").write_bytes(b"half")


HARM = [tear_line, tear_end, add_line, tear_shard, empty_shard, remove_shard, leave_shard]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline, notes, the output of a complete job, and the files of a killed one."""
    folder = tmp_path_factory.mktemp("killed")
    pipeline = make_pipeline(folder)
    texts = {f"n{i}": f"{TEXT} Visit {i}." if i % 7 else "EXPLODE" for i in range(60)}
    source = write_lines(folder / "in.jsonl", texts)
    with pytest.warns(ClinieWarning, match="CIE436"):
        annotate(pipeline, source, folder / "whole.jsonl")
    run_until(10, pipeline, source, folder / "out.jsonl")
    assert not (folder / "out.jsonl").exists()
    return folder


@pytest.mark.parametrize("harm", HARM)
def test_killed_job_is_resumed(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    part, target = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl"
    part.mkdir()
    for file in (killed / "out.jsonl.part").iterdir():
        (part / file.name).write_bytes(file.read_bytes())
    harm(part)
    again = watch_engine(monkeypatch)
    interrupted(killed / "pipeline", killed / "in.jsonl", target)
    assert 9 < len(again) <= 60 - 14
    again.clear()
    with pytest.warns(ClinieWarning, match=r"CIE436.*9 note"):
        summary = annotate(killed / "pipeline", killed / "in.jsonl", target)
    assert target.read_bytes() == (killed / "whole.jsonl").read_bytes()
    assert (summary.resumed, summary.notes, len(again)) == (51, 51, 9)
    assert leftovers(tmp_path) == ["out.jsonl.errors.jsonl"]


class Killed(BaseException):
    """The end of a process, which nothing can handle."""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_interruption_after_any_write_gives_the_same_output(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any write of a job, and of the jobs that resume it, may be its last, completely or in part."""
    folder = tmp_path_factory.mktemp("jobs")
    pipeline = make_pipeline(folder)
    words = st.sampled_from(["Aspirin", "headache", "EXPLODE", "fever", "", "x"])
    notes = data.draw(st.lists(st.lists(words, max_size=4).map(" ".join), min_size=1, max_size=7))
    texts = {f"n{i}": text for i, text in enumerate([*notes, TEXT])}
    source, target = write_lines(folder / "in.jsonl", texts), folder / data.draw(st.sampled_from(["out.jsonl", "out"]))
    size = data.draw(st.integers(1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClinieWarning)
        annotate(pipeline, source, folder / f"whole{target.suffix}", batch_size=size)
        for _ in range(data.draw(st.integers(1, 3))):
            with pytest.MonkeyPatch.context() as patch:
                break_off(patch, data.draw(st.integers(0, 9)), data.draw(st.integers(0, 40)))
                try:
                    annotate(pipeline, source, target, batch_size=size)
                except Killed:
                    continue
                break
        if not target.exists() or target.with_name(f"{target.name}.part").exists():
            annotate(pipeline, source, target, batch_size=size)
    assert content(target) == content(folder / f"whole{target.suffix}")
    assert {name.partition(".")[2] for name in leftovers(folder)} <= {"errors.jsonl", "jsonl.errors.jsonl"}


def break_off(patch: pytest.MonkeyPatch, writes: int, characters: int) -> None:
    """Let the process end after some writes of a journal, with a part of the last one on the disk."""
    left = [writes]

    def write(self: Journal, record: dict[str, Any]) -> None:
        left[0] -= 1
        if left[0] < 0:
            self._file.write(json.dumps(record).encode()[:characters])
            self._file.flush()
            # What is open is closed by the system, and nobody tidies up.
            patch.setattr(Journal, "close", lambda journal: journal._file.close())
            raise Killed
        call(self, record)

    def write_out(self: Sink, docs: Iterable[Doc], attrs: Iterable[int]) -> None:
        if left[0] <= 2:
            patch.setattr(Journal, "close", lambda journal: journal._file.close())
            docs = [doc for doc, _ in zip(docs, range(left[0]), strict=False)]
            if self.is_folder:
                write_whole(self, docs, attrs)
            raise Killed
        write_whole(self, docs, attrs)

    call, write_whole = Journal._write, Sink.write
    patch.setattr(Journal, "_write", write)
    patch.setattr(Sink, "write", write_out)


def content(target: Path) -> dict[str, bytes]:
    files = target.iterdir() if target.is_dir() else [target]
    return {file.name if target.is_dir() else "": file.read_bytes() for file in files}


def test_job_is_resumed_in_renamed_folders(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, batches=1)
    monkeypatch.chdir(tmp_path)
    pipeline.rename("moved")
    assert annotate("moved", Path("in.jsonl"), Path("out.jsonl")).resumed == 1


@pytest.mark.parametrize("change", ["pipeline", "journal", "header"])
def test_notes_of_another_pipeline_are_discarded(pipeline: Path, tmp_path: Path, change: str) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, batches=1)
    lines = tmp_path / "out.jsonl.part" / "journal.jsonl"
    if change == "pipeline":
        add_pattern(pipeline, "Reason", "fever")
    elif change == "journal":
        lines.unlink()
    else:
        lines.write_bytes(lines.read_bytes().partition(b"\n")[2])
    with pytest.warns(ClinieWarning, match="CIE435.*another pipeline"):
        summary = annotate(pipeline, source, target)
    assert summary.resumed == 0
    assert [len(note["concepts"]) for note in read_lines(target)] == ([3, 3] if change == "pipeline" else [2, 2])
    assert leftovers(tmp_path) == []


def test_finished_notes_are_kept_when_the_input_changes(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"a": TEXT, "b": TEXT, "gone": TEXT, "fails": TEXT, "d": "Aspirin.", "last": TEXT}
    source, target = write_lines(tmp_path / "in.jsonl", before), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target)
    other = TEXT.replace("Aspirin", "Aspirim")
    write_lines(source, {"d": "Aspirin.", "new": TEXT, "b": other, "fails": "EXPLODE", "a": TEXT})
    again = watch_engine(monkeypatch)
    with pytest.warns(ClinieWarning) as told:
        summary = annotate(pipeline, source, target, batch_size=2)
    assert [str(warning.message)[:18] for warning in told] == ["[CIE449] 4 note(s)", "[CIE436] 1 note(s)"]
    assert again == ["new", "b", "fails"]
    assert (summary.notes, summary.resumed, summary.failed) == (4, 2, 1)
    found = read_lines(target)
    assert [(note["id"], note["text"]) for note in found] == [
        ("d", "Aspirin."),
        ("new", TEXT),
        ("b", other),
        ("a", TEXT),
    ]
    assert [len(note["concepts"]) for note in found] == [1, 2, 1, 2]
    assert leftovers(tmp_path) == ["out.jsonl.errors.jsonl"]


def test_output_has_the_order_of_the_input(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even with notes in more shards than are cached."""
    monkeypatch.setattr(journal, "_CACHED", 2)
    texts = {f"n{i}": f"{TEXT} {i}" for i in range(12)}
    source, target = write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target)
    order = sorted(texts, key=lambda name: (int(name[1:]) * 5) % 12)
    write_lines(source, {name: texts[name] for name in order})
    assert annotate(pipeline, source, target).resumed == 12
    assert [(note["id"], note["text"]) for note in read_lines(target)] == [(name, texts[name]) for name in order]


@pytest.mark.parametrize("texts", [{"x": "EXPLODE"}, {}])
def test_wrong_input_does_not_remove_the_journal(pipeline: Path, tmp_path: Path, texts: dict[str, str]) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, batches=1)
    with pytest.raises(ClinieError, match="CIE447" if texts else "CIE440"):
        annotate(pipeline, write_lines(tmp_path / "wrong.jsonl", texts), target)
    assert annotate(pipeline, source, target).resumed == 1


def test_second_job_with_the_same_output_is_refused(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")  # without which no file is locked
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    call = Engine.annotate

    def other(self: Engine, texts: Sequence[Text]) -> AnnotatedBatch:
        monkeypatch.setattr(Engine, "annotate", call)
        with pytest.raises(ClinieError, match=r"^\[CIE441"):
            annotate(pipeline, source, target)
        with pytest.raises(ClinieError, match=r"^\[CIE441"):
            Journal(target, "")
        return call(self, texts)

    monkeypatch.setattr(Engine, "annotate", other)
    assert annotate(pipeline, source, target).notes == 2
    assert leftovers(tmp_path) == []


def test_second_job_without_locks_does_not_overwrite_shards(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    monkeypatch.setattr(journal, "lock", lambda _: True)
    call = Journal.add

    def other(self: Journal, batch: AnnotatedBatch) -> None:
        (tmp_path / "out.jsonl.part" / "000001.spacy").write_bytes(b"of the other")
        call(self, batch)

    monkeypatch.setattr(Journal, "add", other)
    with pytest.raises(ClinieError, match="CIE441"):
        annotate(pipeline, source, target)


def test_changed_shard_is_an_error(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    call = Journal.docs

    def swapped(self: Journal, *more: Any) -> Any:
        first, second = (self.folder / f"00000{number}.spacy" for number in (1, 2))
        first.write_bytes(second.read_bytes())
        return call(self, *more)

    monkeypatch.setattr(Journal, "docs", swapped)
    with pytest.raises(ClinieError, match=r"^\[CIE441"):
        annotate(pipeline, source, target, batch_size=1)
    monkeypatch.undo()
    assert annotate(pipeline, source, target).resumed == 1
    assert [note["id"] for note in read_lines(target)] == ["a", "b"]


def test_note_annotated_later_keeps_its_position(pipeline: Path, tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": "EXPLODE", "b": TEXT, "c": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target)
    write_lines(source, {"a": TEXT, "b": TEXT, "c": TEXT})
    assert annotate(pipeline, source, target).resumed == 2
    assert [line["id"] for line in read_lines(target)] == ["a", "b", "c"]


@Language.component("clinie_test_silent_once")
def silent_once(doc: Doc) -> Doc:
    doc.user_data["clinie_rejected"] = {"unanswered": 2} if doc.text == TEXT else {"unlikely": 1}
    return doc


def test_resumed_job_reports_unanswered_questions(tmp_path: Path) -> None:
    pipeline = make_pipeline(tmp_path, "clinie_test_silent_once")
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": "Aspirin."}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, batches=1)
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(pipeline, source, target, batch_size=1)
    assert (summary.resumed, summary.rejected) == (1, {"unanswered": 2, "unlikely": 1})
    assert read_lines(tmp_path / "out.jsonl.errors.jsonl") == [
        {"id": "a", "problem": "questions not answered", "count": 2}
    ]
    # In the second note, nothing looked for relations.
    keys = [{"id", "text", "concepts", "relations"}, {"id", "text", "concepts", "relations", "relations_known"}]
    assert list(map(set, read_lines(target))) == keys


def test_journal_removed_while_it_is_opened_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")  # without which no file is locked
    other = Journal(tmp_path / "out.jsonl", "")
    real = journal.lock

    def removed_first(file: Any) -> bool:
        other.remove()
        return real(file)

    monkeypatch.setattr(journal, "lock", removed_first)
    with pytest.raises(ClinieError, match="CIE441"):
        Journal(tmp_path / "out.jsonl", "")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_other_files_in_the_part_folder_are_left_alone(pipeline: Path, tmp_path: Path, what: str) -> None:
    """For example, of another version of this package."""
    source, part = write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.jsonl.part"
    if what == "folder":
        part.mkdir()
    mine = part / "mine.txt" if what == "folder" else part
    mine.write_text("mine")
    with pytest.raises(ClinieError, match=r"CIE455.*out\.jsonl\.part"):
        annotate(pipeline, source, tmp_path / "out.jsonl")
    assert mine.read_text() == "mine"


def test_part_that_cannot_be_written_is_named_and_resumed(
    pipeline: Path, tmp_path: Path, small_disk: SmallDisk
) -> None:
    texts = {str(i): f"{TEXT} {i}" for i in range(40)}
    source, target = write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.jsonl"
    part = tmp_path / "out.jsonl.part"
    for size, name in ((250, "000001.spacy"), (6_000, "journal.jsonl")):
        with small_disk(size), pytest.raises(OSError) as caught:
            annotate(pipeline, source, target, batch_size=1)
        assert caught.value.filename == str(part / name)
    summary = annotate(pipeline, source, target, batch_size=1)
    assert 0 < summary.resumed < 40
    assert [note["id"] for note in read_lines(target)] == list(texts)


def test_terminated_job_leaves_no_temporary_copies(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    code = (
        "import os, signal, sys\n"
        "from spacy_clinie import cli\n"
        "from spacy_clinie.annotate import html_page\n"
        "def write(notes, title):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    import time; time.sleep(60)\n"
        "html_page.render = write\n"
        "from tests.annotate import helpers\n"
        "cli.app(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "annotate", str(pipeline), str(source), str(tmp_path / "out.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 143, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "out.html" in path.name) == ["out.html.part"]
    assert sorted(path.name for path in (tmp_path / "out.html.part").iterdir()) == ["000001.spacy", "journal.jsonl"]
