"""Compiled moments over groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from nkscore._types import Array


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
