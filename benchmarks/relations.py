"""Relations on gold concepts: both architectures, beside the baseline that says yes to every typed pair.

    python benchmarks/relations.py ddi2013 --corpora ../shared/corpora --seeds 0 1

A pair may have several types; the baseline takes the one that is most frequent in train for its pair of types.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import spacy
import torch
from concepts import train_spacy
from data import load, to_docs

from spacy_clinie.annotation import set_relations
from spacy_clinie.conversion import note_from_doc
from spacy_clinie.scoring.scores import score

ARCHITECTURES = {"one pass": "spacy_clinie.OnePass.v1", "marked pairs": "spacy_clinie.MarkedPairs.v1"}
# Sentences between head and tail: DDI relations never leave the sentence.
DISTANCE = {"ddi2013": 0, "maccrobat2020-core": 1}


def run(corpus: str, corpora: Path, system: str, seed: int, split: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train and score one architecture."""
    notes, schema = load(corpus, corpora)
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    model = {"@architectures": ARCHITECTURES[system], "precision": "fp32", **settings.get("model", {})}
    pipe = nlp.add_pipe("clinie_rel", config={"model": model, "max_distance": DISTANCE[corpus]})
    pipe.schema = schema
    torch.manual_seed(seed)
    begin = time.perf_counter()
    train_spacy(nlp, notes["train"], seed, settings.get("rate", 1e-4), settings.get("passes", 4))
    result: dict[str, Any] = {"system": system, "seed": seed, "train_seconds": time.perf_counter() - begin}
    docs = to_docs(notes[split], nlp.vocab)
    pairs = sum(len(pipe.candidates(doc, list(doc.spans["clinie"])).pairs) for doc in docs)
    for doc in docs:
        set_relations(doc, [])
    begin = time.perf_counter()
    found = [note_from_doc(doc) for doc in pipe.pipe(docs, batch_size=64)]
    result["pairs_per_second"] = pairs / (time.perf_counter() - begin)
    return {**result, **_scores(notes[split], found)}


def yes_to_all(corpus: str, corpora: Path, split: str) -> dict[str, Any]:
    """Every candidate is related."""
    notes, schema = load(corpus, corpora)
    usual: Counter[tuple[str, str, str]] = Counter()
    for note in notes["train"]:
        kinds = {concept.id: concept.label for concept in note.concepts}
        usual.update((kinds[r.head], kinds[r.tail], r.label) for r in note.relations)
    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    pipe = nlp.add_pipe("clinie_rel", config={"max_distance": DISTANCE[corpus]})
    pipe.schema = schema
    found = []
    for doc in to_docs(notes[split], nlp.vocab):
        spans = list(doc.spans["clinie"])
        relations = []
        for head, tail in pipe.candidates(doc, spans).pairs:
            kinds = spans[head].label_, spans[tail].label_
            relations.append((head, tail, max(schema.allowed(*kinds), key=lambda label: usual[(*kinds, label)])))
        set_relations(doc, relations)
        found.append(note_from_doc(doc))
    return {"system": "yes to all", "seed": 0, **_scores(notes[split], found)}


def _scores(gold: list[Any], found: list[Any]) -> dict[str, Any]:
    relations = score(gold, found)["relations"]["strict"]
    return {"strict": relations["micro"], "per_type": {k: row["f1"] for k, row in relations["per_type"].items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=list(DISTANCE))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--systems", nargs="+", choices=["yes to all", *ARCHITECTURES])
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, to choose settings on dev")
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON for each run")
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"{'system':14}{'seed':>5}{'P':>8}{'R':>8}{'F1':>8}{'95 % interval':>18}{'pairs/s':>9}{'train s':>9}")
    for system in args.systems or ["yes to all", *ARCHITECTURES]:
        for seed in args.seeds if system in ARCHITECTURES else [0]:
            if system in ARCHITECTURES:
                result = run(args.corpus, args.corpora, system, seed, args.split, args.settings)
            else:
                result = yes_to_all(args.corpus, args.corpora, args.split)
            row = result["strict"]
            low, high = row["interval"]
            print(
                f"{system:14}{seed:5}{row['p']:8.4f}{row['r']:8.4f}{row['f1']:8.4f}{f'{low:.4f} to {high:.4f}':>18}"
                f"{result.get('pairs_per_second', float('nan')):9.0f}{result.get('train_seconds', float('nan')):9.0f}",
                flush=True,
            )
            if args.out:
                with args.out.open("a", encoding="utf8") as file:
                    file.write(json.dumps({"corpus": args.corpus, "split": args.split, **result}) + "\n")


if __name__ == "__main__":
    main()
