"""End to end: concepts by our tagger, relations between what it found, both trained on the same notes.

    python benchmarks/end_to_end.py ddi2013 --corpora ../shared/corpora --seeds 0 1

Relations on gold concepts stand beside them, for what the tagger costs. Needs `python -m spacy_clinie download minilm`.
"""

import time

from data import DISTANCE, load, to_docs, words
from relations import ARCHITECTURES
from runs import Row, Run, interval, main, number
from training import CONCEPTS, RELATIONS, blank, train

from spacy_clinie.corpora.splits import sample
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.scoring.scores import score


def work(run: Run) -> Row:
    """Train both components, and score them together and apart."""
    notes, schema = load(run.corpus, run.corpora)
    tagger, relations = blank(), blank()
    tagger.add_pipe("clinie_ner_encoder", config={"model": {"precision": run.precision}})
    model = {"@architectures": ARCHITECTURES[run.system], "precision": run.precision}
    relations.add_pipe("clinie_rel", config={"model": model, "max_distance": DISTANCE[run.corpus]})
    begin = time.perf_counter()
    seen = sample(notes["train"], run.settings.get("documents", len(notes["train"])))
    for nlp, rate in ((tagger, CONCEPTS), (relations, RELATIONS[run.system])):
        pipe = nlp.get_pipe(nlp.pipe_names[0])
        pipe.schema = schema
        train(nlp, seen, run.seed, rate, averages=nlp is tagger)
    row: Row = {"train_seconds": time.perf_counter() - begin}
    gold = notes[run.split]
    docs = to_docs(gold, relations.vocab)
    for doc in docs:
        set_relations(doc, [])
    alone = [note_from_doc(doc) for doc in relations.pipe(docs)]
    row["gold"] = score(gold, alone)["relations"]["strict"]["micro"]
    both = blank()
    both.add_pipe("clinie_ner_encoder", source=tagger)
    both.add_pipe("clinie_rel", source=relations)
    begin = time.perf_counter()
    found = [note_from_doc(doc, note.id) for doc, note in zip(both.pipe(note.text for note in gold), gold, strict=True)]
    row["words_per_second"] = words(gold) / (time.perf_counter() - begin)
    scores = score(gold, found)
    row["concepts"] = scores["concepts"]["strict"]["micro"]
    row["strict"], row["lenient"] = (scores["relations"][kind]["micro"] for kind in ("strict", "lenient"))
    return row


if __name__ == "__main__":
    main(
        __doc__,
        list(DISTANCE),
        list(ARCHITECTURES),
        work,
        {
            "concepts F1 (95 %)": lambda row: interval(row["concepts"]),
            "relations on gold F1 (95 %)": lambda row: interval(row["gold"]),
            "end to end F1 (95 %)": lambda row: interval(row["strict"]),
            "lenient F1 (95 %)": lambda row: interval(row["lenient"]),
            "words/s": lambda row: number(row, "words_per_second"),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
