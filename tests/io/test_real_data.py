"""Real cells of several modalities, written as a user would have them, and read back."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nkscore as nk

TAGS = ["HTO28_5P", "HTO29_5P", "HTO30_5P", "HTO44_5P"]


@pytest.fixture
def real(shared):
    file = shared / "data" / "citefuse_hashed" / "citefuse_500x19521_counts_49adt_4hto.h5ad"
    if not file.exists():
        pytest.skip("citefuse_hashed is not in ../shared/data")
    return file


def sheet(path, **other):
    rows = {"lane": "pbmc", "path": str(path), "hashtag": TAGS, "sample": ["a", "b", "c", "d"]}
    rows |= {"condition": "coculture", "tumor": "CTCL", "nk_donor": ["1", "2", "3", "4"], **other}
    return pd.DataFrame(rows)


def test_h5ad_as_it_is(real):
    adata = nk.io.read_coculture(sheet(real, hashtag_path="obsm:hto"))
    source = ad.read_h5ad(real)
    assert (adata.layers["counts"] != source.X).nnz == 0
    np.testing.assert_array_equal(adata.obsm["hashtags"], source.obsm["hto"])
    np.testing.assert_array_equal(adata.obsm["protein"], source.obsm["protein"])
    assert list(adata.obsm["protein"].columns) == list(source.obsm["protein"].columns)
    assert list(adata.obs_names) == [f"pbmc_{name}" for name in source.obs_names]


def test_the_same_cells_as_10x_folder_and_hashtag_matrix(lanes, real, tmp_path):
    source = ad.read_h5ad(real)
    protein, hto = source.obsm["protein"], source.obsm["hto"]
    names = [*source.var_names, *protein.columns]
    features = pd.DataFrame({"id": names, "name": names})
    features["type"] = ["Gene Expression"] * source.n_vars + ["Antibody Capture"] * protein.shape[1]
    counts = np.hstack([source.X.toarray(), protein]).astype(int)
    barcodes = [f"{name}-1" for name in source.obs_names]
    lanes.write_mtx(tmp_path / "rna", counts, features=features, barcodes=barcodes)
    tags = pd.DataFrame({"id": TAGS, "name": TAGS, "type": "Custom"}).iloc[::-1]
    # Other order of cells and tags, barcodes without suffix, as other tools write them.
    lanes.write_mtx(
        tmp_path / "tags",
        hto.to_numpy().astype(int)[::-1, ::-1],
        features=tags,
        barcodes=list(source.obs_names[::-1]),
    )
    adata = nk.io.read_coculture(sheet("rna", hashtag_path="tags"), base=tmp_path)
    assert (adata.layers["counts"] != source.X).nnz == 0
    assert list(adata.var_names) == list(source.var_names)
    np.testing.assert_array_equal(adata.obsm["hashtags"], hto)
    np.testing.assert_array_equal(adata.obsm["protein"], protein)
    assert list(adata.obs_names) == [f"pbmc_{barcode}" for barcode in barcodes]


def test_real_references_pass_as_human(shared):
    file = shared / "data" / "soupx_pbmc4k" / "soupx_pbmc4k_2170x33694_counts.h5ad"
    if not file.exists():
        pytest.skip("soupx_pbmc4k is not in ../shared/data")
    assert nk.io.read_lane(file).shape == (2170, 33694)
