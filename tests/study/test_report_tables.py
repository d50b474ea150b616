"""The figures of a report, against those that are worked out by hand."""

import json
from pathlib import Path
from typing import Any, Optional

import pytest

from spacy_clinie.study.report.by_type import types_section
from spacy_clinie.study.report.cost import cost_section
from spacy_clinie.study.report.layout import Cell, Section, Table, bounds, counted, emphasised, signed, size
from spacy_clinie.study.report.loo import loo_section
from spacy_clinie.study.report.manifests import read_study
from spacy_clinie.study.report.mistakes import mistakes_section
from spacy_clinie.study.report.overview import overview_section
from spacy_clinie.study.report.single import significance_section, single_section

from .test_report_manifests import EVIL, MACHINE, StudyMaker, flat, make_fold, same


@pytest.fixture
def maker(tmp_path: Path) -> StudyMaker:
    return StudyMaker(tmp_path)


def table(section: Section, start: str) -> Table:
    (found,) = [block for block in section.blocks if isinstance(block, Table) and block.title.startswith(start)]
    return found


def texts(found: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in found.rows]


def words(section: Section) -> str:
    return " ".join(block for block in section.blocks if isinstance(block, str))


def errors(boundary: int = 3, type: int = 1, missed: int = 4, spurious: int = 2) -> dict:
    kinds = {"boundary": boundary, "type": type, "missed": missed, "spurious": spurious}
    examples = [
        {"document": "note-1", "kind": "boundary", "gold": [50, 57, "Drug"], "found": [50, 54, "Drug"]},
        {"document": "note-2", "kind": "missed", "gold": [0, 4, "Drug"], "found": None},
        {"document": "note-3", "kind": "spurious", "gold": None, "found": [5, 9, "ADE"]},
    ]
    seen, unseen = {"gold": 8, "found": 6}, {"gold": 4, "found": 1}
    return {**kinds, "by_type": {"Drug": kinds}, "seen": seen, "unseen": unseen, "examples": examples}


def test_single_by_hand(maker: StudyMaker) -> None:
    # F1 = 2 tp / (2 tp + fp + fn): 6/8, 4/8, 8/10, 2/10.
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)}, same(4, 0, 0))
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(2, 2, 2)})
    maker.done(make_fold("single", "encoder-tagger", "chia"), {"concepts": same(4, 1, 1)})
    maker.done(make_fold("single", "encoder-mrc", "chia"), {"concepts": same(1, 4, 4)})
    maker.done(make_fold("single", "encoder-tagger", "ddi2013"), {"concepts": same(9, 0, 2)})
    maker.fail(make_fold("single", "encoder-mrc", "ddi2013"), "ValueError")
    section = single_section(read_study(maker.write()))
    found = table(section, "Concepts")
    assert texts(found) == [
        ["phee", "0.750", "1.000", "0.500", "0.500"],
        ["chia", "0.800", "0.800", "0.200", "0.200"],
        ["ddi2013", "0.900", "0.900", "failed", "–"],
        ["Mean", "0.775", "0.900", "0.350", "0.350"],
    ]
    assert found.rows[0][0].more == "40 in 10 documents"
    assert [cell.more for cell in found.rows[0][1:3]] == ["0.750–0.750", ""]
    assert [[cell.strong for cell in row[1:]] for row in found.rows[:2]] == [[True, True, False, False]] * 2
    # Alone in its row it is not the best of anything.
    assert not any(cell.strong for cell in found.rows[2])
    assert "those corpora alone that all these arms have: phee, chia" in words(section)
    assert "Relations, end to end: there is no finished fold" in words(section)


def test_several_seeds_have_a_mean_and_a_range(maker: StudyMaker) -> None:
    for seed, counts in enumerate((same(3, 1, 1), same(2, 2, 2), same(4, 0, 0))):
        maker.done(make_fold("single", "encoder-tagger", "phee", seed=seed), {"concepts": counts})
    found = table(single_section(read_study(maker.write())), "Concepts")
    assert (found.rows[0][1].text, found.rows[0][1].more) == ("0.750", "0.500–1.000")
    assert found.records[0] | {"f1": 0.75, "low": 0.5, "high": 1.0, "bounds": "range", "folds": 3} == found.records[0]


def test_a_corpus_without_relations_has_no_score(maker: StudyMaker) -> None:
    nothing = flat([[0, 1, 0], [0, 0, 0]])
    for arm in ("encoder-pairs", "encoder-mrc"):
        maker.done(make_fold("single", arm, "phee"), {"relations_gold": same(3, 1, 1)})
        maker.done(make_fold("single", arm, "chia"), {"relations_gold": nothing})
    found = table(single_section(read_study(maker.write())), "Relations on gold")
    assert texts(found)[1] == ["chia", "none in gold", "–", "none in gold", "–"]
    assert found.rows[2][0].more == "of 1 corpus"


def test_the_best_is_better_than_another() -> None:
    def strong(*values: Optional[float]) -> list[bool]:
        return [cell.strong for cell in emphasised([Cell()] * len(values), values)]

    assert strong(0.5, 0.7, None) == [False, True, False]
    assert strong(0.7, 0.5, 0.70001) == [True, False, True]  # they read the same
    assert strong(0.0, 0.00001) == strong(0.7, None) == [False, False]


def test_significance_in_the_table(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(5, 5, 5)})
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(8, 2, 2)})
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(8, 2, 2, documents=9)})
    section = significance_section(read_study(maker.write()))
    found = table(section, "Concepts")
    apart = "not comparable"
    assert [row[2].text for row in found.rows] == ["+0.300", "0.000", apart, "−0.300", apart, apart]
    assert [row[2].strong for row in found.rows] == [True, False, False, True, False, False]
    assert found.rows[1][2].more == "p = 1.000"
    assert "3 comparisons, 2 significant. 3 more could not be made" in words(section)


def few(maker: StudyMaker, corpus: str, draw: int, multitask: bool, counts: dict) -> None:
    fold = make_fold("loo", "encoder-mrc", corpus, "shots", shots=5, draw=draw, multitask=multitask)
    maker.done(fold, {"concepts": counts})


@pytest.mark.parametrize(("documents", "between"), [(1, ""), (2, "+0.250 to +0.250")])
def test_one_document_tells_nothing_about_chance(maker: StudyMaker, documents: int, between: str) -> None:
    for multitask, counts in ((True, [3, 1, 1]), (False, [1, 1, 1])):
        # What has nothing to score tells nothing either.
        few(maker, "phee", 0, multitask, flat([counts] * documents + [[0, 0, 0]] * 5))
    found = table(loo_section(read_study(maker.write())), "Concepts")
    assert (found.rows[0][4].text, found.rows[0][4].more) == ("+0.250", between)
    (record,) = [one for one in found.records if one["stage"] == "gain"]
    assert (record["gain_low"] is None) == (documents == 1)


def test_draws_of_other_documents_are_no_pair(maker: StudyMaker) -> None:
    few(maker, "phee", 0, True, same(3, 1, 1))
    few(maker, "phee", 0, False, same(1, 1, 1))
    few(maker, "phee", 1, True, same(3, 1, 1))
    few(maker, "phee", 1, False, same(3, 1, 1, documents=9))
    found = table(loo_section(read_study(maker.write())), "Concepts")
    assert found.rows[0][4].text == "+0.250"


def test_loo_by_hand(maker: StudyMaker) -> None:
    for corpus, gains in (("phee", True), ("chia", False), ("ddi2013", True)):
        maker.done(make_fold("loo", "encoder-mrc", corpus, "multi", multitask=True))
        maker.done(make_fold("loo", "encoder-mrc", corpus, "zero", multitask=True), {"concepts": same(1, 4, 4)})
        few(maker, corpus, 0, True, same(3, 1, 1))  # 0.75
        few(maker, corpus, 1, True, same(2, 2, 2))  # 0.5
        few(maker, corpus, 0, False, same(1, 1, 1) if gains else same(4, 1, 1))  # 0.5, 0.8
        maker.done(make_fold("loo", "encoder-mrc", corpus), {"concepts": same(9, 1, 1)})
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=1))
    section = loo_section(read_study(maker.write()))
    found = table(section, "Concepts")
    assert [column.title for column in found.columns] == [
        "Held out",
        "Zero-shot",
        "multi-task",
        "alone",
        "gain",
        "Full",
    ]
    assert texts(found) == [
        # Draw 1 has no counterpart yet: the gain is that of draw 0 alone.
        ["phee", "0.200", "0.625", "0.500", "+0.250", "0.900"],
        ["chia", "0.200", "0.625", "0.800", "−0.050", "0.900"],
        ["ddi2013", "0.200", "0.625", "0.500", "+0.250", "0.900"],
        ["Mean", "0.200", "0.625", "0.600", "+0.150", "0.900"],
    ]
    assert found.rows[0][2].more == "0.500–0.750"
    # All documents are alike: drawn again, they are the same.
    assert found.rows[0][4].more == "+0.250 to +0.250"
    assert found.rows[3][4].more == "+0.150 to +0.150; 2 of 3 gain"
    assert [[row[i].strong for i in (2, 3)] for row in found.rows[:2]] == [[True, False], [False, True]]
    gain = [record for record in found.records if record["stage"] == "gain" and record["corpus"] == "(mean)"]
    assert (gain[0]["gain"], gain[0]["gaining"], gain[0]["corpora"]) == (pytest.approx(0.15), 2, 3)


def test_the_last_row_is_of_corpora_that_have_everything(maker: StudyMaker) -> None:
    for corpus in ("phee", "chia"):
        maker.done(make_fold("loo", "encoder-mrc", corpus, "zero", multitask=True), {"concepts": same(1, 4, 4)})
        few(maker, corpus, 0, True, same(3, 1, 1))
        maker.done(make_fold("loo", "encoder-mrc", corpus), {"concepts": same(9, 1, 1)})
    few(maker, "phee", 0, False, same(1, 1, 1))
    found = table(loo_section(read_study(maker.write())), "Concepts")
    assert texts(found)[2] == ["Mean", "0.200", "0.750", "0.500", "+0.250", "0.900"]
    assert found.rows[2][1].more == "of 1"


def test_a_gain_is_as_sure_as_its_documents(maker: StudyMaker) -> None:
    """Of two corpora, each with two draws: the multi-task stage helps half of the documents and harms the others."""
    uneven = {"Drug": [[4, 0, 0], [0, 4, 4]] * 10}
    for corpus in ("phee", "chia"):
        for draw in (0, 1):
            few(maker, corpus, draw, True, uneven)
            few(maker, corpus, draw, False, same(2, 2, 2, documents=20))
    found = table(loo_section(read_study(maker.write())), "Concepts")
    gain = {record["corpus"]: record for record in found.records if record["stage"] == "gain"}
    alone = gain["phee"]
    assert alone["gain"] == pytest.approx(0, abs=1e-9)
    # F1 is the share of the documents that it helps; of 20 drawn ones, its standard deviation is 0.11.
    assert -0.3 < alone["gain_low"] < -0.15
    assert 0.15 < alone["gain_high"] < 0.3


def test_loo_with_nothing_but_ceilings(maker: StudyMaker) -> None:
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(9, 1, 1)})
    found = table(loo_section(read_study(maker.write())), "Concepts")
    assert texts(found) == [["phee", "–", "0.900"]]


def test_types_with_their_support(maker: StudyMaker) -> None:
    counts = {"ADE": [[1, 1, 0]] * 4, "Drug": [[3, 1, 1]] * 4, "Other": [[0, 1, 0]] * 4}
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": counts})
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": {"Drug": [[4, 0, 0]] * 4}})
    section = types_section(read_study(maker.write()))
    assert texts(table(section, "Types of phee")) == [["Drug", "16", "0.750", "1.000"], ["ADE", "4", "0.667", "–"]]


def test_cost_by_hand(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    training = {"steps": 3, "seconds": 9, "seconds_per_step": 3, "trainable": 250_000, "parameters": 1_000_000}
    training |= {"peak_bytes": 2_500_000_000, "disk_bytes": 90_000_000}
    prediction = {"seconds": 1, "words": 1000, "rejected": {}}
    more: Any = {"training": training, "prediction": prediction}
    maker.done(make_fold("cost", "encoder-lora", "chia"), {"concepts": same(2, 2, 2)}, **more)
    maker.done(make_fold("cost", "decoder-full", "chia"))
    found = table(cost_section(read_study(maker.write())), "Cost")
    assert [" | ".join(row) for row in texts(found)] == [
        "encoder-lora | minilm | 250,000 | 25.0 % | 2.5 GB | 2.000 | 90.0 MB | 400 | 0.625 | –",
        "decoder-full | smollm2 | 250,000 | 25.0 % | 1.5 GB | 1.000 | 90.0 MB | – | – | –",
    ]
    assert found.rows[0][8].more == "of 2 corpora"


def test_cost_on_two_machines_is_not_mixed(maker: StudyMaker) -> None:
    maker.done(make_fold("cost", "encoder-lora", "phee"))
    made = {"finished": "2025", "seconds": 1, "machine": {**MACHINE, "gpu": "Invented GPU"}, "versions": {}}
    maker.done(make_fold("cost", "encoder-lora", "chia"), made=made)
    found = table(cost_section(read_study(maker.write())), "Cost")
    assert [row[2].text for row in found.rows] == [
        "Invented CPU, 1 of 2 cores, no GPU",
        "Invented CPU, 1 of 2 cores, Invented GPU",
    ]


def test_cost_of_two_profiles_is_not_mixed(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    maker.done(make_fold("cost", "encoder-lora", "phee"), {"concepts": same(2, 2, 2)}, profile="gpu")
    found = table(cost_section(read_study(maker.write())), "Cost")
    assert [(row[2].text, row[9].text) for row in found.rows] == [("cpu", "0.750"), ("gpu", "0.500")]
    assert [(record["profile"], record["folds"]) for record in found.records] == [("cpu", 1), ("gpu", 1)]


def test_parts_of_two_profiles_are_both_shown(maker: StudyMaker) -> None:
    for study in ("single", "cost"):
        maker.done(make_fold(study, "encoder-lora", "phee"))
    plan = json.loads((maker.write() / "cost.json").read_text())
    assert [row[0].more for row in table(overview_section(read_study(maker.folder)), "Corpora").rows] == [""]
    part = {"documents": 40, "words": 5000}
    plan |= {"profile": "gpu", "data": [{**plan["data"][0], "parts": {"train": part, "test": part}}]}
    (maker.folder / "cost.json").write_text(json.dumps(plan))
    found = table(overview_section(read_study(maker.folder)), "Corpora")
    assert [(row[0].more, row[2].text) for row in found.rows] == [("cpu", "20"), ("gpu", "40")]
    assert [record["profile"] for record in found.records] == ["cpu", "gpu"]


def test_a_fold_of_two_studies_is_counted_once(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    maker.plans["cost"] = [{**maker.plans["single"][0], "fold": make_fold("cost", "encoder-lora", "phee")}]
    study = read_study(maker.write())
    assert len(study.folds) == 2
    assert len(study.outcomes) == 1
    assert [record["folds"] for record in table(cost_section(study), "Cost").records] == [1]


def test_what_training_read(maker: StudyMaker) -> None:
    for draw in (0, 1):
        few(maker, "phee", draw, False, same(3, 1, 1))
    few(maker, "phee", 0, True, same(3, 1, 1))
    maker.done(make_fold("loo", "encoder-mrc", "phee", "multi", multitask=True))
    maker.done(make_fold("loo", "encoder-mrc", "phee", "zero", multitask=True), training=None)
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(9, 1, 1)})
    found = table(overview_section(read_study(maker.write())), "What training read")
    assert [row[1:] for row in texts(found)] == [
        ["multi-task", "1", "3", "50.0 %", "45.0 %", "3"],
        ["5 shots, alone", "2", "3", "50.0 %", "45.0 %", "6"],
        ["5 shots, after multi-task", "1", "3", "50.0 %", "45.0 %", "3"],
        ["full", "1", "3", "50.0 %", "45.0 %", "3"],
    ]
    assert found.rows[1][4].more == "of 40 documents"


def test_what_there_was_of_corpora(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(3, 1, 1)})
    found = table(overview_section(read_study(maker.write())), "Corpora")
    assert texts(found) == [["phee", "40 / 5 / 10", "20", "10", "3", "2", "8"]]
    assert found.records[0]["why"] == "a concept of nothing 2, document of another split 7, notes 1"


def test_mistakes_by_hand(maker: StudyMaker) -> None:
    prediction = {"seconds": 1, "words": 1000, "rejected": {"no such type": 2, "not in the text": 5}}
    more = {"errors": errors(), "prediction": prediction}
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(3, 1, 1)}, **more)
    section = mistakes_section(read_study(maker.write()))
    found = table(section, "Kinds")
    assert texts(found)[0][3:8] == ["10", "30.0 %", "10.0 %", "40.0 %", "20.0 %"]
    assert texts(found)[0][8:] == ["75.0 %", "25.0 %", "7", "not in the text 5, no such type 2"]
    assert found.rows[0][8].more == "6 of 8"
    assert [(record["label"], record["type"]) for record in found.records] == [("", 1), ("Drug", 1)]
    assert texts(table(section, "phee"))[0][2:] == ["note-1", "boundary", "50–57 Drug", "50–54 Drug"]


def test_text_is_quoted_around_a_mistake(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "decoder-lora", "phee"), {"concepts": same(3, 1, 1)}, errors=errors())
    text = "a" * 9 + "b" * 40 + " aspirin" + " " + "c" * 39 + "d"
    section = mistakes_section(read_study(maker.write()), lambda corpus: {"note-1": text} if corpus == "phee" else {})
    quoted = [row[-1] for row in texts(table(section, "phee"))]
    assert quoted == [f"…{'b' * 39} «aspirin» {'c' * 39}…", "", ""]


def test_every_planned_fold_is_counted_and_those_without_results_are_named(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.fail(make_fold("single", "encoder-mrc", "phee"), "ValueError: [CIE303] no weights")
    maker.put(maker.plan(make_fold("loo", "encoder-mrc", "phee", "zero", multitask=True)), "{")
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=1))
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=2))
    maker.missing = [{"corpus": "n2c2_2018", "how": "Ask for it."}]
    study = read_study(maker.write())
    section = overview_section(study)
    numbers = {row[0]: row[3:] for row in texts(table(section, "Studies"))}
    assert numbers == {"single": list("21100"), "loo": list("30012"), "cost": ["–"] * 5}
    named = texts(table(section, "Folds that failed"))
    assert [row[-1] for row in named] == ["ValueError: [CIE303] no weights", "is not whole JSON"]
    assert texts(table(section, "Folds that have not")) == [["loo", "phee", "encoder-mrc (minilm)", "2"]]
    assert texts(table(section, "Files")) == [["folds/0000000000000002/manifest.json", "is not whole JSON"]]
    assert texts(table(section, "Missing")) == [["n2c2_2018", "Ask for it."]]
    assert "Of 5 planned folds, 1 are finished, 1 failed" in words(section)


def test_figures_as_they_are_printed() -> None:
    assert [signed(value) for value in (0.0126, -0.0126, 0.0, -0.0001)] == ["+0.013", "−0.013", "0.000", "0.000"]
    assert [size(count) for count in (12, 1500, 999_000, 3.4e9)] == ["12 B", "1.5 kB", "999 kB", "3.4 GB"]
    assert [bounds(0.1, 0.25), bounds(None, None)] == ["0.100–0.250", ""]
    assert [counted(1, "corpus", "corpora"), counted(2000, "fold")] == ["1 corpus", "2,000 folds"]


def test_tables_have_a_cell_for_each_column(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", EVIL), {"concepts": same(3, 1, 1)}, errors=errors())
    maker.plan(make_fold("loo", "encoder-mrc", EVIL))
    study = read_study(maker.write())
    for make in (overview_section, single_section, significance_section, loo_section, types_section, cost_section):
        for found in make(study).blocks:
            if isinstance(found, Table):
                assert {len(row) for row in found.rows} == {len(found.columns)}
