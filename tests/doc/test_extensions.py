"""Extensions of other components as attributes of concepts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span, Token

from spacy_clinie.doc.concepts import set_concepts
from spacy_clinie.doc.extensions import check_registered, names_on, registered
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.errors import ClinieError

ADDED: list[tuple[Any, str]] = []


def add(kind: Any, name: str, **more: Any) -> None:
    kind.set_extension(name, **more)
    ADDED.append((kind, name))


@pytest.fixture(autouse=True)
def removed() -> Iterator[None]:
    yield
    for kind, name in ADDED:
        kind.remove_extension(name)
    ADDED.clear()


@pytest.fixture
def doc() -> Doc:
    """Overlapping concepts, one of which is not in `doc.ents`, and an entity of another component."""
    doc = spacy.blank("en")("No chest wall pain , no fever")
    doc.ents = [Span(doc, 6, 7, "Sign")]
    spans = [Span(doc, 1, 4, "Reason", span_id="C1"), Span(doc, 1, 3, "Anatomy", span_id="C2")]
    set_concepts(doc, spans)
    return doc


def read(doc: Doc, *names: str) -> list[dict[str, str]]:
    note = note_from_doc(doc, entities=True, extensions=names)
    return [concept.attributes for concept in note.concepts]


def test_a_default_tells_nothing_of_what_is_not_in_ents(doc: Doc) -> None:
    add(Span, "negated", default=False)
    doc.ents[0]._.negated = True
    assert read(doc, "negated") == [{"negated": "true"}, {}, {"negated": "false"}]
    doc[1:3]._.negated = True
    assert read(doc, "negated") == [{"negated": "true"}, {"negated": "true"}, {"negated": "false"}]
    assert read(doc) == [{}, {}, {}]


def test_getters_tokens_and_docs_are_read(doc: Doc) -> None:
    add(Span, "size", getter=len)
    add(Token, "first", default="")
    add(Token, "size", default="of a token")
    add(Doc, "title", default=None)
    doc[1]._.first = "chest\nwall "
    assert read(doc, "first", "size", "title")[:2] == [
        {"first": "chest wall", "size": "3"},
        {"first": "chest wall", "size": "2"},
    ]
    doc._.title = "A note"
    assert read(doc, "title")[2] == {"title": "A note"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (np.float32(0.5), "0.5"),
        (["a", 1], '["a", 1]'),
        ({"a": None}, '{"a": null}'),
        ({"b", "a"}, '["a", "b"]'),
        ("half \ud800", "half ?"),
        (0, "0"),
        (None, None),
        (" ", None),
        ([], "[]"),
    ],
)
def test_values_become_text(doc: Doc, value: Any, text: str | None) -> None:
    add(Doc, "value", default=None)
    doc._.value = value
    assert read(doc, "value")[0] == ({} if text is None else {"value": text})


def test_spans_become_their_text(doc: Doc) -> None:
    add(Doc, "value", default=None)
    doc._.value = [doc[1:3], doc[0]]
    assert read(doc, "value")[0] == {"value": '["chest wall", "No"]'}


@pytest.mark.parametrize("value", [object(), {1: object()}, {(1, 2): 3}])
def test_what_has_no_text_is_refused_without_showing_it(doc: Doc, value: Any) -> None:
    add(Doc, "value", default=None)
    doc._.value = value
    with pytest.raises(ClinieError, match=r"CIE453.*'value' holds a (object|dict),"):
        read(doc, "value")


def test_unknown_names_are_refused_with_those_that_are_known() -> None:
    add(Span, "negated", default=False)
    add(Span, "method", method=len)
    assert "negated" in registered() and not {"method", "rel", "trf_data"} & set(registered())
    check_registered(["negated"])
    for name in ("negx", "method", "rel"):
        with pytest.raises(ClinieError, match=rf"CIE452.*'{name}'.*negated"):
            check_registered(["negated", name])


def test_names_that_others_set_are_known(doc: Doc) -> None:
    add(Span, "negated", default=False)
    add(Token, "section", default="")
    add(Span, "length", getter=len)
    assert "length" in names_on(doc) and not {"negated", "section"} & names_on(doc)
    doc.ents[0]._.negated = True
    doc[0]._.section = "plan"
    assert {"negated", "section", "length"} <= names_on(doc)
    assert "rel" not in names_on(doc)
    assert names_on(spacy.blank("en")("No entities")) == set()
