"""Priors of variances that fit the genes which vary most."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.stats import fit_count_response, response_design
from nkscore.stats.linear import _count_model, _line_variance
from nkscore.stats.linear._tail_df import fewer_for_outliers, tail_df


def ratios(rng, df_two, df_one=6.0):
    """F variables with these degrees of freedom of the prior."""
    return rng.chisquare(df_one, df_two.size) / df_one / (rng.chisquare(df_two) / df_two)


def test_dense_genes_that_vary_more_have_fewer_degrees_of_freedom():
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 10, 8000)
    df_two = np.where(level > 7, 8.0, 1e5)
    found = tail_df(
        ratios(rng, df_two), np.full(8000, 6.0), 200.0, level=level, at=np.array([1.0, 3.0, 8.5])
    )
    assert found[:2].min() > 60
    assert found[2] == pytest.approx(8.0, rel=0.35)


def test_equal_genes_keep_their_prior():
    rng = np.random.default_rng(1)
    level = rng.uniform(0, 10, 8000)
    ratio = ratios(rng, np.full(8000, 20.0))
    found = tail_df(ratio, np.full(8000, 6.0), 20.0, level=level, at=level)
    assert found.max() <= 20 + 1e-9
    assert np.median(found) > 15
    typical = fewer_for_outliers(ratio, np.full(8000, 6.0), np.full(8000, 20.0), level=level)
    assert np.median(typical) > 19
    assert (typical < 10).mean() < 0.01


def test_few_genes_tell_nothing():
    level = np.arange(100.0)
    assert (tail_df(np.full(100, 50.0), np.full(100, 6.0), 30.0, level=level, at=level) == 30).all()


def test_outliers_keep_little_of_the_prior():
    rng = np.random.default_rng(2)
    ratio = ratios(rng, np.full(5000, 1e5))
    ratio[::100] *= 12
    found = fewer_for_outliers(
        ratio, np.full(5000, 6.0), np.full(5000, 50.0), level=np.arange(5000.0)
    )
    far = ratio > stats.f.isf(1e-6, 6, 1e5)
    assert far.sum() > 25
    assert found[far].max() < 5
    assert (found[~far] > 40).mean() > 0.95


def experiment(rng, n_genes, varies, spread):
    """Two lines, four donors in each arm, without effect; in line a some genes vary by donor."""
    treated = np.tile(np.repeat([True, False], 4), 2)
    line = np.repeat(np.array(["a", "b"], dtype=object), 8)
    donor = np.array([f"d{i}" for i in range(16)], dtype=object)
    mean = np.exp(rng.uniform(np.log(20), np.log(200), n_genes))
    size = np.where(varies & (line == "a")[:, None], 1 / spread, 50.0)
    rate = mean * rng.gamma(size, 1 / size, (16, n_genes))
    return rng.poisson(rate).astype(float), response_design(treated, line, donor)


def test_genes_that_vary_in_one_line_are_not_called_in_it(monkeypatch):
    def small():
        rng = np.random.default_rng(3)
        p = []
        for _ in range(2):
            varies = rng.random(2000) < 0.04
            table = fit_count_response(*experiment(rng, 2000, varies, 0.7))
            mine = (table["group"] == "a") & varies[table["gene"].to_numpy()]
            p.append(table.loc[mine, "p_value"])
        return np.concatenate(p)

    limited = small()
    monkeypatch.setattr(_line_variance, "tail_df", lambda *a, at, **_: np.full(at.size, a[2]))
    monkeypatch.setattr(_line_variance, "fewer_for_outliers", lambda *a, **_: a[2])
    monkeypatch.setattr(_count_model, "_limited_prior", lambda *given: given[-1])
    before = small()
    assert (before < 0.001).mean() > 0.02
    assert (limited < 0.001).mean() < (before < 0.001).mean() / 3
    assert (limited < 0.01).mean() < 0.07
