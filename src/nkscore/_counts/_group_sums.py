"""Sums over groups of cells, exact for whole counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from nkscore._types import Array, Floats, Ints, Ints32


@dataclass(slots=True)
class GroupSums:
    """Running sums of counts and numbers of cells with a count, groups × genes.

    ``squares`` are sums of squared counts; they take a third of the time, so they are computed only
    on request.
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
        self.squares = np.zeros((self.n_groups, self.n_genes) if self.with_squares else (1, 0))

    def overdispersion(self, n_cells: npt.ArrayLike) -> Floats:
        """Return the variance between cells of a group over their mean, one value per gene.

        1 for counts with only sampling noise between cells of equal depth; 0 without a count.
        """
        expected = np.einsum("ig,ig,i->g", self.sums, self.sums, 1 / np.asarray(n_cells, float))
        squares = self.squares.sum(axis=0)
        return np.asarray((squares - expected) / np.maximum(self.sums.sum(axis=0), 1))

    def add(
        self, indptr: Ints | Ints32, indices: Ints | Ints32, values: Array, *, codes: Ints
    ) -> int:
        """Add cells in CSR form, each entry stored once; ``codes`` is -1 for cells of no group.

        Returns -1, or the number of the first cell with values other than whole numbers from zero;
        earlier additions stay.
        """
        from nkscore._counts._kernels import add_to_groups, as_kernels_take

        # Group by group, so that the sums of one group stay in the cache.
        rows = np.argsort(codes, kind="stable")
        rows = rows[np.searchsorted(codes[rows], 0) :]
        return int(
            add_to_groups(
                *as_kernels_take(indptr, indices, values),
                rows,
                np.require(codes, np.int64, ["C", "W"]),
                self.sums,
                self.cells,
                self.squares,
            )
        )
