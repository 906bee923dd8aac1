"""One number per cell by name: a score, a column of obs, or a gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore._samples._matrices import expression_of
from nkscore.errors import MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Floats


def cell_values(adata: AnnData, name: str, key: str) -> Floats:
    """Return the column ``name`` of ``obsm[key]`` or ``obs``, or that gene of ``X``."""
    scores = adata.obsm.get(key)
    if isinstance(scores, pd.DataFrame) and name in scores:
        return _numbers(scores[name], f"obsm[{key!r}][{name!r}]")
    if name in adata.obs:
        return _numbers(adata.obs[name], f"obs[{name!r}]")
    if name in adata.var_names:
        expression = expression_of(adata)
        column = expression.columns(adata.var_names.get_indexer([name]))
        return np.asarray(column.toarray(), dtype=np.float64).ravel()
    have = ", ".join(map(str, list(scores.columns)[:10])) if hasattr(scores, "columns") else "none"
    msg = (
        f"{name!r} is neither a column of obsm[{key!r}] (it holds: {have}), nor of obs, nor a "
        "gene. Run tl.score first, or name an existing score."
    )
    raise MissingKeyError(msg)


def require_finite(values: Floats) -> None:
    """Raise ``WrongScaleError`` unless each cell has a number."""
    finite = np.isfinite(values)
    if not finite.all():
        msg = (
            f"The score is NaN or infinite in {int((~finite).sum())} of {values.size} cells; "
            "one finite number per cell is needed. Score these cells, or remove them first."
        )
        raise WrongScaleError(msg)


def _numbers(column: pd.Series, where: str) -> Floats:
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        msg = f"{where} holds {column.dtype} values; numbers are needed, one per cell."
        raise WrongScaleError(msg)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
