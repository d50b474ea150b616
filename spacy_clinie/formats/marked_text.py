"""Text files with inline annotation, the format of the synthetic notes in this package.

    She takes {metformin|Drug TrAP>} {500 mg|Strength<} {BID|Frequency<} for {type 2 diabetes|problem}.

`data/synthetic/README.md` describes the markup.
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

# The two layers overlap: some types of one layer are inferred from the other.
IMPLIED = {"Drug": "treatment", "Reason": "problem", "ADE": "problem"}
MIRRORED = {"TrAP": "Reason", "TrIP": "Reason", "TrCP": "ADE"}

_COMMENTS = re.compile(r"(#[^\n]*\n)*")
_MARK = re.compile(r"\{|\|(?P<items>[^{}|]*)\}|[}|]")
_ITEM = re.compile(r"#(?P<name>\w+)|(?P<type>[A-Za-z-]+)((?P<arrow><+|>+)|>(?P<targets>\w+(,\w+)*))?")


@dataclass
class _Mention:
    """A marked span of the text. Each of its types becomes a concept."""

    start: int
    end: int
    line: int
    items: list[str]
    types: set[str] = field(default_factory=set)
    arrows: list[tuple[str, str, list[str]]] = field(default_factory=list)  # relation, arrow, names of targets


def folder() -> Path:
    """The folder of the synthetic notes: annotated ones in `notes`, plain texts to try a pipeline on in `new`.

    RETURNS (Path): A folder of the installed package.
    """
    return Path(str(files("spacy_clinie") / "data" / "synthetic"))


def layer(name: str) -> Schema:
    """A schema for one of the two layers of these notes.

    name (str): `i2b2_2010` or `n2c2_2018`.
    RETURNS (Schema): That schema, which drops the other types of the schema `synthetic`.
    """
    both, one = Schema.load("synthetic"), Schema.load(name)
    return replace(
        one,
        dropped_concepts=tuple(label for label in both.concepts if label not in one.concepts),
        dropped_relations=tuple(label for label in both.relations if label not in one.relations),
    )


def read(path: Optional[Path] = None, report: Optional[Report] = None) -> Iterator[SourcedNote]:
    """Read notes with markup. The folder name is the split.

    A mistake in the markup, which is written by hand, is an error and not a remark in the report: a wrong arrow would
    teach a wrong relation.

    path (Optional[Path]): A folder of notes, the parent folder of `notes`, or one file; the notes of the package if
        None.
    report (Optional[Report]): Counts files that cannot be read.
    YIELDS (SourcedNote): Notes in the types of the schema `synthetic`, with both layers.
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
    """Parse a text with markup.

    source (str): The content of the file. Lines at its top that start with `#` are comments.
    note_id (str): The id of the note, which is also the name of its file.
    schema (Schema): The types of both layers.
    RETURNS (tuple[Note, dict[str, int]]): The note, and the line of each concept by id.
    RAISES (ClinieError): CIE290 to CIE292, with file and line.
    """
    ends = "\r\n" if "\n" in source else "\r"
    return _Markup(source.removeprefix(BOM).replace(ends, "\n"), note_id, schema).note()


class _Markup:
    """A text with markup. All mentions are parsed before arrows are resolved."""

    def __init__(self, source: str, note_id: str, schema: Schema) -> None:
        self.note_id = note_id
        self.schema = schema
        self.text = ""
        self.mentions: list[_Mention] = []
        self.names: dict[str, _Mention] = {}
        self._strip_markup(source)
        for mention in self.mentions:
            self._read_items(mention)

    def note(self) -> tuple[Note, dict[str, int]]:
        # Ends are mention and type, not ids, because a relation may still add a type to its tail.
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
        # The same reason can be both written and inferred from an arrow.
        note.relations = [relation for i, relation in enumerate(found) if relation not in found[:i]]
        return note, lines

    def _strip_markup(self, source: str) -> None:
        open_marks = []
        done = len(_COMMENTS.match(source)[0])  # type: ignore[index]  # it also matches the empty string
        for mark in _MARK.finditer(source, done):
            self.text += source[done : mark.start()]
            done = mark.end()
            line = source.count("\n", 0, mark.start()) + 1
            if mark[0] == "{":
                open_marks.append((len(self.text), line))
            elif mark["items"] is None or not open_marks:
                self._fail(line, "a brace or bar outside of a mention")
            else:
                start, line = open_marks.pop()
                if not self.text[start:] or self.text[start:] != self.text[start:].strip():
                    self._fail(line, "a mention that is empty, or starts or ends with whitespace")
                self.mentions.append(_Mention(start, len(self.text), line, mark["items"].split()))
        if open_marks:
            self._fail(open_marks[-1][1], "a brace that is never closed")
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
                    self._fail(mention.line, f"item {number} of a mention is a name that is already used")
                continue
            label, points = match["type"], bool(match["arrow"] or match["targets"])
            relation = label if label in relations else f"{label}-Drug"
            # A drug attribute may have no arrow; a relation needs one; other types cannot have one.
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
        """The mentions that an arrow points to, with the types of both ends: the named ones, or else one matching
        neighbour for each of its signs."""
        head = self.mentions[index]
        if any(names):
            candidates = [self.names[name] for name in names if name in self.names]
        else:
            candidates = self.mentions[index + 1 :] if arrow[0] == ">" else self.mentions[:index][::-1]
        pairs = self.schema.relations[label].pairs
        matching = [
            (candidate, pair)
            for candidate in candidates
            for pair in pairs
            if pair[0] in head.types and pair[1] in candidate.types
        ]
        wanted = len(names) if any(names) else len(arrow)
        if len(matching) < wanted:
            raise ClinieError("CIE292", file=self.note_id, line=head.line, relation=label)
        return matching[:wanted]

    def _fail(self, line: int, problem: str) -> NoReturn:
        raise ClinieError("CIE290", file=self.note_id, line=line, problem=problem)
