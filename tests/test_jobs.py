"""Jobs that are interrupted, killed, started twice, or out of room: nothing lost, nothing done twice."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinie.annotate import journal, runner
from spacy_clinie.annotate.journal import Part
from spacy_clinie.annotate.runner import annotate
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat, jsonl
from tests.test_apply import PATTERNS, TEXT, leftovers, make_pipeline, read_lines, spy, write_lines


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return make_pipeline(tmp_path)


def test_a_job_that_was_interrupted_while_it_wrote_a_folder_goes_on(
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
def test_what_is_done_stays_if_it_cannot_be_written(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """A type that the pipeline did not announce, or a disk that is full."""
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    if error == "label":
        monkeypatch.setitem(PATTERNS[0], "label", "Some Drug")
        nlp = spacy.load(pipeline)
        ruler: Any = nlp.get_pipe("entity_ruler")
        ruler.clear()
        ruler.add_patterns(PATTERNS)
        nlp.to_disk(pipeline)
        monkeypatch.setattr(runner, "_check_brat", lambda *_: None)
    else:
        monkeypatch.setattr(brat, "write", full)
    expected = {"label": "CIE206.*'C1'", "disk": "No space left on device"}[error]
    with pytest.raises(ClinieError, match=rf"CIE443.*{expected}.*out\.part"):
        annotate(pipeline, source, tmp_path / "out")
    (tmp_path / "out.part").rename(tmp_path / "saved.jsonl")
    (sourced,) = jsonl.read(tmp_path / "saved.jsonl", Report())
    assert (sourced.note.id, len(sourced.note.concepts)) == ("a", 2)


def run_until(count: int, pipeline: Path, source: Path, target: Path) -> None:
    """Run a job in a process of its own and kill it once so many notes are done."""
    code = (
        "import sys, time; sys.path[:0] = sys.argv[4:]; import test_apply; "
        "from spacy_clinie.annotate.runner import annotate;"
        "test_apply.Dropper.pipe = lambda self, stream, **_: (time.sleep(0.03) or doc for doc in stream);"
        "annotate(sys.argv[1], sys.argv[2], sys.argv[3], batch_size=2)"
    )
    here = [str(Path(__file__).parent), str(Path(runner.__file__).parents[1])]
    command = [sys.executable, "-c", code, str(pipeline), str(source), str(target), *here]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = target.with_name(target.name + ".part")
    until = time.monotonic() + 60
    while not (part.exists() and part.read_bytes().count(b"\n") >= count):
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()


@pytest.mark.parametrize("torn", [lambda part: part + b'{"id": "n59", "text": "cut of', lambda part: part[:-1]])
def test_killed_job_goes_on_where_it_was(
    torn: Callable[[bytes], bytes], pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {f"n{i}": f"{TEXT} Visit {i}." if i % 7 else "EXPLODE" for i in range(60)}
    source, target = write_lines(tmp_path / "in.jsonl", texts), tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match="CIE436"):
        annotate(pipeline, source, tmp_path / "whole.jsonl")
    run_until(20, pipeline, source, target)
    assert not target.exists()
    part = tmp_path / "out.jsonl.part"
    part.write_bytes(torn(part.read_bytes()))
    again: list[str] = []
    monkeypatch.setattr(runner, "_annotate", spy(runner._annotate, again))
    with pytest.warns(ClinieWarning, match=r"CIE436.*9 note"):
        summary = annotate(pipeline, source, target)
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert summary.resumed >= 19 and summary.notes == 51
    assert len(again) == 60 - summary.resumed
    assert leftovers(tmp_path) == ["out.jsonl.errors.jsonl", "whole.jsonl.errors.jsonl"]


def test_a_job_goes_on_where_its_folders_are_called_otherwise(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, monkeypatch)
    monkeypatch.chdir(tmp_path)
    pipeline.rename("moved")
    assert annotate("moved", Path("in.jsonl"), Path("out.jsonl")).resumed == 1


def interrupted(pipeline: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends after the first of its batches of one."""
    with monkeypatch.context() as patch:
        calls: list[list[Note]] = []
        call = runner._annotate

        def stop(nlp: Language, notes: list[Note], failures: Any) -> dict[str, str]:
            calls.append(notes)
            if len(calls) > 1:
                raise KeyboardInterrupt
            return call(nlp, notes, failures)

        patch.setattr(runner, "_annotate", stop)
        with pytest.raises(KeyboardInterrupt):
            annotate(pipeline, source, target, batch_size=1)
    assert target.with_name(target.name + ".part").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("change", ["pipeline", "header"])
def test_what_another_pipeline_did_is_not_mixed_in(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, monkeypatch)
    if change == "pipeline":
        nlp = spacy.load(pipeline)
        ruler: Any = nlp.get_pipe("entity_ruler")
        ruler.add_patterns([{"label": "Reason", "pattern": "fever"}])
        nlp.to_disk(pipeline)
    else:
        (tmp_path / "out.jsonl.part.json").unlink()
    with pytest.warns(ClinieWarning, match="CIE435.*another pipeline"):
        summary = annotate(pipeline, source, target)
    assert summary.resumed == 0
    assert [len(note["concepts"]) for note in read_lines(target)] == ([3, 3] if change == "pipeline" else [2, 2])


def test_what_is_done_is_kept_when_the_input_changes(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"a": TEXT, "b": TEXT, "gone": TEXT, "fails": TEXT, "d": "Aspirin.", "last": TEXT}
    source, target = write_lines(tmp_path / "in.jsonl", before), tmp_path / "out.jsonl"

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_writer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            annotate(pipeline, source, target, batch_size=2)
    other = TEXT.replace("Aspirin", "Aspirim")
    write_lines(source, {"d": "Aspirin.", "new": TEXT, "b": other, "fails": "EXPLODE", "a": TEXT})
    again: list[str] = []
    monkeypatch.setattr(runner, "_annotate", spy(runner._annotate, again))
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


@pytest.mark.parametrize("texts", [{"x": "EXPLODE"}, {}])
def test_a_wrong_input_does_not_take_what_is_done_with_it(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    interrupted(pipeline, source, target, monkeypatch)
    with pytest.raises(ClinieError, match="CIE447" if texts else "CIE440"):
        annotate(pipeline, write_lines(tmp_path / "wrong.jsonl", texts), target)
    assert annotate(pipeline, source, target).resumed == 1


def test_a_second_job_at_one_output_is_refused(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fcntl")  # without which no file is locked
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    call = runner._annotate

    def other(*args: Any) -> dict[str, str]:
        monkeypatch.setattr(runner, "_annotate", call)
        with pytest.raises(ClinieError, match=r"^\[CIE441"):
            annotate(pipeline, source, target)
        return call(*args)

    monkeypatch.setattr(runner, "_annotate", other)
    assert annotate(pipeline, source, target).notes == 2
    assert leftovers(tmp_path) == []


def test_what_another_job_wrote_to_the_part_is_not_taken_twice(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT}), tmp_path / "out.jsonl"
    call = runner._annotate

    def other(nlp: Language, notes: list[Note], failures: Any) -> dict[str, str]:
        lines = call(nlp, notes, failures)
        with (tmp_path / "out.jsonl.part").open("a") as part:
            part.write(lines["a"] + "\n")
        return lines

    monkeypatch.setattr(runner, "_annotate", other)
    annotate(pipeline, source, target)
    assert [line["id"] for line in read_lines(target)] == ["a", "b"]


def test_a_note_that_is_done_later_keeps_its_place(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": TEXT, "c": TEXT}), tmp_path / "out.jsonl"
    call = runner._annotate

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_annotate", lambda nlp, notes, failures: call(nlp, notes[1:], failures))
        patch.setattr(runner, "_writer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            annotate(pipeline, source, target)
    assert annotate(pipeline, source, target).resumed == 2
    assert [line["id"] for line in read_lines(target)] == ["a", "b", "c"]


@Language.component("clinie_test_silent_once")
def silent_once(doc: Doc) -> Doc:
    doc.user_data["clinie_rejected"] = {"unanswered": 2} if doc.text == TEXT else {"unlikely": 1}
    return doc


def test_questions_without_an_answer_are_told_by_the_job_that_goes_on(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_silent_once")
    nlp.to_disk(tmp_path / "silent")
    source, target = write_lines(tmp_path / "in.jsonl", {"a": TEXT, "b": "Aspirin."}), tmp_path / "out.jsonl"
    call = runner._annotate

    def interrupted(nlp: Language, notes: list[Note], failures: Any) -> dict[str, str]:
        if notes[0].id == "b":
            raise KeyboardInterrupt
        return call(nlp, notes, failures)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_annotate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            annotate(tmp_path / "silent", source, target, batch_size=1)
    with pytest.warns(ClinieWarning, match="CIE436"):
        summary = annotate(tmp_path / "silent", source, target, batch_size=1)
    assert (summary.resumed, summary.rejected) == (1, {"unanswered": 2, "unlikely": 1})
    assert read_lines(tmp_path / "out.jsonl.errors.jsonl") == [
        {"id": "a", "problem": "questions not answered", "count": 2}
    ]
    # In the second note, nothing looked for relations.
    keys = [{"id", "text", "concepts", "relations"}, {"id", "text", "concepts", "relations", "relations_known"}]
    assert list(map(set, read_lines(target))) == keys


def test_a_job_whose_part_was_removed_while_it_opened_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")  # without which no file is locked
    other = Part(tmp_path / "out.jsonl", "")
    real = journal.lock

    def removed_first(file: Any) -> bool:
        other.remove()
        return real(file)

    monkeypatch.setattr(journal, "lock", removed_first)
    with pytest.raises(ClinieError, match="CIE441"):
        Part(tmp_path / "out.jsonl", "")


def test_a_part_that_cannot_be_written_is_named(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    call = Part.append

    def append(self: Part, notes: Iterable[Note], lines: dict[str, str]) -> None:
        self._file.close()
        self._file = Full()  # type: ignore[assignment]
        call(self, notes, lines)

    monkeypatch.setattr(Part, "append", append)
    with pytest.raises(OSError) as caught:
        annotate(pipeline, write_lines(tmp_path / "in.jsonl", {"a": TEXT}), tmp_path / "out.jsonl")
    assert caught.value.filename == str(tmp_path / "out.jsonl.part")


def test_a_job_that_is_told_to_end_leaves_no_copy_of_notes(pipeline: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"a": TEXT})
    code = (
        "import os, signal, sys\n"
        "from spacy_clinie import cli\n"
        "from spacy_clinie.annotate import html_page\n"
        "def write(notes, title):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    import time; time.sleep(60)\n"
        "html_page.render = write\n"
        "from tests import test_apply\n"
        "cli.app(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, "annotate", str(pipeline), str(source), str(tmp_path / "out.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 143, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "out.html" in path.name) == [
        "out.html.part",
        "out.html.part.json",
    ]
