"""Mean of the log-normalized values of a set, signs as weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from nkscore.scoring._blocks import RowBlock
    from nkscore.scoring._sets import GeneSets


def weighted_mean(block: RowBlock, sets: GeneSets) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return (Σ up − Σ down) / (number of genes in the set that are in the data)."""
    n_found = sets.found[0::2] + sets.found[1::2]
    genes = np.flatnonzero(sets.slot)
    parts = sparse.csr_matrix(
        (np.ones(sets.members.size), sets.members, sets.starts[1:]),
        shape=(genes.size, sets.size.size),
    )
    signed = parts[:, 0::2] - parts[:, 1::2]
    weights = sparse.csr_matrix(
        (np.ones(genes.size), (genes, np.arange(genes.size))), shape=(block.n_genes, genes.size)
    )
    rows = sparse.csr_matrix(
        (block.values, block.indices, block.indptr), shape=(block.n_cells, block.n_genes)
    )
    sums = (rows @ (weights @ signed)).toarray()
    return np.asarray(sums / np.maximum(n_found, 1))


WEIGHTED_MEAN = register(
    Scorer(
        name="weighted_mean",
        func=weighted_mean,
        reads="X",
        limits=(-float(np.log1p(1e4)), float(np.log1p(1e4))),
        cell_wise=True,
        rank_based=False,
        options={},
        doi="",
        description="Signed mean of log1p counts per 10,000 over the genes of the set.",
    )
)
