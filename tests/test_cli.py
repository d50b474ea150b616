import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from typer.testing import CliRunner

from spacy_clinie import cli
from spacy_clinie.corpora.catalogue import CORPORA, FORMATS
from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.doc.report import Report
from spacy_clinie.formats import brat, docbin, jsonl
from spacy_clinie.pipelines import bundled
from spacy_clinie.schema import Schema
from tests.commands import NOTE, SECRET, TEXT, run, write_notes
from tests.conftest import SmallDisk


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes.jsonl")


COMMANDS = ["convert", "evaluate", "annotate", "download", "schema show", "schema draft"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    status, output = run(*command.split(), "--help")
    assert status == 0
    assert f"python -m spacy_clinie {command} " in output.split("Example", 1)[1]


def test_help_of_convert_names_every_corpus_and_format() -> None:
    words = set(run("convert", "--help")[1].replace(",", " ").split())
    assert {*CORPORA, *FORMATS} <= words


def test_it_runs_as_a_module_in_a_pipe_and_without_utf8(tmp_path: Path) -> None:
    jsonl.write([Note("n", TEXT, [Concept("a", 0, 4, "疹")])], tmp_path / "in.jsonl")
    done = subprocess.run(
        [sys.executable, "-m", "spacy_clinie", "convert", "jsonl", tmp_path / "in.jsonl", tmp_path / "out.spacy"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1  \\u75b9" in done.stdout
    assert b"\x1b" not in done.stdout


def test_spacy_gets_the_commands_once() -> None:
    from spacy.cli._util import app as spacy_app

    assert cli.clinie is cli.clinie is cli.app
    assert [group.typer_instance for group in spacy_app.registered_groups].count(cli.app) == 1
    result = CliRunner().invoke(spacy_app, ["clinie", "schema", "list"])
    assert (result.exit_code, "phee " in result.output) == (0, True)
    with pytest.raises(AttributeError):
        cli.nonsense  # noqa: B018


def test_convert_writes_and_tells(tmp_path: Path, notes: Path) -> None:
    status, output = run("convert", "jsonl", notes, tmp_path / "out.spacy", "--strict")
    assert status == 0
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[:3] == ["Documents 2", "Concepts 2 (0 discontinuous, doc.ents can hold 2 of them)", "Relations 1"]
    assert {"1 ADE", "1 Drug", "1 ADE-Drug"} <= set(lines)
    assert json.loads((tmp_path / "out.report.json").read_text())["documents"] == 2
    assert next(docbin.read(tmp_path / "out.spacy", Report())).note == NOTE


def test_convert_with_a_schema_and_a_split(tmp_path: Path, notes: Path) -> None:
    notes.rename(tmp_path / "train.jsonl")
    status, output = run(
        "convert", "jsonl", tmp_path, tmp_path / "out.spacy", "--schema", "phee", "--split", "train", "--strict"
    )
    assert status == 0, output
    status, output = run("convert", "jsonl", tmp_path, tmp_path / "out.spacy", "--schema", "i2b2_2010", "--strict")
    assert (status, "concept type that is not in the schema: Drug (train.jsonl:1)" in output) == (1, True)
    assert "[CIE502] 3 items" in output


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


LINE = NOTE.to_dict()
DRUG = LINE["concepts"][1]
T1, T2 = "T1\tADE 0 4\tRash\n", f"T2\tDrug 11 18\t{SECRET}\n"
PUBTATOR = f"1|t|{TEXT}\n1|a|\n1\t0\t4\tRash\tDisease\tD1\n"
EVENT = {"event_type": "Adverse_event", "Effect": {"text": [["Rash"]], "start": [[0]]}}
SENTENCE = {"id": "1", "context": TEXT, "annotations": [{"events": [EVENT]}]}
BIOC = f"<collection><document><id>1</id><passage><offset>0</offset><text>{TEXT}</text>%s</passage></document>%s"
MARK = (
    '<annotation id="a"><infon key="type">ADE</infon><location offset="0" length="%s"/><text>Rash</text></annotation>'
)
CON = 'c="rash" 1:0 1:0||t="problem"\n'
RADGRAPH = {"text": TEXT, "entities": {"1": {"tokens": "Rash", "label": "X", "start_ix": 0, "end_ix": 0}}}
for entity in RADGRAPH["entities"].values():  # type: ignore[attr-defined]
    entity["relations"] = []


@pytest.mark.parametrize(
    ("corpus", "files", "place"),
    [
        # truncated
        ("jsonl", {"a.jsonl": lines(LINE) + lines(LINE)[:60]}, "a.jsonl:2"),
        ("brat", {"a.txt": TEXT, "a.ann": T1 + "T2\tDrug 11"}, "a.ann:2"),
        ("pubtator", {"a.pubtator": PUBTATOR + "1\t11"}, "a.pubtator:4"),
        ("phee-json", {"a.json": lines(SENTENCE) + lines(SENTENCE)[:40]}, "a.json:2"),
        ("bioc", {"a.xml": BIOC % ("", f"<document><id>{SECRET}")}, "a.xml:1"),
        ("i2b2", {"a.txt": TEXT, "a.con": CON + f'c="{SECRET}" 1:2'}, "a.con:2"),
        ("radgraph-json", {"a.json": json.dumps({"n": RADGRAPH, "m": RADGRAPH})[:-60]}, "a.json:1"),
        # mis-encoded
        ("jsonl", {"a.jsonl": lines(LINE).encode() + b'{"id": "\xff", "text": "' + SECRET.encode()}, "a.jsonl:2"),
        ("brat", {"a.txt": TEXT, "a.ann": T1, "b.txt": b"\xff" + TEXT.encode(), "b.ann": T1}, "b.txt:1"),
        ("pubtator", {"a.pubtator": PUBTATOR, "b.pubtator": b"1|t|\xff"}, "b.pubtator:1"),
        ("phee-json", {"a.json": lines(SENTENCE).encode() + b'{"id": "\xff"}\n'}, "a.json:2"),
        ("bioc", {"a.xml": BIOC % ("", "</collection>"), "b.xml": b"<collection>\xff</collection>"}, "b.xml:1"),
        ("i2b2", {"a.txt": TEXT, "a.con": CON, "b.txt": b"\xff", "b.con": ""}, "b.txt:1"),
        # an offset past the text
        ("jsonl", {"a.jsonl": lines(LINE | {"concepts": [DRUG | {"end": 99}], "relations": []})}, "a.jsonl:1"),
        ("brat", {"a.txt": TEXT, "a.ann": T1 + "T2\tDrug 11 99\tx\n"}, "a.ann:2"),
        ("pubtator", {"a.pubtator": PUBTATOR + f"1\t11\t99\t{SECRET}\tDrug\tD2\n"}, "a.pubtator:4"),
        (
            "phee-json",
            {"a.json": lines(SENTENCE, SENTENCE | {"id": "2", "context": "Ra"})},
            "a.json:2",
        ),
        ("bioc", {"a.xml": BIOC % (MARK % 99, "</collection>")}, "a.xml:1"),
        ("i2b2", {"a.txt": TEXT, "a.con": CON + f'c="{SECRET}" 1:2 1:9||t="treatment"\n'}, "a.con:2"),
        # a relation to a missing id
        ("jsonl", {"a.jsonl": lines(LINE | {"concepts": [DRUG]})}, "a.jsonl:1"),
        ("brat", {"a.txt": TEXT, "a.ann": T1 + "R1\tADE-Drug Arg1:T1 Arg2:T9\n"}, "a.ann:2"),
        ("pubtator", {"a.pubtator": PUBTATOR + "1\tCID\tD1\tD9\n"}, "a.pubtator:4"),
        # two notes with one id
        ("jsonl", {"a.jsonl": lines(LINE, LINE)}, "a.jsonl:2"),
        ("brat", {"x/a.txt": TEXT, "x/a.ann": T1, "y/a.txt": TEXT, "y/a.ann": T1}, "a.txt"),
        ("pubtator", {"a.pubtator": f"{PUBTATOR}\n{PUBTATOR}"}, "a.pubtator:5"),
        ("phee-json", {"a.json": lines(SENTENCE, SENTENCE)}, "a.json:2"),
        # an empty file among others
        ("brat", {"a.txt": "", "a.ann": "", "b.txt": TEXT, "b.ann": T1}, "a.txt"),
    ],
)
def test_bad_input_is_counted_with_file_and_line(
    tmp_path: Path, corpus: str, files: dict[str, str | bytes], place: str
) -> None:
    folder, target = put(tmp_path / "in", files), tmp_path / "out.spacy"
    status, output = run("convert", corpus, folder, target)
    assert (status, place in output) == (0, True), output
    assert SECRET not in (tmp_path / "out.report.json").read_text()
    assert json.loads((tmp_path / "out.report.json").read_text())["documents"] >= 1
    status, output = run("convert", corpus, folder, target, "--strict")
    assert (status, "[CIE502]" in output) == (1, True)


@pytest.mark.parametrize(
    ("corpus", "files"),
    [(name, {}) for name in FORMATS]
    + [
        ("jsonl", {"a.jsonl": ""}),
        ("jsonl", {"a.jsonl": SECRET}),
        ("docbin", {"a.spacy": b""}),
        ("docbin", {"a.spacy": SECRET}),
        ("brat", {"a.ann": T1}),
        ("brat", {"a.txt": TEXT}),
        ("i2b2", {"a.txt": TEXT}),
        ("pubtator", {"a.pubtator": SECRET}),
        ("phee-json", {"a.json": f'["{SECRET}"]'}),
        ("bioc", {"a.xml": SECRET}),
        ("bioc", {"a.json": f'["{SECRET}"]'}),
        ("radgraph-json", {"a.json": f'["{SECRET}"]'}),
        ("marked-text", {"a.txt": f"{{{SECRET}|Planet}}"}),
    ],
)
def test_nothing_to_read_is_a_coded_error(tmp_path: Path, corpus: str, files: dict[str, str | bytes]) -> None:
    (tmp_path / "in").mkdir()
    for source in (put(tmp_path / "in", files), tmp_path / "missing"):
        status, output = run("convert", corpus, source, tmp_path / "out.spacy")
        assert (status, output.startswith("[CIE2")) == (1, True), output
    assert not (tmp_path / "out.spacy").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["convert", "fee", "{notes}", "out.spacy"], "CIE254"),
        (["convert", "jsonl", "{notes}", "out.docx"], "CIE255"),
        (["convert", "jsonl", "{notes}", "out.spacy", "--split", "validation"], "CIE256"),
        (["convert", "jsonl", "{notes}", "out.spacy", "--schema", "fee"], "CIE101"),
        (["convert", "jsonl", "{notes}", "{notes}/out.spacy"], "CIE500"),
        (["convert", "jsonl", "{notes}", "{notes}"], "CIE434"),
        (["show", "{notes}", "{notes}"], "CIE434"),
        (["show", "{notes}", "page.txt"], "CIE504"),
        (["schema", "show", "fee"], "CIE101"),
        (["schema", "draft", "jsonl", "{notes}", "{notes}"], "CIE503"),
        (["evaluate", "{notes}", "nowhere.jsonl"], "CIE403"),
        (["annotate", "nowhere", "{notes}", "out.jsonl"], "CIE430"),
        (["download", "nothing"], "CIE550"),
    ],
)
def test_wrong_arguments_are_coded_errors(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = run(*[argument.format(notes=notes) for argument in arguments])
    assert (status, output.startswith(f"[{code}]")) == (1, True), output


@pytest.mark.parametrize("kind", ["spacy", "jsonl", "brat"])
def test_evaluate_prints_scores_as_a_table_or_as_json(tmp_path: Path, notes: Path, kind: str) -> None:
    write = {"spacy": docbin.write, "jsonl": jsonl.write, "brat": brat.write}[kind]
    predicted = tmp_path / ("predicted" if kind == "brat" else f"predicted.{kind}")
    write([Note("n1", TEXT, NOTE.concepts[:1]), Note("n2", TEXT)], predicted)
    status, output = run("evaluate", notes, predicted, "--json")
    assert status == 0
    scores = json.loads(output)
    micro = scores["concepts"]["strict"]["micro"]
    assert (micro["p"], micro["r"], scores["relations"]["lenient"]["micro"]["r"]) == (1.0, 0.5, 0.0)
    status, output = run("evaluate", notes, predicted)
    assert (status, "concepts, strict" in output) == (0, True)


def test_strict_evaluation_refuses_documents_that_one_side_lacks(tmp_path: Path, notes: Path) -> None:
    part = tmp_path / "part.jsonl"
    part.write_text("".join(notes.read_text(encoding="utf8").splitlines(keepends=True)[:1]), encoding="utf8")
    for gold, predicted in ((notes, part), (part, notes)):
        status, output = run("evaluate", gold, predicted, "--strict")
        assert (status, "[CIE402]" in output, "[CIE502]" in output) == (1, True, True)


def test_strict_evaluation_refuses_what_could_not_be_read(tmp_path: Path, notes: Path) -> None:
    put(tmp_path, {"bad.jsonl": lines(LINE, Note("n2", TEXT).to_dict()) + "{"})
    assert run("evaluate", notes, tmp_path / "bad.jsonl")[0] == 0
    status, output = run("evaluate", notes, tmp_path / "bad.jsonl", "--strict")
    assert (status, "bad.jsonl:3" in output, "[CIE502]" in output) == (1, True, True)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ADE", "pattern": "Rash"}])  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_annotate_writes_what_was_found(tmp_path: Path, notes: Path, pipeline: Path) -> None:
    status, output = run("annotate", pipeline, notes, tmp_path / "out.jsonl", "--strict")
    assert (status, "2 notes, 2 concepts, 0 relations" in output) == (0, True), output
    found = [sourced.note for sourced in jsonl.read(tmp_path / "out.jsonl", Report())]
    assert [(note.id, note.concepts[0].label) for note in found] == [("n1", "ADE"), ("n2", "ADE")]


def test_show_writes_a_page_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl.write([Note("n1", "Rash.", [Concept("T1", 0, 4, "ADE")])], tmp_path / "notes.jsonl")
    status, output = run("show", tmp_path / "notes.jsonl", tmp_path / "new" / "page.html")
    assert (status, "Rash" in output) == (0, True)
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf8")
    assert page.startswith("<!DOCTYPE html>")

    def broken(*_: Any, **__: Any) -> str:
        raise KeyError

    monkeypatch.setattr("spacy_clinie.annotate.html_page.render", broken)
    assert run("show", tmp_path / "notes.jsonl", tmp_path / "new" / "page.html")[0] == 1
    assert [(file.name, file.read_text(encoding="utf8")) for file in (tmp_path / "new").iterdir()] == [
        ("page.html", page)
    ]


def test_annotate_tells_what_it_left_out(tmp_path: Path, pipeline: Path) -> None:
    put(tmp_path / "in", {"a.txt": TEXT, "README.txt": "About."})
    status, output = run("annotate", pipeline, tmp_path / "in", tmp_path / "out.jsonl", "--strict")
    assert (status, "1 notes" in output, "README.txt" in output) == (0, True, True), output


def test_annotate_names_files_by_their_folders(tmp_path: Path, pipeline: Path) -> None:
    put(tmp_path / "in", {"a.txt": TEXT, "sub/a.txt": TEXT})
    status, output = run("annotate", pipeline, tmp_path / "in", tmp_path / "out.jsonl")
    assert (status, "(a.txt, sub/a.txt)" in output) == (0, True), output


def test_annotate_tells_what_it_could_not_read(tmp_path: Path, pipeline: Path) -> None:
    put(tmp_path, {"bad.jsonl": lines(LINE) + "{broken"})
    status, output = run("annotate", pipeline, tmp_path / "bad.jsonl", tmp_path / "out.jsonl")
    assert (status, "bad.jsonl:2" in output) == (0, True), output
    status, output = run("annotate", pipeline, tmp_path / "bad.jsonl", tmp_path / "out.jsonl", "--strict")
    assert (status, "[CIE437]" in output) == (1, True), output


@Language.component("clinie_test_rejecting")
def reject(doc: Doc) -> Doc:
    doc.user_data["clinie_rejected"] = {"unlikely": 2, "text": 1}
    return doc


def test_annotate_tells_what_a_model_said_in_vain(tmp_path: Path, notes: Path, pipeline: Path) -> None:
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_rejecting")
    nlp.to_disk(tmp_path / "rejecting")
    status, output = run("annotate", tmp_path / "rejecting", notes, tmp_path / "out.jsonl", "--strict")
    assert (status, "Not taken of what the model answered: text 2, unlikely 4\n" in output) == (0, True), output


@Language.component("clinie_test_negating")
def negate(doc: Doc) -> Doc:
    for ent in doc.ents:
        ent._.set("clinie_test_negated", True)
    return doc


def test_annotate_tells_of_extensions_and_writes_them_when_asked(tmp_path: Path, notes: Path, pipeline: Path) -> None:
    Span.set_extension("clinie_test_negated", default=False, force=True)
    nlp = spacy.load(pipeline)
    nlp.add_pipe("clinie_test_negating")
    nlp.to_disk(tmp_path / "negating")
    command = ["annotate", tmp_path / "negating", notes, tmp_path / "out.jsonl"]
    status, output = run(*command)
    assert (status, "to write them: --attributes " in output, "clinie_test_negated" in output) == (0, True, True)
    assert "clinie_test_negated" not in (tmp_path / "out.jsonl").read_text()
    status, output = run(*command, "--attributes", "clinie_test_negated, ")
    assert (status, "clinie_test_negated" in output) == (0, False), output
    assert (tmp_path / "out.jsonl").read_text().count('"clinie_test_negated": "true"') == 2
    status, output = run(*command, "--attributes", "negated")
    assert (status, "[CIE452]" in output) == (1, True)
    Span.remove_extension("clinie_test_negated")


def test_a_full_disk_is_told_with_the_file_and_nothing_half_written_stays(
    tmp_path: Path, notes: Path, small_disk: SmallDisk
) -> None:
    with small_disk(10):
        status, output = run("schema", "draft", "jsonl", notes, tmp_path / "mine.yml")
    assert status == 1
    assert f"[CIE500] {tmp_path / 'mine.yml'}: File too large." in output
    assert list(tmp_path.glob("*mine*")) == []
    assert run("schema", "draft", "jsonl", notes, tmp_path / "mine.yml")[0] == 0


def test_a_drafted_schema_can_be_used_at_once(tmp_path: Path, notes: Path) -> None:
    status, output = run("schema", "draft", "jsonl", notes, tmp_path / "mine.yml")
    assert (status, "mine.yml" in output) == (0, True)
    schema = Schema.load(tmp_path / "mine.yml")
    assert (schema.name, list(schema.concepts), schema.allowed("ADE", "Drug")) == (
        "mine",
        ["ADE", "Drug"],
        ("ADE-Drug",),
    )
    assert run("convert", "jsonl", notes, tmp_path / "o.spacy", "--schema", tmp_path / "mine.yml", "--strict")[0] == 0
    status, output = run("schema", "draft", "jsonl", notes)
    assert (status, output.startswith("name: jsonl")) == (0, True)


def test_help_names_the_pipelines_that_come_with_the_package() -> None:
    status, output = run("annotate", "--help")
    assert status == 0
    assert bundled()
    assert all(name in output for name in bundled())


def test_a_bundled_schema_can_be_shown_and_used(tmp_path: Path) -> None:
    status, output = run("schema", "show", "n2c2_2018")
    (tmp_path / "copy.yml").write_text(output, encoding="utf-8")
    assert status == 0
    assert Schema.load(tmp_path / "copy.yml").to_dict() == Schema.load("n2c2_2018").to_dict()


def test_an_open_corpus_is_converted_from_the_folder_of_all(corpora: Path, tmp_path: Path) -> None:
    status, output = run("convert", "mtsamples_sdoh", corpora, tmp_path / "out.spacy", "--split", "test")
    assert status == 0
    assert " ".join(output.splitlines()[0].split()) == "Documents 37"


def test_a_mistyped_option_is_the_users_and_not_ours(tmp_path: Path) -> None:
    code, output = run("export-instructions", tmp_path / "a.cfg", tmp_path / "b.jsonl", "--split", "train")
    assert code == 2
    assert "CIE501" not in output
