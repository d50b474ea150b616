"""Which threshold suits a language model: strict F1 on dev, by the score below which its concepts are rejected.

    python benchmarks/thresholds.py training/open-smollm2/model-best --corpora corpus/open --limit 50

`--corpora` holds what `spacy project run open-data` made. The model answers once; every column leaves out more.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bundle import CORPORA
from spacy.tokens import DocBin

import spacy_clinie
from spacy_clinie.components.decoder_prompt import DecoderPrompt
from spacy_clinie.doc.concepts import ID_KEY
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.scoring.counts import count
from spacy_clinie.scoring.scores import pair_notes, summarize

THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def by_threshold(gold: Sequence[Note], found: Sequence[Note]) -> dict[str, float]:
    """What F1 would be with other thresholds.

    gold (Sequence[Note]): The right concepts.
    found (Sequence[Note]): Those that were found without a threshold, with their scores.
    RETURNS (dict[str, float]): Micro strict F1 by threshold.
    """
    curve = {}
    for least in THRESHOLDS:
        kept = [Note(note.id, note.text, [one for one in note.concepts if (one.score or 0) >= least]) for note in found]
        curve[str(least)] = summarize(count(pair_notes(gold, kept), "concepts", "strict"))["micro"]["f1"]
    return curve


def best(curve: dict[str, float]) -> str:
    """Choose a threshold.

    curve (dict[str, float]): From `by_threshold`.
    RETURNS (str): That of the best F1, the lowest of them.
    """
    return max(curve, key=lambda one: curve[one])


def written(curve: dict[str, float]) -> str:
    """One cell of a table.

    curve (dict[str, float]): From `by_threshold`.
    RETURNS (str): The best F1 and its threshold.
    """
    least = best(curve)
    return f"{curve[least]:.4f} ({least})"


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--names", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--limit", type=int, default=0, help="documents of each corpus that are scored; 0 for all")
    args = parser.parse_args()
    print("| dev set | " + " | ".join(map(str, THRESHOLDS)) + " |\n|---|" + "---|" * len(THRESHOLDS), flush=True)
    for name in args.names:
        nlp = spacy_clinie.load(args.pipeline, name)
        for _, pipe in nlp.pipeline:
            if isinstance(pipe, DecoderPrompt) and pipe.concepts:
                pipe.concepts = replace(pipe.concepts, threshold=0.0)
        docs = list(DocBin().from_disk(args.corpora / "dev" / f"{name}.spacy").get_docs(nlp.vocab))
        gold = [note_from_doc(doc, str(doc.user_data[ID_KEY])) for doc in docs[: args.limit or None]]
        read = nlp.pipe((note.text for note in gold), batch_size=256)
        found = [note_from_doc(doc, note.id) for doc, note in zip(read, gold, strict=True)]
        print(f"| {name} | " + " | ".join(f"{f1:.4f}" for f1 in by_threshold(gold, found).values()) + " |", flush=True)


if __name__ == "__main__":
    main()
