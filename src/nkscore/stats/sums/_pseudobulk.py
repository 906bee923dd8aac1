"""Sums of any numbers over groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints, Matrix


def group_sums(matrix: Matrix, codes: Ints, n_groups: int) -> Floats:
    """Return the sum of each column over each group of rows; for counts there is ``Counts``.

    Parameters
    ----------
    matrix
        Cells × columns in memory, sparse or dense, of any numbers.
    codes
        Group number of each cell, 0 to ``n_groups`` − 1, or -1 for none.

    Returns
    -------
    Groups × columns, float64; whole numbers stay whole up to 2**53.
    """
    cells = np.flatnonzero(codes >= 0)
    member = sparse.csr_matrix(
        (np.ones(cells.size), (codes[cells], cells)), shape=(n_groups, codes.size)
    )
    sums = member @ matrix
    return np.asarray(sums if isinstance(sums, np.ndarray) else sums.toarray(), dtype=np.float64)
