"""Scores from one sum per set: weighted mean, z-score and t-value of a regression.

Genes count +1 (up) or -1 (down). With n genes of the set in the data, G genes in all, μ and σ the
mean and standard deviation of the cell's values over all G genes, zeros included:

    weighted_mean = Σ w x / n
    zscore        = Σ w (x − μ) / (σ √n)
    ulm           = t-value of the slope of x on w over all G genes

All depend only on the cell's own values, as in decoupler with ``empty=False``. Its default drops
genes that no cell of the batch expresses, so scores depend on other cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import kernel
from nkscore.scoring._ranks import add_hits
from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Array, Bools, Floats, Ints, Ints32
    from nkscore.scoring._sets import GeneSets


@kernel
def _sum_rows(  # noqa: PLR0917 (numba compiles positional arguments only)
    indptr: Ints,
    indices: Ints32,
    values: Array,
    first: Ints32,
    members: Array,
    last: Bools,
    out: Floats,
    moments: Floats,
) -> None:
    """Fill sums over parts, cells × parts, and sum and sum of squares over all genes."""
    longest = 1
    for i in range(indptr.size - 1):
        longest = max(longest, indptr[i + 1] - indptr[i])
    hit_member = np.empty(longest, np.int32)
    hit_value = np.empty(longest, np.float64)
    for i in range(indptr.size - 1):
        n_hits = 0
        total = 0.0
        squares = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            value = np.float64(values[p])
            total += value
            squares += value * value
            member = first[indices[p]]
            hit_member[n_hits] = member
            hit_value[n_hits] = value
            n_hits += member >= 0
        moments[i, 0] = total
        moments[i, 1] = squares
        for part in range(out.shape[1]):
            out[i, part] = 0.0
        add_hits(hit_value, hit_member, n_hits, members, last, out, i)


def part_sums(block: RowBlock, sets: GeneSets) -> tuple[Floats, Floats]:
    """Return the sums of each part, cells × parts, and of all values and their squares."""
    sums = np.empty((block.n_cells, sets.size.size))
    moments = np.empty((block.n_cells, 2))
    _sum_rows(
        block.indptr,
        block.indices,
        block.values,
        sets.first,
        sets.members,
        sets.last,
        sums,
        moments,
    )
    return sums, moments


def _divided(top: Floats, bottom: Floats) -> Floats:
    """``top / bottom``, 0 where ``bottom`` is 0."""
    safe = np.where(bottom > 0, bottom, 1.0)
    return np.where(bottom > 0, top / safe, 0.0)


def _variance(moments: Floats, n: int) -> Floats:
    """Variance of each cell's values over all genes; 0 where they are equal."""
    spread = moments[:, 1] - moments[:, 0] ** 2 / n
    # Rounding errors of the squares are not a variance.
    return np.where(spread > 1e-12 * moments[:, 1], spread, 0.0) / max(1, n - 1)


def weighted_mean(block: RowBlock, sets: GeneSets) -> Floats:
    """Return (Σ up − Σ down) / (number of genes in the set that are in the data)."""
    sums, _ = part_sums(block, sets)
    n_found = np.maximum(sets.found[0::2] + sets.found[1::2], 1)
    return np.asarray((sums[:, 0::2] - sums[:, 1::2]) / n_found)


def zscore(block: RowBlock, sets: GeneSets) -> Floats:
    """Return the sum of the set's standardized values over √n; see the module."""
    sums, moments = part_sums(block, sets)
    up, down = sets.found[0::2], sets.found[1::2]
    mean = moments[:, :1] / block.n_genes
    top = sums[:, 0::2] - sums[:, 1::2] - mean * (up - down)
    return _divided(top, np.sqrt(_variance(moments, block.n_genes))[:, None] * np.sqrt(up + down))


def ulm(block: RowBlock, sets: GeneSets) -> Floats:
    """Return the t-value of the set's weights as a predictor of the cell's values."""
    sums, moments = part_sums(block, sets)
    n = block.n_genes
    up, down = sets.found[0::2], sets.found[1::2]
    weight_variance = (up + down - (up - down) ** 2 / n) / max(1, n - 1)
    top = sums[:, 0::2] - sums[:, 1::2] - moments[:, :1] * (up - down) / n
    scale = np.sqrt(_variance(moments, n)[:, None] * np.maximum(weight_variance, 0.0))
    r = np.clip(_divided(top / max(1, n - 1), scale), -1.0, 1.0)
    # A cell that expresses only its set has no residual; machine precision replaces it.
    rest = np.maximum((1 - r) * (1 + r), 2.2e-16)
    return np.asarray(r * np.sqrt(max(0, n - 2) / rest))


_LOG_LIMIT = float(np.log1p(1e4))

WEIGHTED_MEAN = register(
    Scorer(
        name="weighted_mean",
        func=weighted_mean,
        reads="X",
        limits=(-_LOG_LIMIT, _LOG_LIMIT),
        cell_wise=True,
        rank_based=False,
        options={},
        doi="",
        description="Signed mean of log1p counts per 10,000 over the genes of the set.",
    )
)
ZSCORE = register(
    Scorer(
        name="zscore",
        func=zscore,
        reads="X",
        limits=(-np.inf, np.inf),
        cell_wise=True,
        rank_based=False,
        options={},
        doi="10.1038/s41467-021-21211-6",
        description="Mean of the set against all genes of the cell, in standard errors.",
    )
)
ULM = register(
    Scorer(
        name="ulm",
        func=ulm,
        reads="X",
        limits=(-np.inf, np.inf),
        cell_wise=True,
        rank_based=False,
        options={},
        doi="10.1093/bioadv/vbac016",
        description="t-value of the set in a regression over all genes of the cell.",
    )
)
