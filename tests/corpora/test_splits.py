from collections import Counter

import pytest

from spacy_clinie.corpora.splits import assign_splits, overlapping, sample
from spacy_clinie.doc.note import Note

IDS = [f"note-{number}" for number in range(200)]


def sizes(splits: dict[str, str]) -> dict[str, int]:
    return dict(Counter(splits.values()))


def test_without_a_layout_eight_in_ten_are_for_training() -> None:
    splits = assign_splits((note_id, None) for note_id in IDS)
    assert sizes(splits) == {"train": 160, "dev": 20, "test": 20}
    assert splits == assign_splits((note_id, None) for note_id in reversed(IDS))


def test_the_split_never_changes() -> None:
    """Scores are only comparable as long as these are the notes of the splits."""
    splits = assign_splits((str(number), None) for number in range(10))
    assert {note_id: split for note_id, split in splits.items() if split != "train"} == {"9": "dev", "8": "test"}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"train": 1}),
        (2, {"train": 2}),
        (3, {"train": 1, "dev": 1, "test": 1}),
        (4, {"train": 2, "dev": 1, "test": 1}),
        (14, {"train": 12, "dev": 1, "test": 1}),
        (16, {"train": 12, "dev": 2, "test": 2}),
    ],
)
def test_three_notes_are_enough_for_three_splits(count: int, expected: dict[str, int]) -> None:
    assert sizes(assign_splits((note_id, None) for note_id in IDS[:count])) == expected
    groups = [(f"{note_id}_{part}", None) for note_id in IDS[:count] for part in "ab"]
    assert sizes(assign_splits(groups, group=r"note-\d+")) == {split: 2 * size for split, size in expected.items()}


def test_notes_of_a_group_stay_together() -> None:
    ids = [f"NCT{number:04}_{kind}" for number in range(100) for kind in ("inc", "exc")]
    splits = assign_splits(((note_id, None) for note_id in ids), group=r"NCT\d+")
    assert sizes(splits) == {"train": 160, "dev": 20, "test": 20}
    assert all(splits[f"NCT{number:04}_inc"] == splits[f"NCT{number:04}_exc"] for number in range(100))


def test_the_layout_decides() -> None:
    layout = [("a", "train"), ("b", "dev"), ("c", "test"), ("d", None)]
    assert assign_splits(layout) == {"a": "train", "b": "dev", "c": "test"}
    assert assign_splits([("a", "train"), ("b", "train")]) == {"a": "train", "b": "train"}


def test_train_and_test_alone_give_a_tenth_of_train_as_dev() -> None:
    layout = [(note_id, "test" if i < 50 else "train") for i, note_id in enumerate(IDS)]
    splits = assign_splits(layout)
    assert sizes(splits) == {"train": 135, "dev": 15, "test": 50}
    assert {note_id for note_id, split in splits.items() if split == "test"} == set(IDS[:50])


def test_a_sample_is_the_same_each_time_and_grows_by_itself() -> None:
    notes = [Note(note_id, "") for note_id in IDS]
    few, more = sample(notes, 5, seed=1), sample(notes, 20, seed=1)
    assert few == sample(notes, 5, seed=1)
    assert (len(few), len(more)) == (5, 20)
    assert [note for note in more if note in few] == few
    assert sample(notes, 5, seed=2) != few
    assert sample(notes, 500) == notes
    assert sample(notes, 0) == []


SHORT = "Rash followed two doses of amoxicillin."
LONG = "She was seen at home. Rash followed two doses of Amoxicillin, and went away when she took it no more."


@pytest.mark.parametrize(
    ("text", "other", "shared"),
    [
        (LONG, LONG.upper(), True),
        (SHORT, LONG, True),  # whichever of the two is the short one
        (LONG, SHORT, True),
        (SHORT, SHORT, True),
        (SHORT, LONG.replace("doses", "pills"), False),
        ("Two doses of amoxicillin.", LONG, False),  # says nothing that another may not say as well
        (LONG, "Before. " + LONG[22:], True),
        ("A " + SHORT, LONG, False),
    ],
)
def test_texts_that_stand_in_others(text: str, other: str, shared: bool) -> None:
    assert overlapping(["Something else.", text], ["Nothing of it.", other]) == ([1] if shared else [])


def test_a_header_that_many_notes_have_does_not_make_them_one() -> None:
    header = "Sex: M Service: MEDICINE Allergies: Patient recorded as having No Known Allergies to Drugs Attending"
    course = "Patient {0} took drug {0} on day {0}, had rash {0}, fever {0}, cough {0} and pain {0}, and went home {0}."
    texts = [f"{header} {course.format(i)}" for i in range(4)]
    tested = [f"{header} {course.format(99)}"]
    assert overlapping(texts, tested) == []
    # Of few notes it cannot be known; and what else they share counts.
    assert overlapping(texts[:3], tested) == [0, 1, 2]
    assert overlapping([*texts, f"{header} {course.format(99)}"], tested) == [4]
    # A copy of a whole note is one, however often it is there.
    assert overlapping([*texts, *tested * 5], tested) == [4, 5, 6, 7, 8]
    # So is a note that says little but that.
    assert overlapping([*texts, f"{header} Went home."], tested) == [4]
