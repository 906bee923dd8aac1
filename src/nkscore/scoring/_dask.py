"""Score dask arrays chunk by chunk, on threads or on the user's cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from nkscore._counts._blocks import QUIET_SECONDS, check_largest, gene_sums, whole_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats
    from nkscore.scoring._registry import Scorer
    from nkscore.scoring._sets import GeneSets


def run_dask(
    scorer: Scorer, matrix: Any, sets: GeneSets, *, largest: float | None = None, **options: Any
) -> Floats:
    """Score a dask array of cells × genes, whose chunks are scipy matrices or numpy arrays.

    The active scheduler does the work: dask's threads, or the workers of the user's client. Only
    scores and sums of genes are sent back.
    """
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    n_cells = matrix.shape[0]
    if sets.n_sets == 0:
        return np.zeros((n_cells, 0))
    matrix, chunks, starts = row_chunks(matrix)
    if scorer.prepare is not None:
        tasks = [delayed(chunk_sums)(chunk) for chunk in chunks]
        sums = _computed(tasks, matrix.chunks[0], "means of genes")
        sets = scorer.prepare(sets, np.sum(sums, axis=0) / n_cells, **options)
    # One copy of the sets for all tasks, not one per task.
    shared = delayed(sets, pure=False)
    score = delayed(_chunk_scores)
    tasks = [
        score(chunk, start, scorer, shared, largest, options)
        for start, chunk in zip(starts, chunks, strict=True)
    ]
    return np.concatenate(_computed(tasks, matrix.chunks[0], f"scoring, {scorer.name}"))


def row_chunks(matrix: Any) -> tuple[Any, Any, list[int]]:
    """Return the array in chunks of whole rows, its delayed chunks, and the first cell of each."""
    if matrix.numblocks[1] > 1:
        matrix = matrix.rechunk({1: matrix.shape[1]})
    starts = np.concatenate([[0], np.cumsum(matrix.chunks[0])[:-1]]).tolist()
    return matrix, matrix.to_delayed().ravel(), starts


def _computed(tasks: list[Any], n_cells: Sequence[int], label: str) -> list[Any]:
    """Return the results of all tasks, in order, with a progress bar of cells."""
    from dask.base import compute, get_scheduler  # type: ignore[import-not-found, unused-ignore]

    # The method of the user's client that dask would call, if there is one.
    scheduler = get_scheduler()  # type: ignore[no-untyped-call, unused-ignore]
    client = getattr(scheduler, "__self__", None)
    with tqdm(
        total=sum(n_cells), desc=label, unit=" cells", delay=QUIET_SECONDS, unit_scale=True
    ) as bar:
        if hasattr(client, "compute") and hasattr(client, "gather"):
            return _computed_by(client, tasks, n_cells, bar)
        size_of = {task.key: n for task, n in zip(tasks, n_cells, strict=True)}

        def done(key: Any, *_: Any) -> None:
            bar.update(size_of.get(key, 0))

        from dask.callbacks import Callback  # type: ignore[import-not-found, unused-ignore]

        with Callback(posttask=done):  # type: ignore[no-untyped-call, unused-ignore]
            # Tasks keep their keys only if the graph is left as it is.
            return list(compute(*tasks, optimize_graph=False))  # type: ignore[no-untyped-call, unused-ignore]


def _computed_by(client: Any, tasks: list[Any], n_cells: Sequence[int], bar: Any) -> list[Any]:
    from distributed import as_completed  # type: ignore[import-not-found, unused-ignore]

    futures = client.compute(tasks)
    size_of = {future.key: n for future, n in zip(futures, n_cells, strict=True)}
    for future in as_completed(futures):  # type: ignore[no-untyped-call, unused-ignore]
        bar.update(size_of[future.key])
    return list(client.gather(futures))


def chunk_sums(chunk: Any) -> Floats:
    """Return the sum of each gene over a chunk."""
    return gene_sums(whole_block(chunk))


def _chunk_scores(  # noqa: PLR0917 (dask passes positional arguments)
    chunk: Any, start: int, scorer: Scorer, sets: GeneSets, largest: float | None, options: Any
) -> Floats:
    block = whole_block(chunk, start)
    check_largest(block, largest)
    return scorer.func(block, sets, **options)
