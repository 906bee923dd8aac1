"""Posteriors of NK cells shared with their neighbors or with their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from nkscore import schema
from nkscore._samples._variable_cells import variable_cells
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints

_N_VARIABLE, _N_COMPONENTS, _RESOLUTION = 2000, 20, 1.0


def smoothed(adata: AnnData, cells: Ints, posterior: Floats, *, weight: float) -> Floats:
    """Mix each cell's posterior with the mean of its neighbors in the compartment."""
    if schema.CONNECTIVITIES not in adata.obsp:
        msg = (
            f"adata.obsp has no {schema.CONNECTIVITIES!r}, which smooth={weight:g} needs. Run "
            "tl.embed first, or set smooth=0."
        )
        raise MissingKeyError(msg)
    graph = sparse.csr_matrix(adata.obsp[schema.CONNECTIVITIES])[cells][:, cells]
    total = np.asarray(graph.sum(axis=1)).ravel()
    around = np.asarray(graph @ posterior) / np.maximum(total, 1e-12)[:, None]
    # A cell without neighbors in the compartment keeps its posterior.
    share = np.where(total > 0, weight, 0.0)[:, None]
    return (1 - share) * posterior + share * around


def by_cluster(counts: Counts, cells: Ints, posterior: Floats) -> Floats:
    """Give each of some cells the mean posterior of its Leiden cluster."""
    codes = _clusters(counts, cells)
    sums = np.zeros((codes.max() + 1, posterior.shape[1]))
    np.add.at(sums, codes, posterior)
    return (sums / np.bincount(codes)[:, None])[codes]


def _clusters(counts: Counts, cells: Ints) -> Ints:
    import scanpy as sc

    from nkscore.stats._neighbors import NearestNeighbors

    shell = variable_cells(counts, cells, n_top=min(_N_VARIABLE, counts.shape[1] - 1))
    n_components = min(_N_COMPONENTS, shell.n_obs - 1, shell.n_vars - 1)
    sc.pp.pca(shell, n_comps=n_components, random_state=0)
    # The search of scanpy 1.11 fails above 8,192 cells with scipy 1.17.
    search = NearestNeighbors(min(15, shell.n_obs - 1))
    sc.pp.neighbors(shell, transformer=search, random_state=0)
    sc.tl.leiden(
        shell,
        resolution=_RESOLUTION,
        flavor="igraph",
        n_iterations=2,
        directed=False,
        random_state=0,
    )
    return np.asarray(shell.obs["leiden"].cat.codes, dtype=np.int64)
