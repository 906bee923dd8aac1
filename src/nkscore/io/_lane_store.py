"""Where the counts of lanes go while they are read: to memory, or one by one to a file."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from scipy import sparse

from nkscore._counts._store import PLACE, Writer, check_absent, open_group, write_store
from nkscore._whole import new_hdf5
from nkscore.io._combine import Part, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import pandas as pd

    from nkscore._types import Array

_INT32_MAX: Final = np.iinfo(np.int32).max


class Place(ExitStack, ABC):
    """Takes the counts of lanes, one after the other, and returns them joined.

    After an error, nothing of it stays.
    """

    @abstractmethod
    def taken(self, part: Part) -> Part:
        """Take a lane; the part that is returned may lack its counts."""

    @abstractmethod
    def joined(self, parts: list[Part], names: pd.Index) -> Any:  # noqa: ANN401 (memory or file)
        """Return the counts of all lanes, cells × ``names``."""


class InMemory(Place):
    """Counts of all lanes are kept in memory."""

    def taken(self, part: Part) -> Part:
        """Return the lane as it is."""
        return part

    def joined(self, parts: list[Part], names: pd.Index) -> Any:  # noqa: ANN401 (memory or file)
        """Return one matrix; the counts of the parts become ``None`` as they are copied."""
        if len(parts) == 1:
            only = reordered(_matrix(parts[0]), parts[0].genes, names)
            parts[0] = replace(parts[0], counts=None)
            return only
        return _stacked(parts, names)


class InFile(Place):
    """Counts of each lane are written to a new file when the lane was read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        check_absent(path)
        self._path = path
        self._lanes = path.with_name(f".{os.getpid()}.lanes.{path.name}")
        self.callback(self._lanes.unlink, missing_ok=True)
        self._open = self.enter_context(ExitStack())
        file = self._open.enter_context(new_hdf5(self._lanes))
        self._writer = Writer(file.create_group(PLACE), np.int32)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> bool | None:
        """Close the files; after an error, remove what was written."""
        if kind is not None:
            self._path.unlink(missing_ok=True)
        return super().__exit__(kind, error, trace)

    def taken(self, part: Part) -> Part:
        """Write the counts of a lane, with its own order of genes."""
        counts = _matrix(part)
        self._writer.add(counts)
        return replace(part, counts=Written(counts.shape, counts.indptr))

    def joined(self, parts: list[Part], names: pd.Index) -> Any:  # noqa: ANN401 (memory or file)
        """Return the counts in the file; they are written again only if genes differ."""
        from anndata.io import sparse_dataset

        widest = max(each.counts.shape[1] for each in parts)
        self._writer.finish(max(widest, len(names)))
        self._open.close()
        if all(each.genes.equals(names) for each in parts):
            self._lanes.replace(self._path)
        else:
            write_store(self._path, len(names), self._reordered(parts, names))
        return sparse_dataset(open_group(self._path))

    def _reordered(self, parts: Sequence[Part], names: pd.Index) -> Iterator[sparse.csr_matrix]:
        from nkscore._counts._open import open_counts
        from nkscore._counts._sources import StoredSparse

        group = open_group(self._lanes)
        counts, start = open_counts(StoredSparse(group, "csr")), 0
        for each in parts:
            cells = np.arange(start, start + each.counts.shape[0])
            for block in counts.parts(cells):
                yield reordered(block.matrix[:, : len(each.genes)], each.genes, names)
            start += cells.size
        group.file.close()


@contextlib.contextmanager
def undone_on_error(store: str | os.PathLike[str] | None) -> Iterator[None]:
    """Remove a new store if anything fails after it was written."""
    if store is not None:
        check_absent(Path(store).expanduser())
    try:
        yield
    except BaseException:
        if store is not None:
            Path(store).expanduser().unlink(missing_ok=True)
        raise


def place_for(store: str | os.PathLike[str] | None) -> Place:
    """Return memory, or the file in which counts are to stay."""
    return InMemory() if store is None else InFile(Path(store).expanduser())


def _stacked(parts: list[Part], names: pd.Index) -> sparse.csr_matrix:
    """Return the counts of all parts, whose own are released as soon as they are copied."""
    n_most = sum(each.counts.nnz for each in parts)
    n_cells = sum(len(each.barcodes) for each in parts)
    # Memory of an empty array is taken as it is filled.
    data, indices = np.empty(n_most, np.int32), np.empty(n_most, np.int32)
    # scipy widens the column numbers, too, if one of both needs it.
    starts: Array = np.zeros(n_cells + 1, np.int32 if n_most <= _INT32_MAX else np.int64)
    row = filled = 0
    for place, each in enumerate(parts):
        block = reordered(_matrix(each), each.genes, names)
        stop, end = row + block.shape[0], filled + block.nnz
        data[filled:end], indices[filled:end] = block.data, block.indices
        starts[row + 1 : stop + 1] = block.indptr[1:].astype(starts.dtype) + starts.dtype.type(
            filled
        )
        row, filled = stop, end
        del block
        parts[place] = replace(each, counts=None)
        del each
    if filled < n_most:
        data, indices = data[:filled], indices[:filled]
    return sparse.csr_matrix((data, indices, starts), (n_cells, len(names)))


def _matrix(part: Part) -> sparse.csr_matrix:
    return cast("sparse.csr_matrix", part.counts)


def reordered(counts: sparse.csr_matrix, genes: pd.Index, names: pd.Index) -> sparse.csr_matrix:
    """Return the columns of ``names``, 0 for names that are not among ``genes``."""
    if genes.equals(names):
        return counts
    target = names.get_indexer(genes)
    if (target < 0).any():
        counts, target = counts[:, np.flatnonzero(target >= 0)], target[target >= 0]
    columns = target.astype(np.int32)[counts.indices]
    moved = sparse.csr_matrix(
        (counts.data, columns, counts.indptr), shape=(counts.shape[0], len(names))
    )
    moved.sort_indices()
    return moved
