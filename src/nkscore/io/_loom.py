"""Loom files: HDF5 with the matrix of genes × cells, read in blocks without further libraries."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore.errors import LaneError, WrongScaleError
from nkscore.io._genes import features_table
from nkscore.io._lane import Lane, as_int32, first_broken
from nkscore.io._tenx_h5 import texts

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from nkscore._types import Array
    from nkscore.io._source import Source

_GENE_NAMES: Final = ("Gene", "gene", "var_names", "GeneName", "gene_name", "gene_names", "Symbol")
_CELL_NAMES: Final = ("CellID", "obs_names", "cell_id", "barcode", "barcodes", "Barcode", "CellId")
_BLOCK_BYTES: Final = 1 << 28


def is_loom(source: Source) -> bool:
    """Return whether the file holds the groups of a loom file."""
    return source.kind == "hdf5" and {"row_attrs", "col_attrs"} <= set(source.entries)


def read_loom(source: Source, genome: str | None) -> Lane:  # noqa: ARG001
    """Read the main matrix and the names of a loom file, which names no genomes."""
    import h5py

    path = source.path
    with h5py.File(path, "r") as file:
        genes, cells = file["row_attrs"], file["col_attrs"]
        names = texts(genes[_one_of(genes, _GENE_NAMES, path, "row_attrs", "genes")])
        barcodes = texts(cells[_one_of(cells, _CELL_NAMES, path, "col_attrs", "cells")])
        columns = {str(key): partial(_column, genes[key]) for key in genes}
        table = features_table(names, columns, path, place="row_attrs")
        matrix = file["matrix"]
        if matrix.shape != (len(names), len(barcodes)):
            msg = (
                f"{path}: its matrix is {' × '.join(map(str, matrix.shape))}, but it names "
                f"{len(names)} genes and {len(barcodes)} cells: the file is damaged. Copy or "
                "download it again."
            )
            raise LaneError(msg)
        counts = _by_cell(matrix, path)
    annotations = partial(_annotations, path)
    return Lane(path, "loom", counts, barcodes, table, annotations=annotations)


def _one_of(group: h5py.Group, wanted: tuple[str, ...], path: Path, place: str, what: str) -> str:
    found = next((name for name in wanted if name in group), None)
    if found is None:
        held = ", ".join(group) or "nothing"
        msg = (
            f"{path} does not name its {what}: {place} holds {held}; one of "
            f"{', '.join(wanted[:4])}, ... is needed. Add it, or write the lane as .h5ad."
        )
        raise LaneError(msg)
    return found


def _column(dataset: h5py.Dataset) -> Array:
    return texts(dataset)


def _by_cell(matrix: h5py.Dataset, path: Path) -> sparse.csr_matrix:
    n_genes, n_cells = matrix.shape
    # Whole chunks at a time: a block that cuts them would unpack each of them twice.
    chunk = matrix.chunks[0] if matrix.chunks else 1
    rows = _BLOCK_BYTES // max(1, n_cells * matrix.dtype.itemsize)
    step = max(chunk, rows // chunk * chunk)
    blocks = []
    for start in range(0, n_genes, step):
        block = matrix[start : start + step]
        try:
            values, _ = as_int32(block, f"{path}, matrix,")
        except WrongScaleError as error:
            row, column = divmod(first_broken(block.ravel()), n_cells)
            place = f"The first one is at gene {start + row + 1}, cell {column + 1} of the file."
            msg = f"{error} {place}"
            raise WrongScaleError(msg) from None
        blocks.append(sparse.csr_matrix(values))
    if not blocks:
        return sparse.csr_matrix((n_cells, n_genes), dtype=np.int32)
    by_gene = sparse.vstack(blocks, format="csr")
    by_cell: sparse.csr_matrix = by_gene.T.tocsr()
    return by_cell


def _annotations(path: Path) -> pd.DataFrame:
    import h5py

    frame = {}
    with h5py.File(path, "r") as file:
        cells = file["col_attrs"]
        for key in cells:
            if cells[key].ndim == 1:
                numeric = cells[key].dtype.kind in "biuf"
                frame[str(key)] = cells[key][()] if numeric else texts(cells[key])
    return pd.DataFrame(frame)
