from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import nkscore as nk
from nkscore.errors import MissingKeyError, WrongScaleError


@pytest.fixture(scope="module")
def mapped(experiment):
    adata = experiment[::15].copy()
    nk.pp.normalize(adata)
    nk.tl.embed(adata)
    return adata


def test_declared_slots(mapped, experiment):
    n = mapped.n_obs
    assert n == 180
    assert mapped.obsm["X_pca"].shape == (n, 30)
    assert mapped.obsm["X_umap"].shape == (n, 2)
    assert mapped.obsp["connectivities"].shape == (n, n)
    assert mapped.obsp["distances"].shape == (n, n)
    assert mapped.var["highly_variable"].sum() == 2000
    assert mapped.var["highly_variable"].dtype == bool
    assert np.isfinite(mapped.obsm["X_umap"]).all()
    assert "tl.embed" in mapped.uns["nkscore"]
    assert set(mapped.obs) == set(experiment.obs)


def test_compartments_lie_apart(mapped):
    single = ~mapped.obs["truth_doublet"]
    is_nk = (mapped.obs["compartment"] == "nk").to_numpy()
    graph = mapped.obsp["connectivities"].tocoo()
    keep = single.to_numpy()[graph.row] & single.to_numpy()[graph.col]
    same = is_nk[graph.row] == is_nk[graph.col]
    assert (graph.data * same)[keep].sum() / graph.data[keep].sum() > 0.95


def test_same_map_again(mapped):
    again = mapped.copy()
    nk.tl.embed(again)
    np.testing.assert_array_equal(again.obsm["X_umap"], mapped.obsm["X_umap"])
    np.testing.assert_array_equal(again.obsm["X_pca"], mapped.obsm["X_pca"])
    other = mapped.copy()
    nk.tl.embed(other, rng=1)
    assert not np.allclose(other.obsm["X_umap"], mapped.obsm["X_umap"])
    nk.tl.embed(other, rng=np.random.default_rng(0))
    drawn = other.copy()
    nk.tl.embed(drawn, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.obsm["X_umap"], other.obsm["X_umap"])


def test_threads_do_not_move_the_map(mapped):
    found = []
    for threads in (1, 2):
        adata = mapped.copy()
        with threadpool_limits(limits=threads, user_api="blas"):
            nk.tl.embed(adata)
        found.append(adata.obsm["X_umap"])
    np.testing.assert_array_equal(*found)


def test_few_genes_give_fewer_components(mapped):
    small = mapped[:25, :200].copy()
    nk.tl.embed(small, n_neighbors=5)
    assert small.obsm["X_pca"].shape == (25, 24)


def test_too_few_cells(mapped):
    with pytest.raises(ValueError, match=r"19 cells cannot be mapped; at least 20"):
        nk.tl.embed(mapped[:19].copy())


def test_numbers_out_of_range(mapped):
    for options in ({"n_comps": 0}, {"n_top_genes": 0}, {"n_neighbors": 0}):
        with pytest.raises(ValueError, match="is 0; a whole number"):
            nk.tl.embed(mapped, **options)


def test_needs_log_values(experiment):
    adata = experiment[:50].copy()
    with pytest.raises(MissingKeyError, match=r"pp\.normalize"):
        nk.tl.embed(adata)
    adata.X = adata.layers["counts"].copy()
    with pytest.raises(WrongScaleError, match=r"pp\.normalize"):
        nk.tl.embed(adata)
