import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_clinie.corpora import convert as convert_module
from spacy_clinie.corpora.convert import convert
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import docbin, jsonl

TEXT = "Rash and mild fever after zyxomabose."
NOTE = Note(
    "n1",
    TEXT,
    [
        Concept("a", 0, 4, "ADE", attributes={"assertion": "present"}),
        Concept("b", 0, 19, "ADE", fragments=[(0, 4), (14, 19)]),
        Concept("c", 26, 33, "Drug"),
    ],
    [Relation("a", "c", "ADE-Drug"), Relation("b", "c", "ADE-Drug")],
)
SCHEMA = """
name: mine
concepts:
  Harm: {merge: [ADE]}
drop:
  concepts: [Drug]
"""


def counts(report: Report, kind: str) -> dict[str, int]:
    return {remark.reason: remark.count for remark in report.remarks(kind)}


def test_a_corpus_becomes_docs_with_a_report_beside_them(tmp_path: Path) -> None:
    jsonl.write([NOTE], tmp_path / "in.jsonl")
    report = convert("jsonl", tmp_path / "in.jsonl", tmp_path / "sub" / "out.spacy")
    (doc,) = DocBin().from_disk(tmp_path / "sub" / "out.spacy").get_docs(spacy.blank("en").vocab)
    assert [span.text for span in doc.spans["clinie"]] == ["Rash", "Rash and mild fever", "zyxomabose"]
    assert [(rel.head.text, rel.label, rel.tail.text) for rel in doc._.rel] == [
        ("Rash", "ADE-Drug", "zyxomabose"),
        ("Rash and mild fever", "ADE-Drug", "zyxomabose"),
    ]
    assert json.loads((tmp_path / "sub" / "out.report.json").read_text()) == {
        "documents": 1,
        "concepts": 3,
        "relations": 2,
        "concepts_by_type": {"ADE": 2, "Drug": 1},
        "relations_by_type": {"ADE-Drug": 2},
        "discontinuous": 1,
        "flat_entities": 2,
        "not_carried_over": [],
        "mended": [{"reason": "concept extended to token boundaries", "count": 1, "examples": ["in.jsonl:1"]}],
    }
    assert report.problems == 1
    assert [sourced.note for sourced in docbin.read(tmp_path / "sub", Report())] == [NOTE]


def test_a_schema_merges_and_drops_and_counts(tmp_path: Path) -> None:
    jsonl.write([NOTE], tmp_path / "in.jsonl")
    (tmp_path / "mine.yml").write_text(SCHEMA)
    report = convert("jsonl", tmp_path / "in.jsonl", tmp_path / "out.jsonl", schema=str(tmp_path / "mine.yml"))
    (sourced,) = jsonl.read(tmp_path / "out.jsonl", Report())
    assert [concept.label for concept in sourced.note.concepts] == ["Harm", "Harm"]
    assert counts(report, "left_out") == {
        "concept type that the schema drops: Drug": 1,
        "relation, but the schema has no relation types": 2,
    }


def test_a_blank_concept_is_kept_and_counted(tmp_path: Path) -> None:
    jsonl.write([Note("n", "a b", [Concept("x", 1, 2, "X")])], tmp_path / "in.jsonl")
    report = convert("jsonl", tmp_path / "in.jsonl", tmp_path / "out.spacy")
    assert counts(report, "mended") == {"concept of whitespace alone, moved to an adjacent token": 1}


def test_a_split_and_the_remarks_on_its_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        jsonl.write([Note(f"{split}-{i}", TEXT) for i in range(20)], tmp_path / "in" / f"{split}.jsonl")
        with (tmp_path / "in" / f"{split}.jsonl").open("a") as file:
            file.write("{broken\n")
    (tmp_path / "in" / "lost.jsonl").write_text("{broken\n")
    report = convert("jsonl", tmp_path / "in", tmp_path / "dev.jsonl", split="dev")
    assert report.documents == 2
    assert counts(report, "left_out") == {"document of another split": 38}
    examples = [place for remark in report.remarks("dropped") for place in remark.examples]
    assert examples == ["lost.jsonl:1", "train.jsonl:21"]


def test_the_report_has_every_place(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("{broken\n" * 30)
    jsonl.write([NOTE], tmp_path / "more.jsonl")
    convert("jsonl", tmp_path, tmp_path / "out.spacy")
    (row,) = json.loads((tmp_path / "out.report.json").read_text())["not_carried_over"]
    assert (row["count"], row["examples"]) == (30, [f"in.jsonl:{line}" for line in range(1, 31)])


def test_a_split_of_notes_whose_files_lie_in_several_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for folder, kind in (("txt", "txt"), ("concept", "con"), ("rel", "rel"), ("ast", "ast")):
            file = tmp_path / "in" / split / folder / f"{split}.{kind}"
            file.parent.mkdir(parents=True)
            file.write_text("No pain.\n" if kind == "txt" else "broken\n")
    (tmp_path / "in" / "test" / "rel" / "lost.rel").touch()
    (tmp_path / "in" / "test" / "txt" / "bare.txt").write_text("No pain.\n")
    report = convert("i2b2", tmp_path / "in", tmp_path / "out.jsonl", split="train")
    found = {remark.reason: remark.examples for remark in report.remarks("dropped")}
    assert found == {
        "annotation file without a text": ["test/rel/lost.rel"],
        "malformed line": ["train/concept/train.con:1", "train/ast/train.ast:1", "train/rel/train.rel:1"],
    }
    assert counts(report, "mended") == {}


def test_an_unknown_split_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    jsonl.write([Note("a", TEXT)], tmp_path / "test.jsonl")
    with pytest.raises(ClinieError, match=r"CIE256.*'validation'.*Its splits: test\."):
        convert("jsonl", tmp_path, tmp_path / "out.spacy", split="validation")


@pytest.mark.parametrize("name", ["dev", "Development", "validation", "valid"])
def test_a_split_can_be_called_as_folders_are(tmp_path: Path, name: str) -> None:
    jsonl.write([Note(str(i), TEXT) for i in range(4)], tmp_path / "in.jsonl")
    assert convert("jsonl", tmp_path / "in.jsonl", tmp_path / "out.jsonl", split=name).documents == 1


def test_notes_without_a_split_among_others_with_one_are_dropped(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("lab_test", 3)):
        jsonl.write([Note(f"{name}-{i}", TEXT) for i in range(count)], tmp_path / "in" / f"{name}.jsonl")
    report = convert("jsonl", tmp_path / "in", tmp_path / "out.jsonl", split="train")
    assert report.documents == 20
    reason = "document without a split, although others have one"
    assert {remark.reason: (remark.count, set(remark.examples)) for remark in report.remarks("dropped")} == {
        reason: (3, {"lab_test.jsonl"})
    }
    assert counts(report, "left_out") == {}
    with pytest.raises(ClinieError, match=r"CIE256.*named train, dev and test"):
        convert("jsonl", tmp_path / "in", tmp_path / "out.jsonl", split="test")


@pytest.mark.parametrize(
    ("corpus", "source", "target"),
    [
        ("jsonl", "in.jsonl", "in.jsonl"),
        ("jsonl", ".", "all.jsonl"),
        ("jsonl", ".", "sub/all.JSONL"),
        ("docbin", ".", "all.spacy"),
        ("phee-json", ".", "all.spacy"),  # its report would be read
    ],
)
def test_a_target_that_is_the_input_or_would_be_read_is_refused(
    tmp_path: Path, corpus: str, source: str, target: str
) -> None:
    jsonl.write([NOTE], tmp_path / "in.jsonl")
    before = (tmp_path / "in.jsonl").read_bytes()
    with pytest.raises(ClinieError, match="CIE434"):
        convert(corpus, tmp_path / source, tmp_path / target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("in.jsonl", before)]


def test_each_target_has_a_report_of_its_own(tmp_path: Path) -> None:
    jsonl.write([NOTE], tmp_path / "in.jsonl")
    for name in ("x.spacy", "x.jsonl", "y.SPACY"):
        convert("jsonl", tmp_path / "in.jsonl", tmp_path / "out" / name)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "x.jsonl",
        "x.jsonl.report.json",
        "x.report.json",
        "x.spacy",
        "y.SPACY",
        "y.report.json",
    ]
    assert len(list(docbin.read(tmp_path / "out" / "y.SPACY", Report()))) == 1


@pytest.mark.parametrize(("target", "code"), [("out.txt", "CIE255"), ("out", "CIE255"), ("taken.spacy", "CIE251")])
def test_a_target_that_cannot_be_written(tmp_path: Path, target: str, code: str) -> None:
    jsonl.write([NOTE], tmp_path / "in.jsonl")
    (tmp_path / "taken.spacy").mkdir()
    with pytest.raises(ClinieError, match=code):
        convert("jsonl", tmp_path / "in.jsonl", tmp_path / target)


def test_a_note_that_comes_back_changed_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(doc: Doc) -> Note:
        return Note(doc.user_data["clinie_id"], doc.text, NOTE.concepts[:2], NOTE.relations)

    jsonl.write([NOTE], tmp_path / "in.jsonl")
    monkeypatch.setattr(convert_module, "note_from_doc", lossy)
    with pytest.raises(ClinieError, match=r"CIE257.*'n1'.*concepts"):
        convert("jsonl", tmp_path / "in.jsonl", tmp_path / "out.spacy")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


SENTENCE = "He smokes daily and takes aspirin 5 mg for gout ."
RESTRICTED: dict[str, tuple[dict[str, str], dict[str, int], dict[str, int]]] = {
    "i2b2_2010": (
        {
            "txt/a.txt": SENTENCE,
            "concept/a.con": 'c="aspirin" 1:5 1:5||t="treatment"\nc="gout" 1:9 1:9||t="problem"\n',
            "rel/a.rel": 'c="aspirin" 1:5 1:5||r="TrAP"||c="gout" 1:9 1:9\n',
            "ast/a.ast": 'c="gout" 1:9 1:9||t="problem"||a="present"\n',
        },
        {"treatment": 1, "problem": 1},
        {"TrAP": 1},
    ),
    "n2c2_2018": (
        {
            "training_20180910/a.txt": SENTENCE,
            "training_20180910/a.ann": (
                "T1\tDrug 26 33\taspirin\nT2\tStrength 34 38\t5 mg\nT3\tReason 43 47\tgout\n"
                "R1\tStrength-Drug Arg1:T2 Arg2:T1\nR2\tReason-Drug Arg1:T3 Arg2:T1\n"
            ),
        },
        {"Drug": 1, "Strength": 1, "Reason": 1},
        {"Strength-Drug": 1, "Reason-Drug": 1},
    ),
    "n2c2_2022": (
        {
            "train/a.txt": SENTENCE,
            "train/a.ann": (
                "T1\tTobacco 3 9\tsmokes\nT2\tStatusTime 3 9\tsmokes\nT3\tFrequency 10 15\tdaily\n"
                "E1\tTobacco:T1 Status:T2 Frequency:T3\nA1\tStatusTimeVal T2 current\n"
            ),
        },
        {"Tobacco": 1, "StatusTime": 1, "Frequency": 1},
        {"Status": 1, "Frequency": 1},
    ),
    "radgraph": (
        {
            "train.json": json.dumps(
                {
                    "a": {
                        "text": "Small effusion in the left lung .",
                        "entities": {
                            "1": {"tokens": "Small", "label": "OBS-DP", "start_ix": 0, "end_ix": 0, "relations": []},
                            "2": {"tokens": "lung", "label": "ANAT-DP", "start_ix": 5, "end_ix": 5, "relations": []},
                            "3": {
                                "tokens": "effusion",
                                "label": "OBS-DP",
                                "start_ix": 1,
                                "end_ix": 1,
                                "relations": [["modify", "1"], ["located_at", "2"]],
                            },
                        },
                    }
                }
            )
        },
        {"OBS-DP": 2, "ANAT-DP": 1},
        {"modify": 1, "located_at": 1},
    ),
}


@pytest.mark.parametrize("corpus", RESTRICTED)
def test_restricted_corpora_fit_their_schemas(tmp_path: Path, corpus: str) -> None:
    """On small files of our own in their formats: every type is one that the schema knows."""
    files, concepts, relations = RESTRICTED[corpus]
    for name, content in files.items():
        (tmp_path / corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / corpus / name).write_text(content)
    report = convert(corpus, tmp_path, tmp_path / "out.spacy")
    assert (report.concepts, report.relations, report.problems) == (concepts, relations, 0)
    assert len(list(docbin.read(tmp_path / "out.spacy", Report()))) == 1


# What the page about the study counts. Its 35,260 relations of chia are 20,067, and 15,193 pairs from lines of any
# number of members (`*OR`, `*NOT`), which the same page says to leave out.
FIGURES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("maccrobat2020", None, {"documents": 200, "concepts": 25189, "relations": 16307, "types": (41, 7)}),
    ("maccrobat2020-coarse", "train", {"documents": 160, "types": (3, 4)}),
    ("maccrobat2020-coarse", "dev", {"documents": 20}),
    ("phee", "dev", {"documents": 961}),
    ("mtsamples_sdoh", None, {"documents": 361, "concepts": 3778, "relations": 2649, "types": (26, 14)}),
    ("mtsamples_sdoh", "dev", {"documents": 73}),
    ("ddi2013", "test", {"documents": 303}),
    ("ddi2013", "dev", {"documents": 71}),
    ("chia", "test", {"documents": 200}),
]


@pytest.mark.parametrize(("corpus", "split", "expected"), FIGURES)
def test_open_corpora_as_docs(
    corpora: Path, tmp_path: Path, corpus: str, split: str | None, expected: dict[str, Any]
) -> None:
    report = convert(corpus, corpora, tmp_path / "out.spacy", split=split)
    found: dict[str, Any] = {
        "documents": report.documents,
        "concepts": sum(report.concepts.values()),
        "relations": sum(report.relations.values()),
        "types": (len(report.concepts), len(report.relations)),
    }
    assert {key: found[key] for key in expected} == expected
    assert counts(report, "dropped") == {}
    if split is None:
        aligned = found["concepts"] - counts(report, "mended").get("concept extended to token boundaries", 0)
        assert aligned >= 0.995 * found["concepts"]
    again = [sourced.note for sourced in docbin.read(tmp_path / "out.spacy", Report())]
    assert sum(len(note.concepts) for note in again) == found["concepts"]
    assert sum(len(note.relations) for note in again) == found["relations"]


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("phee", {"documents": 4827, "concepts": 15894, "relations": 9906, "types": (13, 8)}),
        ("chia", {"documents": 2000, "concepts": 40976, "relations": 35260, "types": (15, 14)}),
        ("ddi2013", {"documents": 1017, "concepts": 18491, "relations": 5000, "types": (4, 4)}),
        ("bc5cdr", {"documents": 1500, "concepts": 28785, "relations": 3116, "types": (2, 1)}),
    ],
)
def test_open_corpora_in_full(corpora: Path, tmp_path: Path, corpus: str, expected: dict[str, Any]) -> None:
    report = convert(corpus, corpora / corpus, tmp_path / "out.jsonl")
    assert {
        "documents": report.documents,
        "concepts": sum(report.concepts.values()),
        "relations": sum(report.relations.values()),
        "types": (len(report.concepts), len(report.relations)),
    } == expected
    assert counts(report, "dropped") == {}


def test_flat_entities_hold_two_thirds_of_the_social_history(corpora: Path, tmp_path: Path) -> None:
    report = convert("mtsamples_sdoh", corpora, tmp_path / "out.spacy")
    assert report.flat_entities == 2504
    assert round(100 * report.flat_entities / sum(report.concepts.values())) == 66


def test_both_files_of_a_trial_are_in_one_split(corpora: Path, tmp_path: Path) -> None:
    trials = {}
    for split in ("dev", "test"):
        convert("chia", corpora, tmp_path / f"{split}.jsonl", split=split)
        ids = [sourced.note.id for sourced in jsonl.read(tmp_path / f"{split}.jsonl", Report())]
        trials[split] = {note_id.split("_")[0] for note_id in ids}
        assert (len(ids), len(trials[split])) == (200, 100)
    assert not trials["dev"] & trials["test"]


def test_relations_that_a_schema_refuses_are_reported_where_they_stand(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.txt").write_text("Took aspirin .\nPain .\n")
    (source / "a.con").write_text('c="pain" 2:0 2:0||t="problem"\nc="aspirin" 1:1 1:1||t="treatment"\n')
    known = 'c="aspirin" 1:1 1:1||r="TrAP"||c="pain" 2:0 2:0\n'
    (source / "a.rel").write_text(known + known.replace("TrAP", "NEW"))
    report = convert("i2b2_2010", source, tmp_path / "a.jsonl")
    assert {r.reason: r.examples for r in report.remarks("dropped")} == {
        "relation type that is not in the schema: NEW": ["a.rel:2"]
    }
    (source / "a.ann").write_text("T1\tDrug 5 12\taspirin\nT2\tReason 15 19\tPain\nR1\tNEW Arg1:T1 Arg2:T2\n")
    report = convert("brat", source, tmp_path / "b.jsonl", schema="n2c2_2018")
    assert {r.reason: r.examples for r in report.remarks("dropped")} == {
        "relation type that is not in the schema: NEW": ["a.ann:3"]
    }
