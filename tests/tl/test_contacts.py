"""Attached NK–tumor pairs: planted ones are found, and none where none are planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore import stats


def _evidence(**changed):
    n = np.array([500, 400, 0])
    given = {
        "n_nk": n,
        "n_tumor": np.array([700, 800, 0]),
        "own": np.array([40, 10, 0]),
        "tried": np.array([400, 400, 0]),
        "found": np.array([400, 400, 0]),
        "hidden": np.array([10, 10, 0]),
        "cross": 90,
        "leaked": 4,
        "cross_tried": 1000,
        "cross_found": 900,
        "cross_leaked": 40,
    } | changed
    return stats.LaneEvidence(**given)


def test_expected_pairs_by_hand():
    lane = _evidence()
    # 100 pairs of two wells for 500 × 800 + 400 × 700 combinations; the leak is as predicted.
    assert lane.leak_factor == pytest.approx(1.0)
    made = 90 * (1 + 0.06 / 0.9) / (1 - 0.04)
    assert lane.rate == pytest.approx(made / 680_000)
    chance, leak = lane.expected()
    np.testing.assert_allclose(leak, [1.0, 1.0, 0.0])
    recall = 400.5 / 401
    np.testing.assert_allclose(chance[:2], recall * made / 680_000 * np.array([350e3, 320e3]))


def test_twice_the_visible_leak_hides_twice_the_pairs():
    once, twice = _evidence(leaked=40), _evidence(leaked=85, cross=900, cross_found=900)
    assert twice.leak_factor == pytest.approx(90 / 45)
    assert once.leak_factor > _evidence().leak_factor
    np.testing.assert_allclose(twice.expected()[1], [20.0, 20.0, 0.0])


@pytest.mark.parametrize("own", [50, 90])
def test_interval_and_p_agree(own):
    lane = _evidence(own=np.array([own, 10, 0]))
    well = np.array([True, False, False])
    found = stats.excess_of([lane], [well], rng=np.random.default_rng(0), confidence=0.95)
    assert found.low < found.excess < found.high
    assert (found.p_value < 0.025) == (found.low > 0)


def test_p_values_are_uniform_where_nothing_is_attached():
    rng = np.random.default_rng(1)
    p = []
    for _ in range(300):
        cross, leaked = rng.poisson(90), rng.poisson(4)
        truth = _evidence()
        chance, leak = truth.expected()
        own = rng.poisson(chance + leak)
        lane = _evidence(own=own, cross=cross, leaked=leaked)
        well = np.array([True, True, False])
        p.append(stats.excess_of([lane], [well], rng=rng, confidence=0.95).p_value)
    assert 0.005 <= np.mean(np.array(p) < 0.05) <= 0.075
    assert 0.4 < np.mean(p) < 0.65


def test_holm():
    np.testing.assert_allclose(stats.holm([0.01, 0.04, np.nan, 0.03]), [0.03, 0.06, np.nan, 0.06])


@pytest.fixture(scope="module")
def hashed():
    planted = nk.datasets.Contacts(rate={"K562": 0.06}, states={"activated": 3.0})
    adata = nk.datasets.simulate_coculture(
        tumors=["K562", "697", "GDM1"],
        n_donors=2,
        n_cells_per_sample=450,
        n_genes=4000,
        contacts=planted,
        rng=4,
    )
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    return adata


def test_planted_contacts_are_found_where_they_are(hashed):
    table = nk.tl.contacts(hashed, by="tumor").set_index("tumor")
    planted = hashed.uns["truth"]["contacts"].groupby("tumor")["n_pairs"].sum()
    assert table.loc["K562", "ci_low"] < planted["K562"] < table.loc["K562", "ci_high"]
    assert (table["p_family"] < 0.05).to_dict() == {"697": False, "GDM1": False, "K562": True}
    assert (table["answer"] == "excess").all()
    np.testing.assert_allclose(table["per_100"], 100 * table["excess"] / table["n_droplets"])


def test_pairs_say_what_tags_and_rna_say(hashed):
    obs = hashed.obs
    own = obs["pair"] == "own"
    assert (obs.loc[obs["pair"].notna(), "compartment"] == "mixed").all()
    assert (obs.loc[own, "tumor"].astype(str) == obs.loc[own, "pair_tumor"].astype(str)).all()
    planted = (obs["truth_pair"] == "own") & obs["qc_pass"]
    assert (obs.loc[planted, "pair"] == "own").mean() > 0.93
    single = ~obs["truth_doublet"]
    assert obs.loc[single, "pair"].notna().mean() < 0.003


def test_keep_drops_pairs_unless_asked(hashed):
    assert nk.pp.keep(hashed).obs["pair"].isna().all()
    kept = nk.pp.keep(hashed, pairs=True)
    assert kept.obs["pair"].notna().sum() == hashed.obs["pair"].notna().sum()
    before, after = (nk.tl.contacts(x, by="tumor") for x in (hashed, kept))
    np.testing.assert_allclose(after["n_own"], before["n_own"])
    np.testing.assert_allclose(after["excess"], before["excess"], atol=4)


def test_upper_limits_of_depth_spare_pairs(hashed):
    adata = hashed.copy()
    pair = (adata.obs["pair"] == "own").to_numpy()
    adata.obs["qc_pass"] = ~pair
    adata.obs["qc_reason"] = pd.Categorical(np.where(pair, "high counts; high genes", "pass"))
    nk.pp.compartments(adata)
    assert (adata.obs.loc[pair, "pair"] == "own").mean() > 0.95
    assert (nk.pp.keep(adata, pairs=True).obs["pair"] == "own").sum() > 0.95 * pair.sum()
    adata.obs["qc_reason"] = pd.Categorical(np.where(pair, "high mitochondrial", "pass"))
    nk.pp.compartments(adata)
    assert adata.obs.loc[pair, "pair"].isna().all()


def test_no_answer_says_why(hashed):
    few = nk.tl.contacts(hashed, min_cells=10_000)
    assert (few["answer"] == "no answer").all()
    assert few["p_value"].isna().all()
    assert few["reason"].str.contains("10000 needed").all()
    one = hashed[(hashed.obs["hashtag"] == "Hashtag1") & (hashed.obs["lane"] == "Lane_NK1")]
    found = nk.tl.contacts(one.copy())
    assert found["reason"].str.contains("one hashtag").all()
    other = hashed.copy()
    other.uns["nkscore"]["pp.demultiplex"].pop("models")
    other.uns["nkscore"]["pp.demultiplex"]["options"]["method"] = "hashsolo"
    assert nk.tl.contacts(other)["reason"].str.contains("hashsolo").all()
    uncrossed = hashed[(hashed.obs["pair"] != "chance").to_numpy()].copy()
    assert nk.tl.contacts(uncrossed)["reason"].str.contains("0 pairs with two hashtags").all()


def test_one_line_per_lane_gives_an_upper_bound(hashed):
    """Without another line and without NK cells alone, no leaked tag is seen."""
    adata = hashed[(hashed.obs["lane"] != "Lane_targets").to_numpy()].copy()
    for name in ("tumor", "pair_tumor"):
        values = adata.obs[name].astype(object)
        adata.obs[name] = pd.Categorical(values.where(values.isna(), "K562"))
    alone = (adata.obs["condition"] == "nk_mono").to_numpy()
    leaked = (
        (adata.obs["pair"] == "chance") & (adata.obs["hashtag_class"] == "singlet")
    ).to_numpy()
    adata = adata[~alone & ~leaked].copy()
    found = nk.tl.contacts(adata)
    assert (found["answer"] == "upper bound").all()
    assert found["p_value"].isna().all()
    assert found["ci_high"].notna().all()
    assert found["reason"].str.contains("cannot be seen").all()


def test_bad_input(hashed):
    with pytest.raises(nk.errors.MissingKeyError, match=r"pp\.compartments"):
        nk.tl.contacts(_without(hashed, "pair"))
    with pytest.raises(nk.errors.DesignError, match="several values within sample"):
        nk.tl.contacts(hashed, by="compartment")
    with pytest.raises(nk.errors.GeneCoverageError, match="genes that showed pp"):
        nk.tl.contacts(hashed[:, :20].copy())
    with pytest.raises(nk.errors.MissingKeyError, match="pair"):
        nk.pp.keep(_without(hashed, "pair"), pairs=True)


def _without(adata, column):
    copy = adata.copy()
    del copy.obs[column]
    return copy


def test_the_switch_of_the_simulator_is_off_by_default():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, n_genes=4000, rng=0)
    assert "truth_pair" not in adata.obs
    assert set(adata.uns["truth"]) == {"samples", "lanes", "response", "ambient_profile"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 1.5}, "rate is 1.5"),
        ({"states": {"angry": 2.0}}, "angry"),
        ({"rna_ratio": 0.0}, "rna_ratio is 0.0"),
        ({"tag_spread": -1.0}, "tag_spread is -1.0"),
    ],
)
def test_planted_contacts_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        nk.datasets.Contacts(**options)


@pytest.fixture(scope="module")
def induced():
    planted = nk.datasets.Contacts(rate=0.15, log2_fc=1.5)
    adata = nk.datasets.simulate_coculture(
        tumors=["K562", "697"],
        n_donors=2,
        n_cells_per_sample=500,
        n_genes=4000,
        doublets=0.15,
        contacts=planted,
        rng=2,
    )
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    return adata


def test_contact_genes_are_found(induced):
    table = nk.tl.contact_response(induced, min_own=100, min_cross=80)
    planted = set(induced.uns["truth"]["contact_genes"]["gene"])
    called = set(table.loc[table["q_value"] < 0.05, "gene"])
    tested = planted & set(table["gene"])
    assert len(called & planted) >= 0.7 * len(tested) > 10
    assert len(called - planted) <= 2
    found = table[table["gene"].isin(planted)]
    assert found["log2_fc"].median() == pytest.approx(1.4, abs=0.3)
    assert (found["log2_fc"] > found["log2_fc_observed"]).all()
    null = table.loc[~table["gene"].isin(planted), "p_value"]
    assert (null < 0.05).mean() < 0.08
    assert table["nk_share"].between(0, 1).all()


def test_too_few_pairs_for_genes(induced):
    with pytest.raises(nk.errors.DesignError, match="too few"):
        nk.tl.contact_response(induced, min_own=100_000)
    with pytest.raises(ValueError, match="known: None"):
        nk.tl.contact_response(induced, by="nk_donor")
