"""Counts of marker genes in blocks of cells of one donor and nearly one depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Matrix

_LEAST_BINS, _MOST_BINS = 10, 24
_BLOCK_CELLS: Final = 60
_LEAST_HALF: Final = 0.25
#: Natural-log range of depths in a block.
_WIDEST_BIN: Final = 0.15
#: Up to this number of counts, zeros are stored, which is faster.
_DENSE_SIZE: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Block:
    """Cells of one donor and nearly one depth.

    ``rows``: their places in :class:`MarkerCells`. ``depth``: mean total count. ``counts``: cells ×
    genes. ``squares``: sum of squared counts per gene.
    """

    rows: slice
    donor: int
    depth: float
    counts: Floats | sparse.csr_matrix
    squares: Floats
    #: Log likelihood of each state, and of none, from other genes: cells × (states + 1).
    other: Floats | None = None


@dataclass(frozen=True, slots=True)
class MarkerCells:
    """Counts of marker genes in blocks of cells, with the position and half of each cell."""

    blocks: list[Block]
    order: Ints
    half: Ints
    n_donors: int

    @classmethod
    def of(cls, counts: Matrix, depth: Floats, donor: Ints) -> MarkerCells:
        """Sort cells into blocks, independent of their input order."""
        n_donors = int(donor.max()) + 1
        key = _keys(depth, donor)
        matrix = sparse.csr_matrix(counts, dtype=np.float64)
        total = np.asarray(matrix.sum(axis=1)).ravel()
        order = np.lexsort((total, depth, key))
        matrix = matrix[order]
        matrix.eliminate_zeros()
        matrix.sort_indices()
        starts = np.unique(key[order], return_index=True)[1]
        ends = np.append(starts[1:], depth.size)
        dense = matrix.shape[0] * matrix.shape[1] <= _DENSE_SIZE
        blocks = []
        for first, last in zip(starts, ends, strict=True):
            part = matrix[first:last]
            blocks.append(
                Block(
                    slice(int(first), int(last)),
                    int(donor[order[first]]),
                    float(depth[order[first:last]].mean()),
                    part.toarray() if dense else part,
                    _squares(part),
                )
            )
        return cls(blocks, order, half_of(depth)[order], n_donors)

    def in_half(self, number: int) -> MarkerCells:
        """Return the cells of one half."""
        return self._part(self.half == number)

    def sampled(self, most: int) -> MarkerCells:
        """Return at most this many cells, spread evenly over donors and depths."""
        n_cells = self.order.size
        if n_cells <= most:
            return self
        inside = np.zeros(n_cells, dtype=bool)
        inside[np.linspace(0, n_cells - 1, most).astype(np.int64)] = True
        return self._part(inside)

    def _part(self, inside: Bools) -> MarkerCells:
        blocks, start = [], 0
        dense = int(inside.sum()) * self.blocks[0].counts.shape[1] <= _DENSE_SIZE
        for block in self.blocks:
            chosen = np.flatnonzero(inside[block.rows])
            if chosen.size:
                part, stop = block.counts[chosen], start + int(chosen.size)
                part = part.toarray() if dense and not isinstance(part, np.ndarray) else part
                other = None if block.other is None else block.other[chosen]
                blocks.append(
                    replace(
                        block,
                        rows=slice(start, stop),
                        counts=part,
                        other=other,
                        squares=_squares(part),
                    )
                )
                start = stop
        return MarkerCells(blocks, self.order[inside], self.half[inside], self.n_donors)

    def informed(self, other: Floats) -> MarkerCells:
        """Return the cells with other evidence per state: cells (input order) × (states + 1)."""
        ordered = other[self.order]
        blocks = [replace(block, other=ordered[block.rows]) for block in self.blocks]
        return replace(self, blocks=blocks)

    @property
    def depths(self) -> Floats:
        """Depth of each block."""
        return np.array([block.depth for block in self.blocks])

    @property
    def donors(self) -> Ints:
        """Donor of each block."""
        return np.array([block.donor for block in self.blocks], dtype=np.int64)


def alike(depth: Floats, donor: Ints) -> list[Ints]:
    """Return the positions of the cells of each donor and nearly one depth."""
    key = _keys(depth, donor)
    order = np.lexsort((depth, key))
    starts = np.unique(key[order], return_index=True)[1]
    return np.split(order, starts[1:])


def _keys(depth: Floats, donor: Ints) -> Ints:
    n_donors = int(donor.max()) + 1
    n_bins = int(np.clip(depth.size // (_BLOCK_CELLS * n_donors), _LEAST_BINS, _MOST_BINS))
    edges = _edges(depth, n_bins)
    return np.asarray(donor * (edges.size + 1) + np.searchsorted(edges, depth, side="right"))


def half_of(depth: Floats) -> Ints:
    """Return 0 or 1 for each cell, depending only on its depth."""
    half = np.rint(depth).astype(np.int64) % 2
    if _LEAST_HALF <= half.mean() <= 1 - _LEAST_HALF:
        return half
    # Depths that are all even, as with doubled counts, define no halves: take every other cell.
    ranked = np.empty(depth.size, dtype=np.int64)
    ranked[np.argsort(depth, kind="stable")] = np.arange(depth.size)
    return ranked % 2


def _squares(counts: Matrix) -> Floats:
    return np.asarray(sparse.csr_matrix(counts).power(2).sum(axis=0), dtype=np.float64).ravel()


def _edges(depth: Floats, n_bins: int) -> Floats:
    """Cut depths into bins of equally many cells; split wide bins, for example in the tails.

    Within a wide bin the deeper cells have more of every marker, which would look like a state.
    """
    edges = np.quantile(depth, np.linspace(0, 1, n_bins + 1))
    pieces = [
        np.geomspace(low, high, int(np.ceil(np.log(high / low) / _WIDEST_BIN)) + 1)[:-1]
        for low, high in pairwise(edges)
        if high > low
    ]
    return np.concatenate([*pieces, edges[-1:]])[1:-1]
