"""Concepts: our tagger beside stock spaCy (spacy-transformers, `ner`) and edsnlp (`eds.transformer`, `eds.ner_crf`).

All on the same notes, encoder, passes and words a step, in the same precision, each system in a process of its own:

    python benchmarks/concepts.py phee --corpora ../shared/corpora --seeds 0 1

Settings were chosen on dev; test is only scored. Needs the extra `bench` and `python -m spacy_clinie download minilm`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

PASSES, WORDS = 4, 400
SYSTEMS = ("spacy_clinie", "spacy", "edsnlp", "encoder")

Predict = Callable[[list[Any]], list[Any]]


def schedule(steps: int) -> Iterator[float]:
    """A tenth of the steps up, the rest down to zero; times the learning rate."""
    for step in range(1, steps + 1):
        yield min(step / (0.1 * steps), (steps - step) / (0.9 * steps))


def train_spacy(nlp: Any, notes: list[Any], seed: int, rate: float, passes: int = PASSES) -> None:
    """Train a spaCy pipeline, ours or stock."""
    import random

    import spacy
    from data import to_docs
    from spacy.training import Example
    from spacy.util import minibatch
    from thinc.api import Adam

    spacy.util.fix_random_seed(seed)
    references = to_docs(notes, nlp.vocab)
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in references]
    average = sum(map(len, references)) / len(references)
    size = max(1, round(WORDS / average))
    nlp.initialize(lambda: examples)
    steps = passes * -(-len(examples) // size)
    rates = schedule(steps)
    sgd = Adam(rate, L2=0.01, grad_clip=1.0, use_averages=False)
    for _ in range(passes):
        random.shuffle(examples)
        for batch in minibatch(examples, size):
            sgd.learn_rate = rate * next(rates)
            nlp.update(batch, sgd=sgd)


def run_spacy_clinie(notes: dict[str, list[Any]], schema: Any, seed: int, settings: dict[str, Any]) -> Predict:
    import spacy

    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    model = {"@architectures": "spacy_clinie.EncoderTagger.v1", "precision": "fp32", **settings.get("model", {})}
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    train_spacy(nlp, notes["train"], seed, settings.get("rate", 1e-4))
    return lambda test: _spacy_notes(nlp, test)


def run_spacy(notes: dict[str, list[Any]], schema: Any, seed: int, settings: dict[str, Any]) -> Predict:
    import spacy

    from spacy_clinie.models.base import locate

    nlp = spacy.blank("en", config={"nlp": {"tokenizer": {"@tokenizers": "spacy_clinie.ClinicalTokenizer.v1"}}})
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96}
    nlp.add_pipe(
        "transformer",
        config={
            "max_batch_items": 4096,
            "model": {
                "@architectures": "spacy-transformers.TransformerModel.v3",
                "name": locate("minilm"),
                "get_spans": spans,
                "tokenizer_config": {"use_fast": True},
            },
        },
    )
    listener = {"@architectures": "spacy-transformers.TransformerListener.v1", "grad_factor": 1.0}
    listener["pooling"] = {"@layers": "reduce_mean.v1"}
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": False,
        "tok2vec": listener,
    }
    nlp.add_pipe("ner", config={"model": parser})
    train_spacy(nlp, notes["train"], seed, settings.get("rate", 1e-4))
    return lambda test: _spacy_notes(nlp, test)


def _spacy_notes(nlp: Any, notes: list[Any]) -> list[Any]:
    from spacy_clinie.conversion import note_from_doc

    docs = nlp.pipe((note.text for note in notes), batch_size=256)
    return [note_from_doc(doc, note.id) for doc, note in zip(docs, notes, strict=True)]


def run_edsnlp(notes: dict[str, list[Any]], schema: Any, seed: int, settings: dict[str, Any]) -> Predict:
    import edsnlp
    import torch
    from data import to_docs
    from edsnlp.training import ScheduledOptimizer, TrainingData, train

    from spacy_clinie.models.base import locate
    from spacy_clinie.notes import Concept, Note
    from spacy_clinie.tokenizer import make_tokenizer

    torch.manual_seed(seed)
    nlp = edsnlp.blank("eds")
    nlp.tokenizer = make_tokenizer(nlp.vocab)
    embedding = edsnlp.pipes.transformer(model=locate("minilm"), window=128, stride=96)
    nlp.add_pipe(
        edsnlp.pipes.ner_crf(
            embedding=embedding,
            mode="joint",
            target_span_getter="clinie",
            span_setter={"clinie": True},
            **settings.get("model", {}),
        ),
        name="ner",
    )
    docs = to_docs(notes["train"], nlp.vocab)
    average = sum(map(len, docs)) / len(docs)
    size = max(1, round(WORDS / average))
    steps = PASSES * -(-len(docs) // size)
    ramp = {"@schedules": "linear", "warmup_rate": 0.1, "start_value": 0.0}
    optimizer = ScheduledOptimizer(
        torch.optim.AdamW,
        module=nlp,
        total_steps=steps,
        groups=[
            {"selector": "ner[.]embedding", "lr": {**ramp, "max_value": settings.get("rate", 1e-4)}},
            {"selector": ".*", "lr": {**ramp, "max_value": settings.get("head_rate", 3e-4)}},
        ],
    )
    data = TrainingData(
        data=edsnlp.data.from_iterable(docs), batch_size=f"{size} docs", shuffle="dataset", pipe_names=["ner"]
    )
    with tempfile.TemporaryDirectory() as folder:
        nlp = train(
            nlp=nlp,
            train_data=[data],
            max_steps=steps,
            optimizer=optimizer,
            seed=seed,
            cpu=True,
            save_model=False,
            output_dir=folder,
            logger=False,
        )

    def predict(test: list[Any]) -> list[Any]:
        stream = edsnlp.data.from_iterable([make_doc(note.text) for note in test]).map_pipeline(nlp)
        found = stream.set_processing(batch_size="1024 words", autocast=False)
        return [
            Note(note.id, doc.text, [_concept(i, span, Concept) for i, span in enumerate(doc.spans["clinie"])])
            for doc, note in zip(found, test, strict=True)
        ]

    make_doc = nlp.make_doc
    return predict


def _concept(number: int, span: Any, kind: Any) -> Any:
    return kind(f"C{number}", span.start_char, span.end_char, span.label_)


def run_encoder(notes: dict[str, list[Any]], schema: Any, seed: int, settings: dict[str, Any]) -> Predict:
    """The encoder alone with its tokenizer: sorted by length, about 1,024 padded pieces a batch, nothing found."""
    import torch

    from spacy_clinie.models.base import load_encoder, load_tokenizer
    from spacy_clinie.models.pieces import by_budget

    model, tokenizer = load_encoder("minilm").eval(), load_tokenizer("minilm")

    def predict(test: list[Any]) -> list[Any]:
        encoded = tokenizer.backend_tokenizer.encode_batch([note.text for note in test])
        pieces = [part for one in encoded for part in _cut(one.ids, 128)]
        with torch.inference_mode():
            for batch in by_budget([len(part) for part in pieces], 1024):
                longest = max(len(pieces[i]) for i in batch)
                ids = torch.zeros(len(batch), longest, dtype=torch.long)
                for row, i in enumerate(batch):
                    ids[row, : len(pieces[i])] = torch.tensor(pieces[i])
                model(input_ids=ids, attention_mask=(ids > 0).long())
        return []

    return predict


def _cut(ids: list[int], size: int) -> list[list[int]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def work(system: str, corpus: str, corpora: Path, seed: int, split: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train and run one system in this process."""
    import torch
    from data import load, words

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(seed)
    notes, schema = load(corpus, corpora)
    begin = time.perf_counter()
    predict = globals()[f"run_{system}"](notes, schema, seed, settings)
    result: dict[str, Any] = {"system": system, "seed": seed, "train_seconds": time.perf_counter() - begin}
    predict(notes[split][:20])
    speeds = []
    for _ in range(3):
        begin = time.perf_counter()
        found = predict(notes[split])
        speeds.append(words(notes[split]) / (time.perf_counter() - begin))
    result["words_per_second"] = sorted(speeds)[1]
    result["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if found:
        from spacy_clinie.scoring.scores import score

        scores = score(notes[split], found)["concepts"]
        result["strict"], result["lenient"] = scores["strict"]["micro"], scores["lenient"]["micro"]
        result["per_type"] = {kind: row["f1"] for kind, row in scores["strict"]["per_type"].items()}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=["phee", "maccrobat2020"])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, to choose settings on dev")
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON for each run")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        result = work(args.systems[0], args.corpus, args.corpora, args.seeds[0], args.split, args.settings)
        args.out.write_text(json.dumps(result), encoding="utf8")
        return
    names = ("strict F1", "95 % interval", "lenient", "words/s", "GB", "train s")
    print(f"{'system':14}{'seed':>5}" + "".join(f"{n:>{w}}" for n, w in zip(names, (11, 18, 9, 9, 6, 9), strict=True)))
    for seed in args.seeds:
        for system in args.systems:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "result.json"
                command = [sys.executable, __file__, args.corpus, "--corpora", str(args.corpora), "--seeds", str(seed)]
                command += ["--systems", system, "--split", args.split, "--settings", json.dumps(args.settings)]
                command += ["--out", str(out), "--here"]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{system:14}{seed:5}  failed:\n{done.stderr[-2000:]}")
                    continue
                result = json.loads(out.read_text(encoding="utf8"))
            strict, lenient = result.get("strict", {}), result.get("lenient", {})
            low, high = strict.get("interval", (float("nan"), float("nan")))
            figures = (result["words_per_second"], result["peak_gigabytes"], result["train_seconds"])
            print(
                f"{system:14}{seed:5}{strict.get('f1', float('nan')):11.4f}{f'{low:.4f} to {high:.4f}':>18}"
                f"{lenient.get('f1', float('nan')):9.4f}{figures[0]:9.0f}{figures[1]:6.1f}{figures[2]:9.0f}",
                flush=True,
            )
            if args.out:
                with args.out.open("a", encoding="utf8") as file:
                    file.write(json.dumps({"corpus": args.corpus, "split": args.split, **result}) + "\n")


if __name__ == "__main__":
    main()
