"""Matrices in files that the workers of the user's dask cluster open themselves."""

from __future__ import annotations

import contextlib
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from nkscore._counts._blocks import make_block
from nkscore._counts._dask import computed
from nkscore._counts._normalized import LogRows
from nkscore._counts._parts import read_part
from nkscore._counts._sources import StoredSparse, is_stored, open_rows
from nkscore.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np

    from nkscore._counts._blocks import RowBlock
    from nkscore._counts._parts import Part, Piece
    from nkscore._counts._sources import Pieces, Rows
    from nkscore._types import Array, Floats

    Check = Callable[[Array], None]

T = TypeVar("T")

#: Bytes of float64 values of one task.
TASK_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Far:
    """Place of a CSR matrix in a file that workers can open, and what is made of its values."""

    path: str
    group: str
    is_zarr: bool
    #: Factors of the cells, if the matrix is log1p of these counts.
    per_cell: Floats | None

    def task(self, start: int, stop: int) -> FarRows:
        """Return what a worker needs for the rows from ``start`` to ``stop``."""
        factors = None if self.per_cell is None else self.per_cell[start:stop]
        return FarRows(self.path, self.group, self.is_zarr, start, factors)


@dataclass(frozen=True)
class FarRows:
    """Some rows of the matrix, in the form that is sent to a worker."""

    path: str
    group: str
    is_zarr: bool
    first: int
    factors: Floats | None

    def open(self) -> Rows:
        """Return the rows, on the worker."""
        found = Path(self.path).stat()
        rows = _opened(self.path, self.group, self.is_zarr, found.st_mtime_ns, found.st_size)
        return rows if self.factors is None else LogRows(rows, self.factors, self.first)


@dataclass(frozen=True)
class FarMatrix:
    """Rows of a file that workers open themselves, and this process, too."""

    rows: Rows
    place: Far

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.rows.dtype

    @property
    def n_values(self) -> int:
        """Number of stored values."""
        return self.rows.n_values

    def ranges(self, n_bytes: int, first: int = 0) -> Iterator[tuple[int, int]]:
        """Cut as without workers."""
        return self.rows.ranges(n_bytes, first)

    def read(self, start: int, stop: int) -> Pieces:
        """Read in this process."""
        return self.rows.read(start, stop)


def opened(matrix: object) -> Rows:
    """Return a matrix as rows, for workers if there is a client."""
    place = far(matrix)
    rows = open_rows(matrix)
    return rows if place is None else FarMatrix(rows, place)


@lru_cache(maxsize=4)
def _opened(path: str, group: str, is_zarr: bool, *_: int) -> Rows:  # noqa: FBT001
    if is_zarr:
        import zarr

        held = zarr.open_group(path, mode="r")[group]
    else:
        import h5py

        held = h5py.File(path, "r", locking="best-effort")[group]
    return open_rows(StoredSparse(held, "csr"))


_REQUIRED: Final[ContextVar[bool]] = ContextVar("a client is required", default=False)


@contextlib.contextmanager
def client_required() -> Iterator[None]:
    """Raise an error within the block, rather than work here, once there is no client."""
    token = _REQUIRED.set(True)
    try:
        yield
    finally:
        _REQUIRED.reset(token)


def client_available() -> bool:
    """Whether the user has a dask client; distributed is not imported to find out.

    Raises
    ------
    ClusterError
        Within :func:`client_required`, if there is none.
    """
    distributed = sys.modules.get("distributed")
    found = False
    if distributed is not None:
        with contextlib.suppress(ValueError):
            found = distributed.default_client().status == "running"
    if _REQUIRED.get() and not found:
        msg = (
            "The dask client closed, or its scheduler ended. Start the cluster again and repeat "
            "the command; it resumes from the finished steps."
        )
        raise ClusterError(msg)
    return found


def far(matrix: object) -> Far | None:
    """Return the place of a matrix if there is a client and workers can open the matrix."""
    if not is_stored(matrix) or matrix.format != "csr" or not client_available():
        return None
    group = matrix.group
    logs = group.log_rows() if hasattr(group, "log_rows") else None
    held = group.counts if hasattr(group, "counts") else group
    place = _place(held)
    return None if place is None else Far(*place, None if logs is None else logs.per_cell)


def _place(group: Any) -> tuple[str, str, bool] | None:
    library = type(group).__module__.partition(".")[0]
    if library == "h5py":
        file = group.file
        return (str(Path(file.filename).resolve()), group.name, False) if file.mode == "r" else None
    root = getattr(getattr(group, "store", None), "root", None)
    if library == "zarr" and root is not None:
        return str(Path(root).resolve()), group.path, True
    return None


def map_pieces(
    matrix: Far,
    task: Callable[[Part], T],
    pieces: Iterable[Piece],
    *,
    check: Check | None,
    label: str,
    large: bool,
) -> Iterator[T]:
    """Yield ``task(part)`` of each piece, in order, each made by a worker."""
    tasks, n_cells = piece_tasks(matrix, task, pieces, check)
    return computed(tasks, n_cells, label=label, large=large)


def piece_tasks(
    matrix: Far, task: Callable[[Part], T], pieces: Iterable[Piece], check: Check | None
) -> tuple[list[Any], list[int]]:
    """Return one delayed task for each piece, and its number of cells."""
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    # One copy of the work for all tasks, not one per task.
    shared = delayed(_OnPiece(task, check), pure=False)
    called = delayed(_called)
    pieces = list(pieces)
    tasks = [called(shared, matrix.task(p.first, p.last), p) for p in pieces]
    return tasks, [p.places.size for p in pieces]


def map_ranges(
    matrix: Far,
    task: Callable[[RowBlock], T],
    ranges: Iterable[tuple[int, int]],
    *,
    label: str,
) -> Iterator[T]:
    """Yield ``task(block)`` of each range of rows, in order, each made by a worker."""
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    shared, called = delayed(_OnRange(task), pure=False), delayed(_called)
    ranges = list(ranges)
    tasks = [called(shared, matrix.task(start, stop), (start, stop)) for start, stop in ranges]
    return computed(tasks, [stop - start for start, stop in ranges], label=label)


def _called(work: Callable[[FarRows, Any], T], rows: FarRows, wanted: Any) -> T:
    return work(rows, wanted)


@dataclass(frozen=True)
class _OnPiece(Generic[T]):
    task: Callable[[Part], T]
    check: Check | None

    def __call__(self, rows: FarRows, piece: Piece) -> T:
        return self.task(read_part(rows.open(), 0, piece, self.check))


@dataclass(frozen=True)
class _OnRange(Generic[T]):
    task: Callable[[RowBlock], T]

    def __call__(self, rows: FarRows, wanted: tuple[int, int]) -> T:
        opened = rows.open()
        return self.task(make_block(opened, wanted[0], opened.read(*wanted)))


def sum_of(tasks: list[Any]) -> Any:
    """Return the delayed sum of the results of delayed tasks, added by the workers, in order."""
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    added = delayed(_added)
    while len(tasks) > 1:
        tasks = [added(tasks[i : i + 8]) for i in range(0, len(tasks), 8)]
    return tasks[0]


def _added(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
