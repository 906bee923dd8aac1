"""Writers of small lanes in the formats that nkscore reads, made from scratch for each test."""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

GENES = ["NKG7", "CD34", "GNLY", "MATR3", "MATR3"]
IDS = [f"ENSG0000000000{i}" for i in range(1, 6)]
BARCODES = [f"{start}AAACCCAAGAAACA-1" for start in ("AA", "AC", "AG", "AT")]
#: 4 cells × 5 genes
COUNTS = np.array([[1, 0, 2, 0, 1], [0, 3, 0, 0, 0], [4, 0, 0, 5, 0], [0, 0, 0, 6, 7]])
TAGS = ["HTO_1", "HTO_2", "CD56"]
#: 4 cells × 3 tags
TAG_COUNTS = np.array([[90, 1, 5], [80, 0, 6], [2, 70, 0], [0, 60, 8]])


def table(*, with_tags=False, genes=GENES, ids=IDS):
    """Features of a lane: id, name, type."""
    types = ["Gene Expression"] * len(genes)
    ids, names = list(ids), list(genes)
    if with_tags:
        ids, names = [*ids, "H1", "H2", "P1"], [*names, *TAGS]
        types += ["Antibody Capture"] * 3
    return pd.DataFrame({"id": ids, "name": names, "type": types})


def both(*, with_tags=False):
    return np.hstack([COUNTS, TAG_COUNTS]) if with_tags else COUNTS


def write_h5_v3(
    path,
    counts=None,
    *,
    features=None,
    barcodes=BARCODES,
    with_tags=False,
    genome="GRCh38",
    **other,
):
    counts = both(with_tags=with_tags) if counts is None else counts
    features = table(with_tags=with_tags) if features is None else features
    by_cell = sparse.csr_matrix(counts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"] = other.get("data", by_cell.data.astype(np.int32))
        group["indices"] = other.get("indices", by_cell.indices.astype(np.int64))
        group["indptr"] = other.get("indptr", by_cell.indptr.astype(np.int64))
        group["shape"] = np.array(other.get("shape", by_cell.shape[::-1]), dtype=np.int32)
        inner = group.create_group("features")
        inner["id"] = np.array(features["id"], dtype="S")
        inner["name"] = np.array(features["name"], dtype="S")
        inner["feature_type"] = np.array(features["type"], dtype="S")
        genomes = genome if isinstance(genome, list) else [genome] * len(features)
        inner["genome"] = np.array(genomes, dtype="S")
    return path


def write_h5_v2(path, *, genomes=("GRCh38",), counts=COUNTS):
    by_cell = sparse.csr_matrix(counts)
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            group["barcodes"] = np.array(BARCODES, dtype="S")
            group["genes"] = np.array(IDS, dtype="S")
            group["gene_names"] = np.array(GENES, dtype="S")
            group["data"] = by_cell.data.astype(np.int32)
            group["indices"] = by_cell.indices.astype(np.int64)
            group["indptr"] = by_cell.indptr.astype(np.int64)
            group["shape"] = np.array(by_cell.shape[::-1], dtype=np.int32)
    return path


def write_text(path, text, *, packed=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path = path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def mtx_text(matrix, field="integer"):
    """Matrix Market text of ``matrix`` as it lies in the file, in order of its columns."""
    coo = sparse.csc_matrix(matrix).tocoo()
    lines = [f"%%MatrixMarket matrix coordinate {field} general", "% a comment"]
    lines += [f"{coo.shape[0]} {coo.shape[1]} {coo.nnz}"]
    lines += [f"{r + 1} {c + 1} {v}" for r, c, v in zip(coo.row, coo.col, coo.data, strict=True)]
    return "\n".join(lines) + "\n"


def write_mtx(
    folder,
    counts=None,
    *,
    v3=True,
    packed=True,
    features=None,
    barcodes=BARCODES,
    prefix="",
    with_tags=False,
):
    counts = both(with_tags=with_tags) if counts is None else counts
    features = table(with_tags=with_tags) if features is None else features
    columns = ["id", "name", "type"] if v3 else ["id", "name"]
    name = "features.tsv" if v3 else "genes.tsv"
    lines = ["\t".join(row) for row in features[columns].itertuples(index=False)]
    write_text(folder / f"{prefix}{name}", "\n".join([*lines, ""]), packed=packed)
    write_text(folder / f"{prefix}barcodes.tsv", "\n".join([*barcodes, ""]), packed=packed)
    write_text(folder / f"{prefix}matrix.mtx", mtx_text(np.asarray(counts).T), packed=packed)
    return folder


def write_h5ad(
    path, *, x=None, names=GENES[:4], obsm=None, layers=None, var=None, raw=None, barcodes=BARCODES
):
    from anndata import AnnData

    x = COUNTS[:, :4] if x is None else x
    obs = pd.DataFrame(index=barcodes)
    var = pd.DataFrame(var or {}, index=list(names))
    adata = AnnData(x, obs, var, layers=layers, obsm=obsm)
    if raw is not None:
        adata.raw = AnnData(raw, obs, var)
    adata.write_h5ad(path)
    return path


def write_sheet(path, rows):
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def hashed_rows(path="lane_a.h5", **other):
    return [
        {
            "lane": "A",
            "path": path,
            "hashtag": "HTO_1",
            "sample": "K562_mono",
            "tumor": "K562",
            "lineage": "CML",
            "nk_donor": "",
            "nk_source": "",
            "condition": "tumor_mono",
            "time_h": "24",
            "et_ratio": "",
            **other,
        },
        {
            "lane": "A",
            "path": path,
            "hashtag": "HTO_2",
            "sample": "K562_co",
            "tumor": "K562",
            "lineage": "CML",
            "nk_donor": "d1",
            "nk_source": "expanded",
            "condition": "coculture",
            "time_h": "24",
            "et_ratio": "0.5",
            **other,
        },
    ]


@pytest.fixture(scope="session")
def lanes():
    """Writers and the numbers that they write."""
    names = (
        "GENES",
        "IDS",
        "BARCODES",
        "COUNTS",
        "TAGS",
        "TAG_COUNTS",
        "table",
        "mtx_text",
        "write_text",
        "write_h5_v3",
        "write_h5_v2",
        "write_mtx",
        "write_h5ad",
        "write_sheet",
        "hashed_rows",
    )
    return SimpleNamespace(**{name: globals()[name] for name in names})


@pytest.fixture(scope="session")
def rds():
    """The module rds_writer.py of this folder."""
    file = Path(__file__).with_name("rds_writer.py")
    spec = importlib.util.spec_from_file_location("nkscore_rds_writer", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
