"""Learning rates, step by step."""

from itertools import islice

import pytest

from spacy_clinie.training.schedules import warmup_cosine


def test_up_in_a_line_down_along_a_cosine_and_zero_for_ever() -> None:
    rates = list(islice(warmup_cosine(2.0, 4, 12), 16))
    assert rates[:5] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert rates[6] == pytest.approx(1 + 2**-0.5)
    assert rates[8] == pytest.approx(1.0)
    assert rates[12:] == pytest.approx([0.0] * 4)
    assert sorted(rates[4:], reverse=True) == rates[4:]


def test_without_warm_up_the_rate_begins_at_its_height() -> None:
    assert list(islice(warmup_cosine(1.0, 0, 2), 3)) == pytest.approx([1.0, 0.5, 0.0])
