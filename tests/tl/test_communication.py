from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError
from nkscore.tl._response._communication_pairs import line_differences

PAIR = ["nk_gene", "nk_partners", "tumor_gene"]


@pytest.fixture(scope="module")
def made(experiment):
    return nk.tl.communication(experiment)


def test_change_is_the_sum_of_both_responses(experiment, made):
    nk_side = nk.tl.interaction_response(experiment, "nk").set_index(["tumor", "gene"])
    tumor_side = nk.tl.interaction_response(experiment, "tumor").set_index(["tumor", "gene"])
    assert len(made) > 20
    for row in made.iloc[::7].itertuples():
        a = nk_side.loc[(row.tumor, row.limiting_gene)]
        b = tumor_side.loc[(row.tumor, row.tumor_gene)]
        assert row.log2_fc == pytest.approx(a["log2_fc"] + b["log2_fc"], rel=1e-6)
        assert row.se == pytest.approx(np.hypot(a["se"], b["se"]), rel=1e-6)
    assert (made["p_value"] > 0).all()
    assert ((made["ci_low"] < made["log2_fc"]) & (made["log2_fc"] < made["ci_high"])).all()


def test_planted_hla_response_is_found(made):
    pair = made[(made["tumor_gene"] == "HLA-E") & (made["limiting_gene"] == "KLRC1")]
    assert len(pair) >= 4
    # The planted rise of the ligand; the receptor falls as NK cells leave the resting states.
    assert (pair["log2_fc_tumor"] > 0.8).all()
    assert (pair["log2_fc"] < pair["log2_fc_tumor"] + 0.2).all()
    assert (made["q_value"] < 0.05).any()


def test_complexes_are_listed_once_and_take_the_rarest_subunit(experiment, made):
    keys = made[["tumor", "tumor_gene"]].assign(
        units=["+".join(sorted([r.nk_gene, *r.nk_partners.split(",")])) for r in made.itertuples()]
    )
    assert not keys.duplicated().any()
    wells = nk.tl.communication(experiment, level="sample")
    assert set(wells["limiting_gene"]) >= set(made["limiting_gene"])
    np.testing.assert_allclose(wells["score"], wells["nk_log2_cpm"] + wells["tumor_log2_cpm"])
    mean = wells.groupby(["tumor", *PAIR])["score"].mean()
    at = pd.MultiIndex.from_frame(made[["tumor", *PAIR]])
    np.testing.assert_allclose(mean.reindex(at), made["score"])
    assert wells["sample"].nunique() == 18


def test_line_difference_by_hand(made, experiment):
    wells = nk.tl.communication(experiment, level="sample")
    mean = wells.groupby(["tumor", *PAIR])["score"].mean().unstack("tumor")  # noqa: PD010
    for row in made.iloc[::11].itertuples():
        lines = mean.loc[(row.nk_gene, row.nk_partners, row.tumor_gene)]
        expected = lines[row.tumor] - lines.drop(row.tumor).mean()
        assert row.line_difference == pytest.approx(expected, abs=1e-8)


def test_q_values_cover_the_table(made):
    expected = stats.false_discovery_control(made["p_value"])
    np.testing.assert_allclose(made["q_value"], expected)


def test_lines_with_donors_of_their_own_are_compared():
    """Where no donor met two lines, donors are replicates: a plain comparison of means."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=(6, 40))
    samples = pd.DataFrame({"tumor": list("AAABBB"), "nk_donor": [f"d{i}" for i in range(6)]})
    nested = line_differences(score, samples, by="tumor", replicate="nk_donor")["A"]
    np.testing.assert_allclose(nested.effect, score[:3].mean(axis=0) - score[3:].mean(axis=0))
    # Donors that met both lines are matched, and their own levels cancel.
    crossed = samples.assign(nk_donor=["d0", "d1", "d2"] * 2)
    level = np.tile(rng.normal(size=(3, 1)) * 100, (2, 1))
    matched = line_differences(score + level, crossed, by="tumor", replicate="nk_donor")["A"]
    plain = line_differences(score, crossed, by="tumor", replicate="nk_donor")["A"]
    np.testing.assert_allclose(matched.p_value, plain.p_value, rtol=1e-6)


def test_order_of_cells_and_genes_does_not_matter(experiment, made):
    rng = np.random.default_rng(0)
    cells, genes = rng.permutation(experiment.n_obs), rng.permutation(experiment.n_vars)
    mixed = nk.tl.communication(experiment[cells][:, genes].copy())
    columns = ["tumor", *PAIR]
    a, b = made.set_index(columns).sort_index(), mixed.set_index(columns).sort_index()
    assert list(a.index) == list(b.index)
    for name in ("score", "log2_fc", "se", "line_difference"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-7)


def test_nothing_is_found_without_an_interaction(simulate):
    adata = simulate(null="all", rng=5)
    table = nk.tl.communication(adata)
    assert len(table) > 20
    assert (table["q_value"] < 0.05).mean() < 0.05
    assert (table["p_value"] < 0.05).mean() < 0.15


def test_ligands_of_nk_cells_are_flagged(simulate):
    adata = simulate(tumors=["697", "GDM1"], ambient=0.15)
    pairs = pd.DataFrame({"nk_gene": ["KLRC1", "CD2"], "tumor_gene": ["GNLY", "CD59"]})
    listed = nk.tl.communication(adata, pairs=pairs).set_index("tumor_gene")["ambient_suspect"]
    assert listed["GNLY"].all()
    assert not listed["CD59"].any()
    nk.pp.ambient(adata)
    measured = nk.tl.communication(adata, pairs=pairs).set_index("tumor_gene")
    assert (measured.loc["GNLY", "ambient_share"] > 0.8).all()
    assert measured["ambient_suspect"].equals(listed)


def test_states_are_scored_on_their_own(stated):
    table = nk.tl.communication(stated, state="nk_state", min_cells=5)
    assert "resting" in set(table["nk_state"])
    assert "unassigned" not in set(table["nk_state"])
    blank = stated.copy()
    blank.obs["own"] = pd.Categorical(
        np.where(blank.obs["condition"] == "coculture", "together", "alone")
    )
    with pytest.raises(DesignError, match=r"None of the NK states alone, together has enough"):
        nk.tl.communication(blank, state="own")


def test_errors(experiment):
    with pytest.raises(ValueError, match=r"engine='magic'"):
        nk.tl.communication(experiment, engine="magic")
    with pytest.raises(MissingKeyError, match="no column 'tumor_gene'"):
        nk.tl.communication(experiment, pairs=pd.DataFrame({"nk_gene": ["A"]}))
    nothing = pd.DataFrame({"nk_gene": ["A"], "tumor_gene": ["B"]})
    with pytest.raises(GeneCoverageError, match=r"None of 1 pairs"):
        nk.tl.communication(experiment, pairs=nothing)
    only_nk = experiment[experiment.obs["compartment"] == "nk"].copy()
    with pytest.raises(DesignError, match=r"compartment 'tumor'"):
        nk.tl.communication(only_nk)


# --- LIANA+


@pytest.fixture(scope="module")
def by_liana(experiment):
    pytest.importorskip("liana", reason="the extra 'communication' (liana) is not installed")
    few = experiment[experiment.obs["tumor"].isin(["697", "K562"]).to_numpy()]
    return few, nk.tl.communication(few, engine="liana", n_permutations=99)


def test_liana_has_no_p_of_zero(by_liana):
    few, made = by_liana
    cocultures = few.obs.loc[few.obs["condition"] == "coculture", "sample"]
    assert set(made["sample"]) == set(cocultures.astype(str))
    # Multiples of one in a hundred, the smallest of which is the observed order itself.
    assert made["p_value"].between(0.01, 1).all()
    np.testing.assert_allclose(made["p_value"] * 100, (made["p_value"] * 100).round(), atol=1e-6)
    assert (made["q_value"] >= made["p_value"]).all()


def test_liana_scores_are_means_of_both_sides(by_liana):
    """CellPhoneDB's score: mean of both genes' means of log1p per 10,000, 0 if either is silent."""
    few, made = by_liana
    sample = made["sample"].iloc[0]
    cells = few[(few.obs["sample"] == sample).to_numpy()]
    counts = cells.layers["counts"].toarray()
    logged = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    mean = {
        name: pd.Series(
            logged[(cells.obs["compartment"] == name).to_numpy()].mean(axis=0), index=few.var_names
        )
        for name in ("nk", "tumor")
    }
    here = made[(made["sample"] == sample) & (made["nk_partners"] == "")]
    sides = np.column_stack(
        [mean["nk"][here["nk_gene"]].to_numpy(), mean["tumor"][here["tumor_gene"]].to_numpy()]
    )
    expected = np.where((sides > 0).all(axis=1), sides.mean(axis=1), 0.0)
    assert len(here) > 10
    np.testing.assert_allclose(here["score"], expected, rtol=1e-4)


def test_liana_is_reproducible_and_ignores_the_order_of_cells(by_liana):
    few, made = by_liana
    mixed = few[np.random.default_rng(0).permutation(few.n_obs)]
    again = nk.tl.communication(mixed, engine="liana", n_permutations=99)
    pd.testing.assert_frame_equal(again, made, rtol=1e-5)


# --- cells, states and numbers that cannot be used


def test_no_well_with_both_kinds_of_cells(experiment):
    together = experiment.obs["condition"] == "coculture"
    first = experiment.obs["nk_donor"] == "NK1"
    is_nk = experiment.obs["compartment"] == "nk"
    twice = experiment[(~together | (first == is_nk)).to_numpy()].copy()
    for level in ("line", "sample"):
        with pytest.raises(DesignError, match=r"No sample of condition 'coculture' has 10 NK and"):
            nk.tl.communication(twice, level=level)
    with pytest.raises(ValueError, match="confidence is 95"):
        nk.tl.communication(experiment, confidence=95)


def test_states_that_are_numbers(stated):
    numbered = stated.copy()
    numbered.obs["own"] = (stated.obs["nk_state"] == "resting").astype(int)
    table = nk.tl.communication(numbered, state="own", min_cells=5)
    assert set(table["nk_state"]) == {"0", "1"}
