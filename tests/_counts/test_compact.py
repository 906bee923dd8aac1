from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from nkscore._counts import _compact
from nkscore._counts._compact import compact


@pytest.mark.parametrize("rows_at_once", [1, 7, 4096])
def test_the_kept_cells_are_those_of_a_copy(monkeypatch, rows_at_once):
    monkeypatch.setattr(_compact, "_ROWS", rows_at_once)
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        counts = sparse.random(53, 11, 0.3, "csr", np.int32, rng, lambda n: rng.integers(1, 9, n))
        keep = rng.random(53) < share
        expected = counts[keep]
        counts = sparse.csr_matrix(counts.copy())
        found = compact(counts, keep)
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert found.shape == expected.shape


def test_no_second_copy_is_made():
    counts = sparse.csr_matrix(np.arange(12, dtype=np.int32).reshape(4, 3))
    assert np.shares_memory(counts.data, compact(counts, np.array([False, True, True, False])).data)
