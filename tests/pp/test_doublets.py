"""pp.doublet_scores and the genotype evidence of pp.compartments."""

from __future__ import annotations

import numpy as np
import pytest

import nkscore as nk
from nkscore.errors import MissingKeyError


@pytest.fixture(scope="module")
def lane():
    adata = nk.datasets.simulate_coculture(
        tumors=("697", "K562"), n_donors=1, n_cells_per_sample=150, doublets=0.1, rng=5
    )
    nk.pp.qc(adata)
    return adata


def test_doublets_score_higher_than_single_cells(lane):
    before = lane.layers["counts"].copy()
    nk.pp.doublet_scores(lane)
    scored = lane.obs[lane.obs["qc_pass"]]
    assert scored["doublet_score"].between(0, 1).all()
    mixed = scored.loc[scored["truth_compartment"] == "mixed", "doublet_score"].to_numpy()
    single = scored.loc[~scored["truth_doublet"], "doublet_score"].to_numpy()
    # Probability that an NK-tumor doublet outscores a single cell; 0.5 by chance.
    assert np.mean(mixed[:, None] > single[None, :]) > 0.85
    assert (lane.layers["counts"] != before).nnz == 0


def test_same_seed_same_scores(lane):
    nk.pp.doublet_scores(lane)
    first = lane.obs["doublet_score"].copy()
    nk.pp.doublet_scores(lane)
    np.testing.assert_array_equal(first, lane.obs["doublet_score"])


def test_failed_cells_and_small_lanes_have_no_score(lane, caplog):
    adata = lane[:200].copy()
    adata.obs["lane"] = ["a"] * 170 + ["b"] * 30
    nk.pp.doublet_scores(adata)
    assert "b: 30 cells are too few" in caplog.text or "b: 2" in caplog.text
    assert adata.obs.loc[adata.obs["lane"] == "b", "doublet_score"].isna().all()
    failed = ~adata.obs["qc_pass"]
    assert adata.obs.loc[failed, "doublet_score"].isna().all()


def test_errors(lane):
    with pytest.raises(ValueError, match=r"expected_rate is 6"):
        nk.pp.doublet_scores(lane, expected_rate=6)
    with pytest.raises(MissingKeyError, match=r"has no 'capture'"):
        nk.pp.doublet_scores(lane, by="capture")


def test_genotypes_settle_uncertain_cells():
    little, much = _with_and_without_genotypes(0.15), _with_and_without_genotypes(0.3)
    assert little["genotype"] > 0.99
    assert much["genotype"] > much[None]


def _with_and_without_genotypes(ambient):
    adata = nk.datasets.simulate_coculture(
        tumors=("697", "K562"), n_donors=2, n_cells_per_sample=150, ambient=ambient, rng=5
    )
    nk.datasets.use_truth(adata)
    truth = adata.obs["truth_compartment"].astype(str)
    called = np.where(
        truth == "nk", adata.obs["truth_nk_donor"].astype(str), adata.obs["truth_tumor"].astype(str)
    )
    adata.obs["genotype"] = np.where(truth == "mixed", "doublet", called)
    known = adata.obs["sample"].notna() & adata.obs["qc_pass"]
    right = {}
    for column in (None, "genotype"):
        nk.pp.compartments(adata, genotype=column)
        right[column] = (adata.obs["compartment"].astype(str) == truth)[known].mean()
    return right


def test_a_genotype_that_says_nothing_changes_nothing():
    adata = nk.datasets.simulate_coculture(
        tumors=("697", "K562"), n_donors=1, n_cells_per_sample=60, rng=5
    )
    nk.datasets.use_truth(adata)
    nk.pp.compartments(adata)
    first = adata.obs["compartment_confidence"].copy()
    adata.obs["genotype"] = "unassigned"
    nk.pp.compartments(adata, genotype="genotype")
    np.testing.assert_allclose(first, adata.obs["compartment_confidence"], rtol=1e-12)
    with pytest.raises(MissingKeyError, match=r"has no 'vireo'"):
        nk.pp.compartments(adata, genotype="vireo")
