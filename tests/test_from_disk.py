"""Steps on counts that stay in files or dask arrays: to the last bit as in memory."""

from __future__ import annotations

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import nkscore as nk
from nkscore._counts import _memory
from nkscore._counts._open import open_counts
from nkscore._samples._matrices import expression_of
from nkscore.stats._components import moments, principal_components
from nkscore.stats._variable_genes import variable_genes

CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"


@pytest.fixture(scope="module")
def experiment():
    return nk.datasets.simulate_coculture(
        tumors=["697", "GDM1"], n_donors=2, n_cells_per_sample=60, n_genes=4000, rng=0
    )


@pytest.fixture(scope="module")
def folder(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    normalized = experiment.copy()
    nk.pp.normalize(normalized)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normalized.write_h5ad(folder / "a.h5ad", compression="gzip")
        normalized.write_zarr(folder / "a.zarr")
    return folder


def _h5ad(folder):
    return anndata.io.sparse_dataset(h5py.File(folder / "a.h5ad")["layers/counts"])


def _zarr(folder):
    zarr = pytest.importorskip("zarr", reason="zarr (extra 'scale') is not installed")
    return anndata.io.sparse_dataset(zarr.open_group(folder / "a.zarr", mode="r")["layers/counts"])


def _lazy(folder):
    pytest.importorskip("dask", reason="dask (extra 'scale') is not installed")
    pytest.importorskip("xarray", reason="xarray, which anndata reads lazily with, is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.experimental.read_lazy(folder / "a.h5ad").layers["counts"]


FORMS = {"h5ad": _h5ad, "zarr": _zarr, "lazy": _lazy}


def _with(experiment, counts):
    """The same experiment, its counts elsewhere."""
    return anndata.AnnData(
        obs=experiment.obs.copy(),
        var=experiment.var.copy(),
        layers={"counts": counts},
        obsm={"hashtags": experiment.obsm["hashtags"].copy()},
        uns=dict(experiment.uns),
    )


def _chain(adata):
    """All steps that read counts, and what they return."""
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    nk.pp.ambient(adata)
    adata.obsm["guides"] = pd.DataFrame(
        {
            "JAK1g1": 40 * (np.arange(adata.n_obs) % 2),
            "NTg1": 40 * (np.arange(adata.n_obs) % 2 == 0),
        },
        index=adata.obs_names,
    )
    nk.pp.assign_guides(adata)
    nk.tl.score(adata, CORE)
    nk.tl.nk_states(adata)
    nk.tl.tumor_states(adata)
    tumor = (adata.obs["compartment"] == "tumor").to_numpy()
    nk_cells = (adata.obs["compartment"] == "nk").to_numpy()
    response = nk.tl.interaction_response(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        welch = nk.tl.interaction_response(adata, method="welch_t")
    sums = nk.tl.pseudobulk(adata)
    return {
        "response": response,
        "welch": welch,
        "flagged": nk.tl.flag_ambient(response, adata=adata),
        "doublets": nk.tl.doublet_sensitivity(response, adata),
        "sums": pd.DataFrame(sums.X, index=sums.obs_names, columns=sums.var_names),
        "guides": nk.tl.perturbation_response(adata, unit="replicate"),
        "pairs": nk.tl.communication(adata, min_cells=5),
        "nk": nk.tl.explain_state(adata, nk_cells),
        "tumor": nk.tl.explain_state(adata, tumor, compartment="tumor"),
        "cohort": nk.tl.project_cohort(adata, gene_signatures=CORE),
        **{f"obsm {key}": value for key, value in adata.obsm.items()},
        **{f"varm {key}": value for key, value in adata.varm.items()},
        "obs": adata.obs,
    }


@pytest.fixture(scope="module")
def expected(experiment):
    return _chain(_with(experiment, experiment.layers["counts"].copy()))


@pytest.mark.parametrize("form", FORMS)
def test_steps_on_counts_elsewhere(experiment, folder, expected, form, monkeypatch):
    monkeypatch.setitem(open_counts.__kwdefaults__, "block_bytes", 300_000)
    adata = _with(experiment, FORMS[form](folder))
    found = _chain(adata)
    assert set(found) == set(expected)
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, expected[name], check_exact=True, obj=name)
    assert not hasattr(adata.layers["counts"], "indptr")
    nk.schema.validate(adata, stage="compartments")


def test_other_evidence_of_compartments(experiment, folder):
    adata, memory = _with(experiment, _h5ad(folder)), experiment.copy()
    for each in (adata, memory):
        nk.pp.qc(each)
        nk.pp.demultiplex(each)
        nk.pp.compartments(each, evidence="markers")
        nk.pp.doublet_scores(each)
    pd.testing.assert_frame_equal(adata.obs, memory.obs, check_exact=True)


def test_states_carried_over_from_a_file(experiment, folder):
    memory = experiment.copy()
    nk.datasets.use_truth(memory)
    adata = _with(memory, _h5ad(folder))
    for each in (adata, memory):
        nk.tl.map_reference(
            each, each.copy() if each is memory else memory, labels="truth_nk_state"
        )
    pd.testing.assert_frame_equal(adata.obs, memory.obs, check_exact=True)


def test_expression_of_a_backed_object(experiment, folder):
    memory = experiment.copy()
    nk.pp.normalize(memory)
    backed = anndata.read_h5ad(folder / "a.h5ad", backed="r")
    tables = []
    for each in (memory, backed):
        nk.datasets.use_truth(each)
        each.obs["guide"] = np.where(np.arange(each.n_obs) % 2, "JAK1g1", "NTg1")
        each.obs["perturbation"] = np.where(np.arange(each.n_obs) % 2, "JAK1", "non-targeting")
        nk.tl.responders(each, replicate="lane", min_genes=0)
        tables.append(
            {
                "markers": nk.tl.marker_table(each, ["NKG7", "B2M"], by="compartment"),
                "gene": nk.tl.response_score(each, "STAT1"),
                "responders": each.obs[["responder", "responder_probability"]],
            }
        )
    for name, table in tables[0].items():
        pd.testing.assert_frame_equal(tables[1][name], table, check_exact=True, obj=name)
    nk.schema.validate(backed, stage="normalized")
    backed.file.close()


def test_states_of_clusters_and_steps_that_need_memory(experiment, folder, monkeypatch):
    memory = experiment.copy()
    nk.datasets.use_truth(memory)
    adata = _with(memory, _h5ad(folder))
    for each in (adata, memory):
        nk.tl.nk_states(each, level="cluster")
    pd.testing.assert_frame_equal(adata.obs, memory.obs, check_exact=True)
    monkeypatch.setattr(_memory, "free_memory", lambda: 1_000_000)
    with pytest.raises(nk.errors.MemoryNeededError, match=r"tl\.depth_stability needs the counts"):
        nk.tl.depth_stability(adata, nk.tl.nk_states, shares=[0.5], repeats=1)
    assert adata.layers["counts"].dtype == memory.layers["counts"].dtype


@pytest.mark.parametrize("form", FORMS)
def test_normalized_values_made_where_they_are_read(experiment, folder, form):
    memory = experiment.copy()
    adata = _with(memory, FORMS[form](folder))
    for each in (adata, memory):
        nk.pp.normalize(each, target_sum=5000)
        nk.tl.score(each, CORE, method="ulm")
    assert not isinstance(adata.X, type(memory.X))
    part = adata.X[10:30]
    part = part.compute() if hasattr(part, "compute") else part
    np.testing.assert_array_equal(part.toarray(), memory.X[10:30].toarray())
    pd.testing.assert_frame_equal(adata.obsm["scores"], memory.obsm["scores"], check_exact=True)
    one, other = (moments(expression_of(each)) for each in (adata, memory))
    np.testing.assert_array_equal(one.variance, other.variance)
    genes = np.flatnonzero(variable_genes(one, 200))
    one, other = (principal_components(expression_of(e), genes, 5) for e in (adata, memory))
    np.testing.assert_array_equal(one.scores, other.scores)


def test_values_stored_twice_are_summed_before_their_log(tmp_path):
    counts = sparse.csr_matrix(
        (np.array([1, 2, 4], np.int32), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2)
    )
    anndata.AnnData(layers={"counts": counts}).write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.AnnData(
        layers={
            "counts": anndata.io.sparse_dataset(h5py.File(tmp_path / "a.h5ad")["layers/counts"])
        }
    )
    nk.pp.normalize(adata)
    found = expression_of(adata).rows().toarray()
    np.testing.assert_allclose(found, np.log1p([[0, 1e4], [1e4, 0]]), rtol=1e-7)


def test_components_are_those_of_a_full_decomposition(experiment):
    adata = experiment.copy()
    nk.pp.normalize(adata)
    nk.tl.embed(adata, n_top_genes=500, n_comps=10)
    chosen = adata.var["highly_variable"].to_numpy()
    theirs = sc.pp.highly_variable_genes(adata, n_top_genes=500, inplace=False)
    np.testing.assert_array_equal(chosen, theirs["highly_variable"].to_numpy())
    dense = adata.X[:, np.flatnonzero(chosen)].toarray().astype(np.float64)
    left, values, right = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    scores = left[:, :10] * values[:10]
    largest = right[np.arange(10), np.abs(right[:10]).argmax(axis=1)]
    scores *= np.sign(largest)
    np.testing.assert_allclose(adata.obsm["X_pca"], scores, atol=1e-6 * np.abs(scores).max())
    variance = values**2 / (len(dense) - 1)
    np.testing.assert_allclose(adata.uns["pca"]["variance"], variance[:10], rtol=1e-9)
    ratio = adata.uns["pca"]["variance_ratio"]
    np.testing.assert_allclose(ratio, variance[:10] / variance.sum(), rtol=1e-9)


def test_wrong_counts_in_a_file(experiment, tmp_path):
    broken = experiment.copy()
    broken.layers["counts"] = broken.layers["counts"] * 0.5
    broken.write_h5ad(tmp_path / "a.h5ad")
    adata = _with(experiment, _h5ad(tmp_path))
    before = list(adata.obs)
    with pytest.raises(nk.errors.WrongScaleError, match=r"layers\['counts'\] holds fractions"):
        nk.pp.qc(adata)
    with pytest.raises(nk.errors.WrongScaleError, match=r"layers\['counts'\] holds fractions"):
        nk.schema.validate(adata)
    assert list(adata.obs) == before
