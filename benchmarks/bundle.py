"""Make a trained pipeline one that comes with the package: small, scored on test, with a card.

    python benchmarks/bundle.py open-minilm training/open-minilm/model-best --corpora corpus/open

`--corpora` holds what `spacy project run open-data` made. Every corpus is read with its own schema. The pipeline goes
to `spacy_clinie/data/pipelines/NAME`: adapters in bf16, heads as they are, and a README.md made of the file of that
name in `benchmarks/cards` and the scores.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from runs import interval
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_config

import spacy_clinie
from spacy_clinie.components.trainable import ClinieComponent
from spacy_clinie.doc.concepts import ID_KEY
from spacy_clinie.doc.interchange import note_from_doc
from spacy_clinie.schema import Schema
from spacy_clinie.scoring.scores import score
from spacy_clinie.training.callbacks import before_to_disk

TARGET = Path(spacy_clinie.__file__).parent / "data" / "pipelines"
CARDS = Path(__file__).parent / "cards"
CORPORA = ("phee", "maccrobat2020-coarse", "chia", "bc5cdr")
DEFAULT = "maccrobat2020-coarse"


def table(pipeline: Path, corpora: Path, limit: int) -> list[str]:
    """Scores on the test sets as lines of Markdown.

    pipeline (Path): Folder of the pipeline.
    corpora (Path): Folder with `test/NAME.spacy` for each corpus.
    limit (int): Score so many documents of each corpus; 0 for all.
    RETURNS (list[str]): The table.
    """
    lines = ["| test set | documents | concepts, strict F1 (95 %) | lenient F1 | relations end to end, strict F1 |"]
    lines += ["|---|---|---|---|---|"]
    for name in CORPORA:
        nlp = spacy_clinie.load(pipeline, name)
        docs = list(DocBin().from_disk(corpora / "test" / f"{name}.spacy").get_docs(nlp.vocab))
        docs = docs[:limit] if limit else docs
        gold = [note_from_doc(doc, str(doc.user_data[ID_KEY])) for doc in docs]
        found = [
            note_from_doc(doc, note.id) for doc, note in zip(nlp.pipe(note.text for note in gold), gold, strict=True)
        ]
        scores = score(gold, found)
        cells = [interval(scores["concepts"]["strict"]["micro"]), f"{scores['concepts']['lenient']['micro']['f1']:.4f}"]
        cells.append(interval(scores["relations"]["strict"]["micro"]) if any(one.relations for one in found) else "")
        lines.append(f"| {name} | {len(gold):,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def shrink(pipeline: Path) -> None:
    """Keep the weights of adapters in bf16: half the size; they are computed with in fp32. And forget the folder in
    which their base lay: its name is in `base.json`."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in pipeline.rglob("adapter_config.json"):
        record = json.loads(file.read_text(encoding="utf8"))
        record["base_model_name_or_path"] = None
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")
        _begin_anew(pipeline, file.relative_to(pipeline).parts[0], record)
    for file in pipeline.rglob("adapter_model.safetensors"):
        weights = load_file(file)
        save_file({name: value.to(torch.bfloat16) for name, value in weights.items()}, file, {"format": "pt"})


def _begin_anew(pipeline: Path, component: str, adapter: dict[str, Any]) -> None:
    """Where training went on from an adapter in a folder, let the config hold its settings: initialized once more, the
    component begins anew, and the folder is not there."""
    config = load_config(pipeline / "config.cfg", interpolate=False)
    model = config["components"][component]["model"]
    if isinstance(model.get("adapter"), str):
        kept = {name: adapter[name] for name in ("r", "lora_alpha", "lora_dropout")}
        model["adapter"] = {**kept, "target_modules": sorted(adapter["target_modules"])}
        config["paths"].pop("adapter", None)
        config.to_disk(pipeline / "config.cfg")


def settle(nlp: Language) -> None:
    """Look for the default types unless others are asked for."""
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, ClinieComponent):
            pipe.use(Schema.load(DEFAULT))


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="documents of each corpus that are scored; 0 for all")
    args = parser.parse_args()
    target = TARGET / args.name
    nlp = spacy_clinie.load(args.pipeline)
    settle(nlp)
    shutil.rmtree(target, ignore_errors=True)
    TARGET.mkdir(exist_ok=True)
    # Scores stand in the card, those of the small dev set of training say less; and every version of spaCy that the
    # package takes will do.
    nlp.meta.update(name=args.name, version=spacy_clinie.__version__, license="Apache-2.0", url="", performance={})
    nlp.meta["spacy_version"] = ">=3.7.2,<3.9.0"
    # The words of a vocabulary are those of the corpora.
    before_to_disk()(nlp).to_disk(target, exclude=["vocab"])
    shrink(target)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 2**20:.1f} MB", flush=True)
    card = (CARDS / f"{args.name}.md").read_text(encoding="utf8")
    lines = table(target, args.corpora, args.limit)
    (target / "README.md").write_text(card.replace("{scores}", "\n".join(lines)), encoding="utf8")


if __name__ == "__main__":
    main()
