"""Whatever tokens are chosen, an answer ends, and every mention in it is a span of its window."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_clinie.prompts.constraints import MAX_DEPTH, ChoiceConstraint, Constraint, Labels, ListConstraint, WindowIds
from spacy_clinie.prompts.formats import Format, InlineMarks, MarkIds, MentionList, Span

FORMATS = [InlineMarks(), MentionList()]
MARKS = MarkIds(open=90, close=91, newline=92, end=93)

# Few different ids, so that words repeat. The window may contain the marks.
_ids = st.one_of(st.integers(0, 5), st.sampled_from([90, 91, 92, 93]))
_units = st.lists(st.tuples(st.lists(_ids, min_size=1, max_size=3), st.lists(_ids, max_size=1)), min_size=1, max_size=8)
_labels = st.integers(1, 3).map(lambda number: [[7], [7, 8], [9, 7]][:number])


def window_of(units: Sequence[tuple[list[int], list[int]]]) -> WindowIds:
    """A window of units: the ids of each, and ids after it that belong to no unit."""
    ids: list[int] = []
    firsts, lasts = [], []
    for own, behind in units:
        firsts.append(len(ids))
        ids += own
        lasts.append(len(ids))
        ids += behind
    return WindowIds(np.array(ids), np.array(firsts), np.array(lasts))


def run(constraint: Constraint, choose: random.Random) -> list[int]:
    """Advance a constraint by random tokens until it is done."""
    tokens: list[int] = []
    while not constraint.done:
        allowed = list(constraint.allowed())
        assert allowed
        assert len(set(allowed)) == len(allowed)
        tokens.append(choose.choice(allowed))
        constraint.advance(tokens[-1], -0.1)
        assert len(tokens) < 20_000
    return tokens


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(units=_units, labels=_labels, seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_random_tokens_end_and_give_spans_of_the_window(form: Format, units: list, labels: list, seed: int) -> None:
    window = window_of(units)
    constraint = form.constraint(window, form.label_ids(labels, MARKS), MARKS)
    run(constraint, random.Random(seed))
    for mention in constraint.found:
        assert 0 <= mention.start < mention.stop <= len(units)
        assert 0 <= mention.kind < len(labels)
        assert 0 < mention.score <= 1


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(data=st.data(), units=_units, labels=_labels)
@settings(max_examples=300, deadline=None)
def test_a_written_answer_is_read_back(form: Format, data: st.DataObject, units: list, labels: list) -> None:
    # Every unit begins with an id of its own, so that words do not repeat, and no id is a mark.
    units = [([100 + i, *[i % 5 for i in own]], []) for i, (own, _) in enumerate(units)]
    ends = st.tuples(st.integers(0, len(units) - 1), st.integers(1, 3), st.integers(0, len(labels) - 1))
    drawn = data.draw(st.lists(ends, max_size=5))
    spans = {(start, min(start + size, len(units)), kind) for start, size, kind in drawn}
    window, written = window_of(units), form.label_ids(labels, MARKS)
    found = _follow(form.constraint(window, written, MARKS), form.answer_ids(window, spans, written, MARKS))
    assert found <= spans
    deepest = max((sum(start <= i < stop for start, stop, _ in spans) for i in range(len(units))), default=0)
    if form == FORMATS[1] or (deepest <= MAX_DEPTH and not any(_cross(a, b) for a in spans for b in spans)):
        assert found == spans
    assert bool(found) == bool(spans)


def _cross(one: Span, other: Span) -> bool:
    return one[0] < other[0] < one[1] < other[1]


def _follow(constraint: Constraint, answer: list[int]) -> set[Span]:
    for one in answer:
        assert one in constraint.allowed()
        constraint.advance(one, 0.0)
    assert constraint.done
    return {(m.start, m.stop, m.kind) for m in constraint.found}


def test_order_tells_repeated_words_apart() -> None:
    window = window_of([([1], []), ([2], []), ([1], []), ([3], []), ([1], [])])
    labels = Labels([[7], [8]])
    constraint = ListConstraint(window, labels, MARKS.close, MARKS.end)
    for one in [2, 91, 7, 1, 91, 7, 1, 91, 7, 93]:
        assert one in constraint.allowed()
        constraint.advance(one, 0.0)
    assert [(m.start, m.status) for m in constraint.found] == [(1, "exact"), (2, "order"), (4, "exact")]


def test_a_score_is_the_probability_of_the_tokens_of_the_mention() -> None:
    window = window_of([([1], []), ([2], []), ([3], [])])
    form = InlineMarks()
    labels = form.label_ids([[7], [8]], MARKS)
    constraint = form.constraint(window, labels, MARKS)
    for one, log in [(1, -5.0), (90, -0.5), (2, -0.25), (91, -0.125), (7, -0.1), (91, 0.0), (3, -5.0), (93, 0.0)]:
        constraint.advance(one, log)
    (mention,) = constraint.found
    assert mention[:4] == (1, 2, 0, "exact")
    assert mention.score == pytest.approx(np.exp(-0.975))


@pytest.mark.parametrize("form", FORMATS, ids=["inline", "list"])
@given(units=_units, labels=_labels, seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_a_forced_token_is_proposed(form: Format, units: list, labels: list, seed: int) -> None:
    constraint = form.constraint(window_of(units), form.label_ids(labels, MARKS), MARKS)
    choose = random.Random(seed)
    while not constraint.done:
        allowed, proposed = list(constraint.allowed()), constraint.propose(4)
        assert len(proposed) <= 4
        if len(allowed) == 1 and proposed:
            assert proposed[0] == allowed[0]
        constraint.advance(choose.choice(allowed), 0.0)


@given(
    options=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_options_are_chosen_once_and_in_order(options: list[list[int]], seed: int) -> None:
    distinct = sorted({tuple(option) for option in options})
    constraint = ChoiceConstraint([[*option, MARKS.newline] for option in distinct], MARKS.end)
    tokens = run(constraint, random.Random(seed))
    chosen = [i for i, _ in constraint.found]
    assert chosen == sorted(set(chosen))
    assert tokens == [*(one for i in chosen for one in [*distinct[i], MARKS.newline]), MARKS.end]
