import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import radgraph
from spacy_clinie.formats.source import SourcedNote

TEXT = "FINDINGS : Small left effusion . No pneumothorax ."


def entity(tokens: str, label: str, start: int, end: int, *relations: Any) -> dict[str, Any]:
    return {"tokens": tokens, "label": label, "start_ix": start, "end_ix": end, "relations": list(relations)}


def put(file: Path, records: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(records if isinstance(records, bytes) else json.dumps(records).encode("utf-8"))


def read(folder: Path) -> tuple[list[SourcedNote], Report]:
    report = Report()
    return list(radgraph.read(folder, report)), report


def remarks(report: Report, kind: str) -> dict[str, list[str]]:
    return {remark.reason: remark.examples for remark in report.remarks(kind)}


def test_a_record_has_entities_and_relations(tmp_path: Path) -> None:
    entities = {
        "1": entity("Small", "OBS-DP", 2, 2, ["modify", "3"]),
        "2": entity("left", "ANAT-DP", 3, 3),
        "3": entity("effusion", "OBS-U", 4, 4, ["located_at", "2"], ["suggestive_of", "4"]),
        "4": entity("No pneumothorax", "OBS-DA", 6, 7),
    }
    record = {"text": TEXT, "entities": entities, "data_source": "MIMIC-CXR", "data_split": "dev"}
    put(tmp_path / "train.json", {"p10/p1/s5.txt": record})
    (sourced,), report = read(tmp_path)
    sourced.note.check()
    assert sourced.note == Note(
        "p10/p1/s5.txt",
        TEXT,
        [
            Concept("1", 11, 16, "OBS-DP"),
            Concept("2", 17, 21, "ANAT-DP"),
            Concept("3", 22, 30, "OBS-U"),
            Concept("4", 33, 48, "OBS-DA"),
        ],
        [Relation("1", "3", "modify"), Relation("3", "2", "located_at"), Relation("3", "4", "suggestive_of")],
    )
    assert (sourced.file, sourced.split) == (tmp_path / "train.json", "dev")
    assert sourced.lines == dict.fromkeys("1234", 1)
    assert report.problems == 0


def test_the_first_of_two_labellers_is_read(tmp_path: Path) -> None:
    record = {
        "text": TEXT,
        "labeler_2": {"entities": {"1": entity("left", "ANAT-DP", 3, 3)}},
        "labeler_1": {"entities": {"1": entity("Small", "OBS-DP", 2, 2)}},
        "data_source": "CheXpert",
        "data_split": "test",
    }
    put(tmp_path / "x.json", {"a": record})
    (sourced,), report = read(tmp_path / "x.json")
    assert sourced.note.concepts == [Concept("1", 11, 16, "OBS-DP")]
    assert sourced.split == "test"
    assert remarks(report, "left_out") == {"annotation by another labeller": ["x.json:1"]}
    assert report.problems == 0
    put(tmp_path / "x.json", {"a": record | {"entities": {}}})
    _, report = read(tmp_path / "x.json")
    assert report.remarks("left_out")[0].count == 2


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        (" one  two three", 1, 2),  # a run of blanks separates like one
        (" one  two three four five", 3, 4),  # unless only every single blank gives the tokens
        ("one\r\ntwo\u2028three", 1, 2),
        ("one two\x85three", 1, 2),
    ],
)
def test_tokens_are_found_whatever_blanks_separate_them(tmp_path: Path, text: str, start: int, end: int) -> None:
    put(tmp_path / "x.json", {"a": {"text": text, "entities": {"1": entity("two three", "X", start, end)}}})
    (sourced,), report = read(tmp_path)
    assert text[slice(*sourced.note.concepts[0].offsets)].split() == ["two", "three"]
    assert report.problems == 0


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        (entity("left", "X", 3, 99), "dropped", "token index outside the text"),
        (entity("left", "X", -1, 3), "dropped", "token index outside the text"),
        (entity("left", "X", 4, 3), "dropped", "token index outside the text"),
        (entity("left", "X", 3, "3"), "dropped", "malformed entity"),  # type: ignore[arg-type]
        (entity("left", "X", 3, True), "dropped", "malformed entity"),
        (entity("left", "", 3, 3), "dropped", "malformed entity"),
        (entity("left", "\ud800", 3, 3), "dropped", "malformed entity"),
        ({"tokens": "left", "label": "X"}, "dropped", "malformed entity"),
        ({**entity("left", "X", 3, 3), "relations": {"modify": "1"}}, "dropped", "malformed entity"),
        ("left", "dropped", "malformed entity"),
        (entity("right", "X", 3, 3), "mended", "tokens of an entity differ from the text at its indexes"),
        (entity("left", "X", 3, 3, ["modify", "9"]), "dropped", "relation to a missing id"),
        (entity("left", "X", 3, 3, ["modify"]), "dropped", "malformed relation"),
        (entity("left", "X", 3, 3, ["", "1"]), "dropped", "malformed relation"),
        (entity("left", "X", 3, 3, "modify"), "dropped", "malformed relation"),
        (entity("left", "X", 3, 3, ["m", "1"], ["m", 1]), "left_out", "duplicate relation"),
    ],
)
def test_what_is_not_carried_over_is_counted(tmp_path: Path, bad: Any, where: str, reason: str) -> None:
    records = {"a": {"text": "x", "entities": {}}, "b": {"text": TEXT, "entities": {"1": entity("Small", "Y", 2, 2)}}}
    records["b"]["entities"]["2"] = bad  # type: ignore[index]
    put(tmp_path / "x.json", json.dumps(records, indent=0).encode("utf-8"))
    (_, sourced), report = read(tmp_path)
    found = {each: remarks(report, each) for each in ("dropped", "mended", "left_out")}
    assert found == {"dropped": {}, "mended": {}, "left_out": {}} | {where: {reason: ["x.json:6"]}}
    assert sourced.note.concepts[0] == Concept("1", 11, 16, "Y")
    lost = reason in ("malformed entity", "token index outside the text")
    assert len(sourced.note.concepts) == (1 if lost else 2)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"entities": {}}, "record without text"),
        ({"text": 5, "entities": {}}, "record without text"),
        ([], "record without text"),
        ({"text": "", "entities": {}}, "note without text"),
        ({"text": TEXT}, "record without entities"),
        ({"text": TEXT, "entities": []}, "record without entities"),
        ({"text": TEXT, "labeler_1": None}, "record without entities"),
    ],
)
def test_a_bad_record_does_not_take_the_others_along(tmp_path: Path, record: Any, reason: str) -> None:
    put(tmp_path / "x.json", {"a": {"text": "x", "entities": {}}, "b": record, "c": {"text": "y", "entities": {}}})
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["a", "c"]
    assert remarks(report, "dropped") == {reason: ["x.json:1"]}


def test_a_file_that_was_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    content = json.dumps({key: {"text": key, "entities": {}} for key in "abc"}, indent=1)
    put(tmp_path / "x.json", content[: content.index('"c": {') + 20].encode("utf-8"))
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["a", "b"]
    assert remarks(report, "dropped") == {"file is not a complete JSON object": ["x.json:11"]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b" ", "file is not a complete JSON object"),
        (b'{"b": {"text": "y", "entities": {}}', "file is not a complete JSON object"),
        (b'{"b": {"text": "y", "entities": {}}} {}', "file is not a complete JSON object"),
        (b'{"b": {"text": "y", "entities": {}},}', "file is not a complete JSON object"),
        (b'{"b": ' + b"[" * 100_000 + b"}", "file has a number that is too long, or is nested too deeply"),
        (b'{"b": ' + b"9" * 5000 + b"}", "file has a number that is too long, or is nested too deeply"),
        (b'{"b": {"text": "y", "text": "z", "entities": {}}}', "duplicate key in an object, the last was kept"),
        (b'["b"]', "file is not a complete JSON object"),
        (b"{3: 5}", "file is not a complete JSON object"),
        (b'{"b": "caf\xe9"}', "file is not UTF-8"),
    ],
)
def test_a_bad_file_does_not_take_the_others_along(tmp_path: Path, content: bytes, reason: str) -> None:
    put(tmp_path / "x.json", {"a": {"text": "x", "entities": {}}})
    put(tmp_path / "y.json", content)
    found, report = read(tmp_path)
    assert found[0].note.id == "a"
    assert remarks(report, "dropped") == {reason: ["y.json:1"]}


def test_half_characters_and_byte_order_mark(tmp_path: Path) -> None:
    record = {"text": "bad \ud83d half \U0001f600", "entities": {"1": entity("\ud83d half", "X", 1, 2)}}
    put(tmp_path / "x.json", b"\xef\xbb\xbf" + json.dumps({"a\udc00": record}).encode("ascii"))
    (sourced,), report = read(tmp_path)
    assert (sourced.note.id, sourced.note.text) == ("a\ufffd", "bad \ufffd half \U0001f600")
    assert sourced.note.concepts == [Concept("1", 4, 10, "X")]
    assert remarks(report, "mended") == {"lone surrogate, replaced by U+FFFD": ["x.json:1"]}


def test_two_notes_with_one_id_and_splits_by_file(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        put(tmp_path / f"{name}.json", {"a": {"text": name, "entities": {}, "data_split": None}})
    found, report = read(tmp_path)
    assert [(sourced.note.text, sourced.split) for sourced in found] == [("dev", "dev"), ("train", "train")]
    assert len({sourced.note.id for sourced in found}) == 2
    assert [remark.count for remark in report.remarks("mended")] == [1]


def test_a_path_without_notes_is_a_coded_error(tmp_path: Path) -> None:
    put(tmp_path / "bad" / "x.json", {"a": "b"})
    (tmp_path / "empty").mkdir()
    for path, code in ((tmp_path / "nowhere", "CIE200"), (tmp_path / "empty", "CIE201"), (tmp_path / "bad", "CIE250")):
        with pytest.raises(ClinieError) as error:
            read(path)
        assert error.value.code == code


def test_notes_are_written_as_one_file(tmp_path: Path) -> None:
    concepts = [Concept("1", 22, 30, "OBS-DP", 0.5), Concept("x", 11, 21, "ANAT-DP")]
    radgraph.write([Note("a", TEXT, concepts, [Relation("1", "x", "located_at")])], tmp_path)
    assert json.loads((tmp_path / "radgraph.json").read_text()) == {
        "a": {
            "text": TEXT,
            "entities": {
                "1": entity("effusion", "OBS-DP", 4, 4, ["located_at", "x"]),
                "x": entity("Small left", "ANAT-DP", 2, 3),
            },
        }
    }


@pytest.mark.parametrize(
    ("notes", "code"),
    [
        ([Note("a", "25mg bid", [Concept("1", 0, 2, "X")])], "CIE206"),
        ([Note("a", "25mg bid", [Concept("1", 2, 4, "X")])], "CIE206"),
        ([Note("a", "25mg bid", [Concept("1", 0, 8, "X", fragments=[(0, 4), (5, 8)])])], "CIE206"),
        ([Note("a", "25mg bid", [Concept("1", 0, 4, "")])], "CIE206"),
        ([Note("a", "25mg bid", [Concept("1", 0, 9, "X")])], "CIE004"),
        ([Note("a", "25mg \ud800")], "CIE202"),
        ([Note("a", "25mg"), Note("a", "bid")], "CIE204"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, notes: list[Note], code: str) -> None:
    with pytest.raises(ClinieError) as error:
        radgraph.write(notes, tmp_path / "out")
    assert error.value.code == code
    assert "25mg" not in str(error.value)
    assert not (tmp_path / "out").exists()


@st.composite
def notes(draw: st.DrawFn) -> Note:
    """Texts of any characters, with blanks of every kind; concepts of whole tokens."""
    anything = st.characters(blacklist_categories=("Cs",))
    text = draw(
        st.text(st.one_of(st.sampled_from('  \n\r\t\x1c\x85\u2028\ufeff"\\'), anything), min_size=1, max_size=30)
    )
    tokens = radgraph._tokenizations(text)[0]
    keys = draw(st.lists(st.text(anything, min_size=1, max_size=3), max_size=4, unique=True)) if tokens else []
    concepts = []
    for key in keys:
        first = draw(st.integers(0, len(tokens) - 1))
        last = draw(st.integers(first, len(tokens) - 1))
        concepts.append(
            Concept(key, tokens[first][0], tokens[last][1], draw(st.text(anything, min_size=1, max_size=3)))
        )
    relations = []
    for key in keys:
        links = st.tuples(st.sampled_from(keys), st.sampled_from(["modify", "located_at"]))
        relations += [Relation(key, *link) for link in draw(st.lists(links, max_size=2, unique=True))]
    return Note(draw(st.text(anything, min_size=1, max_size=5)), text, concepts, relations)


@settings(max_examples=150, deadline=None)
@given(st.lists(notes(), min_size=1, max_size=3, unique_by=lambda note: note.id))
def test_what_is_written_is_read_back(written: list[Note]) -> None:
    with TemporaryDirectory() as folder:
        radgraph.write(written, Path(folder) / "notes.json")
        found, report = read(Path(folder))
    assert [sourced.note for sourced in found] == written
    assert report.problems == 0


@pytest.mark.parametrize(("key", "start"), [("2", 99), ("2", "3"), ("", 3)])
def test_relations_of_an_entity_that_is_dropped_are_counted(tmp_path: Path, key: str, start: Any) -> None:
    bad = entity("left", "X", start, 3, ["modify", "1"], ["located_at", "1"])
    put(tmp_path / "x.json", {"a": {"text": TEXT, "entities": {"1": entity("Small", "Y", 2, 2), key: bad}}})
    (sourced,), report = read(tmp_path)
    assert sourced.note.relations == []
    assert {r.reason: r.count for r in report.remarks("dropped")}["relation of an entity that was dropped"] == 2
    assert report.problems == 3


def test_attributes_are_kept_and_other_fields_counted(tmp_path: Path) -> None:
    marked = {**entity("Small", "OBS", 2, 2), "attributes": {"normality": "abnormal"}, "colour": "x"}
    put(tmp_path / "a.json", {"a": {"text": TEXT, "entities": {"1": marked}, "comment": "y", "a note of words": 1}})
    (sourced,), report = read(tmp_path)
    assert sourced.note.concepts == [Concept("1", 11, 16, "OBS", attributes={"normality": "abnormal"})]
    assert set(remarks(report, "dropped")) == {
        f"unknown field: {name}" for name in ("entity.colour", "comment", "(no name)")
    }
    radgraph.write([sourced.note], tmp_path / "again.json")
    assert next(radgraph.read(tmp_path / "again.json", Report())).note == sourced.note
