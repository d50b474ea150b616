"""What every benchmark reads: an open corpus in the types of the comparison, split, on Docs."""

from pathlib import Path

from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_clinie.corpora.catalogue import CORPORA, read_corpus
from spacy_clinie.corpora.splits import assign_splits
from spacy_clinie.doc.interchange import doc_from_note
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.report import Report
from spacy_clinie.doc.tokenizer import make_tokenizer
from spacy_clinie.schema import Schema

HERE = Path(__file__).parent
# Corpus of the catalogue, and the view of it that is compared.
VIEWS = {
    "phee": ("phee", HERE / "phee_drugs.yml"),
    "maccrobat2020": ("maccrobat2020", "maccrobat2020-coarse"),
    "ddi2013": ("ddi2013", "ddi2013"),
    "maccrobat2020-core": ("maccrobat2020", "maccrobat2020"),
}
# Relations that are compared, where not all of the schema's are.
CORE = {"maccrobat2020-core": ("MODIFY", "SUB_PROCEDURE", "IDENTICAL", "CAUSE")}
# Sentences between head and tail of a candidate. Relations hardly ever leave the sentence: of those that count here,
# more than 99 % of phee's and ddi2013's and 96 % of maccrobat2020's stay in it. The others count as missed.
DISTANCE = {"phee": 0, "ddi2013": 0, "maccrobat2020-core": 0}


def load(name: str, corpora: Path) -> tuple[dict[str, list[Note]], Schema]:
    """Read a corpus.

    name (str): One of `VIEWS`.
    corpora (Path): Folder that holds the corpora's folders.
    RETURNS (tuple[dict[str, list[Note]], Schema]): Notes by split, and the schema.
    """
    corpus, view = VIEWS[name]
    schema, report = Schema.load(view), Report()
    if name in CORE:
        record = schema.to_dict()
        others = [label for label in record["relations"] if label not in CORE[name]]
        record["relations"] = {label: record["relations"][label] for label in CORE[name]}
        dropped = record.setdefault("drop", {})
        dropped["relations"] = [*dropped.get("relations", []), *others]
        schema = Schema.from_dict(record)
    found = list(read_corpus(corpus, corpora, report))
    splits = assign_splits(((sourced.note.id, sourced.split) for sourced in found), CORPORA[corpus].group)
    notes: dict[str, list[Note]] = {"train": [], "dev": [], "test": []}
    for sourced in found:
        notes[splits[sourced.note.id]].append(schema.apply(sourced.note, report, sourced.file, sourced.lines))
    return notes, schema


def to_docs(notes: list[Note], vocab: Vocab) -> list[Doc]:
    """Notes on Docs of the clinical tokenizer."""
    tokenizer = make_tokenizer(vocab)
    return [doc_from_note(tokenizer, note)[0] for note in notes]


def words(notes: list[Note]) -> int:
    """How many words, as a blank separates them: the same unit for every system."""
    return sum(len(note.text.split()) for note in notes)
