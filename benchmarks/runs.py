"""What the benchmark scripts share: their arguments, a process for each run, the table, the file of results."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

Row = dict[str, Any]


@dataclass
class Run:
    """One line of a table.

    corpus (str): A name of `data.VIEWS`.
    corpora (Path): Folder that holds the corpora's folders.
    system (str): What is measured.
    seed (int): Its seed.
    split (str): What it is measured on: `test`, or `dev` while settings are chosen.
    precision (str): `fp32` or `bf16`, for every system.
    settings (Row): Settings that differ from the script's.
    """

    corpus: str
    corpora: Path
    system: str
    seed: int
    split: str
    precision: str
    settings: Row


def interval(row: Optional[Row]) -> str:
    """F1 with its 95 % interval, for a table; empty where there was nothing to find."""
    if not row or not row["interval"]:
        return ""
    low, high = row["interval"]
    return f"{row['f1']:.4f} ({low:.4f} to {high:.4f})"


def number(row: Row, key: str, digits: int = 0) -> str:
    """A figure for a table, empty where a system has none."""
    return f"{row[key]:,.{digits}f}" if key in row else ""


def main(
    description: str,
    corpora: Sequence[str],
    systems: Sequence[str],
    work: Callable[[Run], Row],
    columns: Mapping[str, Callable[[Row], str]],
) -> None:
    """Read the command line, run every system with every seed in a process of its own, print a table of Markdown.

    description (str): Docstring of the script.
    corpora (Sequence[str]): Corpora that it knows.
    systems (Sequence[str]): Systems that it knows.
    work (Callable[[Run], Row]): Makes one line.
    columns (Mapping[str, Callable[[Row], str]]): Titles, and how a line's cells are written.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=corpora)
    parser.add_argument("--corpora", type=Path, required=True, help="folder that holds the corpora's folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--systems", nargs="+", choices=systems, default=list(systems))
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of every system")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, to choose settings on dev")
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON for each run")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        import torch

        # With `taskset`, runs that choose settings stand side by side.
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        run = Run(args.corpus, args.corpora, args.systems[0], args.seeds[0], args.split, args.precision, args.settings)
        args.out.write_text(json.dumps(work(run)), encoding="utf8")
        return
    print("| system | seed | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns), flush=True)
    failed = False
    for seed in args.seeds:
        for system in args.systems:
            row = _apart(args, system, seed)
            if row is None:
                failed = True
                continue
            if args.out:
                record = {"corpus": args.corpus, "split": args.split, "precision": args.precision}
                record |= {"system": system, "seed": seed, **row}
                with args.out.open("a", encoding="utf8") as file:
                    file.write(json.dumps(record) + "\n")
            print(f"| {system} | {seed} | " + " | ".join(cell(row) for cell in columns.values()) + " |", flush=True)
    if failed:
        sys.exit(1)


def _apart(args: argparse.Namespace, system: str, seed: int) -> Optional[Row]:
    """Run one system in a process of its own, so that its memory and threads are its own too."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, sys.argv[0], args.corpus, "--corpora", str(args.corpora), "--seeds", str(seed)]
        command += ["--systems", system, "--split", args.split]
        command += ["--precision", args.precision, "--settings", json.dumps(args.settings)]
        done = subprocess.run([*command, "--out", str(out), "--here"], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{system}, seed {seed}, failed:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)
            return None
        return dict(json.loads(out.read_text(encoding="utf8")))
