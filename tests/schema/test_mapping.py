"""Notes are put into the types of a schema, and schemas are drafted from notes."""

from copy import deepcopy

from spacy_clinie.doc.note import Concept, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.schema import Schema
from tests.schema.conftest import note, shape


def remarks(report: Report, kind: str) -> dict[str, int]:
    return {remark.reason: remark.count for remark in report.remarks(kind)}


def test_apply_renames_and_keeps_everything_else(schema):
    before = note("a Medication 0 4; b ADE 10 20; c Drug 30 34", "b CAUSE a; b ADE-Drug c")
    before.concepts[0].attributes["status"] = "current"
    before.concepts[1].fragments = [(10, 12), (15, 20)]
    before.relations[0].score = 0.5
    untouched, report = deepcopy(before), Report()
    after = schema.apply(before, report, "n1.ann")
    assert shape(after) == (
        [("a", "Drug"), ("b", "ADE"), ("c", "Drug")],
        [("b", "ADE-Drug", "a"), ("b", "ADE-Drug", "c")],
    )
    assert (after.id, after.text) == (before.id, before.text)
    assert after.concepts[0].attributes == {"status": "current"} and after.relations[0].score == 0.5
    after.concepts[0].attributes.clear()
    after.concepts[1].fragments.clear()
    assert before == untouched
    assert report.problems == 0 and remarks(report, "left_out") == {}


def test_apply_drops_what_is_listed_and_what_is_unknown(schema):
    report = Report()
    after = schema.apply(
        note(
            "a Drug 0 4; b ADE 5 9; c Age 10 14; d Planet 20 24",
            "b ADE-Drug a; b BEFORE a; b ORBITS a; b ADE-Drug c; d ADE-Drug a; d ADE-Drug c; b ADE-Drug gone",
        ),
        report,
        "n1.ann",
        {"b": 2, "c": 3, "d": 4},
    )
    assert shape(after) == ([("a", "Drug"), ("b", "ADE")], [("b", "ADE-Drug", "a")])
    assert remarks(report, "left_out") == {
        "concept type that the schema drops: Age": 1,
        "relation type that the schema drops: BEFORE": 1,
        "relation with a concept that the schema drops": 2,
    }
    assert remarks(report, "dropped") == {
        "concept type that is not in the schema: Planet": 1,
        "relation type that is not in the schema: ORBITS": 1,
        "relation with a concept that could not be converted": 2,
    }
    places = {r["reason"]: r["examples"] for r in report.to_dict()["not_carried_over"]}
    assert places["concept type that is not in the schema: Planet"] == ["n1.ann:4"]
    assert places["relation type that is not in the schema: ORBITS"] == ["n1.ann:2"]


def test_apply_takes_a_type_that_is_spelt_otherwise():
    relations = {"Caused": {"pairs": [["Drug", "Effet ne\u0301faste"]]}}
    record = {
        "name": "n",
        "concepts": {"Drug": {"merge": ["Medication"]}, "Effet ne\u0301faste": {}, "dose": {}, "Dose": {}},
        "relations": relations,
        "drop": {"concepts": ["AGE"], "relations": ["BEFORE"]},
    }
    schema, report = Schema.from_dict(record), Report()
    before = note("a drug 0 4; b MEDICATION 5 9; d dose 10 12; e Dose 10 12; f DOSE 10 12; g Age 20 22; h drugs 30 34")
    before.concepts.append(Concept("c", 40, 44, "effet n\u00e9faste"))
    before.relations = [Relation("a", "c", "CAUSED"), Relation("b", "c", "before"), Relation("a", "c", "cause")]
    after = schema.apply(before, report, "n1.ann", {"b": 7})
    assert shape(after) == (
        [("a", "Drug"), ("b", "Drug"), ("d", "dose"), ("e", "Dose"), ("c", "Effet ne\u0301faste")],
        [("a", "Caused", "c")],
    )
    told = "type in another spelling"
    assert remarks(report, "mended") == {
        f"concept {told}: drug, read as Drug": 1,
        f"concept {told}: MEDICATION, read as Medication": 1,
        f"concept {told}: Age, read as AGE": 1,
        f"concept {told}: effet n\u00e9faste, read as Effet ne\u0301faste": 1,
        f"relation {told}: CAUSED, read as Caused": 1,
        f"relation {told}: before, read as BEFORE": 1,
    }
    assert remarks(report, "dropped") == {
        "concept type that is not in the schema: DOSE": 1,  # which of two?
        "concept type that is not in the schema: drugs": 1,
        "relation type that is not in the schema: cause": 1,
    }
    assert remarks(report, "left_out") == {
        "concept type that the schema drops: Age": 1,
        "relation type that the schema drops: before": 1,
    }
    examples = {remark.reason: remark.examples for remark in report.remarks("mended")}
    assert examples[f"concept {told}: MEDICATION, read as Medication"] == ["n1.ann:7"]


def test_apply_keeps_a_pair_that_is_not_listed_and_counts_it(schema):
    report = Report()
    after = schema.apply(note("a Vaccine 0 4; b ADE 5 9", "a ADE-Drug b"), report, "n1.ann")
    assert shape(after)[1] == [("a", "ADE-Drug", "b")]
    reason = "relation between types that the schema does not list for it: ADE-Drug (Drug -> ADE), kept"
    assert remarks(report, "mended") == {reason: 1}


def test_apply_makes_one_of_what_merging_made_equal(schema):
    report = Report()
    after = schema.apply(
        note(
            "a Medication 0 4; b Vaccine 0 4; c Drug 0 4; d ADE 0 4; e Vaccine 0 5",
            "d ADE-Drug a; d CAUSE b; a CAUSE b; d CAUSE e",
        ),
        report,
        "n1.ann",
    )
    assert shape(after) == (
        [("a", "Drug"), ("d", "ADE"), ("e", "Drug")],
        [("d", "ADE-Drug", "a"), ("d", "ADE-Drug", "e")],
    )
    assert remarks(report, "left_out") == {
        "duplicate concept after merging types": 2,
        "duplicate relation after merging types": 1,
        "relation of a concept to itself after merging types": 1,
    }
    assert report.problems == 0


def test_apply_gives_one_of_two_merged_concepts_the_attributes_of_both(schema):
    before, report = note("a Medication 0 4; b Vaccine 0 4; c Drug 0 4"), Report()
    before.concepts[0].attributes = {"status": "past"}
    before.concepts[1].attributes = {"status": "now", "certain": "yes"}
    before.concepts[2].attributes = {"status": "past", "certain": "yes"}
    (merged,) = schema.apply(before, report, "n1.ann", {"b": 2}).concepts
    assert merged.attributes == {"status": "past|now", "certain": "yes"}
    assert remarks(report, "mended") == {"attribute of merged concepts with several values, joined by |": 1}
    assert report.remarks("mended")[0].examples == ["n1.ann:2"]
    assert before.concepts[0].attributes == {"status": "past"}


def test_apply_joins_several_values_once(schema):
    before, report = note("a Medication 0 4; b Vaccine 0 4"), Report()
    before.concepts[1].attributes = {"code": "x|y"}
    assert schema.apply(before, report, "n1.ann").concepts[0].attributes == {"code": "x|y"}
    assert report.problems == 0


def test_apply_turns_symmetric_relations_to_the_order_of_the_text():
    concepts = {"Drug": {}, "ADE": {}}
    relations = {"WITH": {"pairs": [["Drug", "Drug"]], "symmetric": True}, "NOT": {"pairs": [["Drug", "Drug"]]}}
    schema, report = Schema.from_dict({"name": "n", "concepts": concepts, "relations": relations}), Report()
    before = note("a Drug 0 4; b Drug 10 20", "b WITH a; b NOT a")
    after = schema.apply(before, report, "n1.ann")
    assert [(r.head, r.label, r.tail) for r in after.relations] == [("a", "WITH", "b"), ("b", "NOT", "a")]
    assert report.problems == 0 and remarks(report, "left_out") == {}
    assert Schema.from_dict(schema.to_dict()) == schema
    for both_ways in ("b WITH a; a WITH b", "a WITH b; b WITH a"):
        report = Report()
        after = schema.apply(note("a Drug 0 4; b Drug 10 20", both_ways), report, "f")
        assert shape(after)[1] == [("a", "WITH", "b")]
        assert remarks(report, "left_out") == {"symmetric relation in both directions": 1}
        assert report.problems == 0
    on_the_same_words = schema.apply(note("a Drug 0 4; b Drug 0 4", "b WITH a; a WITH b"), report, "f")
    assert shape(on_the_same_words)[1] == [("b", "WITH", "a")]


def test_apply_tells_fragments_apart(schema):
    before = note("a Medication 0 9; b Vaccine 0 9")
    before.concepts[1].fragments = [(0, 3), (6, 9)]
    assert len(schema.apply(before, Report(), "n1.ann").concepts) == 2


def test_apply_leaves_alone_what_the_corpus_itself_holds_twice(schema):
    """The counts of a corpus would not come out otherwise: chia has such concepts, maccrobat2020 such relations."""
    report = Report()
    before = note("a Drug 0 4; b Drug 0 4; c ADE 5 9", "c ADE-Drug a; c ADE-Drug a; c ADE-Drug b; a ADE-Drug a")
    after = schema.apply(before, report, "n1.ann")
    assert shape(after) == shape(before)
    assert remarks(report, "left_out") == {}


def test_apply_without_relation_types():
    report = Report()
    schema = Schema.from_dict({"name": "n", "concepts": {"Drug": {}}})
    after = schema.apply(note("a Drug 0 4; b Drug 5 9", "a ANY b"), report, "n1.ann")
    assert after.relations == []
    assert remarks(report, "left_out") == {"relation, but the schema has no relation types": 1}
    assert report.problems == 0


def test_the_coarse_schema_of_maccrobat_merges_its_types():
    schema, report = Schema.load("maccrobat2020-coarse"), Report()
    before = note(
        "a Sign_symptom 0 4; b Disease_disorder 5 9; c Medication 10 14; d Lab_value 20 24",
        "b CAUSE a; d MODIFY a; c BEFORE a",
    )
    after = schema.apply(before, report, "n1.ann")
    assert shape(after) == ([("a", "problem"), ("b", "problem"), ("c", "treatment")], [("b", "CAUSE", "a")])
    assert report.problems == 0
