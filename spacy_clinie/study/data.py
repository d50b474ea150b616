"""The corpora of a study: where they are, their conversion, and the samples that a profile trains and tests on."""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from ..corpora.catalogue import CORPORA, Corpus, read_corpus
from ..corpora.splits import assign_splits, ranked
from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError
from ..formats import docbin
from ..formats.files import all_files
from ..schema import Schema
from .profiles import OPEN

SPLITS = ("train", "dev", "test")
# With fewer test documents, no difference between two arms is significant: the p-value is 2 / 2 ** documents or more.
MIN_DOCUMENTS = 6
# A folder of brat files with this file in it is a corpus of the user's.
SCHEMA_FILE = "schema.yml"
# The invented notes as two corpora: schema, and which half of the notes.
SYNTHETIC = {"synthetic-problems": ("i2b2_2010", 0), "synthetic-drugs": ("n2c2_2018", 1)}


class Source(NamedTuple):
    """The source of a corpus.

    name (str): Name of the corpus in the study.
    corpus (str): Name of a corpus of the catalogue or of a format.
    path (Path): Folder of its files.
    schema (str): Name or file of its schema.
    group (Optional[str]): See `corpora.catalogue.Corpus`.
    half (Optional[int]): Which half of the notes to use, 0 or 1; None for all.
    """

    name: str
    corpus: str
    path: Path
    schema: str
    group: Optional[str] = None
    half: Optional[int] = None


class Missing(NamedTuple):
    """The name of a missing corpus, and how to get it."""

    corpus: str
    how: str


def find_sources(names: Sequence[str], folder: Path) -> tuple[list[Source], list[Missing]]:
    """Find corpora by name.

    names (Sequence[str]): Corpora of the catalogue, folders of brat files with a `schema.yml`, or names of `SYNTHETIC`.
    folder (Path): Folder with the folders of the corpora.
    RETURNS (tuple[list[Source], list[Missing]]): The corpora that exist, and those that do not.
    RAISES (ClinieError): CIE495 for an unknown name, CIE497 for a path.
    """
    found, missing = [], []
    for name in dict.fromkeys(names):
        if Path(name).name != name or name == "..":  # its files would be written outside of their folder
            raise ClinieError("CIE497", name=name)
        own, known = folder / name, CORPORA.get(name)
        if (own / SCHEMA_FILE).is_file():
            found.append(Source(name, "brat", own.resolve(), str((own / SCHEMA_FILE).resolve())))
        elif name in SYNTHETIC:
            schema, half = SYNTHETIC[name]
            found.append(Source(name, "synthetic", Path(__file__).parents[1] / "data", schema, half=half))
        elif known is None:
            raise ClinieError("CIE495", name=name, folder=folder, file=SCHEMA_FILE, corpora=", ".join(CORPORA))
        elif (place := folder / (known.folder or known.name)).is_dir() and any(place.iterdir()):
            found.append(Source(name, name, place.resolve(), known.schema, known.group))
        else:
            missing.append(Missing(name, _how(known, folder)))
    return found, missing


def _how(known: Corpus, folder: Path) -> str:
    place = Path(folder.name) / (known.folder or known.name)  # not the whole path, which the report would show
    if known.repository:
        project = "`python -m spacy project assets && python -m spacy project run corpora` for --corpora assets, or "
        return f"{project * (known.name in OPEN)}{known.repository} at {known.commit[:12]} into {place}"
    return f"{known.licence}: put it into {place}"


def write_corpus(source: Source, folder: Path) -> None:
    """Convert a whole corpus.

    source (Source): The corpus.
    folder (Path): Folder for `train.spacy`, `dev.spacy`, `test.spacy`, `schema.yml`, and `report.json` with everything
        that was not converted.
    RAISES (ClinieError): Errors of readers and schemas; CIE496 if train or test has no notes, or no concepts in them.
    """
    schema, report = Schema.load(source.schema), Report(source.path)
    read = list(read_corpus(source.corpus, source.path, report))
    splits = assign_splits(((sourced.note.id, sourced.split) for sourced in read), source.group)
    notes: dict[str, list[Note]] = {split: [] for split in SPLITS}
    if source.half is not None:
        read = [read[i] for i in sorted(ranked([sourced.note.id for sourced in read], 0)[source.half :: 2])]
    for sourced in read:
        note = schema.apply(sourced.note, report, sourced.file, sourced.lines, sourced.relation_locations)
        report.add(note)
        if splits.get(note.id) in notes:
            notes[splits[note.id]].append(note)
        else:
            report.drop("document of no split that a study knows", sourced.file)
    for split in ("train", "test"):
        if not any(note.concepts for note in notes[split]):
            what = "concepts" if notes[split] else "notes"
            raise ClinieError("CIE496", corpus=source.name, what=what, split=split)
    for split, members in notes.items():
        docbin.write(members, folder / f"{split}.spacy")
    (folder / "schema.yml").write_text(schema.to_yaml(), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=2), encoding="utf-8")


def stamp(source: Source) -> str:
    """A digest that changes with the size or time of a file, the schema, or the version of this package."""
    from .. import __version__

    files = [source.path] if source.path.is_file() else all_files(source.path)
    state = [(str(file.relative_to(source.path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((source, Schema.load(source.schema).to_dict(), state, __version__)).encode()).hexdigest()


def draw(notes: Sequence[Note], words: Optional[int]) -> list[Note]:
    """Draw notes at random, always the same ones.

    notes (Sequence[Note]): The notes.
    words (Optional[int]): Stop at so many words, as separated by blanks; None for all notes.
    RETURNS (list[Note]): One note or more, in the order of `notes`.
    """
    if words is None:
        return list(notes)
    taken: list[int] = []
    total = 0
    for i in ranked([note.id for note in notes], 0):
        if taken and total >= words:
            break
        taken.append(i)
        total += len(notes[i].text.split())
    return [notes[i] for i in sorted(taken)]


def load(path: Path) -> list[Note]:
    """Read the notes of a `.spacy` file."""
    return [sourced.note for sourced in docbin.read(path, Report())]


def size_of(notes: Collection[Note]) -> dict[str, int]:
    """The number of `documents`, and of `words` as separated by blanks."""
    return {"documents": len(notes), "words": sum(len(note.text.split()) for note in notes)}


def digest(path: Path) -> str:
    """The SHA-256 of a file, which may be larger than memory."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
