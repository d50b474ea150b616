"""What kinds of mistakes arms make, and where."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from ..mistakes import KINDS, Mention
from ..plan import System
from .layout import Block, Cell, Column, Record, Section, Table, counted, listed, share
from .manifests import Example, Outcome, Study

# Of each kind, a page shows as many examples for each arm and corpus; the CSV file has all.
SHOWN = 5
# Characters on both sides of a quoted concept.
AROUND = 40

Texts = Callable[[str], Mapping[str, str]]


def mistakes_section(study: Study, texts: Optional[Texts] = None) -> Section:
    """A table of kinds of mistakes, and examples.

    study (Study): The study.
    texts (Optional[Texts]): Gives the texts of a corpus by id, where they may be quoted.
    RETURNS (Section): The section.
    """
    groups: dict[tuple[str, System, str], list[Outcome]] = {}
    for one in study.folds:
        # In `loo` each draw of few shots makes its own mistakes, too many to read; without any shots there is one.
        shown = (one.fold.study, one.fold.stage) in (("single", "full"), ("loo", "zero"))
        if shown and one.outcome and one.outcome.mistakes:
            groups.setdefault((one.fold.corpus, one.fold.system, one.fold.stage), []).append(one.outcome)
    blocks: list[Block] = [
        "Of all mistakes about concepts, the share of each kind. Boundary: the right type, other offsets that overlap. "
        "Type: overlapping, of another type. Missed: in the gold standard alone. Spurious: found alone. Beside them "
        "recall: of mentions whose words the training had shown with their type (seen), and of all others (unseen). "
        "Stage full is training on the corpus, stage zero multi-task tuning on the others. Rejected are answers of a "
        "language model that could not be used."
    ]
    if not groups:
        blocks.append("No finished fold has mistakes to show.")
        return Section("mistakes", "Mistakes", blocks)
    rows, records = [], []
    for place, outcomes in groups.items():
        row, more = _counts(place, outcomes)
        rows.append(row)
        records += more
    heads = ("Mistakes", "Boundary", "Type", "Missed", "Spurious", "Recall, seen", "Recall, unseen", "Rejected")
    words = [Column(title, words=True) for title in ("Corpus", "Arm and base", "Stage")]
    columns = [*words, *map(Column, heads), Column("Why", words=True)]
    blocks.append(Table("errors", "Kinds of mistakes", columns, rows, records))
    blocks.append(
        f"Examples, at most {SHOWN} of each kind for each arm; examples.csv has all that were kept. Offsets count "
        "characters from 0, the end not included. "
        + ("Concepts stand between « and »." if texts else "The text is not shown.")
    )
    for corpus in dict.fromkeys(corpus for corpus, _, _ in groups):
        own = {place: outcomes for place, outcomes in groups.items() if place[0] == corpus}
        blocks.append(_examples(corpus, own, texts(corpus) if texts else None))
    return Section("mistakes", "Mistakes", blocks)


def _counts(place: tuple[str, System, str], outcomes: Sequence[Outcome]) -> tuple[list[Cell], list[Record]]:
    """A row of the table, summed over seeds, and the same for CSV, over all types and for each."""
    corpus, system, stage = place
    kinds: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    rejected: Counter[str] = Counter()
    recall: Counter[str] = Counter()
    for outcome in outcomes:
        rejected.update(outcome.rejected)
        if outcome.mistakes:
            kinds.update(outcome.mistakes.kinds)
            for label, own in outcome.mistakes.types.items():
                types.setdefault(label, Counter()).update(own)
            for name, (found, gold) in (("seen", outcome.mistakes.seen), ("unseen", outcome.mistakes.unseen)):
                recall.update({f"{name}_found": found, f"{name}_gold": gold})
    facts: Record = {"corpus": corpus, "arm": system.arm, "base": system.model, "stage": stage, "folds": len(outcomes)}
    total = kinds.total()
    cells = [Cell(corpus), Cell(system.title), Cell(stage), Cell(f"{total:,}")]
    cells += [Cell(share(kinds[kind], total), f"{kinds[kind]:,}") for kind in KINDS]
    for name in ("seen", "unseen"):
        found, gold = recall[f"{name}_found"], recall[f"{name}_gold"]
        cells.append(Cell(share(found, gold), f"{found:,} of {gold:,}"))
    reasons = listed(f"{reason} {count:,}" for reason, count in rejected.most_common())
    cells += [Cell(f"{rejected.total():,}"), Cell(reasons)]
    over_all = {"label": "", **{kind: kinds[kind] for kind in KINDS}, **recall, "rejected": rejected.total()}
    by_type = [{"label": label, **{kind: own[kind] for kind in KINDS}} for label, own in sorted(types.items())]
    return cells, [{**facts, **own} for own in (over_all, *by_type)]


def _examples(
    corpus: str, groups: Mapping[tuple[str, System, str], Sequence[Outcome]], texts: Optional[Mapping[str, str]]
) -> Table:
    rows, records = [], []
    for (_, system, stage), outcomes in groups.items():
        seen: Counter[str] = Counter()
        # Of one seed: others make much the same mistakes.
        first = min(outcomes, key=lambda outcome: outcome.fold.seed)
        for example in first.mistakes.examples if first.mistakes else ():
            seen[example.kind] += 1
            gold, found = _shown(example.gold), _shown(example.found)
            text = [] if texts is None else [_excerpt(texts.get(example.document, ""), example)]
            if seen[example.kind] <= SHOWN:
                values = (system.title, stage, example.document, example.kind, gold, found, *text)
                rows.append([Cell(value) for value in values])
            records.append(
                {
                    "corpus": corpus,
                    "arm": system.arm,
                    "base": system.model,
                    "stage": stage,
                    "document": example.document,
                    "kind": example.kind,
                    **_parts("gold", example.gold),
                    **_parts("found", example.found),
                    "text": text[0] if text else "",
                }
            )
    titles = ("Arm and base", "Stage", "Document", "Kind", "Gold", "Found", *(["Text"] if texts is not None else []))
    title = f"{corpus}: {counted(len(rows), 'example')}"
    return Table("examples", title, [Column(name, words=True) for name in titles], rows, records, closed=True)


def _shown(mention: Optional[Mention]) -> str:
    return "" if mention is None else f"{mention[0]}–{mention[1]} {mention[2]}"


def _parts(side: str, mention: Optional[Mention]) -> dict:
    return dict(zip((f"{side}_start", f"{side}_end", f"{side}_label"), mention or (None,) * 3, strict=True))


def _excerpt(text: str, example: Example) -> str:
    """The gold concept, or else what was found, with some text around it."""
    start, end, _ = example.gold or example.found or (0, 0, "")
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    words = " ".join(f"{before}«{text[start:end]}»{after}".split())
    return f"{'…' if start > AROUND else ''}{words}{'…' if end + AROUND < len(text) else ''}" if text else ""
