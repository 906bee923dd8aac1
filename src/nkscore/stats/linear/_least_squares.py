"""Compiled weighted least squares, gene by gene, on a pattern that all genes share.

A = X'WX, scaled to a unit diagonal, is factored as L D L'. Columns that the earlier ones determine
are excluded, which yields one of many solutions. Fitted values, residuals and rank are the same for
all, and ``_mark_lost`` finds the coefficients that depend on the choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from nkscore._types import Array

#: Pivots of the scaled matrix up to this value mark columns that others determine.
_LEAST_PIVOT: Final = 1e-10
#: Entry of a null vector above which the coefficient depends on the choice.
_TOUCHED: Final = 1e-5


@compiled("void(float64[::1], int64[::1], int64[::1], int64, boolean[::1], boolean[::1])")
def _mark_lost(  # noqa: PLR0917 (numba)
    a: Array, starts: Array, rows: Array, k: int, kept: Array, lost: Array
) -> None:
    """Mark coefficients in the null vector that ends in column ``k``."""
    n = kept.size
    null = np.zeros(k + 1)
    null[k] = 1.0
    lost[k] = True
    for j in range(k - 1, -1, -1):
        if not kept[j]:
            continue
        value = 0.0
        for e in range(starts[j], starts[j + 1]):
            if rows[e] <= k:
                value -= a[n + e] * null[rows[e]]
        null[j] = value
        if abs(value) > _TOUCHED:
            lost[j] = True


@compiled("void(float64[::1], int64[::1], int64[:,::1], int64)")
def _drop(a: Array, starts: Array, place: Array, k: int) -> None:
    """Clear the row and the column of a column that is excluded."""
    n = place.shape[0]
    for j in range(k):
        if place[k, j] >= 0:
            a[place[k, j]] = 0.0
    for e in range(starts[k], starts[k + 1]):
        a[n + e] = 0.0


@compiled("void(float64[::1], int64[::1], int64[::1], int64[:,::1], int64)")
def _eliminate(a: Array, starts: Array, rows: Array, place: Array, k: int) -> None:
    """Eliminate column ``k`` from the following columns."""
    n = place.shape[0]
    for e in range(starts[k], starts[k + 1]):
        factor = a[n + e] / a[k]
        for f in range(e, starts[k + 1]):
            a[place[rows[f], rows[e]]] -= factor * a[n + f]
    for e in range(starts[k], starts[k + 1]):
        a[n + e] /= a[k]


@compiled("void(float64[::1], int64[::1], int64[::1], int64[:,::1], boolean[::1], boolean[::1])")
def _factor(  # noqa: PLR0917 (numba)
    a: Array, starts: Array, rows: Array, place: Array, kept: Array, lost: Array
) -> None:
    """Turn ``a`` (entries of A on the pattern) into D on the diagonal and L below it."""
    for k in range(kept.size):
        if not kept[k]:
            continue
        if a[k] > _LEAST_PIVOT:
            _eliminate(a, starts, rows, place, k)
        else:
            kept[k] = False
            _mark_lost(a, starts, rows, k, kept, lost)
            _drop(a, starts, place, k)


@compiled("void(float64[::1], int64[::1], int64[::1], boolean[::1], float64[::1])")
def _solve(a: Array, starts: Array, rows: Array, kept: Array, b: Array) -> None:
    """Replace ``b`` by the solution, zero for excluded columns."""
    n = kept.size
    for k in range(n):
        if not kept[k]:
            b[k] = 0.0
        for e in range(starts[k], starts[k + 1]):
            b[rows[e]] -= a[n + e] * b[k]
    for k in range(n - 1, -1, -1):
        if kept[k]:
            b[k] /= a[k]
            for e in range(starts[k], starts[k + 1]):
                b[k] -= a[n + e] * b[rows[e]]


@compiled("void(float64[::1], int64[::1], int64[::1], int64[:,::1], boolean[::1], float64[::1])")
def _invert(  # noqa: PLR0917 (numba)
    a: Array, starts: Array, rows: Array, place: Array, kept: Array, z: Array
) -> None:
    """Fill ``z`` with the entries of the inverse on the pattern (Takahashi's recurrence)."""
    n = kept.size
    for k in range(n - 1, -1, -1):
        for e in range(starts[k], starts[k + 1]):
            value = 0.0
            i = rows[e]
            for f in range(starts[k], starts[k + 1]):
                j = rows[f]
                value -= a[n + f] * z[place[max(i, j), min(i, j)]]
            z[n + e] = value
        value = 1.0 / a[k] if kept[k] else 0.0
        for e in range(starts[k], starts[k + 1]):
            value -= a[n + e] * z[n + e]
        z[k] = value


@compiled(
    "int64(float64[::1], float64[::1], int64[::1], int64[::1], float64[::1], int64[:,::1],"
    "float64[::1], float64[::1])"
)
def _assemble(  # noqa: PLR0917 (numba)
    y: Array,
    weights: Array,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    place: Array,
    a: Array,
    b: Array,
) -> int:
    """Fill ``a`` with X'WX and ``b`` with X'Wy; return the number of samples used."""
    a[:] = 0.0
    b[:] = 0.0
    used = 0
    for s in range(y.size):
        if weights[s] <= 0.0:
            continue
        used += 1
        for e in range(x_starts[s], x_starts[s + 1]):
            wx = weights[s] * x_values[e]
            b[x_columns[e]] += wx * y[s]
            for f in range(e, x_starts[s + 1]):
                a[place[x_columns[f], x_columns[e]]] += wx * x_values[f]
    return used


@compiled(
    "void(float64[::1], float64[::1], float64[::1], int64[::1], int64[::1], boolean[::1],"
    "boolean[::1])"
)
def _scale(  # noqa: PLR0917 (numba)
    a: Array, b: Array, scale: Array, starts: Array, rows: Array, kept: Array, lost: Array
) -> None:
    """Scale ``a`` to a unit diagonal; columns of zeros are excluded."""
    n = kept.size
    for k in range(n):
        kept[k] = a[k] > 0.0
        lost[k] = not kept[k]
        scale[k] = 1.0 / np.sqrt(a[k]) if kept[k] else 0.0
        b[k] *= scale[k]
    for k in range(n):
        a[k] *= scale[k] * scale[k]
        for e in range(starts[k], starts[k + 1]):
            a[n + e] *= scale[k] * scale[rows[e]]


@compiled(
    "float64(float64[::1], float64[::1], int64[::1], int64[::1], float64[::1], float64[::1],"
    "float64[::1])"
)
def _residual(  # noqa: PLR0917 (numba)
    y: Array,
    weights: Array,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    b: Array,
    fitted: Array,
) -> float:
    """Fill ``fitted`` and return the weighted sum of squared residuals."""
    total = 0.0
    for s in range(y.size):
        value = 0.0
        for e in range(x_starts[s], x_starts[s + 1]):
            value += x_values[e] * b[x_columns[e]]
        fitted[s] = value
        if weights[s] > 0.0:
            total += weights[s] * (y[s] - value) ** 2
    return total


@compiled(
    "void(float64[:,::1], float64[:,::1], int64[::1], int64[::1], float64[::1],"
    "int64[::1], int64[::1], int64[:,::1], int64,"
    "float64[:,::1], float64[:,::1], float64[::1], float64[::1], float64[:,::1])"
)
def fit_genes(  # noqa: PLR0917 (numba)
    y: Array,
    weights: Array,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    starts: Array,
    rows: Array,
    place: Array,
    size: int,
    coefficients: Array,
    unscaled: Array,
    variance: Array,
    df: Array,
    fitted: Array,
) -> None:
    """Fit all genes; ``x_*`` is the design in CSR form, its columns in order of elimination."""
    n = place.shape[0]
    a, z, b, scale = np.zeros(size), np.zeros(size), np.zeros(n), np.zeros(n)
    kept, lost = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    for g in range(y.shape[0]):
        used = _assemble(y[g], weights[g], x_starts, x_columns, x_values, place, a, b)
        _scale(a, b, scale, starts, rows, kept, lost)
        _factor(a, starts, rows, place, kept, lost)
        _solve(a, starts, rows, kept, b)
        _invert(a, starts, rows, place, kept, z)
        rank = 0
        for k in range(n):
            rank += kept[k]
            b[k] *= scale[k]
            coefficients[g, k] = np.nan if lost[k] else b[k]
            unscaled[g, k] = np.nan if lost[k] else z[k] * scale[k] * scale[k]
        rss = _residual(y[g], weights[g], x_starts, x_columns, x_values, b, fitted[g])
        df[g] = used - rank
        variance[g] = rss / (used - rank) if used > rank else np.nan
