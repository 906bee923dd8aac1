from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from nkscore._counts._group_sums import GroupSums
from nkscore.stats import group_sums

FORMATS = [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.coo_matrix, np.asarray]
DTYPES = [np.uint8, np.int32, np.int64, np.float32, np.float64]


@pytest.fixture(scope="module")
def cells():
    return np.random.default_rng(0).poisson(0.8, (200, 30)).astype(np.uint8)


@pytest.fixture(scope="module")
def codes():
    """Groups 0 to 4, of which 3 is empty; some cells are in none."""
    return np.random.default_rng(1).choice([-1, 0, 1, 2, 4], 200)


@pytest.mark.parametrize("as_type", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_equal_pandas(cells, codes, as_type, dtype):
    found = group_sums(as_type(cells.astype(dtype)), codes, 5)
    table = pd.DataFrame(cells.astype(float)).groupby(codes).sum().reindex(range(5), fill_value=0)
    assert type(found) is np.ndarray
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, table)


def test_sums_are_exact_where_float32_is_not():
    counts = np.full((3, 1), 2**24 + 1, dtype=np.int32)
    assert group_sums(sparse.csr_matrix(counts), np.zeros(3, int), 1)[0, 0] == 3 * (2**24 + 1)


def test_no_cells():
    nobody = np.full(4, -1)
    assert (group_sums(np.ones((4, 2)), nobody, 3) == 0).all()
    assert group_sums(sparse.csr_matrix((0, 2)), np.zeros(0, int), 1).tolist() == [[0, 0]]


def test_entries_that_are_stored_twice_or_as_zero():
    # Cell 0 stores gene 0 as 1 + 2 and gene 1 as 0.
    messy = sparse.csr_matrix((np.array([1, 2, 0]), np.array([0, 0, 1]), np.array([0, 3, 3])))
    codes = np.zeros(2, dtype=int)
    assert group_sums(messy, codes, 1).tolist() == [[3, 0]]
    assert messy.nnz == 3


def test_overdispersion_by_hand():
    # Two groups of two cells; the first gene lies in one cell of each, the second in all.
    counts = sparse.csr_matrix(np.array([[4, 2, 0], [0, 2, 0], [0, 3, 0], [6, 3, 0], [9, 9, 9]]))
    codes = np.array([0, 0, 1, 1, -1])
    sums = GroupSums(2, 3, with_squares=True)
    assert sums.add(counts.indptr, counts.indices, counts.data, codes=codes) == -1
    np.testing.assert_array_equal(sums.squares, [[16, 8, 0], [36, 18, 0]])
    # Squares about the means of 2 and 3: 4 + 4 + 9 + 9 = 26, over 10 counts.
    np.testing.assert_allclose(sums.overdispersion([2, 2]), [2.6, 0, 0])
