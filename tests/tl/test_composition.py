from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError

STATES = ["resting", "adaptive", "activated", "type_i_ifn", "cytokine"]


@pytest.fixture
def wells(from_obs):
    """Build cells from {(sample, tumor, donor, condition): {state: number of cells}}."""

    def build(counts, states=("a", "b", "unassigned")):
        rows = [
            (*well, state)
            for well, table in counts.items()
            for state, n in table.items()
            for _ in range(n)
        ]
        obs = pd.DataFrame(rows, columns=["sample", "tumor", "nk_donor", "condition", "own"])
        return from_obs(**obs.assign(own=pd.Categorical(obs["own"], categories=list(states))))

    return build


SMALL = {
    ("mono1", None, "d1", "nk_mono"): {"a": 30, "b": 10},
    ("co1", "K562", "d1", "coculture"): {"a": 12, "b": 24, "unassigned": 4},
}


# ---- fractions


def test_fractions_by_hand(wells):
    table = nk.tl.state_fractions(wells(SMALL), "own")
    expected = pd.DataFrame(
        {
            "sample": ["co1"] * 3 + ["mono1"] * 3,
            "state": ["a", "b", "unassigned"] * 2,
            "n_cells": [12, 24, 4, 30, 10, 0],
            "n_total": [40] * 6,
            "fraction": [0.3, 0.6, 0.1, 0.75, 0.25, 0.0],
        }
    )
    got = table[list(expected)].astype({"state": object})
    pd.testing.assert_frame_equal(got, expected, check_dtype=False)
    assert list(table["state"].cat.categories) == ["a", "b", "unassigned"]
    assert table["tumor"].isna().tolist() == [False] * 3 + [True] * 3


def test_states_of_no_cell_are_listed(wells):
    table = nk.tl.state_fractions(wells(SMALL, states=("a", "b", "never", "unassigned")), "own")
    assert len(table) == 8
    assert (table.loc[table["state"] == "never", "fraction"] == 0).all()


def test_small_samples_are_left_out(wells):
    few = SMALL | {("co2", "K562", "d2", "coculture"): {"a": 9}}
    assert set(nk.tl.state_fractions(wells(few), "own")["sample"]) == {"mono1", "co1"}
    assert "co2" in set(nk.tl.state_fractions(wells(few), "own", min_cells=9)["sample"])


def test_p_values_follow_from_the_table_and_what_is_excluded_is_named(stated, wells):
    shift = nk.tl.state_shift(stated)
    again = 2 * stats.t.sf(shift["t"].abs(), shift["df_total"])
    np.testing.assert_allclose(again, shift["p_value"], rtol=1e-12)
    assert shift.attrs["left_out"] == []
    pairs = {
        (f"{arm}{d}", line, d, arm): {"a": 20 + i, "b": 30 - i}
        for i, d in enumerate(("d1", "d2"))
        for arm, line in (("nk_mono", None), ("coculture", "K562"))
    }
    few = pairs | {("co3", "K562", "d3", "coculture"): {"a": 9, "unassigned": 50}}
    table = nk.tl.state_shift(wells(few), "own")
    reason = "9 cells, 20 needed (min_cells)"
    assert table.attrs["left_out"] == [{"what": "sample", "name": "co3", "reason": reason}]


def test_text_columns_work_too(wells):
    adata = wells(SMALL)
    adata.obs["own"] = adata.obs["own"].astype(str)
    table = nk.tl.state_fractions(adata, "own")
    assert table["fraction"].tolist() == [0.3, 0.6, 0.1, 0.75, 0.25, 0.0]


@pytest.mark.parametrize("state", ["nk_state", "tumor_state"])
def test_fractions_of_called_states(stated, state):
    table = nk.tl.state_fractions(stated, state)
    np.testing.assert_allclose(table.groupby("sample")["fraction"].sum(), 1)
    n_levels = len(stated.obs[state].cat.categories)
    assert (table.groupby("sample").size() == n_levels).all()
    compartment = {"nk_state": "nk", "tumor_state": "tumor"}[state]
    obs = stated.obs
    used = (obs["compartment"] == compartment) & obs["qc_pass"] & obs["sample"].notna()
    assert table["n_cells"].sum() == used.sum()
    by_hand = pd.crosstab(obs["sample"][used], obs[state][used], dropna=False)
    one = table[table["sample"] == table["sample"].iloc[0]].set_index("state")["n_cells"]
    for name in one.index:
        assert one[name] == by_hand.loc[table["sample"].iloc[0], name]


def test_states_must_be_called(experiment):
    with pytest.raises(MissingKeyError, match=r"no 'nk_state'.*tl\.nk_states"):
        nk.tl.state_fractions(experiment)
    with pytest.raises(MissingKeyError, match=r"no 'tumor_state'.*tl\.tumor_states"):
        nk.tl.state_shift(experiment, "tumor_state")


# ---- shift, by hand


def hand_fit(counts, design, between=0.0):
    """Weighted regression of logits: coefficient, unscaled variance, residual variance per state.

    Written with least squares on rescaled rows, not with the code under test.
    """
    counts = np.asarray(counts, dtype=float)
    total = counts.sum(axis=1)
    out = []
    for k in counts.T:
        y = np.log((k + 0.5) / (total - k + 0.5))
        p = (k + 0.5) / (total + 1)
        root = 1 / np.sqrt(1 / (total * p * (1 - p)) + between)
        beta, rss, *_ = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)
        unscaled = np.linalg.inv((design * root[:, None]).T @ (design * root[:, None]))
        out.append((beta[1], unscaled[1, 1], rss[0] / (len(y) - design.shape[1])))
    return np.array(out).T


def between_samples(counts, design):
    """The variance between samples at which the mean residual variance of the states is one."""
    low, high = 0.0, 100.0
    if hand_fit(counts, design)[2].mean() <= 1:
        return 0.0
    for _ in range(100):
        middle = (low + high) / 2
        too_small = hand_fit(counts, design, middle)[2].mean() > 1
        low, high = (middle, high) if too_small else (low, middle)
    return low


def shared_variance(variance, df):
    """Limma's moments: prior and its degrees of freedom, then the weighted mean."""
    e = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    excess = e.var(ddof=1) - special.polygamma(1, df / 2)
    if excess <= 0:
        return np.full_like(variance, variance.mean())
    grid = np.geomspace(1e-3, 1e6, 400_001)
    half = grid[np.argmin(np.abs(special.polygamma(1, grid) - excess))]
    prior = np.exp(e.mean() + special.digamma(half) - np.log(half))
    return (df * variance + 2 * half * prior) / (df + 2 * half)


@pytest.mark.parametrize(("extra", "overdispersed"), [(20, True), (2, False)])
def test_shift_by_hand(wells, extra, overdispersed):
    counts = {
        ("m1", None, "d1", "nk_mono"): {"a": 60, "b": 20, "c": 20},
        ("m2", None, "d2", "nk_mono"): {"a": 60 - extra, "b": 20 + extra, "c": 20},
        ("c1", "K562", "d3", "coculture"): {"a": 20, "b": 60, "c": 20},
        ("c2", "K562", "d4", "coculture"): {"a": 20, "b": 60 - extra, "c": 20 + extra},
    }
    assert all(sum(well.values()) == 100 for well in counts.values())
    adata = wells(counts, states=("a", "b", "c", "unassigned"))
    table = nk.tl.state_shift(adata, "own").set_index("state").loc[["a", "b", "c"]]
    # Donors differ between the arms, so nothing is matched: intercept and treatment.
    design = np.array([[1, 0], [1, 0], [1, 1], [1, 1]], dtype=float)
    numbers = [list(well.values()) for well in counts.values()]
    between = between_samples(numbers, design)
    assert (between > 0) is overdispersed
    effect, unscaled, variance = hand_fit(numbers, design, between)
    np.testing.assert_allclose(table["log_odds_ratio"], effect, rtol=1e-6)
    shared = np.maximum(shared_variance(variance, 2), 1)
    np.testing.assert_allclose(table["se"], np.sqrt(shared * unscaled), rtol=1e-4)
    np.testing.assert_allclose(table["t"], table["log_odds_ratio"] / table["se"])
    share = np.array(numbers) / 100
    np.testing.assert_allclose(table["fraction_control"], share[:2].mean(axis=0))
    np.testing.assert_allclose(table["fraction_treated"], share[2:].mean(axis=0))
    assert (table["df_residual"] == 2).all()
    np.testing.assert_allclose(
        table["q_value"], stats.false_discovery_control(table["p_value"]), rtol=1e-12
    )
    middle = (table["ci_low"] + table["ci_high"]) / 2
    np.testing.assert_allclose(middle, table["log_odds_ratio"])


def test_unassigned_cells_stay_out_of_the_test(wells):
    counts = {
        (f"{arm}{i}", line, f"{arm}{i}", condition): {"a": 40 + i, "b": 60 - 5 * i}
        for arm, line, condition in (("m", None, "nk_mono"), ("c", "K562", "coculture"))
        for i in range(3)
    }
    without = nk.tl.state_shift(wells(counts), "own")
    for table, extra in zip(counts.values(), (5, 50, 500, 0, 7, 70), strict=True):
        table["unassigned"] = extra
    pd.testing.assert_frame_equal(nk.tl.state_shift(wells(counts), "own"), without)
    assert set(without["state"]) == {"a", "b"}
    # A sample whose cells are called too rarely is left out.
    counts["m1", None, "m1", "nk_mono"] = {"a": 10, "b": 9, "unassigned": 500}
    table = nk.tl.state_shift(wells(counts), "own")
    assert (table["n_samples_control"] == 2).all()


def test_donors_of_both_arms_are_matched(wells):
    rng = np.random.default_rng(0)
    counts, free = {}, {}
    for i, level in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        for condition, line, shift in (("nk_mono", None, 0.0), ("coculture", "K562", 0.5)):
            p = special.expit(special.logit(level) + shift)
            k = rng.binomial(400, p)
            counts[f"{condition}{i}", line, f"d{i}", condition] = {"a": k, "b": 400 - k}
            free[f"{condition}{i}", line, f"{condition}{i}", condition] = {"a": k, "b": 400 - k}
    matched = nk.tl.state_shift(wells(counts), "own").set_index("state").loc["a"]
    unmatched = nk.tl.state_shift(wells(free), "own").set_index("state").loc["a"]
    assert matched["log_odds_ratio"] == pytest.approx(0.5, abs=0.25)
    assert matched["p_value"] < 0.01
    assert unmatched["p_value"] > 0.2
    assert matched["df_residual"] == 4
    assert unmatched["df_residual"] == 8


def test_real_counts_equal_a_hand_written_regression(from_obs, shared):
    file = shared / "data/composition_counts/sccomp_composition.csv"
    long = pd.read_csv(file)
    wide = long.pivot_table(index=["sample", "type"], columns="cell_group", values="Freq").fillna(0)
    counts = wide.to_numpy(dtype=int)
    sample, kind = (wide.index.get_level_values(i).to_numpy(dtype=object) for i in (0, 1))
    rows, groups = np.nonzero(counts)
    n = counts[rows, groups]
    adata = from_obs(
        sample=np.repeat(sample[rows], n),
        kind=np.repeat(kind[rows], n),
        own=pd.Categorical(np.repeat(wide.columns.to_numpy(dtype=object)[groups], n)),
    )
    adata.obs["everyone"] = "all"
    treated, control = sorted(set(kind))
    table = (
        nk.tl.state_shift(
            adata,
            "own",
            treated=treated,
            control=control,
            by="everyone",
            replicate="sample",
            condition="kind",
        )
        .set_index("state")
        .loc[list(wide.columns)]
    )
    design = np.column_stack([np.ones(len(kind)), kind == treated]).astype(float)
    between = between_samples(counts, design)
    assert between > 0.1
    effect, unscaled, variance = hand_fit(counts, design, between)
    np.testing.assert_allclose(table["log_odds_ratio"], effect, rtol=1e-6, atol=1e-8)
    shared = np.maximum(shared_variance(variance, len(kind) - 2), 1)
    np.testing.assert_allclose(table["se"], np.sqrt(shared * unscaled), rtol=1e-3)
    assert len(table) == 30
    assert (table["n_samples_treated"] + table["n_samples_control"] == 20).all()


# ---- planted shift, and none


def test_planted_shift(stated):
    table = nk.tl.state_shift(stated)
    assert sorted(table["state"].unique()) == sorted(STATES)
    strong = table[table["tumor"].isin(["GDM1", "JURKAT", "RI1", "K562"])].set_index("state")
    assert (strong.loc["activated", "log_odds_ratio"] > 0.8).all()
    assert (strong.loc["activated", "q_value"] < 0.05).mean() >= 0.75
    assert (strong.loc["resting", "log_odds_ratio"] < -0.8).all()
    weak = table[(table["tumor"] == "697") & (table["state"] == "activated")]
    assert weak["log_odds_ratio"].item() < strong.loc["activated", "log_odds_ratio"].min()


def test_planted_fractions_are_estimated(stated):
    table = nk.tl.state_shift(stated)
    truth = stated.uns["truth"]["samples"].merge(
        stated.uns["nkscore"]["sample_sheet"][["sample", "tumor", "condition"]], on="sample"
    )
    mean = (
        truth[truth["condition"] == "coculture"]
        .groupby("tumor")[[f"nk_{state}" for state in STATES]]
        .mean()
    )
    planted = [mean.loc[t, f"nk_{s}"] for t, s in zip(table["tumor"], table["state"], strict=True)]
    assert np.corrcoef(planted, table["fraction_treated"])[0, 1] > 0.9


def test_selection_shows_in_the_tumor_states(stated):
    table = nk.tl.state_shift(stated, "tumor_state")
    low = table[table["state"] == "low_myc_dormant_like"]
    assert (low["log_odds_ratio"] > 0).all()
    assert (low["n_samples_control"] == 1).all()


def random_experiment(rng, *, shift=0.0, spread=0.35):
    """Counts of four states in three lines × three donors and three controls, overdispersed."""
    base = np.log([0.55, 0.25, 0.15, 0.05])
    counts = {}
    for donor in ("d1", "d2", "d3"):
        of_donor = base + rng.normal(0, spread, 4)
        for line in (None, "A", "B", "C"):
            level = of_donor + rng.normal(0, spread, 4)
            if line:
                level = level + shift * np.array([0, 0, 1, 0])
            n = rng.multinomial(int(rng.integers(50, 300)), special.softmax(level))
            condition = "coculture" if line else "nk_mono"
            counts[f"{line}_{donor}", line, donor, condition] = dict(
                zip("abcd", n.tolist(), strict=True)
            )
    return counts


def test_null_p_values_are_not_too_small(wells):
    rng = np.random.default_rng(1)
    p, least_q = [], []
    for _ in range(60):
        table = nk.tl.state_shift(wells(random_experiment(rng), states="abcd"), "own")
        p += table["p_value"].tolist()
        least_q.append(table["q_value"].min())
    # 720 tests, 12 an experiment. With binomial weights alone 8 % were below 0.05, as large
    # samples passed for sure ones.
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.075
    assert np.mean(np.array(p) < 0.01) < 0.025
    assert np.mean(np.array(least_q) < 0.05) < 0.12
    found = [
        nk.tl.state_shift(wells(random_experiment(rng, shift=1.5), states="abcd"), "own")
        .query("state == 'c'")["q_value"]
        .lt(0.05)
        .mean()
        for _ in range(10)
    ]
    assert np.mean(found) > 0.7


def test_null_of_the_whole_chain(simulate):
    p = []
    for seed in range(4):
        adata = simulate(tumors=["697", "GDM1", "JURKAT"], null="all", rng=seed)
        nk.tl.nk_states(adata)
        p += nk.tl.state_shift(adata, min_cells=10)["p_value"].tolist()
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert np.min(p) > 1e-4


# ---- table and errors


def test_columns(stated):
    assert list(nk.tl.state_shift(stated).columns) == [
        "tumor",
        "state",
        "treated",
        "fraction_treated",
        "fraction_control",
        "log_odds_ratio",
        "se",
        "ci_low",
        "ci_high",
        "t",
        "p_value",
        "q_value",
        "n_samples_treated",
        "n_samples_control",
        "df_residual",
        "df_total",
    ]
    assert list(nk.tl.state_fractions(stated).columns) == [
        "sample",
        "tumor",
        "lineage",
        "nk_donor",
        "condition",
        "time_h",
        "state",
        "n_cells",
        "n_total",
        "fraction",
    ]


def test_order_of_cells_does_not_matter(stated):
    rng = np.random.default_rng(0)
    other = stated[rng.permutation(stated.n_obs)].copy()
    pd.testing.assert_frame_equal(nk.tl.state_shift(other), nk.tl.state_shift(stated))
    pd.testing.assert_frame_equal(nk.tl.state_fractions(other), nk.tl.state_fractions(stated))


def test_no_replicate(wells):
    with pytest.raises(DesignError, match=r"no residual degree of freedom"):
        nk.tl.state_shift(wells(SMALL), "own")


def test_empty_arm(wells):
    with pytest.raises(DesignError, match=r"No sample has condition 'conditioned_medium'"):
        nk.tl.state_shift(wells(SMALL), "own", treated="conditioned_medium")


# ---- tables of counts


def long_table(counts):
    return pd.DataFrame(
        [
            {
                "sample": w[0],
                "tumor": w[1],
                "nk_donor": w[2],
                "condition": w[3],
                "state": s,
                "n_cells": n,
            }
            for w, states in counts.items()
            for s, n in states.items()
        ]
    )


def test_a_table_of_counts_equals_its_cells(wells):
    counts = random_experiment(np.random.default_rng(4), shift=1.0)
    table = long_table(counts)
    expected = nk.tl.state_shift(wells(counts, states="abcd"), "own")
    pd.testing.assert_frame_equal(nk.tl.state_shift(table), expected)
    # Rows in any order, and states of no cell left out.
    mixed = table[table["n_cells"] > 0].sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(nk.tl.state_shift(mixed), expected)


def test_a_table_survives_tsv(tmp_path):
    table = long_table(random_experiment(np.random.default_rng(5)))
    table["state"] = table["state"].map({"a": "naïve T", "b": "β", "c": "c d", "d": "d"})
    expected = nk.tl.state_shift(table)
    table.to_csv(tmp_path / "counts.tsv", sep="\t", index=False)
    again = nk.tl.state_shift(pd.read_csv(tmp_path / "counts.tsv", sep="\t"))
    pd.testing.assert_frame_equal(again, expected)
    expected.to_csv(tmp_path / "shift.tsv", sep="\t", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "shift.tsv", sep="\t"), expected)


def test_real_table_equals_a_hand_written_test(shared):
    """Cancer against healthy, 20 people: effects, errors and p-values."""
    long = pd.read_csv(shared / "data/composition_counts/sccomp_composition.csv")
    long = long.rename(columns={"cell_group": "state", "Freq": "n_cells", "type": "group"})
    table = nk.tl.state_shift(
        long, treated="cancer", control="healthy", by=None, replicate="sample", condition="group"
    )
    wide = long.pivot(index=["sample", "group"], columns="state", values="n_cells").fillna(0)  # noqa: PD010
    table = table.set_index("state").loc[list(wide.columns)]
    is_cancer = wide.index.get_level_values("group") == "cancer"
    design = np.column_stack([np.ones(20), is_cancer]).astype(float)
    counts = wide.to_numpy()
    between = between_samples(counts, design)
    effect, unscaled, variance = hand_fit(counts, design, between)
    np.testing.assert_allclose(table["log_odds_ratio"], effect, rtol=1e-6, atol=1e-8)
    e = np.log(variance) - special.digamma(9) + np.log(9)
    excess = e.var(ddof=1) - special.polygamma(1, 9)
    prior_df = np.inf
    if excess > 0:
        grid = np.geomspace(1e-3, 1e6, 400_001)
        prior_df = 2 * grid[np.argmin(np.abs(special.polygamma(1, grid) - excess))]
    posterior = np.maximum(shared_variance(variance, 18), 1)
    t = effect / np.sqrt(posterior * unscaled)
    df = min(18 + prior_df, 18 * len(effect))
    np.testing.assert_allclose(table["se"], np.sqrt(posterior * unscaled), rtol=1e-4)
    np.testing.assert_allclose(table["p_value"], 2 * stats.t.sf(np.abs(t), df), rtol=5e-3)
    assert (table["q_value"] < 0.05).sum() > 5


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda t: t.drop(columns="n_cells"), MissingKeyError, "no column 'n_cells'"),
        (lambda t: pd.concat([t, t.head(1)]), DesignError, "several rows for sample .*, state "),
        (lambda t: t.assign(n_cells=t["n_cells"] + 0.5), ValueError, "fractions"),
        (lambda t: t.assign(n_cells=t["n_cells"].where(t.index > 0)), ValueError, "NaN"),
        (lambda t: t.assign(state=t["state"].where(t.index > 0)), ValueError, "lack a sample"),
        (lambda t: t.assign(condition="coculture"), DesignError, "No sample has condition"),
        (lambda t: t.assign(nk_donor=[str(i) for i in range(len(t))]), DesignError, "constant"),
        (lambda t: t[t["state"] == "a"], DesignError, "at least two"),
        (lambda t: t[t["sample"].isin(["None_d1", "A_d1"])], DesignError, "Add replicates"),
    ],
)
def test_tables_that_cannot_be_tested(change, error, words):
    table = long_table(random_experiment(np.random.default_rng(6)))
    with pytest.raises(error, match=words):
        nk.tl.state_shift(change(table))


def test_time_course():
    rng = np.random.default_rng(7)
    rows = []
    for donor in ("d1", "d2", "d3", "d4"):
        for hours, share in ((0, 0.1), (6, 0.2), (24, 0.6)):
            k = rng.binomial(300, share)
            rows += [
                {
                    "sample": f"{donor}_{hours}",
                    "tumor": "K562",
                    "nk_donor": donor,
                    "time_h": hours,
                    "state": s,
                    "n_cells": n,
                }
                for s, n in (("on", k), ("off", 300 - k))
            ]
    table = nk.tl.state_shift(
        pd.DataFrame(rows), condition="time_h", treated=[6, 24], control=0
    ).set_index(["treated", "state"])
    effect = table["log_odds_ratio"].xs("on", level="state")
    assert effect["6"] == pytest.approx(np.log(0.25 / (1 / 9)), abs=0.4)
    assert effect["24"] == pytest.approx(np.log(1.5 * 9), abs=0.4)
    assert (table["n_samples_treated"] == 4).all()


def test_states_defined_against_the_monoculture_are_not_tested(caplog):
    counts = random_experiment(np.random.default_rng(8))
    table = long_table(counts).replace(
        {
            "condition": {"nk_mono": "tumor_mono"},
            "state": {"a": "baseline", "d": "ifn_gamma_response"},
        }
    )
    shift = nk.tl.state_shift(table, "tumor_state")
    assert "circular" in caplog.text
    assert set(shift["state"]) == {"baseline", "b", "c"}
    folded = table.replace({"state": {"ifn_gamma_response": "baseline"}})
    folded = folded.groupby(
        ["sample", "tumor", "nk_donor", "condition", "state"], dropna=False, as_index=False
    )["n_cells"].sum()
    pd.testing.assert_frame_equal(shift, nk.tl.state_shift(folded, "tumor_state"))


@pytest.mark.filterwarnings("ignore:.*signatures are incomplete")
def test_interferon_beta_brings_nk_cells_to_the_interferon_state(kang):
    cells = kang[kang.obs["donor"].notna()].copy()
    donor, arm = cells.obs["donor"].astype(str), cells.obs["condition"].astype(str)
    is_nk = (cells.obs["cell_type"] == "NK").to_numpy()
    cells.obs["sample"], cells.obs["nk_donor"] = donor + "_" + arm, donor
    cells.obs["condition"] = arm.map({"ctrl": "nk_mono", "stim": "coculture"})
    cells.obs["compartment"] = pd.Categorical(np.where(is_nk, "nk", "other"))
    nk.tl.nk_states(cells)
    table = nk.tl.state_shift(cells, by=None, min_cells=2, include_unassigned=True)
    row = table.set_index("state").loc["type_i_ifn"]
    assert row["n_samples_treated"] == 8
    assert row["n_samples_control"] == 8
    assert row["log_odds_ratio"] > 2
    assert row["q_value"] < 0.001


# ---- options that cannot be right


def test_no_sample_with_enough_cells(stated):
    for function in (nk.tl.state_fractions, nk.tl.state_shift):
        with pytest.raises(DesignError, match=r"No sample has 9999 cells with a called state"):
            function(stated, min_cells=9999)


def test_treated_levels_and_coverage(stated):
    one = nk.tl.state_shift(stated)
    pd.testing.assert_frame_equal(nk.tl.state_shift(stated, treated=np.array(["coculture"])), one)
    with pytest.raises(DesignError, match="treated names no level"):
        nk.tl.state_shift(stated, treated=[])
    with pytest.raises(ValueError, match="confidence is 95"):
        nk.tl.state_shift(stated, confidence=95)
