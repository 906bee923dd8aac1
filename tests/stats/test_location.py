"""Shifts of Hodges and Lehmann, and intervals that are the tests turned round."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from nkscore.stats import complete_blocks, shift_between, shift_within


def test_by_hand():
    made = shift_between(np.array([[3.0], [5.0]]), np.array([[1.0], [2.0], [10.0]]))
    # Differences 2, 1, -7, 4, 3, -5: the median is 1.5; five values bound nothing at 95 %.
    assert made.effect.tolist() == [1.5]
    assert (made.low[0], made.high[0]) == (-np.inf, np.inf)
    made = shift_within(np.array([[1.0], [2.0], [6.0]]))
    # Means of pairs 1, 1.5, 3.5, 2, 4, 6.
    assert made.effect.tolist() == [2.75]


@pytest.mark.parametrize(("m", "n"), [(6, 8), (4, 20), (30, 30), (60, 70)])
def test_interval_between_is_the_test_turned_round(m, n):
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=(m, 5)), rng.normal(size=(n, 5))
    made = shift_between(x, y)
    method = "exact" if max(m, n) < 50 else "asymptotic"
    for j in range(5):
        for end, inward in ((made.low[j], 1e-9), (made.high[j], -1e-9)):
            inside = scipy_stats.mannwhitneyu(x[:, j] - end - inward, y[:, j], method=method)
            outside = scipy_stats.mannwhitneyu(x[:, j] - end + inward, y[:, j], method=method)
            assert inside.pvalue > 0.05 - (0.001 if method == "asymptotic" else 0)
            assert outside.pvalue <= 0.05 + (0.001 if method == "asymptotic" else 0)


@pytest.mark.parametrize("n", [6, 12, 40, 80])
def test_interval_within_is_the_test_turned_round(n):
    x = np.random.default_rng(n).normal(size=(n, 4))
    made = shift_within(x)
    for j in range(4):
        for end, inward in ((made.low[j], 1e-9), (made.high[j], -1e-9)):
            inside = scipy_stats.wilcoxon(x[:, j] - end - inward).pvalue
            outside = scipy_stats.wilcoxon(x[:, j] - end + inward).pvalue
            assert inside > 0.05 - (0.001 if n > 50 else 0)
            assert outside <= 0.05 + (0.001 if n > 50 else 0)


def test_five_pairs_cannot_bound_at_95_percent():
    x = np.arange(1.0, 6)[:, None]
    assert np.isinf(shift_within(x).low[0])
    assert np.isfinite(shift_within(x, confidence=0.9).low[0])


def test_coverage():
    rng = np.random.default_rng(9)
    made = shift_between(rng.normal(size=(12, 4000)) + 1, rng.normal(size=(15, 4000)))
    covered = ((made.low < 1) & (made.high > 1)).mean()
    assert 0.94 < covered < 0.965


def test_blocks_of_complete_rows():
    values = np.array([[1.0, np.nan, 3], [4, 5, 6], [7, 8, 9]])
    found = {tuple(rows): list(columns) for rows, columns in complete_blocks(values)}
    assert found == {(0, 1, 2): [0, 2], (1, 2): [1]}
