"""pp.ambient: planted shares come back, from monocultures, lists and given soups."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError


def simulated(rho, **options):
    adata = nk.datasets.simulate_coculture(
        tumors=("697", "JURKAT", "K562"), n_donors=2, rng=4, ambient=rho, **options
    )
    nk.datasets.use_truth(adata)
    return adata


def truth(adata):
    """Share of the counts of called tumor cells that was planted as ambient, per sample."""
    counts = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    use = (adata.obs["compartment"] == "tumor") & adata.obs["qc_pass"]
    use &= adata.obs["sample"].notna()
    table = pd.DataFrame({"n": counts, "floating": counts * adata.obs["truth_ambient"]})
    sums = table[use].groupby(adata.obs.loc[use, "sample"].astype(str)).sum()
    return sums["floating"] / sums["n"]


def shares(adata):
    return adata.uns["nkscore"]["pp.ambient"]["samples"].set_index("sample")


@pytest.mark.parametrize(("rho", "tolerance"), [(0.02, 0.2), (0.05, 0.15), (0.2, 0.1)])
def test_planted_share_is_recovered(rho, tolerance):
    adata = simulated(rho)
    nk.pp.ambient(adata)
    table = shares(adata)
    expected = truth(adata).reindex(table.index)
    assert len(table) == 6
    assert (table["evidence"] == "monoculture").all()
    np.testing.assert_allclose(table["ambient_share"], expected, rtol=tolerance)
    assert (table["nk_share"] < table["ambient_share"]).all()
    # The interval leaves out errors of the soup itself, which show where counts are many.
    inside = (table["ci_low"] <= expected) & (expected <= table["ci_high"])
    assert inside.mean() >= 0.8 or rho > 0.05


def test_a_sample_on_two_lanes_has_a_share_for_each():
    adata = simulated(0.02)
    other = simulated(0.12)
    second = np.random.default_rng(0).random(adata.n_obs) < 0.5
    # The same cells, in the second lane with more ambient RNA.
    both = ad.concat([adata[~second], other[second]], merge="same")
    both.uns["nkscore"] = adata.uns["nkscore"]
    both.obs["lane"] = pd.Categorical(
        both.obs["lane"].astype(str) + np.repeat(["_a", "_b"], [(~second).sum(), second.sum()])
    )
    nk.pp.ambient(both)
    table = both.uns["nkscore"]["pp.ambient"]["samples"]
    assert len(table) == 12
    first = table["lane"].str.endswith("_a")
    one, two = (table[rows].set_index("sample")["ambient_share"] for rows in (first, ~first))
    assert sorted(one.index) == sorted(two.index)
    assert one.max() < 0.05
    assert two.min() > 0.08
    # What is subtracted from a sample is the sum over its lanes.
    responses = nk.tl.interaction_response(both)
    flagged = nk.tl.flag_ambient(responses, adata=both)
    rows = flagged["gene"].isin(["NKG7", "PRF1", "CTSW"])
    assert rows.any()
    assert flagged.loc[rows, "ambient_share"].median() > 0.8
    nk.pp.normalize(both)
    nk.tl.tumor_states(both)
    ax = nk.pl.ambient(table)
    assert len({text.get_text() for text in ax.get_yticklabels()}) == 12
    plt.close(ax.figure)


def test_without_ambient_rna_none_is_found():
    adata = simulated(0.0)
    nk.pp.ambient(adata)
    assert shares(adata)["ambient_share"].max() < 0.003


def test_without_monocultures_the_list_is_used():
    adata = simulated(0.05)
    adata = adata[adata.obs["condition"] != "tumor_mono"].copy()
    nk.pp.ambient(adata)
    table = shares(adata)
    assert (table["evidence"] == "list").all()
    np.testing.assert_allclose(table["ambient_share"], truth(adata).reindex(table.index), rtol=0.4)


def test_written_profiles_are_shares_of_the_lane():
    adata = simulated(0.05)
    before = adata.layers["counts"].copy()
    nk.pp.ambient(adata)
    lanes = sorted(set(shares(adata)["lane"]))
    soup, part = adata.varm["ambient_soup"], adata.varm["ambient_nk"]
    assert list(soup.columns) == lanes
    np.testing.assert_allclose(soup.sum(), 1)
    assert (part <= soup).all(axis=None)
    assert (adata.layers["counts"] != before).nnz == 0


def test_given_soup_replaces_the_cells():
    adata = simulated(0.05)
    nk.pp.ambient(adata)
    first, profile = shares(adata), adata.varm["ambient_soup"] * 1e6
    nk.pp.ambient(adata, soup=profile)
    pd.testing.assert_series_equal(
        shares(adata)["ambient_share"], first["ambient_share"], rtol=1e-6
    )
    with pytest.raises(DesignError, match=r"soup has no column 'Lane_NK1'"):
        nk.pp.ambient(adata, soup=profile.rename(columns={"Lane_NK1": "other"}))
    with pytest.raises(GeneCoverageError, match=r"soup holds 0 of the"):
        nk.pp.ambient(adata, soup=profile.rename(index=str.lower))
    with pytest.raises(DesignError, match=r"'Lane_NK1' \(a Series is not a table of lanes"):
        nk.pp.ambient(adata, soup=profile["Lane_NK1"])
    with pytest.raises(GeneCoverageError, match=r"soup holds gene '.+' more than once"):
        nk.pp.ambient(adata, soup=pd.concat([profile, profile]))
    for wrong in (-profile, 0 * profile):
        with pytest.raises(WrongScaleError, match=r"soup\['Lane_NK1'\] ranges from .*; counts or"):
            nk.pp.ambient(adata, soup=wrong)


def test_result_survives_h5ad(tmp_path):
    import anndata

    adata = simulated(0.05)
    nk.pp.ambient(adata)
    adata.write_h5ad(tmp_path / "x.h5ad")
    again = anndata.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(shares(again), shares(adata), check_index_type=False)
    pd.testing.assert_frame_equal(again.varm["ambient_nk"], adata.varm["ambient_nk"])


def test_errors_say_what_to_do():
    adata = simulated(0.05)
    bare = adata.copy()
    del bare.obs["compartment"]
    with pytest.raises(MissingKeyError, match=r"Run pp.compartments first"):
        nk.pp.ambient(bare)
    alone = adata[adata.obs["condition"] == "tumor_mono"].copy()
    with pytest.raises(DesignError, match=r"No sample of condition 'coculture'"):
        nk.pp.ambient(alone)
    no_nk = adata[adata.obs["compartment"] != "nk"].copy()
    with pytest.raises(DesignError, match=r"holds co-cultures but no cell called NK"):
        nk.pp.ambient(no_nk)
    with pytest.raises(GeneCoverageError, match=r"genes are specific to NK cells"):
        nk.pp.ambient(adata, fold=1e9)
    with pytest.raises(ValueError, match=r"fold is -1; a positive, finite number"):
        nk.pp.ambient(adata, fold=-1)
    with pytest.raises(ValueError, match=r"confidence is 95; give a number from 0 to below 1"):
        nk.pp.ambient(adata, confidence=95)


def test_flag_uses_the_measured_share():
    """Nothing induced: what rises in co-culture is ambient, and its share of the counts is high."""
    adata = simulated(0.1, ifn_response=0.0, line_response=0.0)
    nk.pp.ambient(adata)
    table = nk.tl.flag_ambient(nk.tl.interaction_response(adata, "tumor"), adata=adata)
    raised = table[(table["q_value"] < 0.05) & (table["log2_fc"] > 1)]
    assert len(raised) > 20
    assert raised["ambient_suspect"].mean() > 0.85
    assert table["ambient_share"].between(0, 1).all()
    suspect = table[table["ambient_suspect"]]
    turned = np.sign(suspect["log2_fc_adjusted"]) != np.sign(suspect["log2_fc"])
    assert ((suspect["p_value_adjusted"] >= 0.01) | turned).all()
    assert (table["p_value_adjusted"] >= table["p_value"]).all()


def test_induced_genes_are_not_flagged():
    adata = simulated(0.05)
    nk.pp.ambient(adata)
    table = nk.tl.flag_ambient(nk.tl.interaction_response(adata, "tumor"), adata=adata)
    core = nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT").genes
    induced = table[table["gene"].isin(core) & (table["q_value"] < 0.05)]
    assert len(induced) > 10
    assert induced["ambient_suspect"].mean() < 0.05
