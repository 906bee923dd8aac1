"""Row blocks of bounded size, the unit of work of all kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._compile import kernel
from nkscore._counts._sources import BLOCK_BYTES, open_rows, tidy
from nkscore.errors import WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._counts._sources import Pieces, Rows
    from nkscore._types import Array, Floats, Ints, Ints32

#: Gene totals are sums of multiples of 2^-24: exact, and therefore independent of cell order.
_STEPS = float(1 << 24)
#: Whole numbers up to here are exact in float32.
_WHOLE_FLOAT32 = 1 << 24


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive cells in CSR form: values ≥ 0, gene positions ascending within each cell."""

    start: int
    indptr: Ints
    indices: Ints32
    #: uint32, uint64, float32 or float64; the narrowest that holds the values exactly.
    stored: Array
    n_genes: int

    @property
    def n_cells(self) -> int:
        """Number of cells in the block."""
        return self.indptr.size - 1

    @property
    def values(self) -> Array:
        """The values as float32 or float64, without loss below 2^53."""
        if self.stored.dtype.kind == "f":
            return self.stored
        exact = self.stored.max(initial=0) <= _WHOLE_FLOAT32
        return self.stored.astype(np.float32 if exact else np.float64)

    @property
    def keys(self) -> Array:
        """Unsigned integers in the order of the values; 0 stands for zero."""
        if self.stored.dtype.kind == "u":
            return self.stored
        # The bit patterns of floats from zero are in their order.
        return self.stored.view(np.uint32 if self.stored.itemsize == 4 else np.uint64)


def row_blocks(matrix: object, n_bytes: int = BLOCK_BYTES) -> Iterator[RowBlock]:
    """Yield all rows in order, in blocks of about ``n_bytes`` of float64 values."""
    source = open_rows(matrix)
    for start, stop in source.ranges(n_bytes):
        yield make_block(source, start, source.read(start, stop))


def whole_block(matrix: object, start: int = 0) -> RowBlock:
    """Return all rows of a matrix (or a chunk of a larger one) as the block from ``start``."""
    rows = open_rows(matrix)
    return make_block(rows, start, rows.read(0, rows.shape[0]))


def make_block(rows: Rows, start: int, pieces: Pieces) -> RowBlock:
    """Check the values and convert them to the form that kernels take."""
    n_genes = rows.shape[1]
    indptr, indices, data = tidy(pieces, n_genes, start)
    return RowBlock(
        start,
        np.ascontiguousarray(indptr),
        # Kernels are compiled for writable arrays only; memory-mapped ones are not.
        np.require(indices, np.int32, ["C", "W"]),
        np.require(_checked(data, start), None, ["C", "W"]),
        n_genes,
    )


def _checked(data: Array, start: int) -> Array:
    kind = data.dtype.kind
    if kind == "f":
        return _checked_floats(data, start)
    if kind not in "biu":
        msg = f"The matrix to score holds values of type {data.dtype}, not numbers."
        raise WrongScaleError(msg)
    if kind == "i" and data.size and data.min() < 0:
        raise _impossible("negative values", start)
    if data.dtype.itemsize < 8:
        return data.view(np.uint32) if data.dtype == np.int32 else data.astype(np.uint32)
    fits = data.max(initial=0) < 1 << 32
    return data.astype(np.uint32 if fits else np.uint64)


def _checked_floats(data: Array, start: int) -> Array:
    if data.size == 0:
        return data.astype(np.float32)
    if not _finite_from_zero(data):
        low, high = data.min(), data.max()
        if not (low >= 0 and np.isfinite(high)):
            raise _impossible("negative values" if low < 0 else "NaN or infinite values", start)
        # Turns -0.0, whose bit pattern would be out of order, into 0.0.
        data = data + data.dtype.type(0)
    if data.dtype == np.float32:
        return data
    with np.errstate(over="ignore", under="ignore"):
        narrow = data.astype(np.float32)
    return narrow if (narrow == data).all() else data.astype(np.float64)


def _finite_from_zero(data: Array) -> bool:
    """Whether the bit patterns show that all values are finite and at least 0.0."""
    bits = {4: np.uint32, 8: np.uint64}.get(data.dtype.itemsize)
    if bits is None or not data.dtype.isnative:
        return False
    # Infinity, NaN and all values with a sign, including -0.0, have larger patterns.
    return bool(data.view(bits).max() <= np.finfo(data.dtype).max.view(bits))


def _impossible(found: str, start: int) -> WrongScaleError:
    msg = (
        f"The matrix to score holds {found} (in the block from cell {start}); counts or "
        "log-normalized values are needed. Score layers['counts'] or the output of pp.normalize, "
        "not scaled or imputed data."
    )
    return WrongScaleError(msg)


def check_largest(block: RowBlock, largest: float | None) -> None:
    """Refuse values that are impossible on the requested scale."""
    if largest is None:
        return
    high = block.stored.max(initial=0)
    if high > largest:
        msg = (
            f"The matrix to score reaches {high:g}, but log1p of counts per 10,000 goes to "
            f"{largest:.3g} at most. Run pp.normalize, which makes X from layers['counts'], or "
            "name the layer to score."
        )
        raise WrongScaleError(msg)


def gene_sums(block: RowBlock) -> Floats:
    """Return the sum of each gene over a block, exact to 2^-24 per cell."""
    sums = np.zeros(block.n_genes)
    _add_columns(block.indices, block.values, sums)
    return sums


@kernel
def _add_columns(indices: Any, values: Any, sums: Any) -> None:
    for p in range(indices.size):
        sums[indices[p]] += np.floor(np.float64(values[p]) * _STEPS + 0.5) / _STEPS
