"""Map of all cells for figures."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._checks import check_whole, seed_of
from nkscore._samples._matrices import expression_of
from nkscore.errors import DesignError
from nkscore.stats._components import moments, principal_components
from nkscore.stats._variable_genes import variable_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools

#: Epochs of the layout: those of umap for more than 10,000 points. Below, it takes 500, which
#: needs more than twice the time.
_EPOCHS: Final = 200


def embed(
    adata: AnnData,
    *,
    n_top_genes: int = 2000,
    n_comps: int = 30,
    n_neighbors: int = 15,
    rng: int | np.random.Generator | None = 0,
) -> None:
    """Compute principal components, a neighbor graph and a UMAP with scanpy's defaults.

    Reads ``X`` after ``pp.normalize``. The map is for viewing only; no nkscore result is computed
    from it. Neighbors are exact up to 50,000 cells. Above, nearest neighbor descent finds 99 % of
    them (200,000 points in 30 dimensions). UMAP takes 200 epochs for any number of
    cells. The result does not depend on the number of threads.

    Parameters
    ----------
    adata
        Cells × genes.
    n_top_genes
        Highly variable genes used (scanpy's ``seurat`` flavor).
    n_comps
        Principal components, at most cells − 1 and genes − 1.
    n_neighbors
        Neighbors per cell.
    rng
        Seed of the decomposition and of the layout.

    Returns
    -------
    None
        Writes ``var["highly_variable"]`` (bool), ``obsm["X_pca"]``, ``obsm["X_umap"]``
        (float, cells × components, cells × 2), ``varm["PCs"]`` (float, genes × components),
        ``obsp["distances"]``, ``obsp["connectivities"]``, scanpy's ``uns["pca"]``,
        ``uns["neighbors"]`` and ``uns["umap"]``, and ``uns["nkscore"]["tl.embed"]``.

    Raises
    ------
    MissingKeyError
        If ``X`` is empty.
    WrongScaleError
        If ``X`` is not log-normalized.
    GeneCoverageError
        If gene names are repeated.
    DesignError
        If there are fewer than 20 cells.
    ValueError
        If a number is out of range.
    """
    import scanpy as sc
    from threadpoolctl import threadpool_limits

    from nkscore.stats._neighbors import NearestNeighbors

    check_whole(2, n_top_genes=n_top_genes, n_neighbors=n_neighbors)
    check_whole(1, n_comps=n_comps)
    seed = seed_of(rng)
    expression = expression_of(adata)
    if adata.n_obs < 20:
        msg = f"{adata.n_obs} cells cannot be mapped; at least 20 are needed."
        raise DesignError(msg)
    found = moments(expression)
    chosen = variable_genes(found, min(n_top_genes, int((found.mean > 0).sum())))
    adata.var[schema.HIGHLY_VARIABLE] = chosen
    # The map would change with the number of threads that share the sums.
    with threadpool_limits(limits=1, user_api="blas"):
        n_comps = min(n_comps, adata.n_obs - 1, int(chosen.sum()) - 1)
        _write_components(adata, expression, chosen, n_comps)
        search = NearestNeighbors(min(n_neighbors, adata.n_obs), seed=seed)
        _keep_compiled()
        sc.pp.neighbors(adata, use_rep=schema.PCA, transformer=search, random_state=seed)
        sc.tl.umap(adata, random_state=seed, maxiter=_EPOCHS)
    schema.record(
        adata,
        "tl.embed",
        function="tl.embed",
        options={
            "n_top_genes": n_top_genes,
            "n_comps": n_comps,
            "n_neighbors": n_neighbors,
            "rng": seed,
        },
    )


def _keep_compiled() -> None:
    """Let numba store what it compiles of umap, which else takes 5 s in every process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed")
        from umap import layouts, umap_

    for module, name in (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    ):
        # Without a folder for it, or in a version without that name, it is compiled again.
        with contextlib.suppress(AttributeError, RuntimeError):
            getattr(module, name).enable_caching()


def _write_components(adata: AnnData, expression: Counts, chosen: Bools, n_comps: int) -> None:
    """Write the slots of scanpy's principal components."""
    genes = np.flatnonzero(chosen)
    made = principal_components(expression, genes, n_comps)
    loadings = np.zeros((adata.n_vars, n_comps))
    loadings[genes] = made.loadings
    adata.obsm[schema.PCA], adata.varm[schema.LOADINGS] = made.scores, loadings
    adata.uns[schema.OPTIONS_OF_PCA] = {
        "params": {
            "zero_center": True,
            "use_highly_variable": True,
            "mask_var": schema.HIGHLY_VARIABLE,
        },
        "variance": made.variance,
        "variance_ratio": made.ratio,
    }
