"""Open a matrix of counts: in memory, in a file or in the chunks of a dask array."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from scipy import sparse

from nkscore._counts._base import (
    Counts,
    Gram,
    GramOf,
    add_part,
    as_asked,
    columns_of,
    genes_per_cell,
    grouped,
    sums_over_genes,
    weight_table,
)
from nkscore._counts._dask import computed, edges_of, is_dask, over_chunks
from nkscore._counts._far import TASK_BYTES, far, map_pieces, piece_tasks, sum_of
from nkscore._counts._group_sums import GroupSums
from nkscore._counts._parts import Part, cut, part_of, positions, read_part
from nkscore._counts._sources import SparseRows, is_sparse, open_rows
from nkscore._counts._threads import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nkscore._counts._dask import DaskArray
    from nkscore._counts._far import Far
    from nkscore._counts._parts import Piece
    from nkscore._counts._sources import Rows
    from nkscore._types import CSC, CSR, Array, Cells, Floats, Ints, Matrix, Weights

    Check = Callable[[Array], None]

T = TypeVar("T")

#: Bytes of float64 values read at once.
BLOCK_BYTES = 8 << 20


def open_counts(
    matrix: object,
    where: str = "The matrix",
    *,
    check: Check | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Counts:
    """Return a matrix as :class:`Counts`, the one way to read cells × genes.

    Parameters
    ----------
    matrix
        Cells × genes: scipy, numpy, a matrix of an open h5ad or zarr store, or a dask array.
    where
        Name of the matrix, for errors.
    check
        Called with the stored values to raise an error if they are impossible: at once for a
        matrix in memory, part by part for others as they are read.
    block_bytes
        Bytes of float64 values read at once; chunks of dask arrays are taken whole.

    Raises
    ------
    TypeError
        If the matrix cannot be read row by row.
    """
    if is_dask(matrix):
        return _InChunks(matrix, where, check)
    if is_sparse(matrix):
        rows = matrix.tocsr()
        if check is not None:
            check(rows.data)
        return _InMemory(_canonical(rows, matrix), where, block_bytes)
    if isinstance(matrix, np.ndarray) and check is not None:
        check(matrix)
        check = None
    place = far(matrix)
    if place is not None:
        return _OnWorkers(place, open_rows(matrix), where, check)
    return _InBlocks(open_rows(matrix), where, check, block_bytes)


def _canonical(rows: CSR, given: CSR | CSC) -> sparse.csr_matrix:
    """Return CSR rows with each entry stored once and in order; never changes the input."""
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is given else rows
        rows.sum_duplicates()
    if type(rows) is not sparse.csr_matrix:
        rows = sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=rows.shape)
    # Already known, so scipy need not check it again.
    rows.has_canonical_format = True
    return rows


class _InMemory(Counts):
    """CSR in memory, which is read without threads and mostly without parts."""

    def __init__(self, matrix: sparse.csr_matrix, where: str, block_bytes: int) -> None:
        super().__init__(matrix.shape, matrix.dtype, where)
        self._matrix = matrix
        self._rows = SparseRows(self.shape, matrix.indptr, matrix.indices, matrix.data)
        self._block_bytes = block_bytes

    def map(
        self, task: Callable[[Part], T], cells: Cells | None = None, *, large: bool = False
    ) -> Iterator[T]:
        del large
        wanted = None if cells is None else positions(cells, self.shape[0])
        for piece in cut(self._rows.ranges(self._block_bytes), wanted):
            if piece is not None:
                yield task(part_of(self._slice(piece), piece))

    def _slice(self, piece: Piece) -> sparse.csr_matrix:
        indptr, indices, data = self._rows.read(piece.first, piece.last)
        shape = (piece.last - piece.first, self.shape[1])
        return sparse.csr_matrix((data, indices, indptr - indptr[0]), shape=shape)

    def rows(self, cells: Cells | None = None) -> sparse.csr_matrix:
        return self._matrix if cells is None else self._matrix[positions(cells, self.shape[0])]

    def columns(self, genes: Ints, cells: Cells | None = None) -> sparse.csr_matrix:
        genes = np.asarray(genes, dtype=np.int64)
        return columns_of(self._matrix, positions(cells, self.shape[0]), genes)

    def each_totals(self, asked: Sequence[tuple[Weights | None, Cells | None]]) -> list[Floats]:
        found = []
        for weights, cells in asked:
            table, rows = weight_table(weights, self.shape[1]), positions(cells, self.shape[0])
            found.append(as_asked(sums_over_genes(self._matrix, rows, table), weights))
        return found

    def detected(self) -> Floats:
        return genes_per_cell(self._matrix)

    def each_group_sums(
        self, asked: Sequence[tuple[Ints, int]], *, squares: bool = False
    ) -> list[GroupSums]:
        whole = Part(positions(None, self.shape[0]), positions(None, self.shape[0]), self._matrix)
        totals = [GroupSums(n, self.shape[1], squares) for _, n in asked]
        for total, (codes, _) in zip(totals, asked, strict=True):
            add_part(total, whole, np.asarray(codes), self.where)
        return totals


class _InBlocks(Counts):
    """Rows of a file or of a dense array; each thread reads one block and works on it."""

    def __init__(self, rows: Rows, where: str, check: Check | None, block_bytes: int) -> None:
        super().__init__(rows.shape, rows.dtype, where)
        self._rows = rows
        self._check = check
        self._block_bytes = block_bytes

    def n_bytes_to_load(self) -> int:
        return self._rows.n_values * (self.dtype.itemsize + 4)

    def map(
        self, task: Callable[[Part], T], cells: Cells | None = None, *, large: bool = False
    ) -> Iterator[T]:
        del large
        wanted = None if cells is None else positions(cells, self.shape[0])
        pieces = [p for p in cut(self._rows.ranges(self._block_bytes), wanted) if p is not None]
        jobs = ((p.places.size, partial(self._work, task, p)) for p in pieces)
        n_cells = sum(p.places.size for p in pieces)
        return in_order(jobs, n_cells=n_cells, label=f"reading {self.where}")

    def _work(self, task: Callable[[Part], T], piece: Piece) -> T:
        return task(read_part(self._rows, 0, piece, self._check))


class _ByDask(Counts):
    """Parts on which the active scheduler of dask works."""

    def each_group_sums(
        self, asked: Sequence[tuple[Ints, int]], *, squares: bool = False
    ) -> list[GroupSums]:
        totals = [GroupSums(n, self.shape[1], squares) for _, n in asked]
        work = _SumsOfPart([np.asarray(codes) for codes, _ in asked], self.where, squares)
        for found in self.map(work, grouped(asked), large=True):
            for total, (groups, part) in zip(totals, found, strict=True):
                total.sums[groups] += part.sums
                total.cells[groups] += part.cells
                if squares:
                    total.squares[groups] += part.squares
        return totals


class _OnWorkers(_ByDask):
    """Rows of a file that the workers of the user's client open themselves."""

    def __init__(self, place: Far, rows: Rows, where: str, check: Check | None) -> None:
        super().__init__(rows.shape, rows.dtype, where)
        self._place = place
        self._rows = rows
        self._check = check

    def n_bytes_to_load(self) -> int:
        return self._rows.n_values * (self.dtype.itemsize + 4)

    def _pieces(self, cells: Cells | None) -> list[Piece]:
        wanted = None if cells is None else positions(cells, self.shape[0])
        return [p for p in cut(self._rows.ranges(TASK_BYTES), wanted) if p is not None]

    def map(
        self, task: Callable[[Part], T], cells: Cells | None = None, *, large: bool = False
    ) -> Iterator[T]:
        pieces, label = self._pieces(cells), f"reading {self.where}"
        return map_pieces(self._place, task, pieces, check=self._check, label=label, large=large)

    def gram(self, genes: Ints) -> tuple[Floats, Floats]:
        tasks, n_cells = piece_tasks(self._place, GramOf(genes), self._pieces(None), self._check)
        total: Gram = next(iter(computed([sum_of(tasks)], [sum(n_cells)], label="components")))
        return total.whole()


class _InChunks(_ByDask):
    """Chunks of a dask array."""

    def __init__(self, matrix: DaskArray, where: str, check: Check | None) -> None:
        super().__init__(matrix.shape, matrix.dtype, where)
        self._matrix = matrix
        self._check = check

    def map(
        self, task: Callable[[Part], T], cells: Cells | None = None, *, large: bool = False
    ) -> Iterator[T]:
        edges = edges_of(self._matrix)
        wanted = None if cells is None else positions(cells, self.shape[0])
        found = zip(edges[:-1], cut(itertools.pairwise(edges), wanted), strict=True)
        pieces = [None if piece is None else (start, piece) for start, piece in found]
        work = _OnChunk(task, self._check)
        return over_chunks(self._matrix, work, pieces, label=f"reading {self.where}", large=large)


@dataclass(frozen=True)
class _OnChunk(Generic[T]):
    task: Callable[[Part], T]
    check: Check | None

    def __call__(self, chunk: Matrix, wanted: tuple[int, Piece]) -> T:
        start, piece = wanted
        return self.task(read_part(open_rows(chunk), start, piece, self.check))


@dataclass(frozen=True)
class _SumsOfPart:
    """Sums of one part for its groups only, so that fewer numbers are sent back."""

    codes: list[Ints]
    where: str
    squares: bool

    def __call__(self, part: Part) -> list[tuple[Ints, GroupSums]]:
        found = []
        for codes in self.codes:
            own = codes[part.cells]
            present, number = np.unique(own, return_inverse=True)
            groups = present[present >= 0]
            total = GroupSums(groups.size, part.matrix.shape[1], self.squares)
            add_part(total, part, number - (present.size - groups.size), self.where)
            found.append((groups, total))
        return found
