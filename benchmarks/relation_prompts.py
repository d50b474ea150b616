"""Relations on gold concepts by a language model tuned with LoRA, with one wording of its prompt or another.

    python benchmarks/relation_prompts.py phee --corpora ../shared/corpora --split dev --seeds 0 1

`before` are the wordings in `benchmarks/templates`, `now` those of the package. `documents` trains on a part of train,
`scored` scores a part of the split. Needs `python -m spacy_clinie download smollm2`.
"""

import time
from pathlib import Path
from typing import Any

from data import DISTANCE, load, to_docs
from runs import Row, Run, interval, main, number
from training import blank, train

from spacy_clinie.corpora.splits import sample
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.scoring.scores import score

BEFORE = Path(__file__).parent / "templates"
WORDINGS = ("brief", "instruct", "mrc")
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}


def work(run: Run) -> Row:
    """Train with one wording and score it."""
    notes, schema = load(run.corpus, run.corpora)
    seen = sample(notes["train"], run.settings.get("documents", 200))
    gold = sample(notes[run.split], run.settings.get("scored", 150))
    wording, age = run.system.split(", ")
    template = f"relations_{wording}.v1" if age == "now" else str(BEFORE / f"relations_{wording}_before.jinja")
    prompt = {"@misc": "spacy_clinie.RelationPrompt.v1", "template": template, "per_type": wording == "mrc"}
    prompt["max_distance"] = DISTANCE[run.corpus]
    model = {"@architectures": "spacy_clinie.CausalLM.v1", "base": "smollm2", "adapter": LORA}
    model["precision"] = run.precision
    nlp = blank()
    settings = {"model": model, "concepts": None, "relations": prompt}
    pipe: Any = nlp.add_pipe("clinie_decoder_prompt", config=settings)
    pipe.schema = schema
    begin = time.perf_counter()
    train(nlp, seen, run.seed, run.settings.get("rate", 1e-3), run.settings.get("passes", 2), words=100)
    row: Row = {"train_seconds": time.perf_counter() - begin}
    docs = to_docs(gold, nlp.vocab)
    for doc in docs:
        set_relations(doc, [])
    begin = time.perf_counter()
    docs = list(pipe.pipe(docs, batch_size=128))
    row["seconds"] = (time.perf_counter() - begin) / len(gold)
    return {**row, **score(gold, [note_from_doc(doc) for doc in docs])["relations"]["strict"]["micro"]}


if __name__ == "__main__":
    main(
        __doc__,
        list(DISTANCE),
        [f"{wording}, {age}" for wording in WORDINGS for age in ("before", "now")],
        work,
        {
            "P": lambda row: number(row, "p", 4),
            "R": lambda row: number(row, "r", 4),
            "F1 (95 %)": interval,
            "s a note": lambda row: number(row, "seconds", 3),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
