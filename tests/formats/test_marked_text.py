import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.vocab import Vocab

from spacy_clinie.doc.interchange import doc_from_note, note_from_doc
from spacy_clinie.doc.report import Report
from spacy_clinie.doc.tokenizer import make_tokenizer
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import marked_text
from spacy_clinie.schema import Schema

I2B2 = {"TrIP", "TrWP", "TrCP", "TrAP", "TrNAP", "TeRP", "TeCP", "PIP"}
ATTRIBUTES = {"Strength", "Form", "Dosage", "Frequency", "Route", "Duration", "Reason", "ADE"}
N2C2 = {f"{attribute}-Drug" for attribute in ATTRIBUTES}
SPLITS = ("train", "dev", "test")
SCHEMA = Schema.load("synthetic")
NOTES = list(marked_text.read())
TOKENIZER = make_tokenizer(Vocab())
each_note = pytest.mark.parametrize("sourced", NOTES, ids=[sourced.note.id for sourced in NOTES])


def parsed(source):
    """Concepts as (text, label) and relations as (head, label, tail) of a snippet."""
    note, lines = marked_text.parse(source, "snippet", SCHEMA)
    note.check()
    by_id = {c.id: (note.text[c.start : c.end], c.label) for c in note.concepts}
    assert set(lines) == set(by_id)
    relations = {(by_id[r.head][0], r.label, by_id[r.tail][0]) for r in note.relations}
    types = {(by_id[r.head][1], by_id[r.tail][1], r.label) for r in note.relations}
    assert all(label in SCHEMA.allowed(head, tail) for head, tail, label in types)
    assert len(note.relations) == len({(r.head, r.tail, r.label) for r in note.relations})
    return note, list(by_id.values()), relations


# --- the markup


def test_attributes_and_the_other_layer():
    note, concepts, relations = parsed("{acetazolone|Drug TrAP>} {5 mg|Strength<} for {hiccups|problem}.\n")
    assert note.text == "acetazolone 5 mg for hiccups.\n"
    assert [(c.id, c.start, c.end) for c in note.concepts][:2] == [("C1", 0, 11), ("C2", 0, 11)]
    assert concepts == [
        ("acetazolone", "treatment"),
        ("acetazolone", "Drug"),
        ("5 mg", "Strength"),
        ("hiccups", "problem"),
        ("hiccups", "Reason"),
    ]
    assert relations == {
        ("acetazolone", "TrAP", "hiccups"),
        ("hiccups", "Reason-Drug", "acetazolone"),
        ("5 mg", "Strength-Drug", "acetazolone"),
    }


@pytest.mark.parametrize(
    "item, role", [("TrAP", "Reason"), ("TrIP", "Reason"), ("TrCP", "ADE"), ("TrWP", None), ("TrNAP", None)]
)
def test_what_follows_for_a_drug_does_not_for_another_treatment(item, role):
    _, concepts, relations = parsed(f"{{nilol|Drug {item}>}} and {{itch|problem}}")
    assert {label for text, label in concepts if text == "itch"} == {"problem", role} - {None}
    assert len(relations) == (2 if role else 1)
    _, concepts, relations = parsed(f"{{splint|treatment {item}>}} and {{itch|problem}}")
    assert ("itch", "problem") in concepts and len(concepts) == 2
    assert relations == {("splint", item, "itch")}


def test_an_arrow_goes_to_the_nearest_of_a_fitting_type():
    text = "{one|problem} {two|problem} {film|test %s} {nilol|Drug} {three|problem} {four|problem}"
    for arrow, tails in {"<": {"two"}, "<<": {"two", "one"}, ">": {"three"}, ">>": {"three", "four"}}.items():
        assert parsed(text % f"TeRP{arrow}")[2] == {("film", "TeRP", tail) for tail in tails}


def test_an_arrow_goes_to_names_in_both_directions():
    text = "{one|problem #a} {two|problem} {film|test TeCP>c,a} {three|problem} {four|problem #c}"
    assert parsed(text)[2] == {("film", "TeCP", "one"), ("film", "TeCP", "four")}


def test_a_reason_that_is_written_and_follows_is_one():
    assert len(parsed("{nilol|Drug TrAP>} {itch|problem Reason<}")[2]) == 2


def test_mentions_may_be_nested():
    note, concepts, _ = parsed("has {{nilol|Drug} allergy|problem} now")
    assert note.text == "has nilol allergy now"
    assert concepts == [("nilol allergy", "problem"), ("nilol", "treatment"), ("nilol", "Drug")]


def test_remarks_are_left_out_and_lines_counted_in_the_file():
    note, lines = marked_text.parse("# made up\r\n# {itch|problem}\r\n{rash|problem}\r\nnow\r\n", "snippet", SCHEMA)
    assert note.text == "rash\nnow\n" and lines == {"C1": 3}
    note, lines = marked_text.parse("# made up\nx\n# {itch\n is|problem}\n", "snippet", SCHEMA)
    assert note.text == "x\n# itch\n is\n" and lines == {"C1": 3}


@pytest.mark.parametrize(
    "code, line, source",
    [
        ("CIE290", 1, "a } secret"),
        ("CIE290", 1, "a | secret"),
        ("CIE290", 2, "a\n{secret|problem} } b"),
        ("CIE290", 2, "a\n{secret\n{b|problem}\n"),
        ("CIE290", 1, "{secret|problem"),
        ("CIE290", 1, "{secret}"),
        ("CIE290", 1, "{|problem} secret"),
        ("CIE290", 1, "{ secret|problem}"),
        ("CIE290", 1, "{secret |problem}"),
        ("CIE290", 1, "{secret|}"),
        ("CIE290", 1, "{secret|#x}"),
        ("CIE290", 1, "{secret|problem pro?blem}"),
        ("CIE290", 1, "{secret|problem PIP<x}"),
        ("CIE290", 1, "{secret|problem PIP>>x}"),
        ("CIE290", 3, "{secret|problem #x}\n\n{b|problem #x}"),
        ("CIE291", 1, "{b|probleme secret}"),
        ("CIE291", 1, "{b|problem TrAP}"),
        ("CIE291", 1, "{b|problem>} {secret|Drug}"),
        ("CIE292", 1, "{b|treatment TrAP<} {secret|problem}"),
        ("CIE292", 2, "\n{b|treatment TrAP>>} {secret|problem}"),
        ("CIE292", 1, "{b|treatment TrAP>x} {secret|problem #y}"),
        ("CIE292", 1, "{b|treatment TrAP>x} {secret|test #x}"),
        ("CIE292", 1, "{b|test TrAP>} {secret|problem}"),
    ],
)
def test_a_mistake_has_a_code_and_a_place_and_no_text(code, line, source):
    with pytest.raises(ClinieError) as raised:
        marked_text.parse(source, "snippet", SCHEMA)
    assert raised.value.code == code
    assert f"snippet.txt:{line}:" in str(raised.value)
    assert "secret" not in str(raised.value)


plain = st.text(st.characters(exclude_characters="{}|#\r", exclude_categories=["Cs"]))
words = plain.filter(lambda text: text and text == text.strip())


@given(plain, words, plain)
def test_offsets_are_right_in_any_text(before, mention, after):
    note, _ = marked_text.parse(f"{before}{{{mention}|test}}{after}", "snippet", SCHEMA)
    assert note.text == before + mention + after
    (concept,) = note.concepts
    assert (concept.start, note.text[concept.start : concept.end]) == (len(before), mention)


# --- reading


def test_reads_a_folder_a_file_and_the_folder_around(tmp_path):
    for split in ("train", "test"):
        file = tmp_path / "notes" / split / f"{split}-1.txt"
        file.parent.mkdir(parents=True)
        file.write_text("an {itch|problem}\n", encoding="utf-8")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "later.txt").write_text("an itch\n", encoding="utf-8")
    expected = [("test-1", "test"), ("train-1", "train")]
    for path in (tmp_path, tmp_path / "notes"):
        assert [(sourced.note.id, sourced.split) for sourced in marked_text.read(path)] == expected
    assert [sourced.note.id for sourced in marked_text.read(tmp_path / "notes" / "test" / "test-1.txt")] == ["test-1"]


def test_a_file_that_is_not_utf8_is_counted(tmp_path):
    (tmp_path / "good.txt").write_text("an {itch|problem}\n", encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9\n")
    report = Report()
    assert [sourced.note.id for sourced in marked_text.read(tmp_path, report)] == ["good"]
    assert report.problems == 1


def test_a_path_without_notes_is_a_coded_error(tmp_path):
    with pytest.raises(ClinieError, match="CIE201"):
        list(marked_text.read(tmp_path))
    with pytest.raises(ClinieError, match="CIE200"):
        list(marked_text.read(tmp_path / "missing"))


# --- the notes of the package


def test_every_split_has_notes_of_every_genre():
    assert Counter(sourced.split for sourced in NOTES) == {"train": 48, "dev": 12, "test": 12}
    assert len({sourced.note.id for sourced in NOTES}) == len({sourced.note.text for sourced in NOTES}) == len(NOTES)
    genres = {split: {s.note.id.rsplit("-", 1)[0] for s in NOTES if s.split == split} for split in SPLITS}
    assert genres["train"] == genres["dev"] == genres["test"]
    assert len(genres["train"]) == 11


def test_new_notes_have_no_markup():
    files = sorted((marked_text.folder() / "new").glob("*.txt"))
    assert len(files) == 3
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert 80 <= len(text.split()) <= 220
        assert not set(text) & set("{}|")
        assert file.stem not in {sourced.note.id for sourced in NOTES}


def test_every_relation_type_occurs_often_enough():
    counts = {split: Counter() for split in SPLITS}
    for sourced in NOTES:
        counts[sourced.split].update(relation.label for relation in sourced.note.relations)
    for split, least in {"train": 30, "dev": 8, "test": 8}.items():
        assert set(counts[split]) == I2B2 | N2C2
        assert min(counts[split].values()) >= least


def test_schema_fits_without_a_remark():
    report = Report()
    for sourced in NOTES:
        assert SCHEMA.apply(sourced.note, report, sourced.file, sourced.lines) == sourced.note
    assert not report.problems and not report.remarks("left_out")
    assert set(SCHEMA.relations) == I2B2 | N2C2


@pytest.mark.parametrize(
    "name, concepts, relations",
    [("i2b2_2010", {"problem", "treatment", "test"}, I2B2), ("n2c2_2018", ATTRIBUTES | {"Drug"}, N2C2)],
)
def test_a_layer_keeps_the_types_of_its_task(name, concepts, relations):
    schema, report = marked_text.layer(name), Report()
    for sourced in NOTES:
        report.add(schema.apply(sourced.note, report, sourced.file, sourced.lines))
    assert set(report.concepts) == concepts
    assert set(report.relations) == relations
    assert not report.problems
    total = sum(len(sourced.note.concepts) for sourced in NOTES)
    kinds = [remark for remark in report.remarks("left_out") if remark.reason.startswith("concept type")]
    assert sum(remark.count for remark in kinds) == total - sum(report.concepts.values())


@each_note
def test_note_says_what_it_is_and_has_its_length(sourced):
    source = sourced.file.read_text(encoding="utf-8")
    first, second = source.split("\n")[:2]
    assert first.startswith("# Synthetic: invented") and second == "# SPDX-License-Identifier: Apache-2.0"
    assert "Synthetic" not in sourced.note.text
    assert 80 <= len(sourced.note.text.split()) <= 220


@each_note
def test_note_goes_through_a_doc_unchanged(sourced):
    doc, snapped = doc_from_note(TOKENIZER, sourced.note)
    assert not snapped
    assert note_from_doc(doc).to_dict() == sourced.note.to_dict()


# --- the guideline of the README, as far as a program can check it


def text_of(note, concept):
    return note.text[concept.start : concept.end]


@each_note
def test_mentions_begin_with_no_determiner_or_certainty(sourced):
    outside = (
        r"(the|an?|his|her|their|any|some|this|no|prior|previous|recent|known|possible|likely|old|repeat|initial)\s"
    )
    found = {text_of(sourced.note, c) for c in sourced.note.concepts}
    assert not [text for text in found if re.match(outside, text, re.IGNORECASE)]


@each_note
def test_relations_stay_in_one_sentence(sourced):
    note = sourced.note
    concepts = {concept.id: concept for concept in note.concepts}
    for relation in note.relations:
        first, second = sorted((concepts[relation.head], concepts[relation.tail]), key=lambda c: c.start)
        between = note.text[first.end : second.start]
        assert not re.search(r"\n|[.!?]\s+[A-Z]", between), (relation.label, text_of(note, first))


@each_note
def test_an_arrow_does_not_stop_within_a_list_of_findings(sourced):
    # In "cough PIP> and fever PIP> due to pneumonia" the first arrow would end at the fever.
    pips = [relation for relation in sourced.note.relations if relation.label == "PIP"]
    assert not {relation.head for relation in pips} & {relation.tail for relation in pips}


@each_note
def test_every_name_is_used_by_an_arrow_and_every_arrow_has_its_name(sourced):
    items = " ".join(re.findall(r"\|([^{}|]*)\}", sourced.file.read_text(encoding="utf-8")))
    targets = {name for names in re.findall(r">([\w,]+)", items) for name in names.split(",")}
    assert set(re.findall(r"#(\w+)", items)) == targets


@each_note
def test_a_drug_that_did_not_help_has_a_role_for_the_problem(sourced):
    note = sourced.note
    spans = {concept.id: concept.offsets for concept in note.concepts}
    drugs = {concept.offsets for concept in note.concepts if concept.label == "Drug"}
    roles = {(spans[r.tail], spans[r.head]) for r in note.relations if r.label in ("Reason-Drug", "ADE-Drug")}
    for relation in note.relations:
        if relation.label == "TrWP" and spans[relation.head] in drugs:
            assert (spans[relation.head], spans[relation.tail]) in roles


def test_what_is_annotated_once_is_annotated_everywhere():
    known = {
        text_of(s.note, c).lower() for s in NOTES for c in s.note.concepts if c.label in ("problem", "test", "Drug")
    }
    known = sorted((text for text in known if len(text) > 1), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, known))})(?!\w)", re.IGNORECASE)
    missed = []
    for sourced in NOTES:
        note = sourced.note
        title = note.text.index("\n")
        covered = [range(c.start, c.end) for c in note.concepts] + [range(title)]
        for match in pattern.finditer(note.text):
            if not any(match.start() in part and match.end() - 1 in part for part in covered):
                missed.append((note.id, match[0]))
    assert not missed


def test_table_of_the_readme():
    counts = {split: Counter() for split in SPLITS}
    for sourced in NOTES:
        count = counts[sourced.split]
        count["notes"] += 1
        count["words"] += len(sourced.note.text.split())
        count.update(concept.label for concept in sourced.note.concepts)
        count.update(relation.label for relation in sourced.note.relations)
    names = ["notes", "words", *SCHEMA.concepts, *SCHEMA.relations]
    rows = [[counts[split][name] for split in SPLITS] for name in names]
    expected = [
        f"| {n} | " + " | ".join(f"{x:,}" for x in [*row, sum(row)]) + " |" for n, row in zip(names, rows, strict=True)
    ]
    readme = (marked_text.folder() / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("|---|---:|") :].split("\n")[1:]
    assert table[: len(expected)] == expected, "\n".join(expected)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_make_no_difference(mark, end):
    note, concepts, _ = parsed(mark + end.join(["# remark", "# more", "{nilol|Drug}", "daily"]))
    assert note.text == "nilol\ndaily"
    assert ("nilol", "Drug") in concepts
