"""Lanes stored as .h5ad or AnnData zarr: counts, names, tags and requested columns only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from nkscore.errors import LaneError, NkscoreError, WrongScaleError
from nkscore.io._genes import features_table
from nkscore.io._lane import Lane, as_int32, counts_from_csr, first_broken
from nkscore.io._zarr import MARKERS, check_columns, check_complete, opened
from nkscore.schema import COUNTS

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import pandas as pd

    from nkscore._types import Array
    from nkscore.io._source import Source

_BLOCK_BYTES: Final = 1 << 28
_GLANCE: Final = 100_000


def is_h5ad(source: Source) -> bool:
    """Return whether the file holds the groups of an AnnData."""
    held = set(source.entries)
    return source.kind == "hdf5" and {"obs", "var"} <= held and "mod" not in held


def is_zarr(source: Source) -> bool:
    """Return whether the folder is a zarr group."""
    return source.kind == "folder" and not MARKERS.isdisjoint(source.entries)


def read_h5ad(source: Source, genome: str | None) -> Lane:
    """Read counts, names and feature types of an .h5ad file, which names no genomes."""
    return _read(source, "h5ad", genome)


def is_h5mu(source: Source) -> bool:
    """Return whether the file holds the modalities of a MuData."""
    return source.kind == "hdf5" and "mod" in source.entries


def read_h5mu(source: Source, genome: str | None) -> Lane:
    """Read the RNA of a MuData file or store; its other modalities are tables of tags."""
    return _read_modalities(source, "h5mu", genome)


def read_zarr(source: Source, genome: str | None) -> Lane:
    """Read counts, names and feature types of an AnnData or MuData zarr store."""
    if "mod" in source.entries:
        return _read_modalities(source, "MuData zarr", genome)
    if not {"obs", "var"} <= set(source.entries):
        held = ", ".join(name for name in source.entries if not name.startswith("."))
        msg = (
            f"{source.path} is a zarr store, but not of an AnnData (it holds: {held or 'nothing'}; "
            "obs and var are needed). Write the lane with anndata's write_zarr."
        )
        raise LaneError(msg)
    return _read(source, "zarr", genome)


def _read(source: Source, kind: str, genome: str | None) -> Lane:  # noqa: ARG001
    path = source.path
    with opened(path) as file:
        barcodes = _index(file["obs"], path)
        table = _features(file["var"], path)
        counts = _counts(file, path, (len(barcodes), len(table)))
        obsm = file.get("obsm", {})
        tables = {
            str(key): partial(_frame, path, f"obsm/{key}") for key in obsm if _is_frame(obsm[key])
        }
    return Lane(
        path, kind, counts, barcodes, table, tables, annotations=partial(_frame, path, "obs")
    )


#: Names that RNA has in MuData objects.
_RNA: Final = ("rna", "gex", "gene expression", "gene_expression", "transcriptome", "counts")


def _read_modalities(source: Source, kind: str, genome: str | None) -> Lane:  # noqa: ARG001
    path = source.path
    with opened(path) as file:
        held = {str(name): str(name).lower() for name in file["mod"]}
        rna = [name for name, plain in held.items() if plain in _RNA]
        if len(held) == 1:
            rna = list(held)
        if len(rna) != 1 or not {"obs", "var"} <= set(file["mod"][rna[0]]):
            msg = (
                f"{path} is a MuData object whose RNA cannot be identified (modalities: "
                f"{', '.join(held) or 'none'}; one called 'rna' with obs and var is needed). Write "
                "the RNA with its tags as .h5ad."
            )
            raise LaneError(msg)
        group = file["mod"][rna[0]]
        barcodes = _index(group["obs"], path)
        table = _features(group["var"], path)
        counts = _counts(group, path, (len(barcodes), len(table)))
    tables = {name: partial(_modality, path, name, barcodes) for name in held if name not in rna}
    return Lane(path, kind, counts, barcodes, table, tables, "mod")


def _modality(path: Path, name: str, barcodes: Array) -> pd.DataFrame:
    """Return a modality as a table of the cells of the RNA, 0 where it lacks a cell."""
    import pandas as pd

    with opened(path) as file:
        group = file["mod"][name]
        cells, tags = _index(group["obs"], path), _index(group["var"], path)
        counts = _counts(group, path, (len(cells), len(tags)))
    frame = pd.DataFrame(counts.toarray(), index=cells, columns=tags)
    return frame.reindex(barcodes, fill_value=0)


def _frame(path: Path, key: str) -> pd.DataFrame:
    from anndata.io import read_elem

    with opened(path) as file:
        check_columns(file[key], f"{path}, {key}")
        frame: pd.DataFrame = read_elem(file[key])
    return frame


def _is_frame(element: h5py.Dataset | h5py.Group) -> bool:
    return bool(element.attrs.get("encoding-type", "") == "dataframe")


def _index(group: h5py.Group, path: Path) -> Array:
    from anndata.io import read_elem

    if not hasattr(group, "keys"):
        msg = (
            f"{path} was written by an anndata older than 0.7. Open it with "
            "anndata.read_h5ad and write it again with write_h5ad."
        )
        raise LaneError(msg)
    check_complete(group[group.attrs["_index"]], f"{path}, the names of cells or genes,")
    names = np.asarray(read_elem(group[group.attrs["_index"]]), dtype=object)
    return np.array([str(name) for name in names], dtype=object)


def _features(group: h5py.Group, path: Path) -> pd.DataFrame:
    columns = {
        str(key): partial(_column, group, str(key))
        for key in group
        if key not in {group.attrs["_index"], "__categories"}
    }
    return features_table(_index(group, path), columns, path, place="var")


def _column(group: h5py.Group, key: str) -> Array:
    from anndata.io import read_elem

    element = group[key]
    check_columns({key: element}, str(group.name))
    if "__categories" not in group or key not in group["__categories"]:
        values: Array = read_elem(element)
        return values
    # anndata 0.7 kept text as numbers, with the categories in a separate group.
    levels = np.append(np.asarray(read_elem(group["__categories"][key]), dtype=object), "")
    return np.asarray(levels[np.asarray(element[()], dtype=np.int64)])


def _counts(file: h5py.Group, path: Path, shape: tuple[int, int]) -> sparse.csr_matrix:
    layers = file.get("layers", {})
    if COUNTS in layers:
        return _matrix(layers[COUNTS], f"{path}, layers[{COUNTS!r}],", shape)
    if "X" not in file or _is_null(file["X"]):
        msg = f"{path} has neither layers['counts'] nor X. {_where_counts_may_be(file)}"
        raise WrongScaleError(msg)
    try:
        return _matrix(file["X"], f"{path}, X,", shape)
    except WrongScaleError as error:
        msg = f"{error} {_where_counts_may_be(file)}"
        raise WrongScaleError(msg) from None


def _is_null(element: h5py.Dataset | h5py.Group) -> bool:
    return bool(element.attrs.get("encoding-type", "") == "null")


def _matrix(
    element: h5py.Dataset | h5py.Group, where: str, shape: tuple[int, int]
) -> sparse.csr_matrix:
    if not hasattr(element, "keys"):
        return _dense(element, where, shape)
    stored = str(
        element.attrs.get("encoding-type", f"{element.attrs.get('h5sparse_format', '')}_matrix")
    )
    sides = tuple(int(n) for n in element.attrs.get("shape", element.attrs.get("h5sparse_shape")))
    if sides != shape:
        raise LaneError(_wrong_shape(where, sides, shape))
    by_row = stored.startswith("csr")
    for part in ("data", "indices", "indptr") if element["data"].shape[0] else ():
        check_complete(element[part], f"{where} {part}")
    matrix = counts_from_csr(
        element["data"][()],
        element["indices"][()],
        element["indptr"][()],
        shape=shape if by_row else shape[::-1],
        where=where.rstrip(","),
        axes=("cell", "gene") if by_row else ("gene", "cell"),
    )
    # The transpose of the transposed matrix, by cell; scipy's conversion also sorts it.
    by_cell: sparse.csr_matrix = matrix if by_row else matrix.T.tocsr()
    return by_cell


def _dense(element: h5py.Dataset, where: str, shape: tuple[int, int]) -> sparse.csr_matrix:
    if element.shape != shape:
        raise LaneError(_wrong_shape(where, element.shape, shape))
    check_columns({"values": element}, where.rstrip(","))
    step = max(1, _BLOCK_BYTES // max(1, shape[1] * element.dtype.itemsize))
    blocks = [
        sparse.csr_matrix(_whole(element[start : start + step], where, start))
        for start in range(0, shape[0], step)
    ]
    if not blocks:
        return sparse.csr_matrix(np.zeros(shape, dtype=np.int32))
    counts: sparse.csr_matrix = sparse.vstack(blocks, format="csr")
    return counts


def _whole(block: Array, where: str, start: int) -> Array:
    try:
        return as_int32(block, where)[0]
    except WrongScaleError as error:
        row, column = divmod(first_broken(block.ravel()), block.shape[1])
        place = f"The first one is at cell {start + row + 1}, gene {column + 1} of the file."
        msg = f"{error} {place}"
        raise WrongScaleError(msg) from None


def _wrong_shape(where: str, found: tuple[int, ...], expected: tuple[int, int]) -> str:
    return (
        f"{where} is {' × '.join(map(str, found))}, but obs and var describe {expected[0]} cells × "
        f"{expected[1]} genes: the file is damaged. Write it again from its source."
    )


def _where_counts_may_be(file: h5py.Group) -> str:
    layers = file.get("layers", {})
    places = {f"layers[{key!r}]": layers[key] for key in layers}
    if "raw" in file and "X" in file["raw"]:
        places["raw.X"] = file["raw"]["X"]
    whole = [place for place, element in places.items() if _looks_whole(element)]
    if not whole:
        return "No other slot of the file holds whole numbers: get the raw counts of this lane."
    copy = (
        "write adata.raw.to_adata() as a separate file"
        if whole == ["raw.X"]
        else f"copy {whole[0]} into layers['counts'] and write the file again"
    )
    return f"Counts may be in {' or '.join(whole)}: {copy}."


def _looks_whole(element: h5py.Dataset | h5py.Group) -> bool:
    try:
        values = element["data"][:_GLANCE] if hasattr(element, "keys") else np.ravel(element[:100])
        as_int32(values, "")
    except (NkscoreError, OSError, ValueError, TypeError):
        return False
    return bool(values.size)
