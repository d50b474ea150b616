"""Words that a pipeline reads, and Docs that are read off a file, in a second of processor time.

    taskset -c 0 python benchmarks/speed.py open-minilm phee --corpora ../shared/corpora
    taskset -c 0 python benchmarks/speed.py docs phee --corpora ../shared/corpora

To compare two states of the code, run it in turns with both: `PYTHONPATH` names the other checkout.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from data import VIEWS, load, to_docs, words
from spacy.vocab import Vocab

from spacy_clinie import load as load_pipeline
from spacy_clinie.doc.report import Report
from spacy_clinie.formats import docbin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", help="a pipeline, or `docs`")
    parser.add_argument("corpus", choices=VIEWS)
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--split", default="dev", choices=["train", "dev", "test"])
    parser.add_argument("--limit", type=int, help="documents that are read; all by default")
    parser.add_argument("--runs", type=int, default=3)
    settings = parser.parse_args()
    notes = load(settings.corpus, settings.corpora)[0][settings.split][: settings.limit]
    if settings.what == "docs":
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "notes.spacy")
            writing = _measured(settings.runs, lambda: docbin.save(to_docs(notes, Vocab()), file))[0]
            reading, found = _measured(settings.runs, lambda: list(docbin.read(file, Report())))
        print(f"{len(found)} Docs: read in {reading:.2f} s, made and written in {writing:.2f} s")
        return
    nlp = load_pipeline(settings.what)
    texts = [note.text for note in notes]
    list(nlp.pipe(texts[:8]))
    seconds, docs = _measured(settings.runs, lambda: list(nlp.pipe(texts)))
    spans = [(i, s.start_char, s.end_char, s.label_) for i, doc in enumerate(docs) for s in doc.spans["clinie"]]
    digest = hashlib.sha256(repr(spans).encode()).hexdigest()[:8]
    print(f"{words(notes) / seconds:,.0f} words/s, {len(spans)} concepts ({digest})")


def _measured(runs: int, work: Callable[[], object]) -> tuple[float, list]:
    """The least processor time of some runs, and what the last one gave."""
    found, least = [], float("inf")
    for _ in range(runs):
        begin = time.process_time()
        found = work()
        least = min(least, time.process_time() - begin)
    return least, found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
