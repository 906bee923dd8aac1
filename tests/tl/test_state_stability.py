"""State calls when something beside the cell changes: other cells, genes, batches, seeds, raw.

A change is a call that becomes another state; a call that becomes ``unassigned``, or the reverse,
is counted apart. Measured shares stand beside the bounds, which leave room for another machine.
"""

from __future__ import annotations

from functools import cache

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk

pytestmark = pytest.mark.filterwarnings("ignore:.*incomplete in these data")
COMPARTMENT = {"nk_states": "nk", "tumor_states": "tumor", "map_reference": "nk"}


@pytest.fixture(scope="module")
def small(simulate):
    """Three lines, three donors; do not change in a test."""
    adata = simulate(tumors=["697", "GDM1", "JURKAT"], n_cells_per_sample=120, rng=41)
    return adata[adata.obs["qc_pass"].to_numpy()].copy()


@pytest.fixture(scope="module")
def beside(simulate):
    """A second batch: other donors, wells, lanes and depth."""
    adata = simulate(
        tumors=["697", "GDM1", "JURKAT"], n_cells_per_sample=60, median_umi=2500, rng=42
    )
    adata = adata[adata.obs["qc_pass"].to_numpy()].copy()
    adata.obs_names = [f"second_{name}" for name in adata.obs_names]
    for column in ("lane", "nk_donor", "sample"):
        adata.obs[column] = "second_" + adata.obs[column].astype(str)
    return adata


@pytest.fixture(scope="module")
def call(beside):
    """call(tool, adata) → the state of each cell of the compartment, by name."""

    def run(tool, adata):
        adata = adata.copy()
        if tool == "map_reference":
            nk.tl.map_reference(adata, beside, labels="truth_nk_state")
        else:
            getattr(nk.tl, tool)(adata)
        part = COMPARTMENT[tool]
        return adata.obs.loc[adata.obs["compartment"] == part, f"{part}_state"], adata

    return run


@pytest.fixture(scope="module")
def usual(of_tool, call):
    """Tool → states of the whole experiment; computed once."""
    return cache(lambda tool: call(tool, of_tool[tool]))


@pytest.fixture(scope="module")
def of_tool(small):
    """Tool → experiment; a mapped cell needs no others beside it, so a third will do there."""
    return dict.fromkeys(COMPARTMENT, small) | {"map_reference": small[::3].copy()}


def shares(before, after):
    """Share of cells with another state, and with a call gained or lost."""
    cells = before.index.intersection(after.index)
    assert len(cells) > 80
    was, now = before[cells].astype(str), after[cells].astype(str)
    named = (was != "unassigned") & (now != "unassigned")
    return (named & (was != now)).mean(), ((was != now) & ~named).mean()


TOOLS = pytest.mark.parametrize("tool", list(COMPARTMENT))


#: Shares of cells with another state, and with a call gained or lost, that are let through.
#: Measured 2026-11-22: nk_states 4.0 and 7.6 %, as the panels are learned from 240 cells in place
#: of 480; tumor_states 0 and 2.1 %; a mapped cell is judged by itself and the reference alone.
REMOVED = {"nk_states": (0.06, 0.11), "tumor_states": (0.01, 0.05), "map_reference": (0, 0)}
#: Measured: nk_states 1.4 and 8.7 %, tumor_states 0.2 and 0.4 %, map_reference 0.1 and 8.4 %.
GENES = {"nk_states": (0.03, 0.13), "tumor_states": (0.01, 0.02), "map_reference": (0.01, 0.12)}
#: Measured: nk_states 1.4 and 6.5 %, tumor_states 0.2 and 2.4 %.
BATCH = {"nk_states": (0.03, 0.10), "tumor_states": (0.01, 0.05), "map_reference": (0, 0)}


def within(before, after, bounds):
    changed, gained_or_lost = shares(before, after)
    assert changed <= bounds[0]
    assert gained_or_lost <= bounds[1]


@TOOLS
def test_half_of_the_cells_removed(of_tool, usual, call, tool):
    kept = np.random.default_rng(0).random(of_tool[tool].n_obs) < 0.5
    within(usual(tool)[0], call(tool, of_tool[tool][kept])[0], REMOVED[tool])


@TOOLS
@pytest.mark.filterwarnings(r"ignore:obsm\['dormancy'\] is not written")
def test_three_thousand_genes(of_tool, usual, call, tool):
    adata = of_tool[tool]
    total = np.asarray(adata.layers["counts"].sum(axis=0)).ravel()
    most = np.sort(np.argsort(-total, kind="stable")[:3000])
    within(usual(tool)[0], call(tool, adata[:, most])[0], GENES[tool])


@TOOLS
def test_a_second_batch_beside(of_tool, beside, usual, call, tool):
    both = ad.concat([of_tool[tool], beside])
    within(usual(tool)[0], call(tool, both)[0], BATCH[tool])


@TOOLS
def test_what_must_not_matter_at_all(usual, call, tool):
    """Other compartments, order of genes, raw, global random numbers, calls made before."""
    before, called = usual(tool)
    alone = called[(called.obs["compartment"] == COMPARTMENT[tool]).to_numpy()]
    adata = alone[:, np.random.default_rng(0).permutation(called.n_vars)].copy()
    adata.raw = ad.AnnData(
        sparse.csr_matrix(np.full((adata.n_obs, 2), -7.5)),
        obs=adata.obs[[]],
        var=pd.DataFrame(index=["GNLY", "MYC"]),
    )
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(123)  # noqa: NPY002
        found, after = call(tool, adata)
        drawn = np.random.random()  # noqa: NPY002
        np.random.seed(123)  # noqa: NPY002
        # No tool draws from the global numbers.
        assert drawn == np.random.random()  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    pd.testing.assert_series_equal(found, before)
    np.testing.assert_array_equal(after.raw.X.toarray(), -7.5)
    column = f"{COMPARTMENT[tool]}_state"
    assert list(after.uns[f"{column}_colors"]) == list(called.uns[f"{column}_colors"])


@TOOLS
def test_levels_and_colors(usual, tool):
    found, adata = usual(tool)
    column = f"{COMPARTMENT[tool]}_state"
    levels = list(found.cat.categories)
    assert levels[-1] == "unassigned"
    assert len(set(levels)) == len(levels)
    assert not found.cat.ordered
    colors = nk.pl.palette(column, levels)
    assert list(adata.uns[f"{column}_colors"]) == [colors[name] for name in levels]
    assert [key for key in adata.uns if key.endswith("_colors")] == [f"{column}_colors"]


@pytest.mark.parametrize(
    ("tool", "slot"), [("nk_states", "nk_state_posterior"), ("tumor_states", "tumor_programs")]
)
def test_order_of_cells_and_genes_does_not_matter(stated, experiment, tool, slot):
    rng = np.random.default_rng(0)
    other = experiment[rng.permutation(experiment.n_obs), rng.permutation(experiment.n_vars)].copy()
    getattr(nk.tl, tool)(other)
    found = other.obsm[slot].loc[stated.obs_names]
    pd.testing.assert_frame_equal(found, stated.obsm[slot], rtol=1e-6, atol=1e-8)
