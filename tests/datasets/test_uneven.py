"""The switches that make a simulated experiment as uneven as real lanes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.datasets._bystanders import BYSTANDERS, bystander_table
from nkscore.datasets._genes import gene_table

BASE = {"tumors": ["697", "GDM1"], "n_donors": 3, "n_genes": 4_500, "rng": 4}
ON = {
    "uneven_depth": 4.0,
    "lanes_per_pool": 2,
    "nk_lane": True,
    "bystanders": 0.2,
    "unequal_tags": 10.0,
    "few_cells": 0.3,
    "inherited": True,
}


@pytest.fixture(scope="module")
def uneven():
    adata = nk.datasets.simulate_coculture(**BASE, n_cells_per_sample=60, **ON)
    adata.obs["depth"] = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    return adata


def counts_of(adata, gene):
    return np.asarray(adata[:, gene].layers["counts"].sum(axis=1)).ravel()


def test_it_meets_the_contract_on_two_lanes_per_pool(uneven):
    nk.schema.validate(uneven, stage="loaded")
    sheet = uneven.uns["nkscore"]["sample_sheet"]
    assert sheet.groupby("sample")["lane"].nunique().eq(2).all()
    assert not sheet.duplicated(["lane", "hashtag"]).any()
    assert set(sheet.loc[sheet["condition"] == "nk_mono", "lane"]) == {"Lane_nk_a", "Lane_nk_b"}
    assert uneven.uns["truth"]["samples"]["sample"].tolist() == list(sheet["sample"].unique())
    copy = uneven.copy()
    nk.datasets.use_truth(copy)
    nk.schema.validate(copy, stage="compartments")
    assert copy.obs.groupby("sample", observed=True)["lane"].nunique().max() == 2


def test_written_lanes_are_read_back(uneven, tmp_path):
    pool = uneven[uneven.obs["lane"].isin(["Lane_NK1_a", "Lane_NK1_b"]).to_numpy()]
    sheet = nk.datasets.write_lanes(pool, tmp_path / "lanes", formats=["h5"])
    again = nk.io.read_coculture(sheet)
    assert again.obs_names.equals(pool.obs_names)
    assert (again.layers["counts"] != pool.layers["counts"]).nnz == 0


def test_a_well_is_the_same_on_all_its_lanes():
    still = {"sample_effect": 0.0, "lane_effect": 0.0, "few_cells": {"697_NK1": 400}}
    made = nk.datasets.simulate_coculture(**BASE, n_cells_per_sample=9, lanes_per_pool=2, **still)
    cells = made.obs[made.obs["truth_sample"] == "697_NK1"]
    found = cells["lane"].value_counts()
    assert found[found > 0].to_dict() == {"Lane_NK1_a": 200, "Lane_NK1_b": 200}
    assert made.obs["truth_sample"].value_counts().drop("697_NK1").eq(9).all()
    sums = [made[cells.index[cells["lane"] == lane]] for lane in cells["lane"].unique()]
    first, second = (np.asarray(part.layers["counts"].sum(axis=0)).ravel() for part in sums)
    assert np.corrcoef(np.log1p(first), np.log1p(second))[0, 1] > 0.9


def test_named_depths():
    depth = {"coculture": 0.25, "Lane_NK2": 0.5, "GDM1": 2.0}
    quiet = {"sample_effect": 0.0, "lane_effect": 0.0, "low_quality": 0.0, "doublets": 0.0}
    made = [
        nk.datasets.simulate_coculture(**BASE, **quiet, n_cells_per_sample=40, uneven_depth=d)
        for d in (1.0, depth)
    ]
    sums = [np.asarray(adata.layers["counts"].sum(axis=1)).ravel() for adata in made]
    tables = [pd.Series(s).groupby(made[0].obs["truth_sample"].to_numpy()).sum() for s in sums]
    found = tables[1] / tables[0]
    wanted = {"697_NK1": 0.25, "GDM1_NK1": 0.5, "697_NK2": 0.125, "NK2_mono": 0.5, "697_mono": 1}
    for sample, factor in wanted.items():
        assert found[sample] == pytest.approx(factor, rel=0.03)


def test_drawn_depths_differ_as_much_as_asked():
    adata = nk.datasets.simulate_coculture(
        **BASE, n_cells_per_sample=60, uneven_depth=4.0, sample_effect=0.0, lane_effect=0.0
    )
    depth = pd.Series(np.asarray(adata.layers["counts"].sum(axis=1)).ravel())
    median = depth.groupby(adata.obs["truth_sample"].to_numpy()).median()
    # NK and tumor cells differ in RNA, by 1.35 times.
    assert 2.5 < median.max() / median.min() < 6.5


def test_bystanders_are_other_cells_with_their_own_genes(uneven):
    single = uneven[~uneven.obs["truth_doublet"]]
    kind = single.obs["truth_bystander"]
    assert list(kind.cat.categories) == list(BYSTANDERS)
    assert kind.notna().eq(single.obs["truth_compartment"] == "other").all()
    assert kind.notna().mean() == pytest.approx(0.2, abs=0.06)
    assert single.obs.loc[kind.notna(), ["truth_nk_state", "truth_tumor_state"]].isna().all().all()
    for gene, own in (("LYZ", "monocyte"), ("HBB", "red_cell"), ("PF4", "platelet")):
        share = pd.Series(counts_of(single, gene) / single.obs["depth"])
        mean = share.groupby(kind, observed=True).mean()
        assert mean.idxmax() == own
        assert mean[own] > 5 * mean.drop(own).max()
    depth = single.obs.groupby(kind, observed=True)["depth"].median()
    assert depth["platelet"] < depth["monocyte"] / 3


def test_donors_inherit(uneven):
    cells = uneven[(uneven.obs["truth_compartment"] == "nk").to_numpy()]
    donor = cells.obs["truth_nk_donor"].astype(str)
    share = pd.DataFrame(
        {g: counts_of(cells, g) / cells.obs["depth"] for g in ("XIST", "RPS4Y1", "HLA-DRB5")}
    )
    mean = 1e4 * share.groupby(donor).mean()
    female = mean["XIST"] > 1
    assert (mean["RPS4Y1"] < 1).eq(female).all()
    assert mean["XIST"][~female].lt(0.3).all()


def test_tags_stain_unequally():
    clean = {"ambient": 0.0, "negatives": 0.0, "doublets": 0.0}
    made = [
        nk.datasets.simulate_coculture(**BASE, **clean, n_cells_per_sample=50, unequal_tags=x)
        for x in (1.0, 30.0)
    ]
    medians = [
        adata.obsm["hashtags"].max(axis=1).groupby(adata.obs["truth_sample"].to_numpy()).median()
        for adata in made
    ]
    ratio = medians[1] / medians[0]
    assert ratio.max() < 1.05
    assert ratio.min() < 0.15


def test_bystander_table_uses_known_genes_once():
    table = bystander_table()
    assert set(table["gene"]) <= set(gene_table()["gene"])
    assert not table.duplicated(["cell_type", "gene"]).any()
    assert set(table["cell_type"]) == set(BYSTANDERS)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"uneven_depth": 0.5}, "uneven_depth is 0.5; a number of at least 1"),
        ({"uneven_depth": {"K562": 2.0}}, r"uneven_depth names 'K562'; known here: 697, GDM1"),
        ({"uneven_depth": {"697": 0.0}}, "factor of uneven_depth is 0.0; a number above 0"),
        ({"uneven_depth": float("nan")}, "uneven_depth is nan"),
        ({"lanes_per_pool": 27}, "at most 26"),
        ({"lanes_per_pool": 1.5}, "lanes_per_pool is 1.5; a whole number"),
        ({"bystanders": 1.0}, "bystanders is 1.0; a number from 0 to 0.9"),
        ({"unequal_tags": 0}, "unequal_tags is 0"),
        ({"few_cells": -0.1}, "few_cells is -0.1"),
        ({"few_cells": {"697_NK9": 4}}, "few_cells names '697_NK9'"),
        ({"few_cells": {"697_NK1": 0}}, r"few_cells\['697_NK1'\] is 0"),
        ({"inherited": 1}, "inherited is 1; True or False"),
        ({"nk_lane": "yes"}, "nk_lane is 'yes'; True or False"),
    ],
)
def test_options_out_of_range(option, message):
    with pytest.raises(ValueError, match=message):
        nk.datasets.simulate_coculture(**BASE, n_cells_per_sample=2, **option)
