"""Principal components of cells × genes that are read block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import linalg

from nkscore.stats._variable_genes import Moments

if TYPE_CHECKING:
    from nkscore._counts._base import Counts
    from nkscore._counts._parts import Part
    from nkscore._types import Floats, Floats32, Ints


class Components(NamedTuple):
    """Principal components: cells × components, genes × components, and their variances."""

    scores: Floats32
    loadings: Floats
    variance: Floats
    ratio: Floats


def moments(expression: Counts) -> Moments:
    """Return sums and squares of ``expm1`` of log-normalized values, genes by genes."""
    return Moments.over(expression.map(_moments), expression.shape[1])


def principal_components(expression: Counts, genes: Ints, n_comps: int) -> Components:
    """Return components of some genes, centered, by the covariance of the genes.

    Memory: genes × genes, and cells × components. The covariance is summed cell by cell, so it is
    the same for any blocks, to the last bit. The largest loading of each component is positive.
    """
    gram, total = expression.gram(genes)
    n_cells = expression.shape[0]
    mean = total / n_cells
    covariance = (gram - n_cells * np.outer(mean, mean)) / (n_cells - 1)
    highest = (genes.size - n_comps, genes.size - 1)
    variance, loadings = linalg.eigh(covariance, subset_by_index=highest)
    variance, loadings = np.maximum(variance[::-1], 0.0), loadings[:, ::-1]
    largest = np.abs(loadings).argmax(axis=0)
    loadings = loadings * np.where(loadings[largest, np.arange(n_comps)] < 0, -1.0, 1.0)
    scores = np.empty((n_cells, n_comps), dtype=np.float32)
    task = _Scores(genes, np.ascontiguousarray(loadings), mean @ loadings)
    for places, found in expression.map(task):
        scores[places] = found
    every = float(np.trace(covariance))
    ratio = variance / every if every > 0 else np.zeros_like(variance)
    return Components(scores, loadings, variance, ratio)


def _moments(part: Part) -> Moments:
    return Moments.of_logs(part.matrix)


@dataclass(frozen=True)
class _Scores:
    genes: Ints
    loadings: Floats
    center: Floats

    def __call__(self, part: Part) -> tuple[Ints, Floats32]:
        from nkscore._counts._base import columns_of

        found = columns_of(part.matrix, np.arange(part.cells.size), self.genes)
        return part.places, np.asarray(found @ self.loadings - self.center, dtype=np.float32)
