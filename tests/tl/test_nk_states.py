from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, NkscoreWarning

STATES = ["resting", "adaptive", "activated", "type_i_ifn", "cytokine"]


def nk_cells(adata):
    return ((adata.obs["compartment"] == "nk") & adata.obs["qc_pass"]).to_numpy()


def called_states(adata):
    return adata.obs["nk_state"].astype(str)[nk_cells(adata)]


def test_planted_states_are_recovered(stated):
    state = called_states(stated)
    truth = stated.obs["truth_nk_state"].astype(str)[nk_cells(stated)]
    called = state != "unassigned"
    # Measured: 81 % called, 91 % of these right.
    assert called.mean() > 0.72
    assert (state == truth)[called].mean() > 0.87
    for name in STATES:
        assert (state == name)[called & (truth == name)].mean() > 0.7


def test_confidence_says_how_often_a_call_is_right(stated):
    cells = nk_cells(stated)
    state, truth = called_states(stated), stated.obs["truth_nk_state"].astype(str)[cells]
    confidence = stated.obs["nk_state_confidence"][cells]
    called = state != "unassigned"
    # Cells of at least 0.99: 99 % right; below 0.7: three in four.
    assert (state == truth)[called & (confidence > 0.99)].mean() > 0.97
    low = called & (confidence < 0.7)
    assert 0.5 < (state == truth)[low].mean() < 0.92


def test_no_state_is_found_where_none_was_planted(simulate):
    called = []
    for seed in range(3):
        adata = simulate(tumors=["697", "GDM1", "JURKAT"], nk_states=False, rng=seed)
        nk.tl.nk_states(adata)
        called.append((called_states(adata) != "unassigned").mean())
    # Measured: at most 1.4 % in 11 of 12 experiments; in one (seed 0) 16 % adaptive, where chance
    # made one state out of cells that differ by donor and depth only.
    assert np.median(called) < 0.02
    assert max(called) < 0.25


@pytest.mark.parametrize(("share", "other"), [(0.5, 0.09), (0.25, 0.18)])
def test_shallow_cells_lose_their_call_rather_than_change_it(stated, thinned, share, other):
    shallow = thinned(stated, share)
    nk.tl.nk_states(shallow)
    before, after = called_states(stated), called_states(shallow)
    was = before != "unassigned"
    lost = (after == "unassigned")[was].mean()
    changed = ((after != before) & (after != "unassigned"))[was].mean()
    # Measured at half the depth: 12 % lost, 6 % changed; at a quarter: 28 % and 13 %.
    assert changed < other
    assert lost > 1.5 * changed


def test_own_vocabulary(stated):
    adata = stated.copy()
    with pytest.warns(NkscoreWarning, match="incomplete"):
        nk.tl.nk_states(
            adata, vocabulary={"interferon": ["ISG15", "MX1", "OAS1", "IRF7", "NOTAGENE"],
                               "fresh": ["GZMK", "KLRC1", "KLRB1", "NCAM1"]}
        )  # fmt: skip
    assert list(adata.obs["nk_state"].cat.categories) == ["interferon", "fresh", "unassigned"]
    truth = adata.obs["truth_nk_state"].astype(str)
    interferon = truth[(adata.obs["nk_state"] == "interferon").to_numpy()]
    # The other cytokine states raise some of these genes too.
    assert (interferon == "type_i_ifn").mean() > 0.7


def test_shared_and_downward_genes_are_not_used(stated):
    adata = stated.copy()
    nk.tl.nk_states(
        adata,
        vocabulary={"a": ["ISG15", "MX1", "CD69", "CCL3-"], "b": ["CD69", "IFNG", "TNF"]},
    )
    markers = adata.uns["nkscore"]["tl.nk_states"]["markers"]
    assert sorted(markers["gene"]) == ["IFNG", "ISG15", "MX1", "TNF"]
    assert dict(zip(markers["gene"], markers["state"], strict=True)) == {
        "ISG15": "a", "MX1": "a", "IFNG": "b", "TNF": "b",
    }  # fmt: skip


def test_written_slots(stated):
    obs = stated.obs
    assert list(obs["nk_state"].cat.categories) == [*STATES, "unassigned"]
    cells = nk_cells(stated)
    assert obs["nk_state"][cells].notna().all()
    assert obs["nk_state"][~cells].isna().all()
    assert obs["nk_state_confidence"][~cells].isna().all()
    posterior = stated.obsm["nk_state_posterior"]
    assert list(posterior.columns) == STATES
    assert posterior[~cells].isna().all(axis=None)
    total = posterior[cells].sum(axis=1)
    assert total.between(0, 1 + 1e-9).all()
    called = cells & (obs["nk_state"] != "unassigned").to_numpy()
    np.testing.assert_allclose(
        posterior[called].max(axis=1), obs["nk_state_confidence"][called], atol=1e-12
    )
    assert (obs["nk_state_confidence"][called] >= 0.5).all()
    nk.schema.validate(stated, stage="nk_states")


def test_higher_least_confidence_only_takes_calls_away(stated):
    strict = stated.copy()
    nk.tl.nk_states(strict, min_confidence=0.9)
    before, after = called_states(stated), called_states(strict)
    kept = after != "unassigned"
    assert 0.3 < kept.mean() < (before != "unassigned").mean()
    assert (after == before)[kept].all()


def test_order_of_cells_and_genes_does_not_matter(stated, experiment):
    rng = np.random.default_rng(0)
    other = experiment[rng.permutation(experiment.n_obs), rng.permutation(experiment.n_vars)].copy()
    nk.tl.nk_states(other)
    pd.testing.assert_frame_equal(
        other.obsm["nk_state_posterior"].loc[stated.obs_names],
        stated.obsm["nk_state_posterior"], rtol=1e-6, atol=1e-8,
    )  # fmt: skip


def test_other_compartments_do_not_matter(stated, experiment):
    alone = experiment[(experiment.obs["compartment"] == "nk").to_numpy()].copy()
    nk.tl.nk_states(alone)
    pd.testing.assert_series_equal(
        alone.obs["nk_state"], stated.obs.loc[alone.obs_names, "nk_state"]
    )


def test_too_few_nk_cells(experiment):
    adata = experiment.copy()
    adata.obs["compartment"] = "tumor"
    adata.obs.iloc[:19, adata.obs.columns.get_loc("compartment")] = "nk"
    adata.obs["qc_pass"] = True
    with pytest.raises(DesignError, match=r"19 NK cells passed QC; at least 20"):
        nk.tl.nk_states(adata)
    nk.tl.nk_states(adata, min_cells=19)
    assert adata.obs["nk_state"].notna().sum() == 19


def test_compartments_are_needed(experiment):
    adata = experiment.copy()
    del adata.obs["compartment"]
    with pytest.raises(MissingKeyError, match=r"compartment.*pp\.compartments"):
        nk.tl.nk_states(adata)


def test_markers_must_be_in_the_data(experiment):
    with pytest.raises(GeneCoverageError, match="have too few of their genes"):
        nk.tl.nk_states(experiment[:, :300].copy())


@pytest.mark.filterwarnings("ignore::nkscore.errors.NkscoreWarning")
def test_real_interferon_response(kang):
    adata = kang.copy()
    is_nk = (adata.obs["cell_type"] == "NK").to_numpy()
    adata.obs["compartment"] = np.where(is_nk, "nk", "other")
    nk.tl.nk_states(adata)
    found = (adata.obs["nk_state"] == "type_i_ifn").to_numpy()
    stimulated = (adata.obs["condition"] == "stim").to_numpy()
    # Measured: 74 of 77 stimulated and 5 of 70 control NK cells.
    assert found[is_nk & stimulated].mean() >= 0.9
    assert found[is_nk & ~stimulated].mean() < 0.1
