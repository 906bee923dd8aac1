"""The matrices of an AnnData, opened for all functions that read them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore import schema
from nkscore._counts import _scales
from nkscore._counts._compact import compact
from nkscore._counts._dask import is_dask
from nkscore._counts._logs import factors, log_values
from nkscore._counts._normalized import log_dask, log_group, target_sum_of
from nkscore._counts._open import open_counts
from nkscore._counts._sources import is_stored
from nkscore._counts._store import open_group, write_store
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools

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


def log_normalized(adata: AnnData, target_sum: float) -> Any:
    """Return log1p of counts per ``target_sum``, CSR float32.

    Of counts in an open file or a dask array, it is made whenever it is read, and takes no space.
    """
    found, matrix = counts_of(adata), adata.layers[schema.COUNTS]
    total = found.totals()
    if is_dask(matrix):
        return log_dask(matrix, target_sum)
    if is_stored(matrix) and matrix.format == "csr":
        from anndata.io import sparse_dataset

        return sparse_dataset(log_group(matrix, total, target_sum))
    from scipy import sparse

    counts = found.rows()
    values = log_values(counts.data, factors(total, target_sum), np.diff(counts.indptr))
    return sparse.csr_matrix(
        (values, counts.indices.copy(), counts.indptr.copy()), shape=counts.shape
    )


def with_moved_counts(adata: AnnData, keep: Callable[[AnnData], AnnData]) -> AnnData:
    """Return what ``keep`` keeps; counts in memory move there, and ``adata`` has none afterwards.

    Memory then holds them once.
    """
    from scipy import sparse

    counts = adata.layers[schema.COUNTS]
    if not isinstance(counts, sparse.csr_matrix):
        return keep(adata)
    del adata.layers[schema.COUNTS]
    kept = keep(adata)
    kept.layers[schema.COUNTS] = compact(counts, adata.obs_names.isin(kept.obs_names))
    return kept


def kept_in_store(adata: AnnData, cells: Bools, path: Path) -> AnnData:
    """Return some cells as a new object whose counts were written to a new file, block by block.

    Raises
    ------
    FileExistsError
        If something is at ``path``.
    """
    import anndata

    counts, target_sum = counts_of(adata), target_sum_of(adata.X)
    write_store(path, adata.n_vars, (part.matrix for part in counts.parts(cells)))
    others = {name: layer for name, layer in adata.layers.items() if name != schema.COUNTS}
    lean = anndata.AnnData(
        None if target_sum is not None else adata.X,
        obs=adata.obs,
        var=adata.var,
        uns=adata.uns,
        obsm=dict(adata.obsm),
        varm=dict(adata.varm),
        layers=others,
        raw=None if adata.raw is None else adata.raw.to_adata(),
        obsp=dict(adata.obsp),
        varp=dict(adata.varp),
    )
    kept = lean[cells].copy()
    attach(kept, path, target_sum)
    return kept


def attach(adata: AnnData, path: Path, target_sum: float | None = None) -> None:
    """Take the counts from a store, and make ``X`` from them if there is a target."""
    from anndata.io import sparse_dataset

    adata.layers[schema.COUNTS] = sparse_dataset(open_group(path))
    if target_sum is not None:
        adata.X = log_normalized(adata, target_sum)


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
