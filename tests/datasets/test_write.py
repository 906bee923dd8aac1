"""Lanes on disk hold what was simulated."""

from __future__ import annotations

import gzip
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lanes")
    return nk.datasets.write_lanes(small, folder)


def lane_of(small, name):
    return small[(small.obs["lane"] == name).to_numpy()]


def read_mtx(path):
    with gzip.open(path, "rt") as file:
        assert file.readline() == "%%MatrixMarket matrix coordinate integer general\n"
    table = pd.read_csv(path, sep=" ", comment="%", header=None).to_numpy()
    (rows, columns, stored), entries = table[0], table[1:]
    assert len(entries) == stored
    place = (entries[:, 0] - 1, entries[:, 1] - 1)
    return sparse.csr_matrix((entries[:, 2], place), shape=(rows, columns))


def test_sheet_names_the_files(small, written):
    sheet = pd.read_csv(written, keep_default_na=False)
    assert sheet.columns.tolist() == [
        "lane",
        "path",
        "hashtag_path",
        "hashtag",
        *nk.schema.SAMPLE_COLUMNS,
    ]
    assert len(sheet) == len(small.uns["nkscore"]["sample_sheet"])
    paths = sheet.groupby("lane")[["path", "hashtag_path"]].first()
    assert paths.loc["Lane_NK1"].tolist() == ["Lane_NK1.h5", ""]
    assert paths.loc["Lane_NK2"].tolist() == ["Lane_NK2", "Lane_NK2_hashtags"]
    assert paths.loc["Lane_targets"].tolist() == ["Lane_targets.h5", ""]
    for path in paths.to_numpy().ravel():
        assert (written.parent / path).exists()


def test_h5_holds_the_lane(small, written):
    lane = lane_of(small, "Lane_NK1")
    with h5py.File(written.parent / "Lane_NK1.h5") as file:
        group = file["matrix"]
        shape = tuple(group["shape"][()])
        matrix = sparse.csc_matrix(
            (group["data"][()], group["indices"][()], group["indptr"][()]), shape=shape
        )
        kinds = group["features/feature_type"][()].astype(str)
        names = group["features/name"][()].astype(str)
        barcodes = group["barcodes"][()].astype(str)
        assert set(group["features"]) >= {"id", "name", "feature_type", "genome"}
    genes = kinds == "Gene Expression"
    assert (lane.layers["counts"] != matrix[genes].T).nnz == 0
    assert names[~genes].tolist() == ["Hashtag1", "Hashtag2", "Hashtag3"]
    assert (matrix[~genes].T.toarray() == lane.obsm["hashtags"].to_numpy()).all()
    assert ("Lane_NK1_" + pd.Index(barcodes)).equals(pd.Index(lane.obs_names))


def test_folders_hold_the_lane(small, written):
    lane = lane_of(small, "Lane_NK2")
    folder = written.parent / "Lane_NK2"
    matrix = read_mtx(folder / "matrix.mtx.gz")
    assert (lane.layers["counts"] != matrix.T).nnz == 0
    with gzip.open(folder / "barcodes.tsv.gz", "rt") as file:
        assert file.readline().strip() == lane.obs_names[0].removeprefix("Lane_NK2_")
    features = pd.read_csv(folder / "features.tsv.gz", sep="\t", header=None, keep_default_na=False)
    assert features[1].tolist() == lane.var_names.tolist()
    assert set(features[2]) == {"Gene Expression"}
    tags = read_mtx(written.parent / "Lane_NK2_hashtags" / "matrix.mtx.gz").toarray().T
    assert (tags == lane.obsm["hashtags"].to_numpy()).all()


def test_truth_is_beside_the_sheet(small, written):
    truth = pd.read_csv(written.parent / "truth.csv.gz", index_col="cell")
    assert truth.index.tolist() == small.obs_names.tolist()
    assert (truth["truth_sample"] == small.obs["truth_sample"].astype(str)).all()


def test_same_cells_same_bytes_at_another_time(small, written, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1e9)
    again = nk.datasets.write_lanes(small, tmp_path / "new").parent
    for name in ("Lane_NK2/matrix.mtx.gz", "truth.csv.gz", "sample_sheet.csv"):
        assert (again / name).read_bytes() == (written.parent / name).read_bytes()


def test_reader_gives_back_the_same_cells(small, written):
    back = nk.io.read_coculture(written)
    assert back.obs_names.tolist() == small.obs_names.tolist()
    assert back.var_names.tolist() == small.var_names.tolist()
    assert (back.layers["counts"] != small.layers["counts"]).nnz == 0
    pd.testing.assert_frame_equal(
        back.obsm["hashtags"],
        small.obsm["hashtags"],
        check_index_type=False,
        check_column_type=False,
    )
    pd.testing.assert_frame_equal(
        back.uns["nkscore"]["sample_sheet"],
        small.uns["nkscore"]["sample_sheet"],
        check_dtype=False,
        check_index_type=False,
        check_column_type=False,
    )


def test_only_present_lanes_are_written(small, tmp_path):
    part = lane_of(small, "Lane_NK2").copy()
    sheet = nk.datasets.write_lanes(part, tmp_path, formats=["h5"])
    assert set(pd.read_csv(sheet)["lane"]) == {"Lane_NK2"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "Lane_NK2.h5",
        "sample_sheet.csv",
        "truth.csv.gz",
    ]


def test_full_folder_is_refused(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt.*pass overwrite=True"):
        nk.datasets.write_lanes(small, tmp_path)
    nk.datasets.write_lanes(small, tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_bad_formats_and_names(small, tmp_path):
    with pytest.raises(ValueError, match="formats names 'rds'; known: h5, mtx"):
        nk.datasets.write_lanes(small, tmp_path, formats=["rds"])
    with pytest.raises(ValueError, match="formats names nothing"):
        nk.datasets.write_lanes(small, tmp_path, formats=[])
    renamed = small.copy()
    renamed.obs_names = [f"cell{i}" for i in range(renamed.n_obs)]
    with pytest.raises(ValueError, match=r"Cell 'cell0' is in lane .* Name cells <lane>_<barcode>"):
        nk.datasets.write_lanes(renamed, tmp_path)


def test_input_is_left_alone(small, tmp_path):
    adata = small.copy()
    before = adata.layers["counts"].data.tobytes()
    columns = list(adata.uns["nkscore"]["sample_sheet"])
    start = time.perf_counter()
    nk.datasets.write_lanes(adata, tmp_path)
    assert time.perf_counter() - start < 60
    assert adata.layers["counts"].data.tobytes() == before
    assert list(adata.uns["nkscore"]["sample_sheet"]) == columns
    assert np.asarray(adata.X).shape == ()


@pytest.mark.parametrize("formats", [("h5",), ("mtx",)])
def test_lanes_may_have_any_name(small, tmp_path, formats):
    adata = small.copy()
    lanes = list(adata.obs["lane"].cat.categories)
    new = dict(zip(lanes, ["/L1", "../é", "..", "_L1"][: len(lanes)], strict=True))
    adata.obs_names = [
        new[lane] + name.removeprefix(lane)
        for lane, name in zip(adata.obs["lane"], adata.obs_names, strict=True)
    ]
    adata.obs["lane"] = adata.obs["lane"].cat.rename_categories(new)
    sheet = adata.uns["nkscore"]["sample_sheet"].copy()
    adata.uns["nkscore"] = {"sample_sheet": sheet.assign(lane=[new[x] for x in sheet["lane"]])}
    file = nk.datasets.write_lanes(adata, tmp_path / "out", formats=formats)
    again = nk.io.read_coculture(file)
    assert set(again.obs["lane"].cat.categories) == set(new.values())
    assert sorted(again.obs_names) == sorted(adata.obs_names)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    again.write_h5ad(tmp_path / "a.h5ad")
    nk.io.read_lane(tmp_path / "a.h5ad")
