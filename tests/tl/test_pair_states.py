"""States of the two cells of a pair, and which states are in contact."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError
from nkscore.tl._contacts._pair_fit import _log_score, arm_share
from nkscore.tl._contacts._pair_profiles import _log_nb


@pytest.fixture(scope="module")
def pairs():
    """Lanes in which activated NK cells are in contact five times as often."""
    planted = nk.datasets.Contacts(rate=0.15, states={"activated": 5.0})
    adata = nk.datasets.simulate_coculture(
        tumors=["K562", "697"],
        n_donors=2,
        n_cells_per_sample=450,
        n_genes=4000,
        doublets=0.1,
        contacts=planted,
        rng=3,
    )
    with warnings.catch_warnings(action="ignore"):
        nk.pp.qc(adata)
        nk.pp.demultiplex(adata)
        nk.pp.compartments(adata)
        nk.tl.nk_states(adata)
        nk.tl.tumor_states(adata)
    return adata


def test_states_of_both_cells(pairs):
    adata = pairs.copy()
    nk.tl.pair_states(adata)
    obs = adata.obs[adata.obs["truth_pair"].notna() & adata.obs["pair_nk_state"].notna()]
    assert len(obs) > 150
    best = adata.obsm["pair_nk_posterior"].loc[obs.index].idxmax(axis=1)
    right = (best == obs["truth_nk_state"].astype(str)).to_numpy()
    sure = (obs["pair_nk_state_confidence"] >= 0.8).to_numpy()
    assert right.mean() > 0.8
    assert right[sure].mean() > 0.9
    low = obs["pair_tumor_state"] == "low_myc_dormant_like"
    assert (obs.loc[low, "truth_tumor_state"] == "low_myc").mean() >= 0.7
    # Only pairs have a state, and posteriors are probabilities.
    assert adata.obs.loc[adata.obs["pair"].isna(), "pair_nk_state"].isna().all()
    assert (adata.obsm["pair_tumor_posterior"].dropna().sum(axis=1) - 1).abs().max() < 1e-9
    power = adata.uns["nkscore"]["tl.pair_states"]["power"]
    assert 0 < power["nk"] <= 1
    assert 0 < power["tumor"] <= 1


def test_a_stricter_call_changes_no_probability(pairs):
    adata = pairs.copy()
    nk.tl.pair_states(adata)
    again = pairs.copy()
    nk.tl.pair_states(again, min_confidence=0.99)
    one, two = adata.obs["pair_nk_state_confidence"], again.obs["pair_nk_state_confidence"]
    np.testing.assert_array_equal(one.to_numpy(), two.to_numpy())
    called = again.obs["pair_nk_state"].dropna() != "unassigned"
    assert (again.obs["pair_nk_state_confidence"].dropna()[called] >= 0.99).all()


def test_the_state_that_prefers_contact_is_found(pairs):
    table = nk.tl.contact_preferences(pairs).set_index("state")
    activated = table.loc["activated"]
    # Four samples: the interval is wide, but the planted ratio is in it and no state is above it.
    assert activated["ci_low"] < np.log2(5) < activated["ci_high"]
    assert activated["p_value"] < 0.1
    assert table["log2_odds_ratio"].idxmax() == "activated"
    assert activated["share_in_contact"] > 1.5 * activated["share_of_singles"]
    assert "unassigned" not in table.index
    tumor = nk.tl.contact_preferences(pairs, compartment="tumor")
    assert not (tumor["q_value"] < 0.01).any()


def test_fractions_of_an_arm_by_em():
    # Four pairs that say nothing follow the ten expected ones; sixty that say A win.
    likelihood = np.vstack([np.ones((4, 2)), np.tile([1.0, 1e-9], (60, 1))])
    share = arm_share(likelihood, np.array([0.2, 0.8]), 10.0)
    assert share[0] == pytest.approx(62 / 70, abs=1e-3)


def test_overconfident_likelihoods_score_best_at_a_lower_power():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    evidence = np.where(truth == 0, 1.0, -1.0) + rng.normal(0, 1, 4000)
    # The right log odds are 2 × evidence; counting each gene three times gives 6 ×.
    found = np.column_stack([3.0 * evidence, -3.0 * evidence])
    known = np.eye(2)[truth]
    prior = np.full((4000, 2), 0.5)
    scores = {p: _log_score(found, prior, known, p) for p in (0.15, 0.3, 0.6, 1.0)}
    assert max(scores, key=scores.get) == 0.3


def test_two_cells_add_up():
    from scipy import stats

    x = np.arange(40.0)
    own, other = np.full(40, 3.0), np.full(40, 4.0)
    found = _log_nb(x, own, other, 0.3 * other**2, np.array(0.5))
    size = 49 / (0.5 * 9 + 0.3 * 16)
    whole = stats.nbinom.logpmf(x.astype(int), size, size / (size + 7))
    np.testing.assert_allclose(np.diff(found), np.diff(whole) + np.log(x[1:]), rtol=1e-6)


def test_what_is_needed(pairs):
    adata = pairs.copy()
    del adata.obsm["nk_state_posterior"]
    with pytest.raises(MissingKeyError, match=r"tl\.nk_states"):
        nk.tl.pair_states(adata)
    with pytest.raises(ValueError, match="'nk' or 'tumor'"):
        nk.tl.contact_preferences(pairs, compartment="T cells")
    with pytest.raises(DesignError, match="two are needed"):
        nk.tl.contact_preferences(pairs, min_pairs=1000)
    one = pairs[pairs.obs["hashtag"] == pairs.obs["hashtag"].dropna().iloc[0]].copy()
    with pytest.raises(DesignError, match="one hashtag"):
        nk.tl.pair_states(one)
