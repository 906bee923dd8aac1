"""The smallest variance that an effect can have: that of drawing other cells.

Residual variances are shared between genes and lines. A gene that varies between the cells of one
line more than elsewhere (a few cells of another kind, a rare state) then has too small a variance
there. The cells themselves show how much it varies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints
    from nkscore.stats.linear._quasi_likelihood import CountFit

#: The variation in a line is shrunken toward that of all lines, with the weight of this many cells.
_PRIOR_CELLS: Final = 20.0


@dataclass(frozen=True, slots=True)
class CellNoise:
    """Sums of counts and squared counts of each sample, genes × samples, and its cells.

    ``everywhere``: squared variation between cells beyond Poisson in all samples, per gene.
    """

    counts: Floats
    squares: Floats
    n_cells: Floats
    everywhere: Floats

    @classmethod
    def of(cls, counts: Floats, squares: Floats, n_cells: Floats) -> CellNoise:
        """Estimate the variation in all samples."""
        excess, scale = _moments(counts, squares, n_cells)
        known = np.divide(excess, scale, out=np.zeros(excess.size), where=scale > 0)
        return cls(counts, squares, n_cells, np.maximum(known, 0.0))

    def variance(self, fit: CountFit, arms: tuple[Ints, Ints], genes: Ints) -> Floats:
        """Return σ² of an effect between two arms that differ only in which cells were drawn."""
        between = self.between(np.concatenate(arms), genes)
        drawn, modelled = np.zeros((2, between.size))
        for rows in arms:
            weight, mean = fit.weights[np.ix_(genes, rows)], fit.mean[np.ix_(genes, rows)]
            total = weight.sum(axis=1)
            spread = 1 / mean + between[:, None] / self.n_cells[rows]
            drawn += (np.square(weight) * spread).sum(axis=1) / np.square(total)
            modelled += 1 / total
        return np.asarray(drawn / modelled)

    def between(self, rows: Ints, genes: Ints) -> Floats:
        """Return the squared variation between cells beyond Poisson in these samples."""
        at = np.ix_(genes, rows)
        excess, scale = _moments(self.counts[at], self.squares[at], self.n_cells[rows])
        mean = self.counts[at].sum(axis=1) / self.n_cells[rows].sum()
        prior = _PRIOR_CELLS * np.square(mean)
        total = scale + prior
        together = excess + self.everywhere[genes] * prior
        found = np.divide(together, total, out=np.zeros(total.size), where=total > 0)
        return np.asarray(np.maximum(found, 0.0))


def _moments(counts: Floats, squares: Floats, n_cells: Floats) -> tuple[Floats, Floats]:
    """Return the variance between cells beyond Poisson and the squared mean, summed."""
    scale = np.square(counts) / n_cells
    within = (squares - scale) * (n_cells / np.maximum(n_cells - 1, 1))
    return (within - counts).sum(axis=1), scale.sum(axis=1)
