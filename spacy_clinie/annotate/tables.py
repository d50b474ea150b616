"""Notes to look at in a terminal: tables of concepts and relations."""

import unicodedata
from collections.abc import Sequence

from ..display import shown
from ..doc.note import Note
from .html_page import mention, place_of, score_text


def table(note: Note) -> list[str]:
    """The concepts and relations of a note as lines for the terminal, in text order.

    note (Note): The note.
    RETURNS (list[str]): Lines without colour, columns aligned (wide characters count twice).
    RAISES (ClinieError): CIE004 to CIE006 if the note is not sound.
    """
    note.check()
    concepts = {concept.id: concept for concept in note.concepts}
    text = shown(note.text)
    rows: list[tuple[str, ...]] = [("Concept", "Type", "Score")]
    rows += [(mention(text, c), shown(c.label), score_text(c.score)) for c in sorted(note.concepts, key=place_of)]
    lines = _aligned(rows)
    if note.relations:
        rows = [("From", "Relation", "To", "Score")]
        for relation in sorted(note.relations, key=lambda r: (place_of(concepts[r.head]), place_of(concepts[r.tail]))):
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
    cell, whole = cell[: 2 * longest], cell  # what takes no columns, but for a few marks, is not worth a second look
    if cell == whole and _width(cell) <= longest:
        return cell
    while _width(cell) > longest - 1:
        cell = cell[:-1]
    return cell + "…"


def _width(text: str) -> int:
    """Columns that a terminal needs: none for marks, two for East Asian characters and emojis."""
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
