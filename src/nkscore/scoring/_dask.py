"""Score dask arrays chunk by chunk, on threads or on the user's cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore.scoring._blocks import make_block
from nkscore.scoring._run import check_largest, gene_sums
from nkscore.scoring._sources import open_rows

if TYPE_CHECKING:
    from nkscore.scoring._blocks import RowBlock
    from nkscore.scoring._registry import Scorer
    from nkscore.scoring._sets import GeneSets

    Scores = np.ndarray[Any, np.dtype[np.float64]]


def run_dask(
    scorer: Scorer, matrix: Any, sets: GeneSets, *, largest: float | None = None, **options: Any
) -> Scores:
    """Score a dask array of cells × genes, whose chunks are scipy matrices or numpy arrays.

    The scheduler in charge does the work: dask's threads, or the workers of the client that the
    user has opened. Only scores and sums of genes travel back.
    """
    import dask  # type: ignore[import-not-found, unused-ignore]

    n_cells, n_genes = matrix.shape
    if sets.n_sets == 0:
        return np.zeros((n_cells, 0))
    if matrix.numblocks[1] > 1:
        matrix = matrix.rechunk({1: n_genes})
    chunks = matrix.to_delayed().ravel()
    if scorer.prepare is not None:
        sums = dask.compute(*[dask.delayed(_chunk_sums)(chunk) for chunk in chunks])
        sets = scorer.prepare(sets, np.sum(sums, axis=0) / n_cells, **options)
    # One copy of the sets for all tasks, not one in each.
    shared = dask.delayed(sets, pure=False)
    starts = np.concatenate([[0], np.cumsum(matrix.chunks[0])[:-1]]).tolist()
    score = dask.delayed(_chunk_scores)
    scores = dask.compute(
        *[
            score(chunk, start, scorer, shared, largest, options)
            for start, chunk in zip(starts, chunks, strict=True)
        ]
    )
    return np.concatenate(scores)


def _blocks(chunk: Any, start: int = 0) -> list[RowBlock]:
    rows = open_rows(chunk)
    return [make_block(rows, start, rows.read(0, rows.shape[0]))]


def _chunk_sums(chunk: Any) -> Scores:
    (block,) = _blocks(chunk)
    return gene_sums(block)


def _chunk_scores(  # noqa: PLR0917 (dask passes positional arguments)
    chunk: Any, start: int, scorer: Scorer, sets: GeneSets, largest: float | None, options: Any
) -> Scores:
    (block,) = _blocks(chunk, start)
    check_largest(block, largest)
    return scorer.func(block, sets, **options)
