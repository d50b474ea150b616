"""BioC documents from files. What the `bioc` library would lose or reject is repaired and counted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bioc import BioCDocument, biocjson
from lxml import etree

from ..doc.note import merge_values
from ..doc.report import Report
from .files import field_name, load_json, read_text

TYPE = "type"
# XML attributes and elements, other than infons and `_PARTS`.
_ATTRIBUTES = {
    "annotation": ("id",),
    "relation": ("id",),
    "node": ("refid", "role"),
    "location": ("offset", "length"),
}
_ELEMENTS = {
    "collection": ("source", "date", "key", "version", "document"),
    "document": ("id",),
    "passage": ("offset", "text"),
    "sentence": ("offset", "text"),
    "annotation": ("text",),
}
# Fields that the library requires, although JSON may omit them.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "document": {"infons": {}},
    "passage": {"infons": {}},
    "sentence": {"infons": {}, "text": ""},
    "annotation": {"infons": {}, "text": "", "id": ""},
    "relation": {"infons": {}, "id": ""},
    "node": {"refid": "", "role": ""},
    "location": {"offset": -1, "length": -1},  # its annotation then has no valid location
}
# Other fields that an object may have, besides its `_PARTS`.
_OTHER_FIELDS = {"document": {"id"}, "passage": {"offset", "text"}, "sentence": {"offset"}}
# Elements that contain only text, which is read up to the first tag.
_TEXTS = ("id", "infon", "text", "date", "key", "source")
_PARTS: dict[str, dict[str, str]] = {
    "collection": {},  # whose documents are read one at a time
    "document": {"passages": "passage", "annotations": "annotation", "relations": "relation"},
    "passage": {"sentences": "sentence", "annotations": "annotation", "relations": "relation"},
    "sentence": {"annotations": "annotation", "relations": "relation"},
    "annotation": {"locations": "location"},
    "relation": {"nodes": "node"},
    "location": {},
    "node": {},
}
_INTEGER = re.compile("[0-9]{1,9}")


def xml_documents(file: Path, report: Report) -> Iterator[tuple[BioCDocument, int | None]]:
    """Read documents from XML, with one in memory at a time. Nothing is loaded from the network, and entities expand
    within the limits of the parser.

    file (Path): The file.
    report (Report): Counts what cannot be read.
    YIELDS (tuple[BioCDocument, int | None]): A document and its first line.
    """
    try:
        # The limits of the parser also bound the length of texts. Without entities, they are not needed.
        huge = not _declares_entities(file)
        parsed = etree.iterparse(str(file), tag=("{*}document", "{*}infon"), no_network=True, huge_tree=huge)
        for _, element in parsed:
            line = element.sourceline
            if _name(element) == "infon":
                parent = element.getparent()
                if parent is not None and _name(parent) == "collection":
                    report_infons([("collection", {element.get("key"): element.text})], report, file, line)
                continue
            _normalize_xml(element, report, file)
            try:
                yield biocjson.fromJSON(_record(element, "document"), "BioCDocument"), line
            except (ValueError, TypeError):
                report.drop("document that is not valid BioC", file, line)
            element.clear()
        _report_unknown_parts(parsed.root, "collection", report, file)
    except OSError:
        report.drop("file cannot be opened", file)
    except etree.XMLSyntaxError as error:
        report.drop("file is not valid XML", file, error.lineno)


def _name(element: Any) -> str:
    """The name of an element without its namespace; empty for a comment."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _declares_entities(file: Path) -> bool:
    with file.open("rb") as content:
        _, root = next(etree.iterparse(content, events=("start",), no_network=True))
        dtd = root.getroottree().docinfo.internalDTD
        return dtd is not None and bool(dtd.entities())


def _record(element: Any, kind: str) -> dict[str, Any]:
    """The BioC JSON of an element of BioC XML."""
    record: dict[str, Any] = {key: element.get(key, "") for key in _ATTRIBUTES.get(kind, ())}
    record |= {key: element.findtext(key) for key in _ELEMENTS.get(kind, ())}
    if kind == "location":  # an invalid number leaves its annotation without a location
        return {key: int(value) if _INTEGER.fullmatch(value) else -1 for key, value in record.items()}
    if "offset" in record:
        record["offset"] = int(record["offset"])
    record["infons"] = {infon.get("key"): infon.text for infon in element.findall("infon")}
    return record | {
        key: [_record(child, part) for child in element.findall(part)] for key, part in _PARTS[kind].items()
    }


def json_documents(file: Path, report: Report) -> Iterator[tuple[BioCDocument, int | None]]:
    """Read documents from JSON.

    file (Path): The file.
    report (Report): Counts what cannot be read.
    YIELDS (tuple[BioCDocument, int | None]): A document and its number in the file.
    """
    text = read_text(file, report)
    if text is None:
        return
    try:
        value = load_json(text.removeprefix("\ufeff"), file, report)
        # PubMed Central returns lists of collections.
        parts = value if isinstance(value, list) else [value]
        documents = [doc for part in parts for doc in part["documents"]]
    except (ValueError, RecursionError):
        report.drop("file is not valid JSON", file)
        return
    except (KeyError, TypeError):
        report.drop("file is not a BioC collection", file)
        return
    for part in parts:
        _report_unknown_fields(
            part, "collection", {"documents", "infons", *_ELEMENTS["collection"]}, report, file, None
        )
    report_infons([("collection", part.get("infons")) for part in parts], report, file, None)
    for number, document in enumerate(documents, start=1):
        try:
            record = _fill_in_json(document, "document", report, file, number)
            yield biocjson.fromJSON(record, "BioCDocument"), number
        except (KeyError, TypeError, AttributeError):
            report.drop("document that is not valid BioC", file, number)


def _normalize_xml(document: Any, report: Report, file: Path) -> None:
    """Repair what would be read in part, and count what is lost."""
    for element in document.iter(etree.Element):
        element.tag = _name(element)
    for element in document.iter(_TEXTS):
        if len(element):
            report.mend("tags or comments inside a text, removed", file, element.sourceline)
            etree.strip_elements(element, etree.Comment, etree.ProcessingInstruction, with_tail=False)
            etree.strip_tags(element, "*")
    for parent in document.iter("passage", "sentence"):
        for text in parent.findall("text")[1:]:
            report.drop("second text of a passage or sentence", file, text.sourceline)
    _report_unknown_parts(document, "document", report, file)
    _join_infons(document, report, file)


def _report_unknown_parts(element: Any, kind: str, report: Report, file: Path) -> None:
    """Count elements and attributes that are not part of the format."""
    parts = set(_PARTS[kind].values())
    known = {"infon", *_ELEMENTS.get(kind, ())} if kind not in ("location", "node") else set()
    for key in set(element.attrib) - set(_ATTRIBUTES.get(kind, ())):
        reason = f"unknown attribute: {kind}.{field_name(key)}"
        report.leave_out(reason, file, element.sourceline)
    for child in element:
        name = _name(child)
        if name in parts:
            _report_unknown_parts(child, name, report, file)
        elif name and name not in known:
            reason = f"unknown element: {kind}.{field_name(name)}"
            report.drop(reason, file, child.sourceline)


def _join_infons(document: Any, report: Report, file: Path) -> None:
    """Join the values of a duplicate key, of which only the last would be kept."""
    for parent in {infon.getparent() for infon in document.iter("infon")}:
        first: dict[str, Any] = {}
        for infon in parent.findall("infon"):
            key = infon.get("key")
            if key is not None and key not in first:
                first[key] = infon
                continue
            if key is None:
                report.drop("infon without a key", file, infon.sourceline)
            elif key == TYPE:
                report.drop("second type of the same element", file, infon.sourceline)
            elif (both := merge_values(first[key].text or "", infon.text or "")) != (first[key].text or ""):
                report.mend("infon with several values, joined by |", file, infon.sourceline)
                first[key].text = both
            parent.remove(infon)


def _fill_in_json(value: Any, kind: str, report: Report, file: Path, number: int) -> Any:
    """Add the fields that the library requires and tools omit, at every level of a document."""
    if not isinstance(value, dict):
        return value
    parts, defaults = _PARTS[kind], _DEFAULTS.get(kind, {})
    _report_unknown_fields(value, kind, {*parts, *defaults, *_OTHER_FIELDS.get(kind, ())}, report, file, number)
    found = {**defaults, **value}
    for key, inner in parts.items():
        items = found.get(key)
        if isinstance(items, list):
            objects = [item for item in items if isinstance(item, dict)]
            if len(objects) < len(items):
                report.drop(f"{inner} that is not an object", file, number, len(items) - len(objects))
            found[key] = [_fill_in_json(item, inner, report, file, number) for item in objects]
        else:
            found[key] = items or []
    return found


def _report_unknown_fields(
    value: dict[str, Any], kind: str, known: set[str], report: Report, file: Path, number: int | None
) -> None:
    for key in value.keys() - known - {"bioctype"}:
        report.leave_out(f"unknown field: {kind}.{field_name(key)}", file, number)


def report_infons(unused: list[tuple[str, Any]], report: Report, file: Path, line: int | None) -> None:
    """Count infons that a note cannot hold.

    unused (list[tuple[str, Any]]): Their owner, such as `passage`, and the infons.
    report (Report): The report.
    file (Path): The file.
    line (int | None): The line.
    """
    for what, infons in unused:
        for key, value in infons.items() if isinstance(infons, dict) else ():
            if value not in (None, ""):
                report.leave_out(f"infon of a {what}: {field_name(str(key))}", file, line)
