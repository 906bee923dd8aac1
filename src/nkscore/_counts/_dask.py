"""Chunks of dask arrays, processed by threads or by the user's cluster."""

from __future__ import annotations

import contextlib
import itertools
import os
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar

from tqdm.auto import tqdm

from nkscore._counts._threads import QUIET_SECONDS
from nkscore.errors import ClusterError, NkscoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from nkscore._types import Array, Matrix

T = TypeVar("T")
W = TypeVar("W")


class DaskArray(Protocol):
    """A dask array of cells × genes."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    numblocks: tuple[int, int]
    chunks: tuple[tuple[int, ...], tuple[int, ...]]

    def rechunk(self, chunks: dict[int, int]) -> DaskArray:
        """Return the array in other chunks."""

    def to_delayed(self) -> Array:
        """Return the delayed chunks."""


def is_dask(matrix: object) -> TypeGuard[DaskArray]:
    """Whether ``matrix`` is a dask array."""
    return type(matrix).__module__.partition(".")[0] == "dask"


def edges_of(matrix: DaskArray) -> list[int]:
    """Return the first row of each chunk, and the number of rows."""
    return [0, *itertools.accumulate(matrix.chunks[0])]


def computed(
    tasks: Sequence[Any], n_cells: Sequence[int], *, label: str, large: bool = False
) -> Iterator[Any]:
    """Yield the results of delayed tasks, in order, with a progress bar of cells.

    The active scheduler does the work: dask's threads, or the workers of the user's client. Only a
    few results are fetched at a time if they are ``large``.
    """
    from dask.base import get_scheduler  # type: ignore[import-not-found, unused-ignore]

    # The method of the user's client that dask would call, if there is one.
    client = getattr(get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call, unused-ignore]
    if not (hasattr(client, "compute") and hasattr(client, "gather")):
        client = None
    step = 2 * _n_workers(client) if large else max(1, len(tasks))
    with tqdm(
        total=sum(n_cells), desc=label, unit=" cells", delay=QUIET_SECONDS, unit_scale=True
    ) as bar:
        for first in range(0, len(tasks), step):
            here = slice(first, first + step)
            if client is None:
                yield from _by_threads(tasks[here], n_cells[here], bar)
            else:
                yield from _by_client(client, tasks[here], n_cells[here], bar)


def _n_workers(client: Any) -> int:
    return sum(client.nthreads().values()) if client is not None else os.cpu_count() or 1


def _by_threads(tasks: Sequence[Any], n_cells: Sequence[int], bar: tqdm) -> list[Any]:
    from dask.base import compute  # type: ignore[import-not-found, unused-ignore]
    from dask.callbacks import Callback  # type: ignore[import-not-found, unused-ignore]

    size_of = {task.key: n for task, n in zip(tasks, n_cells, strict=True)}

    def done(key: object, *_: object) -> None:
        bar.update(size_of.get(key, 0))

    with Callback(posttask=done):  # type: ignore[no-untyped-call, unused-ignore]
        # Tasks keep their keys only if the graph is not optimized.
        return list(compute(*tasks, optimize_graph=False))  # type: ignore[no-untyped-call, unused-ignore]


def _by_client(client: Any, tasks: Sequence[Any], n_cells: Sequence[int], bar: tqdm) -> list[Any]:
    from distributed import as_completed  # type: ignore[import-not-found, unused-ignore]

    with _own_errors(client):
        futures = client.compute(list(tasks))
        size_of = {future.key: n for future, n in zip(futures, n_cells, strict=True)}
        for future in as_completed(futures):  # type: ignore[no-untyped-call, unused-ignore]
            bar.update(size_of[future.key])
        return list(client.gather(futures))


@contextlib.contextmanager
def _own_errors(client: Any) -> Iterator[None]:
    """Say what happened to the cluster; errors of the work itself pass."""
    from distributed import KilledWorker  # type: ignore[import-not-found, unused-ignore]

    try:
        yield
    except NkscoreError:
        raise
    except KilledWorker as error:
        msg = (
            f"Workers of the dask cluster ended again and again at one task ({error}). Mostly they "
            "had too little memory: give each worker 4 GB or more, or fewer threads."
        )
        raise ClusterError(msg) from error
    except (FileNotFoundError, PermissionError) as error:
        msg = (
            f"Workers of the dask cluster cannot read {error.filename}: {error.strerror}. Put the "
            "file on a file system that all workers share, or close the client."
        )
        raise ClusterError(msg) from error
    except ImportError as error:
        msg = (
            f"Workers of the dask cluster lack a library ({error}). Install the same "
            "nkscore[scale] for them, or close the client."
        )
        raise ClusterError(msg) from error
    except Exception as error:
        if client.status == "running" and not isinstance(error, CancelledError):
            raise
        msg = (
            f"The dask client closed during the work ({type(error).__name__}: {error}). Start a "
            "client again and repeat the step; without a client, this machine does the work."
        )
        raise ClusterError(msg) from error


def over_chunks(
    matrix: DaskArray,
    work: Callable[[Matrix, W], T],
    wanted: Sequence[W | None],
    *,
    label: str,
    large: bool = False,
) -> Iterator[T]:
    """Yield ``work(chunk, wanted)`` for the chunks of an array, in order.

    ``wanted`` has an entry for each chunk of rows; chunks with ``None`` are skipped.
    """
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    if matrix.numblocks[1] > 1:
        matrix = matrix.rechunk({1: matrix.shape[1]})
    # One copy of the work for all tasks, not one per task.
    shared = delayed(work, pure=False)
    called = delayed(_called)
    tasks, n_cells = [], []
    for chunk, n, own in zip(matrix.to_delayed().ravel(), matrix.chunks[0], wanted, strict=True):
        if own is not None:
            tasks.append(called(shared, chunk, own))
            n_cells.append(n)
    yield from computed(tasks, n_cells, label=label, large=large)


def _called(work: Callable[[Matrix, W], T], chunk: Matrix, wanted: W) -> T:
    return work(chunk, wanted)
