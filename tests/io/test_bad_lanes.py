"""Damaged, foreign and empty lanes: one error that names the file and the remedy."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import GeneCoverageError, LaneError, NkscoreError, WrongScaleError


def fails(error, match, path, **options):
    with pytest.raises(error, match=match) as caught:
        nk.io.read_lane(path, **options)
    assert path.name in str(caught.value) or path.parent.name in str(caught.value)
    return caught.value


def test_missing_file(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "pool_1.h5")
    fails(LaneError, r"does not exist\. Did you mean 'pool_1\.h5'\?", tmp_path / "pool_l.h5")
    fails(LaneError, r"Its folder is missing, too; the path exists up to", tmp_path / "x" / "y.h5")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_h5(lanes, tmp_path, share):
    file = lanes.write_h5_v3(tmp_path / "a.h5")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    error = fails(
        LaneError, r"bytes\) cannot be read: it is truncated.*copy or download it again", file
    )
    assert isinstance(error.__cause__, OSError)


def test_truncated_h5ad(lanes, tmp_path):
    file = lanes.write_h5ad(tmp_path / "a.h5ad")
    file.write_bytes(file.read_bytes()[:5000])
    assert isinstance(fails(LaneError, "truncated", file).__cause__, OSError)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
def test_truncated_gz(lanes, tmp_path, name):
    file = lanes.write_mtx(tmp_path / "a") / name
    file.write_bytes(file.read_bytes()[:-12])
    error = fails(
        LaneError, rf"{name} \(\d+ bytes\) cannot be read: it is truncated", tmp_path / "a"
    )
    assert isinstance(error.__cause__, EOFError)


def test_truncated_text_matrix(lanes, tmp_path):
    file = lanes.write_mtx(tmp_path / "a", packed=False) / "matrix.mtx"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-2]) + "\n")
    fails(LaneError, r"matrix.mtx announces 8 entries and holds 6: it is truncated", tmp_path / "a")
    file.write_text("\n".join([*lines[:2], "5 4 99999999", *lines[3:]]))
    fails(LaneError, r"more than its \d+ bytes can hold", tmp_path / "a")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1 1 1\n", "0 1 1\n"),
        ("1 1 1\n", "6 1 1\n"),
        ("1 1 1\n", "1 1\n"),
        ("1 1 1\n", "1 1 x\n"),
        ("1 1 1\n", "1 1 1 1\n"),
        ("1 1 1\n", "4294967297 1 1\n"),
        ("%%Matrix", "Matrix"),
        ("5 4 8", "5 4"),
    ],
)
def test_nonsense_in_a_matrix(lanes, tmp_path, old, new):
    file = lanes.write_mtx(tmp_path / "a", packed=False) / "matrix.mtx"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    fails(LaneError, r"matrix\.mtx \(\d+ bytes\) cannot be read", tmp_path / "a")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("indices", [0, 2, 4, 1, 0, 3, 3, 5]),
        ("indices", [0, 2, 4, 1, 0, 3, 3, -1]),
        ("indptr", [0, 3, 4, 6, 9]),
        ("indptr", [0, 4, 3, 6, 8]),
        ("indptr", [1, 3, 4, 6, 8]),
        ("data", [1, 2, 3]),
    ],
)
def test_h5_whose_arrays_do_not_fit(lanes, tmp_path, key, value):
    # scipy would trust these numbers and read outside of its memory.
    file = lanes.write_h5_v3(tmp_path / "a.h5", **{key: np.array(value)})
    fails(LaneError, r"a\.h5 is damaged: its row offsets, column numbers and values", file)


def test_count_beyond_int32_in_a_text_matrix(lanes, tmp_path):
    file = lanes.write_mtx(tmp_path / "a", packed=False) / "matrix.mtx"
    file.write_text(file.read_text().replace("1 1 1\n", "1 1 99999999999\n"))
    fails(
        WrongScaleError,
        r"mtx holds 1e\+11, which is too large for a UMI count",
        tmp_path / "a",
    )


def test_h5_with_other_shape(lanes, tmp_path):
    file = lanes.write_h5_v3(tmp_path / "a.h5", shape=(5, 3))
    fails(LaneError, r"its matrix is 5 × 3, but it lists 5 features and 4 barcodes", file)


def test_h5_without_a_part(lanes, tmp_path):
    import h5py

    file = lanes.write_h5_v3(tmp_path / "a.h5")
    with h5py.File(file, "r+") as handle:
        del handle["matrix/indptr"]
    assert isinstance(fails(LaneError, "cannot be read", file).__cause__, KeyError)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "web page.*download failed"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"PK\x03\x04", "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"hello", "not an HDF5"),
    ],
)
def test_file_that_only_pretends_to_be_h5(tmp_path, content, match):
    file = tmp_path / "a.h5"
    file.write_bytes(content)
    fails(LaneError, match, file)


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("barcode_idx", "molecule_info"),
        ("assays", "h5Seurat"),
        ("other", "unknown type .it holds: other"),
    ],
)
def test_hdf5_of_other_tools(tmp_path, key, match):
    import h5py

    file = tmp_path / "a.h5"
    with h5py.File(file, "w") as handle:
        handle.create_group(key)
    fails(LaneError, rf"{match}.*Known formats: .*10x", file)


def test_foreign_file_and_folder(tmp_path):
    (tmp_path / "a.bam").write_text("hello")
    fails(LaneError, r"not in a format that nkscore reads.*Known formats", tmp_path / "a.bam")
    (tmp_path / "sub").mkdir()
    fails(LaneError, r"folder without a matrix \(it holds: nothing\)", tmp_path / "sub")


def test_run_folder_points_to_the_matrix_below(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "outs" / "filtered_feature_bc_matrix.h5")
    fails(LaneError, r"but it contains: outs/filtered_feature_bc_matrix\.h5\. Give one", tmp_path)


def test_folder_without_barcodes(lanes, tmp_path):
    (lanes.write_mtx(tmp_path / "a") / "barcodes.tsv.gz").unlink()
    fails(LaneError, r"no file of barcodes next to it \(looked for barcodes\.tsv", tmp_path / "a")


def test_matrix_of_other_size(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "a", features=lanes.table().iloc[:4])
    fails(LaneError, r"is 5 × 4, but features\.tsv\.gz lists 4 features.*the same run", folder)


def test_matrix_the_other_way_round(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "a", np.ones((5, 4), int))
    fails(LaneError, r"is 4 × 5, but .*opposite orientation: transpose it", folder)


@pytest.mark.parametrize("side", ["cells", "features"])
def test_empty_lane(lanes, tmp_path, side):
    if side == "cells":
        file = lanes.write_h5_v3(tmp_path / "a.h5", np.zeros((0, 5)), barcodes=[])
    else:
        file = lanes.write_h5_v3(
            tmp_path / "a.h5", np.zeros((4, 0)), features=lanes.table().iloc[:0]
        )
    fails(LaneError, rf"holds no {side} .*remove the lane from the sample sheet", file)


def test_empty_mtx_folder_files(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "a", np.zeros((0, 5), int), barcodes=[])
    for name in ("barcodes.tsv.gz",):
        (folder / name).write_bytes(gzip.compress(b""))
    fails(LaneError, "holds no cells", folder)


def test_lane_of_tags_only(lanes, tmp_path):
    features = lanes.table(with_tags=True).iloc[5:]
    file = lanes.write_h5_v3(tmp_path / "a.h5", lanes.TAG_COUNTS, features=features)
    fails(LaneError, r"holds no genes \(feature types: Antibody Capture\).*hashtag_path", file)


def test_repeated_barcodes(lanes, tmp_path):
    barcodes = [*lanes.BARCODES[:3], lanes.BARCODES[0]]
    file = lanes.write_h5_v3(tmp_path / "a.h5", barcodes=barcodes)
    fails(LaneError, rf"barcodes occur more than once \(1, for example {barcodes[0]}\)", file)


def test_barcodes_that_are_no_text(lanes, tmp_path):
    barcodes = [*(barcode.encode() for barcode in lanes.BARCODES[:3]), b"\xc6\x28ACGT-1"]
    file = lanes.write_h5_v3(tmp_path / "a.h5", barcodes=barcodes)
    fails(LaneError, "cannot be read", file)


def test_probe_matrix(lanes, tmp_path):
    import h5py

    file = lanes.write_h5_v3(tmp_path / "a.h5")
    with h5py.File(file, "r+") as handle:
        handle["matrix/features/gene_id"] = np.array(lanes.IDS, dtype="S")
    fails(LaneError, "counts probes, not genes", file)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (np.log1p, r"fractions \(for example 0\.69.*log-normalized"),
        (np.negative, "negative values"),
        (lambda x: np.where(x == 3, np.nan, x), "NaN"),
        (lambda x: x * 1e9, "too large for a UMI count"),
    ],
)
def test_h5ad_without_counts(lanes, tmp_path, change, match):
    x = change(lanes.COUNTS[:, :4].astype(float))
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=x)
    fails(WrongScaleError, rf"a\.h5ad, X, holds .*{match}.*No other slot", file)


def test_log_values_tell_where_the_counts_are(lanes, tmp_path):
    counts = lanes.COUNTS[:, :4].astype("float32")
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=np.log1p(counts), raw=counts)
    fails(WrongScaleError, r"Counts may be in raw\.X: write adata\.raw\.to_adata\(\)", file)
    layers = {"umi": counts}
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=np.log1p(counts), layers=layers)
    fails(WrongScaleError, r"copy layers\['umi'\] into layers\['counts'\]", file)
    layers = {"counts": np.log1p(counts)}
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=counts, layers=layers)
    fails(WrongScaleError, r"layers\['counts'\], holds fractions", file)


def test_h5ad_without_any_matrix(lanes, tmp_path):
    import anndata
    import pandas as pd

    empty = anndata.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["NKG7"]))
    empty.write_h5ad(tmp_path / "a.h5ad")
    fails(WrongScaleError, r"neither layers\['counts'\] nor X", tmp_path / "a.h5ad")


def test_fractions_in_an_mtx_folder(lanes, tmp_path):
    folder = lanes.write_mtx(tmp_path / "a", packed=False)
    text = lanes.mtx_text(np.log1p(lanes.COUNTS.T), "real")
    (folder / "matrix.mtx").write_text(text)
    fails(WrongScaleError, r"matrix\.mtx holds fractions", folder)
    (folder / "matrix.mtx").write_text(lanes.mtx_text(lanes.COUNTS.T.astype(float), "real"))
    np.testing.assert_array_equal(nk.io.read_lane(folder).layers["counts"].toarray(), lanes.COUNTS)
    (folder / "matrix.mtx").write_text(text.replace("real", "complex"))
    fails(LaneError, "of type 'coordinate complex general'", folder)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["Gapdh", "Nkg7", "Actb", "mt-Nd1", "H2-K1"], "mouse.*for example Gapdh.*human genome"),
        (["gapdh", "nkl.1", "actb1", "tp53", "b2m"], "mouse or another animal"),
        ([f"ENSG0000000000{i}" for i in range(1, 6)], "Ensembl ids only.*second column"),
        (["10", "11", "12", "13", "14"], "named by numbers.*Entrez"),
    ],
)
def test_names_that_are_no_human_symbols(lanes, tmp_path, names, match):
    features = lanes.table(genes=names, ids=names)
    file = lanes.write_h5_v3(tmp_path / "a.h5", features=features)
    fails(GeneCoverageError, rf"a\.h5: the gene.*{match}", file)


def test_human_symbols_with_lower_case_pass(lanes, tmp_path):
    features = lanes.table(genes=["C1orf56", "C9orf72", "C6orf15", "NKG7", "hsa-mir-1"])
    assert nk.io.read_lane(lanes.write_h5_v3(tmp_path / "a.h5", features=features)).n_vars == 5


def test_any_damage_ends_in_an_error_of_our_own(lanes, tmp_path):
    rng = np.random.default_rng(0)
    folder = lanes.write_mtx(tmp_path / "a", packed=False)
    outcomes = set()
    for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
        whole = (folder / name).read_bytes()
        for _ in range(40):
            broken = bytearray(whole)
            broken[rng.integers(len(broken))] = rng.integers(256)
            (folder / name).write_bytes(bytes(broken[: rng.integers(1, len(broken) + 1)]))
            try:
                outcomes.add(nk.io.read_lane(folder).n_obs)
            except NkscoreError as error:
                outcomes.add(type(error).__name__)
        (folder / name).write_bytes(whole)
    assert "LaneError" in outcomes


@pytest.mark.parametrize(("value", "word"), [(-1, "negative"), (0.5, "fractions"), (np.nan, "NaN")])
def test_place_of_the_first_value_that_is_no_count(lanes, tmp_path, value, word):
    counts = lanes.COUNTS.astype(float)
    counts[2, 3] = value
    file = lanes.write_h5_v3(tmp_path / "a.h5", data=counts[lanes.COUNTS > 0])
    place = "cell 3, feature 4 of the file"
    fails(WrongScaleError, rf"a\.h5 holds .*{word}.*The first one is at {place}", file)
    dense = counts[:, :4]
    file = lanes.write_h5ad(tmp_path / "a.h5ad", x=dense)
    fails(WrongScaleError, rf"{word}.*The first one is at cell 3, gene 4 of the file", file)
    file = lanes.write_h5ad(tmp_path / "b.h5ad", x=sparse.csc_matrix(dense))
    fails(WrongScaleError, rf"{word}.*The first one is at gene 4, cell 3 of the file", file)


def test_symbols_in_the_column_of_ids_are_offered(lanes, tmp_path):
    features = lanes.table().rename(columns={"id": "name", "name": "id"})
    folder = lanes.write_mtx(tmp_path / "a", features=features)
    fails(
        GeneCoverageError,
        r"named by Ensembl ids only.*column of ids holds symbols \(for example NKG7\): swap",
        folder,
    )


def test_a_lane_given_twice_under_two_names(lanes, tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, size=(60, 5))
    barcodes = [f"{''.join(rng.choice(list('ACGT'), 16))}-1" for _ in range(60)]
    lanes.write_h5_v3(tmp_path / "a.h5", counts, barcodes=barcodes)
    lanes.write_h5_v3(tmp_path / "b.h5", counts[:40], barcodes=barcodes[:40])
    lanes.write_h5_v3(tmp_path / "c.h5", rng.poisson(30, size=(60, 5)), barcodes=barcodes)
    wells = pd.DataFrame({"path": ["a.h5", "b.h5"], "sample": ["s1", "s2"]})
    wells = wells.assign(condition="tumor_mono", tumor="K562")
    with pytest.raises(
        LaneError,
        match=r"lanes 'a' .* and 'b' .* same cells: 40 barcodes are in both, 100% of them.*remove "
        r"one of the two from the sheet",
    ):
        nk.io.read_coculture(wells, base=tmp_path)
    # The same barcodes with other counts are two lanes.
    wells["path"] = ["a.h5", "c.h5"]
    assert nk.io.read_coculture(wells, base=tmp_path).n_obs == 120
