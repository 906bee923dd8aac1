"""The whole way: sheet and lanes to one AnnData."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import (
    GeneCoverageError,
    LaneError,
    NkscoreWarning,
    SampleSheetError,
    WrongScaleError,
)


@pytest.fixture
def pool(lanes, tmp_path):
    """Sheet of one hashed lane, its tags in the file."""
    lanes.write_h5_v3(tmp_path / "lane_a.h5", with_tags=True)
    return lanes.write_sheet(tmp_path / "sheet.csv", lanes.hashed_rows())


def single(path, sample="alone", **other):
    return {"path": path, "sample": sample, "condition": "tumor_mono", "tumor": "THP-1", **other}


def test_hashed_lane(lanes, pool):
    adata = nk.io.read_coculture(pool)
    assert adata.X is None
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), lanes.COUNTS)
    assert list(adata.obs.columns) == ["lane"]
    assert list(adata.obs_names) == [f"A_{barcode}" for barcode in lanes.BARCODES]
    hashtags = adata.obsm["hashtags"]
    assert list(hashtags.columns) == ["HTO_1", "HTO_2"]
    assert list(hashtags.index) == list(adata.obs_names)
    np.testing.assert_array_equal(hashtags, lanes.TAG_COUNTS[:, :2])
    assert hashtags.dtypes.eq(np.int32).all()
    np.testing.assert_array_equal(adata.obsm["protein"], lanes.TAG_COUNTS[:, 2:])
    assert list(adata.obsm["protein"].columns) == ["CD56"]
    sheet = adata.uns["nkscore"]["sample_sheet"]
    pd.testing.assert_frame_equal(sheet, nk.io.read_sample_sheet(pool))
    record = adata.uns["nkscore"]["io.read_coculture"]
    assert record["function"] == "io.read_coculture"
    assert record["lanes"]["A"]["n_cells"] == 4
    nk.schema.validate(adata, stage="loaded")


def test_round_trip_through_h5ad(lanes, pool, tmp_path):
    first = nk.io.read_coculture(pool)
    first.write_h5ad(tmp_path / "out.h5ad")
    second = ad.read_h5ad(tmp_path / "out.h5ad")
    assert (first.layers["counts"] != second.layers["counts"]).nnz == 0
    old, new = (each.uns["nkscore"]["sample_sheet"] for each in (first, second))
    for column in old:
        np.testing.assert_array_equal(old[column].to_numpy(), new[column].to_numpy())
    book = second.uns["nkscore"]["io.read_coculture"]
    assert book == first.uns["nkscore"]["io.read_coculture"]
    nk.schema.validate(second, stage="loaded")


@pytest.mark.parametrize("tag_format", ["mtx", "h5", "citeseq", "kallisto"])
@pytest.mark.parametrize("suffix", [True, False])
def test_hashtags_in_a_separate_matrix(lanes, tmp_path, tag_format, suffix):
    lanes.write_h5_v3(tmp_path / "lane_a.h5")
    # Other order than the lane, and one droplet that is no cell.
    order = [2, 0, 3, 1]
    barcodes = [lanes.BARCODES[i] for i in order] + ["TTTTTTTTTTTTTTTT-1"]
    if not suffix:
        barcodes = [barcode.removesuffix("-1") for barcode in barcodes]
    counts = np.vstack([lanes.TAG_COUNTS[order, :2], [[9, 9]]])
    features = pd.DataFrame({"id": ["H1", "H2"], "name": ["HTO_1", "HTO_2"], "type": "Custom"})
    place = tmp_path / "tags"
    if tag_format == "mtx":
        lanes.write_mtx(place, counts, features=features, barcodes=barcodes)
    elif tag_format == "h5":
        place = lanes.write_h5_v3(
            tmp_path / "tags.h5", counts, features=features, barcodes=barcodes
        )
    elif tag_format == "citeseq":
        counts = np.hstack([counts, [[3]] * 5])
        lanes.write_text(
            place / "features.tsv",
            "HTO_1-ACCCACCAGTAAGAC\nHTO_2-GGTCGAGAGCATTCA\nunmapped\n",
            packed=True,
        )
        lanes.write_text(place / "barcodes.tsv", "\n".join(barcodes), packed=True)
        lanes.write_text(place / "matrix.mtx", lanes.mtx_text(counts.T), packed=True)
    else:
        lanes.write_text(place / "cells_x_features.mtx", lanes.mtx_text(counts))
        lanes.write_text(place / "cells_x_features.barcodes.txt", "\n".join(barcodes))
        lanes.write_text(place / "cells_x_features.genes.txt", "HTO_1\nHTO_2")
    rows = lanes.hashed_rows(hashtag_path=place.name)
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    assert list(adata.obsm["hashtags"].columns) == ["HTO_1", "HTO_2"]
    assert "protein" not in adata.obsm


def test_cells_without_hashtag_counts_are_counted(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "lane_a.h5")
    features = lanes.table(with_tags=True).iloc[5:]
    lanes.write_mtx(
        tmp_path / "t", lanes.TAG_COUNTS[1:], features=features, barcodes=lanes.BARCODES[1:]
    )
    sheet = lanes.write_sheet(tmp_path / "s.csv", lanes.hashed_rows(hashtag_path="t"))
    with pytest.warns(
        NkscoreWarning, match=r"1 of 4 cells of .*lane_a\.h5 are not in its hashtag matrix"
    ) as caught:
        adata = nk.io.read_coculture(sheet)
    assert {item.filename for item in caught} == {__file__}
    np.testing.assert_array_equal(adata.obsm["hashtags"]["HTO_1"], [0, 80, 2, 0])


def test_warnings_point_to_the_line_that_called(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "lane_a.h5")
    other = lanes.table(genes=["NKG7", "CD1A", "CD2", "CD3E", "CD5"])
    lanes.write_h5_v3(tmp_path / "b.h5", features=other)
    features = lanes.table(with_tags=True).iloc[5:]
    few = {"features": features, "barcodes": lanes.BARCODES[1:]}
    lanes.write_mtx(tmp_path / "t", lanes.TAG_COUNTS[1:], **few)
    rows = [*lanes.hashed_rows(hashtag_path="t"), single("b.h5", lane="B", linaege="x")]
    frame = pd.DataFrame(rows).drop(columns="lineage")
    with pytest.warns(NkscoreWarning) as caught:
        nk.io.read_coculture(frame, base=tmp_path)
    assert [item.filename for item in caught] == [__file__] * 3
    with pytest.warns(NkscoreWarning) as caught:
        nk.io.read_lane(tmp_path / "lane_a.h5", hashtag_path=tmp_path / "t")
    assert [item.filename for item in caught] == [__file__]


def test_repeated_barcodes_in_a_hashtag_matrix(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "a.h5")
    features = lanes.table(with_tags=True).iloc[5:]
    barcodes = [lanes.BARCODES[0], *lanes.BARCODES[:3]]
    lanes.write_mtx(tmp_path / "t", lanes.TAG_COUNTS, features=features, barcodes=barcodes)
    with pytest.raises(LaneError, match=r"/t: barcodes occur more than once"):
        nk.io.read_lane(tmp_path / "a.h5", hashtag_path=tmp_path / "t")


def test_hashtag_matrix_of_another_lane(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "lane_a.h5")
    others = [barcode.replace("AAACCC", "GGGTTT") for barcode in lanes.BARCODES]
    features = lanes.table(with_tags=True).iloc[5:]
    lanes.write_mtx(tmp_path / "t", lanes.TAG_COUNTS, features=features, barcodes=others)
    sheet = lanes.write_sheet(tmp_path / "s.csv", lanes.hashed_rows(hashtag_path="t"))
    match = r"s\.csv, row 2, lane 'A': None of the 4 barcodes of .*lane_a\.h5 .*TotalSeq.*same lane"
    with pytest.raises(LaneError, match=match):
        nk.io.read_coculture(sheet)


def test_barcodes_with_a_beginning_of_their_own(lanes, tmp_path):
    names = [f"run1_{barcode}" for barcode in lanes.BARCODES]
    lanes.write_h5ad(tmp_path / "a.h5ad", barcodes=names)
    features = lanes.table(with_tags=True).iloc[5:]
    lanes.write_mtx(tmp_path / "t", lanes.TAG_COUNTS, features=features)
    adata = nk.io.read_lane(tmp_path / "a.h5ad", hashtag_path=tmp_path / "t")
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS)


def test_hashtags_in_obsm_of_an_h5ad(lanes, tmp_path):
    frame = pd.DataFrame(lanes.TAG_COUNTS[:, :2], index=lanes.BARCODES, columns=["HTO_1", "HTO_2"])
    lanes.write_h5ad(
        tmp_path / "a.h5ad", obsm={"hto": frame.astype(float), "X_pca": np.ones((4, 2))}
    )
    rows = lanes.hashed_rows("a.h5ad", hashtag_path="obsm:hto")
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    np.testing.assert_array_equal(adata.obsm["hashtags"], frame)
    # Without the path, the error tells where to look.
    sheet = lanes.write_sheet(tmp_path / "s.csv", lanes.hashed_rows("a.h5ad"))
    with pytest.raises(SampleSheetError, match=r"hashtag_path: obsm:hto\."):
        nk.io.read_coculture(sheet)
    rows = lanes.hashed_rows("a.h5ad", hashtag_path="obsm:X_pca")
    with pytest.raises(LaneError, match=r"obsm\['X_pca'\], is not a table.*tables in obsm: hto"):
        nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    lanes.write_h5ad(tmp_path / "a.h5ad", obsm={"hto": np.log1p(frame)})
    rows = lanes.hashed_rows("a.h5ad", hashtag_path="obsm:hto")
    with pytest.raises(WrongScaleError, match=r"row 2, lane 'A': .*obsm\['hto'\], holds fractions"):
        nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))


def test_hashtag_by_id(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "lane_a.h5", with_tags=True)
    rows = lanes.hashed_rows()
    rows[0]["hashtag"], rows[1]["hashtag"] = "H1", "H2"
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    assert list(adata.obsm["hashtags"].columns) == ["H1", "H2"]
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])


def test_hashtag_that_is_not_there(lanes, pool):
    rows = lanes.hashed_rows()
    rows[0]["hashtag"], rows[1]["hashtag"] = "hto x", "HTO_3"
    lanes.write_sheet(pool, rows)
    with pytest.raises(SampleSheetError) as caught:
        nk.io.read_coculture(pool)
    head, first, second = str(caught.value).splitlines()
    assert head == f"{pool} has 2 problems (nothing was loaded):"
    file = pool.parent / "lane_a.h5"
    assert first.startswith(
        f"  row 2, column 'hashtag': 'hto x' is not in {file} (its tags: HTO_1,"
    )
    assert second.endswith("Did you mean 'HTO_2'?")
    with pytest.raises(LaneError, match=r"Hashtag 'HTO_9' is not in .*lane_a\.h5"):
        nk.io.read_lane(file, hashtags=["HTO_9"])


@pytest.mark.parametrize("name", ["hto 1", "Hashtag 1", "#1", "1", "TotalSeq-B0251", "HTO 01"])
def test_hashtags_as_labs_write_them(lanes, pool, name):
    rows = lanes.hashed_rows()
    rows[0]["hashtag"] = name
    lanes.write_sheet(pool, rows)
    adata = nk.io.read_coculture(pool)
    assert list(adata.obsm["hashtags"].columns) == [name, "HTO_2"]
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])


def test_two_names_of_one_hashtag(lanes, pool):
    rows = lanes.hashed_rows()
    rows[1]["hashtag"] = "Hashtag 1"
    lanes.write_sheet(pool, rows)
    with pytest.raises(SampleSheetError, match=r"row 3, .*'Hashtag 1' and 'HTO_1' are one tag"):
        nk.io.read_coculture(pool)


def test_hashtags_of_a_lane_without_any(lanes, pool):
    lanes.write_h5_v3(pool.parent / "lane_a.h5")
    with pytest.raises(
        SampleSheetError, match=r"holds genes only\. Give the matrix of the hashtags"
    ):
        nk.io.read_coculture(pool)


def test_ambiguous_hashtag(lanes, tmp_path):
    features = lanes.table(with_tags=True)
    features.loc[6, "name"] = "HTO_1"
    file = lanes.write_h5_v3(tmp_path / "a.h5", features=features, with_tags=True)
    with pytest.raises(LaneError, match=r"2 features are called 'HTO_1'.*one of H1, H2"):
        nk.io.read_lane(file, hashtags=["HTO_1"])


def test_hashed_and_single_lanes_together(lanes, pool, caplog):
    folder = pool.parent
    lanes.write_mtx(folder / "plain", v3=False)
    rows = [*lanes.hashed_rows(), single("plain", lane="B", lineage="AML", time_h="6", plate="P7")]
    lanes.write_sheet(pool, rows)
    with caplog.at_level("INFO", logger="nkscore"):
        adata = nk.io.read_coculture(pool)
    assert adata.n_obs == 8
    assert [line for line in caplog.messages if line.startswith("Lane ")] == [
        "Lane A (10x h5, Cell Ranger 3+): 4 cells × 5 genes; hashtags: 2, protein: 1.",
        "Lane B (mtx folder): 4 cells × 5 genes.",
    ]
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), np.vstack([lanes.COUNTS] * 2))
    np.testing.assert_array_equal(
        adata.obsm["hashtags"], np.vstack([lanes.TAG_COUNTS[:, :2], np.zeros((4, 2))])
    )
    obs = adata.obs
    assert obs["lane"].tolist() == ["A"] * 4 + ["B"] * 4
    assert obs["sample"].isna().tolist() == [True] * 4 + [False] * 4
    assert obs["sample"].cat.categories.tolist() == ["K562_mono", "K562_co", "alone"]
    assert obs["tumor"].tolist()[4:] == ["THP-1"] * 4
    assert obs["lineage"].tolist()[4:] == ["AML"] * 4
    assert obs["nk_donor"].isna().all()
    assert obs["plate"].tolist()[4:] == ["P7"] * 4
    np.testing.assert_array_equal(obs["time_h"], [np.nan] * 4 + [6.0] * 4)
    assert obs["et_ratio"].isna().all()
    assert "hashtag" not in obs
    adata.write_h5ad(folder / "out.h5ad")
    assert ad.read_h5ad(folder / "out.h5ad").obs["sample"].tolist()[4:] == ["alone"] * 4


def test_tags_of_other_lanes_are_kept_where_they_are(lanes, tmp_path):
    for lane in "ab":
        lanes.write_h5_v3(tmp_path / f"{lane}.h5", with_tags=True)
    rows = [single("a.h5", "one", hashtag="HTO_1"), single("b.h5", "two", hashtag="HTO_2")]
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    np.testing.assert_array_equal(adata.obsm["hashtags"], np.vstack([lanes.TAG_COUNTS[:, :2]] * 2))
    assert list(adata.obsm["protein"].columns) == ["CD56"]


def test_hashtag_with_a_slash_has_one_name_everywhere(lanes, tmp_path):
    features = lanes.table(with_tags=True)
    features.loc[5, "name"] = "HTO/1"
    lanes.write_h5_v3(tmp_path / "a.h5", features=features, with_tags=True)
    sheet = lanes.write_sheet(tmp_path / "s.csv", [single("a.h5", hashtag="HTO/1")])
    adata = nk.io.read_coculture(sheet)
    assert list(adata.obsm["hashtags"].columns) == ["HTO|1"]
    assert adata.uns["nkscore"]["sample_sheet"]["hashtag"].tolist() == ["HTO|1"]
    adata.write_h5ad(tmp_path / "out.h5ad")


def two_references(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "a.h5")
    other = pd.DataFrame({"id": ["ENSG00000000003", "ENSG00000000009"], "name": ["GNLY", "CD7"]})
    other["type"] = "Gene Expression"
    counts = np.array([[7, 1], [0, 2], [0, 0], [8, 0]])
    lanes.write_h5_v3(tmp_path / "b.h5", counts, features=other)
    rows = [single("a.h5", "one"), single("b.h5", "two")]
    return lanes.write_sheet(tmp_path / "s.csv", rows), counts


def test_lanes_of_different_references_union(lanes, tmp_path):
    sheet, counts = two_references(lanes, tmp_path)
    match = r"differ in their genes \(6 in all; missing in a: 1, b: 4\).*not measurements"
    with pytest.warns(NkscoreWarning, match=match) as caught:
        adata = nk.io.read_coculture(sheet)
    assert {item.filename for item in caught} == {__file__}
    assert list(adata.var_names) == [
        "NKG7",
        "CD34",
        "GNLY",
        "MATR3",
        "MATR3_ENSG00000000005",
        "CD7",
    ]
    assert list(adata.var["gene_id"]) == [*lanes.IDS, "ENSG00000000009"]
    dense = adata.layers["counts"].toarray()
    np.testing.assert_array_equal(dense[:4, :5], lanes.COUNTS)
    np.testing.assert_array_equal(dense[4:, [2, 5]], counts)
    assert dense.sum() == lanes.COUNTS.sum() + counts.sum()
    assert adata.layers["counts"].has_canonical_format


def test_lanes_of_different_references_intersection(lanes, tmp_path):
    sheet, counts = two_references(lanes, tmp_path)
    with pytest.warns(
        NkscoreWarning, match=r"Only the genes that all lanes have were kept \(1\)"
    ) as caught:
        adata = nk.io.read_coculture(sheet, genes="intersection")
    assert {item.filename for item in caught} == {__file__}
    assert list(adata.var_names) == ["GNLY"]
    expected = [*lanes.COUNTS[:, 2], *counts[:, 0]]
    np.testing.assert_array_equal(adata.layers["counts"].toarray().ravel(), expected)
    with pytest.raises(ValueError, match="genes='both' is unknown"):
        nk.io.read_coculture(sheet, genes="both")


def test_same_genes_in_another_order_need_no_warning(lanes, tmp_path):
    order = [4, 2, 0, 1, 3]
    features = lanes.table(genes=["NKG7", "CD34", "GNLY", "MATR3", "CD7"])
    lanes.write_h5_v3(tmp_path / "a.h5", features=features)
    lanes.write_h5_v3(tmp_path / "b.h5", lanes.COUNTS[:, order], features=features.iloc[order])
    rows = [single("a.h5", "one"), single("b.h5", "two")]
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), np.vstack([lanes.COUNTS] * 2))
    assert adata.layers["counts"].has_sorted_indices


def test_lanes_without_a_common_gene(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "a.h5")
    others = ["CD1A", "CD2", "CD3E", "CD4", "CD5"]
    lanes.write_h5_v3(tmp_path / "b.h5", features=lanes.table(genes=others))
    rows = [single("a.h5", "one"), single("b.h5", "two")]
    with pytest.raises(GeneCoverageError, match=r"share no gene.*lane 'a': NKG7.*lane 'b': CD1A"):
        nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))


def test_different_panels_keep_their_columns_apart(lanes, tmp_path):
    features = lanes.table(with_tags=True)
    lanes.write_h5_v3(tmp_path / "a.h5", features=features, with_tags=True)
    features.loc[7, "name"] = "CD16"
    lanes.write_h5_v3(tmp_path / "b.h5", features=features, with_tags=True)
    rows = [single(f"{x}.h5", x, hashtag=h) for x, h in (("a", "HTO_1"), ("b", "HTO_2"))]
    adata = nk.io.read_coculture(lanes.write_sheet(tmp_path / "s.csv", rows))
    protein = adata.obsm["protein"]
    assert protein["CD56"].tolist() == [5, 6, 0, 8, 0, 0, 0, 0]
    assert protein["CD16"].tolist() == [0, 0, 0, 0, 5, 6, 0, 8]


@pytest.mark.parametrize("bad", ["truncated", "mouse", "log", "empty"])
def test_errors_of_a_lane_name_sheet_row_and_lane(lanes, pool, bad):
    folder = pool.parent
    place, error = folder / "bad.h5", LaneError
    if bad == "truncated":
        lanes.write_h5_v3(place)
        place.write_bytes(place.read_bytes()[:4000])
    elif bad == "mouse":
        names = ["Nkg7", "Cd34", "Gzma", "Matr3", "Cd7"]
        lanes.write_h5_v3(place, features=lanes.table(genes=names))
        error = GeneCoverageError
    elif bad == "log":
        place = folder / "bad.h5ad"
        lanes.write_h5ad(place, x=np.log1p(lanes.COUNTS[:, :4]))
        error = WrongScaleError
    else:
        lanes.write_h5_v3(place, np.zeros((0, 5)), barcodes=[])
    lanes.write_sheet(pool, [*lanes.hashed_rows(), single(place.name, lane="B")])
    before = sorted(item.name for item in folder.rglob("*"))
    with pytest.raises(error) as caught:
        nk.io.read_coculture(pool)
    text = str(caught.value)
    assert text.startswith(f"{pool}, row 4, lane 'B': {place}")
    # No sentence of the remedy may get lost, and nothing is left behind.
    assert any(word in text for word in ("again", "orthologs", "raw counts", "sample sheet"))
    assert sorted(item.name for item in folder.rglob("*")) == before


def test_base_and_frame(lanes, pool, monkeypatch):
    frame = pd.DataFrame(lanes.hashed_rows())
    assert nk.io.read_coculture(frame, base=pool.parent).n_obs == 4
    monkeypatch.chdir(pool.parent)
    assert nk.io.read_coculture(frame).n_obs == 4
    assert nk.io.read_coculture("sheet.csv").n_obs == 4
    with pytest.raises(SampleSheetError, match=r"The sample sheet \(DataFrame\) has 1 problem"):
        nk.io.read_coculture(frame, base="/")


def test_progress_bar(lanes, pool, capsys):
    nk.io.read_coculture(pool)
    assert capsys.readouterr().err == ""
    nk.io.read_coculture(pool, progress=True)
    assert "lanes: 100%" in capsys.readouterr().err


def test_min_counts_over_lanes(lanes, pool):
    adata = nk.io.read_coculture(pool, min_counts=9)
    assert list(adata.obs_names) == [f"A_{barcode}" for barcode in lanes.BARCODES[2:]]
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[2:, :2])
