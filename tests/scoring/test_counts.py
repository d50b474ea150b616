"""Counts of what is right and wrong."""

import numpy as np
import pytest

from spacy_clinie.scoring.counts import rates


def test_rates_are_those_worked_out_by_hand_and_zero_where_nothing_counts():
    assert rates(np.array([3, 1, 3])).tolist() == pytest.approx([0.75, 0.5, 0.6])
    assert rates(np.array([[0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0]])).tolist() == [[0.0] * 3] * 3 + [[1.0] * 3]
