from __future__ import annotations

import numpy as np
import pytest

import nkscore as nk
from nkscore._samples._matrices import counts_of
from nkscore.errors import DesignError, MissingKeyError
from nkscore.tl._states._explain import _parts_of_sum, _weights
from nkscore.tl._states._tumor_programs import (
    choose_programs,
    count_programs,
    match_programs,
    tumor_cells,
)

STEP = "tl.tumor_states"


def in_state(adata, name):
    return (adata.obs["tumor_state"] == name).to_numpy()


def test_genes_of_a_tumor_program_speak_for_it(stated):
    cells = in_state(stated, "cycling")
    why = nk.tl.explain_state(stated, cells, compartment="tumor", states="cycling")
    assert set(why["state"]) == {"cycling"}
    assert (why["n_cells"] == cells.sum()).all()
    assert why["log_odds"].sum() > 3
    others = in_state(stated, "baseline")
    against = nk.tl.explain_state(stated, others, compartment="tumor", states="cycling")
    assert against["log_odds"].sum() < -3
    first = why.iloc[0]
    counts = stated[cells, first["gene"]].layers["counts"].toarray()
    assert first["count"] == pytest.approx(counts.mean())
    assert first["count"] > first["expected"]


def test_expected_counts_are_those_of_the_call(stated):
    chosen, _ = choose_programs(None, None)
    cells = tumor_cells(stated, "tumor", "lane", min_cells=20)
    genes = match_programs(stated.var_names, chosen, needed=set())
    counts = count_programs(stated, counts_of(stated), cells, genes)
    data = counts.of("cycling")
    book = stated.uns["nkscore"][STEP]["levels"]
    level = book[book["program"] == "cycling"]["baseline_level"].to_numpy()
    chosen_cell = 7
    why = nk.tl.explain_state(
        stated, stated.obs_names[cells.rows[chosen_cell]], compartment="tumor", states="cycling"
    )
    # Summed counts are weighted and scaled so that the sum of their weights tells nothing else.
    levels = counts.levels
    weight = _weights(levels, genes.columns["cycling"])[data.line[chosen_cell]]
    assert list(stated.var_names[genes.columns["cycling"]]) != list(why["gene"])
    why = why.set_index("gene").loc[stated.var_names[genes.columns["cycling"]]]
    expected = data.expected[chosen_cell] * level[data.line[chosen_cell]]
    assert (weight * why["expected"]).sum() == pytest.approx(expected, rel=1e-6)
    assert (weight * why["count"]).sum() == pytest.approx(data.x[chosen_cell])


def test_parts_add_up_to_the_evidence_of_the_sum():
    """One cell, two genes, 3 and 1 counts where 2 and 2 are usual; fold 2, dispersion 1/2."""
    parts = _parts_of_sum(np.array([[3.0, 1.0]]), np.array([[2.0, 2.0]]), 2.0, np.array([[0.5]]))
    # log(8 / 4) - log((1 + 4) / (1 + 2)) per count; 2 log(5 / 3) in all against.
    per_count, against = np.log(2) - np.log(5 / 3), 2 * np.log(5 / 3)
    np.testing.assert_allclose(parts, [[3 * per_count - against / 2, per_count - against / 2]])


def test_only_programs_that_were_found_are_explained(stated):
    levels = stated.uns["nkscore"][STEP]["levels"]
    why = nk.tl.explain_state(stated, in_state(stated, "cycling"), compartment="tumor")
    found = set(levels.loc[levels["supported"], "program"])
    assert set(why["state"]) == found
    absent = sorted(set(levels["program"]) - found)
    assert absent
    with pytest.raises(MissingKeyError, match=f"There is no state {absent[0]}; there are"):
        nk.tl.explain_state(
            stated, in_state(stated, "cycling"), compartment="tumor", states=absent[0]
        )


def test_clear_errors(stated):
    tumor = in_state(stated, "cycling")
    with pytest.raises(ValueError, match="compartment is 'other'; 'nk' or 'tumor'"):
        nk.tl.explain_state(stated, tumor, compartment="other")
    with pytest.raises(ValueError, match="The mask has 3 entries"):
        nk.tl.explain_state(stated, [True, False, True])
    with pytest.raises(DesignError, match="another compartment"):
        nk.tl.explain_state(stated, tumor, compartment="nk")
    genes = stated.uns["nkscore"][STEP]["genes"]
    lost = genes.loc[genes["program"] == "cycling", "gene"].iloc[0]
    fewer = stated[:, stated.var_names != lost].copy()
    with pytest.raises(MissingKeyError, match=f"no longer in the data, for example {lost}"):
        nk.tl.explain_state(fewer, tumor, compartment="tumor", states="cycling")
    bare = stated.copy()
    del bare.uns["nkscore"]
    with pytest.raises(MissingKeyError, match=r"tumor_states"):
        nk.tl.explain_state(bare, tumor, compartment="tumor")
