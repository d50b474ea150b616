"""Concepts by a language model tuned with LoRA: both formats of its answers, grounded and free, beside our tagger.

    python benchmarks/decoder.py phee --corpora ../shared/corpora --seeds 0 --settings '{"documents": 800, "passes": 2}'

All on the same notes and passes. `documents` trains on a part of train, `scored` scores a part of the split; without
them it is all of it, which takes hours on two cores. `free` as false leaves out free answers, which take longest.
`concepts` sets more of the prompt, `words` the size of a step. A language model's threshold is chosen on dev, unless
dev is what is scored: then the best one is printed. Mistakes are counted, and `--out` gets examples of them by offsets.
Needs `python -m spacy_clinie download minilm smollm2`.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data import load
from runs import Row, Run, interval, main, number
from thresholds import best, by_threshold, written
from training import CONCEPTS, PASSES, WORDS, blank, train

from spacy_clinie.corpora.splits import sample
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.scoring.scores import score
from spacy_clinie.study.mistakes import KINDS, analyse

FORMATS = {"inline marks": "spacy_clinie.InlineMarks.v1", "mention list": "spacy_clinie.MentionList.v1"}
TAGGER = "tagger"
DECODER = 5e-4
# What first trials on phee were scored on.
TWO = ("Drug", "ADE")


def work(run: Run) -> Row:
    """Train one system and score it; a language model once grounded and once free."""
    notes, schema = load(run.corpus, run.corpora)
    seen = sample(notes["train"], run.settings.get("documents", len(notes["train"])))
    gold, dev = (sample(notes[split], run.settings.get("scored", len(notes[split]))) for split in (run.split, "dev"))
    nlp = blank()
    if run.system == TAGGER:
        pipe: Any = nlp.add_pipe("clinie_ner_encoder", config={"model": {"precision": run.precision}})
    else:
        asked = {
            "@misc": "spacy_clinie.ConceptPrompt.v1",
            "format": {"@misc": FORMATS[run.system]},
            **run.settings.get("concepts", {}),
        }
        model = {
            "@architectures": "spacy_clinie.CausalLM.v1",
            "base": "smollm2",
            "precision": run.precision,
            **run.settings.get("model", {}),
        }
        lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
        settings = {"model": {"adapter": lora, **model}, "concepts": asked, "relations": None}
        pipe = nlp.add_pipe("clinie_decoder_prompt", config=settings)
    pipe.schema = schema
    begin = time.perf_counter()
    rate = CONCEPTS if run.system == TAGGER else run.settings.get("rate", DECODER)
    passes, words = run.settings.get("passes", PASSES), run.settings.get("words", WORDS)
    averages = run.settings.get("averages", run.system == TAGGER)
    train(nlp, seen, run.seed, rate, passes, words=words, averages=averages)
    row: Row = {"train_seconds": time.perf_counter() - begin}
    if run.system != TAGGER and run.split != "dev":
        row["dev"] = _read(nlp, dev, seen)
        row["threshold"] = float(best(row["dev"]["by_threshold"]))
        pipe.concepts = replace(pipe.concepts, threshold=row["threshold"])
    row["grounded"] = _read(nlp, gold, seen)
    if run.system != TAGGER and run.settings.get("free", True):
        pipe.concepts = replace(pipe.concepts, grounded=False)
        pipe.rejected.clear()  # of grounded answers
        row["free"] = {**_read(nlp, gold, seen), "rejected": sum(pipe.rejected.values())}
    return row


def _read(nlp: Any, gold: list[Note], shown: list[Note]) -> Row:
    """Scores, seconds for each note, and what is wrong."""
    begin = time.perf_counter()
    docs = list(nlp.pipe((note.text for note in gold), batch_size=256))
    seconds = (time.perf_counter() - begin) / len(gold)
    found = [note_from_doc(doc, note.id) for doc, note in zip(docs, gold, strict=True)]
    scores = score(gold, found)["concepts"]
    two = score(*([_only(note, TWO) for note in side] for side in (gold, found)))["concepts"]["strict"]["micro"]
    row: Row = {"strict": scores["strict"]["micro"], "lenient": scores["lenient"]["micro"], "two": two}
    row |= {"seconds": seconds, "by_threshold": by_threshold(gold, found)}
    return row | {"mistakes": analyse(gold, found, shown)}


def _kinds(row: Row) -> str:
    """How many mistakes there are of each kind."""
    return " / ".join(str(row["grounded"]["mistakes"][kind]) for kind in KINDS)


def _recall(row: Row, name: str) -> str:
    """What was found of the gold concepts whose words training had shown, or had not."""
    own = row["grounded"]["mistakes"][name]
    return f"{own['found'] / own['gold']:.3f} of {own['gold']:,}" if own["gold"] else ""


def _only(note: Note, types: Sequence[str]) -> Note:
    """A note with the concepts of some types."""
    return Note(note.id, note.text, [concept for concept in note.concepts if concept.label in types])


if __name__ == "__main__":
    main(
        __doc__,
        ["phee", "maccrobat2020"],
        [*FORMATS, TAGGER],
        work,
        {
            "strict F1 (95 %)": lambda row: interval(row["grounded"]["strict"]),
            "threshold": lambda row: number(row, "threshold", 2),
            "dev: best strict F1 (its threshold)": lambda row: written(row.get("dev", row["grounded"])["by_threshold"]),
            "lenient F1 (95 %)": lambda row: interval(row["grounded"]["lenient"]),
            "Drug and ADE: strict F1 (95 %)": lambda row: interval(row["grounded"]["two"]),
            " / ".join(KINDS): _kinds,
            "recall, words seen": lambda row: _recall(row, "seen"),
            "recall, words unseen": lambda row: _recall(row, "unseen"),
            "s a note": lambda row: number(row["grounded"], "seconds", 3),
            "free: strict F1 (95 %)": lambda row: interval(row.get("free", {}).get("strict")),
            "free: s a note": lambda row: number(row.get("free", {}), "seconds", 3),
            "free: rejected": lambda row: number(row.get("free", {}), "rejected"),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
