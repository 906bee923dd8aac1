"""Vectorized tests give what scipy gives one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from nkscore import stats


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 30))
    x[:, ::3] = np.round(x[:, ::3])
    return x, np.round(rng.normal(size=40), 1), rng.random((40, 30)) < np.linspace(0.05, 0.9, 30)


def test_rank_correlation_is_spearman(values):
    x, y, _ = values
    made = stats.rank_correlation(y, x)
    for j in range(x.shape[1]):
        expected = scipy_stats.spearmanr(y, x[:, j])
        np.testing.assert_allclose(made.effect[j], expected.statistic, rtol=0, atol=1e-14)
        np.testing.assert_allclose(made.p_value[j], expected.pvalue, rtol=1e-10)


def test_partial_rank_correlation_by_hand():
    # Within each stratum the ranks agree; between strata they oppose.
    y = np.array([1.0, 2, 3, 10, 11, 12])
    x = np.array([[10.0], [11], [12], [1], [2], [3]])
    strata = ["a"] * 3 + ["b"] * 3
    assert stats.rank_correlation(y, x).effect[0] < 0
    made = stats.rank_correlation(y, x, strata)
    np.testing.assert_allclose(made.effect, 1.0)


def test_partial_rank_correlation_is_the_regression_on_ranks_and_strata(values):
    x, y, _ = values
    strata = np.repeat([0, 1, 2, 3], 10)
    made = stats.rank_correlation(y, x[:, :3], strata)
    dummies = np.eye(4)[strata]
    for j in range(3):
        design = np.column_stack([scipy_stats.rankdata(x[:, j]), dummies])
        fitted, rest, *_ = np.linalg.lstsq(design, scipy_stats.rankdata(y), rcond=None)
        error = np.sqrt(rest[0] / 35 * np.linalg.inv(design.T @ design)[0, 0])
        p = 2 * scipy_stats.t.sf(abs(fitted[0] / error), 35)
        np.testing.assert_allclose(made.p_value[j], p, rtol=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_rank_sum_is_mann_whitney(values, turned):
    x, y, member = values
    member = member[:, 3:-3]
    x = x[:, 3:-3]
    made = stats.rank_sum(x, member[:, 5:6]) if turned else stats.rank_sum(y[:, None], member)
    for j in range(x.shape[1]):
        group = member[:, 5] if turned else member[:, j]
        number = x[:, j] if turned else y
        inside, outside = number[group], number[~group]
        expected = scipy_stats.mannwhitneyu(inside, outside, method="asymptotic")
        np.testing.assert_allclose(made.p_value[j], expected.pvalue, rtol=1e-10)
        biserial = 2 * expected.statistic / (len(inside) * len(outside)) - 1
        np.testing.assert_allclose(made.effect[j], biserial, atol=1e-14)


def test_tables_as_probable_as_ours_count():
    """None of five among ten of twenty; all five is as probable, but for rounding."""
    member = np.repeat([1.0, 0.0], 10)[:, None]
    target = np.repeat([0.0, 1.0], [15, 5])
    made = stats.exact_test(target, member)
    np.testing.assert_allclose(made.p_value, 2 * math.comb(10, 5) / math.comb(20, 5))


def test_exact_test_is_fishers(values):
    _, y, member = values
    target = y > 0.3
    made = stats.exact_test(target, member)
    for j in range(member.shape[1]):
        table = [
            [np.sum(target & member[:, j]), np.sum(target & ~member[:, j])],
            [np.sum(~target & member[:, j]), np.sum(~target & ~member[:, j])],
        ]
        if 0 < member[:, j].sum() < 40:
            p = scipy_stats.fisher_exact(table).pvalue
            np.testing.assert_allclose(made.p_value[j], p, rtol=1e-10)


def test_groups_without_members_have_no_result(values):
    _, y, _ = values
    none = np.zeros((40, 2), dtype=bool)
    assert np.isnan(stats.rank_sum(y[:, None], none).p_value).all()
    assert np.isnan(stats.exact_test(y > 0, none).p_value).all()
    assert np.isnan(stats.rank_correlation(y, np.ones((40, 2))).p_value).all()


@pytest.mark.parametrize("kind", ["spearman", "ranksum", "turned", "fisher", "partial"])
def test_missing_values_are_left_out_pair_by_pair(values, kind):
    x, y, member = values
    rng = np.random.default_rng(4)
    member = np.where(rng.random(x.shape) < 0.2, np.nan, member.astype(float))[:, 8:22]
    x = np.where(rng.random(x.shape) < 0.2, np.nan, x)[:, 8:22]
    y = np.where(rng.random(40) < 0.1, np.nan, y)
    strata = np.repeat([0, 1], 20)
    yes = np.where(np.isnan(y), np.nan, y > 0)
    runs = {
        "spearman": lambda rows, c: stats.rank_correlation(y[rows], x[np.ix_(rows, c)]),
        "partial": lambda rows, c: stats.rank_correlation(
            y[rows], x[np.ix_(rows, c)], strata[rows]
        ),
        "ranksum": lambda rows, c: stats.rank_sum(y[rows, None], member[np.ix_(rows, c)]),
        "turned": lambda rows, c: stats.rank_sum(x[np.ix_(rows, c)], yes[rows, None]),
        "fisher": lambda rows, c: stats.exact_test(yes[rows], member[np.ix_(rows, c)]),
    }
    together = runs[kind](np.arange(40), np.arange(14))
    other = member if kind in {"ranksum", "fisher"} else x
    for j in range(14):
        rows = np.flatnonzero(np.isfinite(other[:, j]) & np.isfinite(y))
        alone = runs[kind](rows, np.array([j]))
        np.testing.assert_allclose(together.effect[j], alone.effect[0], rtol=1e-12)
        np.testing.assert_allclose(together.p_value[j], alone.p_value[0], rtol=1e-9)
        assert together.n[j] == rows.size


def test_stouffer_by_hand():
    z, p = stats.stouffer(np.array([[1.0, 2.0, np.nan], [np.nan, np.nan, np.nan]]))
    np.testing.assert_allclose(z[0], 3 / np.sqrt(2))
    np.testing.assert_allclose(p[0], 2 * scipy_stats.norm.sf(3 / np.sqrt(2)))
    assert np.isnan(z[1])
    assert np.isnan(p[1])


def test_signed_z():
    z = stats.signed_z(np.array([0.05, 1.0, 0.05]), np.array([2.0, 1.0, -0.1]))
    np.testing.assert_allclose(z, [1.959963985, 0, -1.959963985], atol=1e-9)


def test_robust_ranks_by_hand():
    # The smaller of two ranks: 1 − (1 − 0.1)²; both at most 0.3: 0.09; twice the smaller of them.
    made = stats.robust_ranks(np.array([[0.1, 0.3], [0.9, np.nan], [np.nan, np.nan]]))
    np.testing.assert_allclose(made[:2], [2 * 0.09, 0.9])
    assert np.isnan(made[2])


def test_robust_ranks_do_not_exceed_their_level():
    made = stats.robust_ranks(np.random.default_rng(0).random((20_000, 5)))
    assert (made < 0.05).mean() < 0.05
