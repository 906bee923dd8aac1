"""Module score: the set against control genes of like expression (Tirosh et al. 2016).

The convention of Seurat's AddModuleScore. Genes are ordered by their mean over all cells and cut
into ``n_bins`` bins of equal numbers; for each gene of the set, ``n_controls`` genes are drawn
from its bin. The score is the mean of the set minus the mean of all controls, each counted once.

A signed set scores up − down, each part with controls of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore.scoring._blocks import RowBlock
    from nkscore.scoring._sets import GeneSets

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Positions = np.ndarray[Any, np.dtype[np.int64]]


def expression_bins(means: Array, n_bins: int) -> Positions:
    """Return the bin of each gene by its mean, lowest first; equal means share a bin.

    The borders are the quantiles of the means, as in ``ggplot2::cut_number``, and belong to the
    bin above.
    """
    if n_bins < 1:
        msg = f"n_bins is {n_bins}; at least 1 bin is needed, usually 24."
        raise ValueError(msg)
    borders = np.quantile(means, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(borders, means, side="right")


def draw_controls(
    parts: Sequence[Positions],
    means: Array,
    *,
    n_bins: int,
    n_controls: int,
    rng: int | np.random.Generator | None,
) -> list[Positions]:
    """Draw control genes for each part, each gene once.

    As in Seurat, the controls of a part may hold genes of the part. Where a bin has fewer than
    ``n_controls`` genes, all of it is taken; Seurat stops there.
    """
    if n_controls < 1:
        msg = f"n_controls is {n_controls}; at least 1 control gene per gene is needed."
        raise ValueError(msg)
    generator = np.random.default_rng(rng)
    bins = expression_bins(means, n_bins)
    members = [np.flatnonzero(bins == number) for number in range(n_bins)]
    drawn = []
    for part in parts:
        chosen = [
            generator.choice(pool, min(n_controls, pool.size), replace=False)
            for pool in (members[bins[gene]] for gene in part)
        ]
        drawn.append(np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64))
    return drawn


def control_weights(sets: GeneSets, controls: Sequence[Positions]) -> Array:
    """Return genes × sets: 1 / size for the genes of a part, less the same for its controls.

    Controls cover a good share of all genes, so that a dense matrix is the faster one.
    """
    weights = np.zeros((sets.first.size, sets.n_sets))
    for part, (genes, drawn) in enumerate(zip(sets.parts(), controls, strict=True)):
        if len(genes):
            sign = -1.0 if part % 2 else 1.0
            column = weights[:, part // 2]
            column += np.bincount(genes, minlength=column.size) * (sign / len(genes))
            column[drawn] -= sign / len(drawn)
    return weights


def prepare(
    sets: GeneSets,
    means: Array,
    *,
    n_bins: int = 24,
    n_controls: int = 100,
    rng: int | np.random.Generator | None = 0,
) -> Array:
    """Draw controls and return the weights; needs the mean of each gene over all cells."""
    controls = draw_controls(sets.parts(), means, n_bins=n_bins, n_controls=n_controls, rng=rng)
    return control_weights(sets, controls)


def module_score(block: RowBlock, weights: Array, **_: Any) -> Array:
    """Score cells × sets; ``weights`` is as :func:`prepare` returns it."""
    rows = sparse.csr_matrix(
        (block.values, block.indices, block.indptr), shape=(block.n_cells, block.n_genes)
    )
    return np.asarray(rows @ weights)


_LOG_LIMIT = float(np.log1p(1e4))

MODULE_SCORE = register(
    Scorer(
        name="module_score",
        func=module_score,
        prepare=prepare,
        reads="X",
        limits=(-2 * _LOG_LIMIT, 2 * _LOG_LIMIT),
        cell_wise=False,
        rank_based=False,
        options={"n_bins": 24, "n_controls": 100, "rng": 0},
        doi="10.1126/science.aad0501",
        description="Mean of the set minus that of control genes of like expression in these data.",
    )
)
