"""The HTML page: complete, with correct offsets, readable and escaped."""

import base64
import hashlib
import itertools
import re
import shutil
import subprocess
import warnings
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Optional

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.annotate import html_page
from spacy_clinie.annotate.html_page import render
from spacy_clinie.annotate.tables import table
from spacy_clinie.display import shown
from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.errors import ClinieError, ClinieWarning

EMPTY_TAGS = {"meta", "br", "link"}
EVIL = "</script><img src=x onerror=alert(1)>\"'><style>&lt;"


class Page(HTMLParser):
    """Parses a page: elements, the text of each note, and the pieces that show concepts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, dict[str, Optional[str]]]] = []
        self.elements: list[tuple[str, dict[str, Optional[str]]]] = []
        self.texts: list[str] = []
        self.pieces: list[dict[str, str]] = []
        self.inside: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if values.get("class") == "text":
            self.texts.append("")
            self.pieces.append({})
        if tag not in EMPTY_TAGS:
            self.stack.append((tag, values))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag = self.stack[-1][0] if self.stack else ""
        if tag in ("style", "script", "title", "h1"):
            self.inside[tag] = data
        if any(values.get("class") == "text" for _, values in self.stack):
            self.texts[-1] += data
            for k in (self.stack[-1][1].get("data-c") or "").split():
                self.pieces[-1][k] = self.pieces[-1].get(k, "") + data

    def having(self, name: str) -> list[dict[str, Optional[str]]]:
        return [values for _, values in self.elements if name in values]


def make_note() -> Note:
    text = "Left and right kidneys are small.\nStarted aspirin 81mg po daily for chest wall pain."
    note = Note("n1", text)
    for label, words in {
        "Drug": "aspirin",
        "Strength": "81mg",
        "Reason": "chest wall pain",
        "Anatomy": "chest wall",
    }.items():
        start = text.index(words)
        note.concepts.append(Concept(label[0], start, start + len(words), label, 0.876))
    note.concepts.append(Concept("K", 0, 22, "Finding", None, [(0, 4), (15, 22)], {"assertion": "present"}))
    note.relations = [Relation("S", "D", "Strength-Drug", 0.75), Relation("R", "D", "Reason-Drug")]
    return note


def test_page_without_scripts_has_concepts_relations_and_scores() -> None:
    html = render([make_note(), Note("n2", "")], title="Two notes")
    page = Page(html)
    assert page.texts == [make_note().text, ""]
    assert page.inside["title"] == page.inside["h1"] == "Two notes"
    assert "2 notes · 5 concepts · 2 relations" in html
    assert [(row["data-text"], row["data-type"]) for row in page.having("data-text")] == [
        ("Left … kidneys", "Finding"),
        ("aspirin", "Drug"),
        ("81mg", "Strength"),
        ("chest wall pain", "Reason"),
        ("chest wall", "Anatomy"),
    ]
    relations = [(row["data-head"], row["data-label"], row["data-tail"]) for row in page.having("data-head")]
    assert relations == [("2", "Strength-Drug", "1"), ("3", "Reason-Drug", "1")]
    assert html.count("0.88</td>") == 4 and html.count("0.75</td>") == 1 and "in 2 parts, assertion: present" in html
    labels = {bar["id"]: bar["data-t"] for bar in page.having("data-t")}
    assert labels["n0c0"] == "Finding" and len(labels) == 5
    filters = {button["data-concept"] for button in page.having("data-concept")}
    assert filters == {"Drug", "Strength", "Reason", "Anatomy", "Finding"}


def test_nested_and_discontinuous_concepts_keep_their_characters() -> None:
    page = Page(render([make_note()], title=""))
    (pieces,) = page.pieces
    assert pieces == {"0": "Leftkidneys", "1": "aspirin", "2": "81mg", "3": "chest wall pain", "4": "chest wall"}
    gaps = [values for values in page.having("data-k") if "gap" in (values.get("class") or "")]
    assert {gap["data-k"] for gap in gaps} == {"0"}
    lane = {bar["data-k"]: re.search(r"\bl(\d+)", bar["class"] or "")[1] for bar in page.having("data-t")}  # type: ignore[index]
    assert int(lane["4"]) < int(lane["3"])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_text_and_any_concepts(data: st.DataObject) -> None:
    text = data.draw(
        st.text(
            st.sampled_from("ab .\n\t\r<>&\"'\x00\x1b\x85\u2028\u202eאב咳😀\u0301\ud800\ufffe") | st.characters(),
            max_size=60,
        )
    )
    note = Note("n", text)
    for i in range(data.draw(st.integers(0, 6)) if text else 0):
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        fragments = data.draw(st.lists(st.tuples(st.integers(start, end), st.integers(start, end)), max_size=3))
        note.concepts.append(Concept(f"C{i}", start, end, data.draw(st.sampled_from("AB<")), None, fragments))
    page = Page(render([note], title=text))
    visible = shown(text)
    assert len(visible) == len(text)
    assert page.texts == [visible]
    order = sorted(note.concepts, key=lambda c: (c.start, -c.end, c.label))
    for i, concept in enumerate(order):
        parts = [(first, last) for first, last in concept.fragments if first < last] or [concept.offsets]
        shows = {at for first, last in parts for at in range(first, last)}
        expected = "".join(visible[at] for at in sorted(shows))
        # Blanks with a line break in them are not underlined.
        assert "".join(page.pieces[0].get(str(i), "").split()) == "".join(expected.split())
    table(note)


def test_deeply_nested_concepts_are_all_in_the_table() -> None:
    words = [f"w{i}" for i in range(600)]
    note = Note("n", " ".join(words))
    starts = [note.text.index(f"{word} ") if i < 599 else len(note.text) - 4 for i, word in enumerate(words)]
    for i in range(300):
        note.concepts.append(Concept(f"C{i}", starts[i], starts[-1 - i] + 4, "X"))
    note.relations = [Relation("C0", "C299", "in")]
    html = render([note], title="deep")
    page = Page(html)
    assert len(page.having("data-t")) == html_page.LANES
    assert f"{300 - html_page.LANES} of the concepts" in html and "not drawn" in html
    assert len(page.having("data-text")) == 300
    anchors = {values["id"] for values in page.having("id")}
    assert {(values["href"] or "")[1:] for values in page.having("href")} <= anchors
    assert page.texts == [note.text]
    # 2,000 of them took a minute and 200 MB when each was drawn.
    assert len(html) < 3_000_000
    assert all(len(values["data-text"] or "") <= html_page.QUOTED for values in page.having("data-text"))
    assert "not drawn" not in render([make_note()], title="t")


def test_text_of_notes_is_escaped() -> None:
    note = Note(EVIL, f"{EVIL} and {EVIL}", [Concept(EVIL, 0, len(EVIL), EVIL, 0.5, [], {EVIL: EVIL})])
    note.concepts.append(Concept("b", 3, 20, "b"))
    note.relations = [Relation(EVIL, "b", EVIL, 0.5)]
    page = Page(render([note, note], title=EVIL))
    assert page.texts == [note.text, note.text]
    tags = {tag for tag, _ in page.elements}
    assert [tag for tag, _ in page.elements].count("script") == [tag for tag, _ in page.elements].count("style") == 1
    assert not tags & {"img", "link", "iframe", "object", "base", "form", "input", "svg"}
    attributes = {name for _, values in page.elements for name in values}
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    assert all((values["href"] or "").startswith("#n") for values in page.having("href"))


def test_page_is_self_contained_and_forbids_requests() -> None:
    page = Page(render([make_note()], title="t"))
    (policy,) = [
        values["content"] or "" for values in page.having("content") if "default-src" in (values["content"] or "")
    ]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.inside[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"@import|url\(|//[a-z]+\.", page.inside["style"])
    links = set(re.findall(r"https?://[^\"'\s]+", page.inside["script"]))
    assert links == {"http://www.w3.org/2000/svg"}  # the name of a namespace


def test_invalid_note_is_refused() -> None:
    bad = Note("n", "abc", [Concept("C1", 0, 9, "X")])
    for call in (lambda: render([bad], title="t"), lambda: table(bad)):
        with pytest.raises(ClinieError, match="CIE004"):
            call()


def test_large_page_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html_page.write(iter([make_note()]), tmp_path / "page.html", title="t")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == render([make_note()], title="t")
    monkeypatch.setattr(html_page, "LARGE", len(page.encode()) - 1)
    with pytest.warns(ClinieWarning, match=r"CIE505.*page\.html"):
        html_page.write([make_note()], tmp_path / "page.html", title="t")


def test_types_have_stable_and_different_colours() -> None:
    types = ["problem", "treatment", "test", "Drug", "Strength", "Form", "Dosage", "Frequency"]
    looks = html_page._looks(types)
    assert looks == html_page._looks(reversed(types))
    assert len({colour for colour, _ in looks.values()}) == html_page.COLOURS
    many = html_page._looks(f"type{i}" for i in range(24))
    assert len(set(many.values())) == 24
    for schema in ("problem treatment test", "Alcohol Drug Tobacco Employment LivingStatus", "Chemical Disease"):
        alone = {label: html_page._looks([label])[label][0] for label in schema.split()}
        assert len(set(alone.values())) == len(alone)


def palettes() -> list[tuple[str, list[tuple[str, str]]]]:
    style = (resources.files("spacy_clinie") / "data" / "page.css").read_text("utf-8")
    light, dark = style.split("@media screen", 1)
    found = []
    for part in (light, dark):
        paper = re.findall(r"--paper: (#\w+)", part)[0]
        found.append((paper, re.findall(r"--colour: (#\w+); --tint: (#\w+)", part)))
    return found


def linear(colour: str) -> numpy.ndarray:
    values = numpy.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: numpy.ndarray) -> numpy.ndarray:
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = numpy.array(matrix) @ numpy.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes 2009, severity 1.
SIGHTS = {
    "normal": numpy.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_can_be_told_apart(sight: str) -> None:
    for _, colours in palettes():
        assert len(colours) == html_page.COLOURS
        seen = [lab(numpy.array(SIGHTS[sight]) @ linear(colour)) for colour, _ in colours]
        assert min(numpy.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 14


def test_colours_have_contrast() -> None:
    for paper, colours in palettes():
        for colour, tint in colours:
            assert contrast(colour, paper) >= 4.5 and contrast(colour, tint) >= 4.5


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.sampled_from(["a", "long_label"])), max_size=25))
def test_lines_and_labels_of_a_lane_do_not_overlap(places: list[tuple[int, int, str]]) -> None:
    concepts = [Concept(str(i), start, start + size, label) for i, (start, size, label) in enumerate(places)]
    lanes = html_page._lanes(concepts)
    assert all(lane is None or 0 <= lane < html_page.LANES for lane in lanes)
    for (a, lane), (b, other) in itertools.combinations(zip(concepts, lanes, strict=True), 2):
        if lane is not None and lane == other:
            assert a.end <= b.start or b.end <= a.start


def find_browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium here to run the page's script")


def test_arrows_in_a_browser(tmp_path: Path) -> None:
    browser = find_browser()
    note = make_note()
    note.text += " Nothing here." * 120 + " cough"
    note.concepts.append(Concept("F", len(note.text) - 5, len(note.text), "Finding"))
    note.relations.append(Relation("D", "F", "causes"))
    (tmp_path / "page.html").write_text(render([note], title="t"), "utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=900,900"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    dom = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    # A relation between distant lines has a stub at either end, and each says where the other is.
    arcs = re.findall(r'<g class="arc" data-r="(\d+)"( data-to)?', dom)
    assert sorted(arcs) == [("0", " data-to"), ("0", " data-to"), ("1", ""), ("2", "")]
    assert "→ cough" in dom and "← aspirin" in dom
    assert dom.count('style="--up:') == dom.count("<svg") == 2
