import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import i2b2
from spacy_clinie.formats.source import SourcedNote

FOLDERS = {".txt": "txt", ".con": "concept", ".rel": "rel", ".ast": "ast"}
TEXT = "Reason for Visit :\nHe had a severe\nheadache after Aspirin .\n"


def put(folder: Path, name: str, **contents: str | bytes) -> None:
    for kind, content in contents.items():
        file = folder / FOLDERS[f".{kind}"] / f"{name}.{kind}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def read(folder: Path) -> tuple[list[SourcedNote], Report]:
    report = Report()
    return list(i2b2.read(folder, report)), report


def read_one(folder: Path, **contents: str | bytes) -> tuple[Note, Report]:
    put(folder, "a", **contents)
    (sourced,), report = read(folder)
    sourced.note.check()
    return sourced.note, report


def remarks(report: Report, kind: str) -> dict[str, list[str]]:
    return {remark.reason: remark.examples for remark in report.remarks(kind)}


def test_concepts_assertions_and_relations(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a",
        txt=TEXT,
        con='c="aspirin" 3:2 3:2||t="treatment"\nc="a severe headache" 2:2 3:0||t="problem"\n',
        ast='c="a severe headache" 2:2 3:0||t="problem"||a="associated_with_someone_else"\n',
        rel='c="aspirin" 3:2 3:2||r="TrCP"||c="a severe headache" 2:2 3:0\n',
    )
    (sourced,), report = read(tmp_path)
    assert sourced.note == Note(
        "a",
        TEXT,
        [
            Concept("C1", 50, 57, "treatment"),
            Concept("C2", 26, 43, "problem", attributes={"assertion": "associated_with_someone_else"}),
        ],
        [Relation("C1", "C2", "TrCP")],
    )
    assert [TEXT[c.start : c.end] for c in sourced.note.concepts] == ["Aspirin", "a severe\nheadache"]
    assert sourced.file == tmp_path / "concept" / "a.con"
    assert sourced.lines == {"C1": 1, "C2": 2}
    assert report.problems == 0


def test_quotes_and_bars_in_the_quoted_text(tmp_path: Path) -> None:
    text = 'the "leaky || valve" and c="x" 1:0 1:0||t="y" .\n'
    note, report = read_one(
        tmp_path,
        txt=text,
        con='c=""leaky || valve"" 1:1 1:3||t="problem"\nc="c="x" 1:0 1:0||t="y"" 1:5 1:7||t="test"\n',
        rel='c="c="x" 1:0 1:0||t="y"" 1:5 1:7||r="TeRP"||c=""leaky || valve"" 1:1 1:3\n',
    )
    assert [text[c.start : c.end] for c in note.concepts] == ['"leaky || valve"', 'c="x" 1:0 1:0||t="y"']
    assert note.relations == [Relation("C2", "C1", "TeRP")]
    assert report.problems == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("one  two three\n", "1:1 1:2"),  # a run of blanks separates like one
        ("one  two three\n", "1:2 1:3"),  # unless only every single blank gives the quoted text
        (" one two three\n", "1:2 1:3"),  # a blank at the start of a line makes an empty token
        ("  one  two three\n", "1:2 1:3"),  # and a run of blanks no more than one
        (" one two three\n", "1:1 1:2"),  # unless only leaving it out gives the quoted text
        ("one two three\r\n", "1:1 1:2"),
        ("\r\none two three\r\n", "2:1 2:2"),
        ("\ufefftwo three", "1:0 1:1"),
        ("one\u2028 two three\n", "1:1 1:2"),
        ("\x0cone \x85 two\nthree", "1:2 2:0"),
        ("TWO THREE", "1:0 1:1"),
    ],
)
def test_tokens_are_found_whatever_blanks_separate_them(tmp_path: Path, text: str, place: str) -> None:
    note, report = read_one(tmp_path, txt=text, con=f'c="two three" {place}||t="test"\n')
    found = text[note.concepts[0].start : note.concepts[0].end]
    assert found.lower().split() == ["two", "three"] and found == found.strip()
    assert note.text == text
    assert report.problems == 0


CON = 'c="aspirin" 3:2 3:2||t="treatment"\n'


@pytest.mark.parametrize(
    ("kind", "line", "where", "reason"),
    [
        ("con", 'c="aspirin" 3:2 3:2||t="treatment', "dropped", "malformed line"),
        ("con", 'c="aspirin" 3:2||t="treatment"', "dropped", "malformed line"),
        ("con", 'c="aspirin" 3:2 3:' + "9" * 5000 + '||t="test"', "dropped", "malformed line"),
        ("con", 'c="aspirin" 3:2 3:9||t="test"', "dropped", "position outside the text"),
        ("con", 'c="aspirin" 0:2 0:2||t="test"', "dropped", "position outside the text"),
        ("con", 'c="aspirin" 9:2 9:2||t="test"', "dropped", "position outside the text"),
        ("con", 'c="aspirin" 3:2 3:1||t="test"', "dropped", "position outside the text"),
        ("con", 'c="aspirin" 3:2 3:2||t="treatment"', "left_out", "duplicate concept"),
        ("con", 'c="aspirin" 3:1 3:1||t="test"', "mended", "quoted text differs from the text at its position"),
        ("ast", 'c="aspirin" 3:1 3:1||t="treatment"||a="present"', "dropped", "assertion without a matching concept"),
        ("ast", 'c="aspirin" 3:2 3:2||t="problem"||a="present"', "dropped", "assertion without a matching concept"),
        ("ast", 'c="aspirin" 3:2 3:2||t="treatment"', "dropped", "malformed line"),
        ("ast", 'c="aspirin" 3:2 3:2||t="treatment"||a="absent"', "dropped", "second assertion of a concept"),
        ("rel", 'c="aspirin" 3:2 3:2||r="TrIP"||c="x" 1:0 1:0', "dropped", "relation to a missing concept"),
        ("rel", 'c="x" 1:0 1:0||r="TrIP"||c="aspirin" 3:2 3:2', "dropped", "relation to a missing concept"),
        ("rel", 'c="aspirin" 3:2 3:2||r="TrIP"', "dropped", "malformed line"),
        ("rel", 'c="aspirin" 3:2 3:2||r="PIP"||c="aspirin" 3:2 3:2', "left_out", "duplicate relation"),
    ],
)
def test_what_is_not_carried_over_is_counted(tmp_path: Path, kind: str, line: str, where: str, reason: str) -> None:
    contents = {
        "con": CON,
        "ast": 'c="aspirin" 3:2 3:2||t="treatment"||a="present"\n',
        "rel": 'c="aspirin" 3:2 3:2||r="PIP"||c="aspirin" 3:2 3:2\n',
    }
    contents[kind] += f"\n{line}\n"
    note, report = read_one(tmp_path, txt=TEXT, **contents)
    found = {each: remarks(report, each) for each in ("dropped", "mended", "left_out")}
    assert found == {"dropped": {}, "mended": {}, "left_out": {}} | {where: {reason: [f"a.{kind}:3"]}}
    assert note.concepts[0] == Concept("C1", 50, 57, "treatment", attributes={"assertion": "present"})
    assert len(note.concepts) == (2 if where == "mended" else 1)
    assert note.relations == [Relation("C1", "C1", "PIP")]


def test_two_types_at_one_position(tmp_path: Path) -> None:
    note, report = read_one(
        tmp_path,
        txt=TEXT,
        con=CON + 'c="aspirin" 3:2 3:2||t="problem"\n',
        ast='c="aspirin" 3:2 3:2||t="problem"||a="possible"\n',
        rel='c="aspirin" 3:2 3:2||r="TrIP"||c="aspirin" 3:2 3:2\n',
    )
    assert [(c.label, c.attributes) for c in note.concepts] == [
        ("treatment", {}),
        ("problem", {"assertion": "possible"}),
    ]
    assert note.relations == [Relation("C1", "C1", "TrIP")]
    reason = "relation to a position with several concepts, the first was used"
    assert remarks(report, "mended") == {reason: ["a.rel:1"]}


def test_types_stay_as_they_are_written(tmp_path: Path) -> None:
    note, report = read_one(
        tmp_path,
        txt=TEXT,
        con=CON.replace("treatment", "Treatment") + CON.replace("treatment", "TREATMENT"),
        ast="".join(
            f'c="aspirin" 3:2 3:2||t="{kind}"||a="{value}"\n' for kind, value in (("treatment", 1), ("TREATMENT", 2))
        ),
    )
    assert [(c.label, c.attributes) for c in note.concepts] == [
        ("Treatment", {"assertion": "1"}),
        ("TREATMENT", {"assertion": "2"}),
    ]
    assert report.problems == 0
    i2b2.write([note], tmp_path / "again")
    (again,), _ = read(tmp_path / "again")
    assert again.note.concepts == note.concepts


def test_the_official_layout_is_read(tmp_path: Path) -> None:
    """One record name in two hospitals; the test texts in another folder than their reference standard."""
    training = tmp_path / "concept_assertion_relation_training_data"
    put(training / "beth", "record-1", txt="pain\n", con='c="pain" 1:0 1:0||t="problem"\n')
    put(training / "partners", "record-1", txt="no pain\n", con='c="pain" 1:1 1:1||t="problem"\n')
    put(tmp_path / "reference_standard_for_test_data", "7", con='c="pain" 1:2 1:2||t="problem"\n')
    (tmp_path / "test_data").mkdir()
    (tmp_path / "test_data" / "7.txt").write_text("much more pain\n")
    found, report = read(tmp_path)
    assert [(sourced.note.id, sourced.split, sourced.note.concepts) for sourced in found] == [
        ("concept_assertion_relation_training_data/beth/record-1", "train", [Concept("C1", 0, 4, "problem")]),
        ("concept_assertion_relation_training_data/partners/record-1", "train", [Concept("C1", 3, 7, "problem")]),
        ("7", "test", [Concept("C1", 10, 14, "problem")]),
    ]
    assert remarks(report, "dropped") == {}
    assert remarks(report, "mended") == {"duplicate note id, the folder was added": ["record-1.txt"] * 2}


def test_a_folder_for_each_note_with_files_of_one_name(tmp_path: Path) -> None:
    for number in range(400):
        folder = tmp_path / str(number % 20) / str(number)
        folder.mkdir(parents=True)
        (folder / "note.txt").write_text("no " * number + "pain\n")
        (folder / "note.con").write_text(f'c="pain" 1:{number} 1:{number}||t="problem"\n')
    (tmp_path / "7" / "note.con").write_text("")  # which of twenty?
    found, report = read(tmp_path)
    places = {sourced.note.id: [concept.offsets for concept in sourced.note.concepts] for sourced in found}
    assert places == {f"{n % 20}/{n}/note": [(3 * n, 3 * n + 4)] for n in range(400)}
    assert remarks(report, "dropped") == {"annotation file that matches several texts": ["note.con"]}


@pytest.mark.parametrize("official", [True, False])
def test_a_single_file_is_read_without_its_neighbours(tmp_path: Path, official: bool) -> None:
    rel = 'c="aspirin" 3:2 3:2||r="PIP"||c="aspirin" 3:2 3:2\n'
    put(tmp_path, "a", txt=TEXT, con=CON, rel=rel)
    put(tmp_path, "b", txt=TEXT, con="")
    if not official:
        for file in list(tmp_path.glob("*/*")):
            file.rename(tmp_path / file.name)
    (sourced,), report = read(tmp_path / "txt" / "a.txt" if official else tmp_path / "a.txt")
    assert sourced.note == Note("a", TEXT, [Concept("C1", 50, 57, "treatment")], [Relation("C1", "C1", "PIP")])
    assert report.problems == 0
    with pytest.raises(ClinieError, match=r"CIE201.*Give the folder"):
        read(sourced.file)


def test_files_that_do_not_pair_or_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path / "x", "a", txt=TEXT, con=CON)
    put(tmp_path / "other", "a", con="")  # somebody's predictions
    put(tmp_path / "x", "no-text", con=CON)
    put(tmp_path / "x", "no-annotation", txt=TEXT)
    put(tmp_path / "x", "empty", txt="", con="")
    put(tmp_path / "x", "latin", txt="caf\xe9".encode("latin-1"), con="")
    put(tmp_path / "x", "latin-con", txt="caf\xe9", con='\nc="caf\xe9"'.encode("latin-1"))
    put(tmp_path / "y", "b", txt=TEXT)
    put(tmp_path / "z", "b", txt=TEXT)
    put(tmp_path, "b", con=CON)
    found, report = read(tmp_path)
    assert [(sourced.note.id, len(sourced.note.concepts)) for sourced in found] == [
        ("a", 1),
        ("no-annotation", 0),
        ("y/b", 0),
        ("z/b", 0),
    ]
    assert remarks(report, "dropped") == {
        "file is not UTF-8": ["latin-con.con:2", "latin.txt:1"],
        "annotation file that matches several texts": ["b.con"],
        "annotation file without a text": ["no-text.con"],
        "note without text": ["empty.txt"],
        "second annotation file of a note": ["a.con"],
    }
    assert remarks(report, "mended")["note without an annotation file"] == ["no-annotation.txt", "b.txt", "b.txt"]


def test_a_path_without_annotated_notes_is_a_coded_error(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nowhere", "CIE200"), (tmp_path, "CIE201")):
        with pytest.raises(ClinieError) as error:
            read(path)
        assert error.value.code == code
    put(tmp_path, "a", txt=TEXT)
    with pytest.raises(ClinieError) as error:
        read(tmp_path)
    assert error.value.code == "CIE205"


def test_a_note_is_written_as_four_files(tmp_path: Path) -> None:
    note = Note(
        "beth/a",
        TEXT,
        [Concept("x", 26, 43, "problem", attributes={"assertion": "present"}), Concept("y", 50, 57, "treatment", 0.5)],
        [Relation("y", "x", "TrCP")],
    )
    with pytest.warns(ClinieWarning, match=r"CIE207.*'beth/a'"):
        i2b2.write([note], tmp_path)
    contents = {kind: (tmp_path / "beth" / folder / f"a{kind}").read_text() for kind, folder in FOLDERS.items()}
    assert contents == {
        ".txt": TEXT,
        ".con": 'c="a severe headache" 2:2 3:0||t="problem"\nc="aspirin" 3:2 3:2||t="treatment"\n',
        ".rel": 'c="aspirin" 3:2 3:2||r="TrCP"||c="a severe headache" 2:2 3:0\n',
        ".ast": 'c="a severe headache" 2:2 3:0||t="problem"||a="present"\n',
    }


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (Note("a", "25mg bid", [Concept("C1", 0, 2, "test")]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 2, 4, "test")]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 0, 8, "test", fragments=[(0, 4), (5, 8)])]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 0, 4, "test", attributes={"certainty": "low"})]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 0, 4, "test", attributes={"assertion": '"'})]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 0, 4, "test")], [Relation("C1", "C1", '"')]), "CIE206"),
        (Note("a", "25mg bid", [Concept("C1", 0, 9, "test")]), "CIE004"),
        (Note("/a", "25mg bid"), "CIE203"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, note: Note, code: str) -> None:
    with pytest.raises(ClinieError) as error:
        i2b2.write([note], tmp_path / "out")
    assert error.value.code == code
    assert "25mg" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_two_notes_with_one_id_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ClinieError) as error:
        i2b2.write([Note("a", "x"), Note("a", "y")], tmp_path)
    assert error.value.code == "CIE204"


@st.composite
def notes(draw: st.DrawFn, note_id: str) -> Note:
    """Texts of any characters, with blanks, line ends and what passes for them elsewhere; concepts of whole tokens."""
    odd = st.sampled_from('  \n\r\t\x0c\x85\u2028\ufeff"|ΑΣİ:')
    text = draw(st.text(st.one_of(odd, st.characters(blacklist_categories=("Cs",))), min_size=1, max_size=30))
    starts, ends = i2b2._Places(text).edges()
    concepts: list[Concept] = []
    for _ in range(draw(st.integers(0, 4)) if starts else 0):
        start = draw(st.sampled_from(sorted(starts)))
        end = draw(st.sampled_from(sorted(end for end in ends if end > start)))
        if (start, end) not in {concept.offsets for concept in concepts}:
            assertion = draw(st.sampled_from([{}, {"assertion": "present"}]))
            concepts.append(Concept(f"C{len(concepts) + 1}", start, end, "problem", attributes=dict(assertion)))
    relations = []
    if concepts:
        ids = st.sampled_from([concept.id for concept in concepts])
        labels = st.sampled_from(["PIP", "TrIP"])
        relations = [Relation(*t) for t in draw(st.lists(st.tuples(ids, ids, labels), max_size=3, unique=True))]
    return Note(note_id, text, concepts, relations)


@settings(max_examples=150, deadline=None)
@given(st.tuples(notes("beth/1"), notes("partners/1"), notes("2")))
def test_what_is_written_is_read_back(written: tuple[Note, ...]) -> None:
    with TemporaryDirectory() as folder:
        i2b2.write(written, Path(folder))
        found, report = read(Path(folder))
    assert sorted((sourced.note for sourced in found), key=lambda note: note.id) == sorted(
        written, key=lambda note: note.id
    )
    assert remarks(report, "dropped") == {}
    assert set(remarks(report, "mended")) == {"duplicate note id, the folder was added"}


@pytest.mark.parametrize(
    ("text", "con", "found"),
    [
        ("He took\taspirin 81 mg .\n", 'c="aspirin" 1:2 1:2||t="treatment"\n', "aspirin"),
        ("He took aspirin\xa081 mg .\n", 'c="81" 1:3 1:3||t="treatment"\n', "81"),
        ("\tHe took\taspirin .\n", 'c="aspirin" 1:3 1:3||t="treatment"\n', "aspirin"),
        ("He took\raspirin now\r", 'c="aspirin" 2:0 2:0||t="treatment"\n', "aspirin"),
    ],
)
def test_tokens_that_tabs_and_the_like_separate(tmp_path: Path, text: str, con: str, found: str) -> None:
    note, report = read_one(tmp_path, txt=text, con=con)
    assert [text[c.start : c.end] for c in note.concepts] == [found]
    assert report.problems == 0


def test_tabs_separate_only_where_the_quoted_text_stands(tmp_path: Path) -> None:
    text = "He took\taspirin 81 mg .\n"
    note, report = read_one(tmp_path, txt=text, con='c="zyxomab" 1:2 1:2||t="treatment"\n')
    assert [text[c.start : c.end] for c in note.concepts] == ["81"]
    assert list(remarks(report, "mended")) == ["quoted text differs from the text at its position"]


def test_a_relation_to_the_second_concept_of_a_position_cannot_be_written(tmp_path: Path) -> None:
    concepts = [Concept("a", 0, 3, "test"), Concept("b", 0, 3, "problem"), Concept("c", 4, 7, "treatment")]
    i2b2.write([Note("n", "one two", concepts, [Relation("c", "a", "TrAP")])], tmp_path)
    with pytest.raises(ClinieError, match="CIE206"):
        i2b2.write([Note("n", "one two", concepts, [Relation("c", "b", "TrAP")])], tmp_path)


def test_a_folder_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a", txt=b"Caf\xe9", con="")
    with pytest.raises(ClinieError, match="CIE250"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("rel", 'c="x" 1:0 1:0||r="T"||' * 8000),
        ("rel", 'c="x" 1:0 1:0||r="T"||' * 8000 + 'c="x" 1:0 1:0 '),
        ("con", 'c="x" 1:0 1:0||t="T"||' * 8000),
        ("ast", 'c="x" 1:0 1:0||t="T"||a="T"||' * 8000),
    ],
)
def test_a_line_takes_no_longer_than_its_length_allows(tmp_path: Path, kind: str, line: str) -> None:
    begin = time.process_time()
    read_one(tmp_path, **({"txt": TEXT, "con": CON} | {kind: line}))
    assert time.process_time() - begin < 1


def test_a_note_without_a_file_of_relations_says_nothing_of_them(tmp_path: Path) -> None:
    concept = 'c="aspirin" 3:2 3:2||t="treatment"\n'
    put(tmp_path, "a", txt=TEXT, con=concept, rel="")
    put(tmp_path, "b", txt=TEXT, con=concept)
    found, report = read(tmp_path)
    assert [sourced.note.relations_known for sourced in found] == [True, False]
    assert list(remarks(report, "mended")) == ["note without a .rel file, its relations count as not annotated"]


def test_a_corpus_of_concepts_alone_needs_no_word_about_relations(tmp_path: Path) -> None:
    note, report = read_one(tmp_path / "there", txt=TEXT, con='c="aspirin" 3:2 3:2||t="treatment"\n')
    assert not note.relations_known
    assert not remarks(report, "mended")
    i2b2.write([note], tmp_path / "written")
    assert {file.suffix for file in (tmp_path / "written").rglob("*.*")} == {".txt", ".con", ".ast"}
