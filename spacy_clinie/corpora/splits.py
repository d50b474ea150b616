"""Which notes are for training, for development and for testing, always in the same way.

Where a corpus has no split of its own, notes are ranked by the SHA-256 of their ids. That is as good as shuffling, and
depends neither on the order of the files nor on any version of a random number generator.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..doc.note import Note

# Words in a row that make two texts one document. Sentences of the open corpora share fewer by chance. A text of fewer
# words than the second number says nothing that another may not say as well.
SHARED_WORDS, FEWEST_WORDS = 12, 6
# What stands in more texts than this is a header or a disclaimer, unless it is half of a text.
SEVERAL, _PART = 3, 0.5


def assign_splits(notes: Iterable[tuple[str, str | None]], group: str | None = None) -> dict[str, str]:
    """Assign every note of a corpus to a split.

    Files and folders named train, dev or test decide if there are such; where they say train and test only, a tenth
    of the training notes becomes dev. Otherwise 80 % are for training, 10 % each for development and testing. Of three
    notes or groups and more, each split gets one at least.

    notes (Iterable[tuple[str, str | None]]): Id of each note, and its split as the layout of the files tells.
    group (str | None): Regular expression that finds in an id what notes that belong together share, such as the
        number of a trial; they are never divided between splits. None if every note stands for itself.
    RETURNS (dict[str, str]): `train`, `dev` or `test` by id. A note on which the layout is silent, while it speaks of
        others, is in no split.
    """
    layout = dict(notes)
    given = {note_id: split for note_id, split in layout.items() if split is not None}
    if given and set(given.values()) != {"train", "test"}:
        return given
    if given:
        train = [note_id for note_id, split in given.items() if split == "train"]
        return given | _shares(train, group, {"dev": 0.1, "train": 0.9})
    return _shares(list(layout), group, {"dev": 0.1, "test": 0.1, "train": 0.8})


def sample(notes: Sequence[Note], k: int, seed: int = 0) -> list[Note]:
    """Draw notes, for few-shot training. The same seed gives the same notes, and more of them contain the fewer.

    notes (Sequence[Note]): The notes.
    k (int): How many; all of them if there are not that many.
    seed (int): Another seed gives another sample.
    RETURNS (list[Note]): In the order of `notes`.
    """
    drawn = {id(note) for note in shuffled(notes, seed)[: max(k, 0)]}
    return [note for note in notes if id(note) in drawn]


def shuffled(notes: Sequence[Note], seed: int) -> list[Note]:
    """Notes in another order, always the same for a seed.

    notes (Sequence[Note]): The notes.
    seed (int): Another seed gives another order.
    RETURNS (list[Note]): All of them.
    """
    return [notes[i] for i in ranked([note.id for note in notes], seed)]


def ranked(ids: Sequence[str], seed: int) -> list[int]:
    """Indexes of notes in an order that a seed and their ids decide.

    ids (Sequence[str]): Ids of notes.
    seed (int): Another seed gives another order.
    RETURNS (list[int]): All indexes.
    """
    return sorted(range(len(ids)), key=lambda i: _digest(f"{seed}:{ids[i]}"))


def overlapping(texts: Iterable[str], others: Iterable[str]) -> list[int]:
    """Find texts that other texts repeat at least in part: what one corpus trains on, another may test.

    texts (Iterable[str]): Texts.
    others (Iterable[str]): Other texts.
    RETURNS (list[int]): Indexes of the texts that share `SHARED_WORDS` words in a row with one of the others. Where one
        of the two has fewer, but at least `FEWEST_WORDS`, all of it stands in the other. What more than `SEVERAL` of
        the texts have, as headers of notes, counts only where it is half of a text and more. Capitals and the signs
        between words make no difference.
    """
    return overlapping_and_boilerplate(texts, others)[0]


def overlapping_and_boilerplate(texts: Iterable[str], others: Iterable[str]) -> tuple[list[int], list[int]]:
    """The same, and the texts that share with the others only what counts as a header.

    texts (Iterable[str]): Texts.
    others (Iterable[str]): Other texts.
    RETURNS (tuple[list[int], list[int]]): What `overlapping` gives, and the indexes of further texts.
    """
    words = [_words(text) for text in texts]
    short: dict[int, dict[tuple[str, ...], list[int]]] = {}
    for i, own in enumerate(words):
        if FEWEST_WORDS <= len(own) < SHARED_WORDS:
            short.setdefault(len(own), {}).setdefault(tuple(own), []).append(i)
    known: dict[int, set[tuple[str, ...]]] = {}
    found: set[int] = set()
    for text in others:
        other = _words(text)
        if len(other) >= FEWEST_WORDS:
            length = min(len(other), SHARED_WORDS)
            known.setdefault(length, set()).update(_runs(other, length))
        for length, wanted in short.items():
            found.update(i for run in wanted.keys() & _runs(other, length) for i in wanted[run])
    shared = [{run for length, runs in known.items() for run in runs & _runs(own, length)} for own in words]
    texts_with = Counter(run for runs in shared for run in runs)
    for i, (own, runs) in enumerate(zip(words, shared, strict=True)):
        if any(texts_with[run] <= SEVERAL for run in runs) or (runs and _covered(own, runs) >= _PART * len(own)):
            found.add(i)
    return sorted(found), [i for i, runs in enumerate(shared) if runs and i not in found]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def _covered(words: list[str], runs: set[tuple[str, ...]]) -> int:
    """How many words of a text stand in some of the runs."""
    places: set[int] = set()
    for length in set(map(len, runs)):
        for i in range(len(words) - length + 1):
            if tuple(words[i : i + length]) in runs:
                places.update(range(i, i + length))
    return len(places)


def _shares(ids: Sequence[str], group: str | None, shares: Mapping[str, float]) -> dict[str, str]:
    """Give each split its share of the groups, by rank; the last split gets what is left."""
    groups: dict[str, list[str]] = {}
    for note_id in ids:
        found = re.search(group, note_id) if group else None
        groups.setdefault(found[0] if found else note_id, []).append(note_id)
    ranked = sorted(groups, key=_digest)
    *others, rest = shares
    split_of_group = dict.fromkeys(ranked, rest)
    taken = 0
    for split in others:
        count = max(round(len(ranked) * shares[split]), int(len(ranked) >= 3))
        split_of_group |= dict.fromkeys(ranked[taken : taken + count], split)
        taken += count
    return {note_id: split_of_group[name] for name, members in groups.items() for note_id in members}


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
