"""Files of schemas: what is refused with its place and a remedy, and what is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema
from tests.schema.conftest import MINE


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


def test_unreadable_files_are_refused_with_the_reason(file, tmp_path):
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


@pytest.mark.parametrize(
    "text", ["Zebedee came in: unwell.", "- Zebedee", "Zebedee: *unwell", "Zebedee", 'Zebedee: "\\q"', "a: b: Zebedee"]
)
def test_a_note_given_by_mistake_does_not_reach_the_message(file, text):
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ClinieError) as error:
        Schema.load(file)
    assert "Zebedee" not in str(error.value) and "unwell" not in str(error.value)


def test_what_is_written_is_read_back(schema, file):
    for original in (schema, Schema.load("maccrobat2020-coarse")):
        file.write_text(original.to_yaml(), encoding="utf-8")
        loaded = Schema.load(file)
        assert loaded == original
        assert list(loaded.concepts) == list(original.concepts)


def test_what_is_written_is_readable(schema):
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
def test_any_names_are_read_back(tmp_path_factory, descriptions, relation):
    concepts = {name: {"description": text} if text else {} for name, text in descriptions.items()}
    name = next(iter(concepts))
    original = Schema.from_dict(
        {"name": name, "concepts": concepts, "relations": {relation: {"pairs": [[name, name]], "merge": [relation]}}}
    )
    file = tmp_path_factory.getbasetemp() / "any.yml"
    file.write_bytes(original.to_yaml().encode())
    assert Schema.load(file) == original
