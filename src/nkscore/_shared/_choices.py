"""Names that the caller chooses, and which cells passed quality control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.errors import WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData


def names_of(given: str | Iterable[str]) -> list[str]:
    """Return a list of names; one name is no list of letters."""
    return [given] if isinstance(given, str) else list(given)


def passed_qc(adata: AnnData) -> Any:
    """Return which cells passed QC; all where ``obs["qc_pass"]`` is absent."""
    if schema.QC_PASS not in adata.obs:
        return np.ones(adata.n_obs, dtype=bool)
    column = adata.obs[schema.QC_PASS]
    kind = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    yes_or_no = pd.api.types.is_bool_dtype(kind) or pd.api.types.is_numeric_dtype(kind)
    if column.isna().any() or not (yes_or_no and column.isin([0, 1]).all()):
        # Text such as 'False', and what is missing, would count as passed.
        found = next((v for v in column if v not in {True, False}), column.iloc[0])
        msg = (
            f"obs['qc_pass'] holds {found!r}; True or False for each cell is needed. Translate it, "
            "for example .map({'True': True, 'False': False}), or run pp.qc again."
        )
        raise WrongScaleError(msg)
    return column.to_numpy(dtype=bool)
