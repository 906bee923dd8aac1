from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import DesignError, WrongScaleError


@pytest.fixture
def cells():
    """Six cells × 2 genes in groups a (3), b (2), and one cell without a group."""
    counts = sparse.csr_matrix(np.array([[1, 0], [2, 0], [0, 5], [4, 1], [0, 0], [9, 9]]))
    obs = pd.DataFrame(
        {"group": ["a", "a", "a", "b", "b", None], "line": ["x"] * 6, "order": range(6)},
        index=[f"c{i}" for i in range(6)],
    )
    adata = ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=["G1", "G2"]))
    adata.layers["counts"] = counts
    return adata


def test_by_hand(cells):
    sums = nk.tl.pseudobulk(cells, "group", min_cells=1)
    assert sums.X.tolist() == [[3, 5], [4, 1]]
    assert sums.layers["n_cells"].tolist() == [[2, 1], [1, 1]]
    assert sums.obs["n_cells"].tolist() == [3, 2]
    assert sums.obs["n_counts"].tolist() == [8, 5]
    assert sums.obs["line"].tolist() == ["x", "x"]
    assert "order" not in sums.obs


def test_small_groups_stay_in_the_table(cells):
    sums = nk.tl.pseudobulk(cells, "group", min_cells=3)
    assert list(sums.obs_names) == ["a"]
    assert sums.uns["groups"]["kept"].tolist() == [True, False]
    with pytest.raises(DesignError, match=r"None of 2 groups has 9 cells.*largest has 3"):
        nk.tl.pseudobulk(cells, "group", min_cells=9)


def test_fractions_are_refused(cells):
    cells.layers["counts"] = cells.layers["counts"].astype(float) * 0.3
    with pytest.raises(WrongScaleError, match="fractions"):
        nk.tl.pseudobulk(cells, "group", min_cells=1)


@pytest.mark.parametrize("form", ["csc", "dense", "backed", "dask"])
def test_form_of_the_matrix_does_not_matter(experiment, form, tmp_path):
    adata = ad.AnnData(experiment.layers["counts"].copy(), obs=experiment.obs, var=experiment.var)
    expected = nk.tl.pseudobulk(adata, layer=None)
    if form == "backed":
        adata[:, :].copy().write_h5ad(tmp_path / "x.h5ad")
        adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    elif form == "dask":
        array = pytest.importorskip("dask.array")
        adata.X = array.from_array(adata.X.toarray(), chunks=(500, 1000))
    else:
        adata.X = adata.X.tocsc() if form == "csc" else adata.X.toarray()
    found = nk.tl.pseudobulk(adata, layer=None)
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.layers["n_cells"], expected.layers["n_cells"])
    if form == "backed":
        adata.file.close()


def test_groups_by_numbers(cells):
    """Hours stay numbers, sort as numbers and can be compared as such."""
    cells.obs["hours"] = [10.0, 10, 6, 6, 6, np.nan]
    sums = nk.tl.pseudobulk(cells, ["hours", "group", "hours"], min_cells=1)
    assert sums.obs["hours"].tolist() == [6.0, 6.0, 10.0]
    assert list(sums.obs_names) == ["6.0 | a", "6.0 | b", "10.0 | a"]
    assert sums.X.tolist() == [[0, 5], [4, 1], [3, 0]]
    with pytest.raises(DesignError, match="by names no column"):
        nk.tl.pseudobulk(cells, [])
