"""Registry of lane formats: how each is recognized and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nkscore.errors import LaneError
from nkscore.io import _anndata, _loom, _mtx, _rds, _table, _tenx_h5
from nkscore.io._lane import check_not_empty, reading
from nkscore.io._source import Source, inspect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nkscore.io._lane import Lane


@dataclass(frozen=True, slots=True)
class Reader:
    """A format: ``detects`` decides by name and content, ``read`` takes a genome or None."""

    name: str
    detects: Callable[[Source], bool]
    read: Callable[[Source, str | None], Lane]


#: All formats, in the order in which they are tried.
READERS: Final = (
    Reader(".loom", _loom.is_loom, _loom.read_loom),
    Reader("10x .h5 (Cell Ranger 3+)", _tenx_h5.is_v3, _tenx_h5.read_v3),
    Reader(".h5ad", _anndata.is_h5ad, _anndata.read_h5ad),
    Reader("MuData .h5mu", _anndata.is_h5mu, _anndata.read_h5mu),
    Reader("10x .h5 (Cell Ranger 2)", _tenx_h5.is_v2, _tenx_h5.read_v2),
    Reader("AnnData .zarr", _anndata.is_zarr, _anndata.read_zarr),
    Reader("matrix.mtx(.gz) with barcodes and features", _mtx.is_mtx, _mtx.read_mtx),
    Reader(".rds (Seurat, SingleCellExperiment, dgCMatrix)", _rds.is_rds, _rds.read_rds),
    Reader("table .csv/.tsv/.txt(.gz)", _table.is_table, _table.read_table),
)

_OTHER_HDF5: Final = (
    ("barcode_idx", "a molecule_info.h5: give filtered_feature_bc_matrix.h5 of the same run"),
    ("assays", "an h5Seurat file: saveRDS the object in R and give the .rds"),
)


def load(path: Path, *, genome: str | None = None) -> Lane:
    """Read the lane at ``path`` in any known format."""
    source = inspect(path)
    with reading(path):
        for reader in READERS:
            if reader.detects(source):
                lane = reader.read(source, genome)
                check_not_empty(lane)
                return lane
    below = _below(source, genome)
    if below is not None:
        return load(below, genome=genome)
    raise LaneError(_unknown(source))


def _below(source: Source, genome: str | None) -> Path | None:
    # Cell Ranger 2 keeps the matrix of each genome in a folder of the genome's name.
    return source.path / genome if genome is not None and genome in source.entries else None


def _unknown(source: Source) -> str:
    path = source.path
    if source.kind == "hdf5":
        known = (text for key, text in _OTHER_HDF5 if key in source.entries)
        what = next(known, f"an HDF5 file of an unknown type (it holds: {_few(source.entries)})")
        return f"{path} is {what}. {_formats()}"
    if source.kind == "file" and path.suffix == ".gz":
        return (
            f"{path} is gzip-compressed, and nkscore reads only text files so: unpack it first "
            f"(gunzip {path.name}). {_formats()}"
        )
    if source.kind == "file":
        return f"{path} is not in a format that nkscore reads as a lane. {_formats()}"
    candidates = _candidates(source)
    if candidates:
        return (
            f"{path} is a folder without a matrix, but it contains: "
            f"{', '.join(candidates)}. Give one of these as the path of the lane."
        )
    held = _few(source.entries) or "nothing"
    return f"{path} is a folder without a matrix (it holds: {held}). {_formats()}"


def _candidates(source: Source) -> list[str]:
    patterns = (
        "*.h5",
        "*.h5ad",
        "*.rds",
        "*.loom",
        "*.zarr",
        "*/*matrix.mtx*",
        "*/*.h5",
        "*/*/*matrix.mtx*",
    )
    found: dict[str, None] = {}
    for pattern in patterns:
        for item in sorted(source.path.glob(pattern)):
            place = item.parent if "matrix.mtx" in item.name else item
            found.setdefault(str(place.relative_to(source.path)))
    return list(found)[:6]


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _formats() -> str:
    return f"Known formats: {'; '.join(reader.name for reader in READERS)}."
