"""The matrices of an AnnData, opened for all functions that read them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nkscore import schema
from nkscore._counts import _scales
from nkscore._counts._open import open_counts
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts

_X = "X"


def counts_of(adata: AnnData, *, check: bool = True) -> Counts:
    """Return ``layers["counts"]``, from memory, a file or dask.

    Parameters
    ----------
    check
        Whether repeated genes and values other than counts raise an error: at once for a matrix
        in memory, else as values are read. Sums over groups of cells always check their values.

    Raises
    ------
    MissingKeyError
        If there are no counts.
    GeneCoverageError
        If gene names are repeated.
    WrongScaleError
        If a value is not a count.
    """
    schema.require(adata, "layers", [schema.COUNTS], "io.read_coculture")
    matrix, where = adata.layers[schema.COUNTS], f"layers[{schema.COUNTS!r}]"
    if not check:
        return open_counts(matrix, where)
    schema.check_var_names(adata)
    return open_counts(matrix, where, check=partial(_scales.check_counts, where=where))


def has_counts(adata: AnnData) -> bool:
    """Return whether the AnnData holds counts."""
    return schema.COUNTS in adata.layers


def expression_of(adata: AnnData) -> Counts:
    """Return ``X``, log1p of counts per 10,000, from memory, a file or dask.

    Raises
    ------
    MissingKeyError
        If ``X`` is empty.
    GeneCoverageError
        If gene names are repeated.
    WrongScaleError
        If a value is on another scale.
    """
    matrix = matrix_of(adata, _X)
    schema.check_var_names(adata)
    return open_counts(matrix, "adata.X", check=_scales.check_log_scale)


def matrix_of(adata: AnnData, name: str) -> Any:
    """Return ``adata.X`` for ``"X"``, else the layer of that name, as it is stored."""
    if name == _X:
        if adata.X is None:
            msg = (
                "adata.X is empty. Run pp.normalize first, which makes it from layers['counts'], "
                "or score layer='counts'."
            )
            raise MissingKeyError(msg)
        return adata.X
    if name not in adata.layers:
        have = ", ".join(map(str, adata.layers)) or "none"
        msg = (
            f"There is no layer {name!r} (layers here: {have}). Run io.read_coculture, which "
            "writes layers['counts'], or name what to score: layer='X' in Python, --layer X in "
            "the shell."
        )
        raise MissingKeyError(msg)
    return adata.layers[name]
