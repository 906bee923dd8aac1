"""Compiled sums over genes and over groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._compile import kernel

if TYPE_CHECKING:
    from nkscore._types import Array


#: Types of counts with a kernel; other types are converted to the widest of their kind.
_TYPES = frozenset({"int32", "int64", "float32", "float64"})


def as_kernels_take(indptr: Array, indices: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return the arrays of a CSR matrix in types that have a kernel."""
    dtype: Any = values.dtype
    if dtype.name not in _TYPES:
        dtype = np.int64 if dtype.kind in "biu" else np.float64
    return (
        # Compiled for writable arrays only; memory-mapped ones are not.
        np.require(indptr, np.int64, ["C", "W"]),
        np.require(indices, np.int32, ["C", "W"]),
        np.require(values, dtype, ["C", "W"]),
    )


@kernel
def add_to_groups(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    rows: Array,
    codes: Array,
    sums: Array,
    cells: Array,
    squares: Array,
) -> int:
    """Add ``rows`` to their groups, and their squares, if ``squares`` has room for them.

    Returns the first row with an impossible count, or -1.
    """
    squared = squares.size > 0
    for r in rows:
        group_sums, group_cells = sums[codes[r]], cells[codes[r]]
        group_squares = squares[codes[r] if squared else 0]
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
                group_squares[gene] += np.float64(value) * value
    return -1


@kernel
def add_over_genes(  # noqa: PLR0917 (numba)
    indptr: Array, indices: Array, values: Array, rows: Array, weights: Array, out: Array
) -> None:
    """Fill ``out``, rows × sets, with sums of values weighted by ``weights``, genes × sets."""
    n_sets = weights.shape[1]
    for i in range(rows.size):
        r = rows[i]
        own = out[i]
        for e in range(indptr[r], indptr[r + 1]):
            value = np.float64(values[e])
            weight = weights[np.uint64(indices[e])]
            for s in range(n_sets):
                own[s] += value * weight[s]


@kernel
def add_over_sets(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    rows: Array,
    set_indptr: Array,
    set_indices: Array,
    set_values: Array,
    out: Array,
) -> None:
    """As :func:`add_over_genes`, for weights in CSR form: most genes are in no set."""
    for i in range(rows.size):
        r = rows[i]
        own = out[i]
        for e in range(indptr[r], indptr[r + 1]):
            gene = np.uint64(indices[e])
            for s in range(set_indptr[gene], set_indptr[gene + np.uint64(1)]):
                own[set_indices[s]] += np.float64(values[e]) * set_values[s]


@kernel
def find_columns(
    indptr: Array, indices: Array, rows: Array, column_of: Array, found: Array
) -> None:
    """Fill ``found`` with the running number of entries that have a column (not -1)."""
    n = 0
    found[0] = 0
    for i in range(rows.size):
        r = rows[i]
        for e in range(indptr[r], indptr[r + 1]):
            n += column_of[np.uint64(indices[e])] >= 0
        found[i + 1] = n


@kernel
def take_columns(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    rows: Array,
    column_of: Array,
    columns: Array,
    taken: Array,
) -> None:
    """Fill ``columns`` and ``taken`` with the entries of :func:`find_columns`."""
    n = 0
    for i in range(rows.size):
        r = rows[i]
        for e in range(indptr[r], indptr[r + 1]):
            column = column_of[np.uint64(indices[e])]
            if column >= 0:
                columns[n] = column
                taken[n] = values[e]
                n += 1


@kernel
def count_genes(indptr: Array, values: Array, out: Array) -> None:
    """Fill ``out`` with the number of values above zero in each row."""
    for r in range(out.size):
        n = 0
        for e in range(indptr[r], indptr[r + 1]):
            n += values[e] > 0
        out[r] = n


@kernel
def add_gram(  # noqa: PLR0917 (numba)
    indptr: Array,
    indices: Array,
    values: Array,
    column_indptr: Array,
    rows: Array,
    places: Array,
    out: Array,
) -> None:
    """Add the products of all pairs of columns to the upper half of ``out``, row after row.

    The entries of each row and, by column, the rows are ascending; ``places`` are the starts of the
    rows and are moved on. One row of ``out`` is used at a time, so it stays in the cache.
    """
    for i in range(out.shape[0]):
        own = out[i]
        for e in range(column_indptr[i], column_indptr[i + 1]):
            r = rows[e]
            value = values[places[r]]
            for q in range(places[r], indptr[r + 1]):
                own[np.uint64(indices[q])] += value * values[q]
            places[r] += 1
