"""The notes that come with the package: invented, with the annotation written into the text.

    She takes {metformin|Drug TrAP>} {500 mg|Strength<} {BID|Frequency<} for {type 2 diabetes|problem}.

`data/synthetic/README.md` tells what the markup means. This file reads it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import NoReturn, Optional

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from ..schema import Schema
from .files import BOM, find_notes, read_text
from .reading import require_notes
from .source import SourcedNote

# The two layers say some things twice: one of them is written, and the other follows from it.
IMPLIED = {"Drug": "treatment", "Reason": "problem", "ADE": "problem"}
MIRRORED = {"TrAP": "Reason", "TrIP": "Reason", "TrCP": "ADE"}

_REMARKS = re.compile(r"(#[^\n]*\n)*")
_MARK = re.compile(r"\{|\|(?P<items>[^{}|]*)\}|[}|]")
_ITEM = re.compile(r"#(?P<name>\w+)|(?P<type>[A-Za-z-]+)((?P<arrow><+|>+)|>(?P<targets>\w+(,\w+)*))?")


@dataclass
class _Mention:
    """A marked stretch of the text: a concept for each of its types."""

    start: int
    end: int
    line: int
    items: list[str]
    types: set[str] = field(default_factory=set)
    arrows: list[tuple[str, str, list[str]]] = field(default_factory=list)  # relation, arrow, names it points to


def folder() -> Path:
    """Where the synthetic notes are: `notes` holds the annotated ones, `new` plain texts to try a pipeline on.

    RETURNS (Path): A folder of the installed package.
    """
    return Path(str(files("spacy_clinie") / "data" / "synthetic"))


def layer(name: str) -> Schema:
    """A bundled schema as one layer of these notes: what belongs to the other layer is left out on purpose.

    name (str): `i2b2_2010` or `n2c2_2018`.
    RETURNS (Schema): That schema, which now drops the other types of the schema `synthetic`.
    """
    both, one = Schema.load("synthetic"), Schema.load(name)
    return replace(
        one,
        dropped_concepts=tuple(label for label in both.concepts if label not in one.concepts),
        dropped_relations=tuple(label for label in both.relations if label not in one.relations),
    )


def read(path: Optional[Path] = None, report: Optional[Report] = None) -> Iterator[SourcedNote]:
    """Read notes with markup. The split is the name of the folder.

    Markup is written by hand and a wrong arrow would teach a wrong relation, so a mistake in it is an error, not a
    remark in the report.

    path (Optional[Path]): A folder of notes, the folder around `notes`, or one file; the package's notes if None.
    report (Optional[Report]): Counts files that cannot be read.
    YIELDS (SourcedNote): A note in the types of the schema `synthetic`, both layers.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read; CIE290 to CIE292 for a mistake in the
        markup.
    """
    path, report = Path(path or folder()), report or Report()
    return require_notes(_read(path, report), path, "marked-text", report)


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    schema = Schema.load("synthetic")
    inside = path / "notes"
    for file in find_notes(inside if inside.is_dir() else path, ".txt", report):
        source = read_text(file.path, report)
        if source is not None:
            note, lines = parse(source, file.id, schema)
            yield SourcedNote(note, file.path, file.split, lines)


def parse(source: str, note_id: str, schema: Schema) -> tuple[Note, dict[str, int]]:
    """Take the markup out of a text.

    source (str): What the file holds. Lines at its top that begin with `#` are remarks and not part of the note.
    note_id (str): Id of the note, which is also the name of its file.
    schema (Schema): The types of both layers.
    RETURNS (tuple[Note, dict[str, int]]): The note, and the line of each concept by its id.
    RAISES (ClinieError): CIE290 to CIE292, with file and line.
    """
    ends = "\r\n" if "\n" in source else "\r"
    return _Markup(source.removeprefix(BOM).replace(ends, "\n"), note_id, schema).note()


class _Markup:
    """One text with markup. Everything is known of its mentions before the first arrow is followed."""

    def __init__(self, source: str, note_id: str, schema: Schema) -> None:
        self.note_id = note_id
        self.schema = schema
        self.text = ""
        self.mentions: list[_Mention] = []
        self.names: dict[str, _Mention] = {}
        self._take_out(source)
        for mention in self.mentions:
            self._read_items(mention)

    def note(self) -> tuple[Note, dict[str, int]]:
        # Ends are mention and type: a relation may still give its tail one more type, so there are no ids yet.
        relations = []
        for i, head in enumerate(self.mentions):
            for label, arrow, names in head.arrows:
                for tail, pair in self._tails(i, label, arrow, names):
                    relations.append((head, pair[0], tail, pair[1], label))
                    role = MIRRORED.get(label)
                    if role and "Drug" in head.types:
                        tail.types.add(role)
                        relations.append((tail, role, head, "Drug", f"{role}-Drug"))
        note = Note(self.note_id, self.text)
        lines: dict[str, int] = {}
        ids: dict[tuple[int, str], str] = {}
        order = list(self.schema.concepts)
        for mention in self.mentions:
            for label in sorted(mention.types, key=order.index):
                concept = Concept(f"C{len(ids) + 1}", mention.start, mention.end, label)
                note.concepts.append(concept)
                ids[id(mention), label] = concept.id
                lines[concept.id] = mention.line
        found = [Relation(ids[id(h), h_type], ids[id(t), t_type], label) for h, h_type, t, t_type, label in relations]
        # A reason can be written out and follow from an arrow as well.
        note.relations = [relation for i, relation in enumerate(found) if relation not in found[:i]]
        return note, lines

    def _take_out(self, source: str) -> None:
        opened = []
        done = len(_REMARKS.match(source)[0])  # type: ignore[index]  # it matches the empty string, too
        for mark in _MARK.finditer(source, done):
            self.text += source[done : mark.start()]
            done = mark.end()
            line = source.count("\n", 0, mark.start()) + 1
            if mark[0] == "{":
                opened.append((len(self.text), line))
            elif mark["items"] is None or not opened:
                self._fail(line, "a brace or a bar that belongs to no mention")
            else:
                start, line = opened.pop()
                if not self.text[start:] or self.text[start:] != self.text[start:].strip():
                    self._fail(line, "a mention that is empty, or begins or ends with a blank")
                self.mentions.append(_Mention(start, len(self.text), line, mark["items"].split()))
        if opened:
            self._fail(opened[-1][1], "a brace that is never closed")
        self.text += source[done:]
        self.mentions.sort(key=lambda mention: (mention.start, -mention.end))

    def _read_items(self, mention: _Mention) -> None:
        concepts, relations = self.schema.concepts, self.schema.relations
        for number, item in enumerate(mention.items, start=1):
            match = _ITEM.fullmatch(item)
            if match is None:
                self._fail(mention.line, f"item {number} of a mention is neither a type nor a name")
            if match["name"]:
                if self.names.setdefault(match["name"], mention) is not mention:
                    self._fail(mention.line, f"the name that is item {number} of a mention is taken")
                continue
            label, points = match["type"], bool(match["arrow"] or match["targets"])
            relation = label if label in relations else f"{label}-Drug"
            # An attribute of a drug can stand alone, a relation cannot, and nothing else points anywhere.
            if relation not in relations if points else label not in concepts:
                known = ", ".join([*concepts, *relations])
                raise ClinieError("CIE291", file=self.note_id, line=mention.line, item=number, known=known)
            if label in concepts:
                mention.types |= {label, IMPLIED.get(label, label)}
            if points:
                mention.arrows.append((relation, match["arrow"] or ">", (match["targets"] or "").split(",")))
        if not mention.types:
            self._fail(mention.line, "a mention without a type")

    def _tails(self, index: int, label: str, arrow: str, names: list[str]) -> list[tuple[_Mention, tuple[str, str]]]:
        """The mentions an arrow points to, by name or else as many fitting neighbours as it has heads, and the types
        of both ends."""
        head = self.mentions[index]
        if any(names):
            others = [self.names[name] for name in names if name in self.names]
        else:
            others = self.mentions[index + 1 :] if arrow[0] == ">" else self.mentions[:index][::-1]
        pairs = self.schema.relations[label].pairs
        fitting = [
            (other, pair) for other in others for pair in pairs if pair[0] in head.types and pair[1] in other.types
        ]
        wanted = len(names) if any(names) else len(arrow)
        if len(fitting) < wanted:
            raise ClinieError("CIE292", file=self.note_id, line=head.line, relation=label)
        return fitting[:wanted]

    def _fail(self, line: int, problem: str) -> NoReturn:
        raise ClinieError("CIE290", file=self.note_id, line=line, problem=problem)
