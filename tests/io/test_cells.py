"""Annotated cells: names of columns and values, samples, and calls that are kept."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import LaneError, MissingKeyError, NkscoreWarning, SampleSheetError
from nkscore.io import _cell_map

MAP = "condition=treatment,coculture=NK+tumor,tumor_mono=tumor,nk_mono=NK alone"


@pytest.fixture(scope="module")
def simulated():
    adata = nk.datasets.simulate_coculture(
        tumors=["K562", "MM1S"], n_cells_per_sample=20, n_genes=4000, rng=0
    )
    words = {"coculture": "NK+tumor", "tumor_mono": "tumor", "nk_mono": "NK alone"}
    truth = adata.obs
    adata.obs = pd.DataFrame(
        {
            "treatment": truth["truth_condition"].map(words).astype(str),
            "line": truth["truth_tumor"].astype(object).fillna("none").astype(str),
            "donor": truth["truth_nk_donor"].astype(object),
            "hours": 24.0,
            "lane": truth["lane"].astype(str),
            "celltype": truth["truth_compartment"].map(
                {"nk": "NK cells", "tumor": "Blasts", "mixed": "Doublet"}
            ),
            "nk_state": truth["truth_nk_state"].astype(object),
            "total_counts": -1.0,
            "plate": "P1",
        },
        index=adata.obs_names,
    )
    adata.uns, adata.obsm = {}, {}
    return adata, truth


@pytest.fixture(scope="module")
def file(simulated, tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    simulated[0].write_h5ad(path)
    return path


COLUMNS = "tumor=line,nk_donor=donor,time_h=hours"


def same(found, truth):
    left, right = found.astype(object), truth.astype(object)
    return (left.where(left.notna(), "") == right.where(right.notna(), "").to_numpy()).all()


def test_cells_come_with_their_samples(file, simulated):
    _, truth = simulated
    adata = nk.io.read_cells(file, f"{MAP},{COLUMNS},plate=plate")
    for column in ("condition", "tumor", "nk_donor"):
        assert same(adata.obs[column], truth[f"truth_{column}"])
    assert (adata.obs["time_h"] == 24).all()
    assert (adata.obs["plate"] == "P1").all()
    assert same(adata.obs["lane"], truth["lane"])
    samples = truth["truth_sample"].astype(str).to_numpy()
    pairs = set(zip(adata.obs["sample"].astype(str), samples, strict=True))
    assert len(pairs) == len(set(samples))
    assert set(adata.obs) == {"lane", *nk.schema.SAMPLE_COLUMNS, "plate"} - {"lineage"} | {
        "lineage"
    }
    sheet = adata.uns["nkscore"]["sample_sheet"]
    assert len(sheet) == len(pairs)
    record = adata.uns["nkscore"]["io.read_cells"]
    assert record["kept"] == "none"
    assert "tumor=line" in record["options"]["columns"]
    assert "io.read_lane" not in adata.uns["nkscore"]
    nk.schema.validate(adata, "loaded")


def test_other_formats_give_the_same(file, simulated, tmp_path):
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulated[0].copy().write_zarr(tmp_path / "cells.zarr")
    one = nk.io.read_cells(file, f"{MAP},{COLUMNS}")
    other = nk.io.read_cells(tmp_path / "cells.zarr", f"{MAP},{COLUMNS}")
    pd.testing.assert_frame_equal(one.obs, other.obs)
    assert (one.layers["counts"] != other.layers["counts"]).nnz == 0


def test_a_mapping_says_the_same(file):
    one = nk.io.read_cells(file, f"{MAP},{COLUMNS}")
    other = nk.io.read_cells(
        file,
        {
            "condition": "treatment",
            "coculture": ["NK+tumor"],
            "tumor_mono": "tumor",
            "condition:nk_mono": "NK alone",
            "tumor": "line",
            "nk_donor": "donor",
            "time_h": "hours",
        },
    )
    pd.testing.assert_frame_equal(one.obs, other.obs)


def test_words_that_a_sheet_knows_need_no_map(file):
    """NK+tumor, tumor and "NK alone" are read in a sheet, too."""
    one = nk.io.read_cells(file, f"{MAP},{COLUMNS}")
    other = nk.io.read_cells(file, f"condition=treatment,{COLUMNS}")
    assert same(one.obs["condition"], other.obs["condition"])


def test_calls_are_kept_on_request(file, simulated, tmp_path):
    _, truth = simulated
    calls = "compartment=celltype,compartment:tumor=Blasts"
    adata = nk.io.read_cells(file, f"{MAP},{COLUMNS},{calls}", keep="nk_state")
    assert same(adata.obs["compartment"], truth["truth_compartment"])
    assert list(adata.obs["compartment"].cat.categories) == list(nk.schema.COMPARTMENTS)
    assert same(adata.obs["nk_state"], truth["truth_nk_state"])
    assert "unassigned" in adata.obs["nk_state"].cat.categories
    assert adata.obs["nk_state_confidence"].isna().all()
    assert adata.uns["nkscore"]["io.read_cells"]["kept"] == "compartment nk_state"
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert again.uns["nkscore"]["io.read_cells"]["kept"] == "compartment nk_state"
    nk.pp.qc(adata)
    kept = nk.pp.keep(adata)
    assert set(kept.obs["compartment"]) == {"nk", "tumor"}
    assert "nk_state" not in nk.io.read_cells(file, f"{MAP},{COLUMNS}").obs


def test_results_of_nkscore_are_read_back_without_a_map(tmp_path):
    made = nk.datasets.simulate_coculture(tumors=["K562"], n_cells_per_sample=20, rng=0)
    nk.datasets.use_truth(made)
    made.write_h5ad(tmp_path / "a.h5ad")
    with pytest.warns(NkscoreWarning, match="cells have no sample; no step uses them"):
        adata = nk.io.read_cells(tmp_path / "a.h5ad", keep="compartment")
    for column in (*nk.schema.SAMPLE_COLUMNS, "compartment", "lane"):
        if column not in nk.schema.NUMERIC_SAMPLE_COLUMNS:
            assert same(adata.obs[column], made.obs[column]), column
    np.testing.assert_array_equal(adata.obs["time_h"], made.obs["time_h"])


@pytest.mark.parametrize(
    ("mapping", "match"),
    [
        ("conditon=treatment", "no column or level 'conditon' .did you mean 'condition'"),
        ("condition=", "'condition' has no value"),
        ("condition", "'condition' has no value"),
        ("condition=a,condition=b", "condition is given twice .'a' and 'b'"),
        ("plate=P", "no column or level 'plate'"),
    ],
)
def test_maps_that_cannot_be_used(file, mapping, match):
    with pytest.raises(SampleSheetError, match=match):
        nk.io.read_cells(file, mapping)


def test_names_with_commas_are_quoted():
    found = _cell_map.parsed(['condition=t, "coculture=NK, tumor"', "nk=NK,nk=NKT"])
    assert found.columns == {"condition": "t"}
    assert found.levels == {
        "condition": {"NK, tumor": "coculture"},
        "compartment": {"NK": "nk", "NKT": "nk"},
    }


def test_files_and_maps_that_do_not_fit(file, simulated, tmp_path, lanes):
    with pytest.raises(MissingKeyError, match=r"no annotation 'linie' of its cells .it has: treat"):
        nk.io.read_cells(file, "condition=treatment,tumor=linie")
    with pytest.raises(MissingKeyError, match="no annotation 'condition'"):
        nk.io.read_cells(file, COLUMNS)
    with pytest.raises(SampleSheetError, match="keep names 'states'; known: compartment, nk_state"):
        nk.io.read_cells(file, MAP, keep="states")
    odd = f"condition=treatment,{COLUMNS},condition:odd=NK+tumor"
    with pytest.raises(
        SampleSheetError, match="column 'treatment': 'odd' is not a known"
    ) as caught:
        nk.io.read_cells(file, odd)
    assert "has 6 problems" in str(caught.value)
    assert "odd" in set(nk.io.read_cells(file, odd, extra_conditions=["odd"]).obs["condition"])
    calls = "compartment=celltype,compartment:odd=Blasts"
    with pytest.raises(SampleSheetError, match=r"'odd' .\d+ cells. in the column of compartments"):
        nk.io.read_cells(file, f"{MAP},{COLUMNS},{calls}")
    with pytest.raises(SampleSheetError, match="sample 'P1', column 'line': has several values"):
        nk.io.read_cells(file, f"{MAP},{COLUMNS},sample=plate")
    lanes.write_h5_v3(tmp_path / "lane.h5")
    with pytest.raises(MissingKeyError, match=r"it has: none"):
        nk.io.read_cells(tmp_path / "lane.h5", MAP)
    with pytest.raises(LaneError, match="does not exist"):
        nk.io.read_cells(tmp_path / "no.h5ad", MAP)
