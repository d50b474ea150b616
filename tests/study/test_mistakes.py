"""The kinds of mistakes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.study.mistakes import KINDS, analyse, mistakes

TEXT = "Took aspirin and aspirin for bad pain, no rash."


def note(*mentions: tuple[int, int, str], text: str = TEXT) -> Note:
    return Note("n", text, [Concept(f"C{i}", start, end, label) for i, (start, end, label) in enumerate(mentions)])


def test_each_kind() -> None:
    gold = note((5, 12, "Drug"), (17, 24, "Drug"), (29, 37, "Reason"), (42, 46, "ADE"))
    found = note((5, 12, "Drug"), (17, 24, "Reason"), (33, 37, "Reason"), (13, 16, "Drug"))
    told = {(one.kind, one.gold, one.found) for one in mistakes(gold, found)}
    assert told == {
        ("type", (17, 24, "Drug"), (17, 24, "Reason")),
        ("boundary", (29, 37, "Reason"), (33, 37, "Reason")),
        ("missed", (42, 46, "ADE"), None),
        ("spurious", None, (13, 16, "Drug")),
    }


def test_own_type_and_larger_overlap_come_first() -> None:
    gold = note((5, 24, "Drug"))
    found = note((5, 16, "Reason"), (5, 12, "Drug"), (13, 24, "Drug"))
    told = {one.kind: one.found for one in mistakes(gold, found) if one.gold}
    assert told == {"boundary": (13, 24, "Drug")}
    assert sorted(one.kind for one in mistakes(gold, found)) == ["boundary", "spurious", "spurious"]


MENTIONS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 9), st.sampled_from("ab")).map(lambda m: (m[0], m[0] + m[1], m[2]))
)


@settings(deadline=None)
@given(MENTIONS, MENTIONS)
def test_every_concept_stands_in_one_mistake_or_is_right(ours: list, theirs: list) -> None:
    told = list(mistakes(note(*ours), note(*theirs)))
    gold, found = [one.gold for one in told if one.gold], [one.found for one in told if one.found]
    assert sorted(gold) == sorted(set(ours) - set(theirs))
    assert sorted(found) == sorted(set(theirs) - set(ours))


def test_counts_and_what_training_showed() -> None:
    gold = [note((5, 12, "Drug"), (17, 24, "Drug"), (33, 37, "Reason"), (42, 46, "ADE"))]
    found = [note((5, 12, "Drug"), (33, 37, "Reason"))]
    shown = [note((5, 12, "Drug"), (9, 13, "Reason"), text="Then Aspirin.")]
    told = analyse(gold, found, shown)
    assert [told[kind] for kind in KINDS] == [0, 0, 2, 0]
    assert told["by_type"] == {
        "ADE": {"boundary": 0, "type": 0, "missed": 1, "spurious": 0},
        "Drug": {"boundary": 0, "type": 0, "missed": 1, "spurious": 0},
    }
    assert told["seen"] == {"gold": 2, "found": 1}
    assert told["unseen"] == {"gold": 2, "found": 1}
    assert {"document": "n", "kind": "missed", "gold": (42, 46, "ADE"), "found": None} in told["examples"]
