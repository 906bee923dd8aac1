"""Compiled sums and moments over groups of cells, one kernel of sums per type of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from nkscore._types import Array


def _signature(values: str) -> str:
    return (
        f"int64(int64[::1], int32[::1], {values}[::1], int64[::1], int64[::1],"
        "float64[:,::1], int32[:,::1], float64[::1])"
    )


def _add(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    rows: Array,
    codes: Array,
    sums: Array,
    cells: Array,
    squares: Array,
) -> int:
    """Add ``rows`` to their groups, and their squares to ``squares``, if it has room for them.

    Returns the first row with an impossible count, or -1.
    """
    squared = squares.size > 0
    for r in rows:
        group_sums, group_cells = sums[codes[r]], cells[codes[r]]
        for e in range(indptr[r], indptr[r + 1]):
            value = values[e]
            # Written so that NaN fails, too.
            if not (value >= 0 and value < 9007199254740992.0 and value == np.floor(value)):
                return int(r)
            # With an unsigned index, numba does not check for negative positions.
            gene = np.uint64(indices[e])
            group_sums[gene] += value
            group_cells[gene] += value > 0
            if squared:
                squares[gene] += np.float64(value) * value
    return -1


_KERNELS: dict[str, Any] = {
    name: compiled(_signature(name))(_add) for name in ("int32", "int64", "float32", "float64")
}


def kernel_for(dtype: np.dtype[Any]) -> tuple[Any, np.dtype[Any]]:
    """Return the kernel for counts of a type, and the type to convert them to."""
    if dtype.name in _KERNELS:
        return _KERNELS[dtype.name], dtype
    name = "int64" if dtype.kind in "biu" else "float64"
    return _KERNELS[name], np.dtype(name)


@compiled(
    "void(int64[::1], int32[::1], float64[::1], int64[::1], int64[::1], float64,float64[:,:,::1])"
)
def add_moments(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    rows: Array,
    codes: Array,
    target: float,
    moments: Array,
) -> None:
    """Add sums of x, x², e and e²: e = count per ``target`` counts of its cell, x = log(1 + e)."""
    for r in rows:
        total = 0.0
        for e in range(indptr[r], indptr[r + 1]):
            total += values[e]
        if total <= 0.0:
            continue
        group = codes[r]
        for e in range(indptr[r], indptr[r + 1]):
            scaled = values[e] / total * target
            x = np.log1p(scaled)
            j = indices[e]
            moments[group, j, 0] += x
            moments[group, j, 1] += x * x
            moments[group, j, 2] += scaled
            moments[group, j, 3] += scaled * scaled
