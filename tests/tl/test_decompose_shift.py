from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.tl._response._response_score import _per_lineage


@pytest.fixture
def wells(from_obs):
    """Build cells from {(sample, donor, condition): {state: (number of cells, score)}}."""

    def build(content, spread=0.0):
        rng = np.random.default_rng(0)
        rows = [
            (sample, donor, condition, state, score + spread * rng.normal())
            for (sample, donor, condition), states in content.items()
            for state, (n, score) in states.items()
            for _ in range(n)
        ]
        obs = pd.DataFrame(rows, columns=["sample", "nk_donor", "condition", "state", "value"])
        return from_obs(**obs, tumor="K562", compartment="tumor")

    return build


def _sums(table):
    return table[table["stratum"] == "all"].set_index("component")


TWO = {
    ("m1", None, "tumor_mono"): {"a": (60, 1.0), "b": (40, 3.0)},
    ("m2", None, "tumor_mono"): {"a": (60, 1.0), "b": (40, 3.0)},
    ("c1", "d1", "coculture"): {"a": (20, 2.0), "b": (80, 3.0)},
    ("c2", "d2", "coculture"): {"a": (20, 2.0), "b": (80, 3.0)},
}


def test_by_hand(wells):
    table = nk.tl.decompose_shift(wells(TWO), "value", "state")
    sums = _sums(table)
    assert sums["change"].round(12).to_dict() == {
        "total": 1.0,
        "within_state": 0.4,
        "composition": 0.6,
    }
    assert sums["share_of_total"].tolist() == pytest.approx([1, 0.4, 0.6])
    parts = table[table["stratum"] != "all"].groupby("component")["change"].sum()
    assert parts["composition"] == pytest.approx(0.6)
    assert sums.loc["total", ["mean_control", "mean_treated"]].tolist() == pytest.approx([1.8, 2.8])


def test_stable_strata_are_named_selection(wells):
    table = nk.tl.decompose_shift(wells(TWO), "value", "state", stable=True)
    assert set(table["component"]) == {"total", "induction", "selection"}


def test_order_of_cells_does_not_matter(wells):
    adata = wells(TWO, spread=0.5)
    order = np.random.default_rng(1).permutation(adata.n_obs)
    for interval in ("t", "bootstrap"):
        one = nk.tl.decompose_shift(adata, "value", "state", interval=interval, n_resamples=50)
        other = nk.tl.decompose_shift(
            adata[order].copy(), "value", "state", interval=interval, n_resamples=50
        )
        pd.testing.assert_frame_equal(one, other, rtol=1e-9)


def test_donors_of_both_arms_are_matched(wells):
    """Donors differ far more than the arms do; matched, the change is seen."""
    content = {}
    for i, level in enumerate((0.0, 5.0, 10.0)):
        for condition, more in (("tumor_mono", 0.0), ("coculture", 1.0 + 0.01 * i)):
            content[f"{condition}{i}", f"d{i}", condition] = {
                "a": (30, level + more),
                "b": (30, level + more + 1),
            }
    row = _sums(nk.tl.decompose_shift(wells(content), "value", "state")).loc["within_state"]
    assert row["paired"]
    assert row["df"] == 2
    assert row["change"] == pytest.approx(1.01)
    assert row["se"] == pytest.approx(0.01 / np.sqrt(3))


def test_one_monoculture_well(wells):
    one = {k: v for k, v in TWO.items() if k[0] != "m2"}
    sums = _sums(nk.tl.decompose_shift(wells(one, spread=0.5), "value", "state"))
    assert (sums["se"] > 0).all()
    assert (sums["df"] == 1).all()


def test_one_sample_per_arm(wells):
    alone = wells({k: v for k, v in TWO.items() if k[0] in ("m1", "c1")})
    with pytest.raises(DesignError, match=r"one sample per arm.*Add NK donors.*interval='none'"):
        nk.tl.decompose_shift(alone, "value", "state")
    table = nk.tl.decompose_shift(alone, "value", "state", interval="none")
    assert _sums(table)["change"].tolist() == pytest.approx([1, 0.4, 0.6])
    assert table["ci_low"].isna().all()


def test_stratum_of_one_arm(wells):
    content = TWO | {("c1", "d1", "coculture"): {"a": (20, 2.0), "b": (60, 3.0), "new": (20, 9.0)}}
    table = nk.tl.decompose_shift(wells(content), "value", "state")
    sums = _sums(table)
    new = table[table["stratum"] == "new"].set_index("component")
    assert new.loc["within_state", "change"] == 0
    assert new.loc["composition", "change"] > 0
    assert sums.loc["total", "change"] == pytest.approx(
        sums.loc["within_state", "change"] + sums.loc["composition", "change"]
    )


def test_equal_scores(wells):
    flat = {k: {s: (n, 1.0) for s, (n, _) in v.items()} for k, v in TWO.items()}
    table = nk.tl.decompose_shift(wells(flat), "value", "state")
    assert (table["change"] == 0).all()
    assert (table["p_value"] == 1).all()


def test_equal_scores_with_one_monoculture(wells):
    content = {
        ("m1", None, "tumor_mono"): {"a": (17, 0.1), "b": (14, 0.1)},
        ("c1", "d1", "coculture"): {"a": (12, 0.1), "b": (29, 0.1)},
        ("c2", "d2", "coculture"): {"a": (23, 0.1), "b": (11, 0.1)},
    }
    # Rounding makes the variance of equal cells a speck below zero, which has no root.
    table = nk.tl.decompose_shift(wells(content), "value", "state")
    assert (table["change"] == 0).all()
    assert (table["p_value"] == 1).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_response_score_of_a_constant(wells, value):
    content = {k: {s: (n, value) for s, (n, _) in v.items()} for k, v in TWO.items()}
    table = nk.tl.response_score(wells(content), "value")
    assert table[["change", "se", "t"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]
    assert table["p_value"].tolist() == [1.0]


def test_missing_strata_and_scores(wells, caplog):
    adata = wells(TWO)
    adata.obs.loc[adata.obs_names[:3], "state"] = None
    nk.tl.decompose_shift(adata, "value", "state")
    assert "3 cells have no stratum" in caplog.text
    adata.obs.loc[adata.obs_names[5], "value"] = np.nan
    with pytest.raises(WrongScaleError, match="NaN or infinite in 1 of"):
        nk.tl.decompose_shift(adata, "value", "state")
    with pytest.raises(MissingKeyError, match="'nothing' is neither"):
        nk.tl.decompose_shift(adata, "nothing", "state")


def test_planted_selection_and_induction(wells):
    rng = np.random.default_rng(4)
    content = {}
    for i in range(6):
        for condition, share, raised in (("tumor_mono", 0.3, 0.0), ("coculture", 0.6, 0.5)):
            n = rng.binomial(300, share)
            shift = 0.05 * rng.normal()
            content[f"{condition}{i}", f"d{i}", condition] = {
                "resistant": (n, 2 + raised + shift),
                "other": (300 - n, raised + shift),
            }
    sums = _sums(nk.tl.decompose_shift(wells(content, spread=1.0), "value", "state"))
    assert sums.loc["within_state", "change"] == pytest.approx(0.5, abs=0.11)
    assert sums.loc["composition", "change"] == pytest.approx(0.6, abs=0.11)
    assert (sums["p_value"] < 0.01).all()


@pytest.mark.filterwarnings("ignore:1 of 1 signatures are incomplete")
def test_real_interferon_is_induced_within_types(kang):
    known = kang.obs["donor"].notna() & kang.obs["cell_type"].notna()
    adata = kang[known.to_numpy()].copy()
    adata.obs["sample"] = adata.obs["donor"].astype(str) + "_" + adata.obs["condition"].astype(str)
    nk.pp.normalize(adata)
    nk.tl.score(adata, "HALLMARK_INTERFERON_ALPHA_RESPONSE")
    sums = _sums(
        nk.tl.decompose_shift(
            adata,
            "HALLMARK_INTERFERON_ALPHA_RESPONSE",
            "cell_type",
            compartment=None,
            treated="stim",
            control="ctrl",
            by=None,
            replicate="donor",
        )
    )
    assert sums.loc["within_state", "share_of_total"] > 0.9
    assert sums.loc["within_state", "p_value"] < 1e-6
    assert sums.loc["total", "n_samples_treated"] == 8


# ---- response_score


def test_response_score_of_lines_and_lineages(experiment):
    adata = experiment.copy()
    name = "DUFVA2023_CORE_NK_RESPONSE"
    nk.tl.score(adata, name)
    samples = nk.tl.response_score(adata, name, level="sample")
    tumor = adata.obs["compartment"] == "tumor"
    first = adata.obs["sample"] == samples["sample"].iloc[0]
    value = adata.obsm["scores"].loc[(tumor & first & adata.obs["qc_pass"]).to_numpy(), name]
    assert samples["mean"].iloc[0] == pytest.approx(value.mean())
    assert samples["se"].iloc[0] == pytest.approx(value.sem())
    lines = nk.tl.response_score(adata, name)
    assert (lines["p_value"] < 0.05).all()
    assert (lines["ci_low"] > 0).all()
    assert lines.attrs["left_out"] == []
    few = int(samples["n_cells"].min()) + 1
    excluded = nk.tl.response_score(adata, name, min_cells=few).attrs["left_out"]
    assert {"sample"} <= {one["what"] for one in excluded} <= {"sample", "line"}
    parts = nk.tl.decompose_shift(adata, name, "truth_tumor_state", min_cells=few).attrs["left_out"]
    assert {"sample"} <= {one["what"] for one in parts}
    assert all(one["reason"] for one in parts)
    pairs = nk.tl.response_score(adata, name, level="lineage")
    assert len(pairs) == 10
    assert pairs["df"].eq(1).all()
    with pytest.raises(ValueError, match="level is"):
        nk.tl.response_score(adata, name, level="cell")


# ---- levels that are numbers, lines without a name


@pytest.mark.parametrize("as_category", [False, True])
def test_a_control_of_zero_hours(wells, as_category):
    adata = wells(TWO, spread=0.5)
    hours = adata.obs["condition"].map({"tumor_mono": 0.0, "coculture": 24.0})
    adata.obs["hours"] = hours.astype("category") if as_category else hours
    at = {"condition": "hours", "treated": 24, "control": 0}
    pd.testing.assert_frame_equal(
        nk.tl.decompose_shift(adata, "value", "state", **at),
        nk.tl.decompose_shift(adata, "value", "state"),
    )
    pd.testing.assert_frame_equal(
        nk.tl.response_score(adata, "value", **at), nk.tl.response_score(adata, "value")
    )
    for function in (nk.tl.response_score, nk.tl.decompose_shift):
        rest = ["state"] if function is nk.tl.decompose_shift else []
        with pytest.raises(DesignError, match=r"obs\['hours'\], for which no control is known"):
            function(adata, "value", *rest, condition="hours", treated=24)
        with pytest.raises(DesignError, match="Both arms are 24"):
            function(adata, "value", *rest, condition="hours", treated=24, control=24.0)


def test_lines_without_a_name_or_with_two_lineages(wells):
    adata = wells(TWO)
    adata.obs["lineage"] = "CML"
    adata.obs.loc[adata.obs_names[0], "lineage"] = "AML"
    with pytest.raises(DesignError, match=r"tumor 'K562' has several values of obs\['lineage'\]"):
        nk.tl.response_score(adata, "value")
    adata.obs["lineage"] = "CML"
    by_lineage = nk.tl.response_score(adata, "value", by="lineage")
    by_line = nk.tl.response_score(adata, "value").drop(columns="lineage")
    pd.testing.assert_frame_equal(by_lineage.drop(columns="tumor"), by_line.drop(columns="tumor"))
    adata.obs["tumor"] = None
    with pytest.raises(DesignError, match=r"No treated sample has a value of obs\['tumor'\]"):
        nk.tl.decompose_shift(adata, "value", "state")


def test_options_that_cannot_be_right(wells):
    adata = wells(TWO)
    with pytest.raises(DesignError, match=r"No strata are named"):
        nk.tl.decompose_shift(adata, "value", [])
    with pytest.raises(ValueError, match="confidence is 95"):
        nk.tl.decompose_shift(adata, "value", "state", confidence=95)
    with pytest.raises(ValueError, match="confidence is 95"):
        nk.tl.response_score(adata, "value", confidence=95)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        nk.tl.decompose_shift(adata, "value", "state", n_resamples=0)
    with pytest.raises(DesignError, match=r"No sample has 500 cells.*largest has 100"):
        nk.tl.decompose_shift(adata, "value", "state", min_cells=500)


def test_lineages_by_hand():
    """Lines of one lineage differ by 2: variance 2 within, whatever the error of a line."""
    change = {"A": [1.0, 3.0], "B": [4.0, 6.0], "C": [2.0]}
    rows = [(f"{k}{i}", k, x) for k, values in change.items() for i, x in enumerate(values)]
    made = _per_lineage(pd.DataFrame(rows, columns=["tumor", "lineage", "change"]), 0.9)
    np.testing.assert_allclose(made["difference"], [-3, 0, 3])
    np.testing.assert_allclose(made["se"], np.sqrt([2, 3, 3]))
    assert made["df"].tolist() == [2, 2, 2]
    assert made["p_value"].iloc[0] == pytest.approx(2 * stats.t.sf(3 / np.sqrt(2), 2))
    margin = stats.t.ppf(0.95, 2) * np.sqrt(2)
    assert made.loc[0, ["ci_low", "ci_high"]].tolist() == pytest.approx([-3 - margin, -3 + margin])
    assert made["p_overall"].iloc[0] == pytest.approx(stats.f_oneway(*change.values()).pvalue)


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_response_score_equals_a_weighted_regression(wells, between):
    """Weights from the cells' variance plus one between samples that makes residuals one."""
    content = {
        ("m1", None, "tumor_mono"): {"a": (20, 1.0)},
        ("m2", None, "tumor_mono"): {"a": (70, 0.7 + between)},
        ("c1", None, "coculture"): {"a": (30, 2.0)},
        ("c2", None, "coculture"): {"a": (90, 2.0)},
        ("c3", None, "coculture"): {"a": (15, 2.0 + between / 2)},
    }
    adata = wells(content, spread=1.0)
    made = nk.tl.response_score(adata, "value").iloc[0]
    cells = adata.obs.groupby(["sample", "condition"])["value"].agg(["mean", "var", "size"])
    mean, sampling = cells["mean"].to_numpy(), (cells["var"] / cells["size"]).to_numpy()
    treated = cells.index.get_level_values("condition") == "coculture"
    design = np.column_stack([np.ones(5), treated])

    def fit(extra):
        weight = 1 / (sampling + extra)
        inverse = np.linalg.inv(design.T * weight @ design)
        beta = inverse @ (design.T * weight @ mean)
        return beta[1], np.sqrt(inverse[1, 1]), (weight * (mean - design @ beta) ** 2).sum() / 3

    extra = optimize.brentq(lambda x: fit(x)[2] - 1, 0, 10) if fit(0.0)[2] > 1 else 0.0
    assert (extra > 0) == (between > 0)
    change, error, _ = fit(extra)
    assert made["change"] == pytest.approx(change, rel=1e-6)
    assert made["se"] == pytest.approx(error, rel=1e-6)
    assert made["df"] == 3
    assert made["ci_high"] == pytest.approx(change + stats.t.ppf(0.975, 3) * error, rel=1e-6)
