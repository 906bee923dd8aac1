"""Lanes kept as .h5ad: only counts, names and tags are read, never the rest of the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore.errors import GeneCoverageError, LaneError, NkscoreError, WrongScaleError
from nkscore.io._genes import mostly_ensembl
from nkscore.io._lane import GENE_EXPRESSION, Lane, as_int32, counts_from_csr, reading
from nkscore.schema import COUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore.io._source import Source

#: Columns of ``var`` that hold gene symbols or ids, by the habits of the common tools.
_SYMBOL_COLUMNS: Final = (
    "gene_symbols", "gene_symbol", "gene_name", "gene_names", "feature_name", "symbol", "symbols",
    "hgnc_symbol", "gene_short_name", "name",
)  # fmt: skip
_ID_COLUMNS: Final = ("gene_id", "gene_ids", "ensembl_id", "ensembl_ids", "ensembl", "feature_id")
_TYPE_COLUMNS: Final = ("feature_types", "feature_type")
_BLOCK_BYTES: Final = 1 << 28
_GLANCE: Final = 100_000


def is_h5ad(source: Source) -> bool:
    """Return whether the file holds the groups of an AnnData."""
    return source.kind == "hdf5" and {"obs", "var"} <= set(source.entries)


def read_h5ad(source: Source, genome: str | None) -> Lane:  # noqa: ARG001
    """Read counts, names and feature types of an .h5ad file, which names no genomes."""
    import h5py

    path = source.path
    with h5py.File(path, "r") as file:
        barcodes = _index(file["obs"])
        table = _features(file["var"], path)
        counts = _counts(file, path, (len(barcodes), len(table)))
        frames = tuple(key for key in file.get("obsm", {}) if _is_frame(file["obsm"][key]))
    return Lane(path, "h5ad", counts, barcodes, table, frames)


def read_frame(lane: Lane, key: str) -> pd.DataFrame:
    """Return ``obsm[key]`` of an .h5ad lane as int32 counts, one row per barcode."""
    import h5py
    from anndata.io import read_elem

    where = f"{lane.path}, obsm[{key!r}],"
    if key not in lane.frame_keys:
        tables = ", ".join(lane.frame_keys) or "none"
        msg = (
            f"{where} is not a table with column names (tables in obsm: {tables}). Write the tag "
            "counts as a DataFrame into obsm, its columns named after the tags."
        )
        raise LaneError(msg)
    with reading(lane.path), h5py.File(lane.path, "r") as file:
        frame = read_elem(file["obsm"][key])
        values, _ = as_int32(frame.to_numpy(), where)
    if len(frame) != len(lane.barcodes):
        msg = f"{where} has {len(frame)} rows for {len(lane.barcodes)} cells. Write it again."
        raise LaneError(msg)
    return pd.DataFrame(values, columns=[str(name) for name in frame.columns])


def _is_frame(element: Any) -> bool:
    return bool(element.attrs.get("encoding-type", "") == "dataframe")


def _index(group: Any) -> np.ndarray[Any, Any]:
    from anndata.io import read_elem

    if not hasattr(group, "keys"):
        msg = (
            f"{group.file.filename} was written by an anndata older than 0.7. Open it with "
            "anndata.read_h5ad and write it again with write_h5ad."
        )
        raise LaneError(msg)
    names = np.asarray(read_elem(group[group.attrs["_index"]]), dtype=object)
    return np.array([str(name) for name in names], dtype=object)


def _features(group: Any, path: Path) -> pd.DataFrame:
    index = _index(group)
    columns = {str(key).lower(): str(key) for key in group if key != group.attrs["_index"]}
    types = _first(group, columns, _TYPE_COLUMNS)
    ids = _first(group, columns, _ID_COLUMNS)
    names = index
    if mostly_ensembl(index):
        symbols = _first(group, columns, _SYMBOL_COLUMNS)
        if symbols is None:
            raise GeneCoverageError(_only_ids(index, path, columns))
        # A gene without a symbol keeps its id, so that it stays one gene of its own.
        known = ~np.isin(symbols, ("", "nan", "None", "<NA>"))
        ids, names = index, np.where(known, symbols, index)
    return pd.DataFrame(
        {
            "id": "" if ids is None else ids,
            "name": names,
            "type": GENE_EXPRESSION if types is None else types,
        },
        index=range(len(index)),
    )


def _first(
    group: Any, columns: dict[str, str], wanted: tuple[str, ...]
) -> np.ndarray[Any, Any] | None:
    from anndata.io import read_elem

    for name in wanted:
        if name in columns:
            values = read_elem(group[columns[name]])
            return np.array([str(value) for value in values], dtype=object)
    return None


def _only_ids(index: np.ndarray[Any, Any], path: Path, columns: dict[str, str]) -> str:
    held = ", ".join(columns.values()) or "no columns"
    return (
        f"{path}: the genes are named by Ensembl ids (for example {index[0]}) and var has no "
        f"column of symbols that nkscore knows (var holds: {held}; known: "
        f"{', '.join(_SYMBOL_COLUMNS[:6])}, ...). Gene symbols are needed: put them into "
        "var['gene_symbols'] and write the file again."
    )


def _counts(file: Any, path: Path, shape: tuple[int, int]) -> Any:
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


def _is_null(element: Any) -> bool:
    return bool(element.attrs.get("encoding-type", "") == "null")


def _matrix(element: Any, where: str, shape: tuple[int, int]) -> Any:
    if not hasattr(element, "keys"):
        return _dense(element, where, shape)
    stored = str(
        element.attrs.get("encoding-type", f"{element.attrs.get('h5sparse_format', '')}_matrix")
    )
    sides = tuple(int(n) for n in element.attrs.get("shape", element.attrs.get("h5sparse_shape")))
    if sides != shape:
        raise LaneError(_wrong_shape(where, sides, shape))
    by_row = stored.startswith("csr")
    matrix = counts_from_csr(
        element["data"][()],
        element["indices"][()],
        element["indptr"][()],
        shape=shape if by_row else shape[::-1],
        where=where.rstrip(","),
    )
    # The transpose of the transposed matrix, by cell; scipy's conversion also sorts it.
    return matrix if by_row else matrix.T.tocsr()


def _dense(element: Any, where: str, shape: tuple[int, int]) -> Any:
    if element.shape != shape:
        raise LaneError(_wrong_shape(where, element.shape, shape))
    step = max(1, _BLOCK_BYTES // max(1, shape[1] * element.dtype.itemsize))
    blocks = [
        sparse.csr_matrix(as_int32(element[start : start + step], where)[0])
        for start in range(0, shape[0], step)
    ]
    return sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix(shape, dtype="i4")


def _wrong_shape(where: str, found: tuple[int, ...], expected: tuple[int, int]) -> str:
    return (
        f"{where} is {' × '.join(map(str, found))}, but obs and var describe {expected[0]} cells × "
        f"{expected[1]} genes: the file is damaged. Write it again from its source."
    )


def _where_counts_may_be(file: Any) -> str:
    places = {f"layers[{key!r}]": file["layers"][key] for key in file.get("layers", {})}
    if "raw" in file and "X" in file["raw"]:
        places["raw.X"] = file["raw"]["X"]
    whole = [place for place, element in places.items() if _looks_whole(element)]
    if not whole:
        return "No other slot of the file holds whole numbers: get the raw counts of this lane."
    copy = (
        "write adata.raw.to_adata() as a file of its own"
        if whole == ["raw.X"]
        else f"copy {whole[0]} into layers['counts'] and write the file again"
    )
    return f"Counts may be in {' or '.join(whole)}: {copy}."


def _looks_whole(element: Any) -> bool:
    try:
        values = element["data"][:_GLANCE] if hasattr(element, "keys") else np.ravel(element[:100])
        as_int32(values, "")
    except (NkscoreError, OSError, ValueError, TypeError):
        return False
    return bool(values.size)
