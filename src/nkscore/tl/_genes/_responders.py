"""Cells of each knock-out that show its effect."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._checks import check_whole
from nkscore._samples._matrices import counts_of, expression_of
from nkscore._storable import check_key
from nkscore.errors import DesignError, WrongScaleError
from nkscore.stats import log_moments, responder_mixture, welch_test
from nkscore.tl._genes._perturbed_cells import GuideColumns, guide_cells

if TYPE_CHECKING:
    from typing import TypeAlias

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import CSR, Bools, Floats, Ints, Labels

    #: Weights of the controls that cells are compared with; without an embedding by replicate, and
    #: the replicate of each cell.
    Like: TypeAlias = tuple[Floats | CSR, Ints | None]

_LOG = logging.getLogger("nkscore")
CLASSES = ("responder", "non-responder", schema.UNASSIGNED, "control")


def responders(
    adata: AnnData,
    *,
    perturbation: str = schema.PERTURBATION,
    guide: str = schema.GUIDE,
    control: str = schema.NON_TARGETING,
    replicate: str | None = schema.SAMPLE,
    use_rep: str | None = None,
    n_neighbors: int = 20,
    min_genes: int = 5,
    min_log2_fc: float = 0.25,
    min_separation: float = 2.0,
    min_cells: int = 10,
    compartment: str | None = None,
    key_added: str = schema.RESPONDER,
) -> None:
    """Call cells of each knock-out that respond, and cells that look like controls.

    Some guides do not cut, and some cuts have no effect: such cells dilute an effect. A cell is
    compared with control cells of its replicate (or its nearest controls), projected on the
    direction of its target's effect, and classified by a mixture model
    (:func:`nkscore.stats.responder_mixture`). The classes are those of mixscape (``KO``, ``NP`` and
    ``NT``), and ``unassigned`` if an effect is too weak to classify single cells.

    Reads ``layers["counts"]``, ``X`` (log-normalized), the columns named below and
    ``obsm[use_rep]``. To test a target use ``tl.perturbation_response`` on all its cells: cells
    selected by their effect always have one.

    Parameters
    ----------
    adata
        Cells × genes.
    perturbation, guide, control, replicate, min_cells, compartment
        As in ``tl.perturbation_response``. Cells are compared within replicates.
    use_rep
        Embedding, for example ``"X_pca"``, for finding each cell's ``n_neighbors`` nearest controls
        of its replicate, which adjusts for cell cycle and other states. By default each cell is
        compared with all controls of its replicate.
    n_neighbors
        Number of nearest controls.
    min_genes
        A target that changes fewer genes (Bonferroni 0.05 between cells) has no responders.
    min_log2_fc
        Minimum change of such a gene.
    min_separation
        Distance of responders from controls along the effect, in standard deviations of controls,
        below which the cells of a target are ``unassigned``. At 2, one cell in six is on the wrong
        side of the midpoint.
    key_added
        Name of the columns.

    Returns
    -------
    None
        Writes ``obs[key_added]`` (categorical: ``responder``, ``non-responder``, ``unassigned``,
        ``control``; missing without a guide), ``obs[key_added + "_probability"]`` (float64; missing
        for controls and cells without a guide) and ``uns["nkscore"][key_added]`` with a table of
        targets: ``n_genes``, ``n_cells``, ``share`` (of the mixture, 0 if none was fitted) and
        ``separation`` (missing if none was fitted).

    Raises
    ------
    MissingKeyError
        If a column or embedding is absent.
    DesignError
        If there are no controls, or a replicate has none.
    WrongScaleError
        If ``X`` is not log-normalized, or the embedding not finite.
    ValueError
        If ``key_added`` is an input column or one of the sample sheet, or ``n_neighbors`` is below
        1.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.normalize(adata)
    >>> adata.obs["guide"] = [f"{'JAK1' if i % 2 else 'NT'}g1" for i in range(adata.n_obs)]
    >>> adata.obs["perturbation"] = ["JAK1" if i % 2 else "non-targeting"
    ...                              for i in range(adata.n_obs)]
    >>> nk.tl.responders(adata, replicate="lane")
    >>> sorted(adata.obs["responder"].unique())
    ['control', 'non-responder']
    """
    check_key(key_added)
    sheet = adata.uns.get(schema.RECORD, {}).get(schema.SAMPLE_SHEET, ())
    _refuse_overwriting(key_added, [perturbation, guide, replicate, *map(str, sheet)])
    counts, expression = counts_of(adata), expression_of(adata)
    columns = GuideColumns(perturbation, guide, control, replicate, None)
    cells = guide_cells(adata, columns, arms=(), compartment=compartment, min_cells=min_cells)
    rows = np.flatnonzero(cells.codes >= 0)
    target = cells.table["target"].to_numpy(dtype=object)[cells.codes[rows]]
    batch = cells.table["replicate"].to_numpy(dtype=object)[cells.codes[rows]]
    pool = target == cells.control
    like = _controls_of(adata, rows, batch, pool, use_rep=use_rep, n_neighbors=n_neighbors)
    changed = _changed_genes(counts, rows, target, cells.control, min_log2_fc=min_log2_fc)
    used = np.unique(np.concatenate([[], *changed.values()])).astype(np.int64)
    probability, table = _fitted(
        expression.columns(used, rows),
        like,
        target,
        pool,
        {name: np.searchsorted(used, genes) for name, genes in changed.items()},
        min_genes=min_genes,
    )
    weak = set(table.loc[table["separation"] < min_separation, "target"])
    _log_unclear(sorted(weak), min_separation)
    _write(adata, rows, pool, probability, np.isin(target, sorted(weak)), key=key_added)
    options = {
        "perturbation": perturbation,
        "guide": guide,
        "control": control,
        "replicate": replicate,
        "use_rep": use_rep,
        "n_neighbors": n_neighbors,
        "min_genes": min_genes,
        "min_log2_fc": min_log2_fc,
        "min_separation": min_separation,
        "min_cells": min_cells,
        "compartment": compartment,
    }
    schema.record(adata, key_added, function="tl.responders", options=options, targets=table)


def _refuse_overwriting(key: str, read: list[str | None]) -> None:
    if key in read:
        msg = (
            f"key_added={key!r} would overwrite an input column or one of the sample sheet. Choose "
            "another."
        )
        raise ValueError(msg)


def _controls_of(
    adata: AnnData, rows: Ints, batch: Labels, pool: Bools, *, use_rep: str | None, n_neighbors: int
) -> Like:
    """Return cells × controls: the weight of each control in the comparison with a cell.

    Without an embedding, replicates × controls and each cell's replicate, which is equivalent but
    smaller.
    """
    check_whole(1, n_neighbors=n_neighbors)
    code, names = pd.factorize(batch)
    n_controls = np.bincount(code[pool], minlength=len(names))
    if n_controls.min() < 2:
        few = int(n_controls.argmin())
        msg = (
            f"Replicate {names[few]!r} has {n_controls[few]} control cells; cells are "
            "compared with controls of their replicate. Remove it, or give replicate=None."
        )
        raise DesignError(msg)
    if use_rep is None:
        member = (code[pool][None, :] == np.arange(len(names))[:, None]).astype(np.float64)
        return member / n_controls[:, None], code
    schema.require(adata, "obsm", [use_rep], "tl.embed")
    space = np.asarray(adata.obsm[use_rep])[rows]
    if not np.isfinite(space).all():
        msg = (
            f"obsm[{use_rep!r}] is missing or infinite in some cells with a guide. "
            "Compute it again."
        )
        raise WrongScaleError(msg)
    return _nearest_controls(space, code, pool, n_neighbors), None


def _nearest_controls(space: Floats, code: Ints, pool: Bools, n_neighbors: int) -> CSR:
    """Return cells × controls: equal weights of the nearest of the same replicate."""
    place = np.cumsum(pool) - 1
    parts = []
    for name in range(code.max() + 1):
        here = np.flatnonzero(code == name)
        own = here[pool[here]]
        near = own[_nearest(space[own], space[here], n_neighbors)]
        weight = np.where(near == here[:, None], 0.0, 1.0)
        # One extra neighbor, because a control is its own nearest; other cells do not need it.
        weight[weight.all(axis=1) & (near.shape[1] > n_neighbors), -1] = 0.0
        weight /= weight.sum(axis=1, keepdims=True)
        index = np.repeat(here, near.shape[1]), place[near].ravel()
        parts.append(sparse.coo_matrix((weight.ravel(), index), shape=(code.size, pool.sum())))
    weights: CSR = sum((part.tocsr() for part in parts[1:]), parts[0].tocsr())
    return weights


def _nearest(controls: Floats, cells: Floats, n: int) -> Ints:
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(n + 1, len(controls))).fit(controls)
    return np.asarray(found.kneighbors(cells, return_distance=False))


def _changed_genes(
    counts: Counts, rows: Ints, target: Labels, control: str, *, min_log2_fc: float
) -> dict[str, Ints]:
    names = [control, *sorted(set(target) - {control})]
    codes = np.full(counts.shape[0], -1, dtype=np.int64)
    codes[rows] = pd.Index(names).get_indexer(pd.Index(target))
    moments = log_moments(counts, codes, len(names))
    size = np.bincount(codes[rows], minlength=len(names))
    changed = {}
    for i, name in enumerate(names[1:], start=1):
        test = welch_test(moments[i], moments[0], n=(int(size[i]), int(size[0])))
        p = np.where(np.isfinite(test.p_value), test.p_value, 1.0)
        certain = p * p.size < 0.05
        changed[name] = np.flatnonzero(certain & (np.abs(test.log2_fc) >= min_log2_fc))
    return changed


def _fitted(
    expression: CSR,
    like: Like,
    target: Labels,
    pool: Bools,
    changed: dict[str, Ints],
    *,
    min_genes: int,
) -> tuple[Floats, pd.DataFrame]:
    """Return each cell's probability to respond, and the fit of each target."""
    probability = np.full(target.size, np.nan)
    found = []
    for name, genes in changed.items():
        own = target == name
        probability[own] = 0.0
        share, separation = 0.0, np.nan
        if genes.size >= min_genes:
            fit = responder_mixture(*_apart(expression[:, genes], like, own, pool))
            probability[own], share, separation = fit.probability, fit.share, fit.separation
        found.append((name, int(genes.size), int(own.sum()), share, separation))
    columns = ["target", "n_genes", "n_cells", "share", "separation"]
    return probability, pd.DataFrame(found, columns=columns)


def _apart(expression: CSR, like: Like, own: Bools, pool: Bools) -> tuple[Floats, Floats]:
    """Return the differences of a target's cells, and of controls, from matched controls."""
    weights, code = like
    controls = expression[pool].toarray().astype(np.float64)
    knockout = expression[own].toarray()
    if code is None:
        return knockout - weights[own] @ controls, controls - weights[pool] @ controls
    mean = weights @ controls
    # A control is part of the mean with which it is compared.
    n = (weights > 0).sum(axis=1)[code[pool], None]
    return knockout - mean[code[own]], (controls - mean[code[pool]]) * (n / (n - 1))


def _log_unclear(names: list[str], least: float) -> None:
    if names:
        _LOG.warning(
            "Effects too weak to classify cells (less than %g standard deviations of "
            "controls), left unassigned: %s",
            least,
            ", ".join(names),
        )


def _write(
    adata: AnnData, rows: Ints, pool: Bools, probability: Floats, unclear: Bools, *, key: str
) -> None:
    kind = np.where(probability > 0.5, CLASSES[0], CLASSES[1]).astype(object)
    kind[unclear] = CLASSES[2]
    kind[pool] = CLASSES[3]
    classes = np.full(adata.n_obs, None, dtype=object)
    classes[rows] = kind
    adata.obs[key] = schema.categorical(classes, CLASSES)
    whole = np.full(adata.n_obs, np.nan)
    whole[rows] = probability
    adata.obs[f"{key}_probability"] = whole
