"""Docs as components take them: in parts that fit into memory, and with the gold concepts of another one."""

from collections.abc import Iterable, Iterator

from spacy.tokens import Doc, Span

from ..doc.concepts import cover, get_all_spans, get_spans
from ..errors import ClinieError

# What a model holds for each token while it reads (scores of all tags) takes about a kilobyte.
PART_TOKENS = 200_000


def in_parts(docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    """Docs in groups that fit into memory together, however many and long they are.

    docs (Iterable[Doc]): The Docs.
    YIELDS (list[Doc]): At most `PART_TOKENS` tokens; a longer Doc is a part of its own.
    """
    part: list[Doc] = []
    tokens = 0
    for doc in docs:
        if part and tokens + len(doc) > PART_TOKENS:
            yield part
            part, tokens = [], 0
        part.append(doc)
        tokens += len(doc)
    if part:
        yield part


def gold_spans(reference: Doc, doc: Doc, *, entities: bool = False) -> list[Span]:
    """The gold concepts on another Doc of the same text, snapped outward where the tokens differ.

    reference (Doc): The Doc with the gold concepts.
    doc (Doc): The other Doc.
    entities (bool): Also the entities of other components.
    RETURNS (list[Span]): Spans of `doc`, in the order of `get_spans(reference)`, or of `get_all_spans(reference)`.
    RAISES (ClinieError): CIE462 if the texts differ.
    """
    if doc.text != reference.text:
        raise ClinieError("CIE462")
    spans = get_all_spans(reference) if entities else get_spans(reference)
    return [cover(doc, span.start_char, span.end_char, span.label_, span.id_) for span in spans]
