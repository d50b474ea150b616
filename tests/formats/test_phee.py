import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import phee

TEXT = "Two women had a rash and mild fever after oral zyxomab and quellin for gout."
CONCEPTS = {
    "Drug": 6016, "ADE": 4506, "Reason": 1689, "Age": 690, "Route": 609, "Gender": 562, "Dosage": 457,
    "Population": 450, "Time_elapsed": 348, "Duration": 266, "Benefit": 123, "Frequency": 114, "Race": 64,
}  # fmt: skip
RELATIONS = {
    "ADE-Drug": 5368, "Reason-Drug": 2096, "Route-Drug": 734, "Dosage-Drug": 641, "Time_elapsed-Drug": 413,
    "Duration-Drug": 326, "Frequency-Drug": 165, "Benefit-Drug": 163,
}  # fmt: skip


def mention(*words: str) -> tuple[list[str], list[int]]:
    return list(words), [TEXT.index(word) for word in words]


def argument(*mentions: tuple[list[str], list[int]]) -> dict[str, Any]:
    texts, starts = zip(*mentions, strict=True)
    return {"text": list(texts), "start": list(starts), "entity_id": [f"T{start[0]}" for start in starts]}


def event(kind: Any = "Adverse_event", **parts: Any) -> dict[str, Any]:
    return {"event_id": "E1", "event_type": kind, **parts}


def sentence(*events: Any, **changes: Any) -> dict[str, Any]:
    return {"id": "1_1", "context": TEXT, "annotations": [{"events": list(events)}], **changes}


def read(tmp_path: Path, *lines: Any) -> tuple[list[Note], Report]:
    (tmp_path / "train.json").write_text("\n".join(map(json.dumps, lines)))
    report = Report()
    return [sourced.note for sourced in phee.read(tmp_path, report)], report


def found(note: Note) -> tuple[list[tuple[str, str]], set[tuple[str, str, str]]]:
    texts = {concept.id: note.text[concept.start : concept.end] for concept in note.concepts}
    concepts = [(texts[concept.id], concept.label) for concept in note.concepts]
    return concepts, {(texts[relation.head], relation.label, texts[relation.tail]) for relation in note.relations}


def counts(report: Report, kind: str) -> dict[str, int]:
    return {remark.reason: remark.count for remark in report.remarks(kind)}


RASH, FEVER, GOUT = argument(mention("rash")), argument(mention("fever")), argument(mention("gout"))
ZYXOMAB, QUELLIN = argument(mention("zyxomab")), argument(mention("quellin"))
BOTH = argument(mention("zyxomab"), mention("quellin"))


def test_what_an_event_says_goes_to_each_of_its_drugs(tmp_path: Path) -> None:
    whole = argument(mention("oral zyxomab"))
    treatment = {**whole, "Drug": BOTH, "Disorder": GOUT, "Route": argument(mention("oral"))}
    subject = {"Gender": argument(mention("women")), "Population": argument(mention("Two")), "Disorder": GOUT}
    adverse = event(Effect=RASH, Treatment=treatment, Subject=subject, Trigger=argument(mention("had")))
    (note,), report = read(tmp_path, sentence(adverse))
    concepts, relations = found(note)
    assert concepts == [
        ("Two", "Population"), ("women", "Gender"), ("rash", "ADE"), ("oral", "Route"),
        ("zyxomab", "Drug"), ("quellin", "Drug"), ("gout", "Reason"),
    ]  # fmt: skip
    assert relations == {
        (head, label, drug)
        for drug in ("zyxomab", "quellin")
        for head, label in (("rash", "ADE-Drug"), ("gout", "Reason-Drug"), ("oral", "Route-Drug"))
    }
    left_out = {"Trigger of event": 1, "span of the whole Treatment": 1, "Disorder of Subject": 1}
    assert counts(report, "left_out") == left_out
    assert report.problems == 0


def test_events_share_concepts_and_keep_their_effects_apart(tmp_path: Path) -> None:
    (note,), _ = read(
        tmp_path,
        sentence(
            event(Effect=RASH, Treatment={"Drug": ZYXOMAB, "Disorder": GOUT}),
            event("Potential_therapeutic_event", Effect=FEVER, Treatment={"Drug": QUELLIN, "Disorder": GOUT}),
        ),
    )
    concepts, relations = found(note)
    assert Counter(label for _, label in concepts) == {"Drug": 2, "ADE": 1, "Benefit": 1, "Reason": 1}
    assert ("rash", "ADE-Drug", "zyxomab") in relations
    assert ("fever", "Benefit-Drug", "quellin") in relations
    assert len(relations) == 4


def test_fragments_are_put_in_text_order(tmp_path: Path) -> None:
    (note,), _ = read(tmp_path, sentence(event(Effect=argument(mention("fever", "mild")))))
    (concept,) = note.concepts
    assert TEXT[concept.start : concept.end] == "mild fever"
    assert [TEXT[start:end] for start, end in concept.fragments] == ["mild", "fever"]


def test_a_recorded_text_with_other_blanks_does_not_reach_into_the_next_word(tmp_path: Path) -> None:
    (note,), report = read(tmp_path, sentence(event(Effect=argument((["mild  fever"], [TEXT.index("mild")])))))
    assert found(note)[0] == [("mild fever", "ADE")]
    assert counts(report, "mended") == {"recorded text differs from the text at the offsets": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("Surprise", Effect=FEVER), "event of an unknown type"),
        (event([], Effect=FEVER), "malformed event"),
        ("fever", "malformed event"),
        (event(Effect={"text": [["fever"]]}), "argument whose texts and starts differ in number"),
        (event(Effect={"text": [["a", "b"]], "start": [[3]]}), "mention whose texts and starts differ in number"),
        (event(Effect={"text": [[7]], "start": [[3]]}), "mention whose texts and starts differ in number"),
        (event(Effect={"text": [["fever"]], "start": [[400]]}), "concept outside the text"),
        (event(Effect={"text": [[""]], "start": [[4]]}), "empty concept"),
        (event(Effect={"text": [[]], "start": [[]]}), "mention without text"),
        (event(Affect=FEVER), "unknown key of event"),
    ],
)
def test_a_bad_part_is_counted_and_the_rest_is_kept(tmp_path: Path, bad: Any, reason: str) -> None:
    notes, report = read(tmp_path, sentence(bad, event(Effect=RASH, Treatment={"Drug": ZYXOMAB})))
    assert found(notes[0]) == ([("rash", "ADE"), ("zyxomab", "Drug")], {("rash", "ADE-Drug", "zyxomab")})
    assert counts(report, "dropped") == {reason: 1}
    assert "fever" not in json.dumps(report.to_dict())


@pytest.mark.parametrize("line", [7, {"id": "x"}, sentence(context=7), sentence(annotations=[7]), {"text": "fever"}])
def test_a_line_that_is_no_sentence_is_counted(tmp_path: Path, line: Any) -> None:
    notes, report = read(tmp_path, line, sentence())
    assert [note.id for note in notes] == ["1_1"]
    assert report.remarks("dropped")[0].examples == ["train.json:1"]


@pytest.mark.parametrize(
    ("concepts", "relations"),
    [
        ([Concept("a", 0, 3, "Planet")], []),
        ([Concept("a", 0, 3, "ADE"), Concept("b", 4, 9, "Drug")], [Relation("b", "a", "ADE-Drug")]),
        ([Concept("a", 0, 3, "ADE"), Concept("b", 4, 9, "Drug")], [Relation("a", "b", "Reason-Drug")]),
        ([Concept("a", 0, 3, "Age"), Concept("b", 4, 9, "Drug")], [Relation("a", "b", "Age-Drug")]),
    ],
)
def test_other_types_cannot_be_written(tmp_path: Path, concepts: list[Concept], relations: list[Relation]) -> None:
    with pytest.raises(ClinieError, match="CIE252"):
        phee.write([Note("n", TEXT, concepts, relations)], tmp_path / "out.json")


def content(note: Note) -> Any:
    """A note up to ids and order, which the format leaves open."""
    concepts = {c.id: (c.offsets, c.label, tuple(c.fragments)) for c in note.concepts}
    relations = {(concepts[r.head], concepts[r.tail], r.label) for r in note.relations}
    return note.id, note.text, set(concepts.values()), relations, len(note.concepts), len(note.relations)


@st.composite
def notes(draw: st.DrawFn) -> Note:
    places = draw(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(list(CONCEPTS))), max_size=8, unique=True))
    concepts: list[Concept] = []
    for start, label in places:
        fragments = draw(st.sampled_from([[], [(start, start + 2), (start + 4, start + 9)]]))
        concepts.append(Concept(f"T{len(concepts)}", start, start + 9, label, fragments=fragments))
    pairs = [(a, b) for a in concepts for b in concepts if b.label == "Drug" and f"{a.label}-Drug" in RELATIONS]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=6, unique_by=lambda p: (p[0].id, p[1].id))) if pairs else []
    return Note("n", TEXT, concepts, [Relation(a.id, b.id, f"{a.label}-Drug") for a, b in chosen])


@settings(max_examples=150, deadline=None)
@given(notes())
def test_what_is_written_is_read_back(note: Note) -> None:
    with TemporaryDirectory() as folder:
        phee.write([note], Path(folder) / "out.json")
        report = Report()
        (sourced,) = phee.read(Path(folder), report)
    assert content(sourced.note) == content(note)
    assert report.problems == 0


def test_counts_of_the_corpus(corpora: Path, tmp_path: Path) -> None:
    report = Report()
    splits: Counter[str | None] = Counter()
    originals = []
    for sourced in phee.read(corpora / "phee", report):
        sourced.note.check()
        report.add(sourced.note)
        splits[sourced.split] += 1
        originals.append(sourced.note)
    assert splits == {"train": 2898, "dev": 961, "test": 968}
    assert report.concepts == CONCEPTS
    assert report.relations == RELATIONS
    assert report.discontinuous == 260
    assert counts(report, "dropped") == {}
    assert counts(report, "mended") == {"recorded text differs from the text at the offsets": 1}
    assert report.remarks("mended")[0].examples == ["test.json:275"]
    phee.write(originals, tmp_path / "back.json")
    assert [content(sourced.note) for sourced in phee.read(tmp_path, Report())] == list(map(content, originals))


def test_offsets_that_count_utf16_units_are_translated(tmp_path: Path) -> None:
    def counted_so(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: [[start + 2 for start in part] for part in item] if key == "start" else counted_so(item)
                for key, item in value.items()
            }
        return value

    adverse = counted_so(event(Effect=RASH, Treatment={"Drug": ZYXOMAB}))
    (note,), report = read(tmp_path, sentence(adverse, context=f"\U0001f600{TEXT}"))
    assert [text for text, _ in found(note)[0]] == ["rash", "zyxomab"]
    assert list(counts(report, "mended")) == ["offsets count UTF-16 units, converted to characters"]


def test_fields_that_nothing_is_read_from_are_counted(tmp_path: Path) -> None:
    line = sentence(event(Effect={**RASH, "value": True}), is_mult_event=False)
    line["annotations"][0]["annotator"] = "a"
    _, report = read(tmp_path, line)
    assert counts(report, "left_out") == {
        "unused field of the sentence: is_mult_event": 1,
        "unused field of the annotation: annotator": 1,
        "unused field of the argument: value": 1,
    }


@pytest.mark.parametrize("key", ["", 0])
def test_a_sentence_without_an_id_gets_one(tmp_path: Path, key: Any) -> None:
    (note,), report = read(tmp_path, sentence(event(Effect=RASH), id=key))
    assert note.id == ("train-1" if key == "" else "0")
    assert report.problems == (key == "")


def test_a_line_may_nest_as_deep_as_json_reads(tmp_path: Path) -> None:
    nested: Any = "zyxomab"
    for _ in range(700):
        nested = {"a": nested}
    (note,), report = read(tmp_path, sentence(event(Effect=RASH, Unknown=nested)))
    assert found(note)[0] == [("rash", "ADE")]
    assert counts(report, "dropped") == {"unknown key of event": 1}
