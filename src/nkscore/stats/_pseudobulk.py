"""Sums over groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    Codes = np.ndarray[Any, np.dtype[np.int64]]


def _indicator(codes: Codes, n_groups: int, dtype: Any) -> Any:
    """Return groups × cells with a one where the cell belongs; code -1 belongs nowhere."""
    cells = np.flatnonzero(codes >= 0)
    ones = np.ones(cells.size, dtype=dtype)
    return sparse.csr_matrix((ones, (codes[cells], cells)), shape=(n_groups, codes.size))


def group_sums(matrix: Any, codes: Codes, n_groups: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the exact sum of each column over each group of rows.

    Parameters
    ----------
    matrix
        Cells × genes, sparse or dense.
    codes
        Group number of each cell, 0 to ``n_groups`` − 1, or -1 for none.

    Returns
    -------
    Groups × genes, float64; whole counts stay whole up to 2**53.
    """
    sums = _indicator(codes, n_groups, np.float64) @ matrix
    return np.asarray(sums.toarray() if sparse.issparse(sums) else sums, dtype=np.float64)


def detected_fraction(
    matrix: Any, codes: Codes, n_groups: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the share of cells with a value above zero, groups × genes; NaN for empty groups."""
    if sparse.issparse(matrix):
        positive = matrix.tocsr(copy=True)
        positive.sum_duplicates()
        positive.data = (positive.data > 0).astype(np.float32)
    else:
        positive = (np.asarray(matrix) > 0).astype(np.float32)
    n_cells = np.bincount(codes[codes >= 0], minlength=n_groups).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return group_sums(positive, codes, n_groups) / n_cells[:, None]
