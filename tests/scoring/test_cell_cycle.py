"""``tl.cell_cycle`` against Seurat's CellCycleScoring on real cells."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.tl._scores._cell_cycle import _phase


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "seurat_modulescore"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = anndata.read_h5ad(folder / "input.h5ad")
    adata.layers["counts"] = adata.X.copy()
    nk.pp.normalize(adata)
    used = pd.read_csv(folder / "cellcycle_used_cc.genes.csv.gz", index_col=0)
    lists = {k: list(rows) for k, rows in used.groupby("list")["gene"]}
    sets = {"s": lists["S.Score"], "g2m": lists["G2M.Score"]}
    expected = pd.read_csv(folder / "cellcycle_cc.genes.csv.gz", index_col=0)
    return adata, sets, expected


def test_agrees_with_seurat_up_to_the_draw_of_controls(golden):
    adata, sets, expected = golden
    adata = adata.copy()
    nk.tl.cell_cycle(adata, sets)
    assert list(adata.obs_names) == list(expected.index)
    for ours, theirs in (("S_score", "S.Score"), ("G2M_score", "G2M.Score")):
        assert np.corrcoef(adata.obs[ours], expected[theirs])[0, 1] > 0.97
    assert (adata.obs["phase"].astype(str) == expected["Phase"]).mean() > 0.88
    assert list(adata.obs["phase"].cat.categories) == ["G1", "S", "G2M"]


def test_rule_of_phases():
    s = np.array([-1.0, 1.0, 1.0, 0.5, -0.1, 0.0, -0.2])
    g2m = np.array([-2.0, 0.5, 2.0, 0.5, 0.1, -1.0, -0.2])
    assert _phase(s, g2m).tolist() == ["G1", "S", "G2M", None, "G2M", "S", "G1"]


def test_cells_high_in_either_set_are_not_g1():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=3)
    nk.pp.normalize(adata)
    nk.tl.cell_cycle(adata)
    nk.tl.score(adata, "cell_cycle", method="zscore", key_added="z")
    high = adata.obsm["z"].max(axis=1) > adata.obsm["z"].max(axis=1).quantile(0.9)
    phase = adata.obs["phase"]
    assert (phase[high] != "G1").mean() > 0.9
    assert adata.uns["nkscore"]["tl.cell_cycle"]["options"]["n_controls"] == 43


def test_names_of_the_two_sets():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    nk.pp.normalize(adata)
    with pytest.raises(ValueError, match=r"named a, b; two are needed, named 's' and 'g2m'"):
        nk.tl.cell_cycle(adata, {"a": ["MKI67"], "b": ["TOP2A"]})
    assert "phase" not in adata.obs
