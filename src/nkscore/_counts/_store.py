"""Counts in a separate file: written once, block by block, and read from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore._whole import new_hdf5, whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scipy import sparse

    from nkscore._types import Array

#: Place of the counts in a store, as in an h5ad file.
PLACE: Final = "layers/counts"
#: Values per chunk of a file.
_CHUNK: Final = 1 << 18


class Writer:
    """A CSR matrix in an HDF5 file, to which rows are added at the end.

    Parameters
    ----------
    group
        An empty group.
    dtype
        Type of the values.
    packed
        Options of the filter of h5py, none by default.
    """

    def __init__(self, group: Any, dtype: object, **packed: object) -> None:
        self._group = group
        self._data = _Growing(group, "data", dtype, packed)
        self._indices = _Growing(group, "indices", np.int32, packed)
        self._per_row: list[Array] = []

    def add(self, rows: sparse.csr_matrix) -> None:
        """Add rows, whose positions ascend within each row."""
        self._data.add(rows.data)
        self._indices.add(rows.indices)
        self._per_row.append(np.diff(rows.indptr).astype(np.int64))

    def finish(self, n_genes: int) -> None:
        """Write what waits, and the attributes that anndata reads."""
        self._data.finish()
        self._indices.finish()
        per_row = np.concatenate([np.zeros(1, np.int64), *self._per_row])
        self._group.create_dataset("indptr", data=np.cumsum(per_row))
        self._group.attrs["encoding-type"] = "csr_matrix"
        self._group.attrs["encoding-version"] = "0.1.0"
        self._group.attrs["shape"] = np.array([per_row.size - 1, n_genes])


class _Growing:
    """One array of a file, written in whole chunks so that none is packed twice."""

    def __init__(self, group: Any, name: str, dtype: Any, packed: dict[str, object]) -> None:
        self._array = group.create_dataset(
            name, (0,), dtype, chunks=(_CHUNK,), maxshape=(None,), **packed
        )
        self._waiting: list[Array] = []
        self._n_waiting = 0

    def add(self, values: Array) -> None:
        # The block that these values belong to may be released or filled again.
        self._waiting.append(np.array(values, dtype=self._array.dtype))
        self._n_waiting += values.size
        if self._n_waiting >= _CHUNK:
            self._write(self._n_waiting - self._n_waiting % _CHUNK)

    def finish(self) -> None:
        self._write(self._n_waiting)

    def _write(self, n: int) -> None:
        if n == 0:
            return
        values = np.concatenate(self._waiting)
        start = self._array.shape[0]
        self._array.resize((start + n,))
        self._array[start:] = values[:n]
        self._waiting, self._n_waiting = [values[n:].copy()], values.size - n


def write_store(path: Path, n_genes: int, blocks: Iterable[sparse.csr_matrix]) -> None:
    """Write blocks of rows as a new store of int32 counts, which appears when it is whole.

    Raises
    ------
    FileExistsError
        If something is at ``path``.
    OSError
        If the store cannot be written, for example on a full disk.
    """
    check_absent(path)
    with whole(path) as beside, new_hdf5(beside) as file:
        writer = Writer(file.create_group(PLACE), np.int32)
        for block in blocks:
            writer.add(block)
        writer.finish(n_genes)


def check_absent(path: Path) -> None:
    """Raise ``FileExistsError`` if a store would replace something."""
    if path.exists() or path.is_symlink():
        msg = f"{path} exists; a store of counts is a new file. Choose another name, or delete it."
        raise FileExistsError(msg)
    if not path.parent.is_dir():
        msg = f"{path.parent} is no folder, so no store can be written there. Make it first."
        raise FileNotFoundError(msg)


def open_group(path: Path, place: str = PLACE) -> Any:
    """Return the group of a CSR matrix in a file, which is read block by block."""
    import h5py

    # Some file systems of clusters know no locks; the file is not changed any more.
    return h5py.File(path, "r", locking="best-effort")[place]


def path_of(matrix: object) -> str | None:
    """Return the path of the h5ad file that holds a matrix, ``None`` for other places."""
    file = getattr(getattr(matrix, "group", None), "file", None)
    return None if file is None else str(file.filename)
