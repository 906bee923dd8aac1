"""Cells with the log-normalized values of their variable genes, read block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from nkscore._counts._base import columns_of
from nkscore.stats._variable_genes import Moments, variable_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._counts._parts import Part
    from nkscore._types import Cells, Ints


def variable_cells(counts: Counts, cells: Cells, *, n_top: int) -> AnnData:
    """Return log-normalized values of some cells for their ``n_top`` variable genes.

    ``cells``: a mask, or ascending positions. Only these genes are in memory for all cells.
    """
    import anndata

    found = Moments.over(counts.map(_moments, cells), counts.shape[1])
    genes = np.flatnonzero(variable_genes(found, n_top))
    blocks = list(counts.map(_Logs(genes), cells))
    return anndata.AnnData(X=sparse.vstack(blocks, format="csr"))


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
