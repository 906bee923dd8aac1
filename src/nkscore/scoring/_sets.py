"""Signed gene sets as arrays: for each gene of the matrix, the sets that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Positions = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class GeneSets:
    """An inverted index. Set ``j`` has its up part at ``2 j`` and its down part at ``2 j + 1``.

    ``slot[g]`` is 0 for a gene in no set, else its number in ``members[starts[slot] :
    starts[slot + 1]]``, which lists parts. ``size`` counts all genes of a part, ``found`` those in
    the matrix.
    """

    slot: np.ndarray[Any, np.dtype[np.int32]]
    starts: np.ndarray[Any, np.dtype[np.int64]]
    members: np.ndarray[Any, np.dtype[np.int32]]
    size: np.ndarray[Any, np.dtype[np.int64]]
    found: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def n_sets(self) -> int:
        """Number of signed sets."""
        return self.size.size // 2


def gene_sets(
    up: Sequence[Positions],
    down: Sequence[Positions],
    *,
    n_genes: int,
    sizes: Sequence[tuple[int, int]],
) -> GeneSets:
    """Build the index from gene positions per set.

    Parameters
    ----------
    up, down
        For each set, distinct column numbers of its genes.
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
    used, first = np.unique(genes[order], return_index=True)
    slot = np.zeros(n_genes, dtype=np.int32)
    slot[used] = np.arange(1, used.size + 1)
    starts = np.concatenate([[0], first, [genes.size]]).astype(np.int64)
    size = np.array([n for pair in sizes for n in pair], dtype=np.int64)
    return GeneSets(slot, starts, owner[order], size, found)
