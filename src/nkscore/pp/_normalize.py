"""Log-normalized expression for plots, embedding and mean scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nkscore import schema
from nkscore._checks import check_positive
from nkscore._samples._matrices import log_normalized

if TYPE_CHECKING:
    from anndata import AnnData


def normalize(adata: AnnData, *, target_sum: float = 1e4) -> None:
    """Write log1p of counts per ``target_sum`` to ``X``.

    Reads ``layers["counts"]``, which does not change; calling twice gives the same ``X``.

    Parameters
    ----------
    adata
        Cells × genes.
    target_sum
        Total of each cell after scaling. Log-normalized values of scanpy, Seurat and published
        marker thresholds use 10,000.

    Returns
    -------
    None
        Writes ``X`` (CSR float32, cells × genes; a cell without counts stays zero) and
        ``uns["nkscore"]["pp.normalize"]``. If the counts are in an open file or a dask array,
        ``X`` is made from them wherever it is read, and takes no memory.

    Raises
    ------
    WrongScaleError
        If ``layers["counts"]`` is not counts.
    ValueError
        If ``target_sum`` is not positive and finite.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.normalize(adata)
    >>> nk.schema.validate(adata, stage="normalized")
    """
    check_positive("target_sum", target_sum)
    values = log_normalized(adata, target_sum)
    # The record comes first because it turns a view into an object: X of a view belongs to its
    # parent.
    schema.record(
        adata, "pp.normalize", function="pp.normalize", options={"target_sum": target_sum}
    )
    adata.X = values
