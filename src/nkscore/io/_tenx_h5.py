"""10x Genomics .h5 files of Cell Ranger 1-2 (one group per genome) and 3 or later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore._counts._hdf5 import read_array
from nkscore.errors import LaneError
from nkscore.io._lane import GENE_EXPRESSION, Lane, counts_from_csr

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    from scipy import sparse

    from nkscore._types import Array
    from nkscore.io._source import Source


def is_v3(source: Source) -> bool:
    """Return whether the file holds the group ``matrix`` of Cell Ranger 3 or later."""
    return source.kind == "hdf5" and "matrix" in source.entries


def is_v2(source: Source) -> bool:
    """Return whether the file holds one group per genome, as in Cell Ranger 1 and 2."""
    import h5py

    if source.kind != "hdf5" or "obs" in source.entries:
        return False
    with h5py.File(source.path, "r") as file:
        return any(
            isinstance(file[key], h5py.Group) and {"barcodes", "indptr"} <= set(file[key])
            for key in source.entries
        )


def read_v3(source: Source, genome: str | None) -> Lane:
    """Read a file of Cell Ranger 3 or later."""
    import h5py

    with h5py.File(source.path, "r") as file:
        matrix = file["matrix"]
        # CellBender 0.2 keeps the names that Cell Ranger 2 wrote; liger writes no ids.
        features = matrix.get("features", matrix)
        if "features" in matrix and "gene_id" in features:
            msg = (
                f"{source.path} counts probes, not genes. Give the matrix of genes "
                "(filtered_feature_bc_matrix.h5 of the same run)."
            )
            raise LaneError(msg)
        table = _names(features, source.path)
        for column, key, default in (
            ("type", "feature_type", GENE_EXPRESSION),
            ("genome", "genome", ""),
        ):
            table[column] = texts(features[key]) if key in features else default
        counts, barcodes = _matrix(matrix, source.path, len(table))
    counts, table = select_genome(counts, table, genome, source.path)
    return Lane(source.path, "10x h5, Cell Ranger 3+", counts, barcodes, table)


def _names(features: h5py.Group, path: Path) -> pd.DataFrame:
    named = next((key for key in ("name", "gene_names") if key in features), None)
    if named is None:
        msg = (
            f"{path}: the group 'matrix' names no features (it holds: {', '.join(features)}; "
            "features/name is needed). Give the .h5 of Cell Ranger, or write the lane as .h5ad."
        )
        raise LaneError(msg)
    table = pd.DataFrame({"name": texts(features[named])})
    ids = next((key for key in ("id", "genes") if key in features), None)
    table["id"] = "" if ids is None else texts(features[ids])
    return table


def read_v2(source: Source, genome: str | None) -> Lane:
    """Read a file of Cell Ranger 1 or 2."""
    import h5py

    with h5py.File(source.path, "r") as file:
        genomes = [key for key in file if "barcodes" in file[key]]
        group = file[_one_genome(genomes, genome, source.path)]
        table = pd.DataFrame({"id": texts(group["genes"]), "name": texts(group["gene_names"])})
        table["type"] = GENE_EXPRESSION
        counts, barcodes = _matrix(group, source.path, len(table))
    return Lane(source.path, "10x h5, Cell Ranger 2", counts, barcodes, table)


def texts(dataset: h5py.Dataset) -> Array:
    """Return an HDF5 dataset of strings, of fixed or variable length, as an array of str."""
    values = dataset[()]
    if values.dtype.kind == "S":
        try:
            # Many times faster than decoding one by one, but only for ASCII.
            return np.asarray(values.astype(str), dtype=object)
        except UnicodeDecodeError:
            return np.char.decode(values, "utf-8").astype(object)
    return np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values], dtype=object)


def _matrix(group: h5py.Group, path: Path, n_features: int) -> tuple[sparse.csr_matrix, Array]:
    barcodes = group["barcodes"][()]
    if barcodes.dtype.kind != "S":
        barcodes = texts(group["barcodes"])
    shape = tuple(int(side) for side in group["shape"][()])
    if shape != (n_features, len(barcodes)):
        msg = (
            f"{path} is damaged: its matrix is {' × '.join(map(str, shape))}, but it lists "
            f"{n_features} features and {len(barcodes)} barcodes. Copy or download it again."
        )
        raise LaneError(msg)
    # The file holds features × barcodes by column, which is barcodes × features by row.
    counts = counts_from_csr(
        read_array(group["data"]),
        read_array(group["indices"], narrow=True),
        group["indptr"][()],
        shape=(len(barcodes), n_features),
        where=str(path),
    )
    return counts, barcodes


def _one_genome(genomes: list[str], genome: str | None, path: Path) -> str:
    listed = ", ".join(genomes)
    if genome is not None and genome not in genomes:
        msg = f"{path} has no genome {genome!r}; it holds: {listed}. Pass one of these as genome=."
        raise LaneError(msg)
    if genome is None and len(genomes) > 1:
        msg = (
            f"{path} holds counts of {len(genomes)} genomes: {listed}. Choose the one to read, "
            f"for example genome={genomes[0]!r}."
        )
        raise LaneError(msg)
    return genome if genome is not None else genomes[0]


def select_genome(
    counts: sparse.csr_matrix, table: pd.DataFrame, genome: str | None, path: Path
) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Keep the genes of one genome and all tags; drop the genome's name from gene names.

    A file of several genomes without ``genome`` is a :class:`LaneError`.
    """
    is_gene = (table["type"] == GENE_EXPRESSION).to_numpy()
    genomes = [str(name) for name in table["genome"][is_gene].unique() if name]
    if not genomes:
        return counts, table.drop(columns="genome")
    chosen = _one_genome(genomes, genome, path)
    if len(genomes) > 1:
        keep = ~is_gene | (table["genome"] == chosen).to_numpy()
        counts, table = counts[:, np.flatnonzero(keep)], table[keep].reset_index(drop=True)
        prefix = re.compile(rf"^{re.escape(chosen)}_+")
        for column in ("id", "name"):
            table[column] = [prefix.sub("", text) for text in table[column]]
    return counts, table.drop(columns="genome")
