"""Run a scorer over all blocks of a matrix, on several threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from tqdm.auto import tqdm

from nkscore._counts._blocks import (
    QUIET_SECONDS,
    RowBlock,
    check_largest,
    gene_sums,
    make_block,
)
from nkscore._counts._sources import BLOCK_BYTES, is_dask, open_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore._counts._sources import Rows
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
    if is_dask(matrix):
        from nkscore.scoring._dask import run_dask

        return run_dask(scorer, matrix, sets, largest=largest, **options)
    rows = open_rows(matrix)
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
    scorer: Scorer, rows: Rows, sets: GeneSets, *, block_bytes: int = BLOCK_BYTES, **options: Any
) -> Any:
    """Return the sets in the kernel's form, after a first pass over the data if needed."""
    if scorer.prepare is None:
        return sets
    return scorer.prepare(sets, gene_means(rows, block_bytes=block_bytes), **options)


def scored(
    scorer: Scorer,
    rows: Rows,
    plan: Any,
    *,
    block_bytes: int = BLOCK_BYTES,
    first: int = 0,
    largest: float | None = None,
    **options: Any,
) -> Iterator[tuple[int, Floats]]:
    """Yield (first cell, scores) block by block, in order."""

    def task(block: RowBlock) -> tuple[int, Floats]:
        check_largest(block, largest)
        return block.start, scorer.func(block, plan, **options)

    return map_blocks(
        rows, task, block_bytes=block_bytes, first=first, label=f"scoring, {scorer.name}"
    )


def gene_means(rows: Rows, *, block_bytes: int = BLOCK_BYTES) -> Floats:
    """Return the mean of each gene over all cells; the same for any order of cells."""
    total = np.zeros(rows.shape[1])

    def task(block: RowBlock) -> Floats:
        return gene_sums(block)

    for part in map_blocks(rows, task, block_bytes=block_bytes, label="means of genes"):
        total += part
    return total / max(1, rows.shape[0])


def map_blocks(
    rows: Rows,
    task: Callable[[RowBlock], Any],
    *,
    block_bytes: int = BLOCK_BYTES,
    first: int = 0,
    label: str = "",
) -> Iterator[Any]:
    """Yield ``task(block)`` for all blocks in order; each thread reads a block and computes."""
    n_threads = numba.get_num_threads()
    pending: deque[tuple[int, Future[Any]]] = deque()

    def work(start: int, stop: int) -> Any:
        return task(make_block(rows, start, rows.read(start, stop)))

    with (
        tqdm(
            total=rows.shape[0],
            initial=first,
            desc=label,
            unit=" cells",
            delay=QUIET_SECONDS,
            unit_scale=True,
        ) as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        try:
            for start, stop in rows.ranges(block_bytes, first):
                pending.append((stop - start, pool.submit(work, start, stop)))
                # A thread holds one block at a time; only results wait here.
                if len(pending) > 2 * n_threads:
                    n_cells, job = pending.popleft()
                    yield job.result()
                    bar.update(n_cells)
            while pending:
                n_cells, job = pending.popleft()
                yield job.result()
                bar.update(n_cells)
        finally:
            for _, job in pending:
                job.cancel()
