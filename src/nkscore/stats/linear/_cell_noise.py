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
    """Sums of counts and squared counts of each sample, genes × samples, and its cells."""

    counts: Floats
    squares: Floats
    n_cells: Floats

    def variance(self, fit: CountFit, weights: Floats, arms: list[Ints]) -> Floats:
        """Return σ² of an effect between two arms that differ only in which cells were drawn."""
        between = self._between(np.concatenate(arms))
        drawn, modelled = np.zeros((2, between.size))
        for rows in arms:
            weight, mean = weights[:, rows], fit.mean[:, rows]
            total = weight.sum(axis=1)
            spread = 1 / mean + between[:, None] / self.n_cells[rows]
            drawn += (np.square(weight) * spread).sum(axis=1) / np.square(total)
            modelled += 1 / total
        return np.asarray(drawn / modelled)

    def _between(self, rows: Ints) -> Floats:
        """Return the squared variation between cells beyond Poisson in these samples."""
        excess, scale = self._moments(np.arange(self.n_cells.size))
        everywhere = np.divide(excess, scale, out=np.zeros(excess.size), where=scale > 0)
        excess, scale = self._moments(rows)
        mean = self.counts[:, rows].sum(axis=1) / self.n_cells[rows].sum()
        prior = _PRIOR_CELLS * np.square(mean)
        total = scale + prior
        together = excess + np.maximum(everywhere, 0.0) * prior
        found = np.divide(together, total, out=np.zeros(total.size), where=total > 0)
        return np.asarray(np.maximum(found, 0.0))

    def _moments(self, rows: Ints) -> tuple[Floats, Floats]:
        """Return the variance between cells beyond Poisson and the squared mean, summed."""
        counts, n = self.counts[:, rows], self.n_cells[rows]
        scale = np.square(counts) / n
        within = (self.squares[:, rows] - scale) * (n / np.maximum(n - 1, 1))
        return (within - counts).sum(axis=1), scale.sum(axis=1)
