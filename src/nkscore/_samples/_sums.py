"""Exact sums of counts over groups of cells, from memory, from disk or from dask."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nkscore import schema
from nkscore._counts._sources import is_dask, open_rows
from nkscore.stats import GroupSums, log_moments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Ints

#: Bytes of a block that is read from disk, counted as float64.
_BLOCK_BYTES = 8 << 20


def count_sums(
    matrix: Any, codes: Ints, n_groups: int, *, where: str, squares: bool = False
) -> GroupSums:
    """Sum counts over groups and number the cells with a count, in one pass.

    Parameters
    ----------
    matrix
        Cells × genes: scipy, numpy, a matrix of an open h5ad or zarr store, or a dask array.
    codes
        Group of each cell, -1 for none. Cells without a group are not read from memory or dask.
    where
        Name of the matrix, for errors.
    squares
        Whether to sum squared counts per gene, too.

    Raises
    ------
    WrongScaleError
        If a cell of a group has values other than whole numbers from zero.
    """
    total = GroupSums(n_groups, int(matrix.shape[1]), squares)
    if is_dask(matrix):
        _add_dask(total, matrix, codes, where)
    else:
        for start, rows in _blocks(matrix, codes):
            _add(total, rows, start, codes[start : start + rows.shape[0]], where)
    return total


def log_moment_sums(matrix: Any, codes: Ints, n_groups: int) -> Any:
    """Return sums of log-normalized counts and their squares, see ``stats.log_moments``."""
    total: Any = 0.0
    for start, rows in _blocks(matrix, codes):
        total = total + log_moments(rows, codes[start : start + rows.shape[0]], n_groups)
    return total


def _blocks(matrix: Any, codes: Ints) -> Iterator[tuple[int, Any]]:
    """Yield the first row and the rows, as CSR with each entry stored once."""
    if sparse.issparse(matrix):
        yield 0, _canonical(matrix)
    elif is_dask(matrix):
        edges = np.concatenate([[0], np.cumsum(matrix.chunks[0])])
        for start, stop in itertools.pairwise(edges.tolist()):
            if (codes[start:stop] >= 0).any():
                chunk = matrix[start:stop].compute()
                yield start, _canonical(sparse.csr_matrix(chunk))
    else:
        source = open_rows(matrix)
        for start, stop in source.ranges(_BLOCK_BYTES):
            if (codes[start:stop] >= 0).any():
                indptr, indices, data = source.read(start, stop)
                pieces = (np.asarray(data), np.asarray(indices), np.asarray(indptr) - indptr[0])
                rows = sparse.csr_matrix(pieces, shape=(stop - start, matrix.shape[1]))
                yield start, _canonical(rows)


def _canonical(matrix: Any) -> Any:
    """Return CSR with each entry stored once; never changes the input."""
    rows = matrix.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy() if rows is matrix else rows
        rows.sum_duplicates()
    return rows


def _add(total: GroupSums, rows: Any, start: int, codes: Ints, where: str) -> None:
    broken = total.add(rows.indptr, rows.indices, rows.data, codes=codes)
    if broken >= 0:
        schema.check_counts(rows[[broken]], f"{where} (cell {start + broken})")


def _add_dask(total: GroupSums, matrix: Any, codes: Ints, where: str) -> None:
    from dask.base import compute  # type: ignore[import-not-found, unused-ignore]
    from dask.delayed import delayed  # type: ignore[import-not-found, unused-ignore]

    if matrix.numblocks[1] > 1:
        matrix = matrix.rechunk({1: matrix.shape[1]})
    edges = np.concatenate([[0], np.cumsum(matrix.chunks[0])])
    chunks = matrix.to_delayed().ravel()
    tasks = [
        delayed(_chunk_sums)(chunk, int(a), codes[a:b], (total.n_groups, total.with_squares), where)
        for chunk, a, b in zip(chunks, edges[:-1], edges[1:], strict=True)
        if (codes[a:b] >= 0).any()
    ]
    # A few at a time: each result may be as large as the sums.
    for first in range(0, len(tasks), _DASK_TASKS):
        for groups, sums, cells, squares in compute(  # type: ignore[no-untyped-call, unused-ignore]
            *tasks[first : first + _DASK_TASKS]
        ):
            total.sums[groups] += sums
            total.cells[groups] += cells
            total.squares += squares


_DASK_TASKS = 8


def _chunk_sums(chunk: Any, start: int, codes: Ints, shape: tuple[int, bool], where: str) -> Any:
    """Return the groups of a chunk with their sums and numbers of cells."""
    present = np.unique(codes[codes >= 0])
    n_groups, squares = shape
    own = np.full(n_groups + 1, -1, dtype=np.int64)
    own[present] = np.arange(present.size)
    part = GroupSums(present.size, int(chunk.shape[1]), squares)
    rows = chunk if sparse.issparse(chunk) else sparse.csr_matrix(np.asarray(chunk))
    _add(part, _canonical(rows), start, own[codes], where)
    return present, part.sums, part.cells, part.squares
