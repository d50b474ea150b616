"""Annotated notes as one self-contained HTML page.

displaCy cannot show typed relations between overlapping spans of a long note: its span renderer has no relations, and
its dependency renderer draws arrows over a single line of tokens.
"""

import base64
import hashlib
import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple, Optional

from jinja2 import Environment
from markupsafe import Markup

from ..display import shown
from ..doc.note import Concept, Note
from ..errors import warn
from ..formats.atomic import atomic_write

_FILES = ("page.html.jinja", "page.css", "page.js")
COLOURS = 8
STROKES = 3
# Lines for concepts below a line of text at most; more would be unreadable, and thousands would break a page.
LANES = 12
# Bytes of a page that takes browsers seconds to open.
LARGE = 20_000_000
# Characters of a concept to quote in a table.
QUOTED = 200
# With this salt, the types of every bundled schema with up to eight types get different colours without probing.
_SALT = "2516"

# Characters of scripts without blanks between words: lines may break between any two of them.
_WIDE = "\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_WORD = re.compile(rf"\s+|[{_WIDE}]|[^\s{_WIDE}]{{1,30}}")


@dataclass
class _Concept:
    """A concept as the page shows it. `lane` is the position of its line below the text: 0 is the closest, and None
    means that it is not drawn."""

    index: int
    label: str
    text: str
    score: Optional[float]
    more: str
    line: int
    fragments: list[tuple[int, int]]
    lane: Optional[int]
    colour: int
    stroke: int

    @property
    def size(self) -> int:
        return self.fragments[-1][1] - self.fragments[0][0]


class _Bar(NamedTuple):
    concept: _Concept
    gap: bool  # between two fragments
    first: bool  # carries the label


class _Piece(NamedTuple):
    text: str
    bars: Sequence[_Bar] = ()

    @property
    def top(self) -> Optional[_Concept]:
        return next((bar.concept for bar in self.bars if not bar.gap), None)

    @property
    def concepts(self) -> list[int]:
        return [bar.concept.index for bar in self.bars if not bar.gap]


class _Word(NamedTuple):
    """Text without concepts, or the pieces of one word or blank. `depth` is the number of lanes below a word."""

    text: str
    pieces: Sequence[_Piece] = ()
    depth: int = 0


def render(notes: Sequence[Note], *, title: str) -> str:
    """Make an HTML page that needs neither the network nor other files. Without JavaScript and in print, it still shows
    the text, its concepts and the tables. A concept around more than `LANES` others is only in the tables, and the page
    says so.

    notes (Sequence[Note]): The notes.
    title (str): Heading of the page.
    RETURNS (str): The page.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note.
    """
    for note in notes:
        note.check()
    types = Counter(concept.label for note in notes for concept in note.concepts)
    relations = Counter(relation.label for note in notes for relation in note.relations)
    looks = _looks(types)
    views = [_view(i, note, looks) for i, note in enumerate(notes)]
    page, style, script = ((resources.files("spacy_clinie") / "data" / name).read_text("utf-8") for name in _FILES)
    style += "".join(f".l{i} {{ --lane: {i} }} .d{i + 1} {{ --depth: {i + 1} }}\n" for i in range(LANES))
    template = Environment(autoescape=True).from_string(page)
    return template.render(
        title=shown(title),
        counts=" · ".join(
            _counted(number, word)
            for number, word in ((len(notes), "note"), (types.total(), "concept"), (relations.total(), "relation"))
        ),
        concept_types=[
            {"label": shown(label), "count": count, "colour": looks[label][0], "stroke": looks[label][1]}
            for label, count in _by_count(types)
        ],
        relation_types=[(shown(label), count) for label, count in _by_count(relations)],
        notes=views,
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
    )


def write(notes: Iterable[Note], path: Path, *, title: str) -> None:
    """Write the page of `render` to a file, completely or not at all. Warn if it is large (CIE505).

    notes (Iterable[Note]): The notes.
    path (Path): The file.
    title (str): Heading of the page.
    RAISES (ClinieError): CIE004 to CIE006 for an invalid note.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(render(list(notes), title=title), encoding="utf-8")
        size = temporary.stat().st_size
    if size > LARGE:
        warn("CIE505", file=Path(path).name, size=size // 1_000_000)


def _view(index: int, note: Note, looks: dict[str, tuple[int, int]]) -> dict:
    text = shown(note.text)
    ends = [match.start() for match in re.finditer("\n", text)]
    order = sorted(note.concepts, key=text_order)
    concepts = []
    for i, (concept, lane) in enumerate(zip(order, _lanes(order), strict=True)):
        more = [f"{shown(key)}: {shown(value)}" for key, value in concept.attributes.items()]
        fragments = _fragments(concept)
        if len(fragments) > 1:
            more.insert(0, f"in {len(fragments)} parts")
        concepts.append(
            _Concept(
                index=i,
                label=shown(concept.label),
                text=mention(text, concept),
                score=concept.score,
                more=", ".join(more),
                line=bisect_left(ends, concept.start) + 1,
                fragments=fragments,
                lane=lane,
                colour=looks[concept.label][0],
                stroke=looks[concept.label][1],
            )
        )
    places = {concept.id: i for i, concept in enumerate(order)}
    relations = [
        {"head": concepts[places[r.head]], "tail": concepts[places[r.tail]], "label": shown(r.label), "score": r.score}
        for r in sorted(note.relations, key=lambda r: (places[r.head], places[r.tail], r.label))
    ]
    return {
        "index": index,
        "id": shown(note.id),
        "words": list(_words(text, [concept for concept in concepts if concept.lane is not None])),
        "concepts": concepts,
        "not_drawn": sum(concept.lane is None for concept in concepts),
        "relations": relations,
        "more": any(concept.more for concept in concepts),
    }


def _words(text: str, concepts: Sequence[_Concept]) -> Iterator[_Word]:
    """Split the text at blanks and, inside words, at the boundaries of concepts and fragments."""
    cuts, layers = _layers(len(text), concepts)
    labelled: set[int] = set()
    plain = 0
    for match in _WORD.finditer(text):
        first = bisect_right(cuts, match.start()) - 1
        last = bisect_left(cuts, match.end()) - 1
        if not any(layers[first : last + 1]):
            continue
        if plain < match.start():
            yield _Word(text[plain : match.start()])
        plain = match.end()
        pieces = []
        for i in range(first, last + 1):
            part = text[max(cuts[i], match.start()) : min(cuts[i + 1], match.end())]
            bars = []
            # A line cannot be drawn under a line break.
            for concept, gap in layers[i] if "\n" not in part else ():
                bars.append(_Bar(concept, gap, concept.index not in labelled and not gap))
                if not gap:
                    labelled.add(concept.index)
            pieces.append(_Piece(part, bars))
        lanes = [bar.concept.lane + 1 for piece in pieces for bar in piece.bars if bar.concept.lane is not None]
        yield _Word("", pieces, 0 if match.group().isspace() else max(lanes, default=0))
    if plain < len(text):
        yield _Word(text[plain:])


def _layers(length: int, concepts: Sequence[_Concept]) -> tuple[list[int], list[list[tuple[_Concept, bool]]]]:
    """The segments between boundaries: their offsets, and the concepts on each (shortest first), with whether it is a
    gap between fragments."""
    events: dict[int, list[tuple[_Concept, Optional[bool]]]] = {0: [], length: []}
    for concept in concepts:
        for i, (start, end) in enumerate(concept.fragments):
            events.setdefault(start, []).append((concept, False))
            events.setdefault(end, []).append((concept, True if i + 1 < len(concept.fragments) else None))
    cuts = sorted(events)
    layers = []
    active: dict[int, tuple[_Concept, bool]] = {}
    for cut in cuts[:-1]:
        for concept, gap in events[cut]:
            if gap is None:
                del active[concept.index]
            else:
                active[concept.index] = (concept, gap)
        layers.append(sorted(active.values(), key=lambda item: (item[0].size, item[0].index)))
    return cuts, layers


def _lanes(concepts: Sequence[Concept]) -> list[Optional[int]]:
    """The lane of each concept, so that neither lines nor labels overlap; None if no lane is left. Short concepts come
    first, so that longer ones are drawn around them."""
    lanes: list[list[tuple[int, int]]] = [[] for _ in range(LANES)]
    found: list[Optional[int]] = [None] * len(concepts)
    for i in sorted(range(len(concepts)), key=lambda i: (concepts[i].end - concepts[i].start, concepts[i].start)):
        start = concepts[i].start
        # Letters of a label are about three quarters as wide as those of the text.
        end = max(concepts[i].end, start + 2 + (3 * len(concepts[i].label) + 3) // 4)
        number = next((n for n, lane in enumerate(lanes) if _is_free(lane, start, end)), None)
        if number is not None:
            insort(lanes[number], (start, end))
            found[i] = number
    return found


def _is_free(lane: list[tuple[int, int]], start: int, end: int) -> bool:
    """Whether no span of a sorted list without overlaps lies between two offsets."""
    at = bisect_left(lane, (start, end))
    return (at == 0 or lane[at - 1][1] <= start) and (at == len(lane) or lane[at][0] >= end)


def _looks(labels: Iterable[str]) -> dict[str, tuple[int, int]]:
    """The colour and stroke of each type. The colour depends only on the name of the type. If two types of a page have
    the same one, the second in the alphabet takes the next free colour."""
    looks: dict[str, tuple[int, int]] = {}
    used = [0] * COLOURS
    for label in sorted(labels):
        wanted = int.from_bytes(hashlib.sha256((_SALT + label).encode("utf-8", "replace")).digest()[:4], "big")
        colour = min(((wanted + step) % COLOURS for step in range(COLOURS)), key=used.__getitem__)
        looks[label] = colour, (colour + used[colour]) % STROKES
        used[colour] += 1
    return looks


def _fragments(concept: Concept) -> list[tuple[int, int]]:
    """The parts of a concept in text order, within its start and end; or start and end, if it has no parts."""
    parts: list[tuple[int, int]] = []
    for first, last in sorted(concept.fragments):
        start = max(first, concept.start, parts[-1][1] if parts else 0)
        end = min(last, concept.end)
        if start < end and parts and parts[-1][1] == start:
            parts[-1] = parts[-1][0], end
        elif start < end:
            parts.append((start, end))
    return parts or [concept.offsets]


def mention(text: str, concept: Concept) -> str:
    mention = " … ".join(" ".join(text[start:end].split()) for start, end in _fragments(concept))
    return mention if len(mention) <= QUOTED else mention[: QUOTED - 1] + "…"


def text_order(concept: Concept) -> tuple[int, int, str]:
    return concept.start, -concept.end, concept.label


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def score_text(score: Optional[float]) -> str:
    return "–" if score is None else f"{score:.2f}"


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
