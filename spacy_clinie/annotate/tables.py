"""Tables of concepts and relations for the terminal."""

import unicodedata
from collections.abc import Sequence

from ..display import shown
from ..doc.note import Note
from .html_page import mention, score_text, text_order


def table(note: Note) -> list[str]:
    """The concepts and relations of a note as a table, in text order.

    note (Note): The note.
    RETURNS (list[str]): Lines without colour and with aligned columns (wide characters count twice).
    RAISES (ClinieError): CIE004 to CIE006 if the note is invalid.
    """
    note.check()
    concepts = {concept.id: concept for concept in note.concepts}
    text = shown(note.text)
    rows: list[tuple[str, ...]] = [("Concept", "Type", "Score")]
    rows += [(mention(text, c), shown(c.label), score_text(c.score)) for c in sorted(note.concepts, key=text_order)]
    lines = _aligned(rows)
    if note.relations:
        rows = [("From", "Relation", "To", "Score")]
        for relation in sorted(
            note.relations, key=lambda r: (text_order(concepts[r.head]), text_order(concepts[r.tail]))
        ):
            head, tail = mention(text, concepts[relation.head]), mention(text, concepts[relation.tail])
            rows.append((head, f"{shown(relation.label)} →", tail, score_text(relation.score)))
        lines += ["", *_aligned(rows)]
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    padded = [[cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)] for row in cells]
    padded.insert(1, ["─" * width for width in widths])
    return ["  ".join(row).rstrip() for row in padded]


def _short(cell: str, longest: int = 40) -> str:
    cell, whole = cell[: 2 * longest], cell  # twice as many characters leave room for marks, which take no columns
    if cell == whole and _width(cell) <= longest:
        return cell
    while _width(cell) > longest - 1:
        cell = cell[:-1]
    return cell + "…"


def _width(text: str) -> int:
    """The columns of a text in a terminal: none for marks, two for East Asian characters and emojis."""
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
