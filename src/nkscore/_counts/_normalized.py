"""log1p of counts per 10,000, made of stored counts whenever it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from nkscore._counts._hdf5 import unlocked
from nkscore._counts._logs import factors, log_values
from nkscore._counts._sources import open_rows, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse

    from nkscore._counts._sources import Pieces, Rows, StoredSparse
    from nkscore._types import Array, Floats

#: Attribute that marks such a matrix.
LAZY: Final = "nkscore_target_sum"


@dataclass(frozen=True, eq=False)
class LogValues:
    """The values of the matrix: those of the stored counts, scaled and logged where read."""

    counts: Any
    indptr: Array
    per_cell: Floats
    shape: tuple[int]
    dtype: np.dtype[Any]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        """Return all values, for a writer that takes whole arrays."""
        return np.array(self[:], dtype=dtype, copy=copy)

    def __getitem__(self, wanted: Any) -> Array:
        """Return a range of values, or all of them for an ellipsis."""
        if wanted is Ellipsis:
            wanted = slice(None)
        if not isinstance(wanted, slice):
            chosen: Array = self[:][wanted]
            return chosen
        low, high, step = wanted.indices(self.shape[0])
        if step != 1:
            return self[:][low:high:step]
        if high <= low:
            return np.empty(0, self.dtype)
        first = int(np.searchsorted(self.indptr, low, side="right")) - 1
        last = int(np.searchsorted(self.indptr, high, side="left"))
        edges = np.clip(self.indptr[first : last + 1], low, high)
        return log_values(
            np.asarray(self.counts[low:high]), self.per_cell[first:last], np.diff(edges)
        )


@dataclass(frozen=True)
class LogRows:
    """Rows of the matrix, each entry of the counts stored once before its log is taken."""

    counts: Rows
    #: Factors of the cells from ``first_cell`` on.
    per_cell: Floats
    first_cell: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""
        return self.counts.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(np.float32)

    @property
    def n_values(self) -> int:
        """Number of stored values."""
        return self.counts.n_values

    def ranges(self, n_bytes: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """Cut as the counts are cut."""
        return self.counts.ranges(n_bytes, first)

    def read(self, start: int, stop: int) -> Pieces:
        """Return the rows from ``start`` to ``stop`` in CSR form."""
        read = self.counts.read(start, stop)
        indptr, indices, data = tidy(read, self.counts.shape[1], start)
        per_cell = self.per_cell[start - self.first_cell : stop - self.first_cell]
        return indptr, indices, log_values(data, per_cell, np.diff(indptr))


class _Attributes(dict[str, object]):
    """Attributes of a group, which anndata asks for by the names of h5py and zarr."""

    def get(self, name: str, default: object = None) -> object:
        """Return an attribute, or ``default``."""
        return super().get(name, default)


class _Arrays:
    """The arrays of a group that would hold the matrix; only its values are made."""

    def __init__(self, counts: StoredSparse, per_cell: Floats, target_sum: float) -> None:
        group = counts.group
        self.counts, self.per_cell = counts, per_cell
        indptr = np.asarray(group["indptr"][...], dtype=np.int64)
        size = (int(indptr[-1]),)
        values = LogValues(unlocked(group["data"]), indptr, per_cell, size, np.dtype(np.float32))
        self.of_name = {"indptr": indptr, "indices": group["indices"], "data": values}
        self.attrs = _Attributes(
            {
                "encoding-type": "csr_matrix",
                "encoding-version": "0.1.0",
                "shape": np.asarray(group.attrs["shape"]),
                LAZY: target_sum,
            }
        )

    def rows(self) -> LogRows:
        """Return the rows, read from the counts."""
        return LogRows(open_rows(self.counts), self.per_cell)


class LogGroup(h5py.Group):  # type: ignore[misc]
    """Stands for the group of an h5ad file that would hold the matrix."""

    def __init__(self, group: h5py.Group, arrays: _Arrays) -> None:
        super().__init__(group.id)
        self._made = arrays

    @property
    def counts(self) -> Any:
        """Group of the counts."""
        return self._made.counts.group

    def log_rows(self) -> LogRows:
        """Return the rows for the door to matrices."""
        return self._made.rows()

    @property
    def attrs(self) -> Any:
        """Attributes of the matrix, not those of the counts."""
        return self._made.attrs

    def __getitem__(self, name: Any) -> Any:
        """Return ``data``, ``indices`` or ``indptr``."""
        return self._made.of_name[name]


class ZarrLogGroup:
    """Stands for such a group of a zarr store."""

    def __init__(self, group: Any, arrays: _Arrays) -> None:
        self._made = arrays
        self.attrs = arrays.attrs
        self.name = group.name

    @property
    def counts(self) -> Any:
        """Group of the counts."""
        return self._made.counts.group

    def log_rows(self) -> LogRows:
        """Return the rows for the door to matrices."""
        return self._made.rows()

    def __getitem__(self, name: str) -> Any:
        """Return ``data``, ``indices`` or ``indptr``."""
        return self._made.of_name[name]


def log_group(counts: StoredSparse, total: Floats, target_sum: float) -> LogGroup | ZarrLogGroup:
    """Return log1p of counts per ``target_sum``, made from the counts wherever it is read.

    Parameters
    ----------
    counts
        CSR in an open file.
    total
        Counts of each cell.
    """
    arrays = _Arrays(counts, factors(total, target_sum), target_sum)
    of_h5ad = isinstance(counts.group, h5py.Group)
    return (LogGroup if of_h5ad else ZarrLogGroup)(counts.group, arrays)


def log_dask(counts: Any, target_sum: float) -> Any:
    """Return the same of a dask array as a dask array."""
    from scipy import sparse

    rows = counts.rechunk({1: counts.shape[1]}) if counts.numblocks[1] > 1 else counts
    empty = sparse.csr_matrix(np.zeros((0, 0), dtype=np.float32))
    return rows.map_blocks(_log_chunk, target_sum, dtype=np.float32, meta=empty)


def _log_chunk(chunk: Any, target_sum: float) -> sparse.csr_matrix:
    from scipy import sparse

    counts = open_rows(chunk)
    n_cells, n_genes = counts.shape
    indptr, indices, data = tidy(counts.read(0, n_cells), n_genes, 0)
    exact = sparse.csr_matrix((data, indices, indptr), shape=(n_cells, n_genes))
    total = np.asarray(exact.sum(axis=1, dtype=np.float64)).ravel()
    values = log_values(data, factors(total, target_sum), np.diff(indptr))
    return sparse.csr_matrix((values, indices, indptr), shape=(n_cells, n_genes))


def target_sum_of(matrix: object) -> float | None:
    """Return the target of a matrix that :func:`normalized` made, ``None`` for any other."""
    attrs = getattr(getattr(matrix, "group", None), "attrs", None)
    return float(str(attrs[LAZY])) if isinstance(attrs, _Attributes) else None
