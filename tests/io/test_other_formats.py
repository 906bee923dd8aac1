"""zarr, loom and tables of text."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import GeneCoverageError, LaneError, WrongScaleError

NAMES = ["NKG7", "CD34", "GNLY", "MATR3"]


def check(adata, lanes, n_genes=4):
    counts = adata.layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), lanes.COUNTS[:, :n_genes])
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert list(adata.var_names) == NAMES[:n_genes]
    assert [name.rsplit("_", 1)[1] for name in adata.obs_names] == lanes.BARCODES
    nk.schema.validate(adata, stage="loaded")


def write_zarr(lanes, path, version, *, x=None):
    from anndata import AnnData, settings

    obs = pd.DataFrame({"well": ["A1", "A2", "A1", "A2"]}, index=lanes.BARCODES)
    obs["well"] = obs["well"].astype("category")
    x = sparse.csr_matrix(lanes.COUNTS[:, :4]) if x is None else x
    adata = AnnData(x, obs, pd.DataFrame(index=NAMES))
    tags = pd.DataFrame(lanes.TAG_COUNTS[:, :2], index=obs.index, columns=["HTO_1", "HTO_2"])
    adata.obsm["hto"] = tags
    with warnings.catch_warnings(action="ignore"), settings.override(zarr_write_format=version):
        adata.write_zarr(path)
    return path


@pytest.fixture(params=[2, 3])
def version(request):
    pytest.importorskip("zarr", reason="zarr (extra 'scale') is not installed")
    return request.param


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_zarr(lanes, tmp_path, version, kind):
    path = write_zarr(lanes, tmp_path / "a.zarr", version, x=kind(lanes.COUNTS[:, :4]))
    adata = nk.io.read_lane(path, hashtag_path="obsm:hto", annotations=["well"])
    check(adata, lanes)
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    assert list(adata.obs["well"]) == ["A1", "A2", "A1", "A2"]
    assert adata.obs["lane"].iloc[0] == "a"


def test_zarr_that_lacks_chunks_is_not_read_as_zeros(lanes, tmp_path, version):
    path = write_zarr(lanes, tmp_path / "a.zarr", version)
    shutil.rmtree(path / "X" / "data" / "c") if version == 3 else (path / "X/data/0").unlink()
    with pytest.raises(LaneError, match=r"X, data lacks 1 of its 1 chunks: the store was not cop"):
        nk.io.read_lane(path)


def test_zarr_with_pickles_is_refused_before_any_of_it_runs(lanes, tmp_path):
    pytest.importorskip("zarr", reason="zarr (extra 'scale') is not installed")
    path = write_zarr(lanes, tmp_path / "a.zarr", 2)
    trap = tmp_path / "ran"
    code = f"cos\nmkdir\n(V{trap}\ntR.".encode()
    # The names of genes; where they lie in the group differs between versions of anndata.
    array = next((path / "var").rglob(".zarray")).parent
    meta = json.loads((array / ".zarray").read_text())
    meta |= {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 0}], "compressor": None}
    (array / ".zarray").write_text(json.dumps(meta))
    (array / "0").write_bytes(code)
    consolidated = path / ".zmetadata"
    if consolidated.exists():
        consolidated.unlink()
    with pytest.raises(LaneError, match=r"stored as Python pickles.*nkscore never does that"):
        nk.io.read_lane(path)
    assert not trap.exists()


def test_zarr_of_something_else(tmp_path, version):
    import zarr

    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version).create_group("images")
    with pytest.raises(LaneError, match=r"a zarr store, but not of an AnnData .it holds: images"):
        nk.io.read_lane(tmp_path / "a.zarr")


def write_loom(lanes, path, *, matrix=None, gene="Gene", ids=True, cell="CellID"):
    matrix = lanes.COUNTS.T if matrix is None else matrix
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=matrix, chunks=(2, 2), compression="gzip")
        file.create_group("layers")
        rows, columns = file.create_group("row_attrs"), file.create_group("col_attrs")
        rows.create_dataset(gene, data=np.array(lanes.GENES, dtype=object), dtype=text)
        if ids:
            rows.create_dataset("Accession", data=np.array(lanes.IDS, dtype=object), dtype=text)
        columns.create_dataset(cell, data=np.array(lanes.BARCODES, dtype=object), dtype=text)
        columns["n"] = np.arange(4)
        columns["pca"] = np.zeros((4, 2))
    return path


def test_loom_in_blocks(lanes, tmp_path, monkeypatch):
    monkeypatch.setattr("nkscore.io._loom._BLOCK_BYTES", 50)
    adata = nk.io.read_lane(write_loom(lanes, tmp_path / "a.loom"), annotations=True)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), lanes.COUNTS)
    assert adata.layers["counts"].has_canonical_format
    assert list(adata.var["gene_id"]) == lanes.IDS
    assert list(adata.obs["n"]) == [0, 1, 2, 3]
    assert "pca" not in adata.obs
    named = write_loom(lanes, tmp_path / "b.loom", gene="var_names", ids=False, cell="obs_names")
    assert list(nk.io.read_lane(named).var_names[:3]) == NAMES[:3]


def test_loom_written_by_anndata(lanes, tmp_path):
    pytest.importorskip("loompy", reason="loompy, which anndata needs to write, is not installed")
    from anndata import AnnData

    file = tmp_path / "a.loom"
    obs, var = pd.DataFrame(index=lanes.BARCODES), pd.DataFrame(index=NAMES)
    AnnData(sparse.csr_matrix(lanes.COUNTS[:, :4]), obs, var).write_loom(file)
    check(nk.io.read_lane(file), lanes)


def test_bad_looms(lanes, tmp_path):
    half = np.where(lanes.COUNTS.T == 5, 0.5, lanes.COUNTS.T)
    with pytest.raises(WrongScaleError, match=r"fractions.*first one is at gene 4, cell 3 of the"):
        nk.io.read_lane(write_loom(lanes, tmp_path / "a.loom", matrix=half))
    with pytest.raises(LaneError, match=r"does not name its cells: col_attrs holds n, other, pca"):
        nk.io.read_lane(write_loom(lanes, tmp_path / "b.loom", cell="other"))
    with pytest.raises(LaneError, match=r"matrix is 4 × 4, but it names 5 genes and 4 cells"):
        nk.io.read_lane(write_loom(lanes, tmp_path / "c.loom", matrix=lanes.COUNTS.T[:4]))


def frame(lanes):
    return pd.DataFrame(lanes.COUNTS[:, :4].T, index=NAMES, columns=lanes.BARCODES)


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize(("packed", "genes_first"), [(True, True), (True, False), (False, True)])
def test_dense_table(lanes, tmp_path, caplog, delimiter, packed, genes_first):
    table = frame(lanes) if genes_first else frame(lanes).T
    text = table.to_csv(sep=delimiter)
    suffix = "tsv" if delimiter == "\t" else "csv"
    file = tmp_path / f"pool_1.{suffix}{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode("utf-8-sig"))
    with caplog.at_level("INFO", logger="nkscore"):
        adata = nk.io.read_lane(file)
    check(adata, lanes)
    kind = "genes × cells" if genes_first else "cells × genes"
    assert f"was read as {kind}: 4 genes (NKG7, ...) and 4 cells (AAAAACCCAAG" in caplog.text
    assert adata.obs["lane"].iloc[0] == "pool_1"


def test_dense_table_in_blocks_and_without_a_corner(lanes, tmp_path, monkeypatch):
    monkeypatch.setattr("nkscore.io._table._BLOCK_BYTES", 40)
    text = frame(lanes).to_csv(sep="\t").removeprefix("\t")
    (tmp_path / "a.txt").write_text(text)
    check(nk.io.read_lane(tmp_path / "a.txt"), lanes)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("order", ["gene", "cell"])
def test_triplets(lanes, tmp_path, header, order):
    long = frame(lanes).rename_axis("gene").reset_index().melt("gene", var_name="cell")
    # All genes and cells are named, one of them by a stored zero.
    long = long[(long["value"] > 0)]
    columns = ["gene", "cell", "value"] if order == "gene" else ["cell", "gene", "value"]
    long[columns].to_csv(tmp_path / "a.csv", index=False, header=header)
    adata = nk.io.read_lane(tmp_path / "a.csv")
    got = pd.DataFrame(
        adata.layers["counts"].toarray(),
        index=[name.removeprefix("a_") for name in adata.obs_names],
        columns=adata.var_names,
    )
    np.testing.assert_array_equal(got.loc[lanes.BARCODES, NAMES], lanes.COUNTS[:, :4])


def test_table_of_hashtags_is_told_by_its_barcodes(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "a.h5")
    tags = pd.DataFrame(lanes.TAG_COUNTS[:, :2], index=lanes.BARCODES, columns=["well A", "well B"])
    tags.T.to_csv(tmp_path / "tags.csv")
    adata = nk.io.read_lane(tmp_path / "a.h5", hashtag_path=tmp_path / "tags.csv")
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    assert list(adata.obsm["hashtags"].columns) == ["well A", "well B"]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", LaneError, r"a\.csv is empty"),
        (",NKG7,CD34\n", LaneError, "holds a header but no counts"),
        (",NKG7,CD34\nc1,1,2,3,4\n", LaneError, "header has 3 cells and its first row 5"),
        (",x,y\np,1,2\nq,3,4\n", LaneError, r"is not clear whether its rows \(p, q, ...\)"),
        (",NKG7,CD34\nc1,1,x\n", WrongScaleError, r"row 'c1', column 'CD34': 'x' is not a count"),
        (
            ",NKG7,CD34\nc1,1,2\nc2,,2\n",
            WrongScaleError,
            r"row 'c2', column 'NKG7': an empty cell is",
        ),
        (
            ",NKG7,CD34\nc1,1,2\nc2,NA,2\n",
            WrongScaleError,
            r"row 'c2', column 'NKG7': 'NA' is not a c",
        ),
        (",NKG7,CD34\nc1,1,2\nc2,1,-2\n", WrongScaleError, r"negative.*in row 'c2', column 'CD34'"),
        (",NKG7,CD34\nc1,1,2.5\n", WrongScaleError, r"fractions.*in row 'c1', column 'CD34'"),
        (
            ",NKG7,CD34\nc1,1,2\nc1,3,4\n",
            LaneError,
            r"barcodes occur more than once .1, for example",
        ),
        (",ENSG00000000001,ENSG00000000002\nc1,1,2\n", GeneCoverageError, "named by Ensembl ids"),
    ],
)
def test_bad_tables(tmp_path, text, error, match):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=match) as caught:
        nk.io.read_lane(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)


def test_annotations_of_an_h5ad(lanes, tmp_path):
    from anndata import AnnData

    obs = pd.DataFrame(
        {"lane": list("wxyz"), "hash.ID": ["K562", "K562-NK2", "Doublet", "NK2"]},
        index=lanes.BARCODES,
    )
    AnnData(lanes.COUNTS[:, :4], obs, pd.DataFrame(index=NAMES)).write_h5ad(tmp_path / "a.h5ad")
    assert list(nk.io.read_lane(tmp_path / "a.h5ad").obs) == ["lane"]
    adata = nk.io.read_lane(tmp_path / "a.h5ad", annotations=True, min_counts=4)
    # Genes of the first three columns and MATR3: 3, 3, 9 and 6 UMIs.
    assert list(adata.obs["hash.ID"]) == ["Doublet", "NK2"]
    assert list(adata.obs["lane_in_file"]) == ["y", "z"]
    with pytest.raises(
        LaneError, match=r"no annotation 'hash_ID' of its cells .it has: lane, hash"
    ):
        nk.io.read_lane(tmp_path / "a.h5ad", annotations=["hash_ID"])
    with pytest.raises(LaneError, match=r"holds no cell annotations"):
        nk.io.read_lane(lanes.write_h5_v3(tmp_path / "b.h5"), annotations=["n"])
