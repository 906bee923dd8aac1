"""Random sets of similar size and expression, and the position of a score among theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._counts._blocks import check_largest
from nkscore._counts._dask import is_dask
from nkscore._counts._far import opened
from nkscore._counts._map import map_blocks
from nkscore.scoring._run import check_options, gene_means
from nkscore.scoring._sets import gene_sets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Floats, Ints
    from nkscore.scoring._registry import Scorer
    from nkscore.scoring._sets import GeneSets

#: Genes in a bin of similar expression, if the set is small relative to it.
_BIN_GENES = 100
#: Candidates for each gene of the set in a bin.
_CHOICE = 3
#: Bytes of scores of random sets in memory at a time, per thread.
_SCORE_BYTES = 1 << 20


def null_scores(
    scorer: Scorer,
    matrix: Any,
    sets: GeneSets,
    *,
    n_random: int,
    rng: int | np.random.Generator | None,
    largest: float | None = None,
    **options: Any,
) -> tuple[Floats, Floats]:
    """Return z and empirical p of each score, cells × sets.

    Every random set of a signature replaces each gene by another gene of similar mean over all
    cells. p is (b + 1) / (n_random + 1) with b random sets that score as high or higher in the same
    cell. z is the distance to their mean in their standard deviations; it is 0 if the score equals
    that mean, and NaN if it differs from random sets that are all equal.
    """
    check_options(scorer, options)
    if 0 in matrix.shape if hasattr(matrix, "shape") else False:
        return np.zeros((matrix.shape[0], sets.n_sets)), np.ones((matrix.shape[0], sets.n_sets))
    rows = matrix if is_dask(matrix) else opened(matrix)
    z, p = np.zeros((rows.shape[0], sets.n_sets)), np.ones((rows.shape[0], sets.n_sets))
    if sets.n_sets == 0:
        return z, p
    plan = with_random_sets(sets, gene_means(rows), n_random=n_random, rng=rng)
    task = _Task(scorer, sets.n_sets, plan, largest, options)
    for start, part_z, part_p in map_blocks(rows, task, label=f"random sets, {scorer.name}"):
        z[start : start + part_z.shape[0]] = part_z
        p[start : start + part_p.shape[0]] = part_p
    return z, p


@dataclass(frozen=True)
class _Task:
    """The task for one block, here or on a worker of a cluster."""

    scorer: Scorer
    n_sets: int
    plan: GeneSets
    largest: float | None
    options: dict[str, Any]

    def __call__(self, block: RowBlock) -> tuple[int, Floats, Floats]:
        check_largest(block, self.largest)
        n_cells = max(1, _SCORE_BYTES // (16 * self.plan.n_sets))
        z, p = np.zeros((block.n_cells, self.n_sets)), np.ones((block.n_cells, self.n_sets))
        for part in _slices(block, n_cells):
            low = part.start - block.start
            here = slice(low, low + part.n_cells)
            scores = self.scorer.func(part, self.plan, **self.options)
            z[here], p[here] = _standing(scores, self.n_sets)
        return block.start, z, p


def _standing(scores: Floats, n_sets: int) -> tuple[Floats, Floats]:
    """Compare the first score of each group with the others."""
    groups = scores.reshape(scores.shape[0], n_sets, -1)
    score, null = groups[:, :, 0], groups[:, :, 1:]
    n_random = null.shape[2]
    p = ((null >= score[:, :, None]).sum(axis=2) + 1) / (n_random + 1)
    mean = null.mean(axis=2)
    spread = null.std(axis=2, ddof=1)
    noise = 1e-12 * np.maximum(1.0, np.abs(mean))
    alike = spread <= noise
    z = (score - mean) / np.where(alike, 1.0, spread)
    return np.where(alike, np.where(np.abs(score - mean) <= noise, 0.0, np.nan), z), p


def _slices(block: RowBlock, n_cells: int) -> Iterator[RowBlock]:
    for low in range(0, block.n_cells, n_cells):
        edges = block.indptr[low : low + n_cells + 1]
        part = slice(int(edges[0]), int(edges[-1]))
        yield replace(
            block,
            start=block.start + low,
            indptr=edges - edges[0],
            indices=block.indices[part],
            stored=block.stored[part],
        )


def with_random_sets(
    sets: GeneSets,
    means: Floats,
    *,
    n_random: int,
    rng: int | np.random.Generator | None,
) -> GeneSets:
    """Return each set followed by its ``n_random`` random sets, of the same sizes."""
    generator = np.random.default_rng(rng)
    order = np.argsort(means, kind="stable")
    rank = np.empty(means.size, dtype=np.int64)
    rank[order] = np.arange(means.size)
    parts = sets.parts()
    up: list[Ints] = []
    down: list[Ints] = []
    sizes: list[tuple[int, int]] = []
    for j in range(sets.n_sets):
        genes = np.concatenate([parts[2 * j], parts[2 * j + 1]])
        n_up = len(parts[2 * j])
        drawn = _draw(genes, rank, n_random, generator)
        for row in np.vstack([genes[None, :], drawn]):
            up.append(row[:n_up])
            down.append(row[n_up:])
            sizes.append((int(sets.size[2 * j]), int(sets.size[2 * j + 1])))
    return gene_sets(up, down, n_genes=means.size, sizes=sizes)


def _draw(genes: Ints, rank: Ints, n_random: int, rng: np.random.Generator) -> Ints:
    """Draw sets × genes: distinct genes outside the set, each from the bin of its gene."""
    bins = _bins(genes, rank)
    outside = np.ones(rank.size, dtype=bool)
    outside[genes] = False
    drawn = np.empty((n_random, genes.size), dtype=np.int64)
    for number in np.unique(bins[genes]):
        places = np.flatnonzero(bins[genes] == number)
        pool = np.flatnonzero(outside & (bins == number))
        order = np.argsort(rng.random((n_random, pool.size)), axis=1)[:, : places.size]
        drawn[:, places] = pool[order]
    return drawn


def _bins(genes: Ints, rank: Ints) -> Ints:
    """Return the bin of each gene, as fine as possible with enough candidates per bin."""
    n_bins = max(1, rank.size // _BIN_GENES)
    while True:
        bins = rank * n_bins // rank.size
        in_set = np.bincount(bins[genes], minlength=n_bins)
        free = np.bincount(bins, minlength=n_bins) - in_set
        if (free >= _CHOICE * in_set).all():
            return bins
        if n_bins == 1:
            msg = (
                f"A set holds {genes.size} of {rank.size} genes in the data; random sets "
                f"of the same size need at least {_CHOICE} other genes for each. Use all "
                "genes of the data, "
                "or a smaller set."
            )
            raise ValueError(msg)
        n_bins //= 2
