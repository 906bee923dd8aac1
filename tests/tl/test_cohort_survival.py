"""Survival: the numbers of statsmodels and lifelines, planted hazards found, nothing otherwise."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.duration.hazard_regression import PHReg

import nkscore as nk
from nkscore import tl
from nkscore.errors import DesignError, NkscoreWarning, WrongScaleError


def _cohort(n=200, n_features=30, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(n)]
    scores = pd.DataFrame(
        rng.normal(size=(n, n_features)), names, [f"f{i}" for i in range(n_features)]
    )
    hazard = np.exp(0.7 * scores["f0"] - 0.7 * scores["f1"]).to_numpy()
    death, end = rng.exponential(1000 / hazard), rng.exponential(1500, n)
    time = pd.Series(np.minimum(death, end), names)
    return scores, time, pd.Series(death < end, names)


def test_equals_statsmodels_per_standard_deviation():
    scores, time, event = _cohort(120, 5)
    scores *= [1, 10, 0.1, 5, 2]
    made = tl.cohort_survival(scores, time, event).set_index("feature")
    for name in scores:
        z = (scores[[name]] - scores[name].mean()) / scores[name].std()
        peer = PHReg(time, z.to_numpy(), status=event, ties="efron").fit()
        np.testing.assert_allclose(made.loc[name, "log_hr"], peer.params[0], rtol=1e-6)
        np.testing.assert_allclose(made.loc[name, "p_value"], peer.pvalues[0], rtol=1e-5)
        np.testing.assert_allclose(
            made.loc[name, ["ci_low", "ci_high"]].astype(float), peer.conf_int()[0], rtol=1e-4
        )
    np.testing.assert_allclose(np.log(made["hr_high"]), made["ci_high"])
    np.testing.assert_allclose(
        made["q_value"], scipy_stats.false_discovery_control(made["p_value"])
    )


def test_equals_lifelines():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifelines = pytest.importorskip("lifelines", reason="lifelines holds pandas below 3")
    scores, time, event = _cohort(150, 3)
    age = pd.Series(np.linspace(20, 80, 150), scores.index, name="age")
    stage = pd.Series(np.tile(["I", "II", "III"], 50), scores.index, name="stage")
    given = pd.concat([age, stage], axis=1)
    made = tl.cohort_survival(scores, time, event, adjust_for=given, small_sample=False)
    made = made[made["model"] == "adjusted"].set_index("feature")
    wide = pd.get_dummies(given, columns=["stage"], drop_first=True).astype(float)
    for name in scores:
        z = (scores[name] - scores[name].mean()) / scores[name].std()
        table = wide.assign(z=z, time=time, event=event)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = lifelines.CoxPHFitter().fit(table, "time", "event").summary.loc["z"]
        ours = made.loc[name]
        np.testing.assert_allclose(ours["hazard_ratio"], peer["exp(coef)"], atol=1e-4)
        np.testing.assert_allclose(ours["se"], peer["se(coef)"], atol=1e-4)
        np.testing.assert_allclose(ours["hr_low"], peer["exp(coef) lower 95%"], atol=1e-4)
        np.testing.assert_allclose(ours["p_value"], peer["p"], atol=1e-4)


def test_planted_hazards_are_found_and_no_others():
    scores, time, event = _cohort()
    made = tl.cohort_survival(scores, time, event)
    hits = made[made["q_value"] < 0.05].set_index("feature")
    assert set(hits.index) == {"f0", "f1"}
    assert hits.loc["f0", "ci_low"] < 0.7 < hits.loc["f0", "ci_high"] + 0.15
    assert hits.loc["f1", "hazard_ratio"] < 1
    assert (made["n"] == 200).all()
    assert (made["n_events"] == event.sum()).all()


def test_subtype_explains_a_score_away():
    rng = np.random.default_rng(7)
    names = [f"P{i}" for i in range(300)]
    subtype = pd.Series(np.repeat(["good", "bad"], 150), names, name="subtype")
    bad = (subtype == "bad").to_numpy()
    scores = pd.DataFrame({"marker": 3 * bad + rng.normal(size=300)}, names)
    time = pd.Series(rng.exponential(np.where(bad, 1.0, 5.0)), names)
    made = tl.cohort_survival(scores, time, pd.Series(1, names), adjust_for=subtype)
    made = made.set_index("model")
    assert made.loc["univariable", "p_value"] < 1e-10
    assert made.loc["adjusted", "p_value"] > 0.01
    assert abs(made.loc["adjusted", "log_hr"]) < 0.5 * made.loc["univariable", "log_hr"]


@pytest.mark.parametrize("adjusted", [False, True])
def test_p_values_are_uniform_under_permuted_labels(adjusted):
    scores, time, event = _cohort(160, 2000, seed=8)
    order = np.random.default_rng(9).permutation(160)
    scores = scores.set_axis(scores.index[order], axis=0)
    group = pd.Series(np.repeat(["a", "b"], 80), scores.index) if adjusted else None
    made = tl.cohort_survival(scores, time, event, adjust_for=group)
    made = made[made["model"] == ("adjusted" if adjusted else "univariable")]
    for column in ("p_value", "ph_p_value"):
        assert scipy_stats.kstest(made[column], "uniform").pvalue > 0.01
    assert (made["q_value"] < 0.05).sum() == 0


def test_covariates_have_their_price():
    scores, time, event = _cohort(60, 3)
    given = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), scores.index)
    plain, paid = (
        tl.cohort_survival(scores, time, event, adjust_for=given, small_sample=small)
        .set_index(["model", "feature"])
        .sort_index()
        for small in (False, True)
    )
    deaths = int(event.sum())
    ratio = paid["se"] / plain["se"]
    np.testing.assert_allclose(ratio.loc["univariable"], 1.0)
    np.testing.assert_allclose(ratio.loc["adjusted"], np.sqrt(deaths / (deaths - 4)))
    np.testing.assert_allclose(paid["log_hr"], plain["log_hr"])
    half = paid["ci_high"] - paid["log_hr"]
    np.testing.assert_allclose(half / paid["se"], scipy_stats.norm.ppf(0.975))


def test_few_deaths_for_many_covariates_are_calibrated():
    """About 24 deaths for three covariates: the usual p-values are too small, ours are not."""
    rates = {True: [], False: []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        names = [f"P{i}" for i in range(40)]
        scores = pd.DataFrame(rng.normal(size=(40, 300)), names, [f"f{i}" for i in range(300)])
        given = pd.DataFrame(rng.normal(size=(40, 3)), names, list("abc"))
        time = pd.Series(rng.exponential(size=40), names)
        event = pd.Series(rng.random(40) < 0.6, names)
        for small, found in rates.items():
            made = tl.cohort_survival(
                scores, time, event, adjust_for=given, small_sample=small, min_events=1
            )
            p = made.loc[made["model"] == "adjusted", "p_value"]
            found.append((p < 0.05).mean())
    assert np.mean(rates[False]) > 0.06
    assert 0.04 < np.mean(rates[True]) < 0.06


def test_truncation_ends_follow_up():
    scores, time, event = _cohort(100, 2)
    made = tl.cohort_survival(scores, time, event, truncate=500)
    by_hand = tl.cohort_survival(scores, time.clip(upper=500), event & (time <= 500))
    pd.testing.assert_frame_equal(made, by_hand)
    assert made["n_events"].iloc[0] == (event & (time <= 500)).sum() < event.sum()


def test_missing_values_leave_out_patients_of_that_feature_only():
    scores, time, event = _cohort(100, 3)
    scores.iloc[:10, 1] = np.nan
    time.iloc[50] = np.nan
    made = tl.cohort_survival(scores, time, event).set_index("feature")
    assert made["n"].to_dict() == {"f0": 99, "f1": 89, "f2": 99}
    alone = tl.cohort_survival(scores[["f1"]].dropna(), time, event).iloc[0]
    np.testing.assert_allclose(made.loc["f1", "log_hr"], alone["log_hr"])


def test_order_does_not_matter_and_input_stays():
    scores, time, event = _cohort(80, 4)
    before = scores.copy()
    made = tl.cohort_survival(scores, time, event)
    other = tl.cohort_survival(scores.iloc[::-1, ::-1], time[::-1], event)
    pd.testing.assert_frame_equal(made, other)
    pd.testing.assert_frame_equal(scores, before)


def test_the_table_fits_the_forest_plot():
    scores, time, event = _cohort(80, 4)
    ax = nk.pl.effects(tl.cohort_survival(scores, time, event), label="feature", effect="log_hr")
    assert len(ax.get_yticklabels()) == 4
    ax.figure.clear()


def test_a_feature_that_separates_has_no_estimate():
    scores, time, event = _cohort(60, 2)
    scores["f1"] = (time < time.median()).astype(float)
    event[:] = True
    with pytest.warns(
        NkscoreWarning, match="1 of 2 models have no estimate.*univariable: f1"
    ) as caught:
        made = tl.cohort_survival(scores, time, event)
    assert {item.filename for item in caught} == {__file__}
    assert made["feature"].tolist() == ["f0"]
    assert made.attrs["left_out"] == ["univariable: f1"]


def test_errors():
    scores, time, event = _cohort(60, 3)
    with pytest.raises(WrongScaleError, match="1 patients is negative or not a number, first 'P3'"):
        tl.cohort_survival(scores, time.where(time.index != "P3", -1.0), event)
    with pytest.raises(WrongScaleError, match="not a number, first 'P0' with 'long'"):
        tl.cohort_survival(scores, time.astype(object).where(time.index != "P0", "long"), event)
    with pytest.raises(DesignError, match="0 of 60 patients died"):
        tl.cohort_survival(scores, time, event & False)
    with pytest.raises(DesignError, match="at least 50 deaths"):
        tl.cohort_survival(scores, time, event, min_events=50)
    few = event & (np.arange(60) < 12)
    many = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 10)), scores.index)
    with pytest.raises(DesignError, match=r"deaths are needed for 10 covariates.*adjust for less"):
        tl.cohort_survival(scores, time, few, adjust_for=many)
    with pytest.raises(DesignError, match=r"1 of 3 features have one value.*f1"):
        tl.cohort_survival(scores.assign(f1=2.0), time, event)
    with pytest.raises(DesignError, match=r"scores and time share no sample.*P0.*0, 1, 2"):
        tl.cohort_survival(scores, time.reset_index(drop=True), event)
    with pytest.raises(DesignError, match="sample 'P0' 2 times"):
        tl.cohort_survival(scores.iloc[[0, 0, 1]], time, event)
    with pytest.raises(DesignError, match="time holds the sample 'P0' more than once"):
        tl.cohort_survival(scores, time.iloc[[0, 0, 1]], event)
    with pytest.raises(WrongScaleError, match=r"event holds 2;.*Convert"):
        tl.cohort_survival(scores, time, event.astype(int) + 1)
    with pytest.raises(WrongScaleError, match=r"event holds 'Alive', 'Dead'"):
        tl.cohort_survival(scores, time, event.map({True: "Dead", False: "Alive"}))
    both = pd.DataFrame({"a": np.arange(60.0), "b": 2 * np.arange(60.0)}, scores.index)
    with pytest.raises(DesignError, match=r"covariates \(a, b\) are constant or determine"):
        tl.cohort_survival(scores, time, event, adjust_for=both)
    with pytest.raises(WrongScaleError, match="truncate=0"):
        tl.cohort_survival(scores, time, event, truncate=0)


def test_covariates_that_say_nothing():
    scores, time, event = _cohort(60, 2)
    same = pd.Series("AML", index=scores.index)
    with pytest.raises(DesignError, match="are constant or determine each other"):
        tl.cohort_survival(scores, time, event, adjust_for=same)
    ages = pd.Series(np.arange(60.0), index=scores.index)
    both = pd.DataFrame({"age": ages, "kind": same})
    with pytest.raises(DesignError, match="are constant or determine each other"):
        tl.cohort_survival(scores, time, event, adjust_for=both)
    with pytest.raises(DesignError, match="No patient has all of the covariates"):
        tl.cohort_survival(scores, time, event, adjust_for=ages * np.nan)
    with pytest.raises(ValueError, match="confidence is 95"):
        tl.cohort_survival(scores, time, event, confidence=95)


def test_names_that_differ_in_type_are_shown_so():
    scores, time, event = _cohort(60, 2)
    numbered = scores.set_axis(range(60))
    with pytest.raises(DesignError, match=r"scores: 0, 1, 2; time: '"):
        tl.cohort_survival(numbered, time.set_axis([str(i) for i in range(60)]), event)
