"""Signature scores per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from nkscore import schema, signatures
from nkscore.errors import MissingKeyError
from nkscore.scoring import gene_sets, get_scorer, run

if TYPE_CHECKING:
    from anndata import AnnData


def score(
    adata: AnnData,
    gene_signatures: Any,
    *,
    method: str = "rank_auc",
    key_added: str = schema.SCORES,
    layer: str | None = None,
    min_coverage: float = 0.5,
    **options: Any,
) -> None:
    """Score signatures in every cell.

    Reads ``layers["counts"]`` (``rank_auc``) or ``X`` after ``pp.normalize``
    (``weighted_mean``), or ``layers[layer]``.

    Parameters
    ----------
    adata
        Cells × genes.
    gene_signatures
        Whatever :func:`nkscore.signatures.as_signatures` takes: the name of a set or panel of the
        catalogue, a :class:`~nkscore.signatures.Signature`, a list of them, or a mapping from name
        to genes, where a trailing ``-`` marks a gene that counts against the set.
    method
        ``rank_auc`` (UCell's statistic, equal to R UCell) or ``weighted_mean``; see
        :func:`nkscore.scoring.scorers`.
    key_added
        Where in ``obsm`` the scores go.
    layer
        Score this layer instead of the method's own slot; ``"X"`` names ``adata.X``.
    min_coverage
        Smallest share of a set's genes that must be in the data, 0 to 1.
    **options
        Options of the method: ``max_rank`` (1500) and ``w_neg`` (1.0) for ``rank_auc``.

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
        If values are negative, NaN, or not on the scale the method reads.
    MissingKeyError
        If the slot to score is absent.
    ValueError
        If ``obsm[key_added]`` holds something that ``tl.score`` did not write.

    Notes
    -----
    A gene of the set that is absent from the data takes the last rank in ``rank_auc``, as in
    UCell, and is left out of the mean in ``weighted_mean``. Source of ``rank_auc``: Andreatta and
    Carmona 2021, doi 10.1016/j.csbj.2021.06.043.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    >>> nk.tl.score(adata, {"cytotoxic": ["PRF1", "GZMB", "NKG7", "CD3E-"]})
    >>> list(adata.obsm["scores"].columns)
    ['cytotoxic']
    """
    scorer = get_scorer(method)
    _refuse_foreign(adata, key_added)
    matrix = _slot(adata, layer or scorer.reads)
    schema.check_var_names(adata)
    if scorer.reads == "X" and layer is None:
        schema.check_log_scale(matrix)
    sets = signatures.as_signatures(gene_signatures)
    match = signatures.match(adata.var_names, sets, min_coverage=min_coverage)
    index = gene_sets(
        [match.up[name] for name in sets],
        [match.down[name] for name in sets],
        n_genes=adata.n_vars,
        sizes=[(len(s.up), len(s.down)) for s in sets.values()],
    )
    scores = run(scorer, matrix, index, **options)
    adata.obsm[key_added] = pd.DataFrame(scores, index=adata.obs_names, columns=list(sets))
    schema.record(
        adata,
        key_added,
        function="tl.score",
        options={"method": method, "layer": layer or scorer.reads, **scorer.options, **options},
        coverage=match.coverage.reset_index(drop=True),
        signature_versions={name: s.version for name, s in sets.items()},
    )


def _refuse_foreign(adata: AnnData, key: str) -> None:
    made_by = adata.uns.get(schema.RECORD, {}).get(key, {}).get("function")
    if key in adata.obsm and made_by != "tl.score":
        msg = (
            f"obsm[{key!r}] exists and was not written by tl.score. "
            "Choose another key_added, or delete it first."
        )
        raise ValueError(msg)


def _slot(adata: AnnData, name: str) -> Any:
    if name == "X":
        if adata.X is None:
            msg = "adata.X is empty. Run pp.normalize first, or score layer='counts'."
            raise MissingKeyError(msg)
        return adata.X
    schema.require(adata, "layers", [name], "io.read_coculture")
    return adata.layers[name]
