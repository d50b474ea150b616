"""The corpora of a study: where they are, and what they are made of."""

from pathlib import Path

from spacy_clinie.study.data import find_sources, stamp
from tests.study.conftest import own_corpus


def test_stamp_follows_links(tmp_path: Path) -> None:
    folder = own_corpus(tmp_path / "elsewhere" / "mine")
    (tmp_path / "corpora" / "mine").mkdir(parents=True)
    (tmp_path / "corpora" / "mine" / "notes").symlink_to(folder)
    (folder / "schema.yml").rename(tmp_path / "corpora" / "mine" / "schema.yml")
    (source,) = find_sources(["mine"], tmp_path / "corpora")[0]
    before = stamp(source)
    (folder / "n3.ann").write_text("")
    assert stamp(source) != before
