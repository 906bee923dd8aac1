"""Counts of gene programs per cell, summed over genes with weights by their information.

The matrix is read in blocks of rows, without making a copy of its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints

#: Prior spread of a gene between similar cells, and its weight in cells.
_USUAL_SPREAD: Final = 0.2
_PRIOR_CELLS: Final = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class GeneLevels:
    """Baseline rates of each line.

    Lines × genes: ``rate`` per reference count, ``spread`` between cells. ``depth``: mean reference
    count of the cells of a line.
    """

    rate: Floats
    spread: Floats
    depth: Floats


def gene_levels(counts: Counts, cells: Ints, line: Ints, depth: Floats) -> GeneLevels:
    """Return the baseline rate of each gene in each line, and its spread between cells."""
    n_lines = int(line.max()) + 1
    sums = np.zeros((3, n_lines, counts.shape[1]))
    for part in counts.parts(cells):
        block, rows = part.matrix.astype(np.float64), part.places
        columns = np.arange(block.shape[0])
        shape = (n_lines, block.shape[0])
        member = sparse.csr_matrix((np.ones(columns.size), (line[rows], columns)), shape)
        deep = sparse.csr_matrix((depth[rows], (line[rows], columns)), shape)
        sums[0] += (member @ block).toarray()
        sums[1] += (deep @ block).toarray()
        block.data **= 2
        sums[2] += (member @ block).toarray()
    total, square = np.bincount(line, depth), np.bincount(line, depth**2)
    n_cells = np.bincount(line)
    rate = sums[0] / total[:, None]
    excess = sums[2] - 2 * rate * sums[1] + rate**2 * square[:, None] - sums[0]
    prior = _PRIOR_CELLS * (sums[0] / n_cells[:, None]) ** 2
    scale = rate**2 * square[:, None] + prior
    spread = (excess + prior * _USUAL_SPREAD) / np.maximum(scale, 1e-12)
    return GeneLevels(rate, np.clip(spread, 0.05, 10.0), total / n_cells)


def program_counts(
    counts: Counts, cells: Ints, line: Ints, levels: GeneLevels, sets: list[Ints]
) -> tuple[Floats, Floats]:
    """Return cells × sets: summed counts, and the counts expected per reference count.

    The weight of each gene is ``1 / (1 + spread · mean count)``, as in the likelihood of a small
    common change of all genes. Sums are scaled so that their sampling variance equals their mean.
    """
    mean = levels.rate * levels.depth[:, None]
    weights = [1 / (1 + (levels.spread * mean)[:, genes]) for genes in sets]
    summed, expected = np.zeros((cells.size, len(sets))), np.zeros((cells.size, len(sets)))
    members, asked = [], []
    for code in range(levels.depth.size):
        scaled = []
        inside = np.flatnonzero(line == code)
        for j, genes in enumerate(sets):
            rate, weight = levels.rate[code, genes], weights[j][code]
            once, twice = weight @ rate, weight**2 @ rate
            scale = once / twice if twice > 0 else 1.0
            scaled.append(scale * weight)
            expected[inside, j] = scale * once
        members.append(inside)
        asked.append((_set_matrix(sets, scaled, counts.shape[1]), cells[inside]))
    for inside, sums in zip(members, counts.each_totals(asked), strict=True):
        summed[inside] = sums
    return summed, expected


def _set_matrix(sets: list[Ints], weights: list[Floats], n_genes: int) -> sparse.csr_matrix:
    rows = np.concatenate([np.asarray(genes, dtype=np.int64) for genes in sets])
    columns = np.repeat(np.arange(len(sets)), [len(genes) for genes in sets])
    return sparse.csr_matrix((np.concatenate(weights), (rows, columns)), (n_genes, len(sets)))
