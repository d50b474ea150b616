"""Relations on gold concepts: both architectures, beside the baseline that says yes to every typed pair.

    python benchmarks/relations.py ddi2013 --corpora ../shared/corpora --seeds 0 1

Marked pairs take hours on all training documents of these corpora: `--settings '{"documents": 100}'` trains on so many,
`{"candidates": 1000}` on those with no more candidates (most of ddi2013's stand in three documents, which list drugs).
A pair may have several types; the baseline takes the one that is most frequent in train for its pair of types.
"""

import time
from collections import Counter

from data import DISTANCE, load, to_docs
from runs import Row, Run, interval, main, number
from training import PASSES, RELATIONS, blank, train

from spacy_clinie.corpora.splits import sample
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.doc.note import Note
from spacy_clinie.doc.relations import set_relations
from spacy_clinie.schema import Schema
from spacy_clinie.scoring.scores import score

ARCHITECTURES = {"one pass": "spacy_clinie.OnePass.v1", "marked pairs": "spacy_clinie.MarkedPairs.v1"}
YES = "yes to all"


def work(run: Run) -> Row:
    """Train and score one architecture, or score the baseline."""
    notes, schema = load(run.corpus, run.corpora)
    nlp = blank()
    settings = {"max_distance": DISTANCE[run.corpus]}
    if run.system in ARCHITECTURES:
        model = {"@architectures": ARCHITECTURES[run.system], "precision": run.precision}
        model |= run.settings.get("model", {})
        settings["model"] = model
    pipe = nlp.add_pipe("clinie_rel", config=settings)
    pipe.schema = schema
    row: Row = {}
    if run.system in ARCHITECTURES:
        begin = time.perf_counter()
        seen = sample(notes["train"], run.settings.get("documents", len(notes["train"])))
        counts = [len(pipe.candidates(doc, list(doc.spans["clinie"])).pairs) for doc in to_docs(seen, nlp.vocab)]
        most = run.settings.get("candidates", max(counts))
        seen = [note for note, count in zip(seen, counts, strict=True) if count <= most]
        row["documents"] = len(seen)
        train(nlp, seen, run.seed, run.settings.get("rate", RELATIONS[run.system]), run.settings.get("passes", PASSES))
        row["train_seconds"] = time.perf_counter() - begin
    docs = to_docs(notes[run.split], nlp.vocab)
    pairs = [pipe.candidates(doc, list(doc.spans["clinie"])).pairs for doc in docs]
    for doc in docs:
        set_relations(doc, [])
    if run.system in ARCHITECTURES:
        begin = time.perf_counter()
        docs = list(pipe.pipe(docs, batch_size=64))
        row["pairs_per_second"] = sum(map(len, pairs)) / (time.perf_counter() - begin)
    else:
        usual = _usual(notes["train"], schema)
        for doc, own in zip(docs, pairs, strict=True):
            kinds = [span.label_ for span in doc.spans["clinie"]]
            set_relations(doc, [(head, tail, usual[kinds[head], kinds[tail]]) for head, tail in own])
    scores = score(notes[run.split], [note_from_doc(doc) for doc in docs])["relations"]["strict"]
    return {**row, **scores["micro"], "per_type": {kind: own["f1"] for kind, own in scores["per_type"].items()}}


def _usual(notes: list[Note], schema: Schema) -> dict[tuple[str, str], str]:
    """The most frequent relation of each pair of types that may have one."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for note in notes:
        kinds = {concept.id: concept.label for concept in note.concepts}
        counts.update((kinds[r.head], kinds[r.tail], r.label) for r in note.relations)
    pairs = [(head, tail) for head in schema.concepts for tail in schema.concepts]
    return {
        pair: max(labels, key=lambda label: counts[(*pair, label)])
        for pair in pairs
        if (labels := schema.allowed(*pair))
    }


if __name__ == "__main__":
    main(
        __doc__,
        list(DISTANCE),
        [YES, *ARCHITECTURES],
        work,
        {
            "P": lambda row: number(row, "p", 4),
            "R": lambda row: number(row, "r", 4),
            "F1 (95 %)": interval,
            "documents": lambda row: number(row, "documents"),
            "pairs/s": lambda row: number(row, "pairs_per_second"),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
