"""What was run, on what, and what is not there."""

import json
from typing import Any

from spacy_clinie.study.report.layout import Part
from spacy_clinie.study.report.manifests import read_study
from spacy_clinie.study.report.overview import overview_part

from .study_maker import StudyMaker, few, make_fold, same, texts


def overview(maker: StudyMaker) -> Part:
    return overview_part(read_study(maker.write()))


def test_samples_of_two_profiles_are_both_shown(maker: StudyMaker) -> None:
    for study in ("single", "cost"):
        maker.done(make_fold(study, "encoder-lora", "phee"))
    assert [row[0].more for row in overview(maker).view["overview"]["corpora"].rows] == [""]
    plan = json.loads((maker.folder / "cost.json").read_text())
    part = {"documents": 40, "words": 5000}
    plan |= {"profile": "gpu", "data": [{**plan["data"][0], "parts": {"train": part, "test": part}}]}
    (maker.folder / "cost.json").write_text(json.dumps(plan))
    found = overview_part(read_study(maker.folder))
    rows = found.view["overview"]["corpora"].rows
    assert [(row[0].more, row[2].text) for row in rows] == [("cpu", "20"), ("gpu", "40")]
    assert list(found.csv["data"].profile) == ["cpu", "gpu"]


def test_shares_that_training_read(maker: StudyMaker) -> None:
    for draw in (0, 1):
        few(maker, "phee", draw, False, same(3, 1, 1))
    few(maker, "phee", 0, True, same(3, 1, 1))
    maker.done(make_fold("loo", "encoder-mrc", "phee", "multi", multitask=True))
    maker.done(make_fold("loo", "encoder-mrc", "phee", "zero", multitask=True), training=None)
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(9, 1, 1)})
    found = overview(maker).view["overview"]["training"]
    assert [row[1:] for row in texts(found)] == [
        ["multi-task", "1", "3", "50.0 %", "45.0 %", "3"],
        ["5 shots, alone", "2", "3", "50.0 %", "45.0 %", "6"],
        ["5 shots, after multi-task", "1", "3", "50.0 %", "45.0 %", "3"],
        ["full", "1", "3", "50.0 %", "45.0 %", "3"],
    ]
    assert found.rows[1][4].more == "of 40 documents"


def test_sizes_of_corpora(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.done(make_fold("loo", "encoder-mrc", "phee"), {"concepts": same(3, 1, 1)})
    found = overview(maker)
    assert texts(found.view["overview"]["corpora"]) == [["phee", "40 / 5 / 10", "20", "10", "3", "2", "8"]]
    assert found.csv["data"].why[0] == "a concept of nothing 2, document of another split 7, notes 1"


def test_circumstances_that_differ_are_named_with_their_folds(maker: StudyMaker) -> None:
    done = {"finished": "2025-11-25", "seconds": 120, "versions": {"torch": "2.6.0"}}
    machine = {"processor": "Invented CPU", "cores": 8, "threads": 4, "gpu": "Invented GPU"}
    maker.done(make_fold("single", "encoder-mrc", "phee"))
    maker.done(make_fold("single", "encoder-mrc", "chia"))
    maker.done(make_fold("single", "encoder-mrc", "phee", seed=1), made={**done, "machine": machine})
    facts: dict[Any, Any] = dict(texts(overview(maker).view["overview"]["circumstances"]))
    assert facts.keys() == {
        *("Machine", "Versions", "Seeds", "First fold finished", "Last fold finished", "Computing time"),
    }
    assert facts["Machine"] == (
        "Invented CPU, 1 of 2 cores, no GPU (2 folds); Invented CPU, 4 of 8 cores, Invented GPU (1 fold)"
    )
    assert facts["Seeds"] == "0, 1"
    assert facts["Last fold finished"] == "2025-11-25"
    assert facts["Computing time"].startswith("4.0 minutes")


def test_every_planned_fold_is_counted_and_those_without_results_are_named(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.fail(make_fold("single", "encoder-mrc", "phee"), "ValueError: [CIE303] no weights")
    maker.put(maker.plan(make_fold("loo", "encoder-mrc", "phee", "zero", multitask=True)), "{")
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=1))
    maker.plan(make_fold("loo", "encoder-mrc", "phee", "shots", shots=5, draw=2))
    maker.missing = [{"corpus": "n2c2_2018", "how": "Ask for it."}]
    view = overview(maker).view["overview"]
    numbers = {row[0]: row[3:] for row in texts(view["studies"])}
    assert numbers == {"single": list("21100"), "loo": list("30012"), "cost": ["–"] * 5}
    assert [row[2] for row in texts(view["studies"])][1:] == ["python -m spacy_clinie study loo study", "not started"]
    assert [row[-1] for row in texts(view["broken"])] == ["ValueError: [CIE303] no weights", "is not whole JSON"]
    assert texts(view["waiting"]) == [["loo", "phee", "encoder-mrc (minilm)", "2"]]
    assert texts(view["unreadable"]) == [["folds/0000000000000002/manifest.json", "is not whole JSON"]]
    assert texts(view["missing"]) == [["n2c2_2018", "Ask for it."]]
    assert view["states"] == {"finished": 1, "failed": 1, "unreadable": 1, "not yet run": 2}
