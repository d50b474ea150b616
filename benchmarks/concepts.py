"""Concepts: our tagger beside stock spaCy (spacy-transformers, `ner`) and edsnlp (`eds.transformer`, `eds.ner_crf`).

All on the same notes, encoder, passes and words a step, in the same precision, each run in a process of its own. Stock
spaCy computes in fp32 whatever `--precision` says: on a processor it has nothing else.

    python benchmarks/concepts.py phee --corpora ../shared/corpora --seeds 0 1

Settings were chosen on dev; test is only scored. Needs the extra `bench` and `python -m spacy_clinie download minilm`.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from typing import Any

from data import load, to_docs, words
from runs import Row, Run, interval, main, number
from training import CONCEPTS, PASSES, WORDS, blank, notes_a_step, train

Predict = Callable[[list[Any]], list[Any]]


def run_spacy_clinie(notes: dict[str, list[Any]], run: Run) -> Predict:
    nlp = blank()
    model = {"@architectures": "spacy_clinie.EncoderTagger.v1", "precision": run.precision}
    model |= run.settings.get("model", {})
    nlp.add_pipe("clinie_ner_encoder", config={"model": model})
    rate, words_a_step = run.settings.get("rate", CONCEPTS), run.settings.get("words", WORDS)
    train(nlp, notes["train"], run.seed, rate, words=words_a_step, averages=True)
    return lambda test: _spacy_notes(nlp, test)


def run_spacy(notes: dict[str, list[Any]], run: Run) -> Predict:
    from spacy_clinie.models.pretrained import locate

    nlp = blank()
    window = run.settings.get("window", 128)
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": window, "stride": window * 3 // 4}
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
    train(
        nlp,
        notes["train"],
        run.seed,
        run.settings.get("rate", 2e-4),
        words=run.settings.get("words", WORDS),
        stock=True,
    )
    return lambda test: _spacy_notes(nlp, test)


def _spacy_notes(nlp: Any, notes: list[Any]) -> list[Any]:
    from spacy_clinie.doc.interchange import note_from_doc

    docs = nlp.pipe((note.text for note in notes), batch_size=256)
    return [note_from_doc(doc, note.id) for doc, note in zip(docs, notes, strict=True)]


def run_edsnlp(notes: dict[str, list[Any]], run: Run) -> Predict:
    import edsnlp
    import torch
    from edsnlp.training import ScheduledOptimizer, TrainingData
    from edsnlp.training import train as train_edsnlp

    from spacy_clinie.doc.note import Concept, Note
    from spacy_clinie.doc.tokenizer import make_tokenizer
    from spacy_clinie.models.pretrained import locate

    torch.manual_seed(run.seed)
    nlp = edsnlp.blank("eds")
    nlp.tokenizer = make_tokenizer(nlp.vocab)
    window = run.settings.get("window", 128)
    embedding = edsnlp.pipes.transformer(model=locate("minilm"), window=window, stride=window * 3 // 4)
    nlp.add_pipe(
        edsnlp.pipes.ner_crf(
            embedding=embedding,
            mode="joint",
            target_span_getter="clinie",
            span_setter={"clinie": True},
            **run.settings.get("model", {}),
        ),
        name="ner",
    )
    docs = to_docs(notes["train"], nlp.vocab)
    size = notes_a_step(len(docs), sum(map(len, docs)), run.settings.get("words", WORDS))
    steps = PASSES * -(-len(docs) // size)
    ramp = {"@schedules": "linear", "warmup_rate": 0.1, "start_value": 0.0}
    optimizer = ScheduledOptimizer(
        torch.optim.AdamW,
        module=nlp,
        total_steps=steps,
        groups=[
            {"selector": "ner[.]embedding", "lr": {**ramp, "max_value": run.settings.get("rate", 2e-4)}},
            {"selector": ".*", "lr": {**ramp, "max_value": run.settings.get("head_rate", 6e-4)}},
        ],
    )
    data = TrainingData(
        data=edsnlp.data.from_iterable(docs), batch_size=f"{size} docs", shuffle="dataset", pipe_names=["ner"]
    )
    with tempfile.TemporaryDirectory() as folder:
        nlp = train_edsnlp(
            nlp=nlp,
            train_data=[data],
            max_steps=steps,
            optimizer=optimizer,
            seed=run.seed,
            cpu=True,
            mixed_precision="bf16" if run.precision == "bf16" else "no",
            save_model=False,
            output_dir=folder,
            logger=False,
        )

    def predict(test: list[Any]) -> list[Any]:
        stream = edsnlp.data.from_iterable([make_doc(note.text) for note in test]).map_pipeline(nlp)
        found = stream.set_processing(batch_size="1024 words", autocast=run.precision == "bf16")
        return [
            Note(note.id, doc.text, [_concept(i, span, Concept) for i, span in enumerate(doc.spans["clinie"])])
            for doc, note in zip(found, test, strict=True)
        ]

    make_doc = nlp.make_doc
    return predict


def _concept(number: int, span: Any, kind: Any) -> Any:
    return kind(f"C{number}", span.start_char, span.end_char, span.label_)


def run_encoder(notes: dict[str, list[Any]], run: Run) -> Predict:
    """The encoder alone with its tokenizer: sorted by length, about 1,024 padded pieces a batch, nothing found."""
    import torch

    from spacy_clinie.models.pretrained import load_encoder, load_tokenizer
    from spacy_clinie.models.wordpieces import by_budget

    model, tokenizer = load_encoder("minilm").eval(), load_tokenizer("minilm")

    def predict(test: list[Any]) -> list[Any]:
        encoded = tokenizer.backend_tokenizer.encode_batch([note.text for note in test])
        pieces = [part for one in encoded for part in _cut(one.ids, 128)]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bf16"):
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


SYSTEMS = {"spacy_clinie": run_spacy_clinie, "spacy": run_spacy, "edsnlp": run_edsnlp, "encoder": run_encoder}


def work(run: Run) -> Row:
    """Train and run one system."""
    from spacy_clinie.scoring.scores import score

    notes, _ = load(run.corpus, run.corpora)
    begin = time.perf_counter()
    predict = SYSTEMS[run.system](notes, run)
    row: Row = {"train_seconds": time.perf_counter() - begin}
    predict(notes[run.split][:20])
    speeds = []
    for _ in range(3):
        begin = time.perf_counter()
        found = predict(notes[run.split])
        speeds.append(words(notes[run.split]) / (time.perf_counter() - begin))
    row["words_per_second"] = sorted(speeds)[1]
    row["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if found:
        scores = score(notes[run.split], found)["concepts"]
        row["strict"], row["lenient"] = scores["strict"]["micro"], scores["lenient"]["micro"]
        row["per_type"] = {kind: own["f1"] for kind, own in scores["strict"]["per_type"].items()}
    return row


if __name__ == "__main__":
    main(
        __doc__,
        ["phee", "maccrobat2020"],
        list(SYSTEMS),
        work,
        {
            "strict F1 (95 %)": lambda row: interval(row.get("strict")),
            "lenient F1 (95 %)": lambda row: interval(row.get("lenient")),
            "words/s": lambda row: number(row, "words_per_second"),
            "GB": lambda row: number(row, "gigabytes", 1),
            "s to train": lambda row: number(row, "train_seconds"),
        },
    )
