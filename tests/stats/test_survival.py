"""Cox regression of many features, beside statsmodels, lifelines and numbers by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.duration.hazard_regression import PHReg

from nkscore.stats import cox_regression


def _cohort(seed=0, n=120, *, tied=False):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 6)) * [1, 2, 5, 0.1, 30, 1] + 3
    covariates = np.c_[rng.normal(size=n), rng.random(n) > 0.5].astype(float)
    hazard = np.exp(0.6 * (features[:, 0] - 3) + 0.5 * covariates[:, 1])
    death, end = rng.exponential(1 / hazard), rng.exponential(1.5, n)
    time = np.minimum(death, end)
    return features, covariates, np.ceil(5 * time) if tied else time, death < end


def test_two_deaths_by_hand():
    """The likelihood is u / (2u + 2) · 1 / (u + 2) with u the ratio, highest at the root of 2."""
    x = np.array([[1.0], [0.0], [1.0], [0.0]])
    made = cox_regression(x, np.array([1.0, 2, 3, 3]), np.array([1, 1, 0, 0]))
    np.testing.assert_allclose(made.log_hazard, np.log(2) / 2, rtol=1e-9)
    u = np.sqrt(2)
    information = u / (u + 1) ** 2 + 2 * u / (u + 2) ** 2
    np.testing.assert_allclose(made.se, information**-0.5, rtol=1e-9)
    np.testing.assert_allclose(made.log_likelihood, np.log(u / (2 * u + 2) / (u + 2)), rtol=1e-9)


def test_tied_deaths_by_hand():
    """Efron: of two deaths at once, half of both are at risk of the second."""
    x = np.array([[1.0], [0.0], [0.0]])
    made = cox_regression(x, np.array([1.0, 1, 2]), np.array([1, 1, 0]))
    grid = np.linspace(-2, 3, 500_001)
    u = np.exp(grid)
    likelihood = grid - np.log(u + 2) - np.log(u + 2 - (u + 1) / 2)
    np.testing.assert_allclose(made.log_hazard, grid[likelihood.argmax()], atol=2e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("adjusted", [False, True])
def test_equals_statsmodels(tied, adjusted):
    features, covariates, time, event = _cohort(tied=tied)
    made = cox_regression(features, time, event, covariates if adjusted else None)
    for j in range(features.shape[1]):
        x = np.c_[features[:, [j]], covariates] if adjusted else features[:, [j]]
        peer = PHReg(time, x, status=event, ties="efron").fit()
        np.testing.assert_allclose(made.log_hazard[j], peer.params[0], rtol=1e-6)
        np.testing.assert_allclose(made.se[j], peer.bse[0], rtol=1e-6)
        np.testing.assert_allclose(made.log_likelihood[j], peer.llf, rtol=1e-9)


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_equals_lifelines(tied, adjusted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifelines = pytest.importorskip("lifelines", reason="lifelines holds pandas below 3")
        from lifelines.statistics import proportional_hazard_test
    features, covariates, time, event = _cohort(1, tied=tied)
    made = cox_regression(features, time, event, covariates if adjusted else None)
    for j in range(3):
        table = pd.DataFrame({"x": features[:, j], "time": time, "event": event})
        if adjusted:
            table = table.assign(a=covariates[:, 0], b=covariates[:, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = lifelines.CoxPHFitter().fit(table, "time", "event")
            test = proportional_hazard_test(peer, table, time_transform="rank")
        np.testing.assert_allclose(made.log_hazard[j], peer.params_["x"], atol=1e-4)
        np.testing.assert_allclose(made.se[j], peer.standard_errors_["x"], atol=1e-4)
        np.testing.assert_allclose(made.log_likelihood[j], peer.log_likelihood_, rtol=1e-6)
        if not tied:
            # Its ranks of tied deaths follow the order of the table.
            np.testing.assert_allclose(made.ph_p_value[j], test.summary.loc["x", "p"], atol=1e-4)


def test_order_of_patients_and_company_do_not_matter():
    features, covariates, time, event = _cohort(2, tied=True)
    made = cox_regression(features, time, event, covariates)
    order = np.random.default_rng(0).permutation(len(time))
    again = cox_regression(features[order][:, [4]], time[order], event[order], covariates[order])
    np.testing.assert_allclose(again.log_hazard[0], made.log_hazard[4], rtol=1e-7)
    np.testing.assert_allclose(again.ph_p_value[0], made.ph_p_value[4], rtol=1e-6)


def test_no_estimate_where_there_is_none():
    """Perfect separation, a constant, and a copy of a covariate."""
    early = np.r_[np.ones(10), np.zeros(10)]
    time = np.arange(1.0, 21)
    noise = np.random.default_rng(3).normal(size=20)
    features = np.c_[early, np.ones(20), noise, noise[::-1]]
    made = cox_regression(features, time, np.ones(20, dtype=bool), noise[:, None])
    assert np.isfinite(made.log_hazard).tolist() == [False, False, False, True]


def test_null_is_uniform_and_changing_hazards_are_seen():
    rng = np.random.default_rng(4)
    n = 200
    time = rng.exponential(size=n)
    event = rng.random(n) < 0.7
    features = rng.normal(size=(n, 3000))
    made = cox_regression(features, time, event)
    p = 2 * scipy_stats.norm.sf(np.abs(made.log_hazard / made.se))
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01
    assert scipy_stats.kstest(made.ph_p_value, "uniform").pvalue > 0.01
    # One group dies early or not at all for long, the other in the middle.
    group = np.arange(n) % 2
    crossing = np.where(group == 1, rng.weibull(0.4, n), rng.weibull(3, n))
    made = cox_regression(group[:, None], crossing, np.ones(n, dtype=bool))
    assert made.ph_p_value[0] < 1e-6
