"""Differences between patients: the right test for each design, nothing from nothing."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

import nkscore as nk
from nkscore import tl
from nkscore.errors import DesignError, WrongScaleError

KANG = Path(__file__).parents[3] / "shared/data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"


def _scores(n, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    columns = [f"f{i}" for i in range(n_features)]
    return pd.DataFrame(rng.normal(size=(n, n_features)), [f"S{i}" for i in range(n)], columns)


def _paired(n_patients, n_features=4, seed=0):
    """Three time points per patient, with a level of each patient's own."""
    scores = _scores(3 * n_patients, n_features, seed)
    rng = np.random.default_rng(seed + 1)
    scores += rng.normal(0, 3, (n_patients, n_features)).repeat(3, axis=0)
    levels = ["diagnosis", "residual", "relapse"]
    time = pd.Series(pd.Categorical(levels * n_patients, levels), scores.index, name="time")
    patient = pd.Series(np.repeat([f"P{i}" for i in range(n_patients)], 3), scores.index)
    return scores, time, patient


def test_two_groups_are_scipys_with_missing_values():
    scores = _scores(40)
    scores.iloc[:3, 1] = np.nan
    mutated = pd.Series(np.arange(40) % 2 == 0, scores.index, name="TP53")
    made = tl.cohort_differences(scores, mutated).set_index("feature")
    for name in scores:
        known = scores[name].dropna()
        x, y = known[mutated[known.index]], known[~mutated[known.index]]
        peer = scipy_stats.mannwhitneyu(x, y, method="asymptotic")
        np.testing.assert_allclose(made.loc[name, "p_value"], peer.pvalue)
        np.testing.assert_allclose(
            made.loc[name, "effect"], np.median(np.subtract.outer(x.to_numpy(), y.to_numpy()))
        )
        assert made.loc[name, ["n_level", "n_reference"]].tolist() == [len(x), len(y)]
    assert made["contrast"].unique().tolist() == ["True vs False"]
    np.testing.assert_allclose(
        made["q_value"], scipy_stats.false_discovery_control(made["p_value"])
    )


def test_small_arms_get_exact_p_values():
    scores = pd.DataFrame({"f": np.arange(7.0)}, index=list("abcdefg"))
    groups = pd.Series(["x"] * 3 + ["y"] * 4, index=scores.index, name="g")
    made = tl.cohort_differences(scores, groups).iloc[0]
    np.testing.assert_allclose(made["p_value"], 2 / 35)
    assert made["rank_biserial"] == 1.0
    assert (made["ci_low"], made["ci_high"]) == (-np.inf, np.inf)


def test_many_subtypes_are_compared_with_the_rest_or_a_reference():
    scores = _scores(60)
    subtype = pd.Series(np.repeat(["ABC", "GCB", "MCL"], 20), scores.index, name="subtype")
    scores.loc[subtype == "MCL", "f2"] += 3
    made = tl.cohort_differences(scores, subtype)
    assert set(made["contrast"]) == {"ABC vs rest", "GCB vs rest", "MCL vs rest"}
    best = made[made["level"] == "MCL"].iloc[0]
    assert (best["feature"], best["n_level"], best["n_reference"]) == ("f2", 20, 40)
    assert best["q_value"] < 1e-6
    assert 2 < best["ci_low"] < 3 < best["ci_high"] < 4
    arms = [scores.loc[subtype == level, "f2"] for level in ("ABC", "GCB", "MCL")]
    np.testing.assert_allclose(best["p_overall"], scipy_stats.kruskal(*arms).pvalue)
    made = tl.cohort_differences(scores, subtype, reference="GCB")
    assert set(made["contrast"]) == {"ABC vs GCB", "MCL vs GCB"}


def test_several_groupings_at_once():
    scores = _scores(30)
    groups = pd.DataFrame(
        {
            "TP53": [True, False] * 15,
            "subtype": ["a", "b", "c"] * 10,
            "rare": [True] + [False] * 29,
        },
        index=scores.index,
    )
    made = tl.cohort_differences(scores, groups, reference={"subtype": "b"})
    assert set(zip(made["grouping"], made["contrast"], strict=True)) == {
        ("TP53", "True vs False"),
        ("subtype", "a vs b"),
        ("subtype", "c vs b"),
    }
    assert made.attrs["left_out"] == ["rare: True vs False (1 and 29 samples)"]


def test_pairs_are_scipys_and_unpaired_patients_are_left_out():
    scores, time, patient = _paired(10)
    lost = scores.index[2]  # relapse of P0
    made = tl.cohort_differences(scores.drop(lost), time, patient=patient)
    assert made["contrast"].unique().tolist() == [
        "residual vs diagnosis",
        "relapse vs diagnosis",
        "relapse vs residual",
    ]
    row = made[(made["contrast"] == "relapse vs diagnosis") & (made["feature"] == "f1")].iloc[0]
    wide = scores["f1"].to_numpy().reshape(10, 3)[1:]
    gap = wide[:, 2] - wide[:, 0]
    np.testing.assert_allclose(row["p_value"], scipy_stats.wilcoxon(gap).pvalue)
    walsh = [(a + b) / 2 for i, a in enumerate(gap) for b in gap[i:]]
    np.testing.assert_allclose(row["effect"], np.median(walsh))
    assert (row["test"], row["n_level"], row["n_reference"]) == ("signed_rank", 9, 9)
    only = tl.cohort_differences(scores, time, patient=patient, reference="diagnosis")
    assert set(only["contrast"]) == {"residual vs diagnosis", "relapse vs diagnosis"}


def test_residual_disease_is_found_within_patients_only():
    """A shift smaller than the scatter between patients; two of 40 features carry it."""
    scores, time, patient = _paired(14, 40)
    scores.loc[time == "residual", ["f0", "f1"]] += 2.5
    within = tl.cohort_differences(scores, time, patient=patient, reference="diagnosis")
    hits = within[(within["level"] == "residual") & (within["q_value"] < 0.05)]
    assert set(hits["feature"]) == {"f0", "f1"}
    assert (hits["ci_low"] > 0).all()
    between = tl.cohort_differences(scores, time, reference="diagnosis")
    assert not (between["q_value"] < 0.05).any()


def test_moderated_t_by_hand_without_pairs_and_with():
    """With a single feature nothing can be shared: plain t-tests."""
    scores, time, patient = _paired(8, 1)
    wide = scores["f0"].to_numpy().reshape(8, 3)
    two = time.isin(["diagnosis", "residual"])
    made = tl.cohort_differences(scores[two], time[two], patient=patient, test="moderated_t").iloc[
        0
    ]
    peer = scipy_stats.ttest_rel(wide[:, 1], wide[:, 0])
    np.testing.assert_allclose(made["p_value"], peer.pvalue)
    np.testing.assert_allclose([made["ci_low"], made["ci_high"]], list(peer.confidence_interval()))
    made = tl.cohort_differences(scores[two], time[two], test="moderated_t").iloc[0]
    peer = scipy_stats.ttest_ind(wide[:, 1], wide[:, 0])
    np.testing.assert_allclose(made["p_value"], peer.pvalue)
    assert made["test"] == "moderated_t"


@pytest.mark.parametrize("test", ["wilcoxon", "moderated_t"])
@pytest.mark.parametrize("paired", [False, True])
def test_p_values_are_uniform_under_permuted_labels(test, paired):
    scores, time, patient = _paired(24, 2000, seed=5)
    if not paired:
        scores = _scores(72, 2000, seed=5)
    made = tl.cohort_differences(
        scores, time, patient=patient if paired else None, reference="diagnosis", test=test
    )
    part = made[made["level"] == "relapse"]
    assert scipy_stats.kstest(part["p_value"], "uniform").pvalue > 0.01
    assert (made["q_value"] < 0.05).sum() == 0
    assert 0.935 < ((part["ci_low"] < 0) & (part["ci_high"] > 0)).mean() < 0.965


def test_overall_p_values_are_uniform():
    scores = _scores(60, 3000, seed=6)
    groups = pd.Series(np.repeat(list("abc"), 20), scores.index, name="subtype")
    made = tl.cohort_differences(scores, groups).drop_duplicates("feature")
    # Kruskal and Wallis' approximation is a little conservative in its far tail.
    assert scipy_stats.kstest(made["p_overall"], "uniform").pvalue > 0.01


def test_order_of_samples_and_features_does_not_matter():
    scores, time, patient = _paired(9)
    made = tl.cohort_differences(scores, time, patient=patient)
    other = tl.cohort_differences(scores.iloc[::-1, ::-1], time, patient=patient)
    pd.testing.assert_frame_equal(made, other)


def test_the_table_fits_the_forest_plot():
    scores = _scores(30)
    made = tl.cohort_differences(scores, pd.Series(["a", "b"] * 15, scores.index, name="g"))
    ax = nk.pl.effects(made, label="feature", effect="effect")
    assert len(ax.get_yticklabels()) == 4
    ax.figure.clear()


@pytest.mark.skipif(not KANG.exists(), reason="needs ../shared/data/kang2018_ifnb")
def test_interferon_in_eight_donors():
    import anndata as ad

    adata = ad.read_h5ad(KANG)
    with warnings.catch_warnings():
        # Sets that lack genes in these 9,015.
        warnings.simplefilter("ignore")
        scores = tl.project_cohort(adata, by=["donor", "condition"])
    parts = scores.index.str.split(" | ", regex=False)
    donor, arm = (pd.Series(parts.str[i], index=scores.index) for i in (0, 1))
    made = tl.cohort_differences(scores, arm, patient=donor).set_index("feature")
    up = made.loc[["core_response", "ifn_alpha_response", "ifn_gamma_response", "CD274"]]
    assert (up["ci_low"] > 0).all()
    np.testing.assert_allclose(up["p_value"], 2 / 2**8)
    assert made.loc["ifn_alpha_response", "effect"] > 0.15
    # The arms exchanged in half of the donors: nothing is left of it.
    half = arm.where(
        ~donor.isin(sorted(donor.unique())[::2]), arm.map({"ctrl": "stim", "stim": "ctrl"})
    )
    null = tl.cohort_differences(scores, half, patient=donor)
    assert not (null["q_value"] < 0.05).any()


def test_errors():
    scores, time, patient = _paired(5)
    with pytest.raises(DesignError, match="sample 'S0' 2 times"):
        tl.cohort_differences(scores.iloc[[0, 0, 1]], time)
    with pytest.raises(DesignError, match="groups holds the sample 'S1' more than once"):
        tl.cohort_differences(scores, time.iloc[[0, 1, 1]])
    with pytest.raises(DesignError, match=r"share no sample \(scores: 'S0'.*groups: 'A0'"):
        tl.cohort_differences(scores, time.rename(lambda name: name.replace("S", "A")))
    with pytest.raises(DesignError, match=r"1 of 4 features have one value in all 15 .*f2"):
        tl.cohort_differences(scores.assign(f2=1.0), time)
    with pytest.raises(WrongScaleError, match="'f1' holds infinite"):
        tl.cohort_differences(scores.assign(f1=np.inf), time)
    with pytest.raises(WrongScaleError, match=r"'f1' holds (object|str)"):
        tl.cohort_differences(scores.assign(f1="x"), time)
    with pytest.raises(DesignError, match="Patient 'P0' has 2 samples at 'residual'"):
        tl.cohort_differences(scores, time, patient=patient.replace("P1", "P0"))
    with pytest.raises(DesignError, match="patient is missing for 1 samples, the first is 'S14'"):
        tl.cohort_differences(scores, time, patient=patient.iloc[:-1])
    with pytest.raises(DesignError, match="time has no level 'remission'; it has diagnosis"):
        tl.cohort_differences(scores, time, reference="remission")
    with pytest.raises(DesignError, match=r"No comparison has 6 samples or pairs.*5 pairs"):
        tl.cohort_differences(scores, time, patient=patient, min_samples=6)
    with pytest.raises(DesignError, match="no grouping has two levels"):
        tl.cohort_differences(scores, time.where(time == "relapse"))
    with pytest.raises(ValueError, match="wilcoxon, moderated_t"):
        tl.cohort_differences(scores, time, test="t")


def test_levels_of_several_types_and_unknown_groupings():
    scores = _scores(30)
    groups = pd.Series([True, False, "unknown"] * 10, index=scores.index, name="TP53", dtype=object)
    made = tl.cohort_differences(scores, groups)
    assert made["level"].unique().tolist() == ["False", "True", "unknown"]
    with pytest.raises(DesignError, match="names the grouping 'tp53'; known: TP53"):
        tl.cohort_differences(scores, groups, reference={"tp53": "False"})
    with pytest.raises(ValueError, match="confidence is 95"):
        tl.cohort_differences(scores, groups, confidence=95)
