"""Remove cells from counts without a second copy of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from nkscore._types import Bools

#: Cells moved at once.
_ROWS: Final = 4096


def compact(matrix: sparse.csr_matrix, keep: Bools) -> sparse.csr_matrix:
    """Return the cells of ``keep``, moved to the front of the arrays of ``matrix``.

    ``matrix`` cannot be used afterwards.
    """
    data, indices, indptr = matrix.data, matrix.indices, matrix.indptr
    lengths = np.diff(indptr)
    filled = 0
    for start in range(0, len(keep), _ROWS):
        stop = min(start + _ROWS, len(keep))
        low, high = indptr[start], indptr[stop]
        wanted = np.repeat(keep[start:stop], lengths[start:stop])
        end = filled + int(np.count_nonzero(wanted))
        # What is read here lies behind, or is a copy of, what is written.
        data[filled:end] = data[low:high][wanted]
        indices[filled:end] = indices[low:high][wanted]
        filled = end
    starts = np.concatenate([[0], np.cumsum(lengths[keep], dtype=np.int64)]).astype(indptr.dtype)
    arrays = (data[:filled], indices[:filled], starts)
    made: sparse.csr_matrix = sparse.csr_matrix(arrays, (int(keep.sum()), matrix.shape[1]))
    return made
