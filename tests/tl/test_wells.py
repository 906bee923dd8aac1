"""Wells on several lanes, and several wells of one donor: what counts as a replicate."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._samples._wells import repeated_measures, wells_of
from nkscore.errors import DesignError

KEY = ["tumor", "nk_donor", "condition"]
SCORE = "DUFVA2023_CORE_NK_RESPONSE"


def table_of(*rows):
    columns = ["sample", "lane", "hashtag", *KEY]
    made = pd.DataFrame([dict(zip(columns, row, strict=True)) for row in rows])
    return made.replace({"": None})


def units(table, *, replicate="nk_donor", columns=KEY):
    found = wells_of(table, replicate=replicate, columns=columns)
    return {frozenset(s for s in found if found[s] == name) for name in set(found.values())}


ALONE = ("A", "L1", "H1", "K562", "", "tumor_mono")
WITH_NK = ("B", "L1", "H2", "K562", "d1", "coculture")


def test_a_well_renamed_per_lane_is_one_by_donor_line_and_arm():
    table = table_of(
        ("B_1", "L1", "H2", "K562", "d1", "coculture"),
        ("B_2", "L2", "H5", "K562", "d1", "coculture"),
        ("C", "L1", "H3", "K562", "d2", "coculture"),
        ("D", "L1", "H4", "697", "d1", "coculture"),
        ("E", "L2", "H6", "", "d1", "nk_mono"),
    )
    assert units(table) == {frozenset({"B_1", "B_2"}), *map(frozenset, "CDE")}
    assert wells_of(table, replicate="nk_donor", columns=KEY)["B_2"] == "B_1 + B_2"


def test_wells_of_a_line_alone_are_replicates_unless_of_one_well():
    table = table_of(
        ("A_1", "L1", "H1", "K562", "", "tumor_mono"),
        ("A_2", "L1", "H2", "K562", "", "tumor_mono"),
        ("A_3", "L2", "H1", "K562", "", "tumor_mono"),
    )
    assert len(units(table)) == 3
    assert units(table.assign(well=["w1", "w2", "w1"])) == {
        frozenset({"A_1", "A_3"}),
        frozenset({"A_2"}),
    }
    # The same position on two plates is two wells, and so are two lines in one column.
    assert len(units(table.assign(well=["w1", "w2", "w1"], plate=["p1", "p1", "p2"]))) == 3
    assert len(units(table.assign(well="w1", tumor=["K562", "697", "RI1"]))) == 3


def test_the_same_pool_on_two_lanes_is_seen_by_its_hashtags():
    lanes = [
        [(f"{name}_{lane}", lane, *rest) for name, _, *rest in (ALONE, WITH_NK)]
        for lane in ("L1", "L2")
    ]
    table = table_of(*lanes[0], *lanes[1])
    assert units(table) == {frozenset({"A_L1", "A_L2"}), frozenset({"B_L1", "B_L2"})}
    # Another pool: other donors, another time, or another experiment.
    other = table.assign(nk_donor=["", "d1", "", "d2"]).replace({"": None})
    assert len(units(other)) == 4
    assert len(units(table.assign(time_h=[6, 6, 24, 24]))) == 3
    assert len(units(table.assign(experiment=["e1", "e1", "e2", "e2"]))) == 3


def test_an_experiment_repeated_with_one_donor_is_a_block():
    table = table_of(
        ("B_1", "L1", "H2", "K562", "d1", "coculture"),
        ("B_2", "L2", "H2", "K562", "d1", "coculture"),
    ).assign(experiment=["e1", "e2"])
    assert len(units(table)) == 1
    columns = ["tumor", "experiment", "condition"]
    assert len(units(table, replicate="experiment", columns=columns)) == 2
    assert len(units(table, columns=[*KEY, "experiment"])) == 2


def test_samples_as_replicates_are_wells_of_different_donors():
    table = table_of(
        ("B_1", "L1", "H2", "K562", "d1", "coculture"),
        ("B_2", "L2", "H3", "K562", "d1", "coculture"),
        ("B_3", "L2", "H2", "K562", "d2", "coculture"),
    )
    named = {"replicate": "sample", "columns": ["guide"]}
    guided = table.loc[[0, 0, 1, 1, 2, 2]].assign(guide=["g1", "g2"] * 3)
    assert units(guided, **named) == {frozenset({"B_1", "B_2"}), frozenset({"B_3"})}
    assert len(units(guided.assign(time_h=[6, 6, 24, 24, 6, 6]), **named)) == 3


def test_what_was_summed_is_said():
    assert not repeated_measures(["a", "a", "b"], ["a", "a", "b"])
    text = repeated_measures(["a + b", "a + b", "c"], ["a", "b", "c"])
    assert text.startswith("2 samples are parts of 1")
    assert text.endswith("were summed: a + b.")


def null_experiment(tumors, *, rng):
    adata = nk.datasets.simulate_coculture(
        tumors=tumors,
        n_cells_per_sample=80,
        n_genes=4000,
        null=True,
        sample_effect=0.25,
        ambient=0.0,
        doublets=0.0,
        lane_effect=0.0,
        rng=rng,
    )
    nk.datasets.use_truth(adata)
    return adata


@pytest.fixture(scope="module")
def null():
    """A null experiment on one lane per pool, and its parts on two lanes each."""
    adata = null_experiment(["K562", "697", "RI1"], rng=3)
    nk.pp.normalize(adata)
    nk.tl.score(adata, SCORE)
    second = np.random.default_rng(0).random(adata.n_obs) < 0.5
    parts = adata.copy()
    names = parts.obs["sample"].astype(object)
    end = np.where(second, "_b", "_a")
    parts.obs["lane"] = pd.Categorical(parts.obs["lane"].astype(str) + end)
    renamed = names.where(names.isna(), names.astype(str) + end)
    parts.obs["part"] = pd.Categorical(renamed)
    return adata, parts


TESTS = {
    "response": nk.tl.interaction_response,
    "response of NK cells": lambda a: nk.tl.interaction_response(a, "nk"),
    "welch": lambda a: nk.tl.interaction_response(a, method="welch_t"),
    "state_shift": lambda a: nk.tl.state_shift(a, "truth_nk_state", min_cells=5),
    "state_shift of a table": lambda a: nk.tl.state_shift(
        nk.tl.state_fractions(a, "truth_nk_state", min_cells=1), min_cells=5
    ),
    "nk_activation": lambda a: nk.tl.nk_activation(a, state="truth_nk_state", min_cells=5),
    "response_score": lambda a: nk.tl.response_score(a, SCORE),
    "decompose_shift": lambda a: nk.tl.decompose_shift(a, SCORE, "truth_phase"),
}


@pytest.mark.filterwarnings("ignore:method='welch_t'")
@pytest.mark.parametrize("case", ["same sample", "well", "pool"])
@pytest.mark.parametrize("test", TESTS)
def test_parts_of_wells_change_no_result(null, case, test, caplog):
    caplog.set_level(logging.ERROR, logger="nkscore")
    whole, parts = null
    parts = parts.copy()
    if case == "well":
        parts.obs["well"] = parts.obs["sample"]
    if case != "same sample":
        parts.obs["sample"] = parts.obs["part"]
    expected, found = TESTS[test](whole), TESTS[test](parts)
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(found[numbers], expected[numbers])
    if test == "response":
        assert ("were summed" in found.attrs["design"]) == (case != "same sample")


def test_two_wells_of_each_donor_are_not_six_donors(null):
    whole, parts = null
    parts = parts.copy()
    parts.obs["sample"] = parts.obs["part"]
    table = nk.tl.interaction_response(parts, "nk")
    assert (table["n_samples_treated"] == 3).all()
    assert (
        table["df_residual"].max() == nk.tl.interaction_response(whole, "nk")["df_residual"].max()
    )


def test_one_donor_needs_its_experiments_named(null):
    whole, _ = null
    adata = whole[(whole.obs["compartment"] == "nk").to_numpy()].copy()
    donor = adata.obs["nk_donor"].astype(object)
    adata.obs["experiment"] = adata.obs["nk_donor"]
    adata.obs["nk_donor"] = pd.Categorical(donor.where(donor.isna(), "d1"))
    with pytest.raises(DesignError, match="name repeated experiments"):
        nk.tl.interaction_response(adata, "nk")
    table = nk.tl.interaction_response(adata, "nk", replicate="experiment")
    pd.testing.assert_series_equal(
        table["p_value"], nk.tl.interaction_response(whole, "nk")["p_value"]
    )
    assert "compared with themselves" in table.attrs["design"]


def test_the_lane_of_a_well_on_two_lanes_is_no_covariate(null):
    with pytest.raises(DesignError, match=r"several values within sample .* count as one"):
        nk.tl.interaction_response(null[1], "nk", covariates=["lane"])


def test_knock_outs_count_wells_once(null):
    parts = null[1].copy()
    parts.obs["sample"] = parts.obs["part"]
    rng = np.random.default_rng(1)
    guide = rng.choice(["g1", "g2", "n1", "n2"], parts.n_obs)
    parts.obs["guide"] = pd.Categorical(guide)
    parts.obs["perturbation"] = pd.Categorical(
        np.where(np.isin(guide, ["g1", "g2"]), "STAT1", "non-targeting")
    )
    inside = (parts.obs["condition"] == "coculture").to_numpy()
    some = parts[inside & (parts.obs["tumor"] == "K562").to_numpy()].copy()
    some.obs["score"] = some.obsm["scores"][SCORE]
    found = nk.tl.perturbation_scores(some, ["score"], min_cells=3, unit="replicate")
    assert (found["n_replicates"] == 3).all()
    some.obs["well_by_lane"] = some.obs["part"]
    found = nk.tl.perturbation_scores(
        some, ["score"], min_cells=3, unit="replicate", replicate="well_by_lane"
    )
    assert (found["n_replicates"] == 6).all()


def test_null_experiments_with_wells_on_two_lanes_have_few_calls():
    """A small version of benchmarks/wells_over_lanes.py."""
    calls = []
    for seed in range(8):
        adata = null_experiment(["K562", "697", "RI1", "JURKAT"], rng=seed)
        end = np.where(np.random.default_rng(seed).random(adata.n_obs) < 0.5, "_a", "_b")
        names = adata.obs["sample"].astype(object)
        adata.obs["sample"] = pd.Categorical(names.where(names.isna(), names.astype(str) + end))
        adata.obs["lane"] = pd.Categorical(adata.obs["lane"].astype(str) + end)
        table = nk.tl.interaction_response(adata)
        calls.append(int((table["q_value"] < 0.05).sum()))
    # Each part counted as a well, 8 of 8 have a call.
    assert sum(n > 0 for n in calls) <= 1
