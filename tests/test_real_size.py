"""Every step above 8,192 cells, where scanpy and others take paths that small data never see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

import nkscore as nk
from nkscore._counts._open import open_counts
from nkscore.cli import main
from nkscore.scoring import scorers
from nkscore.stats._neighbors import NearestNeighbors
from nkscore.tl._states._nk_smoothing import by_cluster

REAL = 8_192
CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"


@pytest.fixture(scope="module")
def experiment():
    """Two lines, two donors, 11,200 droplets × 4,000 genes."""
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "GDM1"], n_donors=2, n_cells_per_sample=1400, n_genes=4000, rng=0
    )
    adata.obs["perturbation"] = np.where(np.arange(adata.n_obs) % 2, "JAK1", "non-targeting")
    adata.obs["guide"] = adata.obs["perturbation"] + "g1"
    guides = np.where(adata.obs[["guide"]] == ["JAK1g1"], [[40, 1]], [[1, 40]])
    adata.obsm["guides"] = pd.DataFrame(guides, index=adata.obs_names, columns=["JAK1g1", "NTg1"])
    return adata


@pytest.fixture(scope="module")
def called(experiment, call_cells):
    adata = call_cells(experiment.copy())
    nk.pp.ambient(adata)
    return adata


@pytest.fixture(scope="module")
def kept(called):
    adata = nk.pp.keep(called)
    nk.pp.normalize(adata)
    nk.tl.score(adata, CORE)
    nk.tl.nk_states(adata)
    nk.tl.tumor_states(adata)
    assert adata.n_obs > REAL
    return adata


@pytest.fixture(scope="module")
def response(kept):
    return nk.tl.interaction_response(kept)


def test_the_chain_names_the_cells(kept):
    right = kept.obs["compartment"].astype(str) == kept.obs["truth_compartment"].astype(str)
    assert right.mean() > 0.97
    assert (kept.obs["nk_state"] != "unassigned").sum() > 2000
    assert kept.obs["tumor_state"].nunique() > 2


def test_compartments_without_monocultures(called):
    adata = called.copy()
    nk.pp.compartments(adata, evidence="markers")
    single = ~adata.obs["truth_doublet"].astype(bool) & adata.obs["sample"].notna()
    right = adata.obs["compartment"].astype(str) == adata.obs["truth_compartment"].astype(str)
    assert right[single].mean() > 0.97


def test_states_of_clusters():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, REAL + 100)
    mean = np.where(kind[:, None] == (np.arange(60) < 30), 2.0, 1.0)
    counts = sparse.csr_matrix(rng.poisson(mean))
    posterior = by_cluster(open_counts(counts), np.arange(counts.shape[0]), np.eye(2)[kind])
    assert (posterior.argmax(axis=1) == kind).mean() > 0.95


def test_doublet_scores(experiment):
    adata = experiment.copy()
    adata.obs["lane"] = "L1"
    nk.pp.doublet_scores(adata)
    two = (adata.obs["truth_compartment"] == "mixed").to_numpy()
    assert adata.obs["doublet_score"].notna().all()
    assert adata.obs["doublet_score"][two].median() > 2 * adata.obs["doublet_score"][~two].median()


def test_guides(experiment):
    adata = experiment[:, :50].copy()
    planted = adata.obs.pop("perturbation")
    del adata.obs["guide"]
    nk.pp.assign_guides(adata)
    assert (adata.obs["perturbation"].astype(str) == planted).mean() > 0.99


def test_map(kept):
    adata = kept.copy()
    nk.tl.embed(adata)
    graph = adata.obsp["connectivities"].tocoo()
    same = (adata.obs["compartment"] == "nk").to_numpy()
    assert (graph.data * (same[graph.row] == same[graph.col])).sum() / graph.data.sum() > 0.98
    assert np.isfinite(adata.obsm["X_umap"]).all()


@pytest.mark.parametrize("method", sorted(scorers()))
def test_scores(kept, method):
    adata = kept.copy()
    nk.tl.score(adata, CORE, method=method, key_added="core")
    few = adata[:100].copy()
    nk.tl.score(few, CORE, method=method, key_added="few")
    if scorers()[method].cell_wise:
        assert (few.obsm["few"].to_numpy() == few.obsm["core"].to_numpy()).all()
    assert adata.obsm["core"].notna().all(axis=None)


_ON_CELLS = {
    "cell_cycle": {},
    "score_null": {"gene_signatures": CORE, "n_sets": 19},
    "responders": {"replicate": None},
}


@pytest.mark.parametrize("name", _ON_CELLS)
def test_other_annotations(kept, name):
    adata = kept.copy()
    before = set(adata.obs), set(adata.obsm)
    getattr(nk.tl, name)(adata, **_ON_CELLS[name])
    assert (set(adata.obs), set(adata.obsm)) != before


def test_mapping_to_a_reference(kept):
    reference = kept[kept.obs["truth_compartment"] == "nk"].copy()
    reference.obs["label"] = reference.obs["truth_nk_state"].astype(str)
    adata = kept.copy()
    nk.tl.map_reference(adata, reference, labels="label")
    # Tumor cells have no state, neither called nor true.
    called = adata.obs["nk_state"].notna() & (adata.obs["nk_state"] != "unassigned")
    right = adata.obs["nk_state"].astype(str) == adata.obs["truth_nk_state"].astype(str)
    assert called.sum() > 1500
    assert right[called].mean() > 0.75


_TABLES = {
    "pseudobulk": {},
    "marker_table": {"genes": "GNLY", "by": "compartment"},
    "state_fractions": {},
    "state_shift": {},
    "nk_activation": {},
    "decompose_shift": {"score": CORE, "strata": "tumor_state"},
    "communication": {},
    "perturbation_response": {"unit": "replicate"},
    "perturbation_scores": {"unit": "replicate"},
}


@pytest.mark.parametrize("name", _TABLES)
def test_tables(kept, name):
    made = getattr(nk.tl, name)(kept, **_TABLES[name])
    assert made.shape[0] > 0


def test_tables_of_responses(kept, called, response):
    flagged = nk.tl.flag_ambient(response, adata=kept)
    assert flagged["ambient_suspect"].any()
    assert len(nk.tl.core_response(flagged, min_lines=2)) > 100
    assert len(nk.tl.doublet_sensitivity(response, called)) > 100


def test_run_from_files(experiment, tmp_path, capsys):
    """The command ends well: with the map, in fewer genes and without pictures of each line."""
    sheet = nk.datasets.write_lanes(experiment, tmp_path / "lanes")
    config = tmp_path / "run.toml"
    config.write_text(
        '[run]\nfigures = false\ntables = ["nk_state_fractions", "tumor_response"]\n',
        encoding="utf-8",
    )
    command = ["run", str(sheet), "--out", str(tmp_path / "out"), "--config", str(config)]
    assert main(command) == 0
    assert "cells kept" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("exact", [20_000, 0])
def test_neighbors(exact):
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=3, size=(20, 30))
    points = centers[rng.integers(20, size=10_000)] + rng.normal(size=(10_000, 30))
    # Equal points: each is its own neighbor all the same.
    points[1:4] = points[0]
    found = NearestNeighbors(15, seed=1, exact=exact).fit_transform(points)
    assert isinstance(found, sparse.csr_matrix)
    assert (np.diff(found.indptr) == 15).all()
    indices = found.indices.reshape(-1, 15)
    assert (indices[:, 0] == np.arange(10_000)).all()
    assert (np.diff(found.data.reshape(-1, 15), axis=1) >= 0).all()
    some = rng.choice(10_000, 300, replace=False)
    nearest = np.argsort(cdist(points[some], points), axis=1)[:, 1:15]
    shared = [np.isin(a[1:], b).mean() for a, b in zip(indices[some], nearest, strict=True)]
    assert np.mean(shared) > 0.98
