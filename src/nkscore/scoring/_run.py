"""Run a scorer over all blocks of a matrix, on several threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._counts._blocks import check_largest, gene_sums
from nkscore._counts._dask import is_dask
from nkscore._counts._far import opened
from nkscore._counts._map import map_blocks
from nkscore._counts._sources import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Floats
    from nkscore.scoring._registry import Scorer
    from nkscore.scoring._sets import GeneSets


def run(
    scorer: Scorer,
    matrix: Any,
    sets: GeneSets,
    *,
    block_bytes: int = BLOCK_BYTES,
    largest: float | None = None,
    **options: Any,
) -> Floats:
    """Score all cells of ``matrix``; returns cells × sets, float64.

    ``matrix`` is a scipy matrix, a numpy array, a matrix in an open h5ad or zarr file, with a few
    blocks in memory at a time, or a dask array, which the active scheduler scores chunk by chunk,
    for example on the user's cluster.

    The kernels release the interpreter lock and keep no state, so plain threads share the blocks,
    each reading its own; their number is ``numba.get_num_threads()``, that is
    ``NUMBA_NUM_THREADS``. Threads, blocks and chunks do not change a result.

    Parameters
    ----------
    block_bytes
        Size of a block of float64 values.
    largest
        Larger values are refused, because they are on another scale.
    """
    check_options(scorer, options)
    if 0 in matrix.shape if hasattr(matrix, "shape") else False:
        return np.zeros((matrix.shape[0], sets.n_sets))
    rows = matrix if is_dask(matrix) else opened(matrix)
    out = np.zeros((rows.shape[0], sets.n_sets))
    if sets.n_sets == 0:
        return out
    plan = prepared(scorer, rows, sets, block_bytes=block_bytes, **options)
    for start, scores in scored(
        scorer, rows, plan, block_bytes=block_bytes, largest=largest, **options
    ):
        out[start : start + scores.shape[0]] = scores
    return out


def check_options(scorer: Scorer, options: dict[str, Any]) -> None:
    """Raise ``TypeError`` for an option that the scorer lacks."""
    unknown = set(options) - set(scorer.options)
    if unknown:
        msg = (
            f"{scorer.name} has no option {', '.join(sorted(unknown))}. "
            f"Known: {', '.join(scorer.options) or 'none'}."
        )
        raise TypeError(msg)


def prepared(
    scorer: Scorer, rows: Any, sets: GeneSets, *, block_bytes: int = BLOCK_BYTES, **options: Any
) -> Any:
    """Return the sets in the kernel's form, after a first pass over the data if needed."""
    if scorer.prepare is None:
        return sets
    return scorer.prepare(sets, gene_means(rows, block_bytes=block_bytes), **options)


def scored(
    scorer: Scorer,
    rows: Any,
    plan: Any,
    *,
    block_bytes: int = BLOCK_BYTES,
    first: int = 0,
    largest: float | None = None,
    **options: Any,
) -> Iterator[tuple[int, Floats]]:
    """Yield (first cell, scores) block by block, in order."""
    return map_blocks(
        rows,
        _Task(scorer, plan, largest, options),
        block_bytes=block_bytes,
        first=first,
        label=f"scoring, {scorer.name}",
    )


@dataclass(frozen=True)
class _Task:
    """What is done with a block, here or on a worker of a cluster."""

    scorer: Scorer
    plan: Any
    largest: float | None
    options: dict[str, Any]

    def __call__(self, block: RowBlock) -> tuple[int, Floats]:
        check_largest(block, self.largest)
        return block.start, self.scorer.func(block, self.plan, **self.options)


def gene_means(rows: Any, *, block_bytes: int = BLOCK_BYTES) -> Floats:
    """Return the mean of each gene over all cells; the same for any order of cells."""
    total = np.zeros(rows.shape[1])
    for part in map_blocks(rows, gene_sums, block_bytes=block_bytes, label="means of genes"):
        total += part
    return np.asarray(total / max(1, rows.shape[0]))
