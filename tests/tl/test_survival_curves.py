"""Survival curves: numbers by hand, of statsmodels and lifelines, nothing from nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import SurvfuncRight

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError


def _patients(n=120, seed=0, hazard=1.0):
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(n)]
    group = pd.Series(np.where(np.arange(n) % 2, "high", "low"), names, name="mhc_i")
    death = np.ceil(rng.exponential(400 / np.where(group == "high", hazard, 1.0)))
    end = np.ceil(rng.uniform(100, 900, n))
    return pd.Series(np.minimum(death, end), names), pd.Series(death <= end, names), group


def _curves(time, event, group=None, **options):
    patients = pd.DataFrame({"days": time, "died": event})
    if group is not None:
        patients["mhc_i"] = group
        options["group"] = "mhc_i"
    return tl.survival_curves(patients, time="days", event="died", **options)


def test_by_hand():
    """Four at risk: one dies; three: one lost; two: one dies; one: dies."""
    time = pd.Series([1.0, 2, 3, 4], index=list("abcd"))
    made = _curves(time, pd.Series([1, 0, 1, 1], index=list("abcd")))
    assert made["survival"].tolist() == [1.0, 0.75, 0.75, 0.375, 0.0]
    assert made["n_at_risk"].tolist() == [4, 4, 3, 2, 1]
    assert made["n_censored"].tolist() == [0, 0, 1, 0, 0]
    assert made["p_value"].isna().all()
    # Greenwood: 1/(4·3) + 1/(2·1); interval on log(-log).
    error = np.sqrt(1 / 12 + 1 / 2) / abs(np.log(0.375))
    z = scipy_stats.norm.ppf(0.975)
    expected = 0.375 ** np.exp(np.array([1, -1]) * z * error)
    np.testing.assert_allclose(made.loc[3, ["ci_low", "ci_high"]].astype(float), expected)
    assert made.loc[4, ["ci_low", "ci_high"]].tolist() == [0.0, 0.0]


def test_equals_statsmodels():
    time, event, group = _patients()
    made = _curves(time, event, group)
    for name in ("high", "low"):
        own = group == name
        peer = SurvfuncRight(time[own].to_numpy(), event[own].to_numpy(dtype=int))
        ours = made[made["group"] == name].set_index("time").loc[peer.surv_times]
        np.testing.assert_allclose(ours["survival"], peer.surv_prob)
        np.testing.assert_array_equal(ours["n_at_risk"], peer.n_risk)
    assert made.groupby("group")["n"].first().to_dict() == {"high": 60, "low": 60}
    assert made["n_events"].sum() == event.sum()
    assert made["n_censored"].sum() == (~event).sum()


def test_equals_lifelines():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifelines = pytest.importorskip("lifelines", reason="lifelines holds pandas below 3")
        from lifelines.statistics import logrank_test
    time, event, group = _patients(hazard=1.5)
    made = _curves(time, event, group)
    own = group == "high"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = lifelines.KaplanMeierFitter().fit(time[own], event[own])
        test = logrank_test(time[own], time[~own], event[own], event[~own])
    ours = made[made["group"] == "high"].set_index("time")
    np.testing.assert_allclose(ours["survival"], peer.survival_function_["KM_estimate"].to_numpy())
    bounds = peer.confidence_interval_.to_numpy()
    np.testing.assert_allclose(ours[["ci_low", "ci_high"]].to_numpy()[1:-1], bounds[1:-1])
    np.testing.assert_allclose(made["p_value"].iloc[0], test.p_value)


def test_a_difference_is_found_and_order_does_not_matter():
    time, event, group = _patients(n=300, hazard=3.0)
    made = _curves(time, event, group)
    assert made["p_value"].iloc[0] < 1e-6
    order = np.random.default_rng(0).permutation(300)
    other = _curves(time.iloc[order], event.iloc[order], group.iloc[order])
    pd.testing.assert_frame_equal(made, other)


def test_p_values_are_uniform_without_a_difference():
    p = []
    for seed in range(300):
        time, event, group = _patients(n=60, seed=seed)
        p.append(_curves(time, event, group)["p_value"].iloc[0])
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01


def test_groups_keep_their_order_and_truncation_ends():
    time, event, group = _patients()
    ordered = pd.Series(pd.Categorical(group, ["low", "high", "none"]), group.index)
    ordered.iloc[:4] = None
    made = _curves(time, event, ordered, truncate=200)
    assert list(dict.fromkeys(made["group"])) == ["low", "high"]
    assert made["time"].max() == 200
    assert made.groupby("group")["n"].first().sum() == 116


def test_errors():
    time, event, group = _patients()
    with pytest.raises(DesignError, match=r"Too few patients to draw a curve: rare \(1\); 3"):
        _curves(time, event, group.where(group.index != "P0", "rare"))
    with pytest.raises(DesignError, match="0 of 120 patients died"):
        _curves(time, event & False)
    with pytest.raises(WrongScaleError, match="negative or not a number, first 'P0'"):
        _curves(time.where(time.index != "P0", -1.0), event)
    with pytest.raises(MissingKeyError, match=r"no column 'time', 'event' \(it has: days, died\)"):
        tl.survival_curves(pd.DataFrame({"days": time, "died": event}))
    twice = pd.DataFrame({"time": time, "event": event}).iloc[[0, 0, 1]]
    with pytest.raises(DesignError, match="'P0' more than once"):
        tl.survival_curves(twice)


def test_groups_of_numbers_are_in_their_order():
    time, event, _ = _patients(40, hazard=1.0, seed=0)
    cycles = pd.Series(np.where(np.arange(40) % 2, 10, 9), index=time.index)
    assert list(dict.fromkeys(_curves(time, event, cycles)["group"])) == ["9", "10"]


def test_times_must_be_numbers():
    time, event, _ = _patients(40, hazard=1.0, seed=0)
    day = pd.Timestamp("2020-01-01", tz="UTC")
    spans = pd.to_timedelta(time, unit="D")
    for wrong in (spans, spans + day, event):
        with pytest.raises(WrongScaleError, match=r"time holds .* values; numbers are needed"):
            _curves(wrong, event)
    with pytest.raises(DesignError, match="no rows"):
        _curves(time.iloc[:0], event.iloc[:0])
    with pytest.raises(ValueError, match="confidence is 95"):
        _curves(time, event, confidence=95)
