"""What a study consists of."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from spacy_clinie.study.plan import ZERO_SHOT_ARMS, CorpusInfo, Fold, plan, without_folder
from spacy_clinie.study.presets import find_preset
from spacy_clinie.study.profiles import PROFILES

CPU = PROFILES["cpu"]
ALL = dict.fromkeys(CPU.corpora, CorpusInfo(relations=True, documents=100))
BASES = [find_preset("minilm"), find_preset("smollm2")]


def test_every_arm_meets_every_corpus_once_on_a_base_of_its_kind() -> None:
    folds = plan("single", CPU, ALL, BASES)
    assert Counter((fold.arm, fold.corpus) for fold in folds) == Counter(
        (arm, corpus) for arm in CPU.arms for corpus in CPU.corpora
    )
    assert {(fold.arm.partition("-")[0], fold.base) for fold in folds} == {
        ("encoder", "minilm"),
        ("decoder", "smollm2"),
    }


def test_one_corpus_is_left_out() -> None:
    folds = plan("loo", CPU, ALL, BASES)
    for fold in folds:
        assert fold.corpus not in fold.others
        if fold.multitask:
            assert {fold.corpus, *fold.others} == set(CPU.corpora)
    per = Counter((fold.arm, fold.corpus, fold.stage, fold.shots, fold.multitask) for fold in folds)
    for arm in ZERO_SHOT_ARMS:
        for corpus in CPU.corpora:
            assert per[arm, corpus, "multi", None, True] == per[arm, corpus, "zero", None, True] == 1
            assert per[arm, corpus, "full", None, False] == 1
            for shots in CPU.shots:
                assert per[arm, corpus, "shots", shots, True] == per[arm, corpus, "shots", shots, False] == CPU.draws
    assert sum(per.values()) == len(ZERO_SHOT_ARMS) * len(CPU.corpora) * (3 + 2 * CPU.draws * len(CPU.shots))


def test_every_fold_finds_what_it_goes_on_from_before_it() -> None:
    folds = plan("loo", CPU, ALL, BASES)
    for i, fold in enumerate(folds):
        parent = fold.parent(CPU.steps_of(fold.arm, "multi"))
        assert (parent is not None) == (fold.multitask and fold.stage != "multi")
        assert parent is None or parent in folds[:i]


def test_of_one_corpus_there_are_no_others() -> None:
    assert plan("loo", CPU, {"phee": CorpusInfo(relations=True, documents=100)}, BASES) == []


def test_a_fold_as_json() -> None:
    for fold in plan("loo", CPU, ALL, BASES)[:9]:
        assert Fold.from_dict(asdict(fold)) == fold


def test_without_relations_there_is_nothing_to_learn_about_pairs() -> None:
    arms = {fold.arm for fold in plan("single", CPU, {"mine": CorpusInfo(relations=False, documents=100)}, BASES)}
    assert arms == set(CPU.arms) - {"encoder-pairs"}


def test_no_more_documents_are_drawn_than_there_are() -> None:
    corpora = ALL | {"mine": CorpusInfo(relations=True, documents=20)}
    drawn = Counter(
        (fold.shots, fold.multitask)
        for fold in plan("loo", CPU, corpora, BASES[:1])
        if (fold.corpus, fold.stage) == ("mine", "shots")
    )
    # There are two draws of five, and one of all.
    assert drawn == {(k, multitask): n for k, n in ((5, 2), (20, 1)) for multitask in (True, False)}


@pytest.mark.parametrize("changed", [{"shots": "20"}, {"draw": []}, {"steps": None}, {"stage": 3}, {"corpus": None}])
def test_what_is_no_fold(changed: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Fold.from_dict(asdict(Fold("loo", "encoder-mrc", "minilm", "phee", "shots", 2, shots=5, draw=0)) | changed)


def test_names_without_folders() -> None:
    for name, left in (
        ("minilm", "minilm"),
        ("minilm=/home/jane doe/runs/best/", "minilm=best"),
        ("minilm=runs=1/best", "minilm=best"),
        (r"C:\notes\mine", "mine"),
        ("--corpora=/home/jane", "--corpora=jane"),
        ("../study", "study"),
    ):
        assert without_folder(name) == left
