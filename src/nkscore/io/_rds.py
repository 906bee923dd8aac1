"""Lanes stored as R objects: Seurat (3 to 5), SingleCellExperiment or a matrix with names."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import LaneError
from nkscore.io import _rds_bioconductor, _rds_seurat
from nkscore.io._genes import features_table
from nkscore.io._lane import Lane
from nkscore.io._rds_file import parse
from nkscore.io._rds_matrix import MATRICES, Named, matrix
from nkscore.io._rds_nodes import classes, column, frame, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._rds_nodes import Node
    from nkscore.io._source import Source

_LOG: Final = logging.getLogger("nkscore")


def is_rds(source: Source) -> bool:
    """Return whether the file is called .rds, or begins like one."""
    if source.kind != "file":
        return False
    suffix = source.path.suffix.lower()
    if suffix in {".rds", ".rdata", ".rda", ".robj"}:
        return True
    with source.path.open("rb") as file:
        return file.read(6).startswith((b"X\n\x00\x00", b"RDX"))


def read_rds(source: Source, genome: str | None) -> Lane:  # noqa: ARG001
    """Read the counts, the other assays and the cells' annotations of an R object."""
    path = source.path
    root = parse(path)
    kinds = classes(root)
    if "Seurat" in kinds:
        found = _rds_seurat.parts(root, path)
    elif any(kind.endswith(("SummarizedExperiment", "CellExperiment")) for kind in kinds):
        found = _rds_bioconductor.parts(root, path)
    elif MATRICES.intersection(kinds) or root.attribute("dim") is not None:
        found = _rds_bioconductor.Parts(matrix(root, f"{path}, the matrix,"), "matrix")
    else:
        raise LaneError(_something_else(root, kinds, path))
    main = found.main
    if main.genes is None or main.cells is None:
        what = "genes" if main.genes is None else "cells"
        msg = (
            f"{path}: the matrix of counts does not name its {what}. In R, give it both "
            "rownames (gene symbols) and colnames (barcodes) and save it again."
        )
        raise LaneError(msg)
    columns: dict[str, Callable[[], Any]] = {
        name: partial(column, node) for name, node in found.gene_columns.items()
    }
    features = features_table(main.genes, columns, path, place=found.gene_place)
    _LOG.info("%s: counts were taken from the %s.", path, found.origin)
    tables = {
        name: partial(_table, read, main.cells, f"{path}, assay[{name!r}],")
        for name, read in found.others.items()
    }
    annotations = (
        partial(_annotations, found.cell_columns, found.cell_names, main.cells)
        if found.cell_columns
        else None
    )
    return Lane(
        path,
        f"rds, {found.origin}",
        main.counts,
        main.cells,
        features,
        tables,
        "assay",
        annotations,
    )


def _annotations(columns: dict[str, Node], names: Array | None, cells: Array) -> pd.DataFrame:
    n_rows = len(cells) if names is None else len(names)
    table = frame(columns, n_rows)
    if names is None or np.array_equal(names, cells):
        return table
    table.index = pd.Index(names)
    return table.reindex(cells).reset_index(drop=True)


def _table(read: Callable[[], Named], cells: Array, where: str) -> pd.DataFrame:
    assay = read()
    if assay.cells is None or assay.genes is None:
        msg = f"{where} does not name its features and cells. Give the tags as a matrix."
        raise LaneError(msg)
    counts = assay.counts
    if not np.array_equal(assay.cells, cells):
        rows = pd.Index(assay.cells).get_indexer(pd.Index(cells))
        absent = int((rows < 0).sum())
        counts = counts[np.maximum(rows, 0)]
        if absent:
            counts = counts.multiply((rows >= 0)[:, None]).tocsr()
            msg = f"{where} lacks {absent:,} of {len(cells):,} cells; their counts are 0."
            warn(msg)
    return pd.DataFrame(counts.toarray(), columns=pd.Index(assay.genes))


def _something_else(root: Node, kinds: tuple[str, ...], path: Path) -> str:
    if "seurat" in kinds:
        return (
            f"{path} is an object of Seurat 2. In R: object <- UpdateSeuratObject(object); "
            "saveRDS(object, file)."
        )
    what = " / ".join(kinds) or {"S4": "an unnamed class", "null": "NULL"}.get(root.kind, root.kind)
    inside = named(root)
    elements = "".join(
        f" Its element {name!r} may be the lane: in R, saveRDS(object[[{name!r}]], file)."
        for name, item in list(inside.items())[:50]
        if {"Seurat", "SingleCellExperiment", *MATRICES}.intersection(classes(item))
    )
    return (
        f"{path} holds an R object of another type ({what}); a Seurat object, a "
        f"SingleCellExperiment or a dgCMatrix of counts with dimnames is needed.{elements}"
    )
