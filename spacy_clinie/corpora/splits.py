"""Reproducible splits into train, dev and test, samples, and texts shared between corpora.

A corpus without a split of its own is ranked by the SHA-256 of the note ids. This works like shuffling, but does not
depend on the order of files or the version of a random number generator.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..doc.note import Note

# Texts that share this many words in a row overlap; sentences of the open corpora share fewer by chance. Texts with
# fewer words than the second number are ignored.
SHARED_WORDS, FEWEST_WORDS = 12, 6
# Passages in more texts than this are boilerplate, such as headers, unless they make up half of a text.
SEVERAL, _PART = 3, 0.5


def assign_splits(notes: Iterable[tuple[str, str | None]], group: str | None = None) -> dict[str, str]:
    """Assign the notes of a corpus to splits.

    Files and folders named train, dev or test decide. If there are only train and test, a tenth of train becomes dev.
    Without such names, 80 % are train and 10 % each dev and test. With three or more notes or groups, every split gets
    at least one.

    notes (Iterable[tuple[str, str | None]]): Id of each note, and its split from file or folder names.
    group (str | None): Regular expression for the part of an id that related notes share, such as the number of a
        trial. Related notes are never split. None if all notes are independent.
    RETURNS (dict[str, str]): `train`, `dev` or `test` by id. If only some notes have a split from names, the others
        have none.
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
    """Sample notes for few-shot training. A larger sample with the same seed contains the smaller ones.

    notes (Sequence[Note]): The notes.
    k (int): Sample size. If there are fewer notes, all are returned.
    seed (int): Seed of the sample.
    RETURNS (list[Note]): In the order of `notes`.
    """
    drawn = {id(note) for note in shuffled(notes, seed)[: max(k, 0)]}
    return [note for note in notes if id(note) in drawn]


def shuffled(notes: Sequence[Note], seed: int) -> list[Note]:
    """Shuffle notes reproducibly.

    notes (Sequence[Note]): The notes.
    seed (int): Seed of the order.
    RETURNS (list[Note]): All notes.
    """
    return [notes[i] for i in ranked([note.id for note in notes], seed)]


def ranked(ids: Sequence[str], seed: int) -> list[int]:
    """Rank notes by a hash of seed and id.

    ids (Sequence[str]): Ids of notes.
    seed (int): Seed of the order.
    RETURNS (list[int]): All indexes.
    """
    return sorted(range(len(ids)), key=lambda i: _digest(f"{seed}:{ids[i]}"))


def overlapping(texts: Iterable[str], others: Iterable[str]) -> list[int]:
    """Find texts that overlap with other texts, such as training data of one corpus with test data of another.

    Two texts overlap if they share `SHARED_WORDS` words in a row or, if one has fewer words (but at least
    `FEWEST_WORDS`), if the other contains all of it. Passages that more than `SEVERAL` of the texts share, such as
    headers, count only if they make up at least half of a text. Case and punctuation are ignored.

    texts (Iterable[str]): Texts.
    others (Iterable[str]): Other texts.
    RETURNS (list[int]): Indexes of the overlapping texts.
    """
    return overlapping_and_boilerplate(texts, others)[0]


def overlapping_and_boilerplate(texts: Iterable[str], others: Iterable[str]) -> tuple[list[int], list[int]]:
    """Find overlapping texts, and texts that share only boilerplate with others. See `overlapping`.

    texts (Iterable[str]): Texts.
    others (Iterable[str]): Other texts.
    RETURNS (tuple[list[int], list[int]]): Indexes of the overlapping texts, and of those that share only boilerplate.
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
    """The number of words of a text that are part of a run."""
    places: set[int] = set()
    for length in set(map(len, runs)):
        for i in range(len(words) - length + 1):
            if tuple(words[i : i + length]) in runs:
                places.update(range(i, i + length))
    return len(places)


def _shares(ids: Sequence[str], group: str | None, shares: Mapping[str, float]) -> dict[str, str]:
    """Assign groups to splits by rank. The last split gets the rest."""
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
