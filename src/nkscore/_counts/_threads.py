"""Ranges of cells shared by several threads, with results in order."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

#: Progress is shown for work that takes longer than this many seconds.
QUIET_SECONDS = 10.0


def in_order(
    jobs: Iterable[tuple[int, Callable[[], T]]], *, n_cells: int, first: int = 0, label: str = ""
) -> Iterator[T]:
    """Yield the result of each job, in order; each job comes with its number of cells.

    Jobs release the interpreter lock while they read and compute, so plain threads share them; the
    number of threads is ``numba.get_num_threads()``, that is ``NUMBA_NUM_THREADS``.

    Parameters
    ----------
    n_cells, first
        Number of cells, and number of cells done before, both for the progress bar.
    """
    from numba import get_num_threads

    n_threads = get_num_threads()
    pending: deque[tuple[int, Future[T]]] = deque()
    with (
        tqdm(
            total=n_cells,
            initial=first,
            desc=label,
            unit=" cells",
            delay=QUIET_SECONDS,
            unit_scale=True,
        ) as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        try:
            for size, job in jobs:
                pending.append((size, pool.submit(job)))
                # A thread holds one block at a time; only results wait here.
                if len(pending) > 2 * n_threads:
                    done, future = pending.popleft()
                    yield future.result()
                    bar.update(done)
            while pending:
                done, future = pending.popleft()
                yield future.result()
                bar.update(done)
        finally:
            for _, future in pending:
                future.cancel()
