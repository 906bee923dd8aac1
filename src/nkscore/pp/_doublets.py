"""Doublet scores that need neither hashtags nor monocultures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from nkscore import schema
from nkscore._checks import seed_of
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import counts_of

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import CSR, Floats

_LOG = logging.getLogger("nkscore")
_FEWEST = 50


def doublet_scores(
    adata: AnnData,
    *,
    by: str = schema.LANE,
    expected_rate: float = 0.06,
    rng: int | np.random.Generator | None = 0,
) -> None:
    """Score each cell by how much it resembles simulated doublets of its lane.

    The score detects doublets of two lines, or of a tumor and an NK cell, even if both have the
    same hashtag, but not doublets of two similar cells. No cell is removed and no call is made:
    compare with ``hashtag_class`` and ``compartment``.

    Reads ``layers["counts"]``, ``obs[by]`` and, where present, ``obs["qc_pass"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    by
        Column of ``obs`` whose levels are scored separately.
    expected_rate
        Expected share of doublets, 0 to 1; about 0.8 % per 1,000 cells loaded on a 10x lane.
    rng
        Seed of the simulated doublets, or a generator.

    Returns
    -------
    None
        Writes ``obs["doublet_score"]`` (float64, 0 to 1; NaN for cells that failed QC and for
        levels with fewer than 50 cells) and ``uns["nkscore"]["pp.doublet_scores"]``.

    Raises
    ------
    MissingKeyError
        If ``obs[by]`` is absent.
    WrongScaleError
        If ``layers["counts"]`` is not counts.
    ValueError
        If ``expected_rate`` is not between 0 and 1.

    Notes
    -----
    Scrublet (Wolock et al. 2019, doi 10.1016/j.cels.2018.11.005) in scanpy's implementation.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.pp.doublet_scores(adata)
    >>> bool(adata.obs["doublet_score"].between(0, 1).all())
    True
    """
    counts = counts_of(adata)
    schema.require(adata, "obs", [by], "io.read_coculture")
    if not 0 < expected_rate < 1:
        msg = f"expected_rate is {expected_rate}; a share between 0 and 1 is needed, for "
        "example 0.06."
        raise ValueError(msg)
    usable, seed = passed_qc(adata), seed_of(rng)
    groups = adata.obs[by].astype(str).to_numpy()
    score = np.full(adata.n_obs, np.nan)
    for name in tqdm(sorted(set(groups)), desc="doublet scores", disable=None, leave=False):
        cells = np.flatnonzero((groups == name) & usable)
        if cells.size < _FEWEST:
            _LOG.warning("%s: %d cells are too few for doublet scores", name, cells.size)
            continue
        score[cells] = _scrublet(counts.rows(cells), adata.var_names, expected_rate, seed)
    adata.obs[schema.DOUBLET_SCORE] = score
    schema.record(
        adata,
        "pp.doublet_scores",
        function="pp.doublet_scores",
        options={"by": by, "expected_rate": expected_rate, "rng": seed},
    )


def _scrublet(counts: CSR, genes: pd.Index, expected_rate: float, seed: int) -> Floats:
    import anndata
    import scanpy as sc
    from threadpoolctl import threadpool_limits

    counts = sparse.csr_matrix(counts, dtype=np.float32)
    counts.eliminate_zeros()  # scanpy 1.11.0 takes stored zeros for counts
    shell = anndata.AnnData(X=counts, var=pd.DataFrame(index=genes))
    # With a given threshold, scanpy does not search for one, which would need scikit-image. One
    # thread, as their number would change the components and with them the scores.
    with threadpool_limits(limits=1, user_api="blas"):
        sc.pp.scrublet(
            shell,
            expected_doublet_rate=expected_rate,
            threshold=0.0,
            use_approx_neighbors=False,
            random_state=seed,
            verbose=False,
        )
    return np.asarray(shell.obs[schema.DOUBLET_SCORE], dtype=float)
