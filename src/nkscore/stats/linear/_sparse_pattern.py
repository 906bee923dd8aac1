"""Nonzero pattern of the normal equations, found once for all genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints


@dataclass(frozen=True, slots=True)
class Pattern:
    """Order of elimination of the columns, and the nonzero entries below the diagonal.

    ``order[k]`` is the column of the design that is eliminated as the k-th. Column k of the factor
    has its entries in rows ``rows[starts[k]:starts[k + 1]]``, ascending; ``place[i, k]`` is the
    number of the entry (i, k) among all, -1 if it stays zero, with the diagonal at 0 to p - 1.
    """

    order: Ints
    starts: Ints
    rows: Ints
    place: Ints
    size: int


def elimination_pattern(design: Floats) -> Pattern:
    """Return the pattern of X'WX for any weights.

    Columns with the fewest neighbors are eliminated first: columns of one line never interact with
    those of another, so a model of many lines costs no more than separate models.
    """
    nonzero = (design != 0).astype(np.float64)
    meets = (nonzero.T @ nonzero) > 0
    n = design.shape[1]
    left = np.ones(n, dtype=bool)
    order = np.zeros(n, dtype=np.int64)
    below: list[Ints] = []
    for k in range(n):
        degree = np.where(left, (meets & left).sum(axis=1), n + 1)
        chosen = int(np.argmin(degree))
        left[chosen] = False
        neighbors = np.flatnonzero(meets[chosen] & left)
        meets[np.ix_(neighbors, neighbors)] = True
        order[k] = chosen
        below.append(neighbors)
    return _numbered(order, below)


class KernelDesign(NamedTuple):
    """A design as the kernels take it: its rows, then the pattern; see ``Pattern``.

    ``back`` puts coefficients into the order of the design's columns.
    """

    arrays: tuple[Ints, Ints, Floats, Ints, Ints, Ints, int]
    back: Ints


def kernel_design(design: Floats) -> KernelDesign:
    """Return a design (samples × coefficients) in CSR form, its columns in order of elimination."""
    pattern = elimination_pattern(design)
    rows = sparse.csr_array(design[:, pattern.order].astype(np.float64))
    arrays = (
        rows.indptr.astype(np.int64),
        rows.indices.astype(np.int64),
        rows.data,
        pattern.starts,
        pattern.rows,
        pattern.place,
        pattern.size,
    )
    return KernelDesign(arrays, np.argsort(pattern.order))


def _numbered(order: Ints, below: list[Ints]) -> Pattern:
    n = order.size
    turn = np.empty(n, dtype=np.int64)
    turn[order] = np.arange(n)
    rows = [np.sort(turn[neighbors]) for neighbors in below]
    starts = np.concatenate([[0], np.cumsum([r.size for r in rows])]).astype(np.int64)
    place = np.full((n, n), -1, dtype=np.int64)
    place[np.arange(n), np.arange(n)] = np.arange(n)
    for k, found in enumerate(rows):
        place[found, k] = n + starts[k] + np.arange(found.size)
    flat = np.concatenate([*rows, np.zeros(0)]).astype(np.int64)
    return Pattern(order, starts, flat, place, int(n + starts[-1]))
