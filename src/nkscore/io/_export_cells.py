"""Cells for Seurat and for the CELLxGENE explorer."""

from __future__ import annotations

import gzip
import re
import shutil
from typing import IO, TYPE_CHECKING, Any, Final, cast

import numpy as np
import pandas as pd
from scipy import io as scipy_io
from scipy import sparse

from nkscore import schema
from nkscore._storable import stored_name
from nkscore._whole import whole
from nkscore.errors import GeneCoverageError, MissingKeyError

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from nkscore.io._export_tables import Choice

#: Level of cells without a value, and its color.
_NONE: Final = "missing"
_GRAY: Final = "#bbbbbb"
_LOAD: Final = """\
# Makes the Seurat object `object` of this folder: source("load.R", chdir = TRUE)
library(Matrix); library(SeuratObject)
table <- function(file) read.delim(file, row.names = 1, check.names = FALSE, na.strings = "NA")
matrix <- function(file) as(`dimnames<-`(readMM(gzfile(file)), list(readLines("genes.txt"),
  readLines("cells.txt"))), "CsparseMatrix")
object <- CreateSeuratObject(matrix("matrix.mtx.gz"), meta.data = table("cells.tsv.gz"))
if (file.exists("normalized.mtx.gz"))
  object <- SetAssayData(object, "data", matrix("normalized.mtx.gz"))
for (name in list.files("assays")) object[[sub(".tsv.gz", "", name, fixed = TRUE)]] <-
  CreateAssayObject(t(as.matrix(table(file.path("assays", name)))))
for (name in list.files("reductions")) object[[sub(".tsv.gz", "", name, fixed = TRUE)]] <-
  CreateDimReducObject(as.matrix(table(file.path("reductions", name))), assay = "RNA",
    key = paste0(gsub("[^A-Za-z0-9]", "", sub(".tsv.gz", "", name, fixed = TRUE)), "_"))
rm(table, matrix, name)
"""


def write_seurat(adata: AnnData, path: Path, choice: Choice) -> list[Path]:
    """Write the folder that ``load.R`` reads."""
    schema.require(adata, "layers", [schema.COUNTS], "io.read_coculture")
    _check_names(adata)
    beside = choice.free(path).with_name(f".{path.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _fill(adata, beside)
        if path.exists():
            _remove(path)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return sorted(file for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    """Remove a folder that this function wrote earlier, and nothing else."""
    if not (path / "load.R").is_file():
        msg = f"{path} exists and is not a folder of io.export. Choose another name."
        raise FileExistsError(msg)
    shutil.rmtree(path)


def _check_names(adata: AnnData) -> None:
    for names, what in ((adata.var_names, "var_names"), (adata.obs_names, "obs_names")):
        twice = names[names.duplicated()]
        if len(twice):
            msg = f"{what} holds {twice[0]!r} twice; R needs distinct names. Make them unique."
            raise GeneCoverageError(msg)


def _fill(adata: AnnData, folder: Path) -> None:
    for name in ("assays", "reductions"):
        (folder / name).mkdir(parents=True)
    (folder / "load.R").write_text(_LOAD, encoding="utf-8")
    for file, names in (("genes.txt", adata.var_names), ("cells.txt", adata.obs_names)):
        text = "".join(f"{name}\n" for name in names)
        (folder / file).write_text(text, encoding="utf-8")
    _write_matrix(adata.layers[schema.COUNTS], folder / "matrix.mtx.gz")
    if adata.X is not None:
        _write_matrix(adata.X, folder / "normalized.mtx.gz")
    _write_table(adata.obs, folder / "cells.tsv.gz")
    for key, values in adata.obsm.items():
        name = _file_name(str(key).removeprefix("X_"))
        if isinstance(values, pd.DataFrame):
            if all(map(pd.api.types.is_numeric_dtype, values.dtypes)):
                _write_table(values, folder / "assays" / f"{name}.tsv.gz")
        elif values.ndim == 2:
            dense = sparse.csr_matrix(values).toarray()
            columns = pd.Index([f"{name}_{n + 1}" for n in range(dense.shape[1])])
            frame = pd.DataFrame(dense, index=adata.obs_names, columns=columns)
            _write_table(frame, folder / "reductions" / f"{name}.tsv.gz")


def _file_name(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", key).strip("_") or "table"


def _write_matrix(cells_by_genes: sparse.csr_matrix, path: Path) -> None:
    """Write genes × cells, as R wants them."""
    matrix = sparse.coo_array(sparse.csr_matrix(cells_by_genes).T)
    with gzip.open(path, "wb", compresslevel=4) as file:
        scipy_io.mmwrite(cast("IO[bytes]", file), matrix, symmetry="general")


def _write_table(table: pd.DataFrame, path: Path) -> None:
    written = table.copy()
    for column in written:
        values = written[column]
        if pd.api.types.is_bool_dtype(values):
            written[column] = values.map({True: "TRUE", False: "FALSE"})
        elif not pd.api.types.is_numeric_dtype(values):
            text = values.astype(object).where(values.notna(), None)
            written[column] = [None if v is None else " ".join(str(v).split()) for v in text]
    written.to_csv(path, sep="\t", na_rep="NA", index_label="cell", compression="gzip")


def write_cellxgene(adata: AnnData, path: Path, choice: Choice) -> list[Path]:
    """Write an h5ad file as the CELLxGENE explorer opens it."""
    import anndata

    schema.require(adata, "layers", [schema.COUNTS], "io.read_coculture")
    schema.check_log_scale(adata.X)
    _check_names(adata)
    maps = {
        str(key): np.asarray(values, dtype=np.float32)
        for key, values in adata.obsm.items()
        if str(key).startswith("X_") and np.ndim(values) == 2 and values.shape[1] > 1
    }
    if not maps:
        msg = "obsm holds no map of the cells (X_umap). Run tl.embed first."
        raise MissingKeyError(msg)
    counts = sparse.csr_matrix(adata.layers[schema.COUNTS], dtype=np.float32)
    shown = anndata.AnnData(counts, obs=_flat(adata), var=adata.var[[]].copy())
    shown.raw = shown
    # The explorer reads one gene at a time.
    shown.X = sparse.csc_matrix(adata.X, dtype=np.float32)
    for key, places in maps.items():
        shown.obsm[key] = places
    for column in map(str, shown.obs.select_dtypes("category")):
        colors = list(adata.uns.get(f"{column}_colors", ()))
        levels = shown.obs[column].cat.categories
        colors += [_GRAY] * (levels[-1:] == _NONE).sum()
        if len(colors) == len(levels) > 0:
            shown.uns[f"{column}_colors"] = colors
    with whole(choice.free(path)) as beside:
        shown.write_h5ad(beside, compression="gzip")
    return [path]


def _flat(adata: AnnData) -> pd.DataFrame:
    """Return the columns of the cells and their scores, as categories and numbers only."""
    columns: dict[str, Any] = {}
    for name in map(str, adata.obs):
        values = adata.obs[name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns[name] = values.to_numpy()
            continue
        levels = values.astype("category").cat.rename_categories(str)
        if levels.isna().any():
            levels = levels.cat.add_categories(_NONE).fillna(_NONE)
        columns[name] = levels
    for key, frame in adata.obsm.items():
        if isinstance(frame, pd.DataFrame):
            for column in map(str, frame):
                name = stored_name(f"{key}: {column}")
                columns[name] = frame[column].to_numpy(dtype=np.float32)
    return pd.DataFrame(columns, index=adata.obs_names)
