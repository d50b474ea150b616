"""Readers for `spacy train`."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy import registry
from spacy.language import Language

from spacy_clinie.corpora import readers
from spacy_clinie.corpora.readers import corpus, mixed
from spacy_clinie.doc.concepts import ID_KEY, SCHEMA_KEY
from spacy_clinie.doc.note import Note
from spacy_clinie.errors import ClinieError, ClinieWarning
from spacy_clinie.formats import docbin


def ids(reader: Any, nlp: Language) -> list[str]:
    return [example.reference.user_data[ID_KEY] for example in reader(nlp)]


def test_a_corpus_names_its_schema_on_both_docs(nlp: Language, write_corpus: Callable[[str, int], Path]) -> None:
    [example] = corpus(path=write_corpus("a", 1), label_schema="phee")(nlp)
    assert example.reference.user_data[SCHEMA_KEY] == example.predicted.user_data[SCHEMA_KEY] == "phee"
    assert [span.text for span in example.reference.spans["clinie"]] == ["aspirin"]
    assert "clinie" not in example.predicted.spans
    [silent] = corpus(path=write_corpus("a", 1))(nlp)
    assert SCHEMA_KEY not in silent.reference.user_data


def test_more_shots_contain_the_fewer_and_another_seed_draws_others(
    nlp: Language, write_corpus: Callable[[str, int], Path]
) -> None:
    path = write_corpus("a", 30)
    few, more = (ids(corpus(path=path, limit=limit), nlp) for limit in (5, 10))
    assert len(few) == 5
    assert set(few) < set(more)
    assert few == ids(corpus(path=path, limit=5), nlp)
    assert few != ids(corpus(path=path, limit=5, seed=1), nlp)
    assert len(ids(corpus(path=path, limit=99), nlp)) == 30


def test_weights_say_how_often_a_note_is_seen(nlp: Language, write_corpus: Callable[[str, int], Path]) -> None:
    readers = {name: corpus(path=write_corpus(name, 10)) for name in ("half", "once", "often")}
    mix = mixed(corpora=readers, weights={"half": 0.5, "often": 2.5})
    seen = ids(mix, nlp)
    assert Counter(one.split("-")[0] for one in seen) == {"half": 5, "once": 10, "often": 25}
    assert sorted(Counter(one for one in seen if one.startswith("often")).values()) == [2] * 5 + [3] * 5
    assert seen != sorted(seen)
    assert seen == ids(mix, nlp)
    assert seen != ids(mixed(corpora=readers, weights={"half": 0.5, "often": 2.5}, seed=1), nlp)


@pytest.mark.parametrize("weights", [{"other": 1.0}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_senseless_weights_are_refused(weights: dict[str, float], write_corpus: Callable[[str, int], Path]) -> None:
    with pytest.raises(ClinieError, match="CIE468"):
        mixed(corpora={"a": corpus(path=write_corpus("a", 1))}, weights=weights)


def test_a_config_mixes_corpora(write_corpus: Callable[[str, int], Path]) -> None:
    block = {"@readers": "spacy_clinie.Corpus.v1", "path": str(write_corpus("a", 3)), "label_schema": "phee"}
    reader = {"@readers": "spacy_clinie.Mixed.v1", "corpora": {"a": block, "b": {**block, "label_schema": "chia"}}}
    resolved = registry.resolve({"train": reader})["train"]
    names = [example.predicted.user_data[SCHEMA_KEY] for example in resolved(spacy.blank("en"))]
    assert sorted(names) == ["chia"] * 3 + ["phee"] * 3


def test_what_is_tested_on_elsewhere_is_not_trained_on(nlp: Language, tmp_path: Path) -> None:
    shared = "We report a patient who developed a rash two days after the first dose of aspirin."
    own = [f"{shared} It was mild.", "Another patient took ibuprofen and had nothing to report at all in the end."]
    docbin.write([Note(f"a-{i}", text) for i, text in enumerate(own)], tmp_path / "a.spacy")
    docbin.write([Note("b", f"RASH AND ASPIRIN. {shared.upper()}")], tmp_path / "b.spacy")
    with pytest.warns(ClinieWarning, match="CIE469.*1 of"):
        assert ids(corpus(path=tmp_path / "a.spacy", apart_from=tmp_path / "b.spacy"), nlp) == ["a-1"]
    assert ids(corpus(path=tmp_path / "a.spacy"), nlp) == ["a-0", "a-1"]


def test_what_is_tested_on_is_looked_at_once_unless_it_changes(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    find = readers.overlapping

    def count(*texts: Any) -> list[int]:
        looked.append(1)
        return find(*texts)

    monkeypatch.setattr(readers, "overlapping", count)
    text = "One two three four five six seven eight nine ten eleven twelve."
    docbin.write([Note("a-0", text), Note("a-1", "Something else.")], tmp_path / "a.spacy")
    docbin.write([Note("b-0", "Of other things.")], tmp_path / "b.spacy")
    settings: Any = {"path": tmp_path / "a.spacy", "apart_from": tmp_path / "b.spacy"}
    reader = corpus(**settings)
    assert ids(reader, nlp) == ids(reader, nlp) == ids(corpus(**settings), nlp) == ["a-0", "a-1"]
    assert len(looked) == 1
    docbin.write([Note("b-0", f"Once more: {text}")], tmp_path / "b.spacy")
    for _ in range(2):
        with pytest.warns(ClinieWarning, match="CIE469"):
            assert ids(reader, nlp) == ["a-1"]
    assert len(looked) == 2


def test_a_short_text_that_is_tested_on_is_found_in_a_longer_one(nlp: Language, tmp_path: Path) -> None:
    texts = ["On day 2 the patient took aspirin and had a rash, which went away.", "The patient had no rash."]
    docbin.write([Note(f"a-{i}", text) for i, text in enumerate(texts)], tmp_path / "a.spacy")
    tested = [Note("b", "Patient took aspirin and had a rash."), Note("c", "had no rash")]
    docbin.write(tested, tmp_path / "b.spacy")
    with pytest.warns(ClinieWarning, match="CIE469"):
        assert ids(corpus(path=tmp_path / "a.spacy", apart_from=tmp_path / "b.spacy"), nlp) == ["a-1"]


def test_files_that_are_missing_or_damaged_are_errors(
    nlp: Language, write_corpus: Callable[[str, int], Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.spacy").write_bytes(b"no DocBin")
    for path, code in (
        (tmp_path / "no.spacy", "CIE200"),
        (tmp_path / "empty", "CIE201"),
        (tmp_path / "bad.spacy", "439"),
    ):
        for settings in ({"path": path}, {"path": write_corpus("a", 1), "apart_from": path}):
            with pytest.raises(ClinieError, match=code):
                list(corpus(**settings)(nlp))
    with pytest.raises(ClinieError, match="CIE307"):
        corpus(path=write_corpus("a", 1), limit=-1)


def test_a_mix_leaves_no_corpus_out_and_wants_readers(nlp: Language, write_corpus: Callable[[str, int], Path]) -> None:
    readers = {"a": corpus(path=write_corpus("a", 10)), "b": corpus(path=write_corpus("b", 1))}
    assert len(ids(mixed(corpora=readers, weights={"a": 0.01, "b": 0.5}), nlp)) == 2
    with pytest.raises(ClinieError, match="CIE473"):
        mixed(corpora={"a": "a.spacy"})


def test_a_schema_file_is_named_in_full(
    nlp: Language, write_corpus: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yml").write_text("name: mine\nconcepts:\n  Drug: {}\n")
    path = write_corpus("a", 1)
    monkeypatch.chdir(tmp_path)
    [example] = corpus(path=path, label_schema="mine.yml")(nlp)
    assert example.predicted.user_data[SCHEMA_KEY] == str(tmp_path / "mine.yml")
