"""The JSON lines of PHEE with nested events, flattened around drugs: every argument becomes a concept, and the effect
and the treatment arguments of an event become relations to each of its drugs.

    {"id", "context", "annotations": [{"events": [{"event_type": "Adverse_event",
      "Effect": {"text": [["rash"]], "start": [[20]], "entity_id": ["T1"]},
      "Treatment": {"Drug": {…}, "Disorder": {…}, "Route": {…}}, "Subject": {"Age": {…}}}]}]}

The outer list of an argument holds its mentions, the inner list the fragments of a mention, not always in text order.
Triggers, the spans of the whole subject and treatment, and attributes of the event itself are left out.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..doc.note import Concept, Note, Relation
from ..doc.report import Report
from ..errors import ClinieError
from .atomic import atomic_write
from .files import field_name
from .jsonl import json_lines
from .offsets import detect_offset_map
from .reading import UniqueIds, find_corpus_files, offsets_problem, repair, require_notes
from .source import SourcedNote

SUFFIXES = (".json", ".jsonl")
EFFECTS = {"Adverse_event": "ADE", "Potential_therapeutic_event": "Benefit"}
SUBJECT = {label: label for label in ("Age", "Gender", "Population", "Race")}
TREATMENT = {
    "Drug": "Drug",
    "Disorder": "Reason",
    "Route": "Route",
    "Dosage": "Dosage",
    "Duration": "Duration",
    "Time_elapsed": "Time_elapsed",
    "Freq": "Frequency",
}
_SENTENCE = {"id", "context", "annotations"}
_ARGUMENT = {"text", "start", "entity_id"}
_NO_ARGUMENT = {"event_id", "event_type"}
# Parts that have no flat form, by the part of the event that holds them.
_IGNORED = {
    "event": {"Trigger", "Negated", "Speculated", "Severity"},
    "Subject": {"Disorder"},
    "Treatment": {"Combination"},
}


def read(path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read sentences of PHEE. The file name is the split.

    path (Path): A file, or a folder with `train.json`, `dev.json` and `test.json`.
    report (Report): Counts what is left out or cannot be read.
    YIELDS (SourcedNote): A note per sentence, with unique concepts in text order.
    RAISES (ClinieError): CIE200, CIE201, CIE250 if there is nothing to read.
    """
    return require_notes(_read(path, report), path, "phee-json", report)


def write(notes: Iterable[Note], path: Path) -> None:
    """Write notes as events from which `read` makes the same concepts and relations. An event holds all concepts that
    are related to the same drugs. Scores and attributes of concepts are not written.

    notes (Iterable[Note]): Notes in the types of PHEE.
    path (Path): The file, written atomically.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note, CIE252 for a type that PHEE does not have.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for note in notes:
            note.check()
            record = {"id": note.id, "context": note.text, "annotations": [{"events": _events(note)}]}
            out.write(json.dumps(record) + "\n")


def _read(path: Path, report: Report) -> Iterator[SourcedNote]:
    ids = UniqueIds(report)
    for file, split in find_corpus_files(path, SUFFIXES, report):
        for number, record in json_lines(file, report):
            try:
                reader = _SentenceReader(record["id"], record["context"], report, file, number)
                events = [event for annotation in record["annotations"] for event in annotation["events"]]
                reader.report_unused_fields("sentence", record, _SENTENCE)
                for annotation in record["annotations"]:
                    reader.report_unused_fields("annotation", annotation, {"events"})
            except (KeyError, TypeError):
                report.drop("line is not a sentence with events", file, number)
                continue
            reader.detect_unit(events)
            for event in events:
                try:
                    reader.add(event)
                except (KeyError, TypeError, AttributeError):
                    report.drop("malformed event", file, number)
            note = reader.note()
            repair(note, report, file, number)
            note.id = ids.assign(note.id, file, number)
            yield SourcedNote(note, file, split, {concept.id: number for concept in note.concepts})


class _SentenceReader:
    """Collects the unique concepts and relations of one sentence from its events."""

    def __init__(self, note_id: Any, text: Any, report: Report, file: Path, line: int) -> None:
        if not isinstance(text, str):
            raise TypeError("context is not a string")
        if isinstance(note_id, bool) or not isinstance(note_id, (str, int)):
            raise TypeError("id is neither a string nor an integer")
        self.id, self.text = str(note_id), text
        self.report, self.file, self.line = report, file, line
        self.concepts: dict[tuple[tuple[tuple[int, int], ...], str], Concept] = {}
        self.relations: dict[tuple[str, str, str], Relation] = {}
        self.ids: set[str] = set()
        self._character: Callable[[int], int] = int

    def report_unused_fields(self, what: str, record: Mapping[str, Any], read: set[str]) -> None:
        """Count the unused fields of an object."""
        for key in record.keys() - read:
            self.report.leave_out(f"unused field of the {what}: {field_name(key)}", self.file, self.line)

    def detect_unit(self, events: Sequence[Any]) -> None:
        """Detect the unit of all start offsets, if they do not count characters."""
        recorded = list(_recorded(events))

        def agreeing(character: Callable[[int], int]) -> int:
            return sum(self.text.startswith(text, max(character(start), 0)) for text, start in recorded)

        offset_map = detect_offset_map(self.text, agreeing, len(recorded))
        if offset_map:
            self.report.mend(f"offsets count {offset_map.name}, converted to characters", self.file, self.line)
            self._character = offset_map.to_character

    def add(self, event: Mapping[str, Any]) -> None:
        """Add the arguments of an event, and the relations to its drugs."""
        effect = EFFECTS.get(event["event_type"])
        if effect is None:
            self.report.drop("event of an unknown type", self.file, self.line)
            return
        about = self._part(event, "event", {"Effect": effect}, _NO_ARGUMENT | {"Subject", "Treatment"})
        if "Subject" in event:
            self._part(event["Subject"], "Subject", SUBJECT, set())
        if "Treatment" in event:
            about += self._part(event["Treatment"], "Treatment", TREATMENT, set())
        drugs = [concept for concept in about if concept.label == "Drug"]
        for concept in about:
            for drug in drugs if concept.label != "Drug" else ():
                label = f"{concept.label}-Drug"
                self.relations[concept.id, drug.id, label] = Relation(concept.id, drug.id, label)

    def note(self) -> Note:
        """The sentence as a note."""
        concepts = sorted(self.concepts.values(), key=lambda concept: (concept.offsets, concept.label))
        return Note(self.id, self.text, concepts, list(self.relations.values()))

    def _part(self, part: Mapping[str, Any], name: str, types: Mapping[str, str], passed: set[str]) -> list[Concept]:
        found = []
        for key, value in part.items():
            if key in types:
                found += self._argument(value, types[key])
            elif key in _IGNORED[name]:
                count = len(value) if isinstance(value, list) else 1
                self.report.leave_out(f"{key} of {name}", self.file, self.line, count)
            elif key not in passed | _ARGUMENT:
                self.report.drop(f"unknown key of {name}", self.file, self.line)
        if "text" in part:
            self.report.leave_out(f"span of the whole {name}", self.file, self.line)
        return found

    def _argument(self, argument: Any, label: str) -> list[Concept]:
        found = []
        try:
            texts, starts = argument["text"], argument["start"]
            names = argument.get("entity_id") or [""] * len(texts)
            mentions = list(zip(texts, starts, names, strict=True))
        except (KeyError, TypeError, ValueError, AttributeError):
            self.report.drop("argument whose texts and starts differ in number", self.file, self.line)
            return []
        self.report_unused_fields("argument", argument, _ARGUMENT)
        for text, start, name in mentions:
            fragments = self._fragments(text, start)
            if fragments:
                found.append(self._concept(fragments, label, str(name)))
        return found

    def _fragments(self, texts: Any, starts: Any) -> tuple[tuple[int, int], ...] | None:
        try:
            fragments = [self._place(text, start) for text, start in zip(texts, starts, strict=True)]
        except (TypeError, ValueError):
            self.report.drop("mention whose texts and starts differ in number", self.file, self.line)
            return None
        problems = [offsets_problem(start, end, len(self.text)) for start, end in fragments] or ["mention without text"]
        if any(problems):
            self.report.drop(next(filter(None, problems)), self.file, self.line)
            return None
        return tuple(sorted(fragments))

    def _place(self, recorded: Any, start: Any) -> tuple[int, int]:
        if not isinstance(recorded, str) or type(start) is not int:
            raise TypeError("not a text and an integer")
        start = self._character(start)
        end = start + len(recorded)
        if self.text[start:end] != recorded and 0 <= start < end <= len(self.text):
            self.report.mend("recorded text differs from the text at the offsets", self.file, self.line)
            # If only whitespace differs, the recorded length would be wrong.
            blanks = re.compile(r"\s+".join(map(re.escape, recorded.split())))
            found = blanks.match(self.text, start)
            end = found.end() if found else end
        return start, end

    def _concept(self, fragments: tuple[tuple[int, int], ...], label: str, name: str) -> Concept:
        known = self.concepts.get((fragments, label))
        if known:
            return known
        number = len(self.concepts)
        while not name or name in self.ids:
            number += 1
            name = f"C{number}"
        self.ids.add(name)
        parts = list(fragments) if len(fragments) > 1 else []
        concept = Concept(name, fragments[0][0], max(end for _, end in fragments), label, fragments=parts)
        self.concepts[fragments, label] = concept
        return concept


def _recorded(events: Sequence[Any]) -> Iterator[tuple[str, int]]:
    """The text and start of every fragment, at any depth. A recursion could exceed the limit."""
    stack = list(events)
    while stack:
        value = stack.pop()
        if not isinstance(value, Mapping):
            stack += value if isinstance(value, list) else ()
            continue
        stack += value.values()
        texts, starts = value.get("text"), value.get("start")
        if not isinstance(texts, list) or not isinstance(starts, list):
            continue
        for mention in zip(texts, starts, strict=False):
            if all(isinstance(parts, list) for parts in mention):
                pairs = zip(*mention, strict=False)
                yield from ((text, start) for text, start in pairs if isinstance(text, str) and type(start) is int)


def _events(note: Note) -> list[dict[str, Any]]:
    """The smallest number of events with the same relations."""
    concepts = {concept.id: concept for concept in note.concepts}
    drugs: dict[str, set[str]] = {concept.id: set() for concept in note.concepts}
    for relation in note.relations:
        head, tail = concepts[relation.head], concepts[relation.tail]
        attribute = head.label in {*EFFECTS.values(), *TREATMENT.values()} - {"Drug"}
        if not attribute or tail.label != "Drug" or relation.label != f"{head.label}-Drug":
            raise ClinieError("CIE252", format="PHEE", what=f"relations of type {relation.label!r}", note=note.id)
        drugs[head.id].add(tail.id)
    related = set().union(*drugs.values()) if drugs else set()
    groups: dict[tuple[str, frozenset[str]], list[Concept]] = {}
    for concept in note.concepts:
        kind = "Potential_therapeutic_event" if concept.label == "Benefit" else "Adverse_event"
        if concept.label == "Drug":
            if concept.id in related:
                continue  # part of the events of the related concepts
            members = frozenset([concept.id])
        else:
            members = frozenset(drugs[concept.id])
        group = groups.setdefault((kind, members), [])
        if concept.label != "Drug":
            group.append(concept)
    events = []
    for number, ((kind, members), attributes) in enumerate(groups.items(), start=1):
        event: dict[str, Any] = {"event_id": f"E{number}", "event_type": kind}
        for concept in [*attributes, *(drug for drug in note.concepts if drug.id in members)]:
            _put(event, concept, note)
        events.append(event)
    return events


def _put(event: dict[str, Any], concept: Concept, note: Note) -> None:
    """Add a concept to its part of an event."""
    if concept.label in EFFECTS.values():
        part, key = event, "Effect"
    elif concept.label in SUBJECT:
        part, key = event.setdefault("Subject", {}), concept.label
    else:
        keys = [key for key, label in TREATMENT.items() if label == concept.label]
        if not keys:
            raise ClinieError("CIE252", format="PHEE", what=f"concepts of type {concept.label!r}", note=note.id)
        part, key = event.setdefault("Treatment", {}), keys[0]
    argument = part.setdefault(key, {"text": [], "start": [], "entity_id": []})
    fragments = concept.fragments or [concept.offsets]
    argument["text"].append([note.text[start:end] for start, end in fragments])
    argument["start"].append([start for start, _ in fragments])
    argument["entity_id"].append(concept.id)
