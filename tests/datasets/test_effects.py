"""Each planted effect is in the data, and is gone when it is switched off."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk

#: No ambient RNA, doublets, poor cells or random effects: planted effects stand alone.
PURE = {
    "tumors": ["697", "GDM1"],
    "n_donors": 2,
    "ambient": 0.0,
    "doublets": 0.0,
    "negatives": 0.0,
    "low_quality": 0.0,
    "donor_effect": 0.0,
    "sample_effect": 0.0,
    "lane_effect": 0.0,
    "selection": 0.0,
}
#: Core response genes with enough counts for plain means of a few hundred cells.
CORE = ["B2M", "HLA-A", "HLA-B", "HLA-C", "PSMB8", "PSMB9", "PSME1", "PSME2"]


@pytest.fixture(scope="module")
def pure():
    return nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=400, rng=2)


def shares(adata, rows):
    counts = adata.layers["counts"][np.flatnonzero(np.asarray(rows))]
    total = np.asarray(counts.sum(axis=0)).ravel().astype(float)
    return pd.Series(total / total.sum(), index=adata.var_names)


def shift(adata, tumor, genes):
    """Log2 fold change of plain means, tumor cells of co-cultures against the line alone."""
    obs = adata.obs
    mine = (obs["truth_tumor"] == tumor) & (obs["truth_compartment"] == "tumor")
    alone = shares(adata, mine & (obs["truth_condition"] == "tumor_mono"))
    together = shares(adata, mine & (obs["truth_condition"] == "coculture"))
    return np.log2((together[genes] + 1e-6) / (alone[genes] + 1e-6))


def standard_error(adata, tumor, genes):
    """Standard error of log2 fold changes, from the spread of counts between cells."""
    obs = adata.obs
    mine = (obs["truth_tumor"] == tumor) & (obs["truth_compartment"] == "tumor")
    columns = adata.var_names.get_indexer(genes)
    variance = 0.0
    for condition in ("tumor_mono", "coculture"):
        rows = np.flatnonzero(mine & (obs["truth_condition"] == condition))
        counts = adata.layers["counts"][rows][:, columns].toarray()
        variance = variance + (counts.std(axis=0) / counts.mean(axis=0)) ** 2 / rows.size
    return pd.Series(np.sqrt(variance) / np.log(2), index=genes)


def response(adata, tumor, kind, column="log2_fc"):
    table = adata.uns["truth"]["response"]
    return table[(table["tumor"] == tumor) & (table["kind"] == kind)].set_index("gene")[column]


def test_interferon_response_is_recovered(pure):
    for tumor in ("697", "GDM1"):
        assert response(pure, tumor, "ifng")[CORE].min() > 0.2
        planted = response(pure, tumor, "ifng", "log2_fc_share")[CORE]
        apart = (shift(pure, tumor, CORE) - planted).abs()
        assert (apart < 4 * standard_error(pure, tumor, CORE)).all()
        assert apart.mean() < 0.2
    assert (response(pure, "GDM1", "ifng")[CORE] > response(pure, "697", "ifng")[CORE]).all()


def test_line_response_is_recovered_and_differs_between_lines(pure):
    genes = {tumor: response(pure, tumor, "line") for tumor in ("697", "GDM1")}
    assert not set(genes["697"].index) & set(genes["GDM1"].index)
    for tumor, planted in genes.items():
        assert len(planted) == 20
        assert (planted > 0).sum() == 15
        found = shift(pure, tumor, planted.index)
        assert np.corrcoef(found, planted)[0, 1] > 0.9
        assert found[planted > 0].mean() == pytest.approx(planted[planted > 0].mean(), abs=0.35)


@pytest.mark.parametrize("off", ["ifn_response", "line_response"])
def test_responses_go_one_at_a_time(pure, off):
    adata = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=200, rng=2, **{off: 0.0})
    kind, other = ("ifng", "line") if off == "ifn_response" else ("line", "ifng")
    for tumor in ("697", "GDM1"):
        gone = response(adata, tumor, kind)
        assert gone.eq(0).all()
        genes = CORE if kind == "ifng" else response(pure, tumor, kind).index
        assert abs(shift(adata, tumor, genes).mean()) < 0.15
        pd.testing.assert_series_equal(response(adata, tumor, other), response(pure, tumor, other))


def test_strengths_per_line_and_donor():
    adata = nk.datasets.simulate_coculture(
        **PURE,
        n_cells_per_sample=2,
        ifn_response={"697": 2.0, "GDM1": 0.0},
        donor_response={"NK1": 1.0, "NK2": 0.5},
    )
    samples = adata.uns["truth"]["samples"].set_index("sample")["ifn_strength"]
    assert samples["697_NK1"] == 2.0
    assert samples["697_NK2"] == 1.0
    assert samples["GDM1_NK1"] == 0.0
    assert samples["697_mono"] == 0.0
    tap1 = response(adata, "697", "ifng")["TAP1"]
    program = nk.datasets._genes.program_table().query("program == 'ifng_response'")
    assert tap1 == pytest.approx(1.5 * program.set_index("gene")["value"]["TAP1"])


def state_shares(adata, condition, tumor=None):
    obs = adata.obs[adata.obs["truth_compartment"] == "nk"]
    obs = obs[obs["truth_condition"] == condition]
    if tumor is not None:
        obs = obs[obs["truth_tumor"] == tumor]
    return obs["truth_nk_state"].value_counts(normalize=True)


def test_nk_states_shift_with_the_line(pure):
    alone = state_shares(pure, "nk_mono")
    assert alone["resting"] + alone["adaptive"] > 0.85
    weak, strong = (state_shares(pure, "coculture", t) for t in ("697", "GDM1"))
    assert weak["activated"] < 0.15
    assert strong["activated"] == pytest.approx(0.42, abs=0.08)
    planted = pure.uns["truth"]["samples"].set_index("sample")
    assert planted.loc["GDM1_NK1", "nk_activated"] == pytest.approx(0.42)


def test_state_shift_off_and_states_off(pure):
    still = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=200, rng=2, state_shift=0.0)
    planted = still.uns["truth"]["samples"].dropna(subset=["nk_resting"])
    assert np.ptp(planted["nk_resting"]) == 0
    none = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=20, rng=2, nk_states=False)
    assert set(none.obs["truth_nk_state"].dropna()) == {"resting"}
    chosen = {"alone": {"resting": 1.0}, "GDM1": {"cytokine": 1.0}}
    given = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=20, rng=2, nk_states=chosen)
    assert set(state_shares(given, "nk_mono").loc[lambda s: s > 0].index) == {"resting"}
    assert set(state_shares(given, "coculture", "GDM1").loc[lambda s: s > 0].index) == {"cytokine"}


@pytest.mark.parametrize(
    ("state", "genes"),
    [
        ("activated", ["TNFRSF9", "CRTAM", "HAVCR2", "TIGIT"]),
        ("type_i_ifn", ["ISG15", "MX1", "OAS1", "IFIT3"]),
        ("cytokine", ["IFNG", "CCL3", "CCL4", "TNF"]),
        ("adaptive", ["KLRC2", "GZMH", "LAG3"]),
        ("resting", ["KLRC1", "GZMK", "NCAM1"]),
    ],
)
def test_states_raise_their_markers(pure, state, genes):
    obs = pure.obs
    nk_cells = obs["truth_compartment"] == "nk"
    inside = shares(pure, nk_cells & (obs["truth_nk_state"] == state))[genes]
    outside = shares(pure, nk_cells & (obs["truth_nk_state"] != state))[genes]
    fold = inside.sum() / outside.sum()
    assert 2 < fold < 15


def test_low_myc_cells(pure):
    obs = pure.obs
    alone = (obs["truth_condition"] == "tumor_mono") & (obs["truth_tumor"] == "697")
    low, normal = (alone & (obs["truth_tumor_state"] == s) for s in ("low_myc", "normal"))
    ribosome = ["NOP56", "NPM1", "NCL", "RRS1", "NOP16", "BOP1"]
    fold = shares(pure, low)[ribosome].sum() / shares(pure, normal)[ribosome].sum()
    assert 0.4 < fold < 0.8
    assert (
        shares(pure, low)[["PDCD4", "HEXB"]].sum()
        > 1.2 * shares(pure, normal)[["PDCD4", "HEXB"]].sum()
    )
    assert (obs.loc[low, "truth_phase"] == "G1").mean() > 0.85
    assert (obs.loc[normal, "truth_phase"] == "G1").mean() < 0.6
    umi = pd.Series(np.asarray(pure.layers["counts"].sum(axis=1)).ravel(), index=pure.obs_names)
    assert umi[low].median() / umi[normal].median() == pytest.approx(0.8, abs=0.12)


def test_without_low_myc_and_cell_cycle():
    adata = nk.datasets.simulate_coculture(
        **PURE, n_cells_per_sample=20, low_myc=0.0, cell_cycle=False
    )
    assert (adata.obs["truth_tumor_state"].dropna() == "normal").all()
    assert (adata.obs["truth_phase"] == "G1").all()


def test_selection_raises_low_myc_without_induction():
    options = {**PURE, "selection": 1.0, "killing": 2.0}
    adata = nk.datasets.simulate_coculture(**options, n_cells_per_sample=300, n_genes=4_500)
    samples = adata.uns["truth"]["samples"].set_index("sample")
    assert samples["low_myc_before"].dropna().eq(0.15).all()
    assert samples.loc["GDM1_mono", "low_myc_after"] == 0.15
    assert samples.loc["GDM1_mono", "killed_fraction"] == 0.0
    assert samples.loc["GDM1_NK1", "killed_fraction"] > samples.loc["697_NK1", "killed_fraction"]
    assert samples.loc["GDM1_NK1", "low_myc_after"] > 0.3
    drawn = samples["n_low_myc"] / samples["n_tumor"]
    assert drawn["GDM1_NK1"] == pytest.approx(samples.loc["GDM1_NK1", "low_myc_after"], abs=0.1)
    assert samples.loc["GDM1_NK1", ["n_nk", "n_tumor"]].sum() == 300


def test_killing_alone_and_induction_alone():
    even = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=2).uns["truth"]["samples"]
    np.testing.assert_allclose(even["low_myc_after"].dropna(), 0.15)
    assert even["killed_fraction"].max() > 0.5
    hazard = -np.log(1 - even.set_index("sample").loc["GDM1_NK1", "killed_fraction"])
    assert hazard == pytest.approx(1.4)
    turned = nk.datasets.simulate_coculture(**PURE, n_cells_per_sample=2, induction=0.2)
    samples = turned.uns["truth"]["samples"].set_index("sample")
    assert samples.loc["697_NK1", "low_myc_after_killing"] == pytest.approx(0.15)
    assert samples.loc["697_NK1", "low_myc_after"] == pytest.approx(0.15 + 0.85 * 0.2)
    assert samples.loc["697_mono", "low_myc_after"] == pytest.approx(0.15)


def test_null_switches_the_interaction_off(simulate):
    adata = simulate(
        n_cells_per_sample=150,
        null="all",
        rng=2,
        donor_effect=0.0,
        sample_effect=0.0,
        lane_effect=0.0,
    )
    samples = adata.uns["truth"]["samples"]
    assert samples[["ifn_strength", "line_strength"]].eq(0).all().all()
    np.testing.assert_allclose(samples["low_myc_after"].dropna(), 0.15)
    assert np.ptp(samples["nk_activated"].dropna()) == 0
    assert adata.uns["truth"]["response"]["log2_fc"].eq(0).all()
    assert adata.uns["truth"]["lanes"]["ambient"].eq(0).all()
    assert not adata.obs["truth_doublet"].any()
    for tumor in ("697", "GDM1"):
        assert abs(shift(adata, tumor, CORE).mean()) < 0.12
        assert shift(adata, tumor, ["GNLY", "NKG7"]).abs().max() < 3
    trap = simulate(n_cells_per_sample=150, null=True, rng=2)
    assert trap.uns["truth"]["response"]["log2_fc"].eq(0).all()
    assert shift(trap, "697", ["GNLY", "NKG7"]).min() > 3


def test_ambient_shares_are_as_chosen(simulate):
    ambient = {"Lane_NK1": 0.2, "Lane_NK2": 0.0, "Lane_targets": 0.05}
    adata = simulate(n_cells_per_sample=150, ambient=ambient, rng=8)
    obs = adata.obs
    umi = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    for lane, wanted in ambient.items():
        mine = (obs["lane"] == lane).to_numpy()
        share = np.average(obs.loc[mine, "truth_ambient"], weights=umi[mine])
        assert share == pytest.approx(wanted, abs=0.015)
    # GNLY is silent in tumor cells: all of it is ambient, in proportion to the profile.
    profile = adata.uns["truth"]["ambient_profile"]
    assert profile["Lane_NK1"].sum() == pytest.approx(1.0)
    tumor = (obs["lane"] == "Lane_NK1") & (obs["truth_compartment"] == "tumor")
    expected = (obs.loc[tumor, "truth_ambient"] * umi[tumor]).sum() * profile.loc[
        "GNLY", "Lane_NK1"
    ]
    found = adata[tumor.to_numpy(), "GNLY"].layers["counts"].sum()
    assert found == pytest.approx(expected, rel=0.15)
    clean = (obs["lane"] == "Lane_NK2") & (obs["truth_compartment"] == "tumor")
    assert adata[clean.to_numpy(), "GNLY"].layers["counts"].sum() < 5


def test_doublets_and_negatives(simulate):
    adata = simulate(
        n_cells_per_sample=400,
        doublets=0.2,
        negatives=0.1,
        n_genes=4_500,
        rng=8,
    )
    obs = adata.obs
    assert obs["truth_doublet"].mean() == pytest.approx(0.2, abs=0.03)
    assert (obs["truth_hashtag_class"] == "negative").mean() == pytest.approx(0.08, abs=0.02)
    crossed = obs["truth_hashtag_class"] == "doublet"
    assert (
        obs.loc[crossed, "truth_sample"] != obs.loc[crossed, "truth_sample_2"].astype(str)
    ).all()
    hidden = obs["truth_doublet"] & ~crossed
    assert hidden.sum() > 50
    assert (obs.loc[hidden, "truth_hashtag_class"] == "singlet").all()
    mixed = obs["truth_compartment"] == "mixed"
    assert obs.loc[mixed, "truth_doublet"].all()
    assert (mixed & ~crossed).sum() > 20
    umi = pd.Series(np.asarray(adata.layers["counts"].sum(axis=1)).ravel(), index=obs.index)
    fine = ~obs["truth_low_quality"]
    ratio = umi[obs["truth_doublet"] & fine].mean() / umi[~obs["truth_doublet"] & fine].mean()
    assert ratio == pytest.approx(2.0, abs=0.25)
    none = nk.datasets.simulate_coculture(n_cells_per_sample=10, doublets=0.0, negatives=0.0)
    assert (none.obs["truth_hashtag_class"] == "singlet").all()


def test_hashtags_show_the_well(small):
    obs, tags = small.obs, small.obsm["hashtags"]
    single = (obs["truth_hashtag_class"] == "singlet").to_numpy()
    top = tags.idxmax(axis=1)[single]
    assert (top == obs.loc[single, "truth_hashtag"].astype(str)).mean() > 0.97
    negative = (obs["truth_hashtag_class"] == "negative").to_numpy()
    assert tags[negative].max(axis=1).median() < 0.3 * tags[single].max(axis=1).median()
    second = tags[single].apply(lambda row: row.nlargest(2).iloc[1], axis=1)
    assert 2 < second.median() < 60
    sheet = small.uns["nkscore"]["sample_sheet"]
    used = sheet[sheet["lane"] == "Lane_targets"]["hashtag"]
    unused = [tag for tag in tags if tag not in set(used)]
    assert (tags.loc[(obs["lane"] == "Lane_targets").to_numpy(), unused] == 0).all().all()


def test_sheet_agrees_with_truth(small):
    sheet = small.uns["nkscore"]["sample_sheet"].set_index("sample")
    obs = small.obs
    single = obs[obs["truth_hashtag_class"] == "singlet"]
    mine = sheet.loc[single["truth_sample"].astype(str)]
    assert (mine["hashtag"].to_numpy() == single["truth_hashtag"].astype(str)).all()
    assert (sheet.loc[obs["truth_sample"].astype(str), "lane"].to_numpy() == obs["lane"]).all()
    assert (mine["condition"].to_numpy() == single["truth_condition"].astype(str)).all()
    alone = obs[(obs["truth_condition"] == "nk_mono") & ~obs["truth_doublet"]]
    assert (alone["truth_compartment"] == "nk").all()
    assert alone["truth_tumor"].isna().all()


def test_switching_one_effect_leaves_the_other_draws_alone(small, simulate):
    other = simulate(
        n_cells_per_sample=60,
        rng=1,
        ambient=0.0,
        ifn_response=0.0,
    )
    keep = ["truth_sample", "truth_nk_state", "truth_tumor_state", "truth_phase", "truth_doublet"]
    pd.testing.assert_frame_equal(other.obs[keep], small.obs[keep])
    pd.testing.assert_frame_equal(other.obsm["hashtags"], small.obsm["hashtags"])


def test_wells_differ_by_more_than_sampling():
    base = {**PURE, "n_cells_per_sample": 150, "n_mono_replicates": 2, "rng": 3}
    spread = []
    for effect in (0.0, 0.4):
        adata = nk.datasets.simulate_coculture(**{**base, "sample_effect": effect})
        obs = adata.obs
        first, second = (
            shares(adata, obs["truth_sample"] == n) for n in ("697_mono", "697_mono_2")
        )
        high = first > 3e-4
        spread.append(np.log2(second[high] / first[high]).std())
    assert spread[1] > 2 * spread[0]
    assert spread[1] == pytest.approx(0.4 * np.sqrt(2), abs=0.15)
