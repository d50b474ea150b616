"""The known corpora, and the formats of all others."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..doc.note import Note
from ..doc.report import Report
from ..errors import ClinieError
from ..formats import bioc, brat, clinical_notes, docbin, i2b2, jsonl, marked_text, phee, pubtator, radgraph
from ..formats.source import SourcedNote

AGREEMENT = "under a data use agreement: get it from its provider"


@dataclass(frozen=True)
class Format:
    """A file format.

    name (str): Its name on the command line.
    description (str): The files of the format.
    read (Callable): Reads notes from a path, and counts problems in a report.
    write (Callable | None): Writes notes to a path; None if not supported.
    suffixes (tuple[str, ...]): Suffixes of files with many notes; empty if a file holds one.
    """

    name: str
    description: str
    read: Callable[[Path, Report], Iterator[SourcedNote]]
    write: Callable[[Iterable[Note], Path], None] | None = None
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """An annotated corpus.

    name (str): Its name on the command line.
    description (str): One sentence.
    format (str): Name of its format.
    schema (str): Name of its schema.
    split (str): A description of its split; `splits.assign_splits` makes it.
    licence (str): The licence.
    group (str | None): Regular expression for the part of a note id that related notes share.
    pairwise (tuple[str, ...]): Types of brat's `*` lines to read as a relation between every two members.
    folder (str): Usual name of its folder; the name of the corpus if empty.
    repository (str): URL of its repository; empty if it is not public.
    commit (str): The commit for which the figures hold.
    """

    name: str
    description: str
    format: str
    schema: str
    split: str
    licence: str
    group: str | None = None
    pairwise: tuple[str, ...] = ()
    folder: str = ""
    repository: str = ""
    commit: str = ""

    def locate(self, path: Path) -> Path:
        """Find the corpus in a folder: a subfolder with the usual name, or the folder itself.

        path (Path): The path from the user.
        RETURNS (Path): The path to read.
        """
        inside = Path(path) / (self.folder or self.name)
        return inside if inside.is_dir() else Path(path)


FORMATS = {
    known.name: known
    for known in (
        Format(
            "jsonl", "one JSON object per line, the format of this package", jsonl.read, jsonl.write, jsonl.SUFFIXES
        ),
        Format(
            "docbin",
            ".spacy files, also with relations from spacy-llm or rel_component",
            docbin.read,
            docbin.write,
            docbin.SUFFIXES,
        ),
        Format("brat", "pairs of .txt and .ann files", brat.read, brat.write),
        Format("i2b2", ".txt, .con, .rel and .ast files of the 2010 challenge", i2b2.read, i2b2.write),
        Format(
            "radgraph-json",
            "JSON files with token indexes, as in RadGraph",
            radgraph.read,
            radgraph.write,
            radgraph.SUFFIXES,
        ),
        Format("phee-json", "JSON lines with nested events, as in PHEE", phee.read, phee.write, phee.SUFFIXES),
        Format(
            "pubtator", "title, abstract and tab-separated mentions", pubtator.read, pubtator.write, pubtator.SUFFIXES
        ),
        Format("bioc", "BioC as .xml or .json", bioc.read, bioc.write, bioc.SUFFIXES),
        Format("clinical-notes", "texts of the collections that `clinical_notes` annotates", clinical_notes.read),
        Format("marked-text", ".txt files with inline annotation", marked_text.read),
    )
}

_OWN_SPLIT = "the corpus' own"
_RANKED = "80 % / 10 % / 10 %, ranked by the hash of the id"

CORPORA = {
    known.name: known
    for known in (
        Corpus(
            name="clinical_notes",
            description="Open clinical notes, annotated in this package: problems, treatments, tests and drugs.",
            format="clinical-notes",
            schema="clinical_notes",
            split=_OWN_SPLIT,
            licence="CC BY 4.0, texts and annotation",
        ),
        Corpus(
            name="maccrobat2020",
            description="200 case reports with 41 concept types and 7 relation types.",
            format="brat",
            schema="maccrobat2020",
            split=f"{_RANKED}: 160, 20 and 20 documents",
            licence="CC BY 4.0",
            repository="https://github.com/Saieiei/NLP",
            commit="f2b522984cc621d5c7e00fbce02ddeee2a5b8077",
        ),
        Corpus(
            name="maccrobat2020-coarse",
            description="The same case reports with the three types of i2b2 2010: problem, treatment and test.",
            format="brat",
            schema="maccrobat2020-coarse",
            split=f"{_RANKED}: 160, 20 and 20 documents",
            licence="CC BY 4.0",
            folder="maccrobat2020",
            repository="https://github.com/Saieiei/NLP",
            commit="f2b522984cc621d5c7e00fbce02ddeee2a5b8077",
        ),
        Corpus(
            name="phee",
            description="4,827 sentences from case reports: drugs, their harm and benefit, patients and dosing.",
            format="phee-json",
            schema="phee",
            split=_OWN_SPLIT,
            licence="MIT, according to its authors",
            repository="https://github.com/ZhaoyueSun/phee-with-chatgpt",
            commit="a90c680b08464e731635eb2d2f2c49be6ad5e3e5",
        ),
        Corpus(
            name="mtsamples_sdoh",
            description="361 social history sections: substance use, work, living situation and their details.",
            format="brat",
            schema="mtsamples_sdoh",
            split=_OWN_SPLIT,
            licence="none stated: do not redistribute",
            repository="https://github.com/AndyStevens98/sdoh_extraction",
            commit="ac333c6e254dbb8821fb4c63666dbf99a19d56f0",
        ),
        Corpus(
            name="chia",
            description="Eligibility criteria of 1,000 clinical trials, in 2,000 files.",
            format="brat",
            schema="chia",
            split=f"{_RANKED}: by trial, so that both files of a trial stay together",
            licence="CC BY 4.0",
            group=r"NCT\d+",
            pairwise=("OR", "NOT"),
            repository="https://github.com/Vidhate/CHIA-NER-RE",
            commit="ed84384ba70275eac69d273eb5325b321cda1c72",
        ),
        Corpus(
            name="ddi2013",
            description="1,017 texts on drugs that interact with each other, from DrugBank and MEDLINE.",
            format="brat",
            schema="ddi2013",
            split=f"{_OWN_SPLIT}, a tenth of train as dev",
            licence="CC BY-NC 4.0",
            repository="https://github.com/isegura/DDICorpus",
            commit="819b0fa538ed83ab2a8b4f5417bba3c03249b7f3",
        ),
        Corpus(
            name="bc5cdr",
            description="1,500 abstracts with chemicals, diseases, and which chemical induces which disease.",
            format="pubtator",
            schema="bc5cdr",
            split=_OWN_SPLIT,
            licence="public domain notice of NCBI",
            repository="https://github.com/cryptoradon/biomedRelExt",
            commit="3f113ff1aefd03b7ecf053a6bc33cc6a75532f20",
        ),
        Corpus(
            name="i2b2_2010",
            description="2010 i2b2/VA challenge: problems, treatments, tests and their relations.",
            format="i2b2",
            schema="i2b2_2010",
            split="by folder names if they tell it, otherwise " + _RANKED,
            licence=AGREEMENT,
        ),
        Corpus(
            name="n2c2_2018",
            description="2018 n2c2 track 2: drugs with dosing, reasons and adverse events.",
            format="brat",
            schema="n2c2_2018",
            split="by folder names, a tenth of train as dev",
            licence=AGREEMENT,
        ),
        Corpus(
            name="n2c2_2022",
            description="2022 n2c2 track 2 (SHAC): social determinants of health as events.",
            format="brat",
            schema="n2c2_2022",
            split=_OWN_SPLIT,
            licence=AGREEMENT,
        ),
        Corpus(
            name="radgraph",
            description="RadGraph 1.0: anatomy and observations in reports of chest X-rays.",
            format="radgraph-json",
            schema="radgraph",
            split=_OWN_SPLIT,
            licence=AGREEMENT,
        ),
        Corpus(
            name="synthetic",
            description="The synthetic notes of this package, or your own notes in the same markup.",
            format="marked-text",
            schema="synthetic",
            split=_OWN_SPLIT,
            licence="Apache 2.0",
        ),
    )
}


def resolve(name: str) -> tuple[Corpus | None, Format]:
    """Find a corpus or a format by name. Corpora take precedence.

    name (str): The name.
    RETURNS (tuple[Corpus | None, Format]): The corpus, if it is one, and the format.
    RAISES (ClinieError): CIE254 for an unknown name.
    """
    corpus = CORPORA.get(name)
    raw = FORMATS.get(corpus.format if corpus else name)
    if raw is None:
        raise ClinieError("CIE254", name=name, corpora=", ".join(CORPORA), formats=", ".join(FORMATS))
    return corpus, raw


def read_corpus(name: str, path: Path, report: Report) -> Iterator[SourcedNote]:
    """Read an annotated corpus in its own types.

    name (str): Name of a corpus or a format.
    path (Path): Its folder, the parent of its folder, or a file.
    report (Report): Counts what cannot be read.
    RETURNS (Iterator[SourcedNote]): The notes.
    RAISES (ClinieError): CIE254 for an unknown name, and the errors of the reader.
    """
    corpus, raw = resolve(name)
    if corpus is None:
        return raw.read(Path(path), report)
    if corpus.pairwise:
        return brat.read(corpus.locate(path), report, pairwise=corpus.pairwise)
    return raw.read(corpus.locate(path), report)
