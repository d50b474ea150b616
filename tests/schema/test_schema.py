import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema, bundled

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
MINE = """
name: mine
description: Drugs and harm.
concepts:
  Drug:
    description: A medicine.
    question: Which medicines are named?
    merge: [Medication, Vaccine]
  ADE:
relations:
  ADE-Drug:
    question: Which drug caused {head}?
    pairs: [[ADE, Drug]]
    merge: [CAUSE]
drop:
  concepts: [Age]
  relations: [BEFORE]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yml"
    file.write_text(MINE, encoding="utf-8")
    return file


@pytest.fixture
def schema(file: Path) -> Schema:
    return Schema.load(file)


def test_bundled_names():
    assert bundled() == tuple(sorted(bundled()))
    assert set(SIZES) <= set(bundled())


@pytest.mark.parametrize("name", bundled())
def test_bundled_schema(name):
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


def test_user_schema(schema):
    assert schema.name == "mine"
    assert list(schema.concepts) == ["Drug", "ADE"]
    assert schema.concepts["Drug"].merge == ("Medication", "Vaccine")
    assert schema.concepts["Drug"].question == "Which medicines are named?"
    assert schema.relations["ADE-Drug"].pairs == (("ADE", "Drug"),)
    assert (schema.dropped_concepts, schema.dropped_relations) == (("Age",), ("BEFORE",))


def test_what_is_left_out_is_made_from_the_name():
    schema = Schema.from_dict(
        {
            "name": "n",
            "concepts": {"LivingStatus": None, "Time_elapsed": {}, "ADE": {"question": None}},
            "relations": {"ADE-Time": {"pairs": [["ADE", "Time_elapsed"]]}},
            "drop": None,
        }
    )
    assert schema.concepts["LivingStatus"].question == "Which mentions of living status are there?"
    assert "time elapsed" in schema.concepts["Time_elapsed"].description
    assert "ADE" in schema.concepts["ADE"].question
    assert "{head}" in schema.relations["ADE-Time"].question


@pytest.mark.parametrize(
    "old, new, code, told",
    [
        ("name: mine", "name: [mine", "CIE102", ("line ", "is a YAML file")),
        (MINE, "", "CIE103", ("the whole file", "`name:`")),
        (MINE, "[a, b]", "CIE103", ("the whole file", "`concepts:`")),
        (MINE, "seen: yes", "CIE105", ("every key", "Begin it with `name:`")),
        ("name: mine", "nome: mine", "CIE104", ("nome", "did you mean 'name'?")),
        ("    question: Which m", "    questions: Which m", "CIE104", ("concepts.Drug.questions", "mean 'question'?")),
        ("pairs:", "pair:", "CIE104", ("relations.ADE-Drug.pair", "mean 'pairs'?")),
        ("  relations: [B", "  relation: [B", "CIE104", ("drop.relation", "mean 'relations'?")),
        ("name: mine", "", "CIE105", ("name", "Add `name: ...`")),
        ("name: mine", "name: 5", "CIE103", ("name", "quotes")),
        ("  ADE:", "  NO:", "CIE103", ("concepts.False", "put the key in quotes")),
        ("  ADE:", "  ADE: adverse event", "CIE103", ("concepts.ADE", "indented lines of `key: value`")),
        ("description: A medicine.", "description: []", "CIE103", ("concepts.Drug.description", "Write some")),
        ("[Medication, Vaccine]", "Medication", "CIE103", ("concepts.Drug.merge", "[A, B]")),
        ("[Medication, Vaccine]", "[Medication, 7]", "CIE103", ("concepts.Drug.merge[1]", "quotes")),
        ("[[ADE, Drug]]", "[]", "CIE105", ("relations.ADE-Drug.pairs", "`pairs: [[HEAD, TAIL], ...]`")),
        ("[[ADE, Drug]]", "", "CIE105", ("relations.ADE-Drug.pairs", "`pairs: [[HEAD, TAIL], ...]`")),
        ("[[ADE, Drug]]", "[ADE, Drug]", "CIE103", ("relations.ADE-Drug.pairs[0]", "[A, B]")),
        ("[[ADE, Drug]]", "[[ADE]]", "CIE103", ("relations.ADE-Drug.pairs[0]", "[HEAD, TAIL]")),
        ("[[ADE, Drug]]", "[[ADE, Drgu]]", "CIE106", ("relations.ADE-Drug.pairs[0]", "mean 'Drug'?")),
        ("[[ADE, Drug]]", "[[ADE, Vaccine]]", "CIE106", ("relations.ADE-Drug.pairs[0]", "merged into 'Drug'")),
        ("[[ADE, Drug]]", "[[ADE, zzz]]", "CIE106", ("relations.ADE-Drug.pairs[0]", "Use one of these")),
        ("[Medication, Vaccine]", "[Medication, Medication]", "CIE107", ("concepts.Drug.merge", "listed only once")),
        ("  ADE:", "  ADE: {merge: [Vaccine]}", "CIE107", ("concepts.ADE.merge", "under concepts.Drug.merge already")),
        ("[Medication, Vaccine]", "[ADE]", "CIE107", ("concepts.Drug.merge", "under concepts.ADE already")),
        ("[Age]", "[Vaccine]", "CIE107", ("drop.concepts", "under concepts.Drug.merge already")),
        ("[Age]", "[ADE]", "CIE107", ("drop.concepts", "under concepts.ADE already")),
        ("[BEFORE]", "[CAUSE]", "CIE107", ("drop.relations", "under relations.ADE-Drug.merge already")),
        ("  ADE:", "  ADE:\n  Drug:", "CIE108", ("concepts.Drug", "Remove or rename")),
        ("    merge: [CAUSE]", "    pairs: []", "CIE108", ("relations.ADE-Drug.pairs", "Remove or rename")),
        ("  ADE:", "  ADE: {merge: [A], merge: [B]}", "CIE108", ("concepts.ADE.merge", "Remove or rename")),
        ("    merge: [CAUSE]", "    symmetric: both", "CIE103", ("relations.ADE-Drug.symmetric", "true or false")),
        ("caused {head}?", "caused it?", "CIE109", ("relations.ADE-Drug.question", "'Which drug caused {head}?'")),
    ],
)
def test_bad_file_names_file_key_and_remedy(file, old, new, code, told):
    assert old in MINE
    file.write_text(MINE.replace(old, new), encoding="utf-8")
    with pytest.raises(ClinieError) as error:
        Schema.load(file)
    message = str(error.value)
    assert error.value.code == code
    assert all(part in message for part in (str(file), *told))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("Zoe Quux, HIV: yes\nZoe Quux, HIV: no\n", "CIE105"),
        ("2001-02-03: born Zoe Quux\n", "CIE105"),
        ("name: a\nZoe Quux, HIV: yes\n", "CIE104"),
        ("name: a\n2001-02-03: born Zoe Quux\n", "CIE103"),
        ("name: a\nconcepts: {A: }\nZoe: {Zoe: 1, Zoe: 2}\n", "CIE104"),
        ("Zoe: 2023-02-30\n", "CIE102"),
    ],
)
def test_a_note_in_place_of_a_schema_is_not_quoted(file, content, code):
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ClinieError) as error:
        Schema.load(file)
    assert error.value.code == code
    assert not any(part in str(error.value) for part in ("Zoe", "HIV", "2001", "2023"))


def test_a_symmetric_relation_needs_its_pair_once(file):
    file.write_text("name: a\nconcepts: {A: , B: }\nrelations: {R: {pairs: [[A, B]], symmetric: true}}\n")
    schema = Schema.load(file)
    assert schema.allowed("A", "B") == schema.allowed("B", "A") == ("R",)


def test_unreadable_files(file, tmp_path):
    for content, problem in [
        (b"\xff\xfe\x00", "byte 0 is not UTF-8"),
        (b"name: a\x00b", "not YAML"),
        (b"name: &a [*a]", "refers to itself"),
        (b"name: x\nconcepts: {A: &a {merge: *a}}", "refers to itself"),
    ]:
        file.write_bytes(content)
        with pytest.raises(ClinieError, match=problem) as error:
            Schema.load(file)
        assert error.value.code == "CIE102" and str(file) in str(error.value)
    with pytest.raises(ClinieError) as error:
        Schema.load(tmp_path)
    assert error.value.code == "CIE102"


def test_aliases_of_aliases_do_not_make_a_schema_endless(file):
    lines = ["  A0: &a0 {merge: [x]}"] + [f"  A{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    file.write_text("\n".join(["name: x", "concepts:", *lines]))
    with pytest.raises(ClinieError) as error:
        Schema.load(file)
    assert error.value.code == "CIE103" and "concepts.A1" in str(error.value)


def test_byte_order_mark_is_no_part_of_the_first_key(file):
    file.write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    assert Schema.load(file).name == "mine"


def test_no_such_schema(tmp_path):
    for name in ("phe", Path("phee"), tmp_path / "phee", str(tmp_path / "no.yml")):
        with pytest.raises(ClinieError) as error:
            Schema.load(name)
        assert error.value.code == "CIE101"
        assert str(name) in str(error.value) and all(known in str(error.value) for known in bundled())
    with pytest.raises(ClinieError, match="did you mean 'phee'"):
        Schema.load("phe")


@pytest.mark.parametrize(
    "text", ["Zebedee came in: unwell.", "- Zebedee", "Zebedee: *unwell", "Zebedee", 'Zebedee: "\\q"', "a: b: Zebedee"]
)
def test_a_note_given_by_mistake_does_not_reach_the_message(file, text):
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ClinieError) as error:
        Schema.load(file)
    assert "Zebedee" not in str(error.value) and "unwell" not in str(error.value)


def test_round_trip(schema):
    for original in (schema, *map(Schema.load, bundled())):
        assert Schema.from_dict(json.loads(json.dumps(original.to_dict()))) == original
        assert pickle.loads(pickle.dumps(original)) == original


def test_yaml_round_trip(schema, file):
    for original in (schema, Schema.load("maccrobat2020-coarse")):
        file.write_text(original.to_yaml(), encoding="utf-8")
        loaded = Schema.load(file)
        assert loaded == original
        assert list(loaded.concepts) == list(original.concepts)


def test_yaml_is_readable(schema):
    text = schema.to_yaml()
    assert text.startswith(
        "name: mine\ndescription: Drugs and harm.\nconcepts:\n  Drug:\n    description: A medicine.\n"
    )
    assert "    pairs:\n      - [ADE, Drug]\n" in text
    assert "    merge: [Medication, Vaccine]\n" in text


# Control characters are out: PyYAML reads back some of those that it writes as a blank.
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20).map(str.strip)
words = words.filter(bool)


@given(st.dictionaries(words, st.none() | words, min_size=1), words)
def test_yaml_round_trip_of_any_names(tmp_path_factory, descriptions, relation):
    concepts = {name: {"description": text} if text else {} for name, text in descriptions.items()}
    name = next(iter(concepts))
    original = Schema.from_dict(
        {"name": name, "concepts": concepts, "relations": {relation: {"pairs": [[name, name]], "merge": [relation]}}}
    )
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(original.to_yaml().encode())
    assert Schema.load(file) == original


def test_union_of_schemas():
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
