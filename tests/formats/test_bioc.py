"""BioC: passages and offsets, concepts, and which annotations a relation is between."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note, Relation
from spacy_clinie.doc.report import Report
from spacy_clinie.errors import ClinieError
from spacy_clinie.formats import bioc

TEXT = "Rash after zyxomab."


def annotation(key: str, start: int, length: int, kind: str | None = "Drug", text: str = "", **infons: Any) -> str:
    named = {"type": kind, **infons} if kind else infons
    parts = [f'<infon key="{name}">{value}</infon>' for name, value in named.items()]
    location = f'<location offset="{start}" length="{length}"/>'
    return f'<annotation id="{key}">{"".join(parts)}{location}<text>{text}</text></annotation>'


def passage(offset: Any, text: str, *inner: str) -> str:
    return f"<passage><offset>{offset}</offset><text>{text}</text>{''.join(inner)}</passage>"


def relation(*nodes: tuple[str, str], kind: str = "type") -> str:
    ends = "".join(f'<node refid="{refid}" role="{role}"/>' for refid, role in nodes)
    return f'<relation id="R1"><infon key="{kind}">ADE-Drug</infon>{ends}</relation>'


def document(*inner: str, key: str = "n1") -> str:
    return f"<document><id>{key}</id>{''.join(inner)}</document>"


def read(folder: Path, *documents: str) -> tuple[list[Note], Report]:
    head = '<?xml version="1.0"?><!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection>\n'
    (folder / "a.xml").write_text(head + "\n".join(documents) + "</collection>", encoding="utf-8")
    return read_again(folder)


def read_again(folder: Path) -> tuple[list[Note], Report]:
    report = Report()
    return [sourced.note for sourced in bioc.read(folder, report)], report


def counts(report: Report) -> dict[str, int]:
    return {r.reason: r.count for kind in ("dropped", "mended") for r in report.remarks(kind)}


RASH, DRUG = annotation("a", 0, 4, "ADE", "Rash"), annotation("b", 11, 7, "Drug", "zyxomab")


def test_a_document_has_concepts_relations_scores_and_attributes(tmp_path: Path) -> None:
    drug = annotation("b", 11, 7, "Drug", "zyxomab", identifier="D1", score="0.5")
    link = relation(("a", "head"), ("b", "tail"))
    (note,), report = read(tmp_path, document(passage(0, TEXT, RASH, drug), link))
    concepts = [Concept("a", 0, 4, "ADE"), Concept("b", 11, 18, "Drug", 0.5, attributes={"identifier": "D1"})]
    assert note == Note("n1", TEXT, concepts, [Relation("a", "b", "ADE-Drug")])
    assert report.problems == 0


def test_gaps_between_passages_are_filled_and_sentences_are_read(tmp_path: Path) -> None:
    sentence = f"<sentence><offset>9</offset><text>{TEXT}</text>{annotation('b', 20, 7, text='zyxomab')}</sentence>"
    second = f"<passage><offset>9</offset>{sentence}</passage>"
    (note,), report = read(tmp_path, document(second, passage(0, "Title.")))
    assert note.text == f"Title.  \n{TEXT}"
    assert note.text[slice(*note.concepts[0].offsets)] == "zyxomab"
    assert report.problems == 0


@pytest.mark.parametrize(
    ("encoding", "size", "reason"),
    [
        ("utf-32-le", 4, None),
        ("utf-8", 1, "offsets count bytes, not characters"),
        ("utf-16-le", 2, "offsets count UTF-16 units, not characters"),
    ],
)
def test_the_unit_of_offsets_is_found_out(tmp_path: Path, encoding: str, size: int, reason: str | None) -> None:
    texts = ["Fièvre 😷.", "Ça 😷 zyxomab."]

    def units(text: str) -> int:
        return len(text.encode(encoding)) // size

    begin = units(texts[0]) + 1
    drug = annotation("b", begin + units("Ça 😷 "), units("zyxomab"), text="zyxomab")
    (note,), report = read(tmp_path, document(passage(0, texts[0]), passage(begin, texts[1], drug)))
    assert note.text == "\n".join(texts)
    assert note.text[slice(*note.concepts[0].offsets)] == "zyxomab"
    assert counts(report) == ({reason: 1} if reason else {})


def in_pieces(key: str, *places: tuple[int, int], text: str) -> str:
    """An annotation of several places."""
    whole = annotation(key, *places[0], text=text)
    more = "".join(f'<location offset="{start}" length="{length}"/>' for start, length in places[1:])
    return whole.replace("<text>", f"{more}<text>")


@pytest.mark.parametrize(
    ("places", "agreeing", "differing"),
    [
        (
            ((0, 4), (11, 7)),
            ["Rash zyxomab", "Rash ... zyxomab", "Rashzyxomab", "Rash after zyxomab"],
            ["zyxomab Rash", "Rash of zyxomab", "Rash zyxomabs", "the Rash zyxomab"],
        ),
        (((11, 7), (0, 4)), ["Rash zyxomab", "zyxomab;Rash"], []),
        (((0, 4), (12, 7)), [], ["Rash zyxomab"]),
        (((0, 4), (18, 1)), [], ["Rash"]),
    ],
)
def test_recorded_text_of_several_pieces(
    tmp_path: Path, places: tuple[tuple[int, int], ...], agreeing: list[str], differing: list[str]
) -> None:
    for recorded in agreeing + differing:
        (note,), report = read(tmp_path, document(passage(0, TEXT, in_pieces("c", *places, text=recorded))))
        assert len(note.concepts[0].fragments) == 2
        told = {"recorded text differs from the text at the offsets": 1} if recorded in differing else {}
        assert counts(report) == told


def test_the_unit_of_offsets_shows_in_several_pieces(tmp_path: Path) -> None:
    text = "Fièvre légère, zyxomab."
    both = in_pieces("c", (0, 7), (len("Fièvre légère, ".encode()), 7), text="Fièvre zyxomab")
    (note,), report = read(tmp_path, document(passage(0, text, both)))
    assert [note.text[start:end] for start, end in note.concepts[0].fragments] == ["Fièvre", "zyxomab"]
    assert counts(report) == {"offsets count bytes, not characters": 1}


def test_many_blank_pieces_of_a_blank_recorded_text(tmp_path: Path) -> None:
    pieces = in_pieces("c", *[(2 * number, 1) for number in range(400)], text=" " * 50_000 + "x")
    (_,), report = read(tmp_path, document(passage(0, " " * 799 + ".", pieces)))
    assert counts(report) == {"recorded text differs from the text at the offsets": 1}


@pytest.mark.parametrize("width", [1, 2])
def test_offsets_may_count_line_ends_as_two(tmp_path: Path, width: int) -> None:
    both = annotation("a", 0, 9 + width, text="Fever\r\nrash")
    rash = annotation("b", 5 + width, 4, text="rash")
    drug = annotation("c", 15 + width, 7, text="zyxomab")
    (note,), report = read(
        tmp_path, document(passage(0, "Fever\r\nrash", both, rash), passage(15 + width, "zyxomab", drug))
    )
    assert [note.text[slice(*concept.offsets)].split() for concept in note.concepts] == [
        ["Fever", "rash"],
        ["rash"],
        ["zyxomab"],
    ]
    assert counts(report) == ({"offsets count line ends as two characters": 1} if width == 2 else {})


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (annotation("c", 0, 4, None), "annotation without a type or location"),
        ('<annotation id="c"><infon key="type">X</infon></annotation>', "annotation without a type or location"),
        (annotation("c", 11, 99), "concept outside the text"),
        (annotation("c", -1, 4), "annotation without a type or location"),
        (annotation("c", 11, 0), "empty concept"),
        (annotation("c", 0, 4, text="zyxomab"), "recorded text differs from the text at the offsets"),
        (relation(("a", ""), ("z", "")), "relation to a missing concept"),
        (relation(("a", ""), ("b", ""), ("a", "")), "relation without a type, or not between two annotations"),
        (relation(("a", ""), ("b", ""), kind="x"), "relation without a type, or not between two annotations"),
    ],
)
def test_a_bad_part_is_counted_and_the_rest_is_kept(tmp_path: Path, inner: str, reason: str) -> None:
    link = relation(("a", ""), ("b", ""))
    (note,), report = read(tmp_path, document(passage(0, TEXT, RASH, DRUG, inner, link)))
    assert {"a", "b"} <= {concept.id for concept in note.concepts}
    assert note.relations == [Relation("a", "b", "ADE-Drug")]
    assert counts(report) == {reason: 1}
    assert report.remarks("dropped" if report.remarks("dropped") else "mended")[0].examples == ["a.xml:3"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (document(passage("x", TEXT)), "document that is not valid BioC"),
        ("<document></document>", "document without an id, or with passages that are not text"),
        (document(passage(0, TEXT), passage(3, TEXT)), "document with overlapping or distant passages"),
        (
            document(passage(0, TEXT), passage(10**12, TEXT)),
            "document with overlapping or distant passages",
        ),
    ],
)
def test_a_bad_document_is_counted_and_the_others_are_read(tmp_path: Path, bad: str, reason: str) -> None:
    notes, report = read(tmp_path, bad, document(passage(0, TEXT)))
    assert [note.id for note in notes] == ["n1"]
    assert counts(report) == {reason: 1}
    assert report.remarks("dropped")[0].examples == ["a.xml:3"]
    assert "zyxomab" not in json.dumps(report.to_dict())


def test_infons_that_have_no_place_are_counted(tmp_path: Path) -> None:
    infons = '<infon key="type">title</infon><infon key="section"/>'
    sentence = f"<sentence>{infons}<offset>0</offset><text>{TEXT}</text>{RASH}{DRUG}</sentence>"
    extra = "".join(f'<infon key="{key}">{value}</infon>' for key, value in (("score", 0), ("novel", "zyxomab")))
    link = relation(("a", ""), ("b", "")).replace("</infon>", f"</infon>{extra}")
    parts = (infons, f"<passage>{infons}<offset>0</offset>{sentence}</passage>", link, link.replace(">0<", ">high<"))
    (note,), report = read(tmp_path, infons + document(*parts))
    assert note.relations == [Relation("a", "b", "ADE-Drug", 0.0), Relation("a", "b", "ADE-Drug")]
    assert report.problems == 0
    assert {remark.reason: remark.examples for remark in report.remarks("left_out")} == {
        "infon of a collection: type": ["a.xml:3"],
        "infon of a document: type": ["a.xml:3"],
        "infon of a passage: type": ["a.xml:3"],
        "infon of a sentence: type": ["a.xml:3"],
        "infon of a relation: novel": ["a.xml:3", "a.xml:3"],
        "infon of a relation: score": ["a.xml:3"],
    }


def test_what_the_dtd_lets_go_without_is_not_needed(tmp_path: Path) -> None:
    bare = annotation("A1", 0, 4).replace(' id="A1"', "")
    bad = annotation("c", 0, 4).replace('offset="0"', 'offset="0.5"')
    ends = relation(("b", ""), ("A1", "")).replace(' role=""', "").replace(' id="R1"', "")
    parts = (passage(0, TEXT, bare, annotation("b", 11, 7), annotation("A1", 5, 5), bad), ends)
    (note,), report = read(tmp_path, document(*parts))
    assert {concept.id: concept.offsets for concept in note.concepts} == {"A2": (0, 4), "b": (11, 18), "A1": (5, 10)}
    assert note.relations == [Relation("b", "A1", "ADE-Drug")]
    assert counts(report) == {"annotation without a type or location": 1}


def test_an_infon_given_twice_is_kept_or_counted(tmp_path: Path) -> None:
    more = '</text><infon key="mesh">D2</infon><infon key="mesh">D1</infon><infon key="type">ADE</infon>'
    (note,), report = read(
        tmp_path, document(passage(0, TEXT, annotation("a", 11, 7, mesh="D1").replace("</text>", more)))
    )
    assert [(concept.label, concept.attributes) for concept in note.concepts] == [("Drug", {"mesh": "D1|D2"})]
    assert counts(report) == {"infon with several values, joined by |": 1, "second type of the same element": 1}


def test_a_file_that_breaks_off_gives_what_stands_before(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(f"<collection>\n{document(passage(0, TEXT))}\n<document><id>zyx")
    notes, report = read_again(tmp_path)
    assert [note.id for note in notes] == ["n1"]
    assert report.remarks("dropped")[0].examples == ["a.xml:3"]


def test_nothing_outside_of_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("zyxomab")
    head = f'<!DOCTYPE collection [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    (tmp_path / "a.xml").write_text(f"{head}<collection>{document(passage(0, 'It is &x;.'))}</collection>")
    with pytest.raises(ClinieError, match="CIE250"):
        read_again(tmp_path)


@pytest.mark.parametrize(
    "note",
    [
        Note("n", "a\x00b"),
        Note("n", "a\ud800b"),
        Note("n", "a\uffffb"),
        Note("n", TEXT, [Concept("a", 0, 4, "A", attributes={"type": "x"})]),
    ],
)
def test_what_xml_cannot_hold_is_an_error(tmp_path: Path, note: Note) -> None:
    with pytest.raises(ClinieError, match="CIE252"):
        bioc.write([note], tmp_path / "out.xml")
    assert list(tmp_path.iterdir()) == []


characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from(
    "\r\n\t"
)
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)


@st.composite
def notes(draw: st.DrawFn) -> Note:
    text = draw(st.text(characters, min_size=2))
    scores = st.none() | st.floats(0, 1)
    concepts: dict[str, Concept] = {}
    for key in draw(st.lists(words, max_size=3, unique=True)):
        edges = draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4, unique=True).map(sorted))
        pairs = [(edges[0], edges[1]), (edges[2], edges[3])] if len(edges) == 4 else []
        concepts[key] = Concept(key, edges[0], edges[-1], draw(words), draw(scores), pairs, {"assertion": draw(words)})
    ends = st.sampled_from(list(concepts)) if concepts else st.nothing()
    relations = draw(st.lists(st.builds(Relation, ends, ends, words, scores), max_size=3)) if concepts else []
    return Note(draw(words), text, list(concepts.values()), relations)


@settings(max_examples=100, deadline=None)
@given(notes(), st.sampled_from(["xml", "json"]))
def test_what_is_written_is_read_back(note: Note, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        bioc.write([note], Path(folder) / f"out.{suffix}")
        (back,), report = read_again(Path(folder))
    assert back == note
    assert report.problems == 0


def test_tags_and_comments_within_a_text_do_not_end_it(tmp_path: Path) -> None:
    marked = "Ra<b>sh</b><!-- x --> after <?p?>zyxomab."
    (note,), report = read(tmp_path, document(passage(0, marked, annotation("b", 11, 7, "Dr<i>ug</i>", "zyxomab"))))
    assert (note.text, note.concepts) == (TEXT, [Concept("b", 11, 18, "Drug")])
    assert counts(report) == {"tags or comments inside a text, removed": 2}


def test_further_texts_and_infons_without_a_key_are_counted(tmp_path: Path) -> None:
    infon = RASH.replace("<location", "<infon>zyxomab</infon><location")
    (note,), report = read(tmp_path, document(passage(0, TEXT, "<text>Gout.</text>", infon)))
    assert (note.text, note.concepts) == (TEXT, [Concept("a", 0, 4, "ADE")])
    assert counts(report) == {"second text of a passage or sentence": 1, "infon without a key": 1}


def test_values_of_one_infon_are_joined_once(tmp_path: Path) -> None:
    twice = DRUG.replace("<location", '<infon key="k">x|y</infon><infon key="k">x|y</infon><location')
    (note,), report = read(tmp_path, document(passage(0, TEXT, twice)))
    assert note.concepts[0].attributes == {"k": "x|y"}
    assert report.problems == 0


def test_a_text_of_any_length_is_read(tmp_path: Path) -> None:
    long = TEXT + " " * 10_000_001
    found, report = read(tmp_path, document(passage(0, long, DRUG)), document(passage(0, TEXT), key="n2"))
    assert [(note.id, len(note.text)) for note in found] == [("n1", len(long)), ("n2", len(TEXT))]
    assert found[0].concepts == [Concept("b", 11, 18, "Drug")]
    assert report.problems == 0


@pytest.mark.parametrize(
    ("root", "text"), [("<collection>", "&e9;"), ("<collection>", '<b at="&e9;"/>'), ('<collection at="&e9;">', "x")]
)
def test_entities_do_not_expand_beyond_measure(tmp_path: Path, root: str, text: str) -> None:
    entities = '<!ENTITY e0 "zyxomab">' + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    content = f"<!DOCTYPE collection [{entities}]>{root}{document(passage(0, text))}</collection>"
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(ClinieError, match="CIE250") as error:
        read_again(tmp_path)
    assert "zyxomab" not in str(error.value)


def test_an_entity_of_the_file_is_read(tmp_path: Path) -> None:
    head = '<!DOCTYPE collection [<!ENTITY drug "zyxomab">]>'
    content = document(passage(0, "Rash after &drug;.", DRUG))
    (tmp_path / "a.xml").write_text(f"{head}<collection>{content}</collection>")
    (note,), report = read_again(tmp_path)
    assert (note.text, note.concepts) == (TEXT, [Concept("b", 11, 18, "Drug")])
    assert report.problems == 0


def test_keys_and_roles_that_may_be_text_are_not_told(tmp_path: Path) -> None:
    link = relation(("a", "Rash after zyxomab"), ("b", "Patient")).replace(
        "<node", '<infon key="x y">z</infon><node', 1
    )
    (note,), report = read(tmp_path, document('<infon key="Rash after">x</infon>', passage(0, TEXT, RASH, DRUG), link))
    assert note.relations == [Relation("a", "b", "ADE-Drug")]
    assert [(r.reason, r.count) for r in report.remarks("left_out")] == [
        ("infon of a document: (no name)", 1),
        ("infon of a relation: (no name)", 1),
        ("role in a relation: (no name)", 1),
        ("role in a relation: patient", 1),
    ]
    assert report.problems == 0


def test_elements_that_the_format_does_not_have_are_counted(tmp_path: Path) -> None:
    inner = RASH.replace("<text>", '<attr name="x">1</attr><Location offset="6" length="3"/><text>')
    inner = inner.replace("<annotation ", '<annotation sure="no" ')
    loose = DRUG.replace("annotation", "Annotation")
    link = relation(("a", ""), ("a", ""))
    parts = passage(0, TEXT, inner, f"<annotations>{DRUG}{DRUG}</annotations>", loose, "<!-- b -->")
    (note,), report = read(tmp_path, document(parts), link)
    assert [concept.offsets for concept in note.concepts] == [(0, 4)]
    assert counts(report) == {
        "unknown element: annotation.attr": 1,
        "unknown element: annotation.Location": 1,
        "unknown element: passage.annotations": 1,
        "unknown element: passage.Annotation": 1,
        "unknown element: collection.relation": 1,
    }
    (remark,) = report.remarks("left_out")
    assert (remark.reason, remark.examples) == (
        "unknown attribute: annotation.sure",
        ["a.xml:3"],
    )


def test_elements_may_have_a_namespace(tmp_path: Path) -> None:
    read(tmp_path, document(passage(0, TEXT, RASH, DRUG), relation(("a", ""), ("b", ""))))
    expected = read_again(tmp_path)[0]
    content = (tmp_path / "a.xml").read_text(encoding="utf-8")
    prefixed = re.sub(r"<(/?)(?=\w)", r"<\1b:", content)
    for spaced, name in ((content, "xmlns"), (prefixed, "xmlns:b")):
        (tmp_path / "a.xml").write_text(spaced.replace("collection>", f'collection {name}="x">', 1), encoding="utf-8")
        found, report = read_again(tmp_path)
        assert found == expected
        assert report.problems == 0


@pytest.mark.parametrize(
    ("roles", "kind", "ends"),
    [
        (("", ""), "type", ("a", "b")),
        (("Arg1", "Arg2"), "relation", ("a", "b")),
        (("Arg2", "Arg1"), "relation type", ("b", "a")),
        (("tail", "head"), "type", ("b", "a")),
    ],
)
def test_roles_tell_the_direction(tmp_path: Path, roles: tuple[str, str], kind: str, ends: tuple[str, str]) -> None:
    link = relation(("a", roles[0]), ("b", roles[1]), kind=kind)
    (note,), _ = read(tmp_path, document(passage(0, TEXT, RASH, DRUG), link))
    assert note.relations == [Relation(*ends, "ADE-Drug")]


def test_a_relation_of_a_passage_means_its_own_annotations(tmp_path: Path) -> None:
    """Ids begin anew in each passage, and relations of the document mean the first."""
    link = relation(("a", ""), ("b", ""))
    parts = [
        passage(start, TEXT, annotation("a", start, 4, "ADE"), annotation("b", start + 11, 7), link)
        for start in (0, 20)
    ]
    (note,), report = read(tmp_path, document(*parts, link))
    starts = {concept.id: concept.start for concept in note.concepts}
    assert [(starts[one.head], starts[one.tail]) for one in note.relations] == [(0, 11), (0, 11), (20, 31)]
    assert counts(report) == {"annotation id reused in a passage or sentence, renamed": 2}


def named(**infons: str) -> str:
    parts = [f'<infon key="{name}">{value}</infon>' for name, value in infons.items()]
    return f'<relation id="R1">{"".join(parts)}</relation>'


@pytest.mark.parametrize(
    ("link", "label", "left_out"),
    [
        (named(relation="CID", Chemical="D1", Disease="D2"), "CID", 0),
        (named(entity1="D1", entity2="D2", type="Association", novel="No"), "Association", 1),
    ],
)
def test_relations_between_identifiers(tmp_path: Path, link: str, label: str, left_out: int) -> None:
    """As BC5CDR and BioRED have them."""
    text = "Zyxomab. Rash after zyxomab."
    mentions = [
        annotation("a", 0, 7, "Chemical", MESH="D1"),
        annotation("b", 9, 4, "Disease", MESH="D9|D2"),
        annotation("c", 20, 7, "Chemical", identifier="D1"),
    ]
    (note,), report = read(tmp_path, document(passage(0, text, *mentions), link))
    assert note.relations == [Relation("a", "b", label)]
    assert counts(report) == {"relation between identifiers, assigned to their closest mentions": 1}
    assert sum(remark.count for remark in report.remarks("left_out")) == left_out


@pytest.mark.parametrize(
    "link", [named(relation="CID", Chemical="D1", Disease="D7"), named(Chemical="D1", Disease="D2")]
)
def test_relations_between_identifiers_that_nothing_has_are_counted(tmp_path: Path, link: str) -> None:
    mentions = [annotation("a", 0, 4, "Disease", MESH="D2"), annotation("b", 11, 7, "Chemical", MESH="D1")]
    (note,), report = read(tmp_path, document(passage(0, TEXT, *mentions), link))
    assert note.relations == []
    assert counts(report) == {"relation without a type, or not between two annotations or identifiers": 1}


def test_a_relation_of_a_sentence_means_its_own_annotations(tmp_path: Path) -> None:
    """A passage's means the first of them, or its own."""
    link = relation(("a", ""), ("b", ""))
    sentences = [
        f"<sentence><offset>{start}</offset><text>{TEXT}</text>"
        f"{annotation('a', start, 4, 'ADE')}{annotation('b', start + 11, 7)}{link}</sentence>"
        for start in (0, 20)
    ]
    first = f"<passage><offset>0</offset>{''.join(sentences)}{link}</passage>"
    second = passage(40, TEXT, annotation("b", 51, 7), relation(("a", ""), ("b", "")))
    (note,), report = read(tmp_path, document(first, second))
    starts = {concept.id: concept.start for concept in note.concepts}
    found = [(starts[one.head], starts[one.tail]) for one in note.relations]
    assert found == [(0, 11), (0, 11), (20, 31), (0, 51)]
    assert counts(report) == {"annotation id reused in a passage or sentence, renamed": 3}


def test_what_equals_an_identifier_by_chance_is_none(tmp_path: Path) -> None:
    marks = {"annotator": "Bob", "negated": "No"}
    mentions = [
        annotation("a", 0, 4, "Disease", identifier="D2", **marks),
        annotation("b", 11, 7, "Chemical", identifier="D1", **marks),
    ]
    links = [
        named(type="Association", entity1="D1", entity2="D2", novel="No", annotator="Bob"),
        named(type="Association", entity1="D8", entity2="D9", annotator="Bob", novel="No"),
    ]
    (note,), report = read(tmp_path, document(passage(0, TEXT, *mentions), *links))
    assert note.relations == [Relation("b", "a", "Association")]
    assert counts(report)["relation without a type, or not between two annotations or identifiers"] == 1


def test_identifiers_of_mentions_that_cannot_be_used(tmp_path: Path) -> None:
    """Two of one id, and one without characters, beside which others are there."""
    mentions = [
        annotation("a", 0, 4, "Disease", identifier="D2"),
        annotation("a", 11, 7, "Chemical", identifier="D1"),
        annotation("c", 5, 0, "Chemical", identifier="D1"),
    ]
    (note,), _ = read(
        tmp_path, document(passage(0, TEXT, *mentions), named(type="Association", entity1="D1", entity2="D2"))
    )
    starts = {concept.id: concept.start for concept in note.concepts}
    assert [(starts[one.head], starts[one.tail]) for one in note.relations] == [(11, 0)]
