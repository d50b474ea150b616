r"""brat standoff: a folder of `NAME.txt` and `NAME.ann` pairs.

Lines are read as follows:
- `T` (text-bound): a concept. Fragments are sorted by offset; overlapping or adjacent ones are not merged.
- `R`: a relation from `Arg1` to `Arg2`, or from the first to the second argument if they have other names. An event as
  argument means its trigger.
- `E` (event): a relation from the trigger to each argument, named by the role without its number (`Type2`: `Type`).
  An event without arguments is an alias of its trigger.
- `A`, `M` (attributes) and `N` (normalisations): attributes of the concept or of the event's trigger, `true` if binary.
  The name after the reference of a normalisation is left out and counted.
- `*` (relations of any number of members): left out and counted, unless the caller asks to read a type as a relation
  between every two members.
- `#` (annotators' notes): left out and counted.

Offsets count characters of the unchanged file, including carriage returns and a byte order mark. If the recorded
strings show another unit, offsets are converted; the text is never changed. Files differ in tabs and spaces, so either
separates fields.

`T`, `R` and `A` lines are written; brat cannot hold scores. A line end inside a concept stays inside one fragment and
becomes a space in the recorded string.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ..doc.note import Concept, Note, Relation, merge_values
from ..doc.report import Report
from ..errors import ClinieError
from .files import by_stem, find_files, find_notes, note_path, numbered_lines, read_text, writable_notes, write_text
from .offsets import detect_offset_map
from .reading import require_notes
from .source import SourcedNote

_BLANKS = re.compile(r"[ \t]+")
# At most nine digits: a larger offset makes a malformed line.
_PAIR = r"[0-9]{1,9}[ \t]+[0-9]{1,9}"
# No tab around a semicolon: after a tab comes the recorded string, which can look like another fragment.
_SPAN = re.compile(rf"([^ \t]+)[ \t]+({_PAIR}(?: *; *{_PAIR})*)(?:[ \t](.*))?", re.DOTALL)
# The rest of a broken line may start with any word, but only an id is followed by a tab.
_ID = re.compile(r"[A-Z][0-9]+\S*")
_NUMBERED = re.compile(r"T[0-9]+")
_WORD = re.compile(r"[^ \t\r\n]+")
_WORDS = re.compile(r"[^ \t\r\n](?:[^\r\n]*[^ \t\r\n])?")


class _Span(NamedTuple):
    line: int
    id: str
    label: str
    fragments: list[tuple[int, int]]
    recorded: str


class _Event(NamedTuple):
    line: int
    label: str
    trigger: str


class _Link(NamedTuple):
    line: int
    label: str
    head: str
    tail: str


class _Value(NamedTuple):
    line: int
    name: str
    target: str
    value: str


def read(path: Path, report: Report, *, pairwise: Collection[str] = ()) -> Iterator[SourcedNote]:
    """Read a folder of brat files, at any depth.

    path (Path): The folder, or one .txt file.
    report (Report): Counts what is not converted.
    pairwise (Collection[str]): Types of `*` lines to read as a relation from each member to each later one.
    YIELDS (SourcedNote): Notes, sorted by path, in the types of the corpus.
    RAISES (ClinieError): CIE200, CIE201, CIE205 and CIE250 if there is nothing to read.
    """
    return require_notes(_read(Path(path), report, pairwise), path, "brat", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as brat files. Concept ids that are not `T` and a number are replaced.

    notes (Iterable[Note]): The notes.
    path (Path): The folder.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE202 to CIE204 for one that cannot be written to a
        file, CIE206 for a type or attribute that brat cannot hold.
    """
    for note in writable_notes(notes):
        annotation = "".join(f"{line}\n" for line in _lines(note))
        write_text(note_path(path, note.id, ".txt"), note.text)
        write_text(note_path(path, note.id, ".ann"), annotation)


def is_valid_type(label: str) -> bool:
    """Whether brat can hold a type.

    label (str): The type.
    RETURNS (bool): False if it is empty or contains whitespace.
    """
    return _WORD.fullmatch(label) is not None


def _read(path: Path, report: Report, pairwise: Collection[str]) -> Iterator[SourcedNote]:
    if path.is_file():
        files = [file for file in sorted(path.parent.glob("*")) if file.suffix.lower() == ".ann"]
        files = [file for file in files if file.stem == path.stem]
    else:
        files = find_files(path, ".ann", report)
    annotated = by_stem(files, report)
    found = find_notes(path, ".txt", report, annotated.values(), (".ann",))
    if not annotated:
        raise ClinieError("CIE205", path=path.name, suffix=".txt", missing=".ann")
    _match_across_folders(annotated, [text_file.with_suffix("") for text_file, _, _ in found], report)
    for text_file, note_id, split in found:
        file = annotated.get(text_file.with_suffix(""), text_file.with_suffix(".ann"))
        text = read_text(text_file, report)
        lines: str | None = ""
        if text_file.with_suffix("") in annotated:
            lines = read_text(file, report)
        else:
            report.mend("note without an annotation file", text_file)
        # Without its annotation, the note would count as one without concepts.
        if text is None or lines is None:
            continue
        if not text:
            report.mend("note without text, kept", text_file)
        annotation = _Annotation(file, report, pairwise)
        for number, line in numbered_lines(lines):
            annotation.read_line(number, line)
        note = annotation.note(note_id, text)
        yield SourcedNote(note, file, split, annotation.lines, relation_locations=annotation.relation_locations)


def _match_across_folders(annotated: dict[Path, Path], texts: Sequence[Path], report: Report) -> None:
    """Match texts with annotation files in other folders, if the name is unique.

    annotated (dict[Path, Path]): Annotation files by path without suffix. For a match, the key becomes the path of the
        text.
    texts (Sequence[Path]): Paths of the texts without suffix.
    report (Report): Counts matched and unmatched files.
    """
    there = set(texts)
    alone = [stem for stem in annotated if stem not in there]
    missing = {text.name: text for text in texts if text not in annotated}
    named = Counter(stem.name for stem in [*alone, *texts])
    for stem in alone:
        file = annotated.pop(stem)
        if stem.name in missing and named[stem.name] == 2:
            annotated[missing[stem.name]] = file
            report.mend("annotation file in another folder than its text", file)
        else:
            report.drop("annotation file without a text", file)


class _Annotation:
    """One .ann file. All lines are read before ids are resolved, because an id may be used before it is defined.

    file (Path): The file, for remarks.
    report (Report): Collects the remarks.
    pairwise (Collection[str]): See `read`.
    """

    def __init__(self, file: Path, report: Report, pairwise: Collection[str]) -> None:
        self.file = file
        self.report = report
        self._pairwise = pairwise
        self.lines: dict[str, int] = {}
        self.relation_locations: list[tuple[Path, int]] = []
        self._spans: dict[str, _Span] = {}
        self._triggers: dict[str, _Event] = {}
        self._links: list[_Link] = []
        self._values: list[_Value] = []
        self._seen: set[str] = set()

    def read_line(self, number: int, line: str) -> None:
        """Read one line.

        number (int): Its number.
        line (str): Its text.
        """
        fields = _BLANKS.split(line.strip(" \t"), maxsplit=1)
        key, rest = fields[0], fields[-1] if len(fields) == 2 else ""
        kind = key[:1]
        if not kind:
            return
        if kind == "#":
            self.report.leave_out("annotator's note", self.file, number)
        elif kind == "*" and _BLANKS.split(rest)[0] in self._pairwise:
            label, *members = _BLANKS.split(rest)
            self._links += [_Link(number, label, head, tail) for head, tail in combinations(members, 2)]
            if len(members) < 2:
                self.report.leave_out("relation of fewer than two members (* line)", self.file, number)
        elif kind == "*":
            self.report.leave_out("relation of any number of members (* line)", self.file, number)
        elif kind not in "TREAMN" or not (_ID.fullmatch(key) or line.strip(" \t")[len(key) :].startswith("\t")):
            self.report.drop("unknown kind of line", self.file, number)
        elif key in self._seen and kind in "TE":
            self.report.drop("duplicate id", self.file, number)
        elif not self._parse(number, kind, key, rest):
            self.report.drop("malformed line", self.file, number)
        elif key in self._seen:
            # Only remarks refer to the ids of relations and attributes, so both can be kept.
            self.report.mend("duplicate id, both kept", self.file, number)
        else:
            self._seen.add(key)

    def note(self, note_id: str, text: str) -> Note:
        """Make a note from the lines.

        note_id (str): The id of the note.
        text (str): The unchanged text of the file.
        RETURNS (Note): The note. All its offsets are inside the text.
        """
        self._convert_offsets(text)
        concepts = {span.id: concept for span in self._spans.values() if (concept := self._concept(span, text))}
        self.lines = {key: self._spans[key].line for key in concepts}
        events: dict[str, str] = {}
        triggers: set[str] = set()
        for event, (number, label, trigger) in self._triggers.items():
            if trigger not in concepts:
                self.report.drop("event without its trigger", self.file, number)
                continue
            if trigger in triggers:
                self.report.mend("two events with the same trigger, merged", self.file, number)
            events[event] = trigger
            triggers.add(trigger)
            if label != concepts[trigger].label:
                self.report.mend("event and trigger of different types, the trigger's was kept", self.file, number)
        relations = []
        for number, label, *ends in self._links:
            head, tail = (events.get(end, end) for end in ends)
            if head not in concepts or tail not in concepts:
                self.report.drop("relation to a missing id", self.file, number)
            else:
                relations.append(Relation(head, tail, label))
                self.relation_locations.append((self.file, number))
        for value in self._values:
            self._add_value(concepts.get(events.get(value.target, value.target)), value)
        return Note(note_id, text, list(concepts.values()), relations)

    def _parse(self, number: int, kind: str, key: str, rest: str) -> bool:
        """Parse what follows the id. RETURNS (bool): Whether the line is well formed."""
        if kind == "T":
            return self._parse_span(number, key, rest)
        fields = _BLANKS.split(rest) if rest else []
        if kind == "R":
            return self._parse_relation(number, fields)
        if kind == "E":
            return self._parse_event(number, key, fields)
        if kind == "N" and len(fields) > 3:  # the reference of a normalisation is followed by a name
            self.report.leave_out("name after the reference of a normalisation", self.file, number)
        return self._parse_value(number, fields[:3] if kind == "N" else _BLANKS.split(rest, maxsplit=2))

    def _parse_span(self, number: int, key: str, rest: str) -> bool:
        match = _SPAN.fullmatch(rest)
        if match is not None:
            pairs = (pair.split() for pair in match[2].split(";"))
            fragments = [(int(start), int(end)) for start, end in pairs]
            self._spans[key] = _Span(number, key, match[1], fragments, match[3] or "")
        return match is not None

    def _parse_relation(self, number: int, fields: list[str]) -> bool:
        arguments = [argument for argument in map(_argument, fields[1:]) if argument]
        if len(fields) != 3 or len(arguments) != 2:
            return False
        if [role.lower() for role, _ in arguments] == ["arg2", "arg1"]:
            arguments.reverse()
        self._links.append(_Link(number, fields[0], arguments[0][1], arguments[1][1]))
        return True

    def _parse_event(self, number: int, key: str, fields: list[str]) -> bool:
        arguments = [argument for argument in map(_argument, fields) if argument]
        links = [_Link(number, role.rstrip("0123456789"), key, target) for role, target in arguments[1:]]
        if not arguments or len(arguments) != len(fields) or not all(link.label for link in links):
            return False
        self._triggers[key] = _Event(number, *arguments[0])
        self._links += links
        return True

    def _parse_value(self, number: int, fields: list[str]) -> bool:
        if len(fields) >= 2:
            self._values.append(_Value(number, fields[0], fields[1], "".join(fields[2:]) or "true"))
        return len(fields) >= 2

    def _concept(self, span: _Span, text: str) -> Concept | None:
        if any(start >= end for start, end in span.fragments):
            self.report.drop("span that is empty or ends before it starts", self.file, span.line)
            return None
        fragments = sorted(span.fragments)
        start, end = fragments[0][0], max(end for _, end in fragments)
        if end > len(text):
            self.report.drop("offset past the end of the text", self.file, span.line)
            return None
        if not _agrees(span, text):
            self.report.mend("recorded text differs from the text at the offsets", self.file, span.line)
        return Concept(span.id, start, end, span.label, fragments=fragments if len(fragments) > 1 else [])

    def _add_value(self, concept: Concept | None, value: _Value) -> None:
        if concept is None:
            self.report.drop("attribute of something that is not a concept", self.file, value.line)
            return
        known = concept.attributes.get(value.name)
        if known is None:
            concept.attributes[value.name] = value.value
        elif (both := merge_values(known, value.value)) == known:
            self.report.leave_out("duplicate attribute", self.file, value.line)
        else:
            self.report.mend("attribute with several values, joined by |", self.file, value.line)
            concept.attributes[value.name] = both

    def _convert_offsets(self, text: str) -> None:
        """Convert offsets to characters of the text."""
        spans = [span for span in self._spans.values() if span.recorded.strip()]

        def agreeing(character: Callable[[int], int]) -> int:
            return sum(_agrees(_converted(span, character), text) for span in spans)

        offset_map = detect_offset_map(text, agreeing, len(spans))
        if offset_map:
            self.report.mend(f"offsets count {offset_map.name}, converted to characters of the file", self.file)
            self._spans = {key: _converted(span, offset_map.to_character) for key, span in self._spans.items()}


def _argument(field: str) -> tuple[str, str] | None:
    """The two sides of `Role:Id`."""
    role, _, target = field.rpartition(":")
    return (role, target) if role and target else None


def _agrees(span: _Span, text: str) -> bool:
    """Whether the recorded string matches the text, up to the amount of whitespace: brat joins fragments with a space
    and writes line ends as spaces."""
    return span.recorded.split() == " ".join(text[start:end] for start, end in span.fragments).split()


def _converted(span: _Span, character: Callable[[int], int]) -> _Span:
    return span._replace(fragments=[(character(start), character(end)) for start, end in span.fragments])


def _lines(note: Note) -> Iterator[str]:
    """The lines of a note's .ann file."""
    ids = _brat_ids(note)
    for concept in note.concepts:
        if not is_valid_type(concept.label):
            raise _unwritable(note, "Concept", concept.id, "its type is empty or contains whitespace")
        pieces = concept.fragments or [concept.offsets]
        spans = ";".join(f"{start} {end}" for start, end in pieces)
        recorded = " ".join(re.sub(r"\s", " ", note.text[start:end]) for start, end in pieces)
        yield f"{ids[concept.id]}\t{concept.label} {spans}\t{recorded}"
    for number, relation in enumerate(note.relations, start=1):
        if not is_valid_type(relation.label):
            raise _unwritable(note, "Relation", relation.label, "its type is empty or contains whitespace")
        yield f"R{number}\t{relation.label} Arg1:{ids[relation.head]} Arg2:{ids[relation.tail]}"
    values = [(concept, *item) for concept in note.concepts for item in concept.attributes.items()]
    for number, (concept, name, value) in enumerate(values, start=1):
        if not _WORD.fullmatch(name) or not _WORDS.fullmatch(value):
            raise _unwritable(
                note,
                "Concept",
                concept.id,
                "an attribute is empty, has several lines, or starts or ends with whitespace",
            )
        yield f"A{number}\t{name} {ids[concept.id]}" + ("" if value == "true" else f" {value}")


def _unwritable(note: Note, kind: str, name: str, problem: str) -> ClinieError:
    return ClinieError("CIE206", kind=kind, name=name, note=note.id, format="brat", problem=problem)


def _brat_ids(note: Note) -> dict[str, str]:
    """The brat id of each concept: its own if valid, otherwise a free number."""
    ids = {concept.id: concept.id for concept in note.concepts if _NUMBERED.fullmatch(concept.id)}
    number = 0
    for concept in note.concepts:
        while concept.id not in ids:
            number += 1
            if f"T{number}" not in ids:
                ids[concept.id] = f"T{number}"
    return ids
