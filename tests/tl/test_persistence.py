"""Persistence: planted shares and states found, nothing without donor cells, limits as stated."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nkscore import datasets, tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import detectable, dispersion, exact_share, excess_p


def _cells(counts, day=7.0, patient="P1", sample="S", **columns):
    """One row per cell of ``genotype -> number``."""
    names = [name for name, n in counts.items() for _ in range(n)]
    return pd.DataFrame(
        {"genotype": names, "day": day, "patient": patient, "sample": sample, **columns}
    )


def _before(n=1000, wrong=0):
    return _cells({"d": wrong, "r": n - wrong}, day=-1.0, sample="before")


# --- shares


def test_planted_shares_are_covered():
    covered = []
    for seed in range(3):
        cells = datasets.simulate_transfer(n_patients=6, n_cells=300, rng=seed)
        made = tl.persistence(cells, "donor0")
        truth = cells.groupby(["patient", "day"])["truth_share"].first()
        truth = truth.loc[list(zip(made["patient"], made["time"], strict=True))].to_numpy()
        covered.append(((made["ci_low"] <= truth) & (truth <= made["ci_high"])).mean())
        late = made[made["time"].isin([7, 14])]
        assert late["detected"].all()
    assert np.mean(covered) > 0.93


def test_nothing_is_detected_where_nothing_persists():
    found = []
    for seed in range(5):
        cells = datasets.simulate_transfer(n_patients=10, n_cells=300, null=True, rng=seed)
        made = tl.persistence(cells, "donor0")
        found.append(made.loc[made["time"] > 0, "detected"].mean())
    assert np.mean(found) <= 0.06


def test_one_sample_by_hand():
    cells = pd.concat([_before(1000, 2), _cells({"d": 30, "r": 70, "doublet": 5, None: 7})])
    made = tl.persistence(cells, "d").set_index("time").loc[7.0]
    assert made["error_rate"] == 0.002
    assert made["share_called"] == 0.3
    assert made["share"] == pytest.approx((0.3 - 0.002) / 0.998)
    low, high = scipy_stats.binomtest(30, 100).proportion_ci(0.95, "exact")
    assert made["ci_low"] == pytest.approx((low - 0.002) / 0.998)
    assert made["ci_high"] == pytest.approx((high - 0.002) / 0.998)
    peer = scipy_stats.fisher_exact([[30, 70], [2, 998]], alternative="greater").pvalue
    assert made["p_value"] == pytest.approx(peer)
    assert made[["n_donor", "n_recipient", "n_unassigned", "n_samples"]].tolist() == [30, 70, 12, 1]


def test_the_limit_of_detection_is_kept():
    """A share at the limit is detected in 95 of 100 samples, none in at most 5."""
    rng = np.random.default_rng(0)
    for errors in (0.005, (3, 600)):
        rate = errors if isinstance(errors, float) else errors[0] / errors[1]
        enough, limit = detectable(400, errors, alpha=0.05, power=0.95)
        assert excess_p(enough, 400, errors) <= 0.05 < excess_p(enough - 1, 400, errors)
        assert (rng.binomial(400, limit, 4000) >= enough).mean() == pytest.approx(0.95, abs=0.02)
        assert (rng.binomial(400, rate, 4000) >= enough).mean() <= 0.06
    assert detectable(2, 0.5, alpha=0.05, power=0.95)[0] == 3
    assert np.isnan(detectable(2, 0.5, alpha=0.05, power=0.95)[1])


def test_samples_that_differ_widen_the_interval():
    one = _cells({"d": 60, "r": 140})
    two = pd.concat([_cells({"d": 50, "r": 50}), _cells({"d": 10, "r": 90}, sample="S2")])
    made = [tl.persistence(part, "d", error_rate=0.0).iloc[0] for part in (one, two)]
    assert made[0]["share"] == made[1]["share"] == 0.3
    expected = dispersion(np.array([50, 10]), np.array([100, 100]))
    assert made[1]["dispersion"] == pytest.approx(expected)
    # Pearson's chi2 of the 2 × 2 table, one degree of freedom.
    table = [[50, 50], [10, 90]]
    assert expected == pytest.approx(scipy_stats.chi2_contingency(table, correction=False)[0])
    assert made[1]["ci_high"] - made[1]["ci_low"] > 2 * (made[0]["ci_high"] - made[0]["ci_low"])
    assert exact_share(0, 10, 0.95)[0] == 0
    assert exact_share(10, 10, 0.95)[1] == 1


def test_each_patient_can_have_a_donor():
    cells = pd.concat([_cells({"d": 10, "r": 10}), _cells({"e": 5, "d": 15}, patient="P2")])
    made = tl.persistence(cells, {"P1": "d", "P2": "e"}, error_rate=0.0)
    assert made["share"].tolist() == [0.5, 0.25]


def test_only_nk_cells_that_passed_qc_count():
    obs = pd.concat([_cells({"d": 30, "r": 30}), _cells({"d": 40})], ignore_index=True)
    obs["compartment"] = ["nk"] * 60 + ["tumor"] * 40
    obs["qc_pass"] = [i % 2 == 0 for i in range(100)]
    obs.index = obs.index.astype(str)
    made = tl.persistence(ad.AnnData(obs=obs), "d", error_rate=0.01)
    assert made[["n_donor", "n_recipient"]].values.tolist() == [[15, 15]]


def test_shares_that_cannot_be_known():
    cells = _cells({"d": 10, "r": 10})
    with pytest.raises(DesignError, match="no sample before infusion"):
        tl.persistence(cells, "d")
    with pytest.raises(DesignError, match=r"No cell has the donor donor9 .* \(it has: d, r\)"):
        tl.persistence(cells, "donor9")
    with pytest.raises(WrongScaleError, match="holds 'D7'; numbers from the infusion"):
        tl.persistence(cells.assign(day="D7"), "d")
    with pytest.raises(WrongScaleError, match="holds no time for 20 cells"):
        tl.persistence(cells.assign(day=np.nan), "d")
    with pytest.raises(MissingKeyError, match="no column 'day'"):
        tl.persistence(cells.drop(columns="day"), "d")
    with pytest.raises(MissingKeyError, match="20 NK cells have no patient"):
        tl.persistence(cells.assign(patient=None), "d")
    with pytest.raises(MissingKeyError, match="no donor for patient P1"):
        tl.persistence(cells, {"P2": "d"})
    with pytest.raises(WrongScaleError, match="error_rate is 5"):
        tl.persistence(cells, "d", error_rate=5)
    with pytest.raises(DesignError, match="Before infusion, 900 of 1000 cells are called donor"):
        tl.persistence(pd.concat([_before(1000, 900), cells]), "d")
    with pytest.raises(DesignError, match="All NK cells are of the product"):
        tl.persistence(cells.assign(condition="product"), "d", error_rate=0.0)
    with pytest.raises(DesignError, match="No NK cell passed QC"):
        tl.persistence(cells.assign(compartment="tumor"), "d")


# --- states


def test_planted_states_are_found():
    cells = datasets.simulate_transfer(n_patients=6, days=(-7, 7, 14), rng=1)
    made = tl.persisting_states(cells, "donor0", together={"memory_like": ["adaptive"]})
    assert sorted(made["time"].unique()) == [7.0, 14.0]
    week = made[made["time"] == 7].set_index("state")
    assert week.loc["adaptive", "q_value"] < 0.05
    assert week.loc["adaptive", "log_odds_ratio"] > 0.5
    assert week.loc["cytokine", "log_odds_ratio"] < -0.5
    assert week.loc["memory_like", "fraction_treated"] == pytest.approx(
        week.loc["adaptive", "fraction_treated"]
    )
    assert (week["n_samples_treated"] == 6).all()
    recipient = tl.persisting_states(cells, "donor0", against="recipient")
    assert recipient.set_index(["time", "state"]).loc[(7, "resting"), "log_odds_ratio"] < 0


def test_states_of_the_product_give_nothing():
    product = {"resting": 25, "adaptive": 10, "activated": 35, "type_i_ifn": 5, "cytokine": 25}
    p = []
    for seed in range(12):
        cells = datasets.simulate_transfer(
            n_patients=5, days=(7,), n_cells=200, states=product, rng=seed
        )
        p.append(tl.persisting_states(cells, "donor0")["p_value"])
    assert (pd.concat(p) < 0.05).mean() < 0.08


def test_times_with_few_donor_cells_are_named():
    cells = datasets.simulate_transfer(n_patients=4, n_cells=200, days=(7, 90), rng=0)
    made = tl.persisting_states(cells, "donor0")
    assert made["time"].unique().tolist() == [7.0]
    (lost,) = [one for one in made.attrs["left_out"] if one["what"] == "time"]
    assert lost["name"] == "90"
    late = cells[(cells["day"] != 7) | cells["day"].isna()]
    with pytest.raises(DesignError, match="No time can be compared with the product"):
        tl.persisting_states(late, "donor0")


def test_states_that_are_not_there():
    cells = datasets.simulate_transfer(n_patients=3, n_cells=100, days=(7,), rng=0)
    with pytest.raises(ValueError, match="against='before'"):
        tl.persisting_states(cells, "donor0", against="before")
    with pytest.raises(MissingKeyError, match="nk_state"):
        tl.persisting_states(cells.drop(columns="nk_state"), "donor0")
    with pytest.raises(DesignError, match="names memory; the states are activated"):
        tl.persisting_states(cells, "donor0", together={"memory_like": ["memory"]})
