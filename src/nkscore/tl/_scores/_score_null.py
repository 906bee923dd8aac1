"""Scores compared with those of random sets in the same cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nkscore import schema
from nkscore._checks import check_whole
from nkscore._storable import check_key
from nkscore.scoring import null_scores
from nkscore.tl._scores._score_input import refuse_foreign, score_input, write_scores

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from nkscore.scoring._registry import Option
    from nkscore.signatures._convert import SignaturesLike


def score_null(
    adata: AnnData,
    gene_signatures: SignaturesLike,
    *,
    method: str = "rank_auc",
    n_sets: int = 200,
    rng: int | np.random.Generator | None = 0,
    key_added: str = schema.SCORES,
    layer: str | None = None,
    min_coverage: float = 0.5,
    **options: Option,
) -> None:
    """Compare each score with scores of random sets in the same cell.

    A random set replaces each gene of the signature by another gene of similar mean expression over
    all cells, so a cell of high depth or a set of abundant genes does not stand out for that reason
    alone. Reads the same slots as :func:`nkscore.tl.score`, which need not have run, from memory,
    an open file or dask, with the same results.

    Parameters
    ----------
    adata
        Cells × genes.
    gene_signatures
        As in :func:`nkscore.tl.score`.
    method
        A method of :func:`nkscore.tl.score` other than ``module_score``, which already compares
        with genes of similar expression.
    n_sets
        Random sets per signature. The smallest possible p is 1 / (``n_sets`` + 1).
    rng
        Seed of the random sets.
    key_added
        Results go to ``obsm[f"{key_added}_z"]`` and ``obsm[f"{key_added}_p"]``.
    layer
        Score this layer instead of the method's own slot; ``"X"`` names ``adata.X``.
    min_coverage
        Smallest share of a set's genes that must be in the data, 0 to 1.
    **options
        Options of the method.

    Returns
    -------
    None
        Writes two float64 DataFrames, cells × signatures: ``obsm[f"{key_added}_z"]`` (distance from
        the mean of the random sets in their standard deviations; 0 at their mean, NaN if they are
        all equal and the score differs) and ``obsm[f"{key_added}_p"]`` ((b + 1) / (``n_sets`` + 1)
        with b random sets scoring as high or higher), and ``uns["nkscore"][f"{key_added}_null"]``.

    Raises
    ------
    ValueError
        If ``n_sets`` is below 2, the method has its own controls, a set leaves too few genes to
        draw from, or a slot holds something that ``tl.score_null`` did not write.
    GeneCoverageError, WrongScaleError, MissingKeyError
        As in :func:`nkscore.tl.score`.

    Notes
    -----
    A p-value refers to one cell. Coregulated genes of a signature vary together, unlike random
    sets: many small p-values mean that the set is a program, not that a condition changed it.
    Compare conditions by samples, with
    :func:`nkscore.tl.interaction_response` or sample means of scores.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    >>> nk.tl.score_null(adata, {"cytotoxic": ["PRF1", "GZMB", "NKG7"]}, n_sets=99)
    >>> bool(adata.obsm["scores_p"]["cytotoxic"].min() >= 0.01)
    True
    """
    check_key(key_added)
    keys = [f"{key_added}_z", f"{key_added}_p"]
    book = f"{key_added}_null"
    refuse_foreign(adata, keys, recorded_as=book, function="tl.score_null")
    check_whole(2, n_sets=n_sets)
    found = score_input(
        adata, gene_signatures, method=method, layer=layer, min_coverage=min_coverage
    )
    if found.scorer.prepare is not None:
        msg = (
            f"{method} already compares each set with control genes of similar "
            "expression, which is the purpose of random sets, and would need controls "
            "for each of them. Choose a method without controls: rank_auc, aucell, "
            "weighted_mean, zscore or ulm."
        )
        raise ValueError(msg)
    results = null_scores(
        found.scorer,
        found.matrix,
        found.sets,
        n_random=n_sets,
        rng=rng,
        largest=found.largest,
        **options,
    )
    write_scores(
        adata,
        dict(zip(keys, results, strict=True)),
        found,
        function="tl.score_null",
        recorded_as=book,
        options={"n_sets": n_sets, "rng": rng, **options},
    )
