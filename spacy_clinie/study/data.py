"""The corpora of a study, as Docs: whole, to find what they share, and the part that a profile trains and tests on."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

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
# Fewer test documents than these cannot show that two arms differ: exchanging all their answers makes as large a
# difference too often, 2 of 2 to their power.
FEWEST = 6
# A folder that holds this beside its notes is a corpus of the user's.
OWN_SCHEMA = "schema.yml"
# The invented notes as two corpora: schema, and which half of the notes.
HALVES = {"synthetic-problems": ("i2b2_2010", 0), "synthetic-drugs": ("n2c2_2018", 1)}


@dataclass(frozen=True)
class Source:
    """Where a corpus of a study comes from.

    name (str): Its name in the study.
    corpus (str): Name of a corpus or of a format.
    path (Path): Where it lies.
    schema (str): Name or file of its schema.
    group (str | None): See `corpora.catalogue.Corpus`.
    half (int | None): Which half of its notes it has, 0 or 1; None for all.
    """

    name: str
    corpus: str
    path: Path
    schema: str
    group: str | None = None
    half: int | None = None


@dataclass(frozen=True)
class Missing:
    """A corpus that is not there.

    corpus (str): Its name.
    how (str): How it can be had.
    """

    corpus: str
    how: str


def find_sources(names: Sequence[str], folder: Path) -> tuple[list[Source], list[Missing]]:
    """Find corpora.

    names (Sequence[str]): Corpora of the catalogue, folders of brat files with a `schema.yml` in them, or the names of
        `HALVES`.
    folder (Path): Folder that holds the corpora's folders.
    RETURNS (tuple[list[Source], list[Missing]]): Those that are there, and those that are not.
    RAISES (ClinieError): CIE495 if nothing is known of a name, CIE497 if it is a path.
    """
    found, missing = [], []
    for name in dict.fromkeys(names):
        if Path(name).name != name or name == "..":  # what is made of it would be written beside the study, or into it
            raise ClinieError("CIE497", name=name)
        own, known = folder / name, CORPORA.get(name)
        if (own / OWN_SCHEMA).is_file():
            found.append(Source(name, "brat", own.resolve(), str((own / OWN_SCHEMA).resolve())))
        elif name in HALVES:
            schema, half = HALVES[name]
            found.append(Source(name, "synthetic", Path(__file__).parents[1] / "data", schema, half=half))
        elif known is None:
            raise ClinieError("CIE495", name=name, folder=folder, file=OWN_SCHEMA, corpora=", ".join(CORPORA))
        elif (place := folder / (known.folder or known.name)).is_dir() and any(place.iterdir()):
            found.append(Source(name, name, place.resolve(), known.schema, known.group))
        else:
            missing.append(Missing(name, _how(known, folder)))
    return found, missing


def _how(known: Corpus, folder: Path) -> str:
    place = Path(folder.name) / (known.folder or known.name)  # where all of it lies is nobody's business
    if known.repository:
        project = "`python -m spacy project assets && python -m spacy project run corpora` for --corpora assets, or "
        return f"{project * (known.name in OPEN)}{known.repository} at {known.commit[:12]} into {place}"
    return f"{known.licence}: put it into {place}"


def write_corpus(source: Source, folder: Path) -> None:
    """Convert a corpus once, whole.

    source (Source): The corpus.
    folder (Path): Gets `train.spacy`, `dev.spacy` and `test.spacy`, `schema.yml`, and `report.json` with everything
        that was not carried over.
    RAISES (ClinieError): What readers and schemas raise; CIE496 for a corpus without notes, or without concepts in
        them, to train or to test on.
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
    """What a corpus is made of, as far as can be told without reading it.

    source (Source): The corpus.
    RETURNS (str): Another one when a file, the schema or the version of this package changes.
    """
    from .. import __version__

    files = [source.path] if source.path.is_file() else all_files(source.path)
    state = [(str(file.relative_to(source.path)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((source, Schema.load(source.schema).to_dict(), state, __version__)).encode()).hexdigest()


def draw(notes: Sequence[Note], words: int | None, seed: int = 0) -> list[Note]:
    """Draw notes until they have so many words.

    notes (Sequence[Note]): The notes.
    words (int | None): How many, as blanks separate them; None for all notes.
    seed (int): Another seed draws others.
    RETURNS (list[Note]): At least one, in the order of `notes`.
    """
    if words is None:
        return list(notes)
    taken: list[int] = []
    total = 0
    for i in ranked([note.id for note in notes], seed):
        if taken and total >= words:
            break
        taken.append(i)
        total += len(notes[i].text.split())
    return [notes[i] for i in sorted(taken)]


def load(path: Path) -> list[Note]:
    """Read notes from a file.

    path (Path): A `.spacy` file.
    RETURNS (list[Note]): Its notes.
    """
    return [sourced.note for sourced in docbin.read(path, Report())]


def size_of(notes: Collection[Note]) -> dict[str, int]:
    """How much some notes are.

    notes (Collection[Note]): The notes.
    RETURNS (dict[str, int]): `documents`, and `words` as blanks separate them.
    """
    return {"documents": len(notes), "words": sum(len(note.text.split()) for note in notes)}


def digest(path: Path) -> str:
    """What a file holds, in short.

    path (Path): The file.
    RETURNS (str): Its SHA-256.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:  # weights of 16 GB, too
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
