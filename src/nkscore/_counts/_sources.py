"""Sources of rows: memory, an open h5ad file or a zarr store."""

from __future__ import annotations

import itertools
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from nkscore._counts._hdf5 import unlocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import CSC, CSR, Array

    # indptr (not starting at 0), indices and data of some rows.
    Pieces = tuple[Array, Array, Array]

#: Bytes of float64 values in one block; small enough to stay in the cache from reading to use,
#: large enough to make the cost of a call per block negligible.
BLOCK_BYTES = 4 << 20

_log = logging.getLogger("nkscore")


class Rows(Protocol):
    """Rows that can be read range by range."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def ranges(self, n_bytes: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """Cut the rows from ``first`` on into ranges of about ``n_bytes`` of float64 values."""

    def read(self, start: int, stop: int) -> Pieces:
        """Return the rows from ``start`` to ``stop`` in CSR form."""

    @property
    def n_values(self) -> int:
        """Number of stored values, an upper bound for dense arrays."""


@dataclass(frozen=True)
class SparseRows:
    """CSR; ``indices`` and ``data`` may be arrays in memory or on disk."""

    shape: tuple[int, int]
    indptr: Array
    indices: Any
    data: Any

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        found: np.dtype[Any] = self.data.dtype
        return found

    @property
    def n_values(self) -> int:
        """Number of stored values."""
        return int(self.indptr[-1])

    def ranges(self, n_bytes: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """Cut where the running number of stored values passes the next multiple of a block."""
        per_block = max(1, n_bytes // 8)
        low, high = int(self.indptr[first]), int(self.indptr[-1])
        steps = np.arange(low + per_block, high + per_block, per_block)
        cuts = np.searchsorted(self.indptr, steps, side="left")
        return _pairs(cuts, first, self.shape[0])

    def read(self, start: int, stop: int) -> Pieces:
        """Return views of arrays in memory, copies of arrays on disk."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        indices, data = np.asarray(self.indices[low:high]), np.asarray(self.data[low:high])
        return self.indptr[start : stop + 1], indices, data


@dataclass(frozen=True)
class StoredSparse:
    """A sparse matrix in an open h5ad or zarr file, for use before anndata is imported."""

    group: Any
    #: ``csr`` or ``csc``.
    format: str

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""
        n_cells, n_genes = self.group.attrs["shape"]
        return int(n_cells), int(n_genes)


@dataclass(frozen=True)
class DenseRows:
    """A two-dimensional array in memory or on disk."""

    shape: tuple[int, int]
    array: Any

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        found: np.dtype[Any] = self.array.dtype
        return found

    @property
    def n_values(self) -> int:
        """Number of values."""
        return self.shape[0] * self.shape[1]

    def ranges(self, n_bytes: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """Cut into ranges of equal numbers of rows."""
        per_block = max(1, n_bytes // (8 * max(1, self.shape[1])))
        return _pairs(np.arange(first, self.shape[0], per_block), first, self.shape[0])

    def read(self, start: int, stop: int) -> Pieces:
        """Return the non-zero values."""
        from scipy import sparse

        part = sparse.csr_matrix(np.asarray(self.array[start:stop]))
        return part.indptr, part.indices, part.data


def _pairs(cuts: Array, first: int, last: int) -> Iterator[tuple[int, int]]:
    edges = np.unique(np.concatenate([[first], np.minimum(cuts, last), [last]])).tolist()
    return itertools.pairwise(edges)


def open_rows(matrix: object) -> Rows:
    """Return ``matrix`` as rows; never changes it.

    Raises
    ------
    TypeError
        If the matrix cannot be read row by row.
    """
    if is_sparse(matrix):
        rows = matrix.tocsr()
        return SparseRows(rows.shape, rows.indptr, rows.indices, rows.data)
    if isinstance(matrix, np.ndarray) and matrix.ndim == 2:
        return DenseRows(matrix.shape, matrix)
    if is_stored(matrix):
        return _backed_sparse(matrix)
    if _is_array_on_disk(matrix):
        return DenseRows(tuple(matrix.shape), matrix)
    msg = (
        f"The matrix is a {type(matrix).__module__}.{type(matrix).__name__}; a scipy CSR or CSC "
        "matrix, a numpy array, a dask array or a matrix in an open h5ad or zarr file is needed. "
        "Load it into memory first (adata.to_memory())."
    )
    raise TypeError(msg)


def is_rows(matrix: object) -> TypeGuard[Rows]:
    """Whether a matrix is open already."""
    return hasattr(matrix, "ranges") and hasattr(matrix, "read")


def is_stored(matrix: object) -> TypeGuard[StoredSparse]:
    """Whether a matrix is CSR or CSC in an open h5ad or zarr file."""
    return hasattr(matrix, "group") and getattr(matrix, "format", None) in {"csr", "csc"}


def _backed_sparse(matrix: StoredSparse) -> Rows:
    """Sparse datasets in h5ad or zarr, of anndata or :class:`StoredSparse`."""
    group = matrix.group
    if hasattr(group, "log_rows"):
        # log1p of stored counts, see _normalized.
        logs: Rows = group.log_rows()
        return logs
    if matrix.format == "csc":
        from scipy import sparse

        n_values = group["indices"].shape[0]
        stored = group["indices"].dtype.itemsize + group["data"].dtype.itemsize
        _log.warning(
            "The matrix is stored gene by gene (CSC), so all of it is loaded and converted to "
            "rows, which takes about %.1f GB of memory. Write it as CSR to read it in blocks.",
            2 * n_values * stored / 1e9,
        )
        data, indices, indptr = (
            np.asarray(group[name][...]) for name in ("data", "indices", "indptr")
        )
        return open_rows(sparse.csc_matrix((data, indices, indptr), shape=_shape(matrix)))
    indptr = np.asarray(group["indptr"][...])
    indices, data = unlocked(group["indices"]), unlocked(group["data"])
    return SparseRows(_shape(matrix), indptr, indices, data)


def _shape(matrix: StoredSparse) -> tuple[int, int]:
    n_cells, n_genes = matrix.shape
    return int(n_cells), int(n_genes)


def _is_array_on_disk(matrix: object) -> TypeGuard[Array]:
    library = type(matrix).__module__.partition(".")[0]
    return library in {"h5py", "zarr"} and len(getattr(matrix, "shape", ())) == 2


def is_sparse(matrix: object) -> TypeGuard[CSR | CSC]:
    """Whether ``matrix`` is a scipy matrix (views of AnnData are); scipy is not imported for it."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(matrix))


def tidy(pieces: Pieces, n_genes: int, start: int) -> Pieces:
    """Return rows from cell ``start`` on with each entry stored once and in order.

    Raises
    ------
    ValueError
        If positions do not match the numbers of values and genes.
    """
    indptr, indices, data = pieces
    indptr = np.asarray(indptr, dtype=np.int64) - int(indptr[0])
    _check_positions(indptr, indices, n_genes, start)
    if _ascending(indptr, indices):
        return indptr, indices, data
    from scipy import sparse

    whole = sparse.csr_matrix((data, indices, indptr), shape=(indptr.size - 1, n_genes)).copy()
    whole.sum_duplicates()
    return whole.indptr.astype(np.int64), whole.indices, whole.data


def _check_positions(indptr: Array, indices: Array, n_genes: int, start: int) -> None:
    fits = indptr[-1] == indices.size and (np.diff(indptr) >= 0).all()
    if fits and (indices.size == 0 or (indices.min() >= 0 and indices.max() < n_genes)):
        return
    msg = (
        f"The sparse matrix is broken from cell {start} on: its positions do not match "
        f"its {n_genes} genes or its number of values. Read the file again, or write it again."
    )
    raise ValueError(msg)


def _ascending(indptr: Array, indices: Array) -> bool:
    falls = indices[1:] <= indices[:-1]
    between = indptr[1:-1]
    # From the last gene of a cell to the first of the next, positions may decrease.
    falls[between[(between > 0) & (between < indices.size)] - 1] = False
    return not falls.any()
