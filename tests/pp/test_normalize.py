from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

import nkscore as nk
from nkscore.errors import WrongScaleError


def test_values_by_hand(cells):
    adata = cells([[1, 3, 0], [0, 0, 5]], ["A", "B", "C"])
    nk.pp.normalize(adata)
    # 1 of 4 counts: log(1 + 2500); 3 of 4: log(1 + 7500); 5 of 5: log(1 + 10000).
    expected = [[7.824446, 8.922792, 0], [0, 0, 9.210440]]
    np.testing.assert_allclose(adata.X.toarray(), expected, atol=1e-6)
    assert sparse.isspmatrix_csr(adata.X)
    assert adata.X.dtype == np.float32


def test_target_sum_is_what_cells_are_scaled_to(cells):
    adata = cells([[1, 3]], ["A", "B"])
    nk.pp.normalize(adata, target_sum=100)
    np.testing.assert_allclose(np.expm1(adata.X.toarray()), [[25, 75]], rtol=1e-6)


def test_cell_without_counts_stays_zero(cells):
    adata = cells([[0, 0], [2, 2]], ["A", "B"])
    nk.pp.normalize(adata)
    assert adata.X[0].nnz == 0
    assert adata.X[1].nnz == 2


def test_twice_is_once_and_counts_stay(loaded):
    adata = loaded.copy()
    nk.pp.normalize(adata)
    first = adata.X.copy()
    nk.pp.normalize(adata)
    assert (first != adata.X).nnz == 0
    assert (adata.layers["counts"] != loaded.layers["counts"]).nnz == 0
    assert not np.shares_memory(adata.X.indices, adata.layers["counts"].indices)


def test_equals_scanpy(loaded):
    adata = loaded.copy()
    nk.pp.normalize(adata)
    theirs = loaded.copy()
    theirs.X = theirs.layers["counts"].astype(np.float32)
    sc.pp.normalize_total(theirs, target_sum=1e4)
    sc.pp.log1p(theirs)
    np.testing.assert_array_equal(adata.X.indices, theirs.X.indices)
    np.testing.assert_allclose(adata.X.data, theirs.X.data, rtol=2e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_type_of_counts_does_not_matter(cells, dtype):
    adata = cells([[1, 3], [7, 9]], ["A", "B"], dtype=dtype)
    nk.pp.normalize(adata)
    reference = cells([[1, 3], [7, 9]], ["A", "B"])
    nk.pp.normalize(reference)
    assert (adata.X != reference.X).nnz == 0


def test_dense_counts_work(cells):
    adata = cells([[1, 3], [7, 0]], ["A", "B"])
    dense = adata.copy()
    dense.layers["counts"] = adata.layers["counts"].toarray()
    nk.pp.normalize(adata)
    nk.pp.normalize(dense)
    np.testing.assert_array_equal(adata.X.toarray(), dense.X.toarray())


@pytest.mark.parametrize("target", [0, -1, float("nan"), float("inf")])
def test_target_must_be_positive(cells, target):
    with pytest.raises(ValueError, match=r"target_sum is .* positive, finite number is needed"):
        nk.pp.normalize(cells([[1, 3]], ["A", "B"]), target_sum=target)


def test_fractions_are_refused(cells):
    with pytest.raises(WrongScaleError, match="fractions"):
        nk.pp.normalize(cells([[0.5, 3]], ["A", "B"], dtype=np.float64))


def test_stage_is_reached(loaded):
    adata = loaded.copy()
    nk.pp.normalize(adata)
    nk.schema.validate(adata, stage="normalized")
    assert adata.uns["nkscore"]["pp.normalize"]["options"] == {"target_sum": 1e4}
