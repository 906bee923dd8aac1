"""Counts of cells × genes, with the same methods for memory, files and dask arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

from nkscore._counts._group_sums import GroupSums
from nkscore._counts._memory import check_fits
from nkscore._counts._parts import Part, positions
from nkscore._counts._scales import check_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nkscore._types import CSR, Bools, Cells, Floats, Ints, Weights

T = TypeVar("T")


class Counts(ABC):
    """Cells × genes; only the requested part is loaded into memory. See ``open_counts``.

    Results do not depend on where the matrix is stored or how it is cut into parts: sums are of
    whole numbers, and everything else is computed cell by cell.

    Parameters
    ----------
    shape
        Numbers of cells and genes.
    dtype
        Type of the values.
    where
        Name of the matrix, for errors.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any], where: str) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = dtype
        self.where = where

    @abstractmethod
    def map(
        self, task: Callable[[Part], T], cells: Cells | None = None, *, large: bool = False
    ) -> Iterator[T]:
        """Yield ``task(part)`` for all parts with requested cells, in the order of the matrix.

        Parameters
        ----------
        task
            Runs in several threads, or is sent to the workers of a cluster.
        cells
            Positions of cells or a mask; all cells by default.
        large
            Whether results are so large that only a few fit in memory at once.
        """

    def parts(self, cells: Cells | None = None) -> Iterator[Part]:
        """Yield the requested cells, part by part, in the order of the matrix."""
        return self.map(_itself, cells, large=True)

    def check(self) -> None:
        """Read the whole matrix once, which raises an error for impossible values."""
        for _ in self.map(_nothing):
            pass

    def rows(self, cells: Cells | None = None) -> sparse.csr_matrix:
        """Return the requested cells in their order, in memory; do not change the result."""
        return self._stacked(self.parts(cells), self.shape[1])

    def whole(self, purpose: str) -> sparse.csr_matrix:
        """Return all cells, in memory, for a step that cannot read them part by part.

        Raises
        ------
        MemoryNeededError
            If they are in a file and do not fit.
        """
        check_fits(self.n_bytes_to_load(), purpose)
        return self.rows()

    def n_bytes_to_load(self) -> int:
        """Return how much memory the matrix would take that is not in memory yet."""
        return 0

    def columns(self, genes: Ints, cells: Cells | None = None) -> sparse.csr_matrix:
        """Return some genes of all cells, or of the requested ones, in the given orders."""
        genes = np.asarray(genes, dtype=np.int64)
        return self._stacked(self.map(_Columns(genes), cells), genes.size)

    def totals(self, weights: Weights | None = None, cells: Cells | None = None) -> Floats:
        """Return the sum over genes of each cell.

        Parameters
        ----------
        weights
            One number or bool per gene, or genes × sets; 1 for all genes by default.
        cells
            Positions of cells or a mask; all cells by default.

        Returns
        -------
        One number per cell, or cells × sets where ``weights`` are genes × sets.
        """
        return self.each_totals([(weights, cells)])[0]

    def each_totals(self, asked: Sequence[tuple[Weights | None, Cells | None]]) -> list[Floats]:
        """Return :meth:`totals` for several pairs of weights and cells, in one pass."""
        wanted = [_Wanted.of(weights, cells, self.shape) for weights, cells in asked]
        found = [np.zeros((own.cells.size, own.weights.shape[1])) for own in wanted]
        needed = np.zeros(self.shape[0], dtype=bool)
        for own in wanted:
            needed[own.cells] = True
        for sums in self.map(_Totals(wanted), None if needed.all() else needed):
            for out, (places, values) in zip(found, sums, strict=True):
                out[places] = values
        return [as_asked(out, weights) for out, (weights, _) in zip(found, asked, strict=True)]

    def detected(self) -> Floats:
        """Return the number of genes with a count in each cell."""
        found = np.zeros(self.shape[0])
        for cells, n_genes in self.map(_detected):
            found[cells] = n_genes
        return found

    def group_sums(self, codes: Ints, n_groups: int, *, squares: bool = False) -> GroupSums:
        """Return sums of counts and numbers of cells with a count, groups × genes.

        Parameters
        ----------
        codes
            Group of each cell, 0 to ``n_groups`` − 1, or -1 for none; cells without a group are
            not read.
        squares
            Whether to sum squared counts per gene, too.

        Raises
        ------
        WrongScaleError
            If a cell of a group has values other than whole numbers from zero.
        """
        return self.each_group_sums([(codes, n_groups)], squares=squares)[0]

    def each_group_sums(
        self, asked: Sequence[tuple[Ints, int]], *, squares: bool = False
    ) -> list[GroupSums]:
        """Return :meth:`group_sums` for several groupings, in one pass."""
        totals = [GroupSums(n, self.shape[1], squares) for _, n in asked]
        for part in self.parts(grouped(asked)):
            for total, (codes, _) in zip(totals, asked, strict=True):
                add_part(total, part, codes[part.cells], self.where)
        return totals

    def gram(self, genes: Ints) -> tuple[Floats, Floats]:
        """Return the products of pairs of genes summed over all cells, and the sums of the genes.

        Parameters
        ----------
        genes
            Positions of genes, ascending.

        Returns
        -------
        genes × genes, and one number per gene. Cells are added one after the other.
        """
        total = Gram.none(genes.size)
        for part in self.map(_Columns(genes), large=True):
            total.add(part.matrix)
        return total.whole()

    def _stacked(self, parts: Iterator[Part], n_genes: int) -> sparse.csr_matrix:
        """Return parts as one matrix, with rows in the requested order."""
        found = list(parts)
        if not found:
            return sparse.csr_matrix((0, n_genes), dtype=self.dtype)
        stacked: sparse.csr_matrix = sparse.vstack([part.matrix for part in found], format="csr")
        places = np.concatenate([part.places for part in found])
        in_order = (np.diff(places) > 0).all()
        return stacked if in_order else stacked[np.argsort(places, kind="stable")]


def grouped(asked: Sequence[tuple[Ints, int]]) -> Bools:
    """Return which cells are in a group of any of the groupings."""
    return np.asarray(np.any([np.asarray(codes) >= 0 for codes, _ in asked], axis=0))


def add_part(total: GroupSums, part: Part, codes: Ints, where: str) -> None:
    """Add the cells of a part to their groups; ``codes`` has one entry per cell of the part."""
    rows = part.matrix
    broken = total.add(rows.indptr, rows.indices, rows.data, codes=codes)
    if broken >= 0:
        check_counts(rows[[broken]].data, f"{where} (cell {part.cells[broken]})")


def sums_over_genes(matrix: sparse.csr_matrix, rows: Ints, weights: Floats | CSR) -> Floats:
    """Return rows × sets: sums weighted by ``weights``, genes × sets, dense or CSR."""
    from nkscore._counts import _kernels as kernels

    arrays = kernels.as_kernels_take(matrix.indptr, matrix.indices, matrix.data)
    out = np.zeros((rows.size, weights.shape[1]))
    if not isinstance(weights, np.ndarray):
        sets = kernels.as_kernels_take(weights.indptr, weights.indices, weights.data)
        kernels.add_over_sets(*arrays, rows, *sets, out)
    else:
        kernels.add_over_genes(*arrays, rows, weights, out)
    return out


def columns_of(matrix: sparse.csr_matrix, rows: Ints, genes: Ints) -> sparse.csr_matrix:
    """Return ``matrix[rows][:, genes]`` without a copy of the rows."""
    from nkscore._counts import _kernels as kernels

    column_of = np.full(matrix.shape[1], -1, dtype=np.int32)
    column_of[genes] = np.arange(genes.size, dtype=np.int32)
    if (column_of[genes] != np.arange(genes.size)).any():
        # A gene is requested twice.
        return matrix[rows][:, genes]
    indptr, indices, values = kernels.as_kernels_take(matrix.indptr, matrix.indices, matrix.data)
    found = np.empty(rows.size + 1, dtype=np.int64)
    kernels.find_columns(indptr, indices, rows, column_of, found)
    columns, taken = np.empty(found[-1], dtype=np.int32), np.empty(found[-1], dtype=values.dtype)
    kernels.take_columns(indptr, indices, values, rows, column_of, columns, taken)
    taken = taken.astype(matrix.dtype, copy=False)
    return sparse.csr_matrix((taken, columns, found), shape=(rows.size, genes.size))


def weight_table(weights: Weights | None, n_genes: int) -> Floats | CSR:
    """Return weights as genes × sets, float64, dense or CSR like the input."""
    if weights is None:
        return np.ones((n_genes, 1))
    if not isinstance(weights, np.ndarray):
        return sparse.csr_matrix(weights, dtype=np.float64)
    return np.require(weights.reshape(n_genes, -1), np.float64, ["C", "W"])


def as_asked(sums: Floats, weights: Weights | None) -> Floats:
    """Return one number per cell unless ``weights`` has several sets."""
    return sums[:, 0] if weights is None or weights.ndim == 1 else sums


@dataclass(frozen=True)
class Gram:
    """Running sums of products of pairs of genes, upper half only, and of genes."""

    products: Floats
    sums: Floats

    @classmethod
    def none(cls, n_genes: int) -> Gram:
        """Return the sums over no cell."""
        return cls(np.zeros((n_genes, n_genes)), np.zeros(n_genes))

    def add(self, matrix: sparse.csr_matrix) -> None:
        """Add cells, whose entries ascend."""
        from nkscore._counts import _kernels as kernels

        values = matrix.data.astype(np.float64)
        indptr, indices, values = kernels.as_kernels_take(matrix.indptr, matrix.indices, values)
        by_gene = matrix.tocsc()
        kernels.add_gram(
            indptr,
            indices,
            values,
            np.require(by_gene.indptr, np.int64, ["C", "W"]),
            np.require(by_gene.indices, np.int32, ["C", "W"]),
            indptr[:-1].copy(),
            self.products,
        )
        np.add.at(self.sums, indices, values)

    def __add__(self, other: Gram) -> Gram:
        """Return the sums over the cells of both."""
        return Gram(self.products + other.products, self.sums + other.sums)

    def whole(self) -> tuple[Floats, Floats]:
        """Return both halves of the products, and the sums."""
        return self.products + np.triu(self.products, 1).T, self.sums


@dataclass(frozen=True)
class GramOf:
    """The sums of one part, as a task."""

    genes: Ints

    def __call__(self, part: Part) -> Gram:
        """Return the sums over the cells of a part."""
        total = Gram.none(self.genes.size)
        total.add(columns_of(part.matrix, np.arange(part.cells.size), self.genes))
        return total


def _itself(part: Part) -> Part:
    return part


def _nothing(_: Part) -> None:
    pass


@dataclass(frozen=True)
class _Columns:
    genes: Ints

    def __call__(self, part: Part) -> Part:
        rows = np.arange(part.cells.size)
        return part._replace(matrix=columns_of(part.matrix, rows, self.genes))


@dataclass(frozen=True)
class _Wanted:
    """Weights, the sorted cells to sum with them, and the place of each cell in the result."""

    weights: Floats | CSR
    cells: Ints
    places: Ints

    @classmethod
    def of(cls, weights: Weights | None, cells: Cells | None, shape: tuple[int, int]) -> _Wanted:
        rows = positions(cells, shape[0])
        places = np.argsort(rows, kind="stable")
        return cls(weight_table(weights, shape[1]), rows[places], places)

    def sums(self, part: Part) -> tuple[Ints, Floats]:
        """Return places and sums of the cells of a part."""
        here = slice(*np.searchsorted(self.cells, [part.cells[0], part.cells[-1] + 1]))
        rows = np.searchsorted(part.cells, self.cells[here])
        return self.places[here], sums_over_genes(part.matrix, rows, self.weights)


@dataclass(frozen=True)
class _Totals:
    wanted: list[_Wanted]

    def __call__(self, part: Part) -> list[tuple[Ints, Floats]]:
        return [own.sums(part) for own in self.wanted]


def genes_per_cell(matrix: sparse.csr_matrix) -> Floats:
    """Return how many values above zero each row has."""
    from nkscore._counts._kernels import as_kernels_take, count_genes

    indptr, _, values = as_kernels_take(matrix.indptr, matrix.indices, matrix.data)
    out = np.zeros(matrix.shape[0])
    count_genes(indptr, values, out)
    return out


def _detected(part: Part) -> tuple[Ints, Floats]:
    return part.cells, genes_per_cell(part.matrix)
