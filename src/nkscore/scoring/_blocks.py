"""Any cell matrix as a stream of CSR row blocks of bounded size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nkscore.errors import WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of float64 values in one block; small enough to stay near the cache, large enough to
#: make the cost of a call per block vanish.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive cells in CSR form: float64 values ≥ 0, int32 gene positions."""

    start: int
    indptr: np.ndarray[Any, np.dtype[np.int64]]
    indices: np.ndarray[Any, np.dtype[np.int32]]
    values: np.ndarray[Any, np.dtype[np.float64]]
    n_genes: int

    @property
    def n_cells(self) -> int:
        """Number of cells in the block."""
        return self.indptr.size - 1


def as_rows(matrix: Any) -> Any:
    """Return ``matrix`` in a form whose rows are cheap to slice; never changes the input."""
    if sparse.issparse(matrix):
        rows = matrix.tocsr()
        if not rows.has_canonical_format:
            rows = rows.copy() if rows is matrix else rows
            rows.sum_duplicates()
        return rows
    if isinstance(matrix, np.ndarray):
        return matrix
    msg = (
        f"The matrix is a {type(matrix).__module__}.{type(matrix).__name__}; a scipy CSR or CSC "
        "matrix or a numpy array is needed. Load it into memory first (adata.to_memory())."
    )
    raise TypeError(msg)


def row_blocks(rows: Any, n_bytes: int = BLOCK_BYTES) -> Iterator[RowBlock]:
    """Yield all rows in order, in blocks of about ``n_bytes`` of float64 values."""
    n_cells = rows.shape[0]
    if sparse.issparse(rows):
        # Cut where the running number of stored values passes the next multiple of a block.
        per_block = max(1, n_bytes // 8)
        steps = np.arange(per_block, int(rows.indptr[-1]) + per_block, per_block)
        cuts = np.searchsorted(rows.indptr, steps, side="left")
    else:
        cuts = np.arange(0, n_cells, max(1, n_bytes // (8 * max(1, rows.shape[1]))))
    edges = np.unique(np.concatenate([[0], np.minimum(cuts, n_cells), [n_cells]]))
    for start, stop in itertools.pairwise(edges):
        yield _block(rows, int(start), int(stop))


def _block(rows: Any, start: int, stop: int) -> RowBlock:
    if sparse.issparse(rows):
        low, high = int(rows.indptr[start]), int(rows.indptr[stop])
        indptr = rows.indptr[start : stop + 1].astype(np.int64) - low
        indices, values = rows.indices[low:high], rows.data[low:high]
    else:
        part = sparse.csr_matrix(rows[start:stop])
        indptr, indices, values = part.indptr.astype(np.int64), part.indices, part.data
    # Kernels take writable arrays only; memory-mapped ones are not.
    values = np.require(values, np.float64, ["C", "W"])
    _check_values(values, start)
    return RowBlock(start, indptr, np.require(indices, np.int32, ["C", "W"]), values, rows.shape[1])


def _check_values(values: np.ndarray[Any, np.dtype[np.float64]], start: int) -> None:
    if values.size == 0:
        return
    low, high = values.min(), values.max()
    if low >= 0 and np.isfinite(high):
        return
    found = "negative values" if low < 0 else "NaN or infinite values"
    msg = (
        f"The matrix to score holds {found} (in the block from cell {start}); counts or "
        "log-normalized values are needed. Score layers['counts'] or the output of pp.normalize, "
        "not scaled or imputed data."
    )
    raise WrongScaleError(msg)
