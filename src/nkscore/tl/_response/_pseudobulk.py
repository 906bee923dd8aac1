"""Sums of counts over groups of cells, with numbers of cells and counts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import names_of
from nkscore._counts._open import open_counts
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import matrix_of
from nkscore._storable import stored_frame
from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._counts._group_sums import GroupSums
    from nkscore._types import Array, Bools, Ints

_LOG = logging.getLogger("nkscore")


def pseudobulk(
    adata: AnnData,
    by: str | Sequence[str] = (schema.SAMPLE, schema.COMPARTMENT),
    *,
    layer: str | None = schema.COUNTS,
    min_cells: int = 10,
    min_counts: int = 0,
) -> AnnData:
    """Sum the counts of each group of cells.

    Works on matrices in memory, of a backed or lazily read AnnData, and on dask arrays. Reads the
    columns ``by`` and, where present, ``obs["qc_pass"]``: cells that failed are excluded, and so
    are cells without a value in one of the columns.

    Parameters
    ----------
    adata
        Cells × genes.
    by
        Columns of ``obs`` whose combinations are the groups.
    layer
        Layer with raw counts; ``None`` for ``X``, which a backed AnnData keeps on disk.
    min_cells, min_counts
        Groups with fewer cells, or a lower sum of counts, are excluded from the result but stay in
        its table of groups.

    Returns
    -------
    AnnData of groups × genes: ``X`` float64 sums, exact up to 2**53; ``layers["n_cells"]`` int32
    number of cells with a count; ``var`` unchanged. ``obs``, sorted by ``by``, has these columns
    (numbers as numbers, otherwise text), ``n_cells``, ``n_counts``, ``n_genes``,
    ``counts_per_cell`` (mean) and every other column of ``obs`` that is constant within all groups;
    text with gaps is categorical, which files can hold.
    ``uns["groups"]`` is the same table for all groups, with the column ``kept``.

    Raises
    ------
    MissingKeyError
        If a column or the layer is absent.
    GeneCoverageError
        If gene names are repeated.
    WrongScaleError
        If the layer has values other than whole numbers from zero.
    DesignError
        If no group is left, or ``by`` is empty.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> sums = nk.tl.pseudobulk(adata, ["tumor", "compartment"], min_cells=20)
    >>> bool(sums.obs["n_cells"].min() >= 20)
    True
    """
    columns = list(dict.fromkeys(names_of(by)))
    if not columns:
        msg = "by names no column; at least one column of obs is needed, for example 'sample'."
        raise DesignError(msg)
    schema.require(adata, "obs", columns, "io.read_coculture")
    if layer is not None:
        schema.require(adata, "layers", [layer], "io.read_coculture")
    schema.check_var_names(adata)
    codes, groups = _groups(adata.obs, columns, passed_qc(adata))
    where = "X" if layer is None else f"layers[{layer!r}]"
    counts = open_counts(matrix_of(adata, "X" if layer is None else layer), where)
    sums = counts.group_sums(codes, len(groups))
    groups[schema.N_CELLS] = np.bincount(codes[codes >= 0], minlength=len(groups))
    groups[schema.N_COUNTS] = sums.sums.sum(axis=1)
    groups[schema.N_GENES] = (sums.cells > 0).sum(axis=1)
    groups[schema.COUNTS_PER_CELL] = groups[schema.N_COUNTS] / groups[schema.N_CELLS]
    kept = _large_enough(groups, min_cells, min_counts)
    return _assembled(adata, groups, kept, sums)


def _large_enough(groups: pd.DataFrame, min_cells: int, min_counts: int) -> Bools:
    """Return which groups are kept; one at least must be."""
    enough = groups[schema.N_CELLS] >= min_cells
    kept = np.asarray(enough & (groups[schema.N_COUNTS] >= min_counts))
    if not kept.any():
        msg = (
            f"None of {len(groups)} groups has {min_cells} cells and {min_counts} counts (the "
            f"largest has {int(groups[schema.N_CELLS].max()) if len(groups) else 0} cells). Lower "
            "the limits or group by fewer columns."
        )
        raise DesignError(msg)
    if not kept.all():
        _LOG.warning(
            "%d of %d groups have fewer than %d cells or %d counts and are excluded: %s",
            int((~kept).sum()),
            len(groups),
            min_cells,
            min_counts,
            ", ".join(groups.index[~kept][:10]),
        )
    return kept


def _groups(obs: pd.DataFrame, columns: list[str], passed: Bools) -> tuple[Ints, pd.DataFrame]:
    """Return the group of each cell and a row per group, with columns constant in all groups."""
    inside = obs[columns].notna().to_numpy().all(axis=1) & passed
    keys = pd.DataFrame({c: _key(obs[c]) for c in columns})
    codes = np.full(len(obs), -1, dtype=np.int64)
    found = keys[inside].groupby(columns, sort=True, observed=True).ngroup().to_numpy()
    codes[inside] = found
    _, first = np.unique(found, return_index=True)
    rows = np.flatnonzero(inside)[first]
    groups = keys.iloc[rows].reset_index(drop=True)
    for name in obs.columns.difference(columns, sort=False):
        number = pd.factorize(obs[name], use_na_sentinel=False)[0]
        if (number[rows][found] == number[inside]).all():
            groups[str(name)] = np.asarray(obs[name].iloc[rows])
    parts = zip(*(keys[c].iloc[rows].astype(str) for c in columns), strict=True)
    groups.index = pd.Index([" | ".join(part) for part in parts], dtype=str)
    return codes, stored_frame(groups)


def _key(column: pd.Series) -> Array | pd.api.extensions.ExtensionArray:
    """Return numbers unchanged, so that hours sort as numbers, and other values as text."""
    if pd.api.types.is_numeric_dtype(column):
        values: pd.api.extensions.ExtensionArray = column.array
        return values
    return np.asarray(column, dtype=object).astype(str).astype(object)


def _assembled(adata: AnnData, groups: pd.DataFrame, kept: Bools, sums: GroupSums) -> AnnData:
    import anndata

    # Only one copy: the sums can be as large as the available memory.
    whole = bool(kept.all())
    result = anndata.AnnData(
        X=sums.sums if whole else sums.sums[kept],
        obs=groups[kept].copy(),
        var=adata.var.copy(),
        layers={schema.N_CELLS: sums.cells if whole else sums.cells[kept]},
    )
    result.uns[schema.GROUPS] = groups.assign(kept=kept)
    return result
