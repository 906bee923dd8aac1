"""Cells that are read together, and the form in which parts are returned."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from nkscore._counts._sources import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nkscore._counts._sources import Rows
    from nkscore._types import Array, Cells, Ints


class Part(NamedTuple):
    """Some of the requested cells, in the order of the whole matrix.

    ``cells`` are their rows in the whole matrix, ``places`` their places among the requested cells.
    ``matrix`` is CSR with each entry stored once and in order; do not change it.
    """

    cells: Ints
    places: Ints
    matrix: sparse.csr_matrix


class Piece(NamedTuple):
    """Rows to read at once, the requested ones among them (``None``: all), and their places."""

    first: int
    last: int
    local: Ints | None
    places: Ints

    @property
    def cells(self) -> Ints:
        """Requested rows."""
        local = np.arange(self.last - self.first) if self.local is None else self.local
        return self.first + local


def positions(cells: Cells | None, n_cells: int) -> Ints:
    """Return the positions of cells from positions, a mask, or ``None`` for all."""
    if cells is None:
        return np.arange(n_cells)
    found = np.asarray(cells)
    return np.flatnonzero(found) if found.dtype == bool else found.astype(np.int64, copy=False)


def cut(ranges: Iterable[tuple[int, int]], cells: Ints | None) -> Iterator[Piece | None]:
    """Yield the piece to read from each range of rows, ``None`` for nothing."""
    if cells is None:
        for start, stop in ranges:
            yield Piece(start, stop, None, np.arange(start, stop))
        return
    ranges = list(ranges)
    order = np.argsort(cells, kind="stable")
    ranked = cells[order]
    edges = np.searchsorted(ranked, [0, *(stop for _, stop in ranges)]).tolist()
    for low, high in itertools.pairwise(edges):
        yield _piece(ranked[low:high], order[low:high]) if low < high else None


def _piece(cells: Ints, places: Ints) -> Piece:
    first = int(cells[0])
    apart = (np.diff(cells) != 1).any()
    return Piece(first, int(cells[-1]) + 1, cells - first if apart else None, places)


def read_part(rows: Rows, start: int, piece: Piece, check: Callable[[Array], None] | None) -> Part:
    """Read a piece; ``rows`` begin at row ``start`` of the whole matrix."""
    n_genes = rows.shape[1]
    read = rows.read(piece.first - start, piece.last - start)
    indptr, indices, data = tidy(read, n_genes, piece.first)
    if check is not None:
        check(data)
    matrix = sparse.csr_matrix((data, indices, indptr), shape=(indptr.size - 1, n_genes))
    return part_of(matrix, piece)


def part_of(matrix: sparse.csr_matrix, piece: Piece) -> Part:
    """Return the requested rows of a piece."""
    if piece.local is not None:
        matrix = matrix[piece.local]
    # Already known, so scipy need not check it again.
    matrix.has_canonical_format = True
    return Part(piece.cells, piece.places, matrix)
