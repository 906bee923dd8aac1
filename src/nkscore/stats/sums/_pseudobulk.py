"""Sums over groups of cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import numpy.typing as npt

    from nkscore._types import CSR, Array, Floats, Ints, Ints32, Matrix


@dataclass(slots=True)
class GroupSums:
    """Running sums of counts and numbers of cells with a count, groups × genes.

    ``squares`` are sums of squared counts over the cells of all groups, one per gene; they take a
    third of the time, so they are computed only on request.
    """

    n_groups: int
    n_genes: int
    with_squares: bool = False
    sums: Floats = field(init=False)
    cells: Ints32 = field(init=False)
    squares: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Start with zeros."""
        self.sums = np.zeros((self.n_groups, self.n_genes))
        self.cells = np.zeros((self.n_groups, self.n_genes), dtype=np.int32)
        self.squares = np.zeros(self.n_genes if self.with_squares else 0)

    def overdispersion(self, n_cells: npt.ArrayLike) -> Floats:
        """Return the variance between cells of a group over their mean, one value per gene.

        1 for counts with only sampling noise between cells of equal depth; 0 without a count.
        """
        expected = np.einsum("ig,ig,i->g", self.sums, self.sums, 1 / np.asarray(n_cells, float))
        return np.asarray((self.squares - expected) / np.maximum(self.sums.sum(axis=0), 1))

    def add(
        self, indptr: Ints | Ints32, indices: Ints | Ints32, values: Array, *, codes: Ints
    ) -> int:
        """Add cells in CSR form, each entry stored once; ``codes`` is -1 for cells of no group.

        Returns -1, or the number of the first cell with values other than whole numbers from zero;
        earlier additions stay.
        """
        from nkscore.stats.sums._sum_kernels import kernel_for

        kernel, dtype = kernel_for(values.dtype)
        # Group by group, so that the sums of one group stay in the cache.
        rows = np.argsort(codes, kind="stable")
        rows = rows[np.searchsorted(codes[rows], 0) :]
        return int(
            kernel(
                np.ascontiguousarray(indptr, dtype=np.int64),
                np.require(indices, np.int32, ["C", "W"]),
                np.require(values, dtype, ["C", "W"]),
                rows,
                np.ascontiguousarray(codes, dtype=np.int64),
                self.sums,
                self.cells,
                self.squares,
            )
        )


def _indicator(codes: Ints, n_groups: int, dtype: type[np.number]) -> sparse.csr_matrix:
    """Return groups × cells with a one for members; code -1 is no group."""
    cells = np.flatnonzero(codes >= 0)
    ones = np.ones(cells.size, dtype=dtype)
    return sparse.csr_matrix((ones, (codes[cells], cells)), shape=(n_groups, codes.size))


def group_sums(matrix: Matrix, codes: Ints, n_groups: int) -> Floats:
    """Return the exact sum of each column over each group of rows.

    Parameters
    ----------
    matrix
        Cells × genes, sparse or dense, of any numbers.
    codes
        Group number of each cell, 0 to ``n_groups`` − 1, or -1 for none.

    Returns
    -------
    Groups × genes, float64; whole counts stay whole up to 2**53.
    """
    sums = _indicator(codes, n_groups, np.float64) @ matrix
    return np.asarray(sums if isinstance(sums, np.ndarray) else sums.toarray(), dtype=np.float64)


def detected_fraction(matrix: Matrix, codes: Ints, n_groups: int) -> Floats:
    """Return the share of cells with a value above zero, groups × genes; NaN for empty groups."""
    positive: Array | CSR
    if isinstance(matrix, np.ndarray):
        positive = (matrix > 0).astype(np.float32)
    else:
        positive = matrix.tocsr(copy=True)
        positive.sum_duplicates()
        positive.data = (positive.data > 0).astype(np.float32)
    n_cells = np.bincount(codes[codes >= 0], minlength=n_groups).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return group_sums(positive, codes, n_groups) / n_cells[:, None]
