from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import GeneCoverageError, MissingKeyError, WrongScaleError


@pytest.fixture(scope="module")
def hidden(simulate):
    """One in thirty tumor cells of co-cultures replaced by the sum of itself and an NK cell."""
    adata = simulate(ambient=0.0, doublets=0.0, selection=0.0, n_cells_per_sample=150)
    rng = np.random.default_rng(0)
    counts = adata.layers["counts"].tolil()
    obs = adata.obs
    share = pd.Series(rng.uniform(0, 0.01, adata.n_obs), index=adata.obs_names)
    together = obs["condition"] == "coculture"
    for sample in obs.loc[together, "sample"].dropna().unique():
        own = np.flatnonzero((obs["sample"] == sample) & (obs["compartment"] == "tumor"))
        nk_cells = np.flatnonzero((obs["sample"] == sample) & (obs["compartment"] == "nk"))
        for cell, partner in zip(own[: own.size // 30], nk_cells, strict=False):
            counts[cell] = adata.layers["counts"][[cell, partner]].sum(axis=0)
            share.iloc[cell] = 0.4
    adata.layers["counts"] = counts.tocsr().astype(np.int32)
    adata.obs["nk_rna_share"] = share
    # Without it, as many calls as possible: what is tested here are the flags.
    table = nk.tl.interaction_response(adata, "tumor", overdispersion=False)
    planted = adata.uns["truth"]["response"].rename(columns={"log2_fc": "planted"})
    table = nk.tl.doublet_sensitivity(table, adata)
    return adata, table.merge(planted[["tumor", "gene", "planted"]], how="left")


def test_hidden_doublets_are_told_from_induction(hidden):
    _, table = hidden
    known = table[table["gene"].isin(["NKG7", "GNLY", "GZMB", "PRF1", "CST7"])]
    known = known[(known["log2_fc"] > 1) & (known["p_value"] < 0.05)]
    assert len(known) >= 5
    assert known["doublet_suspect"].mean() >= 0.95
    induced = table[(table["planted"] > 0.5) & (table["q_value"] < 0.05) & (table["log2_fc"] > 0)]
    assert len(induced) > 20
    assert induced["doublet_suspect"].mean() <= 0.05
    assert induced["doublet_share"].median() < 0.1


def test_nothing_is_suspect_without_doublets(simulate):
    adata = simulate(ambient=0.0, doublets=0.0)
    adata.obs["nk_rna_share"] = np.random.default_rng(1).uniform(0, 0.01, adata.n_obs)
    table = nk.tl.doublet_sensitivity(nk.tl.interaction_response(adata, "tumor"), adata)
    called = table[table["q_value"] < 0.05]
    assert len(called) > 20
    assert called["doublet_suspect"].mean() < 0.02


def test_cells_that_tie_stay(hidden):
    adata, table = hidden
    same = adata.copy()
    same.obs["nk_rna_share"] = 0.0
    made = nk.tl.doublet_sensitivity(table[["tumor", "gene", "log2_fc"]], same)
    np.testing.assert_allclose(made["log2_fc_without_doublets"], made["log2_fc"])


def test_order_of_cells_does_not_matter(hidden):
    adata, table = hidden
    mixed = adata[np.random.default_rng(2).permutation(adata.n_obs)].copy()
    again = nk.tl.doublet_sensitivity(table[["tumor", "gene", "log2_fc"]], mixed)
    np.testing.assert_allclose(
        again["log2_fc_without_doublets"], table["log2_fc_without_doublets"], atol=1e-9
    )


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_errors(hidden):
    adata, table = hidden
    with pytest.raises(WrongScaleError, match=r"left_out is 0\.9"):
        nk.tl.doublet_sensitivity(table, adata, left_out=0.9)
    with pytest.raises(MissingKeyError, match="no column 'log2_fc'"):
        nk.tl.doublet_sensitivity(table.drop(columns="log2_fc"), adata)
    with pytest.raises(GeneCoverageError, match="occur more than once"):
        nk.tl.doublet_sensitivity(table, adata[:, [0, 0, 1]].copy())
    blank = adata.copy()
    blank.obs["nk_rna_share"] = np.nan
    with pytest.raises(WrongScaleError, match=r"missing \(NaN\) in all tumor cells"):
        nk.tl.doublet_sensitivity(table, blank)
    del blank.obs["nk_rna_share"]
    with pytest.raises(MissingKeyError, match=r"Run pp\.compartments"):
        nk.tl.doublet_sensitivity(table, blank)


def test_lines_may_share_one_monoculture(hidden):
    """Controls of no line are those of every line."""
    adata, table = hidden
    one = adata[((adata.obs["tumor"] == "697") | adata.obs["tumor"].isna()).to_numpy()].copy()
    of_line = table.loc[table["tumor"] == "697", ["tumor", "gene", "log2_fc"]]
    expected = nk.tl.doublet_sensitivity(of_line, one)
    alone = (one.obs["condition"] == "tumor_mono").to_numpy()
    one.obs["tumor"] = one.obs["tumor"].astype(object).where(~alone, None)
    pd.testing.assert_frame_equal(nk.tl.doublet_sensitivity(of_line, one), expected)
    with pytest.raises(ValueError, match="threshold is 7"):
        nk.tl.doublet_sensitivity(of_line, one, threshold=7)
