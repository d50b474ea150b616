import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import jsonl

TEXT = "Rash after zyxomab."
RASH = {"id": "a", "start": 0, "end": 4, "label": "ADE", "score": None}
DRUG = {"id": "b", "start": 11, "end": 18, "label": "Drug", "score": 0.5}
LINK = {"head": "a", "tail": "b", "label": "ADE-Drug", "score": None}


def record(**changes: Any) -> dict[str, Any]:
    return {"id": "n1", "text": TEXT, "concepts": [RASH, DRUG], "relations": [LINK]} | changes


def read(tmp_path: Path, *lines: Any) -> tuple[list[Note], Report]:
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    (tmp_path / "notes.jsonl").write_bytes(data)
    report = Report()
    return [sourced.note for sourced in jsonl.read(tmp_path, report)], report


def remarks(report: Report) -> dict[str, list[str]]:
    return {r.reason: r.examples for kind in ("dropped", "mended") for r in report.remarks(kind)}


def test_a_line_is_a_note(tmp_path: Path) -> None:
    (note,), report = read(tmp_path, record())
    assert note == Note(
        "n1", TEXT, [Concept("a", 0, 4, "ADE"), Concept("b", 11, 18, "Drug", 0.5)], [Relation("a", "b", "ADE-Drug")]
    )
    assert report.problems == 0


def test_lines_of_concepts_and_the_split_are_known(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\n" + json.dumps(record()).encode())
    (sourced,) = jsonl.read(tmp_path, Report())
    assert (sourced.split, sourced.file.name, sourced.lines) == ("train", "train.jsonl", {"a": 2, "b": 2})


def test_byte_order_mark_blank_lines_and_carriage_returns_are_no_problem(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + json.dumps(record()).encode() + b"\r\n\r\n" + json.dumps(record(id=2)).encode() + b"\r\n"
    notes, report = read(tmp_path, data)
    assert [note.id for note in notes] == ["n1", "2"]
    assert report.problems == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "n2", "text": "zyxo', "line is not valid JSON"),
        (b"[" * 100_000, "line is not valid JSON"),
        (b'{"id": "n2", "text": "zyxomab \xff"}', "line is not UTF-8"),
        (["zyxomab"], "invalid line: not an object"),
        ({"text": TEXT}, "invalid line: id is missing or not a string"),
        ({"id": "n2"}, "invalid line: text is missing or not a string"),
        ({"id": "n2", "text": ["zyxomab"]}, "invalid line: text is missing or not a string"),
    ],
)
def test_a_bad_line_is_counted_and_the_others_are_read(tmp_path: Path, line: Any, reason: str) -> None:
    notes, report = read(tmp_path, record(), line, record(id="n3"))
    assert [note.id for note in notes] == ["n1", "n3"]
    assert remarks(report) == {reason: ["notes.jsonl:2"]}


@pytest.mark.parametrize(
    ("concept", "reason"),
    [
        (7, "invalid concept: not an object"),
        (DRUG | {"start": 11.0}, "invalid concept: start is missing or not an integer"),
        (DRUG | {"start": True}, "invalid concept: start is missing or not an integer"),
        ({"start": 0, "label": "ADE"}, "invalid concept: end is missing or not an integer"),
        (DRUG | {"label": None}, "invalid concept: label is missing or not a string"),
        (DRUG | {"fragments": [1]}, "invalid concept: fragments is not a list of pairs"),
        (DRUG | {"attributes": ["zyxomab"]}, "invalid concept: not an object"),
        (DRUG | {"end": 20}, "concept outside the text"),
        (DRUG | {"start": 10**30, "end": 10**31}, "concept outside the text"),
    ],
)
def test_a_bad_concept_is_counted_and_the_rest_of_the_note_is_kept(tmp_path: Path, concept: Any, reason: str) -> None:
    (note,), report = read(tmp_path, record(concepts=[RASH, DRUG, concept]))
    assert [c.id for c in note.concepts] == ["a", "b"]
    assert note.relations == [Relation("a", "b", "ADE-Drug")]
    assert remarks(report) == {reason: ["notes.jsonl:1"]}


@pytest.mark.parametrize(
    ("relation", "reason"),
    [
        ("a-b", "invalid relation: not an object"),
        ({"head": "a", "label": "X"}, "invalid relation: tail is missing or not a string"),
        (LINK | {"label": ""}, "invalid relation: label is missing or not a string"),
        (LINK | {"tail": "zyxomab"}, "relation to a missing concept"),
    ],
)
def test_a_bad_relation_is_counted_and_the_rest_is_kept(tmp_path: Path, relation: Any, reason: str) -> None:
    (note,), report = read(tmp_path, record(relations=[relation, LINK]))
    assert note.relations == [Relation("a", "b", "ADE-Drug")]
    assert remarks(report) == {reason: ["notes.jsonl:1"]}


def test_a_list_that_is_none_is_counted(tmp_path: Path) -> None:
    (note,), report = read(tmp_path, record(concepts={"a": RASH}, relations=None))
    assert note == Note("n1", TEXT)
    assert remarks(report) == {"invalid concept: concepts is not a list": ["notes.jsonl:1"]}


@pytest.mark.parametrize("empty", [{}, "", False, 0])
def test_nothing_that_is_no_list_is_counted_too(tmp_path: Path, empty: Any) -> None:
    (note,), report = read(tmp_path, record(concepts=empty, relations=empty))
    assert not note.relations_known
    assert list(remarks(report)) == [f"invalid {kind}: {kind}s is not a list" for kind in ("concept", "relation")]


def test_half_characters_doubled_ids_and_scores_without_value_are_mended(tmp_path: Path) -> None:
    line = json.dumps(record(text="Rash \ud83dfter zyxomab.")).replace("0.5", "NaN").encode()
    notes, report = read(tmp_path, record(), line)
    assert [note.id for note in notes] == ["n1", "n1~2"]
    assert notes[1].text == "Rash \ufffdfter zyxomab."
    assert notes[1].concepts[1].score is None
    assert set(remarks(report)) == {
        "lone surrogate, replaced by U+FFFD",
        "duplicate note id, a number was added to the later one",
        "score that is not a finite number, removed",
    }
    assert not report.remarks("dropped")


@pytest.mark.parametrize("score", ["0.97", "high", True, [0.5], 10**400, float("nan"), float("inf")])
def test_a_score_without_value_takes_nothing_along(tmp_path: Path, score: Any) -> None:
    scored = record(concepts=[RASH, DRUG | {"score": score}], relations=[LINK | {"score": score}])
    (note,), report = read(tmp_path, scored)
    assert note.concepts == [Concept("a", 0, 4, "ADE"), Concept("b", 11, 18, "Drug")]
    assert note.relations == [Relation("a", "b", "ADE-Drug")]
    assert [(r.reason, r.count) for r in report.remarks("mended")] == [
        ("score that is not a finite number, removed", 2)
    ]
    assert not report.remarks("dropped")


@pytest.mark.parametrize("score", [95.0, -0.1])
def test_a_score_of_another_range_is_kept(tmp_path: Path, score: float) -> None:
    (note,), report = read(tmp_path, record(concepts=[DRUG | {"score": score}], relations=[]))
    assert note.concepts[0].score == score
    assert not report.problems


def test_neither_report_nor_error_holds_text(tmp_path: Path) -> None:
    bad = record(text=TEXT, concepts=[DRUG | {"start": "zyxomab"}, DRUG | {"end": 99}], relations=["zyxomab"])
    _, report = read(tmp_path, bad, b'{"zyxomab', record(text=7))
    assert report.problems == 5
    assert "zyxomab" not in json.dumps(report.to_dict())
    with pytest.raises(ClinieError) as error:
        read(tmp_path, b"zyxomab", b'{"id": "zyxomab')
    assert error.value.code == "CIE250"
    assert "zyxomab" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"zyxomab"])
def test_a_file_without_notes_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ClinieError, match="CIE250"):
        read(tmp_path, content)


def test_what_others_take_for_line_ends_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    notes = [Note("n1", "a\u2028b\x85c\u2029d\x0be\x1cf\r\ng"), Note("n2", "é\ud800")]
    jsonl.write(notes, file)
    assert len(file.read_text("utf-8").splitlines()) == 2
    assert "é" in file.read_text("utf-8")
    assert [json.loads(line)["text"] for line in file.open(encoding="utf-8")] == [note.text for note in notes]


def test_scores_that_are_not_numbers_are_written_as_null_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with pytest.warns(ClinieWarning, match=r"CIE253.*1 scores"):
        jsonl.write([Note("n1", TEXT, [Concept("a", 0, 4, "ADE", score=float("nan"))])], file)
    assert json.loads(file.read_text())["concepts"][0]["score"] is None


def test_a_job_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield Note("n1", TEXT)
        raise RuntimeError

    jsonl.write([Note("old", TEXT)], tmp_path / "out.jsonl")
    with pytest.raises(RuntimeError):
        jsonl.write(broken(), tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "old"


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def notes(draw: st.DrawFn) -> Note:
    text = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=2))
    scores = st.none() | st.floats(0, 1)
    concepts: dict[str, Concept] = {}
    for key in draw(st.lists(names, max_size=4, unique=True)):
        edges = draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4, unique=True).map(sorted))
        pairs = [(edges[0], edges[1]), (edges[2], edges[3])] if len(edges) == 4 else []
        attributes = draw(st.dictionaries(names, names, max_size=2))
        concepts[key] = Concept(key, edges[0], edges[-1], draw(names), draw(scores), pairs, attributes)
    relations = []
    if concepts:
        ends = st.sampled_from(list(concepts))
        relations = draw(st.lists(st.builds(Relation, ends, ends, names, scores), max_size=3))
    return Note(draw(names), text, list(concepts.values()), relations)


@settings(max_examples=100, deadline=None)
@given(notes())
def test_what_is_written_is_read_back(note: Note) -> None:
    with TemporaryDirectory() as folder:
        jsonl.write([note], Path(folder) / "notes.jsonl")
        report = Report()
        (sourced,) = jsonl.read(Path(folder), report)
    assert sourced.note == note
    assert report.problems == 0


def test_fields_that_nothing_is_read_from_are_counted(tmp_path: Path) -> None:
    record = {
        "id": "a",
        "text": "Took aspirin.",
        "entities": [],
        "a whole note as a key": 1,
        "concepts": [{"id": "C1", "start": 5, "end": 12, "label": "Drug", "cui": "C0004057"}, "none"],
        "relations": [],
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    report = Report()
    [sourced] = jsonl.read(tmp_path / "a.jsonl", report)
    assert [concept.label for concept in sourced.note.concepts] == ["Drug"]
    reasons = {remark.reason for remark in report.remarks("dropped")}
    unknown = {reason for reason in reasons if reason.startswith("unknown field")}
    names = ("(no name)", "concept.cui", "entities")
    assert unknown == {f"unknown field: {name}" for name in names}


def test_ids_that_are_made_up_take_no_given_one(tmp_path: Path) -> None:
    bare = {key: value for key, value in RASH.items() if key != "id"}
    link = {"head": "C1", "tail": "C2", "label": "X"}
    (note,), report = read(tmp_path, record(concepts=[bare, DRUG | {"id": "C1"}], relations=[link]))
    assert [concept.id for concept in note.concepts] == ["C2", "C1"]
    assert note.relations == [Relation("C1", "C2", "X")]
    assert report.problems == 0


def test_a_key_given_twice_is_counted(tmp_path: Path) -> None:
    (note,), report = read(tmp_path, b'{"id": "a", "text": "x", "concepts": [{"start": 7}], "concepts": []}')
    assert note == Note("a", "x")
    assert remarks(report) == {"duplicate key in an object, the last was kept": ["notes.jsonl:1"]}


def test_fragments_may_overlap_as_in_brat(tmp_path: Path) -> None:
    note = Note("a", TEXT, [Concept("C1", 0, 10, "X", fragments=[(0, 6), (4, 10), (5, 8)])])
    jsonl.write([note], tmp_path / "a.jsonl")
    report = Report()
    assert [sourced.note for sourced in jsonl.read(tmp_path / "a.jsonl", report)] == [note]
    assert report.problems == 0


def test_values_of_attributes_are_strings_or_written_as_json_writes_them(tmp_path: Path) -> None:
    given = {"a": "x", "b": True, "c": None, "d": {"e": [1, "\u00e9"]}, "f": 0.5}
    (note,), report = read(tmp_path, record(concepts=[RASH | {"attributes": given}], relations=[]))
    assert note.concepts[0].attributes == {"a": "x", "b": "true", "d": '{"e": [1, "\u00e9"]}', "f": "0.5"}
    assert report.problems == 0


def test_every_unknown_field_is_counted(tmp_path: Path) -> None:
    _, report = read(tmp_path, record(concepts=[RASH | {"x": 1}, DRUG | {"x": 2}]))
    assert [(r.reason, r.count) for r in report.remarks("dropped")] == [("unknown field: concept.x", 2)]


def test_a_line_without_relations_says_nothing_of_them(tmp_path: Path) -> None:
    silent = {key: value for key, value in record(id="n2").items() if key != "relations"}
    notes, report = read(tmp_path, record(relations=[]), silent, {"id": "n3", "text": TEXT})
    assert [note.relations_known for note in notes] == [True, False, False]
    assert remarks(report) == {"line without a list of concepts, read as a note without any": ["notes.jsonl:3"]}


def test_that_nobody_looked_for_relations_is_written_and_read(tmp_path: Path) -> None:
    notes = [
        Note("a", TEXT, [Concept("C1", 0, 4, "ADE")], relations_known=False),
        Note("b", TEXT, [Concept("C1", 0, 4, "ADE")]),
    ]
    jsonl.write(notes, tmp_path / "notes.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text("utf8").splitlines()]
    assert [(line["relations"], line.get("relations_known")) for line in lines] == [([], False), ([], None)]
    report = Report()
    assert [sourced.note.relations_known for sourced in jsonl.read(tmp_path, report)] == [False, True]
    assert not remarks(report)
