"""What arms cost."""

from typing import Any

from spacy_clinie.study.report.cost import cost_part
from spacy_clinie.study.report.layout import Part
from spacy_clinie.study.report.manifests import read_study

from .study_maker import MACHINE, StudyMaker, make_fold, same, texts


def cost(maker: StudyMaker) -> Part:
    return cost_part(read_study(maker.write()))


def test_means_over_folds_and_the_highest_memory(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    training = {"steps": 3, "seconds": 9, "seconds_per_step": 3, "trainable": 250_000, "parameters": 1_000_000}
    training |= {"peak_bytes": 2_500_000_000, "disk_bytes": 90_000_000}
    prediction = {"seconds": 1, "words": 1000, "rejected": {}}
    more: Any = {"training": training, "prediction": prediction}
    maker.done(make_fold("cost", "encoder-lora", "chia"), {"concepts": same(2, 2, 2)}, **more)
    maker.done(make_fold("cost", "decoder-full", "chia"))
    found = cost(maker).view["cost"]
    assert [" | ".join(row) for row in texts(found)] == [
        "encoder-lora | minilm | 250,000 | 25.0 % | 2.5 GB | 2.000 | 90.0 MB | 400 | 0.625 | –",
        "decoder-full | smollm2 | 250,000 | 25.0 % | 1.5 GB | 1.000 | 90.0 MB | – | – | –",
    ]
    assert found.rows[0][8].more == "of 2 corpora"


def test_two_machines_are_not_mixed(maker: StudyMaker) -> None:
    maker.done(make_fold("cost", "encoder-lora", "phee"))
    made = {"finished": "2025", "seconds": 1, "machine": {**MACHINE, "gpu": "Invented GPU"}, "versions": {}}
    maker.done(make_fold("cost", "encoder-lora", "chia"), made=made)
    assert [row[2].text for row in cost(maker).view["cost"].rows] == [
        "Invented CPU, 1 of 2 cores, no GPU",
        "Invented CPU, 1 of 2 cores, Invented GPU",
    ]


def test_two_profiles_are_not_mixed(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    maker.done(make_fold("cost", "encoder-lora", "phee"), {"concepts": same(2, 2, 2)}, profile="gpu")
    part = cost(maker)
    assert [(row[2].text, row[9].text) for row in part.view["cost"].rows] == [("cpu", "0.750"), ("gpu", "0.500")]
    assert part.csv["cost"][["profile", "folds"]].to_numpy().tolist() == [["cpu", 1], ["gpu", 1]]


def test_a_fold_of_two_studies_is_counted_once(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-lora", "phee"), {"concepts": same(3, 1, 1)})
    maker.plans["cost"] = [{**maker.plans["single"][0], "fold": make_fold("cost", "encoder-lora", "phee")}]
    study = read_study(maker.write())
    assert (len(study.folds), len(study.done)) == (2, 1)
    record = cost_part(study).csv["cost"].iloc[0]
    assert (record["folds"], record["corpora_concepts"], record["f1_concepts"]) == (1, 1, 0.75)


def test_random_weights_of_a_shape_have_cost_and_no_score(maker: StudyMaker) -> None:
    maker.done(make_fold("cost", "decoder-lora", "phee", base="llama-3.2-1b=random"))
    assert texts(cost(maker).view["cost"])[0][:2] == ["decoder-lora", "llama-3.2-1b=random"]
    assert cost(maker).csv["cost"].f1_concepts.isna().all()
