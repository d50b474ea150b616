"""Whatever is chosen, an answer ends, and every mention in it is a stretch of its window."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.prompts.formats import Alphabet, Format, InlineMarks, MentionList, Span
from spacy_clinie.prompts.machines import DEEPEST, Choices, Labels, Listed, Machine, WindowIds

FORMATS = [InlineMarks(), MentionList()]
MARKS = Alphabet(open=90, close=91, line=92, end=93)

# Few different ids, so that words repeat; the marks may be among them.
_ids = st.one_of(st.integers(0, 5), st.sampled_from([90, 91, 92, 93]))
_units = st.lists(st.tuples(st.lists(_ids, min_size=1, max_size=3), st.lists(_ids, max_size=1)), min_size=1, max_size=8)
_labels = st.integers(1, 3).map(lambda number: [[7], [7, 8], [9, 7]][:number])


def window_of(units: Sequence[tuple[list[int], list[int]]]) -> WindowIds:
    """A window of units, each with ids of its own and ids behind it that belong to none."""
    ids: list[int] = []
    firsts, lasts = [], []
    for own, behind in units:
        firsts.append(len(ids))
        ids += own
        lasts.append(len(ids))
        ids += behind
    return WindowIds(np.array(ids), np.array(firsts), np.array(lasts))


def run(machine: Machine, choose: random.Random) -> list[int]:
    """Let a machine take random choices until it is done."""
    taken = []
    while not machine.done:
        permitted = list(machine.allowed())
        assert permitted
        assert len(set(permitted)) == len(permitted)
        taken.append(choose.choice(permitted))
        machine.take(taken[-1], -0.1)
        assert len(taken) < 20_000
    return taken


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(units=_units, labels=_labels, seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_any_choices_end_and_name_stretches_of_the_window(form: Format, units: list, labels: list, seed: int) -> None:
    window = window_of(units)
    machine = form.machine(window, form.label_ids(labels, MARKS), MARKS)
    run(machine, random.Random(seed))
    for mention in machine.found:
        assert 0 <= mention.start < mention.stop <= len(units)
        assert 0 <= mention.kind < len(labels)
        assert 0 < mention.score <= 1


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(data=st.data(), units=_units, labels=_labels)
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back(form: Format, data: st.DataObject, units: list, labels: list) -> None:
    # Every unit has an id of its own, so that words do not repeat, and none is a mark.
    units = [([100 + i, *[i % 5 for i in own]], []) for i, (own, _) in enumerate(units)]
    ends = st.tuples(st.integers(0, len(units) - 1), st.integers(1, 3), st.integers(0, len(labels) - 1))
    drawn = data.draw(st.lists(ends, max_size=5))
    spans = {(start, min(start + size, len(units)), kind) for start, size, kind in drawn}
    window, written = window_of(units), form.label_ids(labels, MARKS)
    found = _follow(form.machine(window, written, MARKS), form.write(window, spans, written, MARKS))
    assert found <= spans
    deepest = max((sum(start <= i < stop for start, stop, _ in spans) for i in range(len(units))), default=0)
    if form == FORMATS[1] or (deepest <= DEEPEST and not any(_cross(a, b) for a in spans for b in spans)):
        assert found == spans
    assert bool(found) == bool(spans)


def _cross(one: Span, other: Span) -> bool:
    return one[0] < other[0] < one[1] < other[1]


def _follow(machine: Machine, answer: list[int]) -> set[Span]:
    for one in answer:
        assert one in machine.allowed()
        machine.take(one, 0.0)
    assert machine.done
    return {(m.start, m.stop, m.kind) for m in machine.found}


def test_of_equal_words_the_order_decides() -> None:
    window = window_of([([1], []), ([2], []), ([1], []), ([3], []), ([1], [])])
    labels = Labels([[7], [8]])
    machine = Listed(window, labels, MARKS.close, MARKS.end)
    for one in [2, 91, 7, 1, 91, 7, 1, 91, 7, 93]:
        assert one in machine.allowed()
        machine.take(one, 0.0)
    assert [(m.start, m.status) for m in machine.found] == [(1, "exact"), (2, "order"), (4, "exact")]


def test_the_score_of_a_mention_is_that_of_its_own_choices() -> None:
    window = window_of([([1], []), ([2], []), ([3], [])])
    form = InlineMarks()
    labels = form.label_ids([[7], [8]], MARKS)
    machine = form.machine(window, labels, MARKS)
    for one, log in [(1, -5.0), (90, -0.5), (2, -0.25), (91, -0.125), (7, -0.1), (91, 0.0), (3, -5.0), (93, 0.0)]:
        machine.take(one, log)
    (mention,) = machine.found
    assert mention[:4] == (1, 2, 0, "exact")
    assert mention.score == pytest.approx(np.exp(-0.975))


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(units=_units, labels=_labels, seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_forced_ids_are_guessed_rightly(form: Format, units: list, labels: list, seed: int) -> None:
    machine = form.machine(window_of(units), form.label_ids(labels, MARKS), MARKS)
    choose = random.Random(seed)
    while not machine.done:
        permitted, guess = list(machine.allowed()), machine.guess(4)
        assert len(guess) <= 4
        if len(permitted) == 1 and guess:
            assert guess[0] == permitted[0]
        machine.take(choose.choice(permitted), 0.0)


@given(
    options=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_choices_are_picked_once_and_in_order(options: list[list[int]], seed: int) -> None:
    distinct = sorted({tuple(option) for option in options})
    machine = Choices([[*option, MARKS.line] for option in distinct], MARKS.end)
    taken = run(machine, random.Random(seed))
    picked = [i for i, _ in machine.found]
    assert picked == sorted(set(picked))
    assert taken == [*(one for i in picked for one in [*distinct[i], MARKS.line]), MARKS.end]
