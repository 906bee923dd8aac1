"""Module score: the set against control genes of similar expression (Tirosh et al. 2016).

The convention of Seurat's AddModuleScore. Genes are ordered by their mean over all cells and cut
into ``n_bins`` bins of equal numbers; for each gene of the set, ``n_controls`` genes are drawn
from its bin. The score is the mean of the set minus the mean of all controls, each counted once.

A signed set scores up − down, each part with its own controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import kernel
from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Array, Floats, Ints, Ints32
    from nkscore.scoring._registry import Option
    from nkscore.scoring._sets import GeneSets


def expression_bins(means: Array, n_bins: int) -> Ints:
    """Return the bin of each gene by its mean, lowest first; equal means share a bin.

    The borders are the quantiles of the means, as in ``ggplot2::cut_number``, and belong to the
    bin above.
    """
    if n_bins < 1:
        msg = f"n_bins is {n_bins}; at least 1 bin is needed (default 24)."
        raise ValueError(msg)
    borders = np.quantile(means, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(borders, means, side="right")


def draw_controls(
    parts: Sequence[Ints],
    means: Array,
    *,
    n_bins: int,
    n_controls: int,
    rng: int | np.random.Generator | None,
) -> list[Ints]:
    """Draw control genes for each part, each gene once.

    As in Seurat, the controls of a part can include genes of the part. If a bin has fewer than
    ``n_controls`` genes, all of them are used; Seurat raises an error.
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


@dataclass(frozen=True, slots=True)
class ModulePlan:
    """``counted`` is genes × columns: how often each gene is in each part, then in its controls.

    Controls cover a large share of all genes, so a dense table is faster; stored as bytes, it fits
    into the cache. Columns are padded with zeros to a multiple of eight.
    """

    counted: Array
    n_sets: int
    #: Numbers of the parts that have genes, with their numbers of genes and of controls.
    parts: Ints
    n_genes: Ints
    n_controls: Ints


def control_plan(sets: GeneSets, controls: Sequence[Ints]) -> ModulePlan:
    """Return the table of genes × parts and controls."""
    parts = sets.parts()
    used = [number for number, genes in enumerate(parts) if len(genes)]
    columns = [parts[number] for number in used] + [controls[number] for number in used]
    counted = np.zeros((sets.first.size, -(-len(columns) // 8) * 8), dtype=np.uint8)
    for column, genes in enumerate(columns):
        often = np.bincount(genes, minlength=counted.shape[0])
        if often.max(initial=0) > np.iinfo(np.uint8).max:
            counted = counted.astype(np.float64)
        counted[:, column] = often
    size = np.array([len(genes) for genes in columns], dtype=np.int64)
    return ModulePlan(
        counted, sets.n_sets, np.array(used, dtype=np.int64), size[: len(used)], size[len(used) :]
    )


@kernel
def _table_sums(indptr: Ints, indices: Ints32, values: Array, counted: Array, out: Floats) -> None:
    """Fill cells × columns with sums over genes; four genes at a time, always the same four."""
    n = counted.shape[1]
    for i in range(indptr.size - 1):
        sums = out[i]
        for k in range(n):
            sums[k] = 0.0
        start, stop = indptr[i], indptr[i + 1]
        whole = start + (stop - start) // 4 * 4
        for p in range(start, whole, 4):
            v0, v1 = np.float64(values[p]), np.float64(values[p + 1])
            v2, v3 = np.float64(values[p + 2]), np.float64(values[p + 3])
            w0, w1 = counted[np.uint32(indices[p])], counted[np.uint32(indices[p + 1])]
            w2, w3 = counted[np.uint32(indices[p + 2])], counted[np.uint32(indices[p + 3])]
            for k in range(n):
                sums[k] += (v0 * w0[k] + v1 * w1[k]) + (v2 * w2[k] + v3 * w3[k])
        for p in range(whole, stop):
            v0, w0 = np.float64(values[p]), counted[np.uint32(indices[p])]
            for k in range(n):
                sums[k] += v0 * w0[k]


def prepare(
    sets: GeneSets,
    means: Array,
    *,
    n_bins: int = 24,
    n_controls: int = 100,
    rng: int | np.random.Generator | None = 0,
) -> ModulePlan:
    """Draw controls for each part; needs the mean of each gene over all cells."""
    controls = draw_controls(sets.parts(), means, n_bins=n_bins, n_controls=n_controls, rng=rng)
    return control_plan(sets, controls)


def module_score(block: RowBlock, plan: ModulePlan, **_: Option) -> Floats:
    """Score cells × sets; ``plan`` comes from :func:`prepare`."""
    sums = np.empty((block.n_cells, plan.counted.shape[1]))
    _table_sums(block.indptr, block.indices, block.values, plan.counted, sums)
    n = plan.parts.size
    above = sums[:, :n] / plan.n_genes
    above -= sums[:, n : 2 * n] / plan.n_controls
    scores = np.zeros((block.n_cells, plan.n_sets))
    is_down = plan.parts % 2 == 1
    scores[:, plan.parts[~is_down] // 2] = above[:, ~is_down]
    scores[:, plan.parts[is_down] // 2] -= above[:, is_down]
    return scores


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
        description="Mean of the set minus that of control genes of similar expression in these "
        "data.",
    )
)
