r"""The format of the 2010 i2b2/VA challenge: `NAME.txt`, `NAME.con`, `NAME.rel` and `NAME.ast`.

The files may be in any folders (officially `concept/`, `rel/`, `ast/` and `txt/` in a folder per hospital). An
annotation file belongs to the text of the same name with which it shares the deepest folder.

Positions are `line:token`, with lines from 1 and tokens from 0; the last token is included. Tokens are separated by
runs of spaces, but a line that starts with a space has an empty token 0, as in Java's `split(" +")`. The published
preprocessing of the clinicalBERT authors, which checks every quoted string, only passes with this rule. If the quoted
string does not match, two other tokenizations are tried (without the empty token, and with every space as a separator)
before it counts as a mismatch.

- `.con` makes concepts, numbered `C1`, `C2` … in the order of the lines.
- `.ast` makes the attribute `assertion`. The case of its type is ignored.
- `.rel` makes relations. Their ends are found by the position as written.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from .files import (
    BOM,
    NoteFile,
    find_files,
    find_notes,
    note_path,
    numbered_lines,
    read_text,
    writable_notes,
    write_text,
)
from .reading import require_notes
from .source import SourcedNote

_NUMBER = r"[0-9]{1,9}"
_NUMBERS = rf'"[ \t]+{_NUMBER}:{_NUMBER}[ \t]+{_NUMBER}:{_NUMBER}'
_PLACE = rf'c="(.*)"[ \t]+({_NUMBER}):({_NUMBER})[ \t]+({_NUMBER}):({_NUMBER})'
_BAR = r"[ \t]*\|\|[ \t]*"
# The quoted text may contain quotes and bars, but what follows cannot, so the last of each counts.
_CON = re.compile(rf'{_PLACE}{_BAR}t="([^"]+)"')
_AST = re.compile(rf'{_PLACE}{_BAR}t="([^"]+)"{_BAR}a="([^"]+)"')
# Checking the end first avoids backtracking at every pair of quotes of a hostile line.
_REL = re.compile(rf'(?=.*{_NUMBERS}\Z){_PLACE}{_BAR}r="([^"]+)"{_BAR}{_PLACE}')
_WRITABLE = re.compile(r'[^"\r\n]+')
_FOLDERS = {".con": "concept", ".rel": "rel", ".ast": "ast"}


class _Place(NamedTuple):
    """A position as written: first line and token, last line and token."""

    first_line: int
    first_token: int
    last_line: int
    last_token: int


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read a folder of i2b2 2010 files, at any depth.

    path (Path): The folder, or one .txt file, with its annotation beside it or in the folders beside `txt/`.
    report (Report): Counts what is not converted.
    YIELDS (SourcedNote): Notes, sorted by path. `file` is the .con file, if there is one.
    RAISES (ClinieError): CIE200, CIE201, CIE205 and CIE250 if there is nothing to read.
    """
    return require_notes(_read(Path(path), report), path, "i2b2", report)


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    files_by_kind = {
        kind: _files_of(path, kind) if path.is_file() else find_files(path, kind, report) for kind in _FOLDERS
    }
    found = find_notes(path, ".txt", report, files_by_kind[".con"], tuple(_FOLDERS))
    if not files_by_kind[".con"]:
        raise ClinieError("CIE205", path=path.name, suffix=".txt", missing=".con")
    annotations = _assign(files_by_kind, found, report)
    ids = _ids(found)
    for text_file, _, split in found:
        files = annotations[text_file]
        text = read_text(text_file, report)
        contents = {kind: read_text(file, report) for kind, file in files.items()}
        # Without its annotation, the note would count as one without concepts.
        if text is None or None in contents.values():
            continue
        if not text:
            report.drop("note without text", text_file)
            continue
        if ".con" not in files:
            report.mend("note without an annotation file", text_file)
        places = _Places(text)
        concepts, lines = _concepts(contents.get(".con") or "", files.get(".con", text_file), places, report)
        _add_assertions(contents.get(".ast") or "", files.get(".ast", text_file), concepts, report)
        rel = files.get(".rel", text_file)
        relations = _relations(contents.get(".rel") or "", rel, concepts, report)
        note = Note(ids[text_file], text, [concept for same in concepts.values() for concept in same])
        note.relations = [relation for relation, _ in relations]
        note.relations_known = ".rel" in files
        if not note.relations_known and files_by_kind[".rel"]:
            report.mend("note without a .rel file, its relations count as not annotated", text_file)
        note.concepts.sort(key=lambda concept: lines[concept.id])
        others = text_file, *files.values()
        relation_locations = [(rel, number) for _, number in relations]
        yield SourcedNote(note, files.get(".con", text_file), split, lines, others, relation_locations)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes in the official layout: `txt/`, `concept/`, `rel/` and `ast/`, inside the folder of the note id
    (`beth/record-1`), if any. Notes without relation annotation get no file in `rel/`. The quoted text is lower-cased,
    the text of the note is not changed.

    notes (Iterable[Note]): The notes, with space-separated tokens.
    path (Path): The folder.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE202 to CIE204 for one that cannot be written to a
        file, CIE206 for what the format cannot hold: concepts of partial tokens, fragments, attributes other than
        `assertion`.
    """
    for note in writable_notes(notes):
        contents = _contents(note)
        site, slash, name = note.id.rpartition("/")
        for suffix, folder in {".txt": "txt", **_FOLDERS}.items():
            if suffix == ".rel" and note.relations_unknown:
                continue
            place = note_path(path, f"{site}{slash}{folder}/{name}", suffix)
            write_text(place, note.text if suffix == ".txt" else "".join(f"{line}\n" for line in contents[suffix]))


class _Places:
    """The tokens of a text in several tokenizations.

    text (str): The text of a note.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokenizations: list[list[list[tuple[int, int]]]] = [[], [], []]
        # Separated by any whitespace: used only if the quoted text matches.
        self._fallbacks: list[list[list[tuple[int, int]]]] = [[], []]
        start = 0
        for number, line in enumerate(text.split("\n" if "\n" in text else "\r")):
            # A byte order mark is not part of the first token.
            skipped = 1 if number == 0 and line.startswith(BOM) else 0
            content = line[skipped:].removesuffix("\r")
            offset = start + skipped
            words = [(offset + word.start(), offset + word.end()) for word in re.finditer("[^ ]+", content)]
            pieces = [
                (offset + word.start(), offset + word.end()) for word in re.finditer("(?:^|(?<= ))[^ ]*", content)
            ]
            parts = [(offset + word.start(), offset + word.end()) for word in re.finditer(r"\S+", content)]
            empty = [(offset, offset)] if content[:1].isspace() else []
            at_blank = empty if content.startswith(" ") else []
            counted = at_blank + words, words, pieces, empty + parts, parts
            for tokenization, tokens in zip((*self._tokenizations, *self._fallbacks), counted, strict=True):
                tokenization.append(tokens)
            start += len(line) + 1

    def find(self, place: _Place, quoted: str) -> tuple[int, int, bool] | None:
        """Find the characters at a position.

        place (_Place): The position.
        quoted (str): The quoted text, in any case and spacing.
        RETURNS (tuple[int, int, bool] | None): First character, one past the last, and whether the quoted text matches;
            None if the position is outside the text.
        """
        wanted = "".join(quoted.lower().split())
        inside = [span for tokens in self._tokenizations if (span := _characters(tokens, place))]
        for start, end in (*inside, *(span for tokens in self._fallbacks if (span := _characters(tokens, place)))):
            if "".join(self.text[start:end].lower().split()) == wanted:
                return start, end, True
        return (*inside[0], False) if inside else None

    def edges(self) -> tuple[dict[int, tuple[int, int]], dict[int, tuple[int, int]]]:
        """RETURNS: Line and token as written, by the first character of the token and by one past its last."""
        starts, ends = {}, {}
        for line, tokens in enumerate(self._tokenizations[0], start=1):
            for index, (start, end) in enumerate(tokens):
                if start < end:
                    starts[start] = ends[end] = line, index
        return starts, ends


def _characters(lines: list[list[tuple[int, int]]], place: _Place) -> tuple[int, int] | None:
    if not (1 <= place.first_line <= len(lines) and 1 <= place.last_line <= len(lines)):
        return None
    first, last = lines[place.first_line - 1], lines[place.last_line - 1]
    if place.first_token >= len(first) or place.last_token >= len(last):
        return None
    start, end = first[place.first_token][0], last[place.last_token][1]
    return (start, end) if start < end else None


def _files_of(text: Path, kind: str) -> list[Path]:
    """The files of a kind that belong to a text: beside it or, in the official layout, in a sibling folder."""
    folders = [text.parent, *([text.parent.with_name(_FOLDERS[kind])] if text.parent.name == "txt" else [])]
    files = [file for folder in folders for file in sorted(folder.glob("*")) if file.suffix.lower() == kind]
    return [file for file in files if file.stem == text.stem]


def _assign(
    files_by_kind: dict[str, list[Path]], found: list[NoteFile], report: Report
) -> defaultdict[Path, dict[str, Path]]:
    """The annotation files of each text. A file goes to the text of the same name with which it shares most folders."""
    texts: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)  # by name and any parent folder
    for note in found:
        for folder in note.path.parents:
            texts[folder, note.path.stem].append(note.path)

    def nearest(file: Path) -> Path | None:
        """The deepest folder that a file shares with a text of its name."""
        return next((folder for folder in file.parents if (folder, file.stem) in texts), None)

    annotations: defaultdict[Path, dict[str, Path]] = defaultdict(dict)
    for kind, files in files_by_kind.items():
        folders = {file: nearest(file) for file in files}
        # Nearest first, so that predictions kept elsewhere do not replace the annotation.
        for file in sorted(files, key=lambda file: -len(folder.parts) if (folder := folders[file]) else 0):
            shared = folders[file]
            candidates = texts[shared, file.stem] if shared else []
            if not candidates:
                report.drop("annotation file without a text", file)
            elif len(candidates) > 1:
                report.drop("annotation file that matches several texts", file)
            elif kind in annotations[candidates[0]]:
                report.drop("second annotation file of a note", file)
            else:
                annotations[candidates[0]][kind] = file
    return annotations


def _ids(found: list[NoteFile]) -> dict[Path, str]:
    """The id of each text. Records with the same name get the hospital: `beth/record-1` instead of `beth/txt/record-1`,
    if that is unique."""
    short = {note.path: re.sub(r"(^|/)txt/(?=[^/]*$)", r"\1", note.id) for note in found}
    return short if len(set(short.values())) == len(short) else {note.path: note.id for note in found}


def _place(match: re.Match[str], first: int) -> _Place:
    """The position in four groups of a match, from `first` on."""
    return _Place(int(match[first]), int(match[first + 1]), int(match[first + 2]), int(match[first + 3]))


def _matches(content: str, pattern: re.Pattern[str], file: Path, report: Report) -> Iterator[tuple[int, re.Match[str]]]:
    """The well-formed lines, with their numbers."""
    for number, line in numbered_lines(content):
        match = pattern.fullmatch(line.strip(" \t"))
        if match:
            yield number, match
        elif line.strip(" \t"):
            report.drop("malformed line", file, number)


def _concepts(
    content: str, file: Path, places: _Places, report: Report
) -> tuple[dict[_Place, list[Concept]], dict[str, int]]:
    """The concepts of a .con file by position, and the line of each by its id."""
    concepts: defaultdict[_Place, list[Concept]] = defaultdict(list)
    lines: dict[str, int] = {}
    for number, match in _matches(content, _CON, file, report):
        place, label = _place(match, 2), match[6]
        characters = places.find(place, match[1])
        if characters is None:
            report.drop("position outside the text", file, number)
        elif any(concept.label == label for concept in concepts[place]):
            report.leave_out("duplicate concept", file, number)
        else:
            start, end, agrees = characters
            if not agrees:
                report.mend("quoted text differs from the text at its position", file, number)
            concept = Concept(f"C{len(lines) + 1}", start, end, label)
            concepts[place].append(concept)
            lines[concept.id] = number
    return dict(concepts), lines


def _add_assertions(content: str, file: Path, concepts: dict[_Place, list[Concept]], report: Report) -> None:
    """Add the assertions of an .ast file to concepts."""
    for number, match in _matches(content, _AST, file, report):
        label, assertion = match[6], match[7]
        alike = [each for each in concepts.get(_place(match, 2), ()) if each.label.lower() == label.lower()]
        concept = min(alike, key=lambda each: each.label != label, default=None)
        if concept is None:
            report.drop("assertion without a matching concept", file, number)
        elif concept.attributes.setdefault("assertion", assertion) != assertion:
            report.drop("second assertion of a concept", file, number)


def _relations(
    content: str, file: Path, concepts: dict[_Place, list[Concept]], report: Report
) -> list[tuple[Relation, int]]:
    """The relations of a .rel file, and the line of each."""
    relations: dict[tuple[str, str, str], tuple[Relation, int]] = {}
    for number, match in _matches(content, _REL, file, report):
        heads, tails = concepts.get(_place(match, 2)), concepts.get(_place(match, 8))
        if not heads or not tails:
            report.drop("relation to a missing concept", file, number)
            continue
        if len(heads) > 1 or len(tails) > 1:
            report.mend("relation to a position with several concepts, the first was used", file, number)
        relation = Relation(heads[0].id, tails[0].id, match[6])
        if relations.setdefault((relation.head, relation.tail, relation.label), (relation, number))[1] != number:
            report.leave_out("duplicate relation", file, number)
    return list(relations.values())


def _contents(note: Note) -> dict[str, list[str]]:
    """The lines of the annotation files of a note, by suffix."""
    starts, ends = _Places(note.text).edges()
    quoted: dict[str, str] = {}
    contents: dict[str, list[str]] = {kind: [] for kind in _FOLDERS}
    for concept in note.concepts:
        problem = None
        if concept.start not in starts or concept.end not in ends:
            problem = "it does not start and end at space-separated tokens"
        elif concept.fragments:
            problem = "it has several fragments"
        elif concept.attributes.keys() - {"assertion"}:
            problem = "it has an attribute other than an assertion"
        elif not all(_WRITABLE.fullmatch(value) for value in (concept.label, *concept.attributes.values())):
            problem = "its type or assertion is empty or contains a quote or line break"
        if problem:
            raise ClinieError("CIE206", kind="Concept", name=concept.id, note=note.id, format="i2b2", problem=problem)
        text = re.sub(r"\s", " ", note.text[concept.start : concept.end].lower())
        (line, token), (last_line, last_token) = starts[concept.start], ends[concept.end]
        quoted[concept.id] = f'c="{text}" {line}:{token} {last_line}:{last_token}'
        contents[".con"].append(f'{quoted[concept.id]}||t="{concept.label}"')
        if concept.attributes:
            assertion = concept.attributes["assertion"]
            contents[".ast"].append(f'{quoted[concept.id]}||t="{concept.label}"||a="{assertion}"')
    contents[".rel"] = list(_relation_lines(note, quoted))
    return contents


def _relation_lines(note: Note, quoted: dict[str, str]) -> Iterator[str]:
    """The lines of a .rel file. A position with several concepts means the first of them."""
    first: dict[str, str] = {}
    for concept in note.concepts:
        first.setdefault(quoted[concept.id], concept.id)
    for relation in note.relations:
        problem = None
        if not _WRITABLE.fullmatch(relation.label):
            problem = "its type is empty or contains a quote or line break"
        elif any(first[quoted[end]] != end for end in (relation.head, relation.tail)):
            problem = "one of its ends shares its position with another concept"
        if problem:
            raise ClinieError(
                "CIE206", kind="Relation", name=relation.label, note=note.id, format="i2b2", problem=problem
            )
        yield f'{quoted[relation.head]}||r="{relation.label}"||{quoted[relation.tail]}'
