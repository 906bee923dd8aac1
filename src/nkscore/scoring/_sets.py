"""Signed gene sets as arrays: for each gene of the matrix, the sets that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Bools, Ints, Ints32


@dataclass(frozen=True, slots=True)
class GeneSets:
    """An inverted index. Set ``j`` has its up part at ``2 j`` and its down part at ``2 j + 1``.

    ``first[g]`` is -1 for a gene in no set. Otherwise ``members[first[g]]`` and those that
    follow, up to the first where ``last`` is true, are the parts that hold the gene. ``size``
    counts all genes of a part, ``found`` those in the matrix.
    """

    first: Ints32
    members: np.ndarray[Any, np.dtype[np.uint16 | np.int32]]
    last: Bools
    size: Ints
    found: Ints

    @property
    def n_sets(self) -> int:
        """Number of signed sets."""
        return self.size.size // 2

    def parts(self) -> list[Ints]:
        """Return the gene positions of each part, in ascending order."""
        used = np.flatnonzero(self.first >= 0)
        # Members are stored in the order of the genes.
        genes = used[np.cumsum(self.last) - self.last]
        order = np.argsort(self.members, kind="stable")
        return np.split(genes[order], np.cumsum(self.found)[:-1]) if self.found.size else []


def gene_sets(
    up: Sequence[Ints],
    down: Sequence[Ints],
    *,
    n_genes: int,
    sizes: Sequence[tuple[int, int]],
) -> GeneSets:
    """Build the index from gene positions per set.

    Parameters
    ----------
    up, down
        For each set, column numbers of its genes. A column listed twice counts twice.
    n_genes
        Number of columns of the matrix.
    sizes
        For each set, the number of up and down genes including those absent from the matrix.
    """
    parts = [part for pair in zip(up, down, strict=True) for part in pair]
    found = np.array([len(part) for part in parts], dtype=np.int64)
    genes = np.concatenate([np.asarray(p, dtype=np.int64) for p in parts]) if parts else found
    owner = np.repeat(np.arange(len(parts), dtype=np.int32), found)
    order = np.argsort(genes, kind="stable")
    used, start = np.unique(genes[order], return_index=True)
    first = np.full(n_genes, -1, dtype=np.int32)
    first[used] = start
    last = np.zeros(genes.size, dtype=bool)
    last[start[1:] - 1] = True
    last[-1:] = True
    size = np.array([n for pair in sizes for n in pair], dtype=np.int64)
    # Narrow integers, so that the lists of thousands of random sets fit into the cache.
    narrow = np.uint16 if len(parts) <= np.iinfo(np.uint16).max else np.int32
    return GeneSets(first, owner[order].astype(narrow), last, size, found)
