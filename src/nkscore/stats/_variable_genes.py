"""Genes that vary most between cells, from sums over cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._compile import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scipy import sparse

    from nkscore._types import Array, Bools, Floats

_N_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums and sums of squares of each gene, each as two numbers whose sum is exact to 1e-30.

    They are therefore the same for any order of the cells and any blocks.
    """

    n_cells: int
    #: sums, their rest, squares, their rest; 4 × genes.
    sums: Floats

    @classmethod
    def none(cls, n_genes: int) -> Moments:
        """Return the sums over no cell."""
        return cls(0, np.zeros((4, n_genes)))

    @classmethod
    def of_logs(cls, matrix: sparse.csr_matrix) -> Moments:
        """Return the sums of ``expm1(matrix)``, cells × genes."""
        made = cls(matrix.shape[0], np.zeros((4, matrix.shape[1])))
        add_moments(
            np.require(matrix.indices, np.int32, ["C", "W"]),
            np.expm1(matrix.data).astype(np.float64),
            made.sums,
        )
        return made

    def __add__(self, other: Moments) -> Moments:
        """Return the sums over the cells of both."""
        sums = self.sums.copy()
        add_sums(other.sums, sums)
        return Moments(self.n_cells + other.n_cells, sums)

    @classmethod
    def over(cls, parts: Iterable[Moments], n_genes: int) -> Moments:
        """Return the sums over the cells of all parts."""
        total = cls.none(n_genes)
        for part in parts:
            total += part
        return total

    @property
    def mean(self) -> Floats:
        """Mean of each gene."""
        return np.asarray((self.sums[0] + self.sums[1]) / max(1, self.n_cells))

    @property
    def variance(self) -> Floats:
        """Variance of each gene between cells (n − 1)."""
        squares = self.sums[2] + self.sums[3]
        found = (squares - self.n_cells * self.mean**2) / max(1, self.n_cells - 1)
        return np.asarray(np.maximum(found, 0.0))


@kernel
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b rounded, and what rounding lost (Knuth 1997, 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@kernel
def add_moments(indices: Array, values: Array, sums: Array) -> None:
    """Add values and their squares to their genes."""
    for e in range(values.size):
        gene, value = indices[e], values[e]
        sums[0, gene], lost = _two_sum(sums[0, gene], value)
        sums[1, gene] += lost
        # The square of a value with 24 bits is exact.
        sums[2, gene], lost = _two_sum(sums[2, gene], value * value)
        sums[3, gene] += lost


@kernel
def add_sums(other: Array, sums: Array) -> None:
    """Add the sums of other cells."""
    for first in (0, 2):
        for gene in range(sums.shape[1]):
            sums[first, gene], lost = _two_sum(sums[first, gene], other[first, gene])
            sums[first + 1, gene] += lost + other[first + 1, gene]


def variable_genes(moments: Moments, n_top: int) -> Bools:
    """Return the ``n_top`` genes whose dispersion is highest among genes of similar mean.

    The rule of Satija et al. 2015 (doi 10.1038/nbt.3192), scanpy's flavor ``seurat``: the log of
    variance over mean, standardized within 20 bins of the log of the mean. Genes with one value in
    all cells are not chosen, so there can be fewer.
    """
    mean = np.where(moments.mean == 0, 1e-12, moments.mean)
    with np.errstate(divide="ignore"):
        dispersion = np.log(moments.variance / mean)
    table = pd.DataFrame(
        {
            "bin": pd.cut(np.log1p(mean), _N_BINS, labels=False),
            "dispersion": np.where(np.isfinite(dispersion), dispersion, np.nan),
        }
    )
    in_bin = table.groupby("bin")["dispersion"]
    center, spread = in_bin.transform("mean"), in_bin.transform("std")
    # The only gene of its bin counts as one standard deviation above the mean.
    alone = spread.isna()
    center, spread = center.mask(alone, 0.0), spread.mask(alone, center)
    height = ((table["dispersion"] - center) / spread).to_numpy()
    known = np.sort(height[~np.isnan(height)])[::-1]
    if known.size == 0:
        return np.zeros(mean.size, dtype=bool)
    lowest = known[min(n_top, known.size) - 1]
    return np.asarray(np.nan_to_num(height, nan=-np.inf) >= lowest)
