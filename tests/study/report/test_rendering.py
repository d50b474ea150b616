"""A whole report: the page, the same as Markdown, and its tables as CSV, which agree and are inert."""

import base64
import csv
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Optional
from xml.etree import ElementTree

import pytest

from spacy_clinie.errors import ClinieError
from spacy_clinie.study.report import write_report
from spacy_clinie.study.report.rendering import COLUMNS

from .study_maker import EVIL, StudyMaker, flat, make_fold, same

EMPTY_TAGS = {"meta", "br", "link", "img"}
FIGURES = ["learning-concepts.svg", "learning-relations_gold.svg", "types-1.svg", "types-2.svg"]
SECRET = "Mr. Invented took aspirin"


class Page(HTMLParser):
    """What a browser makes of a page: elements, ids, and the cells of all tables by caption."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, Optional[str]]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY_TAGS:
            self.stack.append(tag)
        if tag == "caption":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.stack and self.stack[-1] == "caption":
            self._caption += data
        elif {"td", "th"} & set(self.stack) and self.stack[-1] != "small":
            self._rows[-1][-1] += data.strip()

    @property
    def ids(self) -> list[str]:
        return [str(values["id"]) for _, values in self.elements if "id" in values]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def full_study(maker: StudyMaker, corpus: str = "phee", label: str = "Drug") -> Path:
    """All three studies on two corpora, with everything that a report can show."""
    kinds = {"boundary": 1, "type": 0, "missed": 1, "spurious": 0}
    examples = [{"document": corpus, "kind": "boundary", "gold": [18, 25, label], "found": [18, 22, label]}]
    recall = {"gold": 4, "found": 3}
    errors = {**kinds, "by_type": {label: kinds}, "seen": recall, "unseen": recall, "examples": examples}
    for name in (corpus, "chia"):
        for arm, right in (("encoder-mrc", 5), ("decoder-lora", 4)):
            counts = {"concepts": flat([[right, 2, 6 - right]] * 8, label)}
            counts["relations_gold"] = same(right, 1, 6 - right, documents=8)
            maker.done(make_fold("single", arm, name), counts, errors=errors)
            maker.done(make_fold("loo", arm, name, "zero", multitask=True), counts)
            for shots in (5, 20):
                for multitask in (True, False):
                    fold = make_fold("loo", arm, name, "shots", shots=shots, draw=0, multitask=multitask)
                    maker.done(fold, counts)
            maker.done(make_fold("loo", arm, name), counts)
    maker.done(make_fold("cost", "encoder-mrc", corpus), {"concepts": flat([[5, 2, 1]] * 8, label)})
    maker.fail(make_fold("cost", "decoder-full", corpus), f"{label}: failed")
    maker.missing = [{"corpus": label, "how": f"Ask {label}"}]
    return maker.write()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of a report of everything."""
    folder = tmp_path_factory.mktemp("written")
    return write_report(full_study(StudyMaker(folder / "study")), folder / "a" / "report")


def test_all_files_are_written_and_nothing_else(written: list[Path]) -> None:
    names = ["report.html", "report.md", *FIGURES, *(f"{name}.csv" for name in COLUMNS)]
    assert [path.name for path in written] == names
    assert sorted(written) == sorted(written[0].parent.iterdir())


def test_the_same_study_gives_the_same_report(written: list[Path], maker: StudyMaker, tmp_path: Path) -> None:
    again = write_report(full_study(maker), tmp_path / "out")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]


def test_page_is_well_formed_self_contained_and_has_no_id_twice(written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    assert page.ids == ["overview", "single", "significance", "loo", "types", "cost", "mistakes"]
    assert not {"script", "image", "link", "iframe"} & {tag for tag, _ in page.elements}
    links = [str(values["href"]) for _, values in page.elements if "href" in values]
    assert [link.removeprefix("#") for link in links] == page.ids
    assert "url(" not in text
    pictures = [values for tag, values in page.elements if tag == "img"]
    for name, values in zip(FIGURES, pictures, strict=True):
        kind, _, data = str(values["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data) == written[0].with_name(name).read_bytes()
        assert len(str(values["alt"])) > 50
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in text
    assert ("html", {"lang": "en"}) in page.elements
    assert ("meta", {"charset": "utf-8"}) in page.elements


@pytest.mark.parametrize("evil", [EVIL, '"><b onclick="x()">', "a$b$_{c}\\frac", "=cmd|'/c calc'!A1\n\x00\x1b[31m"])
def test_values_from_data_are_escaped(maker: StudyMaker, tmp_path: Path, evil: str) -> None:
    out = tmp_path / "out"
    text = write_report(full_study(maker, evil, evil), out)[0].read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "b onclick"} & {tag for tag, _ in page.elements}
    assert not [values for _, values in page.elements if any(key.startswith("on") for key in values)]
    visible = evil.replace("\x00", "␀").replace("\x1b", "␛")
    assert visible.split("\n")[0] in page.text
    for path in out.glob("*.svg"):
        ElementTree.parse(path)
    for path in out.glob("*.csv"):
        cells = [cell for row in read_csv(path) for cell in row.values()]
        assert not [cell for cell in cells if cell and cell[0] in "=+@\t\r" and not cell[1:2].isdigit()]
    # Each line of a Markdown table has as many columns as its head.
    tables = re.findall(r"(?:^\|.*\n)+", (out / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(tables) > 8
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}) == 1
    assert "<" not in "".join(tables)


def test_dollars_in_figures_are_literal(maker: StudyMaker, tmp_path: Path) -> None:
    write_report(full_study(maker, "a$b$c", "x$_2$"), tmp_path / "out")
    assert "x$_2$ (48)" in (tmp_path / "out" / "types-1.svg").read_text(encoding="utf-8")


def test_page_markdown_and_csv_have_the_same_figures(written: list[Path]) -> None:
    out = written[0].parent
    page = Page(written[0].read_text(encoding="utf-8"))
    rows = page.tables["Concepts"]
    # 5 right of 6, 2 wrong: 10 / 13; 4 right: 8 / 12.
    assert rows[2] == ["phee", "0.769", "0.769", "0.667", "0.667"]
    records = [record for record in read_csv(out / "single.csv") if record["task"] == "concepts"]
    for name, row in (("phee", rows[2]), ("chia", rows[3]), ("(mean)", rows[4])):
        own = [f"{float(record['f1']):.3f}" for record in records if record["corpus"] == name]
        assert own == row[1:]
    lines = (out / "report.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("| phee (48 in 8 documents) | **0.769**")]
    assert [re.sub(r" \(.*?\)|\*", "", cell) for cell in line.strip("| ").split(" | ")] == rows[2]


def test_results_hold_every_score_unrounded(written: list[Path]) -> None:
    rows = read_csv(written[0].with_name("results.csv"))
    own = [row for row in rows if (row["study"], row["corpus"], row["arm"]) == ("single", "phee", "encoder-mrc")]
    # Two tasks, two ways of matching; over all types and of the one type.
    assert len(own) == 8
    assert float(own[0]["f1"]) == pytest.approx(10 / 13)
    assert [own[0][name] for name in ("tp", "fp", "fn", "label", "multitask")] == ["40", "16", "8", "", "no"]
    shots = [row for row in rows if row["stage"] == "shots"]
    assert {(row["shots"], row["draw"]) for row in shots} == {("5", "0"), ("20", "0")}


def test_text_is_quoted_only_on_request(written: list[Path], maker: StudyMaker, tmp_path: Path) -> None:
    for path in written:
        assert "aspirin" not in path.read_text(encoding="utf-8")
    page, markdown, *_ = write_report(
        full_study(maker), tmp_path / "with", texts=lambda corpus: {corpus: f"{SECRET} <daily>."}
    )
    quoted = "Mr. Invented took «aspirin» <daily>."
    assert quoted in Page(page.read_text(encoding="utf-8")).text
    assert "Mr. Invented took «aspirin» &lt;daily&gt;." in markdown.read_text(encoding="utf-8")
    assert quoted in {row["text"] for row in read_csv(tmp_path / "with" / "examples.csv")}


def test_study_without_finished_folds(maker: StudyMaker, tmp_path: Path) -> None:
    for study in ("single", "loo", "cost"):
        maker.plan(make_fold(study, "encoder-mrc", "phee"))
    maker.folder.mkdir()
    page = Page(write_report(maker.write(), tmp_path / "out")[0].read_text(encoding="utf-8"))
    assert "No fold is finished" in page.text
    assert "Of 3 planned folds, 0 are finished" in page.text
    assert read_csv(tmp_path / "out" / "single.csv") == []
    assert [row["state"] for row in read_csv(tmp_path / "out" / "folds.csv")] == ["not yet run"] * 3


@pytest.mark.parametrize("study", ["single", "loo", "cost"])
def test_one_fold_with_one_document_and_nothing_in_it(maker: StudyMaker, tmp_path: Path, study: str) -> None:
    nothing = flat([[0, 0, 0]])
    maker.done(make_fold(study, "encoder-mrc", "phee"), {"concepts": flat([[1, 0, 1]]), "relations": nothing})
    page = Page(write_report(maker.write(), tmp_path / "out")[0].read_text(encoding="utf-8"))
    assert "0.667" in page.text


def test_broken_manifest_is_named(maker: StudyMaker, tmp_path: Path) -> None:
    maker.done(make_fold("single", "encoder-mrc", "phee"), {"concepts": same(3, 1, 1)})
    maker.put(maker.plan(make_fold("single", "decoder-lora", "phee")), '{"key": "0000')
    page = Page(write_report(maker.write(), tmp_path / "out")[0].read_text(encoding="utf-8"))
    assert page.tables["Files that cannot be read"][1] == ["folds/0000000000000001/manifest.json", "is not whole JSON"]
    assert page.tables["Concepts"][2] == ["phee", "0.750", "0.750"]


@pytest.mark.parametrize("name", ["matplotlib", "pandas", "scipy", "statsmodels"])
def test_without_its_packages_nothing_is_written(
    maker: StudyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ClinieError, match=rf"CIE481.*requires {name}.*spacy_clinie\[study\]"):
        write_report(full_study(maker), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_study(tmp_path: Path) -> None:
    with pytest.raises(ClinieError, match="CIE480"):
        write_report(tmp_path, tmp_path / "out")


def test_a_folder_in_which_no_plan_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "single.json").write_text("{")
    page = Page(write_report(tmp_path, tmp_path / "out")[0].read_text(encoding="utf-8"))
    assert page.tables["Files that cannot be read"][1] == ["single.json", "is not whole JSON"]


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("single", "The last row is the mean over the corpora that have results of all these arms: phee, chia."),
        ("single", "Relations, end to end: there is no finished fold with anything to score."),
        ("single", "Concepts: 2 comparisons, 2 significant."),
        ("loo", "Relations, end to end: there is no finished fold with anything to score."),
        ("cost", "No finished fold has mistakes to show."),
    ],
)
def test_sentences_beside_tables(maker: StudyMaker, tmp_path: Path, study: str, words: str) -> None:
    for corpus in ("phee", "chia"):
        for arm in ("encoder-mrc", "decoder-lora"):
            counts = same(8, 2, 2) if arm == "encoder-mrc" else same(5, 5, 5)
            maker.done(make_fold(study, arm, corpus), {"concepts": counts})
    maker.done(make_fold(study, "encoder-mrc", "ddi2013"), {"concepts": same(5, 5, 5)})
    maker.fail(make_fold(study, "decoder-lora", "ddi2013"), "ValueError")
    page, markdown, *_ = write_report(maker.write(), tmp_path / "out")
    assert words in " ".join(Page(page.read_text(encoding="utf-8")).text.split())
    assert words in " ".join(markdown.read_text(encoding="utf-8").split())


def test_only_reports_import_their_packages() -> None:
    script = (
        "import sys, spacy, spacy_clinie.cli, spacy_clinie.study.run, spacy_clinie.study.fold; spacy.blank('en');"
        "print({'pandas', 'statsmodels', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
