"""The folds of a study."""

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


def test_leave_one_out_has_all_stages_of_every_corpus() -> None:
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


def test_every_fold_comes_after_its_parent() -> None:
    folds = plan("loo", CPU, ALL, BASES)
    for i, fold in enumerate(folds):
        parent = fold.parent(CPU)
        assert (parent is not None) == (fold.multitask and fold.stage != "multi")
        assert parent is None or parent in folds[:i]


def test_one_corpus_gives_no_leave_one_out_folds() -> None:
    assert plan("loo", CPU, {"phee": CorpusInfo(relations=True, documents=100)}, BASES) == []


def test_fold_can_be_made_of_its_fields() -> None:
    for fold in plan("loo", CPU, ALL, BASES)[:9]:
        assert Fold.from_dict(asdict(fold)) == fold


def test_pairs_arm_needs_a_corpus_with_relations() -> None:
    arms = {fold.arm for fold in plan("single", CPU, {"mine": CorpusInfo(relations=False, documents=100)}, BASES)}
    assert arms == set(CPU.arms) - {"encoder-pairs"}


def test_shots_do_not_exceed_the_documents_of_a_corpus() -> None:
    corpora = ALL | {"mine": CorpusInfo(relations=True, documents=20)}
    drawn = Counter(
        (fold.shots, fold.multitask)
        for fold in plan("loo", CPU, corpora, BASES[:1])
        if (fold.corpus, fold.stage) == ("mine", "shots")
    )
    # There are two draws of five, and one of all.
    assert drawn == {(k, multitask): n for k, n in ((5, 2), (20, 1)) for multitask in (True, False)}


@pytest.mark.parametrize("changed", [{"shots": "20"}, {"draw": []}, {"steps": None}, {"stage": 3}, {"corpus": None}])
def test_fields_of_wrong_types_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Fold.from_dict(asdict(Fold("loo", "encoder-mrc", "minilm", "phee", "shots", 2, shots=5, draw=0)) | changed)


def test_folders_are_removed_from_names() -> None:
    for name, left in (
        ("minilm", "minilm"),
        ("minilm=/home/jane doe/runs/best/", "minilm=best"),
        ("minilm=runs=1/best", "minilm=best"),
        (r"C:\notes\mine", "mine"),
        ("--corpora=/home/jane", "--corpora=jane"),
        ("../study", "study"),
    ):
        assert without_folder(name) == left
