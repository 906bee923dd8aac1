"""One task for all blocks of rows, from memory, files and dask arrays."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from nkscore._counts._blocks import make_block, whole_block
from nkscore._counts._dask import edges_of, is_dask, over_chunks
from nkscore._counts._far import TASK_BYTES, FarMatrix, map_ranges, opened
from nkscore._counts._sources import BLOCK_BYTES, is_rows
from nkscore._counts._threads import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore._counts._blocks import RowBlock
    from nkscore._counts._sources import Rows
    from nkscore._types import Matrix

T = TypeVar("T")


def map_blocks(
    matrix: object,
    task: Callable[[RowBlock], T],
    *,
    block_bytes: int = BLOCK_BYTES,
    first: int = 0,
    label: str = "",
) -> Iterator[T]:
    """Yield ``task(block)`` for all blocks of rows, in order.

    Plain threads share the blocks of memory and of files, and each thread reads its own blocks.
    For a dask array, the task is sent to the active scheduler, for example the user's cluster.

    Parameters
    ----------
    matrix
        Anything that :func:`open_rows` takes or returns, or a dask array.
    block_bytes
        Size of a block of float64 values; chunks of dask arrays are taken whole.
    first
        First row, not for dask arrays.
    """
    if is_dask(matrix):
        return over_chunks(matrix, partial(_on_chunk, task), edges_of(matrix)[:-1], label=label)
    rows = matrix if is_rows(matrix) else opened(matrix)
    if isinstance(rows, FarMatrix):
        return map_ranges(rows.place, task, rows.ranges(TASK_BYTES, first), label=label)
    ranges = rows.ranges(block_bytes, first)
    jobs = ((stop - start, partial(_on_range, task, rows, start, stop)) for start, stop in ranges)
    return in_order(jobs, n_cells=rows.shape[0], first=first, label=label)


def _on_range(task: Callable[[RowBlock], T], rows: Rows, start: int, stop: int) -> T:
    return task(make_block(rows, start, rows.read(start, stop)))


def _on_chunk(task: Callable[[RowBlock], T], chunk: Matrix, start: int) -> T:
    return task(whole_block(chunk, start))
