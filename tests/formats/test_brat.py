"""Files of brat: which are read and how they find each other, what a line means, and what is written."""

import os
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import brat
from spacy_clinie.formats.source import SourcedNote

TEXT = "Took Lisinopril 5mg.\nRash on left and right arm."


def put(folder: Path, name: str, text: str | bytes, annotation: str | bytes | None = None) -> None:
    for suffix, content in ((".txt", text), (".ann", annotation)):
        if content is not None:
            file = folder / f"{name}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def read(folder: Path) -> tuple[list[SourcedNote], Report]:
    report = Report()
    return list(brat.read(folder, report)), report


def read_one(folder: Path, text: str | bytes, annotation: str | bytes) -> tuple[Note, Report]:
    put(folder, "a", text, annotation)
    (sourced,), report = read(folder)
    sourced.note.check()
    return sourced.note, report


def remarks(report: Report, kind: str) -> dict[str, list[str]]:
    return {remark.reason: remark.examples for remark in report.remarks(kind)}


def test_a_note_has_concepts_relations_and_attributes(tmp_path: Path) -> None:
    annotation = (
        "T1\tDrug 5 15\tLisinopril\n"
        "T2\tDose 16 19\t5mg\n"
        "R1\tDose-Drug Arg1:T2 Arg2:T1\n"
        "A1\tNegated T1\n"
        "A2\tCertainty T1 very sure\n"
        "N1\tReference T1 RxNorm:29046\tlisinopril\n"
    )
    put(tmp_path, "a", TEXT, annotation)
    (sourced,), report = read(tmp_path)
    attributes = {"Negated": "true", "Certainty": "very sure", "Reference": "RxNorm:29046"}
    assert sourced.note == Note(
        "a",
        TEXT,
        [Concept("T1", 5, 15, "Drug", attributes=attributes), Concept("T2", 16, 19, "Dose")],
        [Relation("T2", "T1", "Dose-Drug")],
    )
    assert sourced.file == tmp_path / "a.ann"
    assert sourced.split is None
    assert sourced.lines == {"T1": 1, "T2": 2}
    assert report.problems == 0


def test_fragments_are_put_in_text_order_and_kept_as_they_are(tmp_path: Path) -> None:
    annotation = (
        "T1\tSite 38 47;29 33\tright arm left\n"
        "T2\tSite 29 33;33 38\tleft  and \n"
        "T3\tSite 29 37;34 47\tleft and and right arm\n"
        "T4\tMix 16 20;21 25\t5mg. Rash\n"
    )
    note, report = read_one(tmp_path, TEXT, annotation)
    assert [concept.offsets for concept in note.concepts] == [(29, 47), (29, 38), (29, 47), (16, 25)]
    assert [concept.fragments for concept in note.concepts] == [
        [(29, 33), (38, 47)],
        [(29, 33), (33, 38)],
        [(29, 37), (34, 47)],
        [(16, 20), (21, 25)],
    ]
    assert report.problems == 0


def test_events_become_relations_of_their_triggers(tmp_path: Path) -> None:
    # Arguments may be events, may be defined later, and roles may carry a number.
    annotation = (
        "E1\tUse:T1 Amount:T2 Effect2:E2\n"
        "R1\tCAUSE Arg1:E1 Arg2:E2\t\n"
        "A1\tStatus E2 past\n"
        "T1\tUse 5 15\tLisinopril\n"
        "T2\tAmount 16 19\t5mg\n"
        "E2\tSymptom:T3 \n"
        "T3\tSymptom 21 25\tRash\n"
    )
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.relations == [
        Relation("T1", "T2", "Amount"),
        Relation("T1", "T3", "Effect"),
        Relation("T1", "T3", "CAUSE"),
    ]
    assert note.concepts[2].attributes == {"Status": "past"}
    assert report.problems == 0


def test_head_is_the_first_argument_by_number_or_else_by_place(tmp_path: Path) -> None:
    annotation = (
        "T1\tA 0 4\tTook\nT2\tB 5 15\tLisinopril\n"
        "R1\tof Arg2:T2 Arg1:T1\nR2\tself Arg1:T1 Arg2:T1\nR3\tby Whole:T2 Part:T1\n"
    )
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.relations == [Relation("T1", "T2", "of"), Relation("T1", "T1", "self"), Relation("T2", "T1", "by")]
    assert report.problems == 0


@pytest.mark.parametrize(
    "annotation",
    [
        "T1 Drug 5 15 Lisinopril\nT2  Dose  16\t19\t5mg\nR1 of Arg1:T2\tArg2:T1\t\n",
        "\n  T1\tDrug 5 15\tLisinopril  \r\nT2\tDose 16 19\t5mg\r\n\r\nR1\tof   Arg1:T2 Arg2:T1 \r\n",
        "\ufeffT1\tDrug 5 15\tLisinopril\nT2\tDose 16 19\t5mg\nR1\tof Arg1:T2 Arg2:T1",
    ],
)
def test_tabs_blanks_line_ends_and_byte_order_mark_make_no_difference(tmp_path: Path, annotation: str) -> None:
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.concepts == [Concept("T1", 5, 15, "Drug"), Concept("T2", 16, 19, "Dose")]
    assert note.relations == [Relation("T2", "T1", "of")]
    assert report.problems == 0


def test_carriage_returns_count_as_characters(tmp_path: Path) -> None:
    note, report = read_one(
        tmp_path, "a\r\nb \U0001f600 c\u2028d", "T1\tX 3 4\tb\nT2\tX 0 4\ta b\nT3\tX 7 10\tc\u2028d\n"
    )
    assert note.text == "a\r\nb \U0001f600 c\u2028d"
    assert [note.text[c.start : c.end] for c in note.concepts] == ["b", "a\r\nb", "c\u2028d"]
    assert report.problems == 0


def test_byte_order_mark_stays_without_evidence(tmp_path: Path) -> None:
    note, report = read_one(tmp_path, "\ufefftook drugs", "")
    assert note.text == "\ufefftook drugs"
    assert report.problems == 0


SMILEY = "\U0001f600"


@pytest.mark.parametrize(
    ("text", "spans", "counted"),
    [
        ("\ufefftook drugs", "6 11 drugs", ""),
        ("\ufefftook drugs", "5 10 drugs", "no byte order mark, characters"),
        ("some\r\ndrugs", "6 11 drugs", ""),
        ("some\r\ndrugs", "5 10 drugs", "line ends as one, characters"),
        ("some\r\ndrugs now", "0 10 some drugs;11 14 now", "line ends as one, characters"),
        ("some\ndrugs", "6 11 drugs", "line ends as two, characters"),
        (f"{SMILEY} drugs {SMILEY}", "2 7 drugs;8 9 {SMILEY}", ""),
        (f"{SMILEY} drugs {SMILEY}", "3 8 drugs;9 11 {SMILEY}", "UTF-16 units"),
        ("caf\xe9 drugs", "6 11 drugs", "bytes"),
        (f"\ufeff{SMILEY * 3}\r\ndrugs", "7 12 drugs", "no byte order mark, line ends as one, UTF-16 units"),
        # Nothing makes this agree, and the last two are no reason to move the first.
        (f"{SMILEY}\r\ndrugs", "3 8 drogue", ""),
        (f"{SMILEY} drugs\r\n drugs", "2 7 drugs;0 1 no;3 8 no", ""),
        # Without a recorded string nothing tells, not even that blanks would stand there.
        (f"{SMILEY}x y", "3 4", ""),
    ],
)
def test_offsets_that_count_otherwise_are_translated(tmp_path: Path, text: str, spans: str, counted: str) -> None:
    rows = [span.replace("{SMILEY}", SMILEY).split(" ", 2) for span in spans.split(";")]
    lines = [f"T{i}\tX {start} {end}\t{' '.join(quoted)}\n" for i, (start, end, *quoted) in enumerate(rows, 1)]
    note, report = read_one(tmp_path, text, "".join(lines))
    assert note.text == text
    differing = 0
    for concept, (start, end, *quoted) in zip(note.concepts, rows, strict=True):
        agrees = " ".join(text[concept.start : concept.end].split()) == " ".join(quoted)
        differing += not agrees
        assert agrees or (concept.start, concept.end) == (int(start), int(end))
    differs = {"recorded text differs from the text at the offsets": differing} if differing else {}
    translated = {f"offsets count {counted}, converted to characters of the file": 1} if counted else {}
    assert {remark.reason: remark.count for remark in report.remarks("mended")} == differs | translated


def test_offsets_past_the_end_stay_there_when_translated(tmp_path: Path) -> None:
    annotation = "T1\tX 3 8\tdrugs\nT2\tX 3 9\tdrugs!\nT3\tX 0 1\t\n"
    note, report = read_one(tmp_path, f"{SMILEY} drugs", annotation)
    assert [concept.id for concept in note.concepts] == ["T1"]
    assert remarks(report, "dropped") == {
        "offset past the end of the text": ["a.ann:2"],
        "span that is empty or ends before it starts": ["a.ann:3"],
    }


def test_an_annotation_file_with_carriage_returns_alone(tmp_path: Path) -> None:
    note, report = read_one(tmp_path, TEXT, "T1\tDrug 5 15\tLisinopril\rT2\tDose 16 19\t5mg\rR1\tof Arg1:T2 Arg2:T1\r")
    assert (len(note.concepts), len(note.relations), report.problems) == (2, 1, 0)


def test_a_recorded_string_that_looks_like_a_fragment(tmp_path: Path) -> None:
    text = "Score ;6 8 mg"
    note, report = read_one(tmp_path, text, "T1\tX 6 10\t;6 8\nT2\tX 6 8 ; 9 10\t;6 8\n")
    assert note.concepts == [Concept("T1", 6, 10, "X"), Concept("T2", 6, 10, "X", fragments=[(6, 8), (9, 10)])]
    assert report.problems == 0


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("T2\tX 44 49\tarm.", "dropped", "offset past the end of the text"),
        ("T2\tX 5 5\t", "dropped", "span that is empty or ends before it starts"),
        ("T2\tX 9 5\tx", "dropped", "span that is empty or ends before it starts"),
        ("T2\tX 0 4;9 9\tTook", "dropped", "span that is empty or ends before it starts"),
        ("T2\tX -3 4\tTook", "dropped", "malformed line"),
        ("T2\tX 0 4.0\tTook", "dropped", "malformed line"),
        ("T2\tX 0 " + "9" * 5000, "dropped", "malformed line"),
        ("T2\tX 0", "dropped", "malformed line"),
        ("T2", "dropped", "malformed line"),
        ("T1\tY 0 4\tTook", "dropped", "duplicate id"),
        ("R1\tof Arg1:T1 Arg2:T9", "dropped", "relation to a missing id"),
        ("R1\tof Arg1:T1 Arg2:", "dropped", "malformed line"),
        ("R1\tof Arg1:T1", "dropped", "malformed line"),
        ("R1\tof Arg1:T1 Arg2:T1 Arg3:T1", "dropped", "malformed line"),
        ("R1\tof T1 T1", "dropped", "malformed line"),
        ("E1\tX:T9", "dropped", "event without its trigger"),
        ("E1\t", "dropped", "malformed line"),
        ("E1\tX:T1 2:T1", "dropped", "malformed line"),
        ("A1\tNegated", "dropped", "malformed line"),
        ("A1\tNegated R7", "dropped", "attribute of something that is not a concept"),
        ("X1\twhat", "dropped", "unknown kind of line"),
        ("T2\tX 0 4\tTake", "mended", "recorded text differs from the text at the offsets"),
        ("T2\tX 0 4", "mended", "recorded text differs from the text at the offsets"),
        ("E1\tY:T1", "mended", "event and trigger of different types, the trigger's was kept"),
        ("*\tEquiv T1 T1", "left_out", "relation of any number of members (* line)"),
        ("#1\tAnnotatorNotes T1\tlook again", "left_out", "annotator's note"),
    ],
)
def test_what_is_not_carried_over_is_counted(tmp_path: Path, line: str, kind: str, reason: str) -> None:
    note, report = read_one(tmp_path, TEXT, f"T1\tX 5 15\tLisinopril\n{line}\n")
    found = {each: remarks(report, each) for each in ("dropped", "mended", "left_out")}
    assert found == {"dropped": {}, "mended": {}, "left_out": {}} | {kind: {reason: ["a.ann:2"]}}
    assert note.concepts[0] == Concept("T1", 5, 15, "X")
    assert len(note.concepts) == (2 if line.startswith("T2") and kind == "mended" else 1)


def test_relations_of_an_event_without_trigger_are_counted(tmp_path: Path) -> None:
    annotation = "T1\tX 0 4\tTook\nE1\tUse:T7 Amount:T1\nR1\tof Arg1:E1 Arg2:T1\n"
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.relations == []
    assert remarks(report, "dropped") == {
        "event without its trigger": ["a.ann:2"],
        "relation to a missing id": ["a.ann:2", "a.ann:3"],
    }


def test_what_is_said_twice_is_kept_or_counted(tmp_path: Path) -> None:
    annotation = (
        "T1\tX 0 4\tTook\nT2\tX 5 15\tLisinopril\n"
        "R1\tof Arg1:T1 Arg2:T2\nR2\tof Arg1:T1 Arg2:T2\nR2\tby Arg1:T1 Arg2:T2\n"
        "A1\tNeg T1\nA2\tNeg T1\nA3\tTime T1 past\nA4\tTime T1 now\n"
    )
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.relations == [Relation("T1", "T2", "of"), Relation("T1", "T2", "of"), Relation("T1", "T2", "by")]
    assert note.concepts[0].attributes == {"Neg": "true", "Time": "past|now"}
    assert remarks(report, "left_out") == {"duplicate attribute": ["a.ann:7"]}
    assert remarks(report, "mended") == {
        "duplicate id, both kept": ["a.ann:5"],
        "attribute with several values, joined by |": ["a.ann:9"],
    }


def test_a_file_that_was_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    note, report = read_one(tmp_path, TEXT, "T1\tX 0 4\tTook\nR1\tof Arg1:T1 Arg2:T1\nT2\tX 5")
    assert (len(note.concepts), len(note.relations)) == (1, 1)
    assert remarks(report, "dropped") == {"malformed line": ["a.ann:3"]}


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("maccrobat2020", {"documents": 200, "concepts": 25189, "relations": 16307, "discontinuous": 44}),
        ("mtsamples_sdoh", {"documents": 361, "concepts": 3778, "relations": 2649, "mended": 10}),
        ("ddi2013", {"documents": 1017, "concepts": 18491, "relations": 5000, "discontinuous": 49, "mended": 5}),
        (
            "chia",
            {
                "documents": 2000,
                "concepts": 44616,
                "relations": 20153,
                "discontinuous": 1796,
                "mended": 3,
            },
        ),
    ],
)
def test_counts_of_the_open_corpora(corpora: Path, corpus: str, expected: dict[str, int]) -> None:
    found, report = read(corpora / corpus)
    for sourced in found:
        sourced.note.check()
        report.add(sourced.note)
    assert {
        "documents": report.documents,
        "concepts": sum(report.concepts.values()),
        "relations": sum(report.relations.values()),
        "discontinuous": report.discontinuous,
        "mended": report.problems,
    } == {"discontinuous": 0, "mended": 0} | expected
    assert remarks(report, "dropped") == {}


def test_lines_of_any_number_of_members_can_be_read_by_pairs(tmp_path: Path) -> None:
    annotation = (
        "T1\tX 0 4\tTook\nT2\tX 5 15\tLisinopril\nT3\tX 0 1\tT\n*\tOR T1 T2 T3\n*\tAND T1 T2\n*\tOR T1 T9\n*\tOR T1\n"
    )
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf8")
    (tmp_path / "a.ann").write_text(annotation, encoding="utf8")
    report = Report()
    (sourced,) = brat.read(tmp_path, report, pairwise=("OR",))
    assert [(r.head, r.tail, r.label) for r in sourced.note.relations] == [
        ("T1", "T2", "OR"),
        ("T1", "T3", "OR"),
        ("T2", "T3", "OR"),
    ]
    assert remarks(report, "left_out") == {
        "relation of any number of members (* line)": ["a.ann:5"],
        "relation of fewer than two members (* line)": ["a.ann:7"],
    }
    assert remarks(report, "dropped") == {"relation to a missing id": ["a.ann:6"]}


def test_splits_types_and_what_is_left_out_of_the_open_corpora(corpora: Path) -> None:
    counts = {}
    for corpus in ("mtsamples_sdoh", "ddi2013", "maccrobat2020"):
        found, report = read(corpora / corpus)
        for sourced in found:
            report.add(sourced.note)
        splits = [sourced.split for sourced in found]
        counts[corpus] = {split: splits.count(split) for split in ("train", "dev", "test")}
    assert counts["mtsamples_sdoh"] == {"train": 251, "dev": 73, "test": 37}
    assert counts["ddi2013"] == {"train": 714, "dev": 0, "test": 303}
    assert (len(report.concepts), len(report.relations)) == (41, 7)
    assert sum(report.relations[label] for label in ("BEFORE", "AFTER", "CO-OCCURRENCE")) == 16307 - 13890
    assert {remark.reason: remark.count for remark in report.remarks("left_out")}[
        "relation of any number of members (* line)"
    ] == 2023


def test_two_events_with_one_trigger_are_put_together_and_counted(tmp_path: Path) -> None:
    annotation = "T1\tDrug 0 4\tTook\nT2\tDose 16 19\t5mg\nE1\tDrug:T1 Dose:T2\nE2\tDrug:T1\n"
    note, report = read_one(tmp_path, TEXT, annotation)
    assert note.relations == [Relation("T1", "T2", "Dose")]
    assert remarks(report, "mended") == {"two events with the same trigger, merged": ["a.ann:4"]}


def test_values_keep_the_blanks_that_they_have(tmp_path: Path) -> None:
    values = {"One": "a  b", "Two": "x\ty  |", "Three": "\u3000z"}
    lines = "".join(f"A{i}\t{name}  T1 \t{value} \n" for i, (name, value) in enumerate(values.items()))
    note, report = read_one(tmp_path, TEXT, f"T1\tDrug 5 15\tLisinopril\n{lines}")
    assert note.concepts[0].attributes == values
    assert report.problems == 0
    brat.write([note], tmp_path / "again")
    (again,) = brat.read(tmp_path / "again", Report())
    assert again.note.concepts == note.concepts


def test_values_with_bars_are_joined_once(tmp_path: Path) -> None:
    note, report = read_one(tmp_path, TEXT, "T1\tDrug 5 15\tLisinopril\nA1\tV T1 a|b\nA2\tV T1 a|b\nA3\tV T1 b|c\n")
    assert note.concepts[0].attributes == {"V": "a|b|c"}
    assert list(remarks(report, "left_out")) == ["duplicate attribute"]
    assert list(remarks(report, "mended")) == ["attribute with several values, joined by |"]


def test_what_is_left_of_a_broken_line_is_no_annotation(tmp_path: Path) -> None:
    """A recorded string over several lines, and other tools' ids."""
    annotation = (
        "T1\tDrug 5 15\tLisinopril\nTylenol every 4 6 hours\nReason why Arg1:T1 Arg2:T1\n"
        "Tx\tDose 16 19\t5mg\nR1 of Arg1:Tx Arg2:T1\n"
    )
    note, report = read_one(tmp_path, TEXT, annotation)
    assert [concept.label for concept in note.concepts] == ["Drug", "Dose"]
    assert [one.label for one in note.relations] == ["of"]
    assert remarks(report, "dropped") == {"unknown kind of line": ["a.ann:2", "a.ann:3"]}


def test_folders_splits_and_ids(tmp_path: Path) -> None:
    for name in ("Train/x/1", "test_data/1", "development/2", "3"):
        put(tmp_path, name, "text", "T1\tX 0 4\ttext\n")
    put(tmp_path, "README", "about")
    put(tmp_path, "._3", b"\x00\x05")
    found, report = read(tmp_path)
    assert [(sourced.note.id, sourced.split) for sourced in found] == [
        ("3", None),
        ("Train/x/1", "train"),
        ("2", "dev"),
        ("test_data/1", "test"),
    ]
    assert remarks(report, "mended") == {"duplicate note id, the folder was added": ["1.txt", "1.txt"]}
    assert remarks(report, "left_out") == {
        "file about the corpus, not a note": ["README.txt"],
        "hidden file": ["._3.txt"],
    }


def test_files_that_do_not_pair_or_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, "empty-annotation", TEXT, "")
    put(tmp_path, "no-annotation", TEXT)
    put(tmp_path, "empty", "", "T1\tX 0 1\tx\n")
    put(tmp_path, "latin", "caf\xe9".encode("latin-1"), "")
    put(tmp_path, "latin-annotation", "caf\xe9", "T1\tX 0 3\tcaf\nT2\tX 0 4\tcaf\xe9\n".encode("latin-1"))
    (tmp_path / "no-text.ann").write_text("T1\tX 0 1\tx\n")
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["empty-annotation", "empty", "no-annotation"]
    assert remarks(report, "dropped") == {
        "file is not UTF-8": ["latin-annotation.ann:2", "latin.txt:1"],
        "annotation file without a text": ["no-text.ann"],
        "offset past the end of the text": ["empty.ann:1"],
    }
    assert remarks(report, "mended") == {
        "note without an annotation file": ["no-annotation.txt"],
        "note without text, kept": ["empty.txt"],
    }


def test_a_path_without_annotated_notes_is_a_coded_error(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "nowhere", "CIE200"), (tmp_path, "CIE201")):
        with pytest.raises(ClinieError) as error:
            read(path)
        assert error.value.code == code
    put(tmp_path, "a", TEXT)
    with pytest.raises(ClinieError) as error:
        read(tmp_path)
    assert error.value.code == "CIE205"


def test_a_single_file_is_read_without_its_neighbours(tmp_path: Path) -> None:
    put(tmp_path, "a", TEXT, "T1\tX 0 4\tTook\n")
    put(tmp_path, "b", TEXT, "T1\tX 0 4\tTook\n")
    found, _ = read(tmp_path / "b.txt")
    assert [sourced.note.id for sourced in found] == ["b"]


def test_suffixes_in_capitals_are_known(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.TXT").write_text(TEXT)
        (tmp_path / f"{name}.Ann").write_text("T1\tX 0 4\tTook\n")
    found, report = read(tmp_path)
    assert [(sourced.note.id, len(sourced.note.concepts)) for sourced in found] == [("a", 1), ("b", 1)]
    assert report.problems == 0
    (sourced,), _ = read(tmp_path / "b.TXT")
    assert (sourced.note.id, len(sourced.note.concepts)) == ("b", 1)
    put(tmp_path, "a", TEXT, "")
    found, report = read(tmp_path)
    assert [sourced.note.id for sourced in found] == ["a", "b"]
    assert {remark.reason: remark.count for remark in report.remarks("dropped")} == {
        "two file names that differ only in case, the first was read": 2
    }


def test_names_that_are_not_utf8_stay_apart(tmp_path: Path) -> None:
    for name in map(os.fsdecode, (b"\xe8", b"\xe9")):
        put(tmp_path, name, "", "")
    assert [sourced.note.id for sourced in read(tmp_path)[0]] == ["%E8", "%E9"]


def test_a_folder_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a", b"Caf\xe9", "")
    with pytest.raises(ClinieError, match="CIE250"):
        read(tmp_path)


def test_annotations_in_another_folder_than_their_texts(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        put(tmp_path / "text", name, TEXT)
    put(tmp_path / "text" / "deeper", "two", TEXT)
    for name in ("one", "two"):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{name}.ann").write_text("T1\tDrug 5 15\tLisinopril\n")
    found, report = read(tmp_path)
    assert {sourced.note.id: len(sourced.note.concepts) for sourced in found} == {
        "one": 1,
        "text/two": 0,
        "text/deeper/two": 0,
        "three": 0,
    }
    assert remarks(report, "mended")["annotation file in another folder than its text"] == ["one.ann"]
    assert remarks(report, "dropped") == {"annotation file without a text": ["two.ann"]}


def test_utf16_without_a_mark_is_no_text(tmp_path: Path) -> None:
    put(tmp_path, "a", TEXT.encode("utf-16-le"), "T1\tDrug 5 15\tLisinopril\n")
    put(tmp_path, "b", "Took\0 Lisinopril.", "")
    found, report = read(tmp_path)
    assert [sourced.note.text for sourced in found] == ["Took\0 Lisinopril."]
    assert [one.split(":")[0] for one in remarks(report, "dropped")] == ["file is not UTF-8 but probably UTF-16"]


def test_a_concept_across_lines_is_written_as_one_fragment(tmp_path: Path) -> None:
    note = Note("n", "sore\r\nthroat", [Concept("T1", 0, 12, "A")])
    brat.write([note], tmp_path)
    assert (tmp_path / "n.txt").read_bytes() == b"sore\r\nthroat"
    assert (tmp_path / "n.ann").read_bytes() == b"T1\tA 0 12\tsore  throat\n"
    (sourced,), report = read(tmp_path)
    assert sourced.note == note
    assert report.problems == 0


def test_writing_replaces_ids_that_are_not_brats(tmp_path: Path) -> None:
    concepts = [Concept("x", 0, 4, "A"), Concept("T1", 5, 15, "B"), Concept("7", 16, 19, "C", score=0.5)]
    brat.write([Note("n", TEXT, concepts, [Relation("7", "x", "of", 0.5)])], tmp_path)
    (sourced,), _ = read(tmp_path)
    assert sourced.note.concepts == [Concept("T2", 0, 4, "A"), Concept("T1", 5, 15, "B"), Concept("T3", 16, 19, "C")]
    assert sourced.note.relations == [Relation("T3", "T2", "of")]


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (Note("a", "text", [Concept("T1", 0, 4, "two words")]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X", attributes={"k": "two\nlines"})]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X", attributes={"k": ""})]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 4, "X")], [Relation("T1", "T1", "")]), "CIE206"),
        (Note("a", "text", [Concept("T1", 0, 9, "X")]), "CIE004"),
        (Note("a", "te\ud800t", []), "CIE202"),
        (Note("../a", "text", []), "CIE203"),
        (Note("", "text", []), "CIE203"),
    ],
)
def test_what_brat_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, note: Note, code: str) -> None:
    with pytest.raises(ClinieError) as error:
        brat.write([note], tmp_path / "out")
    assert error.value.code == code
    assert "te" not in str(error.value).replace("text", "").split()
    assert not (tmp_path / "out").exists()


def test_notes_that_are_empty_or_called_like_files_about_a_corpus_are_read_back(tmp_path: Path) -> None:
    notes = [Note("License", TEXT), Note("empty", ""), Note("readme", TEXT, [Concept("T1", 0, 4, "X")])]
    brat.write(notes, tmp_path)
    found, report = read(tmp_path)
    assert [sourced.note for sourced in found] == notes
    assert remarks(report, "left_out") == {}


def test_ids_with_a_slash_stay_apart_and_shortened_ones_are_told(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        brat.write([Note("a/1", TEXT), Note("b/1", TEXT), Note("2", TEXT)], tmp_path / "both")
    assert [sourced.note.id for sourced in read(tmp_path / "both")[0]] == ["2", "a/1", "b/1"]
    with pytest.warns(ClinieWarning, match=r"CIE207\] 1 note ids.*'a/1'.*'1'"):
        brat.write([Note("a/1", TEXT), Note("2", TEXT)], tmp_path / "one")
    assert [sourced.note.id for sourced in read(tmp_path / "one")[0]] == ["2", "1"]


def test_two_notes_with_one_id_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ClinieError) as error:
        brat.write([Note("a", "x"), Note("a", "y")], tmp_path)
    assert error.value.code == "CIE204"


words = st.text(st.characters(blacklist_categories=("Cs", "Zs", "Zl", "Zp", "Cc")), min_size=1, max_size=5)

values = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n"), min_size=1, max_size=8)
values = values.filter(lambda value: value == value.strip(" \t"))


@st.composite
def notes(draw: st.DrawFn) -> Note:
    """Any text without lone surrogates, line ends of every kind among it; any spans, fragments and relations."""
    odd = st.sampled_from("\n\r\t \x0b\x0c\x1c\x85\u2028\ufeff\x00;\U0001f600")
    text = draw(st.text(st.one_of(odd, st.characters(blacklist_categories=("Cs",))), min_size=1, max_size=30))
    span = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda s: s[0] != s[1])
    concepts = []
    for number in range(draw(st.integers(0, 4))):
        pieces = sorted((min(s), max(s)) for s in draw(st.lists(span, min_size=1, max_size=3)))
        concepts.append(
            Concept(
                f"T{number + 1}",
                pieces[0][0],
                max(end for _, end in pieces),
                draw(words),
                fragments=pieces if len(pieces) > 1 else [],
                attributes=draw(st.dictionaries(words, values, max_size=2)),
            )
        )
    relations = []
    if concepts:
        ends = st.sampled_from([concept.id for concept in concepts])
        triples = draw(st.lists(st.tuples(ends, ends, words), max_size=4, unique=True))
        relations = [Relation(*triple) for triple in triples]
    return Note("note", text, concepts, relations)


@settings(max_examples=150, deadline=None)
@given(notes())
def test_what_is_written_is_read_back(note: Note) -> None:
    with TemporaryDirectory() as folder:
        brat.write([note], Path(folder))
        (sourced,), report = read(Path(folder))
    assert sourced.note == note
    assert report.problems == 0
