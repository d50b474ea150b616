r"""brat standoff: a folder of `NAME.txt` and `NAME.ann` pairs.

What becomes what:
- `T` (text-bound): a concept. Fragments are put in text order, overlapping or adjoining ones are kept as they are.
- `R`: a relation from `Arg1` to `Arg2`, or from the argument that is named first if they are called otherwise. Event
  arguments stand for the event's trigger.
- `E` (event): a relation from the trigger to each argument, named by the role without its number (`Type2`: `Type`).
  An event without arguments is another name for its trigger.
- `A`, `M` (attributes) and `N` (normalisations): attributes of the concept or of the event's trigger, `true` if binary.
  The name behind a normalisation's reference is left out, and counted.
- `*` (relations of any number of members): left out, and counted, unless the caller wants those of a type as a relation
  between every two members.
- `#` (annotators' notes): left out, and counted.

Offsets count characters of the file as it is, carriage returns and a byte order mark among them. Where the recorded
strings show that they were counted otherwise, they are translated; the text is never changed. Files from annotation
tools differ in tabs and blanks, so either separates fields.

Written are `T`, `R` and `A` lines; scores have no place in brat. A line end inside a concept stays inside one fragment,
and is a blank in the recorded string.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ..doc.note import Concept, Note, Relation, joined
from ..doc.report import Report
from ..errors import ClinieError
from .bundle import at_least_one
from .files import by_stem, find_files, find_notes, for_files, note_path, numbered_lines, read_text, write_text
from .offsets import counted_otherwise
from .source import SourcedNote

_BLANKS = re.compile(r"[ \t]+")
# At most nine digits: an offset that no file can have is a malformed line, not a very large number.
_PAIR = r"[0-9]{1,9}[ \t]+[0-9]{1,9}"
# No tab around a semicolon: behind a tab the recorded string begins, which can look like another fragment.
_SPAN = re.compile(rf"([^ \t]+)[ \t]+({_PAIR}(?: *; *{_PAIR})*)(?:[ \t](.*))?", re.DOTALL)
# Of a broken line, the rest may begin with any word; behind an id stands a tab.
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
    report (Report): Counts what is not carried over.
    pairwise (Collection[str]): Types of `*` lines to read as a relation from each member to each later one.
    YIELDS (SourcedNote): Notes in the order of their paths, in the corpus' own types.
    RAISES (ClinieError): CIE200, CIE201, CIE205 and CIE250 if there is nothing to read.
    """
    return at_least_one(_read(Path(path), report, pairwise), path, "brat", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as brat files. Ids that are not `T` and a number are replaced by such.

    notes (Iterable[Note]): The notes.
    path (Path): The folder.
    RAISES (ClinieError): CIE004 to CIE006 for a note that is not whole, CIE202 to CIE204 for one that cannot be a
        file, CIE206 for a type or attribute that brat's lines cannot hold.
    """
    for note in for_files(notes):
        annotation = "".join(f"{line}\n" for line in _lines(note))
        write_text(note_path(path, note.id, ".txt"), note.text)
        write_text(note_path(path, note.id, ".ann"), annotation)


def can_hold(label: str) -> bool:
    """Whether brat's lines can hold a type.

    label (str): The type.
    RETURNS (bool): False for one that is empty or has a blank in it.
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
    _join_folders(annotated, [text_file.with_suffix("") for text_file, _, _ in found], report)
    for text_file, note_id, split in found:
        file = annotated.get(text_file.with_suffix(""), text_file.with_suffix(".ann"))
        text = read_text(text_file, report)
        lines: str | None = ""
        if text_file.with_suffix("") in annotated:
            lines = read_text(file, report)
        else:
            report.mend("note without an annotation file", text_file)
        # A note whose annotation cannot be read would count as one that has nothing to annotate.
        if text is None or lines is None:
            continue
        if not text:
            report.mend("note without text, kept", text_file)
        annotation = _Annotation(file, report, pairwise)
        for number, line in numbered_lines(lines):
            annotation.take(number, line)
        note = annotation.note(note_id, text)
        yield SourcedNote(note, file, split, annotation.lines, relations_at=annotation.relations_at)


def _join_folders(annotated: dict[Path, Path], texts: Sequence[Path], report: Report) -> None:
    """Give texts without annotations those of another folder, where one file of each kind has the name.

    annotated (dict[Path, Path]): Files of annotations by their paths without suffix; those of other folders get the
        path of their text.
    texts (Sequence[Path]): Texts without suffix.
    report (Report): Counts what is joined, and what is left over.
    """
    there = set(texts)
    alone = [stem for stem in annotated if stem not in there]
    waiting = {text.name: text for text in texts if text not in annotated}
    named = Counter(stem.name for stem in [*alone, *texts])
    for stem in alone:
        file = annotated.pop(stem)
        if stem.name in waiting and named[stem.name] == 2:
            annotated[waiting[stem.name]] = file
            report.mend("annotation file in another folder than its text", file)
        else:
            report.drop("annotation file without a text", file)


class _Annotation:
    """One .ann file: first every line is taken, then ids are resolved, since they may be used before they are defined.

    file (Path): The file, for remarks.
    report (Report): Takes the remarks.
    pairwise (Collection[str]): See `read`.
    """

    def __init__(self, file: Path, report: Report, pairwise: Collection[str]) -> None:
        self.file = file
        self.report = report
        self._pairwise = pairwise
        self.lines: dict[str, int] = {}
        self.relations_at: list[tuple[Path, int]] = []
        self._spans: dict[str, _Span] = {}
        self._triggers: dict[str, _Event] = {}
        self._links: list[_Link] = []
        self._values: list[_Value] = []
        self._seen: set[str] = set()

    def take(self, number: int, line: str) -> None:
        """Take one line.

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
            self.report.drop("line of an unknown kind", self.file, number)
        elif key in self._seen and kind in "TE":
            self.report.drop("id given twice", self.file, number)
        elif not self._parse(number, kind, key, rest):
            self.report.drop("malformed line", self.file, number)
        elif key in self._seen:
            # Nothing refers to the ids of relations and attributes (but remarks do), so both can stay.
            self.report.mend("id given twice, both kept", self.file, number)
        else:
            self._seen.add(key)

    def note(self, note_id: str, text: str) -> Note:
        """Put the lines together.

        note_id (str): The note's id.
        text (str): The text as it stands in the file.
        RETURNS (Note): The note; offsets that are kept are inside its text.
        """
        self._translate(text)
        concepts = {span.id: concept for span in self._spans.values() if (concept := self._concept(span, text))}
        self.lines = {key: self._spans[key].line for key in concepts}
        events: dict[str, str] = {}
        triggers: set[str] = set()
        for event, (number, label, trigger) in self._triggers.items():
            if trigger not in concepts:
                self.report.drop("event without its trigger", self.file, number)
                continue
            if trigger in triggers:
                self.report.mend("two events with one trigger: put together", self.file, number)
            events[event] = trigger
            triggers.add(trigger)
            if label != concepts[trigger].label:
                self.report.mend("event and trigger of two types, the trigger's was kept", self.file, number)
        relations = []
        for number, label, *ends in self._links:
            head, tail = (events.get(end, end) for end in ends)
            if head not in concepts or tail not in concepts:
                self.report.drop("relation to a missing id", self.file, number)
            else:
                relations.append(Relation(head, tail, label))
                self.relations_at.append((self.file, number))
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
        if kind == "N" and len(fields) > 3:  # behind the reference of a normalisation stands a name
            self.report.leave_out("name behind the reference of a normalisation", self.file, number)
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
            self.report.mend("recorded string differs from the text at its offsets", self.file, span.line)
        return Concept(span.id, start, end, span.label, fragments=fragments if len(fragments) > 1 else [])

    def _add_value(self, concept: Concept | None, value: _Value) -> None:
        if concept is None:
            self.report.drop("attribute of something that is no concept", self.file, value.line)
            return
        known = concept.attributes.get(value.name)
        if known is None:
            concept.attributes[value.name] = value.value
        elif (both := joined(known, value.value)) == known:
            self.report.leave_out("identical attribute given twice", self.file, value.line)
        else:
            self.report.mend("attribute with several values, joined by |", self.file, value.line)
            concept.attributes[value.name] = both

    def _translate(self, text: str) -> None:
        """Bring offsets to characters of the text."""
        spans = [span for span in self._spans.values() if span.recorded.strip()]

        def agreeing(character: Callable[[int], int]) -> int:
            return sum(_agrees(_translated(span, character), text) for span in spans)

        counted = counted_otherwise(text, agreeing, len(spans))
        if counted:
            self.report.mend(f"offsets count {counted.name}: translated to characters of the file", self.file)
            self._spans = {key: _translated(span, counted.character) for key, span in self._spans.items()}


def _argument(field: str) -> tuple[str, str] | None:
    """The two sides of `Role:Id`."""
    role, _, target = field.rpartition(":")
    return (role, target) if role and target else None


def _agrees(span: _Span, text: str) -> bool:
    """Whether the recorded string is what stands in the text, apart from how much blank there is: brat joins
    fragments by a blank and writes line ends as blanks."""
    return span.recorded.split() == " ".join(text[start:end] for start, end in span.fragments).split()


def _translated(span: _Span, character: Callable[[int], int]) -> _Span:
    return span._replace(fragments=[(character(start), character(end)) for start, end in span.fragments])


def _lines(note: Note) -> Iterator[str]:
    """The lines of a note's .ann file."""
    ids = _brat_ids(note)
    for concept in note.concepts:
        if not can_hold(concept.label):
            raise _unwritable(note, "Concept", concept.id, "its type is empty or holds a blank")
        pieces = concept.fragments or [concept.offsets]
        spans = ";".join(f"{start} {end}" for start, end in pieces)
        recorded = " ".join(re.sub(r"\s", " ", note.text[start:end]) for start, end in pieces)
        yield f"{ids[concept.id]}\t{concept.label} {spans}\t{recorded}"
    for number, relation in enumerate(note.relations, start=1):
        if not can_hold(relation.label):
            raise _unwritable(note, "Relation", relation.label, "its type is empty or holds a blank")
        yield f"R{number}\t{relation.label} Arg1:{ids[relation.head]} Arg2:{ids[relation.tail]}"
    values = [(concept, *item) for concept in note.concepts for item in concept.attributes.items()]
    for number, (concept, name, value) in enumerate(values, start=1):
        if not _WORD.fullmatch(name) or not _WORDS.fullmatch(value):
            raise _unwritable(
                note, "Concept", concept.id, "an attribute is empty, of several lines, or begins or ends with a blank"
            )
        yield f"A{number}\t{name} {ids[concept.id]}" + ("" if value == "true" else f" {value}")


def _unwritable(note: Note, kind: str, name: str, problem: str) -> ClinieError:
    return ClinieError("CIE206", kind=kind, name=name, note=note.id, format="brat", problem=problem)


def _brat_ids(note: Note) -> dict[str, str]:
    """The id of each concept in the file: its own if it is one of brat's, a number that is free otherwise."""
    ids = {concept.id: concept.id for concept in note.concepts if _NUMBERED.fullmatch(concept.id)}
    number = 0
    for concept in note.concepts:
        while concept.id not in ids:
            number += 1
            if f"T{number}" not in ids:
                ids[concept.id] = f"T{number}"
    return ids
