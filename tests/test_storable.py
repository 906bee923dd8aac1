"""Names and tables go into h5ad and zarr files and come back."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._samples._matrices import counts_of
from nkscore._storable import (
    spreadsheet_safe,
    stored_frame,
    stored_name,
    stored_names,
    stored_value,
)
from nkscore.tl._response._ambient_counts import _soups


def _back(adata, folder, kind):
    path = folder / f"a.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(path)
        return anndata.read_h5ad(path)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        # anndata announces zarr 3.
        adata.write_zarr(path)
    return anndata.read_zarr(path)


@pytest.mark.parametrize("name", ["a/b", "/", ".", "..", "", "_index", "x\0y", "é / ü"])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_any_name_can_be_stored(tmp_path, name, kind):
    stored = stored_name(name)
    adata = anndata.AnnData(np.ones((2, 1)))
    adata.uns["book"] = {stored: 1}
    adata.obsm["table"] = pd.DataFrame({stored: [1.0, 2.0]}, index=adata.obs_names)
    again = _back(adata, tmp_path, kind)
    assert list(again.uns["book"]) == [stored]
    assert list(again.obsm["table"]) == [stored]


def test_two_names_never_become_one():
    assert stored_names(["a/b", "c"], "The lanes") == ["a|b", "c"]
    with pytest.raises(ValueError, match=r"The lanes 'a/b' and 'a\|b' have the same name"):
        stored_names(["a/b", "a|b"], "The lanes")


def test_tables_keep_gaps_numbers_and_levels(tmp_path):
    table = pd.DataFrame(
        {
            "text/gap": ["x", None, "y"],
            "mixed": [1, "a", True],
            "flag": [True, np.nan, False],
            "day": pd.to_datetime(["2026-01-01", "2026-01-02", None]),
            "number": [1.0, np.nan, 3.0],
            "nullable": pd.array(["a", None, "b"], dtype="string"),
            "level": pd.Categorical([1, "a", None]),
        },
    )
    adata = anndata.AnnData(np.ones((2, 1)))
    adata.uns["book"] = stored_value({"table": table})
    again = _back(adata, tmp_path, "h5ad").uns["book"]["table"]
    assert list(again["text|gap"].astype(object)[[0, 2]]) == ["x", "y"]
    assert again["text|gap"].isna().tolist() == [False, True, False]
    assert list(again["mixed"]) == ["1", "a", "True"]
    assert again["flag"].astype(object).tolist()[0] == "True"
    assert again["day"].isna().tolist() == [False, False, True]
    pd.testing.assert_series_equal(again["number"], table["number"], check_index=False)
    assert list(again["nullable"].dropna()) == ["a", "b"]
    assert list(again["level"].dropna()) == ["1", "a"]


def test_a_table_without_need_stays_as_it_is():
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["u", None])})
    pd.testing.assert_frame_equal(stored_frame(table).astype({"b": table["b"].dtype}), table)


@pytest.fixture(scope="module")
def with_slashes(small_coculture):
    """Lanes, samples and lines with a slash in their names."""
    adata = small_coculture.copy()
    nk.datasets.use_truth(adata)
    for column in ("lane", "sample", "tumor", "nk_donor"):
        levels = adata.obs[column].cat.categories
        adata.obs[column] = adata.obs[column].cat.rename_categories([f"/{x}/1" for x in levels])
    return adata


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_lanes_with_slashes(with_slashes, tmp_path, kind):
    adata = with_slashes.copy()
    nk.pp.qc(adata)
    nk.pp.ambient(adata, min_cells=5)
    nk.pp.normalize(adata)
    nk.tl.score(adata, {"a/b": ["PRF1", "GZMB", "NKG7"]})
    again = _back(adata, tmp_path, kind)
    lanes = [stored_name(lane) for lane in adata.obs["lane"].cat.categories]
    assert set(again.varm["ambient_soup"]) <= set(lanes)
    assert set(again.uns["nkscore"]["pp.qc"]["limits"]) == set(lanes)
    assert list(again.obsm["scores"]) == ["a|b"]


def test_profiles_of_lanes_with_slashes_are_found(with_slashes):
    adata = with_slashes.copy()
    lane = str(adata.obs["lane"].iloc[0])
    adata.varm["ambient_soup"] = pd.DataFrame({stored_name(lane): 7.0}, index=adata.var_names)
    assert (_soups(adata, counts_of(adata), [lane])[lane] == 7.0).all()


@pytest.mark.parametrize("function", [nk.tl.score, nk.tl.score_null])
def test_keys_that_no_file_can_hold_are_refused(small_coculture, function):
    with pytest.raises(ValueError, match=r"key_added='a/b' cannot name a slot.*'a\|b'"):
        function(small_coculture, {"s": ["PRF1", "NKG7"]}, key_added="a/b")


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_sums_with_gaps_in_text(small_coculture, tmp_path, kind):
    adata = small_coculture.copy()
    nk.datasets.use_truth(adata)
    first = adata.obs["sample"] == adata.obs["sample"].iloc[0]
    adata.obs["plate"] = np.where(first, None, "P1")
    sums = nk.tl.pseudobulk(adata, ["sample"], min_cells=1)
    again = _back(sums, tmp_path, kind)
    assert again.obs["plate"].isna().sum() == 1
    for table, stored in ((sums.obs, again.obs), (sums.uns["groups"], again.uns["groups"])):
        assert list(stored["plate"].dropna()) == list(table["plate"].dropna())
        assert list(stored.index) == list(table.index)


def test_text_that_begins_like_a_formula(tmp_path):
    table = pd.DataFrame(
        {
            "=name": ["=1+1", "+x", "-x", "@x", "-1.5", "-", "NKG7", None],
            "level": pd.Categorical(["=a", "b"] * 4),
            "mixed": np.array([-1, "-x", -2.5, "a", None, "x", True, "+1e3"], dtype=object),
            "number": [-1.0, np.nan, np.inf, -np.inf, 0, 1, 2, 3],
        },
        index=["=cell", *"abcdefg"],
    )
    before = table.copy()
    spreadsheet_safe(table).to_csv(tmp_path / "t.tsv", sep="\t")
    pd.testing.assert_frame_equal(table, before)
    rows = [line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines()]
    columns = list(zip(*rows, strict=True))
    assert columns[0][1] == "'=cell"
    assert columns[1] == ("'=name", "'=1+1", "'+x", "'-x", "'@x", "-1.5", "'-", "NKG7", "")
    assert columns[2][1:3] == ("'=a", "b")
    assert columns[3][1:6] == ("-1", "'-x", "-2.5", "a", "")
    assert columns[3][8] == "+1e3"
    assert columns[4][1:5] == ("-1.0", "", "inf", "-inf")
