import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pytest

from spacy_clinie.doc.note import Note
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema, bundled
from tests.schema.conftest import note, shape

# Concept types and relation types of each dataset, from the papers or counted in the raw files.
SIZES = {
    "bc5cdr": (2, 1),
    "chia": (15, 14),
    "ddi2013": (4, 4),
    "i2b2_2010": (3, 8),
    "maccrobat2020": (41, 7),
    "maccrobat2020-coarse": (3, 4),
    "mtsamples_sdoh": (26, 14),
    "n2c2_2018": (9, 8),
    "n2c2_2022": (14, 7),
    "phee": (13, 8),
    "radgraph": (4, 3),
}


def test_bundled_schemas_are_listed_by_name():
    assert bundled() == tuple(sorted(bundled()))
    assert set(SIZES) <= set(bundled())


@pytest.mark.parametrize("name", bundled())
def test_a_bundled_schema_describes_every_type(name):
    schema = Schema.load(name)
    types = [*schema.concepts.values(), *schema.relations.values()]
    assert schema.name == name and schema.description
    assert name not in SIZES or (len(schema.concepts), len(schema.relations)) == SIZES[name]
    for prose in ([kind.description for kind in types], [kind.question for kind in types]):
        assert [text for text, count in Counter(prose).items() if count > 1 or len(text) < 20] == []
    assert all(kind.question.endswith("?") and kind.description.endswith(".") for kind in types)
    # Left to the default, a question would only repeat the name of the type.
    assert not any(re.match(r"Which mentions (of|does) ", kind.question) for kind in types)
    for relation in schema.relations.values():
        assert relation.question.count("{head}") == 1
        assert len(set(relation.pairs)) == len(relation.pairs) > 0
        assert {label for pair in relation.pairs for label in pair} <= set(schema.concepts)
        for head, tail in relation.pairs:
            assert relation.name in schema.allowed(head, tail)
    assert not any("{head}" in concept.question for concept in schema.concepts.values())


def test_allowed_follows_the_direction():
    schema = Schema.load("i2b2_2010")
    assert schema.allowed("treatment", "problem") == ("TrIP", "TrWP", "TrCP", "TrAP", "TrNAP")
    assert schema.allowed("test", "problem") == ("TeRP", "TeCP")
    assert schema.allowed("problem", "problem") == ("PIP",)
    assert schema.allowed("problem", "treatment") == ()
    assert Schema.load("n2c2_2018").allowed("ADE", "Drug") == ("ADE-Drug",)
    assert Schema.load("n2c2_2022").allowed("Employment", "StatusEmploy") == ("Status",)


@pytest.mark.parametrize("name", ["maccrobat2020", "mtsamples_sdoh", "chia", "ddi2013"])
def test_bundled_schema_fits_the_raw_files(name, corpora):
    """Every type and every type pair that occurs is in the schema; read here without the package's own reader."""
    schema = Schema.load(name)
    known = set(schema.concepts) | set(schema.dropped_concepts)
    pairs: Counter[tuple[str, str, str]] = Counter()
    for file in sorted((corpora / name).rglob("*.ann")):
        types, triggers, links = {}, {}, []
        for line in file.read_bytes().decode("utf-8").split("\n"):
            key, _, rest = line.partition("\t")
            words = rest.split("\t")[0].split()
            if key.startswith("T"):
                types[key] = words[0]
            elif key.startswith("E"):
                triggers[key] = words[0].split(":")[1]
                roles = [word.split(":") for word in words[1:]]
                links += [(re.sub(r"\d+$", "", role), triggers[key], end) for role, end in roles]
            elif key.startswith("R"):
                links.append((words[0], words[1].split(":")[1], words[2].split(":")[1]))
        assert set(types.values()) <= known
        pairs.update((label, *(types[triggers.get(end, end)] for end in (head, tail))) for label, head, tail in links)
    left_out = set(schema.dropped_concepts)
    kept = [(label, *pair) for label, *pair in pairs if label not in schema.dropped_relations]
    missing = [
        (label, head, tail)
        for label, head, tail in kept
        if not left_out & {head, tail} and label not in schema.allowed(head, tail)
    ]
    assert len(pairs) > 40
    assert missing == []


def test_a_schema_of_the_user_is_read_from_its_file(schema):
    assert schema.name == "mine"
    assert list(schema.concepts) == ["Drug", "ADE"]
    assert schema.concepts["Drug"].merge == ("Medication", "Vaccine")
    assert schema.concepts["Drug"].question == "Which medicines are named?"
    assert schema.relations["ADE-Drug"].pairs == (("ADE", "Drug"),)
    assert (schema.dropped_concepts, schema.dropped_relations) == (("Age",), ("BEFORE",))


def test_a_symmetric_relation_needs_its_pair_once(file):
    file.write_text("name: a\nconcepts: {A: , B: }\nrelations: {R: {pairs: [[A, B]], symmetric: true}}\n")
    schema = Schema.load(file)
    assert schema.allowed("A", "B") == schema.allowed("B", "A") == ("R",)


def test_an_unknown_schema_is_an_error_that_lists_the_known(tmp_path):
    for name in ("phe", Path("phee"), tmp_path / "phee", str(tmp_path / "no.yml")):
        with pytest.raises(ClinieError) as error:
            Schema.load(name)
        assert error.value.code == "CIE101"
        assert str(name) in str(error.value) and all(known in str(error.value) for known in bundled())
    with pytest.raises(ClinieError, match="did you mean 'phee'"):
        Schema.load("phe")


def test_a_schema_is_the_same_after_a_dictionary_and_a_pickle(schema):
    for original in (schema, *map(Schema.load, bundled())):
        assert Schema.from_dict(json.loads(json.dumps(original.to_dict()))) == original
        assert pickle.loads(pickle.dumps(original)) == original


def test_a_union_has_the_types_of_all_schemas():
    first = Schema.from_dict(
        {
            "name": "a",
            "description": "One.",
            "concepts": {"Drug": {"description": "A medicine."}, "ADE": {}},
            "relations": {"ADE-Drug": {"pairs": [["ADE", "Drug"]]}},
        }
    )
    second = Schema.from_dict(
        {
            "name": "b",
            "description": "Two.",
            "concepts": {"Drug": {"description": "Other."}, "Symptom": {}},
            "relations": {"ADE-Drug": {"pairs": [["Symptom", "Drug"]]}},
        }
    )
    both = Schema.union([first, second], "both")
    assert list(both.concepts) == ["Drug", "ADE", "Symptom"]
    assert both.concepts["Drug"].description == "A medicine."
    assert both.relations["ADE-Drug"].pairs == (("ADE", "Drug"), ("Symptom", "Drug"))
    assert both.description == "One. Two."
    assert Schema.from_dict(both.to_dict()) == both
    assert Schema.union([first], "same") is first
    # A type of one may be what the other merges.
    merging = Schema.from_dict({"name": "c", "concepts": {"problem": {"merge": ["ADE", "Symptom"]}}})
    all_three = Schema.union([first, merging, second], "all")
    assert Schema.from_dict(all_three.to_dict()) == all_three


def test_a_draft_has_the_types_of_the_notes_by_how_often_they_occur(tmp_path: Path):
    notes = [note("a Drug 0 4; b ADE 5 9; c ADE 10 14", "b ADE-Drug a; c ADE-Drug a; c NEAR b; b NEAR a")] * 602
    notes.append(note("a Route 0 4; b ADE 5 9", "a NEAR b; a NEAR b"))
    schema = Schema.draft(notes, "first")
    assert schema.name == "first" and "603 documents" in schema.description
    assert list(schema.concepts) == ["ADE", "Drug", "Route"]
    assert schema.concepts["ADE"].description == "ADE: 1,205 in the draft corpus."
    assert list(schema.relations) == ["NEAR", "ADE-Drug"]
    assert schema.relations["ADE-Drug"].description == "ADE-Drug: 1,204 in the draft corpus."
    assert schema.relations["NEAR"].pairs == (("ADE", "ADE"), ("ADE", "Drug"), ("Route", "ADE"))
    file = tmp_path / "draft.yml"
    file.write_text(schema.to_yaml(), encoding="utf-8")
    assert Schema.load(file) == schema
    report = Report()
    assert shape(schema.apply(notes[0], report, "n1.ann")) == shape(notes[0])
    assert report.problems == 0


def test_a_draft_of_nothing_is_refused():
    with pytest.raises(ClinieError, match=r"CIE110.*1 notes"):
        Schema.draft([Note("n1", "text")], "first")
    with pytest.raises(ClinieError, match="CIE006"):
        Schema.draft([note("a Drug 0 4", "a NEAR gone")], "first")
