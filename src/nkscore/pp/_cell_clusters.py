"""Clusters of cells by their variable genes, whose counts are read block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._samples._cells import passed_qc
from nkscore._samples._variable_cells import variable_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Ints


def cell_clusters(adata: AnnData, counts: Counts) -> Ints:
    """Return the cluster of each cell that passed QC, -1 for the others.

    Only the variable genes of these cells are in memory at once.
    """
    import scanpy as sc

    from nkscore.stats._neighbors import NearestNeighbors

    usable = passed_qc(adata)
    shell = variable_cells(counts, usable, n_top=2000)
    n_comps = min(30, shell.n_obs - 1, shell.n_vars - 1)
    sc.pp.pca(shell, n_comps=n_comps, random_state=0)
    # The search of scanpy 1.11 fails above 8,192 cells with scipy 1.17.
    search = NearestNeighbors(min(15, shell.n_obs))
    sc.pp.neighbors(shell, transformer=search, random_state=0)
    sc.tl.leiden(shell, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    clusters = np.full(adata.n_obs, -1, dtype=np.int64)
    clusters[usable] = shell.obs["leiden"].astype(int)
    return clusters
