"""From guide counts to the perturbed gene of each cell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._checks import check_frame, check_shares
from nkscore._samples._matrices import counts_of
from nkscore.errors import DesignError, WrongScaleError
from nkscore.pp._guide_library import CONTROLS, genes_of
from nkscore.stats import guide_mixture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from nkscore._types import Floats, Ints

_LOG = logging.getLogger("nkscore")
_CLASSES = ("single", "multiple", "none")


def assign_guides(
    adata: AnnData,
    *,
    library: Mapping[str, str] | pd.DataFrame | None = None,
    method: str = "mixture",
    min_confidence: float = 0.5,
    min_umi: int = 10,
    min_share: float = 0.5,
    max_second_share: float = 0.1,
    controls: str = CONTROLS,
) -> None:
    """Call the guide and the perturbed gene of each cell of a pooled CRISPR experiment.

    Reads ``obsm["guides"]`` (raw UMIs, cells × guides), ``layers["counts"]`` (its sum per cell) and
    ``obs["lane"]`` if present; lanes are called separately.

    Parameters
    ----------
    adata
        Cells × genes.
    library
        Gene of each guide: a mapping, or a table with columns ``guide`` and ``gene``. By default
        parsed from names like ``STAT1g2``, ``sgSTAT1.2`` or ``STAT1_2``, and for controls ``NT1``.
    method
        ``"mixture"``: background and signal of each guide (:func:`nkscore.stats.guide_mixture`).
        ``"rules"``: by gene, a cell is ``single`` if its first gene has more than ``min_share`` of
        its guide UMIs and more than ``min_umi`` of them, ``multiple`` if its second gene has more
        than ``max_second_share`` and more than ``min_umi``; as in Dufva, Gandolfi et al. 2023, but
        cells with only one guide are also called, and two guides of one gene are one perturbation.
    min_confidence
        For ``mixture``: a less certain single cell is ``none``.
    min_umi, min_share, max_second_share
        For ``rules``.
    controls
        Regular expression of the genes of non-targeting guides, or of the guides themselves; they
        get the perturbation ``non-targeting``.

    Returns
    -------
    None
        Writes ``obs["perturbation"]`` (categorical: genes and ``non-targeting``; missing unless
        single), ``obs["guide"]`` (categorical; the guide with most UMIs, missing unless single; if
        two guides of a gene tie, the cell is ``none``), ``obs["guide_class"]`` (``single``,
        ``multiple``, ``none``), ``obs["guide_confidence"]`` (float64, probability of the class and
        gene; missing for ``rules``) and ``uns["nkscore"]["pp.assign_guides"]`` with cells per
        guide.

    Raises
    ------
    MissingKeyError
        If there are no guide counts, or the library lacks a guide.
    WrongScaleError
        If guide counts are not counts.
    DesignError
        If guides are repeated, or there are none.
    ValueError
        If the method is unknown, or a share outside 0 to 1.

    Notes
    -----
    On THP-1 cells with 110 guides (Papalexi et al. 2021, 20,729 cells) ``rules`` calls 84 % of the
    cells single and ``mixture`` 92 %; cells that only ``mixture`` calls show 69 % of the effect in
    cells that both call. ``docs/perturbations.md`` compares them.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    >>> guides = np.random.default_rng(0).poisson(0.3, (adata.n_obs, 4))
    >>> guides[np.arange(adata.n_obs), np.arange(adata.n_obs) % 4] += 40
    >>> adata.obsm["guides"] = pd.DataFrame(
    ...     guides, index=adata.obs_names, columns=["JAK1g1", "JAK1g2", "NTg1", "NTg2"])
    >>> nk.pp.assign_guides(adata)
    >>> list(adata.obs["perturbation"].cat.categories)
    ['JAK1', 'non-targeting']
    """
    matrix = counts_of(adata)
    if method not in {"mixture", "rules"}:
        msg = f"Unknown method {method!r}. Known: mixture, rules."
        raise ValueError(msg)
    check_shares(
        min_confidence=min_confidence, min_share=min_share, max_second_share=max_second_share
    )
    counts, guides = _guide_counts(adata)
    genes = genes_of(guides, library, controls)
    depth = matrix.totals()
    parts = []
    for rows in _lanes(adata):
        here = counts[rows]
        if method == "mixture":
            called = _by_mixture(here, depth[rows], genes, min_confidence=min_confidence)
        else:
            called = _by_rules(
                here, genes, min_umi=min_umi, min_share=min_share, second=max_second_share
            )
        parts.append(called.set_index(rows))
    _write(adata, pd.concat(parts).sort_index(), guides, genes)
    single = adata.obs[schema.GUIDE_CLASS] == "single"
    per_guide = adata.obs.loc[single, schema.GUIDE].value_counts().reindex(guides)
    table = pd.DataFrame({"guide": guides, "perturbation": genes, "n_cells": per_guide.to_numpy()})
    schema.record(
        adata,
        "pp.assign_guides",
        function="pp.assign_guides",
        options={
            "method": method,
            "min_confidence": min_confidence,
            "min_umi": min_umi,
            "min_share": min_share,
            "max_second_share": max_second_share,
        },
        guides=table,
    )
    counted = adata.obs[schema.GUIDE_CLASS].value_counts()
    _LOG.info("Guides: %s", ", ".join(f"{n} cells {name}" for name, n in counted.items()))


def _guide_counts(adata: AnnData) -> tuple[sparse.csr_matrix, list[str]]:
    schema.require(adata, "obsm", [schema.GUIDES], "io.read_coculture")
    advice = "Wrap it: pd.DataFrame(matrix, index=adata.obs_names, columns=guides)."
    table = check_frame(adata.obsm[schema.GUIDES], "obsm['guides']", advice)
    guides = [str(name) for name in table.columns]
    if not guides:
        msg = "obsm['guides'] has no columns; one per guide is needed. Load the guide counts again."
        raise DesignError(msg)
    repeated = sorted({name for name in guides if guides.count(name) > 1})
    if repeated:
        msg = f"obsm['guides'] holds {repeated[0]!r} twice; each guide is one column. Sum them."
        raise DesignError(msg)
    return _values(table), guides


def _values(table: pd.DataFrame) -> sparse.csr_matrix:
    """Return the counts as CSR; only whole numbers from 0 pass."""
    sparse_columns = all(isinstance(kind, pd.SparseDtype) for kind in table.dtypes)
    try:
        frame: Any = table
        made = frame.sparse.to_coo() if sparse_columns else table.to_numpy(dtype=float)
    except (TypeError, ValueError) as error:
        msg = f"obsm['guides'] holds values that are not numbers ({error}); raw UMI counts are "
        "needed."
        raise WrongScaleError(msg) from error
    values = sparse.csr_matrix(made, dtype=np.float64)
    bad = ~np.isfinite(values.data) | (values.data < 0) | (values.data != np.round(values.data))
    if bad.any():
        found = values.data[bad][0]
        msg = f"obsm['guides'] holds {found:g}; raw UMI counts (0, 1, 2, ...) are needed."
        raise WrongScaleError(msg)
    return values


def _lanes(adata: AnnData) -> list[Ints]:
    if schema.LANE not in adata.obs or adata.n_obs == 0:
        return [np.arange(adata.n_obs)]
    lanes = adata.obs[schema.LANE].astype(str).to_numpy()
    return [np.flatnonzero(lanes == lane) for lane in sorted(set(lanes))]


def _by_gene(values: sparse.csr_matrix, genes: list[str]) -> Floats:
    """Return cells × genes: sums over the guides of a gene."""
    _, code = np.unique(genes, return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(genes)), (np.arange(len(genes)), code)))
    return np.asarray((values @ member).todense())


def _top_guide(counts: sparse.csr_matrix, genes: list[str], best: Ints) -> Ints:
    """Return the guide with most UMIs of the best gene; -1 for ties."""
    _, code = np.unique(genes, return_inverse=True)
    dense = np.asarray(counts.todense())
    own = np.where(code[None, :] == best[:, None], dense, -1.0)
    top = own.argmax(axis=1)
    ties = (own == own.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.where(ties, -1, top)


def _by_mixture(
    counts: sparse.csr_matrix, depth: Floats | None, genes: list[str], *, min_confidence: float
) -> pd.DataFrame:
    if counts.shape[0] == 0:
        return _calls(np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0))
    fit = guide_mixture(counts, depth=depth)
    of_gene = _by_gene(fit.probability, genes)
    best = of_gene.argmax(axis=1)
    rows = np.arange(len(best))
    nothing = fit.state[:, 0]
    # Two guides of one gene are one perturbation; guides of other genes are not.
    several = np.clip(of_gene.sum(axis=1) - of_gene[rows, best], 0.0, 1.0 - nothing)
    single = np.clip(1.0 - nothing - several, 0.0, 1.0)
    # If no guide stands out, the share of the other genes counts each of them.
    alone = np.minimum(single, of_gene[rows, best])
    chance = np.column_stack([alone, several, nothing])
    kind = chance.argmax(axis=1)
    kind = np.where((kind == 0) & (alone < min_confidence), 2, kind)
    return _calls(kind, _top_guide(counts, genes, best), chance[rows, kind])


def _by_rules(
    counts: sparse.csr_matrix, genes: list[str], *, min_umi: int, min_share: float, second: float
) -> pd.DataFrame:
    summed = _by_gene(counts, genes)
    total = np.maximum(summed.sum(axis=1), 1.0)
    best = summed.argmax(axis=1)
    rows = np.arange(len(best))
    first = summed[rows, best].copy()
    summed[rows, best] = 0
    next_ = summed.max(axis=1) if summed.shape[1] > 1 else np.zeros(len(best))
    single = (first / total > min_share) & (first > min_umi)
    multiple = (next_ / total > second) & (next_ > min_umi)
    kind = np.where(multiple, 1, np.where(single, 0, 2))
    return _calls(kind, _top_guide(counts, genes, best), np.full(len(best), np.nan))


def _calls(kind: Ints, guide: Ints, confidence: Floats) -> pd.DataFrame:
    # If two guides of a gene tie, no guide can be named, so the cell is not called.
    kind = np.where((kind == 0) & (guide < 0), 2, kind)
    return pd.DataFrame(
        {
            "class": np.array(_CLASSES, dtype=object)[kind],
            "guide": np.where(kind == 0, guide, -1),
            "confidence": confidence,
        }
    )


def _write(adata: AnnData, calls: pd.DataFrame, guides: list[str], genes: list[str]) -> None:
    place = calls["guide"].to_numpy(dtype=int)
    single = place >= 0
    named = {schema.GUIDE: guides, schema.PERTURBATION: genes}
    for column, names in named.items():
        values = np.full(adata.n_obs, None, dtype=object)
        values[single] = np.array(names, dtype=object)[place[single]]
        adata.obs[column] = schema.categorical(values, sorted(set(names)))
    adata.obs[schema.GUIDE_CLASS] = schema.categorical(
        calls["class"].to_numpy(dtype=object), _CLASSES
    )
    adata.obs[schema.GUIDE_CONFIDENCE] = calls["confidence"].to_numpy(dtype=float)
