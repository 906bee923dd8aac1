"""Mean expression of marker genes in groups of cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._checks import names_of
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import expression_of
from nkscore.errors import DesignError, GeneCoverageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

    from nkscore._types import Array, Floats

_LOG = logging.getLogger("nkscore")


def marker_table(
    adata: AnnData,
    genes: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    *,
    by: str = schema.NK_STATE,
) -> pd.DataFrame:
    """Compute the expression of genes in each group of cells, on the scales of scanpy and Seurat.

    Reads ``X`` (log1p of counts per 10,000), ``obs[by]`` and, where present, ``obs["qc_pass"]``.

    Parameters
    ----------
    adata
        Cells × genes, after :func:`nkscore.pp.normalize`.
    genes
        Genes, or a mapping from the name of a block (a state) to its marker genes.
    by
        Column of ``obs`` with the groups. Cells without a group, ``unassigned`` ones and those
        that failed QC are excluded.

    Returns
    -------
    One row per group × gene, in the order of the groups and of ``genes``, with columns ``group``,
    ``gene``, ``block`` (empty without a mapping), ``mean`` (of ``X``, the color of scanpy's dot
    plot), ``mean_expm1`` (of counts per 10,000), ``z_score`` (``mean_expm1`` of the gene, centered,
    over its standard deviation over groups: the color of Seurat's dot plot; missing for one group
    or a gene that does not vary), ``fraction`` (of cells with the gene, 0 to 1) and ``n_cells``.
    Genes that the data lack are named in ``attrs["left_out"]`` and in the log.

    Raises
    ------
    MissingKeyError
        If ``by`` is absent.
    WrongScaleError
        If ``X`` is not on the log scale.
    GeneCoverageError
        If no gene is in the data, or one is listed twice.
    DesignError
        If no cell has a group.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.pp.normalize(adata)
    >>> table = nk.tl.marker_table(adata, ["NKG7", "B2M"], by="compartment")
    >>> means = table.set_index(["gene", "group"])["mean"]
    >>> bool(means["NKG7", "nk"] > means["NKG7", "tumor"])
    True
    """
    schema.require(adata, "obs", [by], "the function that calls the groups (tl.nk_states)")
    expression = expression_of(adata)
    listed, left_out = _present(adata, genes)
    codes, groups = _groups(adata, by)
    values = expression.columns(adata.var_names.get_indexer(listed["gene"])).astype(np.float64)
    n_cells = np.bincount(codes[codes >= 0], minlength=len(groups))
    table = pd.DataFrame(
        {
            "group": np.repeat(groups, len(listed)),
            "gene": np.tile(listed["gene"].to_numpy(), len(groups)),
            "block": np.tile(listed["block"].to_numpy(), len(groups)),
            **_summaries(values, codes, len(groups)),
            "n_cells": np.repeat(n_cells, len(listed)),
        }
    )
    table.attrs["left_out"] = left_out
    return table


def _present(
    adata: AnnData, genes: str | Iterable[str] | Mapping[str, str | Iterable[str]]
) -> tuple[pd.DataFrame, list[str]]:
    blocks = genes if hasattr(genes, "items") else {"": genes}
    pairs = [(str(gene), str(block)) for block, names in blocks.items() for gene in names_of(names)]
    listed = pd.DataFrame(pairs, columns=["gene", "block"])
    if listed["gene"].duplicated().any():
        twice = listed.loc[listed["gene"].duplicated(), "gene"].iloc[0]
        msg = f"Gene {twice!r} is listed twice; one row per gene is needed. List it once."
        raise GeneCoverageError(msg)
    known = listed["gene"].isin(adata.var_names)
    left_out = listed.loc[~known, "gene"].tolist()
    if not known.any():
        msg = (
            f"None of the {len(listed)} genes is in adata.var_names (genes: "
            f"{', '.join(left_out[:3])}; data: {', '.join(map(str, adata.var_names[:3]))}). "
            "Gene symbols of the same species are needed: see nkscore.signatures.convert."
        )
        raise GeneCoverageError(msg)
    if left_out:
        _LOG.warning("Genes that the data lack, excluded: %s", ", ".join(left_out))
    return listed[known], left_out


def _groups(adata: AnnData, by: str) -> tuple[Array, list[str]]:
    column = adata.obs[by]
    usable = column.notna() & (column.astype(str) != schema.UNASSIGNED) & passed_qc(adata)
    if not usable.any():
        msg = (
            f"No cell that passed QC has a value of obs[{by!r}]; at least one group is needed. "
            "Call the groups first."
        )
        raise DesignError(msg)
    names = column.astype(str).to_numpy()
    present = set(names[usable])
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = column.cat.categories
    else:
        # Numbers in numerical order: 10 comes after 9.
        levels = sorted(column[usable].unique())
    groups = [str(level) for level in levels if str(level) in present]
    ranks = {name: i for i, name in enumerate(groups)}
    pairs = zip(names, usable.to_numpy(), strict=True)
    return np.array([ranks[name] if use else -1 for name, use in pairs]), groups


def _summaries(values: sparse.csr_matrix, codes: Array, n_groups: int) -> dict[str, Floats]:
    used = np.flatnonzero(codes >= 0)
    sizes = np.bincount(codes[used], minlength=n_groups)
    shape = (n_groups, len(codes))
    average = sparse.csr_matrix((1 / sizes[codes[used]], (codes[used], used)), shape=shape)
    linear, present = values.copy(), values.copy()
    linear.data = np.expm1(values.data)
    present.data = (values.data > 0).astype(float)
    mean, mean_expm1, fraction = (
        np.asarray((average @ part).todense()) for part in (values, linear, present)
    )
    return {
        "mean": mean.ravel(),
        "mean_expm1": mean_expm1.ravel(),
        "z_score": _z_scores(mean_expm1).ravel(),
        "fraction": fraction.ravel(),
    }


def _z_scores(means: Array) -> Array:
    """Center and scale each gene over groups like R's ``scale``."""
    if len(means) < 2:
        return np.full(means.shape, np.nan)
    spread = means.std(axis=0, ddof=1)
    spread[spread <= 1e-12 * np.abs(means).max(axis=0)] = np.nan
    return np.asarray((means - means.mean(axis=0)) / spread)
