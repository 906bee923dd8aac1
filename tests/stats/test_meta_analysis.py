from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

from nkscore.stats import (
    between_variance,
    error_correlation,
    pool_with_shared_variance,
    random_effects,
)


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 0.5, (40, 8)), rng.uniform(0.1, 0.6, (40, 8))


def test_equal_errors_by_hand():
    """Mean 2, sample variance 1 of three lines with errors 0.5: τ² = 1 − 0.25."""
    pooled = random_effects(np.array([[1.0, 2.0, 3.0]]), np.full((1, 3), 0.5))
    assert pooled.effect[0] == pytest.approx(2)
    assert pooled.tau2[0] == pytest.approx(0.75)
    assert pooled.standard_error[0] == pytest.approx(np.sqrt(1 / 3))
    assert pooled.i2[0] == pytest.approx(1 - 2 / 8)
    half = stats.t.ppf(0.975, 2) * np.sqrt(1 / 3)
    assert pooled.ci_high[0] == pytest.approx(2 + half)
    beyond = stats.t.ppf(0.975, 1) * np.sqrt(1 / 3 + 0.75)
    assert pooled.prediction_low[0] == pytest.approx(2 - beyond)


def test_equal_to_statsmodels(draws):
    from statsmodels.stats.meta_analysis import combine_effects

    effect, error = draws
    mine = random_effects(effect, error)
    compared = 0
    for g in range(len(effect)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = combine_effects(effect[g], error[g] ** 2, method_re="iterated", use_t=True)
        assert mine.tau2[g] == pytest.approx(theirs.tau2, abs=1e-6)
        if theirs.tau2 > 0:
            assert mine.effect[g] == pytest.approx(theirs.mean_effect_re, abs=1e-6)
            assert mine.standard_error[g] == pytest.approx(theirs.sd_eff_w_re_hksj, abs=1e-6)
            compared += 1
    assert compared > 10


def test_missing_lines_are_as_absent_ones(draws):
    effect, error = draws[0].copy(), draws[1]
    effect[:, 3] = np.nan
    keep = np.delete(np.arange(8), 3)
    for function in (random_effects, pool_with_shared_variance):
        one, other = function(effect, error), function(effect[:, keep], error[:, keep])
        np.testing.assert_allclose(one.effect, other.effect)
        np.testing.assert_allclose(one.p_value, other.p_value)
        assert (one.n == 7).all()


def test_single_line_has_no_p_value():
    pooled = random_effects(np.array([[1.0, np.nan]]), np.array([[0.1, np.nan]]))
    assert np.isnan(pooled.p_value[0])
    assert np.isnan(pooled.tau2[0])


def test_within_groups():
    """Groups 1, 3 and 10, 12: variance 2 within each, errors of variance 0.5."""
    effect = np.array([[1.0, 3.0, 10.0, 12.0]])
    found = between_variance(effect, np.full((1, 4), 0.5), np.array([0, 0, 1, 1]))
    assert found[0] == pytest.approx(1.5)


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("n_lines", [3, 6])
def test_p_values_are_uniform_without_a_mean_effect(tau, n_lines):
    rng = np.random.default_rng(7)
    error = rng.uniform(0.15, 0.45, (4000, n_lines))
    effect = rng.normal(0, np.sqrt(tau**2 + error**2))
    p = pool_with_shared_variance(effect, error).p_value
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.011)
    assert (p < 0.001).mean() < 0.003
    assert (stats.false_discovery_control(p) < 0.05).sum() == 0


def test_few_lines_find_what_each_gene_alone_cannot():
    rng = np.random.default_rng(8)
    error = rng.uniform(0.15, 0.45, (4000, 4))
    effect = rng.normal(np.where(np.arange(4000) < 100, 1.5, 0.0)[:, None], error)
    called = {}
    for function in (random_effects, pool_with_shared_variance):
        called[function] = stats.false_discovery_control(function(effect, error).p_value) < 0.05
    assert called[random_effects].sum() == 0
    assert called[pool_with_shared_variance][:100].mean() > 0.9
    assert called[pool_with_shared_variance][100:].sum() <= 15


def test_intervals_cover():
    rng = np.random.default_rng(9)
    error = rng.uniform(0.15, 0.45, (4000, 5))
    tau = np.where(rng.random(4000) < 0.3, 0.5, 0.0)[:, None]
    effect = rng.normal(0.4, np.sqrt(tau**2 + error**2))
    pooled = pool_with_shared_variance(effect, error)
    covered = (pooled.ci_low < 0.4) & (pooled.ci_high > 0.4)
    assert covered.mean() == pytest.approx(0.95, abs=0.02)
    new = rng.normal(0.4, tau[:, 0])
    inside = (pooled.prediction_low < new) & (pooled.prediction_high > new)
    assert inside.mean() == pytest.approx(0.96, abs=0.03)


def test_shared_errors_are_seen_and_widen():
    rng = np.random.default_rng(10)
    common = rng.normal(size=(4000, 1))
    z = np.sqrt(0.5) * common + np.sqrt(0.5) * rng.normal(size=(4000, 6))
    assert error_correlation(z) == pytest.approx(0.5, abs=0.05)
    assert error_correlation(rng.normal(size=(4000, 6))) < 0.05
    error = np.full_like(z, 0.3)
    naive = pool_with_shared_variance(0.3 * z, error).p_value
    aware = pool_with_shared_variance(0.3 * z, error, correlation=0.5).p_value
    assert (naive < 0.05).mean() > 0.2
    assert (aware < 0.05).mean() == pytest.approx(0.05, abs=0.012)
