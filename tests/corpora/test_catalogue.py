from pathlib import Path

import pytest
import yaml

from spacy_clinie.corpora.catalogue import AGREEMENT, CORPORA, FORMATS, read_corpus, resolve
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.schema import Schema

# Names that others rely on.
NAMES = {
    "maccrobat2020", "maccrobat2020-coarse", "phee", "mtsamples_sdoh", "chia", "ddi2013", "bc5cdr", "i2b2_2010",
    "n2c2_2018", "n2c2_2022", "radgraph",
}  # fmt: skip


def test_names_that_others_rely_on_are_there() -> None:
    assert not NAMES - set(CORPORA)
    assert set(FORMATS) >= {"brat", "i2b2", "radgraph-json", "jsonl", "phee-json", "pubtator", "bioc", "docbin"}
    assert not set(CORPORA) & set(FORMATS)


@pytest.mark.parametrize("name", CORPORA)
def test_each_corpus_has_a_format_a_schema_and_terms(name: str) -> None:
    corpus, raw = resolve(name)
    assert corpus is CORPORA[name]
    assert raw is FORMATS[corpus.format]
    assert Schema.load(corpus.schema).concepts
    assert corpus.description.endswith(".")
    assert corpus.licence
    assert bool(corpus.repository) == (len(corpus.commit) == 40)


def test_a_format_is_no_corpus() -> None:
    assert resolve("brat") == (None, FORMATS["brat"])


def test_an_unknown_name_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match=r"CIE254.*maccrobat2020.*jsonl"):
        read_corpus("fee", tmp_path, Report())


def test_the_folder_and_the_folder_that_holds_it_are_both_found(tmp_path: Path) -> None:
    (tmp_path / "maccrobat2020").mkdir()
    assert CORPORA["maccrobat2020-coarse"].locate(tmp_path) == tmp_path / "maccrobat2020"
    assert CORPORA["maccrobat2020"].locate(tmp_path / "maccrobat2020") == tmp_path / "maccrobat2020"
    assert CORPORA["phee"].locate(tmp_path) == tmp_path


def test_sources_are_those_of_the_corpora(corpora: Path) -> None:
    for corpus in CORPORA.values():
        if corpus.licence == AGREEMENT or not corpus.repository:
            continue
        source = (corpus.locate(corpora) / "SOURCE.txt").read_text()
        assert corpus.repository in source
        assert corpus.commit in source


def test_the_texts_of_clinical_notes_come_from_where_the_project_fetches_them(corpora: Path) -> None:
    project = yaml.safe_load((Path(__file__).parents[2] / "project.yml").read_text(encoding="utf8"))
    assets = " ".join(asset["url"] for asset in project["assets"])
    for name in ("aci_bench", "mts_dialog", "primock57"):
        source = dict(line.split(": ", 1) for line in (corpora / name / "SOURCE.txt").read_text().splitlines())
        assert source["repository"].removeprefix("https://github.com/") in assets
        assert source["commit"] in assets
