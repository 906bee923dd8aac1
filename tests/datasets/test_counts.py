"""The negative binomial kernel against scipy and against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.datasets import _counts


@pytest.mark.parametrize(
    ("mu", "size"), [(1e-6, 0.5), (0.02, 3.0), (0.7, 0.3), (3.0, 2.0), (40.0, 50.0), (900.0, 1.0)]
)
def test_quantile_is_that_of_scipy(mu, size):
    u = (np.arange(400) + 0.5) / 400
    expected = stats.nbinom.ppf(u, size, size / (size + mu))
    assert [_counts.quantile(x, mu, size) for x in u] == expected.astype(int).tolist()


def test_quantile_by_hand():
    # size 1 is geometric: P(0) = 1 / (1 + mu) = 1/3, P(0) + P(1) = 5/9 for mu = 2.
    assert _counts.quantile(0.33, 2.0, 1.0) == 0
    assert _counts.quantile(0.34, 2.0, 1.0) == 1
    assert _counts.quantile(0.55, 2.0, 1.0) == 1
    assert _counts.quantile(0.56, 2.0, 1.0) == 2


def test_quantile_ends_for_the_largest_uniform_and_for_no_mean():
    largest = (2.0**53 - 0.5) * 2.0**-53
    assert 0 < _counts.quantile(largest, 5.0, 2.0) < 500
    assert _counts.quantile(largest, 0.0, 2.0) == 0


def draw(mu: float, size: float, n: int, key: int = 7) -> np.ndarray:
    out = np.zeros((n, 1), dtype=np.int32)
    numbers = np.arange(n, dtype=np.int64)
    _counts.draw_table(np.uint64(key), numbers, np.full((n, 1), mu), size, out)
    return out.ravel()


def test_drawn_counts_follow_the_distribution():
    counts = draw(2.5, 1.5, 40_000)
    upper = 12
    observed = np.bincount(np.minimum(counts, upper), minlength=upper + 1)
    law = stats.nbinom(1.5, 1.5 / 4.0)
    expected = np.append(law.pmf(np.arange(upper)), law.sf(upper - 1)) * counts.size
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_drawn_mean_and_variance_follow_the_formula():
    counts = draw(4.0, 2.0, 100_000)
    assert counts.mean() == pytest.approx(4.0, abs=0.05)
    assert counts.var() == pytest.approx(4.0 + 4.0**2 / 2.0, rel=0.03)


def test_neighboring_cells_and_genes_are_not_related():
    out = np.zeros((300, 300), dtype=np.int32)
    _counts.draw_table(np.uint64(3), np.arange(300), np.full(out.shape, 20.0), 50.0, out)
    table = out.astype(float)
    across = np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]
    down = np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]
    assert abs(across) < 0.015
    assert abs(down) < 0.015


def test_another_key_gives_other_counts():
    assert (draw(5.0, 2.0, 200, key=1) != draw(5.0, 2.0, 200, key=2)).any()
