"""End to end: concepts by our tagger, and relations between what it found, trained on the same notes.

    python benchmarks/end_to_end.py phee --corpora ../shared/corpora --seeds 0 1

Either both components have an encoder of their own and are trained one after the other, or one encoder is shared and
trained once, by both together. `encoder` is the encoder alone, as in concepts.py. Relations on gold concepts stand
beside, for what the tagger costs. Needs `python -m spacy_clinie download minilm`.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from concepts import run_encoder
from data import DISTANCE, load, to_docs, words
from relations import ARCHITECTURES
from runs import Row, Run, interval, main, number
from training import CONCEPTS, RELATIONS, SHARED, blank, train

from spacy_clinie.corpora.splits import sample
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.scoring.scores import score

SHARES, ENCODER = "shared encoder", "encoder"


def train_apart(notes: list[Any], schema: Any, run: Run) -> Any:
    """Both components with encoders of their own, in one pipeline."""
    tagger, relations = blank(), blank()
    tagger.add_pipe("clinie_ner_encoder", config={"model": {"precision": run.precision}})
    model = {"@architectures": ARCHITECTURES[run.system], "precision": run.precision}
    model |= run.settings.get("model", {})
    relations.add_pipe("clinie_rel", config={"model": model, "max_distance": DISTANCE[run.corpus]})
    for nlp, rate in ((tagger, CONCEPTS), (relations, RELATIONS[run.system])):
        nlp.get_pipe(nlp.pipe_names[0]).schema = schema
        train(nlp, notes, run.seed, rate, averages=nlp is tagger)
    both = blank()
    both.add_pipe("clinie_ner_encoder", source=tagger)
    both.add_pipe("clinie_rel", source=relations)
    return both


def train_together(notes: list[Any], schema: Any, run: Run) -> Any:
    """Both components with one encoder."""
    nlp = blank()
    nlp.add_pipe("clinie_encoder", config={"model": {"precision": run.precision}})
    listener = {"@architectures": "spacy_clinie.EncoderListener.v1"}
    for name, architecture, more in (
        ("clinie_ner_encoder", "spacy_clinie.Tok2VecTagger.v1", {}),
        ("clinie_rel", "spacy_clinie.Tok2VecPairs.v1", {"max_distance": DISTANCE[run.corpus]}),
    ):
        model = {"@architectures": architecture, "tok2vec": listener}
        nlp.add_pipe(name, config={"model": model, **more, **run.settings.get(name, {})}).schema = schema
    rate, passes = run.settings.get("rate", SHARED), run.settings.get("passes", 4)
    train(nlp, notes, run.seed, rate, passes, averages=run.settings.get("averages", False))
    return nlp


def work(run: Run) -> Row:
    """Train both components, and score them together and apart."""
    notes, schema = load(run.corpus, run.corpora)
    gold = notes[run.split]
    if run.system == ENCODER:
        predict = run_encoder(notes, run)
        return {"words_per_second": _speed(lambda: predict(gold), gold)}
    begin = time.perf_counter()
    seen = sample(notes["train"], run.settings.get("documents", len(notes["train"])))
    nlp = (train_together if run.system == SHARES else train_apart)(seen, schema, run)
    row: Row = {"train_seconds": time.perf_counter() - begin}
    with tempfile.TemporaryDirectory() as folder:
        nlp.to_disk(folder)
        row["megabytes"] = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
    docs = to_docs(gold, nlp.vocab)
    for doc in docs:
        set_relations(doc, [])
    with nlp.select_pipes(disable="clinie_ner_encoder"):
        alone = [note_from_doc(doc) for doc in nlp.pipe(docs)]
    row["gold"] = score(gold, alone)["relations"]["strict"]["micro"]
    found: list[Any] = []

    def read() -> None:
        texts = nlp.pipe((note.text for note in gold), batch_size=256)
        found[:] = [note_from_doc(doc, note.id) for doc, note in zip(texts, gold, strict=True)]

    row["words_per_second"] = _speed(read, gold)
    scores = score(gold, found)
    row["concepts"] = scores["concepts"]["strict"]["micro"]
    row["strict"], row["lenient"] = (scores["relations"][kind]["micro"] for kind in ("strict", "lenient"))
    return row


def _speed(read: Any, notes: list[Any]) -> float:
    """The median of three."""
    speeds = []
    for _ in range(3):
        begin = time.perf_counter()
        read()
        speeds.append(words(notes) / (time.perf_counter() - begin))
    return sorted(speeds)[1]


if __name__ == "__main__":
    main(
        __doc__,
        list(DISTANCE),
        [*ARCHITECTURES, SHARES, ENCODER],
        work,
        {
            "concepts F1 (95 %)": lambda row: interval(row.get("concepts")),
            "relations on gold F1 (95 %)": lambda row: interval(row.get("gold")),
            "end to end F1 (95 %)": lambda row: interval(row.get("strict")),
            "lenient F1 (95 %)": lambda row: interval(row.get("lenient")),
            "words/s": lambda row: number(row, "words_per_second"),
            "MB": lambda row: number(row, "megabytes"),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
