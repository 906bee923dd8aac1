"""Published cohorts, and R's numbers: strata, raw units, pairs over cohorts, many drugs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy
from scipy import stats as scipy_stats

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import exact_signed_rank

GOLDEN = Path(__file__).parents[1] / "stats" / "golden_survival"
LEUKEMIC = [
    *("GMP-like", "LSPC-Cycle", "LSPC-Primed", "LSPC-Quiescent"),
    *("Mono-like", "ProMono-like", "cDC-like"),
]


@pytest.fixture(scope="module")
def zeng(shared):
    folder = shared / "data" / "zeng2022_aml_hierarchies"
    if not folder.is_dir():
        pytest.skip("zeng2022_aml_hierarchies is not on this machine")
    return folder


@pytest.fixture(scope="module")
def golden():
    return pd.read_csv(GOLDEN / "data.csv")


# --- survival


@pytest.mark.parametrize(
    ("model", "adjust", "strata"),
    [
        ("univariable", None, ["cohort"]),
        ("adjusted", ["age", "risk"], ["cohort"]),
        ("crossed", ["age"], ["cohort", "sex"]),
    ],
)
def test_equals_coxph_with_strata(golden, model, adjust, strata):
    made = tl.cohort_survival(
        golden[["score", "high"]],
        golden["time"],
        golden["event"],
        adjust_for=golden[adjust] if adjust else None,
        strata=golden[strata],
        scale=False,
        small_sample=False,
    )
    made = made[made["model"] == ("adjusted" if adjust else "univariable")].set_index("feature")
    peer = pd.read_csv(GOLDEN / "fit.csv").query("model == @model").set_index("feature")
    made = made.loc[peer.index]
    np.testing.assert_allclose(made["log_hr"], peer["coefficient"], rtol=1e-9)
    np.testing.assert_allclose(made["se"], peer["se"], rtol=1e-9)
    np.testing.assert_allclose(made["p_value"], peer["p_value"], rtol=1e-8)


def test_units_differ_by_the_standard_deviation(golden):
    given = (golden[["score"]] * 10 + 3, golden["time"], golden["event"])
    per_sd, per_unit = (
        tl.cohort_survival(*given, strata=golden["cohort"], scale=s).iloc[0] for s in (True, False)
    )
    assert per_unit["sd"] == pytest.approx(golden["score"].std() * 10)
    for column in ("log_hr", "se", "ci_low", "ci_high"):
        assert per_sd[column] == pytest.approx(per_unit[column] * per_unit["sd"])
    assert per_sd["p_value"] == pytest.approx(per_unit["p_value"])


def test_published_hazard_of_the_hierarchy(zeng):
    """R's coxph in Zeng et al. 2022, doi 10.1038/s41591-022-01819-x, Fig. 2."""
    table = pd.read_csv(zeng / "Survival_Hierarchy_TCGA_BEAT_GSE6891.csv", index_col="Patient")
    made = tl.cohort_survival(
        (table["PC1_cat"] == "High").astype(float).to_frame("PC1_high"),
        table["os"],
        table["osi"],
        strata=table["Cohort"],
        adjust_for=table[["Age", "CytogeneticRisk", "WBC", "NPM1", "FLT3ITD"]],
        scale=False,
        small_sample=False,
    )
    made = made.set_index("model").loc["adjusted"]
    assert (made["n"], made["n_events"]) == (821, 497)
    assert round(made["log_hr"], 7) == -0.2697380
    assert round(made["se"], 7) == 0.1005816


def test_other_baseline_hazards_do_not_look_like_an_effect():
    rng = np.random.default_rng(1)
    cohort = pd.Series(np.repeat(["slow", "fast"], 150))
    fast = (cohort == "fast").to_numpy()
    scores = pd.DataFrame(rng.normal(size=(300, 400)) + fast[:, None])
    scores[0] += 0.7 * scores[1]
    time = pd.Series(rng.exponential(np.where(fast, 1.0, 8.0)))
    event = pd.Series(rng.random(300) < 0.7)
    found = [tl.cohort_survival(scores, time, event, strata=strata) for strata in (None, cohort)]
    assert (found[0]["p_value"] < 0.05).mean() > 0.9
    assert (found[1]["p_value"] < 0.05).mean() < 0.08
    assert scipy_stats.kstest(found[1]["ph_p_value"], "uniform").pvalue > 0.01


def test_strata_that_allow_no_comparison(golden, caplog):
    given = (golden[["score"]], golden["time"], golden["event"])
    with pytest.raises(DesignError, match="strata has 1 level in these 150 patients"):
        tl.cohort_survival(*given, strata=golden["cohort"] * 0)
    with pytest.raises(DesignError, match="None of the 150 strata holds a death and a second"):
        tl.cohort_survival(*given, strata=pd.Series(range(150)))
    with pytest.raises(DesignError, match=r"\(cohort\) are constant or determine .* within strata"):
        tl.cohort_survival(*given, strata=golden["cohort"], adjust_for=golden[["cohort"]])
    with pytest.raises(DesignError, match="scores and strata share no sample"):
        tl.cohort_survival(*given, strata=golden["cohort"].set_axis([f"P{i}" for i in range(150)]))
    lost = golden["cohort"].where(golden.index > 9)
    made = tl.cohort_survival(*given, strata=lost)
    assert made["n"].item() == 140
    assert "10 of 150 patients have no stratum" in caplog.text


# --- pairs over cohorts


def _diagnosis_relapse(folder):
    parts = []
    for path in sorted(folder.glob("CIBERSORTx_DxRx_*.csv")):
        part = pd.read_csv(path, index_col=0)
        parts.append(part.assign(cohort=path.stem.removeprefix("CIBERSORTx_DxRx_")))
    table = pd.concat(parts)
    # One patient has a second relapse, after transplantation.
    table = table.drop(index="452198.post_allo")
    names = table.index.to_series()
    when = names.str.contains("_dx|_Dx|primary").map({True: "diagnosis", False: "relapse"})
    patient = names.str.extract(r"^(AML_\d+|LDXRX\d+|ID\d+|\d+)")[0]
    fractions = table[LEUKEMIC].div(table[LEUKEMIC].sum(axis=1), axis=0)
    return fractions, when, table["cohort"], patient


def test_published_relapse(zeng):
    fractions, when, cohort, patient = _diagnosis_relapse(zeng)
    made = tl.cohort_meta_analysis(fractions, when, cohort, patient=patient)
    made = made[made["feature"] == "LSPC-Quiescent"].set_index("cohort")
    assert made["n_level"].to_dict() == {
        "Christopher_2018": 15,
        "Cocciardi_2019": 10,
        "Li_2016": 19,
        "Shlush_2017": 12,
        "pooled": 56,
    }
    assert round(made.loc["Li_2016", "p_rank"], 4) == 0.0010
    li = fractions[cohort == "Li_2016"]["LSPC-Quiescent"]
    peer = scipy_stats.ttest_rel(li[1::2], li[::2])
    assert made.loc["Li_2016", "p_value"] == pytest.approx(peer.pvalue)
    assert (made["effect"] > 0).all()
    # Cohorts agree in direction and differ in size: certain by ranks, a wide mean of cohorts.
    assert made.loc["pooled", "p_rank"] < 0.001
    assert made.loc["pooled", "p_value"] > 0.05
    assert made.loc["pooled", "heterogeneity_p"] < 0.01


def _cohorts(rng, sizes=(12, 8, 20, 15), features=300, between=0.0, shift=0.0):
    names = [f"C{c}_P{i}_{w}" for c, n in enumerate(sizes) for i in range(n) for w in ("a", "b")]
    parts = pd.Series(names, names).str.split("_", expand=True)
    values = rng.normal(size=(len(names), features))
    own = rng.normal(shift, between, (len(sizes), features)) if between else shift
    late = (parts[2] == "b").to_numpy()
    code = parts[0].str[1:].astype(int).to_numpy()
    values[late] += own[code[late]] if between else shift
    return pd.DataFrame(values, names), parts[2], parts[0], parts[1]


@pytest.mark.parametrize("paired", [True, False])
def test_cohorts_without_a_difference(paired):
    rng = np.random.default_rng(4)
    rates = {"p_value": [], "p_rank": []}
    for _ in range(4):
        scores, when, cohort, patient = _cohorts(rng)
        made = tl.cohort_meta_analysis(scores, when, cohort, patient=patient if paired else None)
        made = made[made["cohort"] == "pooled"]
        assert (made["q_rank"] < 0.05).sum() <= 1
        for column, found in rates.items():
            found.append((made[column] < 0.05).mean())
    assert np.mean(rates["p_value"]) < 0.06
    assert 0.03 < np.mean(rates["p_rank"]) < 0.06


def test_the_mean_over_cohorts_is_covered():
    scores, when, cohort, patient = _cohorts(
        np.random.default_rng(5), sizes=(10,) * 8, features=400, between=0.5, shift=1.0
    )
    made = tl.cohort_meta_analysis(scores, when, cohort, patient=patient)
    made = made[made["cohort"] == "pooled"]
    assert (made["p_rank"] < 0.05).mean() > 0.95
    covered = (made["ci_low"] < 1) & (made["ci_high"] > 1)
    assert 0.92 < covered.mean() < 0.98
    assert (made["n_cohorts"] == 8).all()


def test_ranks_are_scipys_for_one_cohort():
    scores, when, cohort, patient = _cohorts(np.random.default_rng(6), sizes=(30, 30), features=2)
    for owner in (patient, None):
        made = tl.cohort_meta_analysis(scores.round(1), when, cohort, patient=owner)
        first = scores.round(1)[cohort == "C0"]
        late, early = first[1::2][0].to_numpy(), first[::2][0].to_numpy()
        # Rounding errors would separate equal differences.
        differences = (late - early).round(9)
        peer = (
            scipy_stats.mannwhitneyu(late, early, method="asymptotic").pvalue
            if owner is None
            else scipy_stats.wilcoxon(differences, method="approx").pvalue
        )
        row = made[(made["cohort"] == "C0") & (made["feature"] == "0")]
        assert row["p_rank"].item() == pytest.approx(peer)


def test_exact_ranks_with_ties_are_scipys():
    rng = np.random.default_rng(2)
    for n in (4, 7, 9):
        d = np.round(rng.normal(0.5, 1, n), 1).round() + np.where(np.arange(n) < 1, 0.0, 0.5)
        d[1] = -d[2]
        d[0] = 0.0
        size = scipy_stats.rankdata(np.abs(d[1:]))
        made = exact_signed_rank(np.append(0.0, size), d > 0)
        # All signs, by hand.
        signs = np.array(list(itertools.product([0, 1], repeat=n - 1)))
        sums, seen = signs @ size, size[d[1:] > 0].sum()
        peer = min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))
        assert made == pytest.approx(peer)
        # Earlier versions have no exact distribution with ties.
        if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15):
            assert made == pytest.approx(scipy_stats.wilcoxon(d).pvalue)


def test_cohorts_that_allow_no_comparison():
    scores, when, cohort, patient = _cohorts(np.random.default_rng(0), features=2)
    with pytest.raises(DesignError, match="cohort names 1 cohort"):
        tl.cohort_meta_analysis(scores, when, cohort.where(cohort == "C0"))
    with pytest.raises(DesignError, match="is called 'pooled'"):
        tl.cohort_meta_analysis(scores, when, cohort.replace("C0", "pooled"))
    unpaired = pd.Series(range(len(when)), when.index)
    with pytest.raises(DesignError, match=r"in two cohorts: C0: b vs a \(0 samples\)"):
        tl.cohort_meta_analysis(scores, when, cohort, patient=unpaired)
    with pytest.raises(DesignError, match="no level 'relapse'; it has a, b"):
        tl.cohort_meta_analysis(scores, when, cohort, reference="relapse")
    with pytest.raises(DesignError, match="Patient 'P0' has 2 samples at 'b'"):
        tl.cohort_meta_analysis(scores, when, cohort.replace("C1", "C0"), patient=patient)
    made = tl.cohort_meta_analysis(scores, when, cohort, patient=patient, min_samples=10)
    assert made.attrs["left_out"] == ["C1: b vs a (8 samples)"]
    assert "C1" not in set(made["cohort"])


# --- drugs, and covariates of any kind


def test_many_drugs_in_one_table(zeng):
    drugs = pd.read_csv(zeng / "BEAT_AML_DrugResponses.csv")
    areas = drugs.pivot_table(index="lab_id", columns="inhibitor", values="auc")
    table = pd.read_csv(zeng / "CIBERSORTx_Results_BEAT.csv", index_col=0)
    fractions = table[LEUKEMIC].div(table[LEUKEMIC].sum(axis=1), axis=0)
    made = tl.associate(areas, fractions)
    assert len(made) == 122 * 7
    best = made.loc[made["p_value"].idxmin()]
    # Monocytic leukemia resists venetoclax: Pei et al. 2020, doi 10.1158/2159-8290.CD-19-0710.
    assert (best["target"], best["feature"]) == ("Venetoclax", "Mono-like")
    assert best["effect"] > 0.5
    assert best["p_holm"] == pytest.approx(best["p_value"] * len(made))
    both = areas["Venetoclax"].dropna().index.intersection(fractions.index)
    assert best["n"] == len(both)
    np.testing.assert_allclose(made["q_all"], scipy_stats.false_discovery_control(made["p_value"]))


def test_constant_targets_of_many_are_named():
    rng = np.random.default_rng(0)
    drugs = pd.DataFrame(rng.random((20, 2)), columns=["a", "b"]).assign(flat=1.0, none=np.nan)
    with pytest.warns(UserWarning, match="2 of 4 pairs were not tested"):
        made = tl.associate(drugs, pd.DataFrame({"x": rng.random(20)}))
    assert made["target"].tolist() == ["a", "b"]
    assert made.attrs["left_out"] == [
        "flat, features: target is constant",
        "none, features: target is constant",
    ]


def test_continuous_covariates_explain_a_feature_away():
    rng = np.random.default_rng(3)
    purity = pd.Series(rng.random(60), name="purity")
    kind = pd.Series(np.repeat(["AML", "MM"], 30), name="kind")
    genes = pd.DataFrame({"x": purity + 0.1 * rng.normal(size=60), "y": rng.normal(size=60)})
    auc = (purity + 0.1 * rng.normal(size=60) + (kind == "MM")).rename("auc")
    covariates = pd.concat([purity, kind], axis=1)
    made = tl.associate(auc, genes, adjust_for=covariates).set_index("feature")
    assert made.loc["x", "p_value"] > 0.05
    assert tl.associate(auc, genes).set_index("feature").loc["x", "p_value"] < 0.01
    # Partial correlation by hand: residuals of ranks.
    design = np.column_stack([np.ones(60), scipy_stats.rankdata(purity), kind == "MM"]).astype(
        float
    )
    y, x = (
        v - design @ np.linalg.lstsq(design, v, rcond=None)[0]
        for v in (scipy_stats.rankdata(auc), scipy_stats.rankdata(genes["y"]))
    )
    assert made.loc["y", "effect"] == pytest.approx(np.corrcoef(y, x)[0, 1])
    # A column of groups twice is the same as once: its second copy costs no degree of freedom.
    once = tl.associate(auc, genes, adjust_for=kind)
    twice = tl.associate(auc, genes, adjust_for=pd.DataFrame({"a": kind, "b": kind}))
    pd.testing.assert_frame_equal(once, twice)


def test_covariates_that_do_not_fit():
    rng = np.random.default_rng(0)
    auc, genes = pd.Series(rng.random(20)), pd.DataFrame({"x": rng.random(20)})
    age = pd.Series(rng.random(20), name="age")
    with pytest.raises(MissingKeyError, match="for 2 samples, the first is 0"):
        tl.associate(auc, genes, adjust_for=age.where(age.index > 1))
    with pytest.raises(WrongScaleError, match="adjust_for holds infinite"):
        tl.associate(auc, genes, adjust_for=age.mask(age.index == 3, np.inf))
    with pytest.raises(DesignError, match="each must occur once"):
        tl.associate(auc, genes, adjust_for=pd.concat([age, age], axis=1))
    with pytest.raises(DesignError, match="must be a column"):
        tl.associate(auc, genes, adjust_for="age")
