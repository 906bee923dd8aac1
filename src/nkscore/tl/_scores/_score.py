"""Signature scores per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nkscore import schema
from nkscore._storable import check_key
from nkscore.scoring import run
from nkscore.tl._scores._score_input import refuse_foreign, score_input, write_scores

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore.scoring._registry import Option
    from nkscore.signatures._convert import SignaturesLike


def score(
    adata: AnnData,
    gene_signatures: SignaturesLike,
    *,
    method: str = "rank_auc",
    key_added: str = schema.SCORES,
    layer: str | None = None,
    min_coverage: float = 0.5,
    **options: Option,
) -> None:
    """Score signatures in every cell.

    Reads ``layers["counts"]`` (``rank_auc``, ``aucell``) or ``X`` after ``pp.normalize``
    (``weighted_mean``, ``zscore``, ``ulm``, ``module_score``), or ``layers[layer]``. Backed, zarr
    and dask matrices are read block by block and give bit-identical scores.

    Parameters
    ----------
    adata
        Cells × genes.
    gene_signatures
        Any form of :func:`nkscore.signatures.as_signatures`: the name of a set or panel of the
        catalog, a :class:`~nkscore.signatures.Signature`, a list of them, or a mapping from name to
        genes, where a trailing ``-`` marks a gene that counts against the set.
    method
        ``rank_auc`` (UCell's statistic, equal to R UCell), ``aucell``, ``weighted_mean``,
        ``zscore``, ``ulm`` or ``module_score``. All except the last depend only on the cell itself.
    key_added
        Key of ``obsm`` for the scores.
    layer
        Score this layer instead of the method's own slot; ``"X"`` names ``adata.X``.
    min_coverage
        Smallest share of a set's genes that must be in the data, 0 to 1.
    **options
        Options of the method: ``max_rank`` (1500) and ``w_neg`` (1.0) for ``rank_auc``;
        ``top_fraction`` (0.05) for ``aucell``; ``n_bins`` (24), ``n_controls`` (100) and ``rng``
        (0) for ``module_score``.

    Returns
    -------
    None
        Writes ``obsm[key_added]`` (float64 DataFrame, cells × signatures) and
        ``uns["nkscore"][key_added]`` with the method, its options and each signature's coverage.

    Raises
    ------
    GeneCoverageError
        If a set has too few of its genes in the data or gene names are repeated.
    WrongScaleError
        If values are negative, NaN, or not on the scale that the method needs.
    MissingKeyError
        If the slot to score is absent.
    ValueError
        If ``obsm[key_added]`` holds something that ``tl.score`` did not write.

    Notes
    -----
    A gene of the set that is absent from the data gets the last rank in ``rank_auc``, as in UCell,
    and is excluded by the other methods. A gene listed twice counts once (R UCell counts a repeated
    down gene twice). Sources: Andreatta and Carmona 2021, doi 10.1016/j.csbj.2021.06.043
    (``rank_auc``); Aibar et al. 2017, doi 10.1038/nmeth.4463 (``aucell``); Hernandez-Armenta et al.
    2017, doi 10.1093/bioinformatics/btx082 (``zscore``); Badia-i-Mompel et al. 2022, doi
    10.1093/bioadv/vbac016 (``ulm``); Tirosh et al. 2016, doi 10.1126/science.aad0501
    (``module_score``).

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    >>> nk.tl.score(adata, {"cytotoxic": ["PRF1", "GZMB", "NKG7", "CD3E-"]})
    >>> list(adata.obsm["scores"].columns)
    ['cytotoxic']
    """
    check_key(key_added)
    refuse_foreign(adata, [key_added], recorded_as=key_added, function="tl.score")
    found = score_input(
        adata, gene_signatures, method=method, layer=layer, min_coverage=min_coverage
    )
    given: dict[str, Any] = options
    scores = run(found.scorer, found.matrix, found.sets, largest=found.largest, **given)
    write_scores(
        adata,
        {key_added: scores},
        found,
        function="tl.score",
        recorded_as=key_added,
        options=options,
    )
