"""The kinds of mistakes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.doc.note import Concept, Note
from spacy_clinie.study.mistakes import KINDS, analyse, mistakes

TEXT = "Took aspirin and aspirin for bad pain, no rash."


def note(*mentions: tuple[int, int, str], text: str = TEXT) -> Note:
    return Note("n", text, [Concept(f"C{i}", start, end, label) for i, (start, end, label) in enumerate(mentions)])


def test_each_kind_of_mistake() -> None:
    gold = note((5, 12, "Drug"), (17, 24, "Drug"), (29, 37, "Reason"), (42, 46, "ADE"))
    found = note((5, 12, "Drug"), (17, 24, "Reason"), (33, 37, "Reason"), (13, 16, "Drug"))
    listed = {(one.kind, one.gold, one.found) for one in mistakes(gold, found)}
    assert listed == {
        ("type", (17, 24, "Drug"), (17, 24, "Reason")),
        ("boundary", (29, 37, "Reason"), (33, 37, "Reason")),
        ("missed", (42, 46, "ADE"), None),
        ("spurious", None, (13, 16, "Drug")),
    }


def test_same_type_and_larger_overlap_come_first() -> None:
    gold = note((5, 24, "Drug"))
    found = note((5, 16, "Reason"), (5, 12, "Drug"), (13, 24, "Drug"))
    listed = {one.kind: one.found for one in mistakes(gold, found) if one.gold}
    assert listed == {"boundary": (13, 24, "Drug")}
    assert sorted(one.kind for one in mistakes(gold, found)) == ["boundary", "spurious", "spurious"]


MENTIONS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 9), st.sampled_from("ab")).map(lambda m: (m[0], m[0] + m[1], m[2]))
)


@settings(deadline=None)
@given(MENTIONS, MENTIONS)
def test_every_concept_is_correct_or_part_of_one_mistake(ours: list, theirs: list) -> None:
    listed = list(mistakes(note(*ours), note(*theirs)))
    gold, found = [one.gold for one in listed if one.gold], [one.found for one in listed if one.found]
    assert sorted(gold) == sorted(set(ours) - set(theirs))
    assert sorted(found) == sorted(set(theirs) - set(ours))


def test_counts_by_type_and_recall_of_seen_words() -> None:
    gold = [note((5, 12, "Drug"), (17, 24, "Drug"), (33, 37, "Reason"), (42, 46, "ADE"))]
    found = [note((5, 12, "Drug"), (33, 37, "Reason"))]
    shown = [note((5, 12, "Drug"), (9, 13, "Reason"), text="Then Aspirin.")]
    counts = analyse(gold, found, shown)
    assert [counts[kind] for kind in KINDS] == [0, 0, 2, 0]
    assert counts["by_type"] == {
        "ADE": {"boundary": 0, "type": 0, "missed": 1, "spurious": 0},
        "Drug": {"boundary": 0, "type": 0, "missed": 1, "spurious": 0},
    }
    assert counts["seen"] == {"gold": 2, "found": 1}
    assert counts["unseen"] == {"gold": 2, "found": 1}
    assert {"document": "n", "kind": "missed", "gold": (42, 46, "ADE"), "found": None} in counts["examples"]
