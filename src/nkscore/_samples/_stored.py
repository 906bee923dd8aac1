"""Objects whose counts are in files: where they are, how to attach them and write them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nkscore import schema
from nkscore._counts._normalized import target_sum_of
from nkscore._counts._sources import is_stored
from nkscore._counts._store import Writer, path_of
from nkscore._samples._matrices import counts_of, expression_of

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

    from nkscore._counts._base import Counts


class Place(NamedTuple):
    """File of counts; ``target_sum`` if ``X`` is made from them."""

    path: str
    target_sum: float | None


def place_of(adata: AnnData) -> Place | None:
    """Return where the counts are, ``None`` for memory."""
    matrix = adata.layers.get(schema.COUNTS)
    path = path_of(matrix) if is_stored(matrix) else None
    return None if path is None else Place(path, target_sum_of(adata.X))


def without_matrices(adata: AnnData) -> AnnData:
    """Return an object without counts and ``X``; all else is shared with the given one."""
    import anndata

    return anndata.AnnData(
        obs=adata.obs,
        var=adata.var,
        uns=adata.uns,
        obsm=dict(adata.obsm),
        varm=dict(adata.varm),
        layers={name: layer for name, layer in adata.layers.items() if name != schema.COUNTS},
        obsp=dict(adata.obsp),
        varp=dict(adata.varp),
    )


def add_matrices(file: h5py.File, adata: AnnData, packed: dict[str, Any]) -> None:
    """Write counts and ``X``, block by block, into an h5ad file that lacks them."""
    _write(file, f"layers/{schema.COUNTS}", counts_of(adata), packed)
    if adata.X is not None:
        if "X" in file:
            del file["X"]
        _write(file, "X", expression_of(adata), packed)


def _write(file: h5py.File, place: str, matrix: Counts, packed: dict[str, Any]) -> None:
    writer = Writer(file.create_group(place), matrix.dtype, **packed)
    for part in matrix.parts():
        writer.add(part.matrix)
    writer.finish(matrix.shape[1])
