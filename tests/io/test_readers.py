"""Each format, value by value."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import GeneCoverageError, LaneError
from nkscore.io._readers import READERS, load

UNIQUE = ["NKG7", "CD34", "GNLY", "MATR3", "MATR3_ENSG00000000005"]


def check(adata, lanes, lane):
    counts = adata.layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), lanes.COUNTS)
    assert sparse.isspmatrix_csr(counts) or counts.format == "csr"
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert adata.X is None
    assert list(adata.var_names) == UNIQUE
    assert list(adata.var["gene_id"]) == lanes.IDS
    assert list(adata.obs_names) == [f"{lane}_{barcode}" for barcode in lanes.BARCODES]
    assert list(adata.obs["lane"].cat.categories) == [lane]
    nk.schema.validate(adata, stage="loaded")


def test_h5_of_cell_ranger_3(lanes, tmp_path):
    check(nk.io.read_lane(lanes.write_h5_v3(tmp_path / "pool.h5")), lanes, "pool")


def test_h5_of_cell_ranger_2(lanes, tmp_path):
    check(nk.io.read_lane(lanes.write_h5_v2(tmp_path / "pool.h5")), lanes, "pool")


@pytest.mark.parametrize("v3", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_mtx_folder(lanes, tmp_path, v3, packed):
    folder = lanes.write_mtx(tmp_path / "pool", v3=v3, packed=packed)
    assert (folder / ("matrix.mtx.gz" if packed else "matrix.mtx")).exists()
    check(nk.io.read_lane(folder), lanes, "pool")


def test_mtx_with_beginning_of_file_names(lanes, tmp_path):
    lanes.write_mtx(tmp_path, prefix="GSM1_pool_")
    check(nk.io.read_lane(tmp_path / "GSM1_pool_matrix.mtx.gz"), lanes, "GSM1_pool")
    check(nk.io.read_lane(tmp_path, lane="a"), lanes, "a")
    lanes.write_mtx(tmp_path, prefix="GSM2_pool_")
    with pytest.raises(
        LaneError, match=r"holds 2 matrices: GSM1_pool_matrix.mtx.gz, GSM2_.*one .mtx"
    ):
        nk.io.read_lane(tmp_path)
    check(nk.io.read_lane(tmp_path / "GSM2_pool_matrix.mtx.gz", lane="b"), lanes, "b")


def test_gz_is_told_by_content_not_by_name(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "pool", packed=False)
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        (folder / name).rename(folder / f"{name}.gz")
    check(nk.io.read_lane(folder), lanes, "pool")


def test_kallisto_folder_is_cells_first(lanes, tmp_path):
    stem = tmp_path / "pool" / "cells_x_genes"
    lanes.write_text(stem.with_name("cells_x_genes.mtx"), lanes.mtx_text(lanes.COUNTS))
    lanes.write_text(stem.with_name("cells_x_genes.barcodes.txt"), "\n".join(lanes.BARCODES))
    lanes.write_text(stem.with_name("cells_x_genes.genes.txt"), "\n".join(lanes.IDS))
    lanes.write_text(stem.with_name("cells_x_genes.genes.names.txt"), "\n".join(lanes.GENES))
    lane = load(tmp_path / "pool")
    np.testing.assert_array_equal(lane.counts.toarray(), lanes.COUNTS)
    assert list(lane.features["name"]) == lanes.GENES
    assert nk.io.read_lane(tmp_path / "pool").obs["lane"].iloc[0] == "pool"


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", ["float32", "int64", "float64"])
def test_h5ad(lanes, tmp_path, kind, dtype):
    x = kind(lanes.COUNTS[:, :4].astype(dtype))
    adata = nk.io.read_lane(lanes.write_h5ad(tmp_path / "pool.h5ad", x=x))
    counts = adata.layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), lanes.COUNTS[:, :4])
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert list(adata.var_names) == lanes.GENES[:4]
    assert "gene_id" not in adata.var


def test_dense_h5ad_in_blocks(lanes, tmp_path, monkeypatch):
    monkeypatch.setattr("nkscore.io._anndata._BLOCK_BYTES", 100)
    file = lanes.write_h5ad(tmp_path / "pool.h5ad")
    counts = nk.io.read_lane(file).layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), lanes.COUNTS[:, :4])


def test_h5ad_counts_layer_comes_before_x(lanes, tmp_path):
    counts = lanes.COUNTS[:, :4]
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=np.log1p(counts), layers={"counts": counts})
    np.testing.assert_array_equal(nk.io.read_lane(file).layers["counts"].toarray(), counts)


def test_h5ad_named_by_ids_takes_its_symbols(lanes, tmp_path):
    var = {"feature_name": ["NKG7", "", "GNLY", "MATR3"]}
    file = lanes.write_h5ad(tmp_path / "a.h5ad", names=lanes.IDS[:4], var=var)
    adata = nk.io.read_lane(file)
    # A gene without a symbol keeps its id.
    assert list(adata.var_names) == ["NKG7", "ENSG00000000002", "GNLY", "MATR3"]
    assert list(adata.var["gene_id"]) == lanes.IDS[:4]


def test_h5ad_written_by_scanpy_with_all_feature_types(lanes, tmp_path):
    import scanpy as sc

    file = lanes.write_h5_v3(tmp_path / "a.h5", with_tags=True)
    with warnings.catch_warnings(action="ignore"):
        adata = sc.read_10x_h5(file, gex_only=False)
    adata.var_names_make_unique()
    adata.write_h5ad(tmp_path / "b.h5ad")
    ours = nk.io.read_lane(tmp_path / "b.h5ad", hashtags="HTO_2")
    np.testing.assert_array_equal(ours.layers["counts"].toarray(), lanes.COUNTS)
    assert list(ours.obsm["hashtags"]["HTO_2"]) == [1, 0, 70, 60]
    assert list(ours.obsm["protein"].columns) == ["HTO_1", "CD56"]
    assert list(ours.var["gene_id"]) == lanes.IDS


def test_a_written_lane_reads_back_the_same(lanes, tmp_path):
    file = lanes.write_h5_v3(tmp_path / "a.h5", with_tags=True)
    first = nk.io.read_lane(file, hashtags=["HTO_1", "HTO_2"])
    first.write_h5ad(tmp_path / "b.h5ad")
    second = nk.io.read_lane(tmp_path / "b.h5ad", hashtags=["HTO_1", "HTO_2"], lane="b")
    assert (first.layers["counts"] != second.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(first.var, second.var, check_index_type=False)
    for slot in ("hashtags", "protein"):
        np.testing.assert_array_equal(first.obsm[slot], second.obsm[slot])
        assert list(first.obsm[slot].columns) == list(second.obsm[slot].columns)


def test_unsorted_and_repeated_entries_are_put_in_order_and_summed(lanes, tmp_path):
    # Cell 1: gene 2 twice and out of order; cell 2 stores a zero.
    parts = {
        "data": np.array([5, 1, 2, 0], dtype=np.int32),
        "indices": np.array([2, 0, 2, 1]),
        "indptr": np.array([0, 3, 4, 4, 4]),
    }
    file = lanes.write_h5_v3(tmp_path / "a.h5", np.zeros((4, 5)), **parts)
    counts = nk.io.read_lane(file).layers["counts"]
    assert counts.toarray()[0].tolist() == [1, 0, 7, 0, 0]
    assert counts.nnz == 2
    assert counts.has_canonical_format


def test_matrix_without_entries(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "a", np.zeros((4, 5), int))
    assert nk.io.read_lane(folder).layers["counts"].nnz == 0


def test_genome_must_be_chosen_where_there_are_several(lanes, tmp_path):
    file = lanes.write_h5_v2(tmp_path / "a.h5", genomes=("GRCh38", "mm10"))
    with pytest.raises(
        LaneError, match=r"a\.h5 holds counts of 2 genomes: GRCh38, mm10.*genome='GRCh38'"
    ):
        nk.io.read_lane(file)
    with pytest.raises(LaneError, match=r"no genome 'hg19'; it holds: GRCh38, mm10"):
        nk.io.read_lane(file, genome="hg19")
    check(nk.io.read_lane(file, genome="GRCh38"), lanes, "a")


def test_genome_of_cell_ranger_3_loses_its_prefix_and_keeps_tags(lanes, tmp_path):
    genomes = ["GRCh38", "mm10", "GRCh38", "mm10", "GRCh38", "", "", ""]
    names = ["GRCh38_NKG7", "mm10___Cd34", "GRCh38_GNLY", "mm10___Matr3", "GRCh38_CD7"]
    features = lanes.table(with_tags=True)
    features.loc[:4, "name"] = names
    file = lanes.write_h5_v3(tmp_path / "a.h5", features=features, with_tags=True, genome=genomes)
    with pytest.raises(LaneError, match="2 genomes"):
        nk.io.read_lane(file)
    adata = nk.io.read_lane(file, genome="GRCh38", hashtags=["HTO_1"])
    assert list(adata.var_names) == ["NKG7", "GNLY", "CD7"]
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), lanes.COUNTS[:, [0, 2, 4]])
    assert list(adata.obsm["hashtags"]["HTO_1"]) == [90, 80, 2, 0]


def test_genome_folders_of_cell_ranger_2(lanes, tmp_path):
    run = tmp_path / "run_1" / "outs" / "filtered_gene_bc_matrices"
    lanes.write_mtx(run / "GRCh38", v3=False, packed=False)
    with pytest.raises(LaneError, match=r"but it contains: GRCh38\. Give one of these"):
        nk.io.read_lane(run)
    check(nk.io.read_lane(run, genome="GRCh38"), lanes, "run_1")
    check(nk.io.read_lane(run / "GRCh38"), lanes, "run_1")


def test_genome_prefix_in_an_mtx_folder(lanes, tmp_path):
    features = lanes.table()
    for column in ("id", "name"):
        prefix = ["GRCh38_"] * 3 + ["mm10___"] * 2
        features[column] = [a + b for a, b in zip(prefix, features[column], strict=True)]
    folder = lanes.write_mtx(tmp_path / "a", features=features)
    with pytest.raises(LaneError, match="GRCh38, mm10"):
        nk.io.read_lane(folder)
    adata = nk.io.read_lane(folder, genome="GRCh38")
    assert list(adata.var_names) == ["NKG7", "CD34", "GNLY"]
    assert list(adata.var["gene_id"]) == lanes.IDS[:3]


def test_min_counts_drops_barcodes(lanes, tmp_path):
    file = lanes.write_h5_v3(tmp_path / "a.h5", with_tags=True)
    adata = nk.io.read_lane(file, min_counts=5, hashtags=["HTO_1"])
    # Genes alone: 4, 3, 9 and 13 UMIs; tags do not count.
    assert [name[-18:] for name in adata.obs_names] == lanes.BARCODES[2:]
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), lanes.COUNTS[2:])
    assert list(adata.obsm["hashtags"]["HTO_1"]) == [2, 0]
    assert adata.uns["nkscore"]["io.read_lane"]["lanes"]["a"]["n_dropped"] == 2
    assert nk.io.read_lane(file, min_counts=4).n_obs == 3
    with pytest.raises(LaneError, match=r"none of 4 barcodes has min_counts = 100"):
        nk.io.read_lane(file, min_counts=100)
    with pytest.raises(ValueError, match="negative"):
        nk.io.read_lane(file, min_counts=-1)


def test_guides_and_other_feature_types(lanes, tmp_path, caplog):
    features = lanes.table(with_tags=True)
    features["type"] = [
        *["Gene Expression"] * 3,
        "Peaks",
        "Peaks",
        "CRISPR Guide Capture",
        "CRISPR Guide Capture",
        "Antibody Capture",
    ]
    features["name"] = ["NKG7", "CD34", "GNLY", "chr1:1-9", "chr2:1-9", "sgNC", "sgNC", "HLA-A/B"]
    file = lanes.write_h5_v3(tmp_path / "a.h5", features=features, with_tags=True)
    with caplog.at_level("INFO", logger="nkscore"):
        adata = nk.io.read_lane(file)
    assert list(adata.var_names) == ["NKG7", "CD34", "GNLY"]
    assert list(adata.obsm["guides"].columns) == ["sgNC", "sgNC_H2"]
    np.testing.assert_array_equal(adata.obsm["guides"], lanes.TAG_COUNTS[:, :2])
    assert adata.obsm["guides"].dtypes.eq(np.int32).all()
    # .h5ad files cannot store a '/' in a column name.
    assert list(adata.obsm["protein"].columns) == ["HLA-A|B"]
    assert "not loaded: 2 × Peaks" in caplog.text
    adata.write_h5ad(tmp_path / "b.h5ad")


def test_lane_is_named_by_its_folder_where_the_file_name_says_nothing(lanes, tmp_path):
    path = tmp_path / "pool_7" / "outs" / "filtered_feature_bc_matrix.h5"
    assert nk.io.read_lane(lanes.write_h5_v3(path)).obs["lane"].iloc[0] == "pool_7"
    sub = tmp_path / "run" / "per_sample_outs" / "S1" / "count"
    folder = lanes.write_mtx(sub / "sample_filtered_feature_bc_matrix")
    assert nk.io.read_lane(folder).obs["lane"].iloc[0] == "S1"


def test_names_of_the_formats_are_unique():
    assert len({reader.name for reader in READERS}) == len(READERS)


def test_h5ad_of_ids_without_symbols(lanes, tmp_path):
    file = lanes.write_h5ad(tmp_path / "a.h5ad", names=lanes.IDS[:4], var={"length": [1, 2, 3, 4]})
    with pytest.raises(
        GeneCoverageError, match=r"a\.h5ad.*ENSG.*var holds: length.*var\['gene_symbols'\]"
    ):
        nk.io.read_lane(file)


def test_log_line(lanes, tmp_path, caplog):
    file = lanes.write_h5_v3(tmp_path / "a.h5", with_tags=True)
    with caplog.at_level("INFO", logger="nkscore"):
        nk.io.read_lane(file, hashtags=["HTO_1"])
    assert (
        "Lane a (10x h5, Cell Ranger 3+): 4 cells × 5 genes; hashtags: 1, protein: 2."
        in caplog.text
    )
