"""R objects: real ones of Seurat 4.3, and ones written by hand after the classes' definitions."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma

import numpy as np
import pandas as pd
import pytest
from scipy import io as scipy_io

import nkscore as nk
from nkscore.errors import GeneCoverageError, LaneError, NkscoreWarning, WrongScaleError
from nkscore.io import _rds_file

HAVE = {name: importlib.util.find_spec(name) is not None for name in ("rds2py", "rdata")}
needs = pytest.mark.skipif(not any(HAVE.values()), reason="neither rds2py nor rdata (extra 'rds')")
NAMES = ["NKG7", "CD34", "GNLY", "MATR3"]
TAGS = ["HTO-1", "HTO-2"]


@pytest.fixture(params=["rds2py", "rdata"])
def library(request, monkeypatch):
    """Only one of the two libraries, as if the other were not installed."""
    if not HAVE[request.param]:
        pytest.skip(f"{request.param} (extra 'rds') is not installed")
    monkeypatch.setattr(
        _rds_file, "find_spec", lambda name: name if name == request.param else None
    )
    return request.param


def assay(lanes, rds, *, counts=None, names=NAMES):
    counts = lanes.COUNTS[:, :4] if counts is None else counts
    matrix = rds.sparse_matrix(counts, names, lanes.BARCODES)
    return rds.S4("Assay", {"counts": matrix, "data": matrix, "key": "rna_"})


def meta(lanes, rds):
    return rds.data_frame(
        {
            "hash.ID": rds.factor(
                ["K562", "K562-NK2", "Doublet", None], ["Doublet", "K562", "K562-NK2"]
            ),
            "n": np.array([1, rds.NA_INT, 3, 4], dtype=np.int32),
            "share": np.array([0.5, np.nan, 0.25, 1.0]),
            "singlet": np.array([True, True, False, True]),
            "text": ["a", None, "b", "ü"],
        },
        lanes.BARCODES,
    )


def seurat(lanes, rds, *, log=True, **slots):
    assays = {"RNA": assay(lanes, rds)}
    assays["HTO"] = assay(lanes, rds, counts=lanes.TAG_COUNTS[:, :2], names=TAGS)
    command = rds.S4("SeuratCommand", {"params": {"mean.function": rds.Closure()}})
    commands = {"FindVariableFeatures.RNA": command} if log else rds.PlainList()
    return rds.S4(
        "Seurat",
        {
            "assays": assays,
            "meta.data": meta(lanes, rds),
            "active.assay": "RNA",
            "misc": rds.PlainList(),
            "commands": commands,
        }
        | slots,
    )


def check(adata, lanes):
    counts = adata.layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), lanes.COUNTS[:, :4])
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert list(adata.var_names) == NAMES
    assert [name.rsplit("_", 1)[1] for name in adata.obs_names] == lanes.BARCODES
    nk.schema.validate(adata, stage="loaded")


@pytest.mark.parametrize("packed", ["gz", "xz", "bz2", "none"])
def test_seurat(lanes, rds, tmp_path, library, packed):
    log = library == "rdata"
    file = rds.dump(seurat(lanes, rds, log=log), tmp_path / "pool_1.rds", packed)
    adata = nk.io.read_lane(file, hashtag_path="assay:HTO", annotations=True)
    check(adata, lanes)
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    assert list(adata.obsm["hashtags"].columns) == TAGS
    obs = adata.obs
    assert obs["hash.ID"].tolist()[:3] == ["K562", "K562-NK2", "Doublet"]
    assert obs["hash.ID"].isna().tolist() == [False, False, False, True]
    np.testing.assert_array_equal(obs["n"], [1, np.nan, 3, 4])
    np.testing.assert_array_equal(obs["share"], [0.5, np.nan, 0.25, 1])
    assert obs["singlet"].tolist() == [True, True, False, True]
    assert obs["text"].tolist()[::3] == ["a", "ü"]
    assert pd.isna(obs["text"].iloc[1])
    assert list(obs["lane"].cat.categories) == ["pool_1"]
    adata.write_h5ad(tmp_path / "a.h5ad")


@needs
def test_file_of_an_old_r(lanes, rds, tmp_path):
    if not HAVE["rdata"]:
        pytest.skip("rds2py takes version 2 of the format for version 3; needs rdata")
    made = seurat(lanes, rds, log=False)
    check(nk.io.read_lane(rds.dump(made, tmp_path / "a.rds", version=2)), lanes)


def test_closures_in_the_command_log_need_rdata(lanes, rds, tmp_path, library):
    file = rds.dump(seurat(lanes, rds, log=True), tmp_path / "a.rds")
    if library == "rdata":
        check(nk.io.read_lane(file), lanes)
        return
    with pytest.raises(
        LaneError,
        match=r"rds2py cannot read.*SEXP type 3.*other library is not installed.*commands <- list",
    ):
        nk.io.read_lane(file)


@needs
def test_both_libraries_together_read_it_without_a_word(lanes, rds, tmp_path, capsys):
    if not all(HAVE.values()):
        pytest.skip("needs both rds2py and rdata")
    check(nk.io.read_lane(rds.dump(seurat(lanes, rds), tmp_path / "a.rds")), lanes)
    assert capsys.readouterr() == ("", "")


def test_without_the_extra_the_error_names_it(lanes, rds, tmp_path, monkeypatch):
    monkeypatch.setattr(_rds_file, "find_spec", lambda _: None)
    file = rds.dump(seurat(lanes, rds), tmp_path / "a.rds")
    with pytest.raises(LaneError, match=r"a\.rds is an R object.*pip install 'nkscore\[rds\]'"):
        nk.io.read_lane(file)


def test_annotated_seurat_object(lanes, rds, tmp_path, library):
    file = rds.dump(seurat(lanes, rds, log=False), tmp_path / "cells.rds")
    own = ["K562", "K562-NK2", "Doublet"]
    with pytest.warns(nk.errors.NkscoreWarning, match="1 of 4 cells have no sample"):
        adata = nk.io.read_cells(file, "condition=hash.ID", extra_conditions=own)
    check(adata, lanes)
    assert adata.obs["condition"].tolist()[:3] == own
    assert adata.obs["sample"].isna().tolist() == [False, False, False, True]


def test_seurat_lanes_of_a_sheet(lanes, rds, tmp_path, library):
    rds.dump(seurat(lanes, rds, log=False), tmp_path / "lane_a.rds")
    rows = lanes.hashed_rows("lane_a.rds", hashtag_path="assay:HTO")
    # Seurat writes HTO-1 for HTO_1.
    alike = nk.io.read_coculture(pd.DataFrame(rows), base=tmp_path)
    assert list(alike.obsm["hashtags"].columns) == ["HTO_1", "HTO_2"]
    for row, tag in zip(rows, TAGS, strict=True):
        row["hashtag"] = tag
    adata = nk.io.read_coculture(pd.DataFrame(rows), base=tmp_path)
    check(adata, lanes)
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    # The assay called HTO is found without being named.
    rows = [{**row, "hashtag_path": ""} for row in rows]
    again = nk.io.read_coculture(pd.DataFrame(rows), base=tmp_path)
    np.testing.assert_array_equal(again.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])


def test_annotated_object_to_sample_columns(lanes, rds, tmp_path, library):
    file = rds.dump(seurat(lanes, rds, log=False), tmp_path / "panel.rds")
    adata = nk.io.read_lane(file, annotations=["hash.ID"])
    parsed = nk.io.parse_sample_names(adata.obs["hash.ID"])
    adata.obs[parsed.columns] = parsed
    assert adata.obs["condition"].tolist()[:2] == ["tumor_mono", "coculture"]
    assert adata.obs["condition"].isna().tolist() == [False, False, True, True]
    nk.schema.validate(adata, stage="demultiplexed")
    adata.write_h5ad(tmp_path / "a.h5ad")


def assay5(lanes, rds, layers):
    """Assay5 of Seurat 5: layers without names, which stand in two LogMaps."""
    matrices, cells, features = {}, {}, {}
    for name, (rows, columns) in layers.items():
        matrices[name] = rds.sparse_matrix(lanes.COUNTS[np.ix_(rows, columns)], None, None)
        cells[name] = [lanes.BARCODES[row] for row in rows]
        features[name] = [NAMES[column] for column in columns]
    return rds.S4(
        "Assay5",
        {
            "layers": matrices,
            "cells": rds.log_map(lanes.BARCODES, cells),
            "features": rds.log_map(NAMES, features),
        },
    )


def test_seurat_5_as_its_classes_are_defined(lanes, rds, tmp_path, library):
    every = list(range(4))
    one = {"counts": (every, every), "data": (every, every)}
    made = seurat(lanes, rds, log=False, assays={"RNA": assay5(lanes, rds, one)})
    check(nk.io.read_lane(rds.dump(made, tmp_path / "a.rds")), lanes)
    # Merged objects have one layer per sample, which need not hold the same genes.
    split = {"counts.1": ([0, 1], every), "counts.2": ([2, 3], [0, 3]), "data.1": ([0], every)}
    made = seurat(lanes, rds, log=False, assays={"RNA": assay5(lanes, rds, split)})
    adata = nk.io.read_lane(rds.dump(made, tmp_path / "b.rds"), annotations=["n"])
    expected = lanes.COUNTS[:, :4].copy()
    expected[2:, 1:3] = 0
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), expected)
    np.testing.assert_array_equal(adata.obs["n"], [1, np.nan, 3, 4])


@pytest.mark.parametrize("kind", ["dgCMatrix", "dgTMatrix", "dgRMatrix", "plain"])
def test_matrices(lanes, rds, tmp_path, library, kind):
    if kind == "plain":
        dimnames = rds.PlainList([NAMES, lanes.BARCODES])
        values = np.asfortranarray(lanes.COUNTS[:, :4].T.astype(float))
        made = rds.With(values, {"dim": np.array([4, 4], dtype=np.int32), "dimnames": dimnames})
    else:
        made = rds.sparse_matrix(lanes.COUNTS[:, :4], NAMES, lanes.BARCODES, kind)
    check(nk.io.read_lane(rds.dump(made, tmp_path / "a.rds")), lanes)


def experiment(lanes, rds, *, genes=NAMES, rows=None, counts=True):
    matrix = rds.sparse_matrix(lanes.COUNTS[:, :4], None, None)
    simple = rds.S4("SimpleList", {"listData": {"counts" if counts else "logcounts": matrix}})
    frame = rds.S4("DFrame", {"listData": rows or rds.PlainList(), "rownames": None})
    ranges = {"partitioning": rds.S4("P", {"NAMES": list(genes)}), "elementMetadata": frame}
    columns = {"well": ["A1", "A2", "A1", "B1"]}
    return rds.S4(
        "SingleCellExperiment",
        {
            "assays": rds.S4("SimpleAssays", {"data": simple}),
            "rowRanges": rds.S4("R", ranges),
            "colData": rds.S4("DFrame", {"listData": columns, "rownames": lanes.BARCODES}),
        },
    )


def test_single_cell_experiment(lanes, rds, tmp_path, library):
    adata = nk.io.read_lane(rds.dump(experiment(lanes, rds), tmp_path / "a.rds"), annotations=True)
    check(adata, lanes)
    assert list(adata.obs["well"]) == ["A1", "A2", "A1", "B1"]
    made = experiment(lanes, rds, genes=lanes.IDS[:4], rows={"Symbol": NAMES})
    adata = nk.io.read_lane(rds.dump(made, tmp_path / "b.rds"))
    check(adata, lanes)
    assert list(adata.var["gene_id"]) == lanes.IDS[:4]
    made = experiment(lanes, rds, genes=lanes.IDS[:4], rows={"length": ["1", "2", "3", "4"]})
    with pytest.raises(GeneCoverageError, match=r"rowData has no column of symbols.*holds: length"):
        nk.io.read_lane(rds.dump(made, tmp_path / "c.rds"))
    with pytest.raises(WrongScaleError, match=r"no assay 'counts' \(it holds: logcounts\)"):
        nk.io.read_lane(rds.dump(experiment(lanes, rds, counts=False), tmp_path / "d.rds"))


def test_objects_without_counts(lanes, rds, tmp_path, library):
    empty = rds.sparse_matrix(np.zeros((0, 0)), None, None)
    slim = {"RNA": rds.S4("Assay", {"counts": empty}), "SCT": rds.S4("SCTAssay", {"data": empty})}
    made = seurat(lanes, rds, log=False, assays=slim)
    with pytest.raises(WrongScaleError, match=r"'RNA' has no counts \(assays: RNA, SCT\).*DietSeu"):
        nk.io.read_lane(rds.dump(made, tmp_path / "a.rds"))
    logged = {"RNA": assay(lanes, rds, counts=np.log1p(lanes.COUNTS[:, :4]))}
    made = seurat(lanes, rds, log=False, assays=logged)
    with pytest.raises(
        WrongScaleError, match=r"a\.rds, assay\['RNA'\], holds fractions.*at cell 1"
    ):
        nk.io.read_lane(rds.dump(made, tmp_path / "a.rds"))


def test_assay_of_fewer_cells_and_absent_assay(lanes, rds, tmp_path, library):
    tags = rds.sparse_matrix(
        lanes.TAG_COUNTS[[3, 1], :2], TAGS, [lanes.BARCODES[i] for i in (3, 1)]
    )
    assays = {"RNA": assay(lanes, rds), "HTO": rds.S4("Assay", {"counts": tags})}
    file = rds.dump(seurat(lanes, rds, log=False, assays=assays), tmp_path / "a.rds")
    with pytest.warns(NkscoreWarning, match=r"assay\['HTO'\], lacks 2 of 4 cells") as caught:
        adata = nk.io.read_lane(file, hashtag_path="assay:HTO")
    # anndata 0.13 on pandas 3 adds warnings of its own.
    ours = {item.filename for item in caught if issubclass(item.category, NkscoreWarning)}
    assert ours == {__file__}
    expected = lanes.TAG_COUNTS[:, :2] * [[0], [1], [0], [1]]
    np.testing.assert_array_equal(adata.obsm["hashtags"], expected)
    with pytest.raises(LaneError, match=r"assay\['ADT'\], is not a table.*in assay: HTO"):
        nk.io.read_lane(file, hashtag_path="assay:ADT")


def test_other_r_objects(lanes, rds, tmp_path, library):
    file = tmp_path / "a.rds"
    with pytest.raises(LaneError, match=r"R object of another type \(data\.frame\); a Seurat obj"):
        nk.io.read_lane(rds.dump(meta(lanes, rds), file))
    with pytest.raises(
        LaneError, match=r"\(list\).*element 'x' may be the lane.*object\[\['x'\]\]"
    ):
        nk.io.read_lane(rds.dump({"x": seurat(lanes, rds, log=False), "y": "z"}, file))
    with pytest.raises(LaneError, match=r"object of Seurat 2.*UpdateSeuratObject"):
        nk.io.read_lane(rds.dump(rds.S4("seurat", {"x": "y"}), file))
    backed = rds.S4("HDF5Matrix", {"Dim": np.array([4, 4], dtype=np.int32)})
    layers = {"RNA": rds.S4("Assay5", {"layers": {"counts": backed}})}
    made = seurat(lanes, rds, log=False, assays=layers)
    with pytest.raises(LaneError, match=r"class HDF5Matrix, whose counts are not in this file"):
        nk.io.read_lane(rds.dump(made, file))
    unnamed = rds.sparse_matrix(lanes.COUNTS[:, :4], NAMES, None)
    with pytest.raises(LaneError, match=r"does not name its cells.*colnames \(barcodes\)"):
        nk.io.read_lane(rds.dump(unnamed, file))


@needs
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04", "holds no R object"),
        (b"<html>", "web page"),
        (gzip.compress(b"RDX3\nX\n", mtime=0), r"workspace .\.RData.*saveRDS"),
        (gzip.compress(b"hello", mtime=0), "holds no R object .it begins with b'hel"),
        (gzip.compress(b"X\n" + bytes(100), mtime=0)[:-9], "cannot be read: it is truncated"),
    ],
)
def test_files_that_only_pretend(tmp_path, content, match):
    (tmp_path / "a.rds").write_bytes(content)
    with pytest.raises(LaneError, match=match):
        nk.io.read_lane(tmp_path / "a.rds")


@needs
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("packed", ["none", "gz", "xz"])
def test_truncated_object(lanes, rds, tmp_path, share, packed):
    # Large enough that rds2py, given the packed file, would wait for ever.
    made = {"noise": np.random.default_rng(0).random(50_000), "lane": seurat(lanes, rds)}
    file = rds.dump(made, tmp_path / "a.rds", packed)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(LaneError, match=r"a\.rds .*(cannot be read|truncated)"):
        nk.io.read_lane(file)


@pytest.fixture
def golden(shared):
    folder = shared / "golden" / "seurat_rds"
    if not folder.is_dir():
        pytest.skip("golden/seurat_rds is not in ../shared")
    return folder


def golden_counts(folder):
    with gzip.open(folder / "counts.mtx.gz") as file:
        return scipy_io.mmread(file).T.toarray()


@needs
@pytest.mark.parametrize("name", ["seurat_v4", "seurat_v4_nocommands", "sce", "dgCMatrix_counts"])
def test_real_objects(golden, name):
    if name == "seurat_v4" and not HAVE["rdata"]:
        pytest.skip("closures in its command log need rdata")
    tags = None if name.startswith("dgC") else "assay:HTO"
    file = golden / f"{name}.rds"
    adata = nk.io.read_lane(file, hashtag_path=tags, annotations=tags is not None)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), golden_counts(golden))
    assert list(adata.var_names) == pd.read_csv(golden / "genes.csv")["gene"].tolist()
    cells = pd.read_csv(golden / "cells.csv")["cell"]
    assert [cell.rsplit("_", 1)[1] for cell in adata.obs_names] == cells.tolist()
    if tags is None:
        return
    hto = pd.read_csv(golden / "hto_counts.csv.gz", index_col=0)
    np.testing.assert_array_equal(adata.obsm["hashtags"], hto.T)
    assert list(adata.obsm["hashtags"]) == [tag.replace("_", "-") for tag in hto.index]
    plain = pd.read_csv(
        golden / "meta_data.csv.gz", index_col=0, float_precision="round_trip"
    ).reset_index(drop=True)
    for column in plain:
        got = adata.obs[column].reset_index(drop=True)
        assert (got.isna() == plain[column].isna()).all(), column
        known = plain[column].notna()
        assert (got[known].astype(plain[column].dtype) == plain[column][known]).all(), column


@needs
@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, bytes])
def test_real_object_packed_in_other_ways(golden, tmp_path, pack):
    name = "seurat_v4" if HAVE["rdata"] else "seurat_v4_nocommands"
    file = tmp_path / "a.rds"
    file.write_bytes(pack(gzip.decompress((golden / f"{name}.rds").read_bytes())))
    counts = nk.io.read_lane(file).layers["counts"]
    np.testing.assert_array_equal(counts.toarray(), golden_counts(golden))
