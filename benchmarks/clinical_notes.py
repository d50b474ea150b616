"""The annotation of clinical notes, from what readers marked to what the package holds.

    python benchmarks/clinical_notes.py agreement
    python benchmarks/clinical_notes.py build
    python benchmarks/clinical_notes.py add FOLDER READER BATCH...

`benchmarks/readings/BATCH.READER.jsonl` has one line for each note that a reader read. Readers are called r01, r02 and
so on; d01 decided between two readings; v01 looked over notes of a reader and mended them. `agreement` compares every
two readings of one note (Markdown); errors found by those who looked notes over are counted below. `build` writes
`spacy_clinie/corpora/clinical_notes/*.jsonl`: of each note what was decided, else what was mended, else
the only reading. `add` takes over the files `BATCH.offsets.json` that a reader's checker wrote.
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

READINGS = Path(__file__).parent / "readings"
PACKAGE = Path(__file__).parents[1] / "spacy_clinie" / "corpora" / "clinical_notes"
LAYERS = ("concepts", "drugs", "links", "relations")
RANK = "rvd"


def load() -> dict[str, dict[str, dict[str, Any]]]:
    """All readings: by note, then by reader."""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for file in sorted(READINGS.glob("*.jsonl")):
        batch, reader = file.stem.split(".")
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            found[record["id"]][reader] = {**record, "batch": batch}
    return found


def split_of(record: dict[str, Any]) -> str:
    """`train`, `dev` or `test`: batches of dev and test are named after them."""
    kind = record["batch"].rstrip("0123456789")
    return kind if kind in ("dev", "test") else "train"


def facts(record: dict[str, Any]) -> dict[str, set[tuple[Any, ...]]]:
    """What is compared: by layer, with spans in place of numbers."""
    concepts = [tuple(one[:3]) for one in record["concepts"]]
    drugs = [tuple(one) for one in record["drugs"]]
    states = {(tuple(one[:3]), one[3]) for one in record["concepts"] if len(one) > 3}
    links = {(drugs[a], drugs[b], kind) for kind, a, b in record["links"]}
    relations = {(concepts[a], concepts[b], kind) for kind, a, b in record["relations"]}
    return {
        "concepts": set(concepts),
        "assertion": states,
        "drugs": set(drugs),
        "links": links,
        "relations": relations,
    }


def overlapping(left: set[tuple[Any, ...]], right: set[tuple[Any, ...]]) -> int:
    """How many of the left have one of the right that overlaps it and has its type, each taken once."""
    free, same = sorted(right), 0
    for start, end, kind in sorted(left):
        match = next((one for one in free if one[2] == kind and start < one[1] and one[0] < end), None)
        if match:
            free.remove(match)
            same += 1
    return same


def agreement() -> None:
    """Print F1 between the two readings of each note, by layer and type, and what was mended."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    both, errors, looked = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    for readings in load().values():
        first = [reader for reader in sorted(readings) if reader[0] == "r"]
        part = split_of(readings[first[0]])
        if len(first) == 2:
            left, right = (facts(readings[reader]) for reader in first)
            both[part] += 1
            for layer in left:
                for kind in {one[2] if layer != "assertion" else one[1] for one in left[layer] | right[layer]}:
                    at = 1 if layer == "assertion" else 2
                    ours, theirs = ({one for one in side[layer] if one[at] == kind} for side in (left, right))
                    if layer == "assertion":  # of problems that both marked
                        shared = left["concepts"] & right["concepts"]
                        ours, theirs = ({one for one in side if one[0] in shared} for side in (ours, theirs))
                    key = (layer, kind)
                    counts[(*key, part, "same")] += len(ours & theirs)
                    counts[(*key, part, "all")] += len(ours) + len(theirs)
                    if layer in ("concepts", "drugs"):
                        counts[(*key, part, "overlapping")] += overlapping(ours, theirs)
        for reader in sorted(readings):
            if reader[0] == "v":
                batch = readings[reader]["batch"]
                before = facts(next(one for r, one in readings.items() if r[0] == "r" and one["batch"] == batch))
                after = facts(readings[reader])
                looked[reader] += 1
                looked["concepts"] += len(before["concepts"])
                for layer in before:
                    errors[layer, "missed"] += len(after[layer] - before[layer])
                    errors[layer, "wrong"] += len(before[layer] - after[layer])
    parts = [part for part in ("train", "dev", "test") if both[part]]
    print("| layer | type | " + " | ".join(f"{part}, {both[part]} notes" for part in parts) + " |")
    print("|---|---|" + "---|" * len(parts))
    kinds = sorted(
        {key[:2] for key in counts}, key=lambda key: (LAYERS.index("drugs") if key[0] == "assertion" else 0, key)
    )
    for layer, kind in [(layer, None) for layer in ("concepts", "assertion", "drugs", "links", "relations")] + kinds:
        cells = []
        for part in parts:
            same, every, near = (
                sum(
                    n
                    for key, n in counts.items()
                    if key[0] == layer and kind in (None, key[1]) and key[2:] == (part, what)
                )
                for what in ("same", "all", "overlapping")
            )
            near_cell = f" ({2 * near / every:.3f})" if every and layer in ("concepts", "drugs") else ""
            cells.append(f"{2 * same / every:.3f}{near_cell} of {every // 2}" if every else "")
        print(f"| {layer} | {kind or 'all'} | " + " | ".join(cells) + " |")
    notes = sum(n for reader, n in looked.items() if reader[0] == "v")
    print(f"\nLooked over: {notes} notes with {looked['concepts']} concepts.")
    for (layer, what), number in sorted(errors.items()):
        print(f"- {layer} {what}: {number}")


def build() -> None:
    """Write the files of the package."""
    lines: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for name, readings in sorted(load().items()):
        best = max(readings, key=lambda reader: (RANK.index(reader[0]), reader))
        record = readings[best]
        split = {"dev": "dev", "test": "test"}.get(record["batch"].rstrip("0123456789"), "train")
        kept = {"id": name, "sha1": record["sha1"], "readers": sorted(readings)} | {
            layer: record[layer] for layer in LAYERS
        }
        lines[split_of(record)].append(json.dumps(kept, separators=(",", ":")))
    PACKAGE.mkdir(exist_ok=True)
    for split, own in lines.items():
        (PACKAGE / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in own), encoding="utf-8")
        print(f"{split}: {len(own)} notes")


def add(folder: str, reader: str, *batches: str) -> None:
    """Take over what a reader's checker wrote. Who looked notes over names them in `BATCH.ids`, one a line."""
    for batch in batches:
        found = json.loads((Path(folder) / f"{batch}.offsets.json").read_text(encoding="utf-8"))
        ids = Path(folder) / f"{batch}.ids"
        names = ids.read_text(encoding="utf-8").split() if ids.exists() else list(found)
        with (READINGS / f"{batch}.{reader}.jsonl").open("w", encoding="utf-8") as file:
            for name in names:
                own = found[name]
                concepts = [one[:3] if one[3] is None else one for one in own["concepts"]]
                record = {"id": name, "sha1": own["sha1"], "concepts": concepts, "drugs": own["meds"]}
                record |= {"links": own["links"], "relations": own["relations"]}
                file.write(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["add"]:
        add(*sys.argv[2:])
    elif sys.argv[1:2] == ["build"]:
        build()
    elif sys.argv[1:2] == ["agreement"]:
        agreement()
    else:
        sys.exit(__doc__)
