"""Kernels that split the counts of a droplet between two profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from nkscore._types import Array

_SPARSE = "Tuple((int64[::1], int32[::1], float64[::1]))"
_ROUNDS = 30


_CELL = "Tuple((int32[::1], float64[::1]))"
_LINE = "Tuple((float64[::1], float64[::1], float64[::1]))"


@compiled(f"UniTuple(float64, 2)({_CELL}, {_LINE}, float64)")
def _slope(
    cell: tuple[Array, Array], line: tuple[Array, Array, Array], share: float
) -> tuple[float, float]:
    """Return slope and curvature of the log likelihood at one share."""
    genes, values = cell
    base, difference, rest = line
    step = rest[2] / (rest[1] + share * rest[2])
    slope, curve = rest[0] * step, -rest[0] * step * step
    for k in range(genes.size):
        gene = genes[k]
        step = difference[gene] / (base[gene] + share * difference[gene])
        slope += values[k] * step
        curve -= values[k] * step * step
    return slope, curve


@compiled(f"float64({_CELL}, {_LINE}, float64)")
def _level(cell: tuple[Array, Array], line: tuple[Array, Array, Array], share: float) -> float:
    genes, values = cell
    base, difference, rest = line
    level: float = rest[0] * np.log(rest[1] + share * rest[2])
    for k in range(genes.size):
        level += values[k] * np.log(base[genes[k]] + share * difference[genes[k]])
    return level


@compiled(f"float64({_CELL}, {_LINE})")
def _best(cell: tuple[Array, Array], line: tuple[Array, Array, Array]) -> float:
    """Return the most likely share: Newton's step, or halving where it leaves the limits."""
    low, high, at = 0.0, 1.0, 0.5
    for _ in range(_ROUNDS):
        slope, curve = _slope(cell, line, at)
        if slope > 0.0:
            low = at
        else:
            high = at
        step = at - slope / curve if curve < 0.0 else 0.5 * (low + high)
        if step <= low or step >= high:
            step = 0.5 * (low + high)
        if abs(step - at) < 1e-3:
            break
        at = step
    return at


@compiled(
    f"void({_SPARSE}, UniTuple(float64[::1], 2), Tuple((float64[::1], float64[:, ::1],"
    " float64[::1])), UniTuple(float64[:, ::1], 2))"
)
def fit_shares(
    rows: tuple[Array, Array, Array],
    cells: tuple[Array, Array],
    profiles: tuple[Array, Array, Array],
    out: tuple[Array, Array],
) -> None:
    """Fit the share of the first profile against each of the second ones, with ambient RNA.

    ``cells``: counts of all other genes, ambient share. ``profiles``: first, second ones, ambient;
    their last entry holds all other genes. ``out``: share and log likelihood, cells × second ones.
    """
    indptr, indices, data = rows
    others, ambient = cells
    first, seconds, soup = profiles
    last = first.size - 1
    base, difference, rest = np.empty(last), np.empty(last), np.empty(3)
    for cell in range(others.size):
        here = slice(indptr[cell], indptr[cell + 1])
        own = (indices[here], data[here])
        kept, added = 1.0 - ambient[cell], ambient[cell]
        rest[0] = others[cell]
        for which in range(seconds.shape[0]):
            second = seconds[which]
            for gene in own[0]:
                base[gene] = kept * second[gene] + added * soup[gene] + 1e-12
                difference[gene] = kept * (first[gene] - second[gene])
            rest[1] = kept * second[last] + added * soup[last] + 1e-12
            rest[2] = kept * (first[last] - second[last])
            line = (base, difference, rest)
            out[0][cell, which] = _best(own, line)
            out[1][cell, which] = _level(own, line, out[0][cell, which])
