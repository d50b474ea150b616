"""The study on the command line: `python -m spacy_clinie study`."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from ..corpora.catalogue import CORPORA
from ..terminal import SETTINGS, fail, guarded
from .plan import without_folder
from .presets import PRESETS
from .profiles import ARMS

app = typer.Typer(
    name="study",
    help="""The published comparison (arXiv 2509.04753) on your corpora: encoders and decoders, full tuning and
adapters, multi-task tuning with one corpus left out.

\b
  python -m spacy_clinie study single study --corpora corpora --profile cpu
  python -m spacy_clinie study loo study --corpora corpora --profile cpu --jobs 2
  python -m spacy_clinie study report study report

The same command continues a study that was interrupted.""",
    **SETTINGS,
)

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of the study.")]
Corpora = Annotated[Path, typer.Option(help="Folder with the folders of the corpora.")]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile",
        help="How much is run. smoke: invented notes and tiny models; cpu: samples of the corpora and few steps, for "
        "two cores and an evening; gpu: whole corpora, 1,500 steps for a fold (multi-task 3,000, few shots 200).",
    ),
]
Use = Annotated[
    Optional[list[str]],
    typer.Option(
        help="Corpus: a folder of brat files with a schema.yml, or one of the catalogue: "
        f"{', '.join(CORPORA)}. Repeatable. Default: the five open corpora (smoke: the invented notes).",
    ),
]
Bases = Annotated[
    Optional[list[str]],
    typer.Option(
        "--base",
        help="Base model: a preset, PRESET=FOLDER or PRESET=HUB_NAME for other weights of its kind, or PRESET=random. "
        f"Presets: {', '.join(PRESETS)}. Repeatable.",
    ),
]
Arms = Annotated[Optional[list[str]], typer.Option("--arm", help=f"Arm: {', '.join(ARMS)}. Repeatable.")]
Seeds = Annotated[Optional[int], typer.Option(min=1, help="How often to run everything, each time with another seed.")]
Jobs = Annotated[int, typer.Option(min=1, help="Number of folds to run at a time, also on a cluster.")]
RayAddress = Annotated[Optional[str], typer.Option("--ray", help="Address of a Ray cluster to run them on, or auto.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Continue without corpora that are missing.")]


def _study(name: str, help_: str) -> None:
    @app.command(name, help=help_)
    @guarded
    def run(
        folder: Folder,
        corpora: Corpora = Path("corpora"),
        profile: ProfileName = "cpu",
        use: Use = None,
        bases: Bases = None,
        arms: Arms = None,
        seeds: Seeds = None,
        jobs: Jobs = 1,
        ray: RayAddress = None,
        skip_missing: SkipMissing = False,
    ) -> None:
        from .report import need_packages
        from .run import run_study

        need_packages()
        counts = run_study(
            name,  # type: ignore[arg-type]
            folder,
            profile=profile,
            corpora=corpora,
            use=use or (),
            bases=bases or (),
            arms=arms or (),
            seeds=seeds,
            jobs=jobs,
            ray=ray,
            skip_missing=skip_missing,
            command=shlex.join(["python", "-m", "spacy_clinie", *map(without_folder, sys.argv[1:])]),
            echo=typer.echo,
        )
        typer.echo(
            f"{counts['done']} folds were finished before, {counts['finished']} are finished now, "
            f"{counts['failed']} failed.\n"
            f"Next: python -m spacy_clinie study report {folder} {folder / 'report'}"
        )
        if counts["failed"]:
            fail(f"Logs of the failed folds: {folder / 'folds'}/*/log.txt")


_study("single", "Every arm on every corpus: concepts, relations on gold concepts, relations end to end.")
_study("loo", "Multi-task tuning on all corpora but one; on that one zero and few shots, and training on it alone.")
_study("cost", "On the first corpus, the cost of adapters and of full tuning: parameters, memory, time, disk, F1.")


@app.command()
@guarded
def report(
    folder: Folder,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for report.html, report.md and tables.")],
    text: Annotated[bool, typer.Option("--text", help="Quote the notes with mistakes, not only offsets.")] = False,
) -> None:
    """Write the results so far as a page, as Markdown and as CSV."""
    from .report import write_report
    from .workspace import tested_texts

    for path in write_report(folder, output, texts=partial(tested_texts, folder) if text else None):
        typer.echo(f"Written: {path}")
