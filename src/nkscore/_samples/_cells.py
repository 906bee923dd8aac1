"""Cells of a compartment that passed quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.errors import DesignError, WrongScaleError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Array, Bools, Floats, Ints

#: Upper limits of depth, which pairs cross because they hold two cells.
_DEEP: Final = frozenset({"high counts", "high genes"})
#: Genes whose share of a cell depends on its health and growth, and would distort depth.
NO_EXPOSURE: Final = r"^MT-|^RP[SL]\d"


def passed_qc(adata: AnnData) -> Bools:
    """Return which cells passed QC; all cells if ``obs["qc_pass"]`` is absent."""
    if schema.QC_PASS not in adata.obs:
        return np.ones(adata.n_obs, dtype=bool)
    column = adata.obs[schema.QC_PASS]
    kind = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    yes_or_no = pd.api.types.is_bool_dtype(kind) or pd.api.types.is_numeric_dtype(kind)
    if column.isna().any() or not (yes_or_no and column.isin([0, 1]).all()):
        # Text like 'False', and missing values, would count as passed.
        found = next((v for v in column if v not in {True, False}), column.iloc[0])
        msg = (
            f"obs['qc_pass'] holds {found!r}; True or False for each cell is needed. Translate it, "
            "for example .map({'True': True, 'False': False}), or run pp.qc again."
        )
        raise WrongScaleError(msg)
    return np.asarray(column, dtype=bool)


def without_deep(adata: AnnData) -> Bools:
    """Return which droplets passed QC, or failed it only because they hold many counts."""
    passed = passed_qc(adata)
    if schema.QC_REASON not in adata.obs or passed.all():
        return passed
    reasons = adata.obs[schema.QC_REASON].astype(str)
    deep = {r for r in set(reasons) if set(r.split("; ")) <= _DEEP}
    return np.asarray(passed | reasons.isin(deep).to_numpy())


def cells_of(adata: AnnData, compartment: str, *, min_cells: int, purpose: str) -> Ints:
    """Return the positions of the cells of a compartment that passed QC.

    ``purpose`` ends the sentence of the error if there are fewer than ``min_cells``.
    """
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    inside = (adata.obs[schema.COMPARTMENT] == compartment).to_numpy() & passed_qc(adata)
    cells = np.flatnonzero(inside)
    if cells.size < min_cells:
        kind = "NK" if compartment == schema.NK else compartment
        msg = (
            f"{cells.size} {kind} cells passed QC; at least {min_cells} are needed {purpose}. "
            "Check obs['compartment'], or lower min_cells."
        )
        raise DesignError(msg)
    return cells


def spread(values: Array, cells: Ints, n_cells: int) -> Floats:
    """Put values of some cells into an array of all cells, NaN elsewhere."""
    full = np.full((n_cells, *values.shape[1:]), np.nan)
    full[cells] = values
    return full


def exposure_genes(adata: AnnData) -> Bools:
    """Return the genes whose counts are the depth: without mitochondrial and ribosomal ones."""
    return np.asarray(~adata.var_names.str.match(NO_EXPOSURE), dtype=bool)
