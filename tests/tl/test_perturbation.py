"""Pooled knock-outs: planted effects are found, guides are units, nothing comes of nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, sparse
from scipy import stats as scipy_stats

import nkscore as nk
from nkscore import pp, stats, tl
from nkscore.errors import DesignError, MissingKeyError, NkscoreWarning, WrongScaleError
from nkscore.tl._genes._responders import _controls_of

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "papalexi_eccite_thp1"
#: Genes that the knock-outs change: T0 in both arms, T1 with NK cells only, T2 nothing.
CHANGED = slice(0, 10)


def _screen(
    *,
    n_cells=3000,
    n_genes=120,
    n_guides=3,
    n_controls=6,
    guide_sd=0.0,
    effect=1.0,
    seed=0,
    responding=1.0,
    batch_sd=0.3,
):
    rng = np.random.default_rng(seed)
    targets = ["T0", "T1", "T2", "non-targeting"]
    guides = [f"{t}g{k}" for t in targets[:3] for k in range(n_guides)]
    guides += [f"NTg{k}" for k in range(n_controls)]
    of_guide = [t for t in targets[:3] for _ in range(n_guides)] + ["non-targeting"] * n_controls
    guide = rng.integers(0, len(guides), n_cells)
    target = np.array(of_guide, dtype=object)[guide]
    # Guides are not spread evenly over donors, as clones are not.
    odds = rng.dirichlet([3, 3, 3], len(guides))
    donor = np.array([rng.choice(3, p=odds[g]) for g in guide])
    nk = rng.integers(0, 2, n_cells).astype(bool)
    level = rng.normal(1.0, 0.7, n_genes) + np.zeros((n_cells, n_genes))
    level += rng.normal(0, batch_sd, (3, n_genes))[donor]
    level += rng.normal(0, guide_sd, (len(guides), n_genes))[guide]
    level[:, 20:40] += 0.8 * nk[:, None]
    responds = rng.random(n_cells) < responding
    level[:, CHANGED] -= effect * ((target == "T0") & responds)[:, None]
    level[:, CHANGED] += effect * ((target == "T1") & nk)[:, None]
    rate = np.exp(level) * rng.lognormal(0, 0.25, (n_cells, 1))
    adata = anndata.AnnData(
        obs=pd.DataFrame(
            {
                "perturbation": target,
                "guide": np.array(guides, dtype=object)[guide],
                "nk_donor": np.array(["D1", "D2", "D3"], dtype=object)[donor],
                "condition": np.where(nk, "coculture", "tumor_mono").astype(object),
                "responds": responds,
            },
            index=[f"c{i}" for i in range(n_cells)],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )
    adata.layers["counts"] = sparse.csr_matrix(rng.poisson(rate).astype(np.int32))
    return adata


@pytest.fixture(scope="module")
def screen():
    """Three targets of three guides; do not change in a test."""
    return _screen()


def _part(table, target, contrast):
    rows = (table["target"] == target) & (table["contrast"] == contrast)
    return table[rows].set_index("gene")


OPTIONS = {"replicate": "nk_donor", "condition": "condition"}


# --- replicates are taken out


def test_sums_without_replicates_by_hand():
    # One gene of two; unit 0 has three times as many cells in replicate 1, which has twice as much.
    library = np.array([100.0, 300.0, 300.0, 100.0])
    gene = library * np.array([0.1, 0.2, 0.1, 0.2])
    counts = np.column_stack([gene, library - gene]) * 1000
    unit, replicate = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert (gene[:2].sum(), gene[2:].sum()) == (70.0, 50.0)
    found = stats.without_replicates(counts, unit, replicate)
    np.testing.assert_allclose(found[0, 0], found[1, 0], rtol=1e-3)
    np.testing.assert_allclose(found[:, 0].sum(), 120_000, rtol=0.01)


def test_one_replicate_leaves_sums_as_they_are():
    counts = np.arange(12.0).reshape(4, 3)
    found = stats.without_replicates(counts, np.array([0, 0, 1, 1]), np.zeros(4, dtype=int))
    np.testing.assert_array_equal(found, [counts[:2].sum(axis=0), counts[2:].sum(axis=0)])


def test_means_without_replicates_are_those_of_two_way_least_squares():
    rng = np.random.default_rng(0)
    unit, replicate = np.repeat(np.arange(5), 3), np.tile(np.arange(3), 5)
    weight = rng.integers(1, 50, (15, 1)).astype(float)
    value = rng.normal(size=(15, 2)) + replicate[:, None]
    level, total = stats.means_without_replicates(value, weight, unit, replicate)
    design = np.column_stack([unit[:, None] == np.arange(5), replicate[:, None] == [1, 2]])
    root = np.sqrt(weight)
    expected = np.linalg.lstsq(root * design, root * value, rcond=None)[0][:5]
    np.testing.assert_allclose(level - level[0], expected - expected[0], atol=1e-7)
    np.testing.assert_allclose(total[:, 0], np.bincount(unit, weight[:, 0]))


def test_a_replicate_without_the_gene_counts_as_half_a_count():
    """Unit 0 in both replicates, unit 1 in the first only; the gene is not seen in the second."""
    unit, replicate = np.array([0, 0, 1]), np.array([0, 1, 0])
    gene = np.array([10.0, 0.0, 5.0])
    found = stats.without_replicates(np.column_stack([gene, 100 - gene]), unit, replicate)

    # Of 300 counts in all, those of the replicates' factors are 200 and 100.
    def excess(first):
        second = 3 - 2 * first
        of_unit_0, of_unit_1 = 10 / (first + second), 5 / first
        seen, unseen = 15.5 / (of_unit_0 + of_unit_1 + 0.5), 0.5 / (of_unit_0 + 0.5)
        return first * unseen - second * seen

    first = optimize.brentq(excess, 0.5, 1.499)
    np.testing.assert_allclose(found[:, 0], [20 / (3 - first), 5 / first], rtol=1e-4)


def test_degrees_of_freedom_of_the_interaction():
    """Two guides each of a target and the controls: two differences in two groups leave two."""
    unit = np.array(["a", "b", "c", "d"] * 2, dtype=object)
    target = np.array(["T", "T", "non-targeting", "non-targeting"] * 2, dtype=object)
    treated = np.repeat([False, True], 4)
    design = stats.interaction_design(target, unit, treated, "non-targeting")
    assert design.df_residual == 2
    assert design.df_residual == 8 - np.linalg.matrix_rank(design.matrix)
    one = np.isin(unit, ["a", "c"])
    with pytest.raises(DesignError, match="no residual degree of freedom for the interaction"):
        stats.interaction_design(target[one], unit[one], treated[one], "non-targeting")


def test_counting_cells_is_the_least_error():
    """Guides of a target lose alike: what is left is the error of counting, by hand."""
    cells = {("Tg1", "on"): 50, ("Tg2", "on"): 50}
    rows = [
        (guide, arm)
        for guide in ("Tg1", "Tg2", "NTg1", "NTg2")
        for arm in ("on", "off")
        for _ in range(cells.get((guide, arm), 100))
    ]
    obs = pd.DataFrame(rows, columns=["guide", "arm"], index=[f"c{i}" for i in range(len(rows))])
    obs["perturbation"] = np.where(obs["guide"].str.startswith("NT"), "non-targeting", "T")
    adata = anndata.AnnData(obs=obs)
    found = tl.guide_abundance(
        adata, condition="arm", treated="on", control_condition="off", replicate=None
    ).iloc[0]
    np.testing.assert_allclose(found["log2_fc"], np.log2(50.5 / 100.5))
    variance = (1 / 50.5 + 1 / 100.5) / 2 + (2 / 100.5) / 2
    np.testing.assert_allclose(found["se"], np.sqrt(variance) / np.log(2))


def test_effect_in_standard_deviations_by_hand():
    guide = np.repeat(["Tg1", "Tg2", "NTg1", "NTg2"], 10)
    score = np.tile([0.0, 2.0], 20) + np.repeat([3.0, 4.0, 0.0, 1.0], 10)
    named = np.where(np.arange(40) < 20, "T", "non-targeting")
    obs = pd.DataFrame({"guide": guide, "score": score, "perturbation": named})
    adata = anndata.AnnData(obs=obs.set_axis([f"c{i}" for i in range(40)]))
    found = tl.perturbation_scores(adata, ["score"], replicate=None).iloc[0]
    # 40 squares of 1 within four guides.
    np.testing.assert_allclose([found["effect"], found["effect_sd"]], [3, 3 / np.sqrt(40 / 36)])


# --- effects on genes


def test_planted_effects_and_their_interaction(screen):
    table = tl.perturbation_response(screen, **OPTIONS)
    size = 1 / np.log(2)
    planted = {
        ("T0", "tumor_mono"): -size,
        ("T0", "coculture"): -size,
        ("T0", "interaction"): 0.0,
        ("T1", "tumor_mono"): 0.0,
        ("T1", "coculture"): size,
        ("T1", "interaction"): size,
        ("T2", "tumor_mono"): 0.0,
        ("T2", "coculture"): 0.0,
        ("T2", "interaction"): 0.0,
    }
    genes = [f"gene{i}" for i in range(10)]
    for (target, contrast), truth in planted.items():
        part = _part(table, target, contrast).loc[genes]
        assert abs(part["log2_fc"].mean() - truth) < 0.15, (target, contrast)
        inside = (part["ci_low"] < truth) & (truth < part["ci_high"])
        assert inside.mean() >= 0.7, (target, contrast)
        if truth:
            assert (part["q_value"] < 0.01).all()
        else:
            assert (part["q_value"] > 0.05).all()
    others = table[~table["gene"].isin(genes)]
    # What NK cells induce in all cells alike is no effect of a knock-out.
    assert (others["q_value"] < 0.05).mean() < 0.01
    assert list(dict.fromkeys(table["contrast"])) == ["tumor_mono", "coculture", "interaction"]
    assert table.groupby("target")["n_guides"].first().to_dict() == {"T0": 3, "T1": 3, "T2": 3}


def test_without_arms_there_is_one_contrast(screen):
    table = tl.perturbation_response(screen, replicate="nk_donor")
    assert set(table["contrast"]) == {"knockout"}
    assert (table["n_cells"] > 300).all()
    assert (table["n_guides_control"] == 6).all()


def test_uneven_donors_do_not_pass_for_effects():
    """Guides lie in different donors, whose genes differ; nothing is planted."""
    adata = _screen(effect=0.0, batch_sd=1.0, seed=3)
    table = tl.perturbation_response(adata, replicate="nk_donor")
    assert (table["p_value"] < 0.05).mean() < 0.08
    blind = tl.perturbation_response(adata, replicate=None)
    assert blind["se"].median() > 1.5 * table["se"].median()


@pytest.mark.parametrize(("unit", "honest"), [("guide", True), ("guide_replicate", False)])
def test_guides_that_differ_are_no_effect_of_their_target(unit, honest):
    """Where guides have effects of their own, each guide × donor is not a unit of its own."""
    p = []
    for seed in range(4):
        adata = _screen(effect=0.0, guide_sd=0.3, seed=seed, n_cells=6000)
        table = tl.perturbation_response(adata, replicate="nk_donor", unit=unit)
        p.append(table["p_value"].to_numpy())
    rate = (np.concatenate(p) < 0.05).mean()
    assert (rate < 0.08) == honest


def test_null_p_values_are_uniform():
    p = np.concatenate(
        [
            tl.perturbation_response(_screen(effect=0.0, guide_sd=0.1, seed=s), **OPTIONS)[
                "p_value"
            ]
            for s in range(10, 16)
        ]
    )
    assert scipy_stats.kstest(p, "uniform").statistic < 0.05
    assert 0.03 < (p < 0.05).mean() < 0.07


def test_replicates_serve_where_targets_have_one_guide():
    adata = _screen(n_guides=1, n_controls=2, n_cells=2000)
    with pytest.raises(DesignError, match=r"has one guide.*unit='replicate'"):
        tl.perturbation_response(
            adata[~adata.obs["guide"].isin(["NTg1"]).to_numpy()].copy(), replicate="nk_donor"
        )
    table = tl.perturbation_response(adata, **OPTIONS, unit="replicate")
    part = _part(table, "T1", "interaction")
    assert (part.loc[[f"gene{i}" for i in range(10)], "q_value"] < 0.05).mean() > 0.7
    assert (table.loc[table["target"] == "T2", "q_value"] < 0.05).mean() < 0.03


def test_order_of_cells_and_genes_does_not_matter(screen):
    rng = np.random.default_rng(1)
    cells = screen[rng.permutation(screen.n_obs)].copy()
    mixed = cells[:, rng.permutation(screen.n_vars)].copy()
    first = tl.perturbation_response(screen, **OPTIONS)
    second = tl.perturbation_response(mixed, **OPTIONS)
    keys = ["contrast", "target", "gene"]
    pd.testing.assert_frame_equal(
        first.sort_values(keys, ignore_index=True),
        second.sort_values(keys, ignore_index=True),
        rtol=1e-5,
    )


def test_cells_without_guide_or_quality_take_no_part(screen):
    adata = anndata.concat([screen, screen[:500]], index_unique="-")
    adata.obs["qc_pass"] = True
    adata.obs.loc[adata.obs_names[3000:3200], "qc_pass"] = False
    adata.obs.loc[adata.obs_names[3200:], ["perturbation", "guide"]] = None
    pd.testing.assert_frame_equal(
        tl.perturbation_response(adata, **OPTIONS), tl.perturbation_response(screen, **OPTIONS)
    )


# --- scores and states


def test_scores_and_fractions_of_states(screen):
    adata = screen.copy()
    rng = np.random.default_rng(0)
    nk = (adata.obs["condition"] == "coculture").to_numpy()
    t1 = (adata.obs["perturbation"] == "T1").to_numpy()
    noise = rng.normal(size=(adata.n_obs, 2))
    adata.obsm["scores"] = pd.DataFrame(
        {"core": noise[:, 0] + nk - 0.5 * (t1 & nk) + 1e6, "other": noise[:, 1]},
        index=adata.obs_names,
    )
    table = tl.perturbation_scores(adata, **OPTIONS)
    rows = table.set_index(["contrast", "target", "score"])
    assert abs(rows.loc[("interaction", "T1", "core"), "effect"] + 0.5) < 0.2
    assert rows.loc[("interaction", "T1", "core"), "q_value"] < 0.01
    assert abs(rows.loc[("coculture", "T1", "core"), "effect_sd"] + 0.5) < 0.2
    unchanged = rows.drop([("interaction", "T1", "core"), ("coculture", "T1", "core")])
    assert (unchanged["q_value"] > 0.05).all()
    state = np.where(rng.random(adata.n_obs) < np.where(t1, 0.6, 0.3), "activated", "resting")
    adata.obs["nk_state"] = pd.Categorical(state)
    part = tl.perturbation_scores(adata, ["nk_state"], replicate="nk_donor")
    part = part.set_index(["target", "score"])
    assert abs(part.loc[("T1", "nk_state: activated"), "effect"] - 0.3) < 0.06
    assert part.loc[("T0", "nk_state: activated"), "q_value"] > 0.05


def test_null_p_values_of_scores_are_uniform():
    rng = np.random.default_rng(5)
    adata = _screen(n_genes=20)
    values = rng.normal(size=(adata.n_obs, 150))
    values += rng.normal(0, 0.2, (15, 150))[pd.factorize(adata.obs["guide"], sort=True)[0]]
    adata.obsm["scores"] = pd.DataFrame(
        values, index=adata.obs_names, columns=[f"s{i}" for i in range(150)]
    )
    p = tl.perturbation_scores(adata, replicate="nk_donor")["p_value"]
    assert scipy_stats.kstest(p, "uniform").statistic < 0.08
    assert (p < 0.05).mean() < 0.08


# --- abundance


def _pool(*, kept=1.0, sd=0.0, seed=0, n=400):
    """Cells of three donors; of T1's guides a share survives NK cells."""
    rng = np.random.default_rng(seed)
    rows = []
    for target in ("T0", "T1", "non-targeting"):
        for k in range(4):
            shift = np.exp(rng.normal(0, sd))
            for donor in ("D1", "D2", "D3"):
                size = n * rng.lognormal(0, 0.3)
                before = rng.poisson(size)
                after = rng.poisson(0.5 * size * shift * (kept if target == "T1" else 1.0))
                rows += [(target, f"{target}g{k}", donor, "tumor_mono")] * before
                rows += [(target, f"{target}g{k}", donor, "coculture")] * after
    obs = pd.DataFrame(rows, columns=["perturbation", "guide", "nk_donor", "condition"])
    obs.index = obs.index.astype(str)
    return anndata.AnnData(obs=obs, var=pd.DataFrame(index=["ACTB"]))


@pytest.mark.parametrize("unit", ["guide", "replicate", "guide_replicate"])
def test_killed_knockouts_lose_their_share(unit):
    table = tl.guide_abundance(_pool(kept=0.5), replicate="nk_donor", unit=unit)
    assert list(table["target"]) == ["T1", "T0"]
    first, second = table.iloc[0], table.iloc[1]
    assert first["ci_low"] < -1.0 < first["ci_high"]
    assert first["q_value"] < 1e-3
    assert second["ci_low"] < 0.0 < second["ci_high"]
    again = 2 * scipy_stats.t.sf(table["t"].abs(), table["df_total"])
    np.testing.assert_allclose(again, table["p_value"], rtol=1e-12)
    assert first["n_units"] == {"guide": 4, "replicate": 3, "guide_replicate": 12}[unit]


def test_clones_do_not_pass_for_selection():
    """Guides grow or shrink by chance: with cells as units, nearly all would be significant."""
    p = np.concatenate(
        [
            tl.guide_abundance(_pool(sd=0.5, seed=s, n=60), replicate="nk_donor")["p_value"]
            for s in range(15)
        ]
    )
    assert (p < 0.05).mean() < 0.12
    assert scipy_stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_guide_lost_in_one_arm_counts():
    adata = _pool(n=60)
    lost = adata.obs["guide"].isin(["T1g0", "T1g1", "T1g2", "T1g3"]) & (
        adata.obs["condition"] == "coculture"
    )
    table = tl.guide_abundance(adata[~lost.to_numpy()].copy(), replicate="nk_donor")
    assert table.iloc[0]["target"] == "T1"
    assert table.iloc[0]["log2_fc"] < -3


def test_arms_without_common_replicates_are_summed():
    adata = _pool(kept=0.5)
    adata.obs["sample"] = adata.obs["nk_donor"] + adata.obs["condition"]
    assert tl.guide_abundance(adata).iloc[0]["q_value"] < 1e-3
    with pytest.raises(DesignError, match="no replicate in common"):
        tl.guide_abundance(adata, unit="replicate")


# --- responders


@pytest.mark.parametrize("use_rep", [None, "X_pca"])
def test_responders_are_the_cells_that_change(use_rep):
    adata = _screen(effect=1.5, responding=0.6, n_genes=300)
    pp.normalize(adata)
    adata.obsm["X_pca"] = adata.X[:, 100:120].toarray()
    tl.responders(adata, replicate="nk_donor", use_rep=use_rep)
    own = (adata.obs["perturbation"] == "T0").to_numpy()
    called = (adata.obs["responder"] == "responder").to_numpy()
    truth = adata.obs["responds"].to_numpy()
    assert (called == truth)[own].mean() > 0.95
    kinds = adata.obs.groupby("perturbation", observed=True)["responder"].agg(set)
    assert kinds["non-targeting"] == {"control"}
    assert kinds["T2"] == {"non-responder"}
    book = adata.uns["nkscore"]["responder"]["targets"].set_index("target")
    assert abs(book.loc["T0", "share"] - 0.6) < 0.06
    assert (
        adata.obs["responder_probability"].isna().sum()
        == (adata.obs["perturbation"] == "non-targeting").sum()
    )


def test_weak_effects_leave_cells_unassigned(caplog):
    """Sure on average, an effect may be too weak to tell one cell from another."""
    adata = _screen(effect=0.3, n_genes=300, n_cells=8000)
    pp.normalize(adata)
    with caplog.at_level(logging.WARNING, "nkscore"):
        tl.responders(adata, replicate="nk_donor")
    table = adata.uns["nkscore"]["responder"]["targets"].set_index("target")
    assert table.loc["T0", "n_genes"] >= 5
    assert 0 < table.loc["T0", "separation"] < 2
    assert np.isnan(table.loc["T2", "separation"])
    kinds = adata.obs.groupby("perturbation", observed=True)["responder"].agg(set)
    assert kinds["T0"] == {"unassigned"}
    assert kinds["T2"] == {"non-responder"}
    assert "left unassigned: T0" in caplog.text
    # The probabilities are there for who wants another limit.
    own = (adata.obs["perturbation"] == "T0").to_numpy()
    assert adata.obs.loc[own, "responder_probability"].max() > 0.5
    tl.responders(adata, replicate="nk_donor", min_separation=0.0, key_added="any")
    called = (adata.obs["any"] == "responder")[own].mean()
    assert called > 0.3


def test_a_mixture_of_nothing_has_no_responders():
    rng = np.random.default_rng(0)
    found = stats.responder_mixture(rng.normal(size=(400, 12)), rng.normal(size=(600, 12)))
    assert (found.probability > 0.9).mean() < 0.1
    assert abs(found.control_position.mean()) < 1e-9


def test_probability_rises_along_the_effect():
    rng = np.random.default_rng(1)
    shift = np.where(rng.random(500) < 0.5, 2.0, 0.0)[:, None]
    found = stats.responder_mixture(rng.normal(size=(500, 8)) + shift, rng.normal(size=(500, 8)))
    order = np.argsort(found.position)
    assert (np.diff(found.probability[order]) >= 0).all()
    assert abs(found.share - 0.5) < 0.07


# --- similarity


def test_similarity_is_that_of_the_true_effects():
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 0.5, 2000)
    truth = {"A": effect, "B": 0.6 * effect + 0.8 * rng.normal(0, 0.5, 2000), "C": 0.0 * effect}
    shared = rng.normal(size=2000) * 0.5 / np.sqrt(2)
    parts = [
        pd.DataFrame(
            {
                "target": name,
                "gene": [f"g{i}" for i in range(2000)],
                "contrast": "knockout",
                "log2_fc": value + shared + rng.normal(size=2000) * 0.5 / np.sqrt(2),
                "se": 0.5,
                "n_units": 4,
                "n_units_control": 4,
            }
        )
        for name, value in truth.items()
    ]
    table = tl.perturbation_similarity(pd.concat(parts, ignore_index=True))
    pair = table.set_index(["target", "other"])
    assert abs(pair.loc[("A", "B"), "correlation"] - 0.6) < 0.1
    assert pair.loc[("A", "B"), "ci_low"] < 0.6 < pair.loc[("A", "B"), "ci_high"]
    assert (pair["correlation_by_controls"] == 0.5).all()
    # Estimates of a target without effect are correlated by the controls alone.
    observed = pair.loc[("A", "C"), "correlation_observed"]
    assert observed > 0.25
    assert pair.loc[("A", "C"), "ci_low"] < 0 < pair.loc[("A", "C"), "ci_high"]


def test_similarity_of_planted_knockouts():
    table = tl.perturbation_response(_screen(), replicate="nk_donor")
    found = tl.perturbation_similarity(table).set_index(["target", "other"])
    assert found.loc[("T0", "T1"), "correlation"] < -0.8
    with pytest.raises(DesignError, match=r"name one of them with contrast="):
        tl.perturbation_similarity(tl.perturbation_response(_screen(), **OPTIONS))
    with pytest.raises(DesignError, match="two or more can be compared"):
        tl.perturbation_similarity(table[table["target"] == "T0"])
    with pytest.raises(DesignError, match="genes in common; at least 10"):
        tl.perturbation_similarity(table, genes=["gene1", "gene2"])
    with pytest.raises(MissingKeyError, match="no column 'contrast'"):
        tl.perturbation_similarity(table.drop(columns="contrast"))


# --- errors


def test_errors_say_what_to_do(screen):
    def run(adata=screen, **options):
        return tl.perturbation_response(adata, **{"replicate": "nk_donor"} | options)

    with pytest.raises(MissingKeyError, match=r"no 'target'.*Run pp.assign_guides"):
        run(perturbation="target")
    with pytest.raises(MissingKeyError, match=r"no 'sample'.*give replicate=None"):
        tl.perturbation_response(screen)
    with pytest.raises(DesignError, match=r"No cell with a guide has 'NTC'"):
        run(control="NTC")
    with pytest.raises(DesignError, match=r"No cell with a guide has 'medium'"):
        run(condition="condition", treated="medium")
    with pytest.raises(DesignError, match="Both arms are 'coculture'"):
        run(condition="condition", control_condition="coculture")
    with pytest.raises(DesignError, match=r"one replicate.*unit='guide'"):
        run(replicate=None, unit="replicate")
    with pytest.raises(ValueError, match="Unknown unit 'cell'"):
        run(unit="cell")
    with pytest.raises(DesignError, match=r"fewer than 900 cells.*Lower min_cells"):
        run(min_cells=900)
    adata = screen.copy()
    adata.obs["guide"] = adata.obs["guide"].replace({"T1g0": "T0g0"})
    with pytest.raises(DesignError, match=r"Guide 'T0g0' has several targets \(T0, T1\)"):
        run(adata)
    adata.obs["perturbation"] = None
    with pytest.raises(DesignError, match=r"Run pp.assign_guides"):
        run(adata)


def test_guides_that_are_left_out_are_named(screen, caplog):
    adata = screen[(screen.obs["guide"] != "T2g1") | (np.arange(screen.n_obs) < 30)].copy()
    few = adata.obs["guide"].isin(["T1g0", "T1g1"])
    adata = adata[~few.to_numpy()].copy()
    with caplog.at_level(logging.WARNING, "nkscore"):
        table = tl.perturbation_response(adata, replicate="nk_donor")
    assert "fewer than 10 cells and are excluded: T2g1" in caplog.text
    assert "Only one guide: T1" in caplog.text
    assert table.groupby("target")["n_guides"].first().to_dict() == {"T0": 3, "T1": 1, "T2": 2}


def test_an_arm_without_replicates_is_named(screen):
    """Monocultures have no NK donor: naming that column would leave no cell of them."""
    adata = screen.copy()
    adata.obs["nk_donor"] = adata.obs["nk_donor"].where(adata.obs["condition"] == "coculture")
    with pytest.raises(DesignError, match=r"'nk_donor'\] is missing for all cells of 'tumor_mono'"):
        tl.perturbation_response(adata, **OPTIONS)


def test_errors_of_scores(screen):
    adata = screen.copy()
    with pytest.raises(MissingKeyError, match=r"Run tl.score first"):
        tl.perturbation_scores(adata, replicate="nk_donor")
    adata.obs["score"] = np.nan
    with pytest.raises(WrongScaleError, match="'score' is missing or infinite"):
        tl.perturbation_scores(adata, ["score"], replicate="nk_donor")
    adata.obsm["scores"] = np.zeros((adata.n_obs, 2))
    with pytest.raises(MissingKeyError, match="a DataFrame with named columns"):
        tl.perturbation_scores(adata, replicate="nk_donor")


def test_replicates_without_controls_cannot_be_judged(screen):
    adata = screen[
        (
            (screen.obs["nk_donor"] != "D1") | (screen.obs["perturbation"] != "non-targeting")
        ).to_numpy()
    ].copy()
    pp.normalize(adata)
    with pytest.raises(DesignError, match=r"'D1' has 0 control cells.*replicate=None"):
        tl.responders(adata, replicate="nk_donor")


def test_arms_and_controls_may_be_numbers(screen):
    adata = screen.copy()
    adata.obs["hours"] = np.where(adata.obs["condition"] == "coculture", 24.0, 0.0)
    adata.obs["knocked_out"] = (adata.obs["perturbation"] != "non-targeting").astype(int)
    named = {"condition": "hours", "treated": 24, "control_condition": 0, "replicate": "nk_donor"}
    numbers = tl.perturbation_response(adata, **named)
    assert numbers["contrast"].unique().tolist() == ["0", "24", "interaction"]
    words = tl.perturbation_response(adata, **OPTIONS)
    np.testing.assert_array_equal(numbers["log2_fc"], words["log2_fc"])
    assert len(tl.guide_abundance(adata, **named)) == 3
    found = tl.perturbation_scores(
        adata, ["hours"], perturbation="knocked_out", control=0, replicate="nk_donor"
    )
    assert found["target"].tolist() == ["1"]
    with pytest.raises(DesignError, match="condition is None"):
        tl.guide_abundance(adata, condition=None, replicate="nk_donor")


def test_quality_must_be_true_or_false(screen):
    adata = screen.copy()
    for wrong in ("False", np.nan, 0.5):
        adata.obs["qc_pass"] = pd.Series([wrong, *[True] * (adata.n_obs - 1)]).to_numpy()
        with pytest.raises(WrongScaleError, match=r"obs\['qc_pass'\] holds"):
            tl.perturbation_response(adata, replicate="nk_donor")
    adata.obs["qc_pass"] = 1.0
    assert len(tl.perturbation_response(adata, replicate="nk_donor"))


def test_confidence_is_a_share(screen):
    for run in (tl.perturbation_response, tl.guide_abundance):
        with pytest.raises(ValueError, match="confidence is 95; a share between 0 and 1"):
            run(screen, replicate="nk_donor", confidence=95)


def test_scores_that_cannot_be_tested_are_named(screen):
    adata = screen.copy()
    adata.obs["constant"] = 1.0
    adata.obs["noise"] = np.random.default_rng(0).normal(size=adata.n_obs)
    adata.obs["state"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 5, "on", None))

    def run(values):
        return tl.perturbation_scores(adata, values, replicate="nk_donor")

    with pytest.raises(DesignError, match=r"One value in all cells.*constant\. Give scores"):
        run(["constant"])
    with pytest.warns(
        NkscoreWarning, match=r"One value in all cells.*constant\. Skipped"
    ) as caught:
        both = run(["constant", "noise"])
    assert {item.filename for item in caught} == {__file__}
    pd.testing.assert_frame_equal(both, run(["noise"]))
    with pytest.raises(WrongScaleError, match="'state: on' is missing"):
        run(["state"])
    with pytest.raises(DesignError, match="'noise' is given twice"):
        run(["noise", "noise"])
    with pytest.raises(DesignError, match="No score is given"):
        run([])
    with pytest.raises(MissingKeyError, match=r"column of obs.*Give \['noise'\]"):
        run("noise")


def test_similarity_counts_units_and_takes_each_gene_once(screen):
    table = tl.perturbation_response(screen, replicate="nk_donor", unit="replicate")
    assert table["n_units"].unique().tolist() == [3]
    assert table["n_units_control"].unique().tolist() == [3]
    assert table["n_guides_control"].unique().tolist() == [6]
    found = tl.perturbation_similarity(table, n_bootstrap=10)
    np.testing.assert_allclose(found["correlation_by_controls"], 0.5)
    by_guides = tl.perturbation_response(screen, replicate="nk_donor")
    assert by_guides["n_units_control"].unique().tolist() == [6]
    with pytest.raises(DesignError, match=r"several rows for gene .*, target .*; one is needed"):
        tl.perturbation_similarity(pd.concat([table, table]))
    with pytest.raises(DesignError, match="have 1 genes in common"):
        tl.perturbation_similarity(table, genes="gene1")
    with pytest.raises(DesignError, match="None of the genes"):
        tl.perturbation_similarity(table, genes=["CD19"])
    with pytest.raises(ValueError, match="n_bootstrap is 0"):
        tl.perturbation_similarity(table, n_bootstrap=0)


def test_errors_of_responders(screen):
    adata = screen.copy()
    pp.normalize(adata)
    with pytest.raises(ValueError, match=r"'perturbation' would overwrite an input column"):
        tl.responders(adata, replicate="nk_donor", key_added="perturbation")
    adata.uns["nkscore"]["sample_sheet"] = pd.DataFrame({"sample": ["a"], "plate": ["P1"]})
    with pytest.raises(ValueError, match=r"'plate' would overwrite an input column or one of the"):
        tl.responders(adata, replicate="nk_donor", key_added="plate")
    with pytest.raises(ValueError, match="n_neighbors is 0"):
        tl.responders(adata, replicate="nk_donor", n_neighbors=0)
    adata.obsm["X_pca"] = np.full((adata.n_obs, 2), np.nan)
    with pytest.raises(WrongScaleError, match=r"'X_pca'\] is missing or infinite"):
        tl.responders(adata, replicate="nk_donor", use_rep="X_pca")


def test_each_cell_has_as_many_nearest_controls():
    pool = np.array([True] * 6 + [False] * 2)
    space = np.array([[0.0], [1], [2], [3], [4], [5], [0.1], [4.9]])
    adata = anndata.AnnData(obsm={"X_line": space})
    weights, _ = _controls_of(
        adata, np.arange(8), np.full(8, "D1"), pool, use_rep="X_line", n_neighbors=2
    )
    dense = weights.toarray()
    assert ((dense > 0).sum(axis=1) == 2).all()
    assert np.flatnonzero(dense[0]).tolist() == [1, 2]
    assert np.flatnonzero(dense[6]).tolist() == [0, 1]
    assert np.flatnonzero(dense[7]).tolist() == [4, 5]


# --- real cells


@pytest.fixture(scope="module")
def thp1():
    """Stimulated THP-1 cells with guides, called."""
    if not SHARED.exists():
        pytest.skip("../shared/data/papalexi_eccite_thp1 is not here")
    adata = anndata.read_h5ad(SHARED / "papalexi_20729x299_counts_110grna.h5ad")
    adata.layers["counts"] = adata.X.copy()
    names = [str(name) for name in adata.uns["grna_names"]]
    adata.obsm["guides"] = pd.DataFrame(
        adata.obsm["grna"].toarray(), index=adata.obs_names, columns=names
    )
    library = dict(zip(names, map(str, adata.uns["grna_target"]), strict=True))
    pp.assign_guides(adata, library=library)
    return adata


def test_real_knockouts_of_the_interferon_axis(thp1):
    table = tl.perturbation_response(thp1, replicate="bio_rep")
    rows = table.set_index(["target", "gene"])
    for target in ("IFNGR1", "IFNGR2", "JAK2", "STAT1"):
        for gene in ("STAT1", "PSMB9", "UBE2L6"):
            found = rows.loc[(target, gene)]
            assert found["log2_fc"] < -0.8
            assert found["q_value"] < 1e-10
    similar = tl.perturbation_similarity(
        table[table["target"].isin(["IFNGR1", "IFNGR2", "JAK2", "STAT1", "SMAD4"])]
    ).set_index(["target", "other"])["correlation"]
    assert similar[("IFNGR1", "JAK2")] > 0.9
    assert abs(similar[("IFNGR1", "SMAD4")]) < 0.5


def test_real_non_targeting_guides_do_not_differ(thp1):
    controls = thp1[(thp1.obs["perturbation"] == "non-targeting").to_numpy()].copy()
    guides = sorted(set(controls.obs["guide"].astype(str)))
    rng = np.random.default_rng(0)
    p = []
    for _ in range(12):
        chosen = rng.permutation(guides)[:3]
        fake = np.where(controls.obs["guide"].isin(chosen), "none", "non-targeting")
        controls.obs["fake"] = fake
        table = tl.perturbation_response(controls, perturbation="fake", replicate="bio_rep")
        p.append(table["p_value"].to_numpy())
        axis = table[table["gene"].isin(["STAT1", "PSMB9", "UBE2L6"])]
        assert (axis["q_value"] > 0.05).all()
    p = np.concatenate(p)
    assert scipy_stats.kstest(p, "uniform").statistic < 0.06
    assert 0.02 < (p < 0.05).mean() < 0.08


def test_real_controls_among_knockouts_are_no_responders(thp1):
    """Controls that are given out as knock-outs are non-responders for sure."""
    per = thp1.obs["perturbation"].astype(object).to_numpy()
    rng = np.random.default_rng(3)
    controls = rng.permutation(np.flatnonzero(per == "non-targeting"))
    target, guide = per.copy(), thp1.obs["guide"].astype(object).to_numpy().copy()
    planted = {}
    for i, name in enumerate(("STAT1", "IFNGR2", "JAK2", "SMAD4")):
        planted[name] = controls[i * 200 : (i + 1) * 200]
        target[planted[name]], guide[planted[name]] = name, f"{name} none"
    cells = np.flatnonzero(np.isin(target, ["non-targeting", *planted]))
    adata = thp1[cells].copy()
    adata.obs["perturbation"], adata.obs["guide"] = target[cells], guide[cells]
    pp.normalize(adata)
    tl.responders(adata, replicate="bio_rep")
    sure = pd.Series((adata.obs["responder_probability"] > 0.9).to_numpy(), index=cells)
    kind = pd.Series(adata.obs["responder"].astype(object).to_numpy(), index=cells)
    for name in ("STAT1", "IFNGR2", "JAK2"):
        own = np.setdiff1d(cells[target[cells] == name], planted[name])
        assert sure[planted[name]].mean() < 0.1
        assert sure[own].mean() > 0.5
    assert (kind[planted["STAT1"]] == "responder").mean() < 0.1
    assert (kind[planted["SMAD4"]] == "unassigned").all()


def test_what_was_excluded_stands_with_the_result():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    nk.datasets.use_truth(adata)
    i = np.arange(adata.n_obs)
    guide = np.array([f"{'JAK1' if k % 2 else 'NT'}g{k % 3}" for k in i], dtype=object)
    guide[:3] = "B2Mg1"
    guide[3:10] = None
    adata.obs["guide"] = guide
    target = ["non-targeting" if str(g).startswith("NT") else str(g)[:-2] for g in guide]
    adata.obs["perturbation"] = pd.Series(target, index=adata.obs_names).where(pd.notna(guide))
    table = nk.tl.perturbation_response(adata, replicate=None)
    assert table.attrs["left_out"] == [
        {"what": "guide", "name": "B2Mg1", "reason": "3 cells, 10 needed (min_cells)"},
        {"what": "target", "name": "B2M", "reason": "no guide has enough cells"},
    ]
    lost = pd.DataFrame(table.attrs["ledger"])
    cells = lost[lost["what"] == "cells"].set_index("reason")["n_lost"]
    assert cells.to_dict() == {
        "failed QC": int((~adata.obs["qc_pass"]).sum()),
        "no guide, replicate or condition": 7,
        "guide: fewer cells than min_cells": 3,
    }
    assert (
        (lost["n_in"] - lost.groupby(["step", "what"])["n_lost"].transform("sum"))
        .eq(lost["n_out"])
        .all()
    )
