"""Studies are read, whole or in part."""

import json
from pathlib import Path

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.study.report.manifests import Study, read_study

from .study_maker import StudyMaker, make_fold, same


def named(study: Study) -> list[tuple[str, str]]:
    """Files that cannot be read, and why."""
    return list(study.unreadable.itertuples(index=False, name=None))


def test_a_folder_without_a_plan_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE480"):
        read_study(tmp_path)


def test_every_planned_fold_has_a_state(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.fail(make_fold("single", "encoder-mrc", "phee"), "ValueError: [CIE303] no weights")
    maker.plan(make_fold("single", "decoder-lora", "phee"))
    maker.put(maker.plan(make_fold("single", "decoder-full", "phee")), '{"key": ')
    study = read_study(maker.write())
    assert list(study.folds.state) == ["finished", "failed", "not yet run", "unreadable"]
    assert study.folds.problem[1] == "ValueError: [CIE303] no weights"
    assert named(study) == [("folds/0000000000000003/manifest.json", "is not whole JSON")]


@pytest.mark.parametrize("lost", ["made", "training", "prediction", "profile", "data"])
def test_incomplete_manifest_is_named_and_not_used(maker: StudyMaker, lost: str) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    del record[lost]
    maker.put(key, record)
    study = read_study(maker.write())
    assert named(study) == [(f"folds/{key}/manifest.json", f"lacks '{lost}'")]
    assert study.done.empty


@pytest.mark.parametrize("record", ["", "[]", "7", "null", '{"failed": {}}', '{"failed": 3}', "\udcff"])
def test_any_invalid_manifest_is_named(maker: StudyMaker, record: str) -> None:
    key = maker.plan(make_fold("single", "encoder-tagger", "phee"))
    path = maker.folder / "folds" / key / "manifest.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(record.encode("utf-8", "surrogateescape"))
    study = read_study(maker.write())
    assert [name for name, _ in named(study)] == [f"folds/{key}/manifest.json"]


def test_counts_of_other_documents_than_the_ids_are_not_used(maker: StudyMaker) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    record["documents"]["ids"].pop()
    maker.put(key, record)
    assert named(read_study(maker.write())) == [(f"folds/{key}/manifest.json", "holds what it should not (ValueError)")]
    del record["documents"]["concepts"]
    maker.put(key, record)
    assert named(read_study(maker.write())) == [(f"folds/{key}/manifest.json", "lacks 'concepts'")]


def test_infinite_number_is_not_used(maker: StudyMaker) -> None:
    key = maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    path = maker.folder / "folds" / key / "manifest.json"
    record = json.loads(path.read_text())
    record["results"]["concepts"]["strict"]["micro"]["tp"] = float("inf")
    maker.put(key, record)
    assert [why for _, why in named(read_study(maker.write()))] == ["holds what it should not (OverflowError)"]


def test_a_fold_without_a_base_makes_its_plan_unreadable(maker: StudyMaker) -> None:
    maker.plan(make_fold("single", "encoder-tagger", "phee") | {"base": None})
    assert named(read_study(maker.write())) == [("single.json", "holds what it should not (TypeError)")]


def test_a_plan_that_is_cut_off_is_named_and_the_others_are_read(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    folder = maker.write()
    (folder / "loo.json").write_text('{"study": "loo", "fol')
    study = read_study(folder)
    assert list(study.plans) == ["single"]
    assert named(study) == [("loo.json", "is not whole JSON")]


def test_manifests_without_a_plan_are_named(maker: StudyMaker) -> None:
    maker.done(make_fold("single", "encoder-tagger", "phee"), {"concepts": same(3, 1, 1)})
    maker.put("00000000000000ff", {"left": "over"})
    study = read_study(maker.write())
    assert list(study.strays.file) == ["folds/00000000000000ff/manifest.json"]
    assert len(study.done) == 1


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        ("gatortron-base=/home/someone/weights/gt", "gatortron-base=gt"),
        ("bert=google-bert/bert-base-uncased", "bert=bert-base-uncased"),
        ("tiny-encoder=random", "tiny-encoder=random"),
        ("minilm", "minilm"),
    ],
)
def test_a_base_is_shown_without_its_folder(maker: StudyMaker, base: str, shown: str) -> None:
    maker.plan(make_fold("single", "encoder-mrc", "phee", base=base))
    (fold,) = read_study(maker.write()).folds.itertuples()
    assert (fold.system, fold.base) == (f"encoder-mrc ({shown})", shown)
