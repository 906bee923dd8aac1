"""Clusters of cells by their variable genes, whose counts are read block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from nkscore._counts._base import columns_of
from nkscore._samples._cells import passed_qc
from nkscore.stats._variable_genes import Moments, variable_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._counts._parts import Part
    from nkscore._types import Ints


def cell_clusters(adata: AnnData, counts: Counts) -> Ints:
    """Return the cluster of each cell that passed QC, -1 for the others.

    Only the variable genes of these cells are in memory at once.
    """
    import anndata
    import scanpy as sc

    from nkscore.stats._neighbors import NearestNeighbors

    usable = passed_qc(adata)
    found = Moments.over(counts.map(_moments, usable), adata.n_vars)
    genes = np.flatnonzero(variable_genes(found, 2000))
    blocks = list(counts.map(_Logs(genes), usable))
    shell = anndata.AnnData(X=sparse.vstack(blocks, format="csr"))
    n_comps = min(30, shell.n_obs - 1, shell.n_vars - 1)
    sc.pp.pca(shell, n_comps=n_comps, random_state=0)
    # The search of scanpy 1.11 fails above 8,192 cells with scipy 1.17.
    search = NearestNeighbors(min(15, shell.n_obs))
    sc.pp.neighbors(shell, transformer=search, random_state=0)
    sc.tl.leiden(shell, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    clusters = np.full(adata.n_obs, -1, dtype=np.int64)
    clusters[usable] = shell.obs["leiden"].astype(int)
    return clusters


def _logs(part: Part) -> sparse.csr_matrix:
    """Return the log-normalized values of a part, in the single precision of scanpy."""
    import anndata
    import scanpy as sc

    shell = anndata.AnnData(X=sparse.csr_matrix(part.matrix, dtype=np.float32))
    scaled = sc.pp.normalize_total(shell, target_sum=1e4, inplace=False)["X"]
    return sparse.csr_matrix(sc.pp.log1p(scaled))


def _moments(part: Part) -> Moments:
    return Moments.of_logs(_logs(part))


@dataclass(frozen=True)
class _Logs:
    genes: Ints

    def __call__(self, part: Part) -> sparse.csr_matrix:
        return columns_of(_logs(part), np.arange(part.cells.size), self.genes)
