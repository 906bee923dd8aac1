"""Steps on counts that stay in files or dask arrays: to the last bit as in memory."""

from __future__ import annotations

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._counts._open import open_counts

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
