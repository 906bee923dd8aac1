"""The joint model against limma, its minimum effect, and genes without counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nkscore.errors import DesignError
from nkscore.stats import (
    exact_zero_samples,
    expressed_genes,
    fit_linear,
    fit_response,
    moderated_test,
    response_design,
    squeeze_variances,
    without_zeros,
)
from nkscore.stats.linear._overdispersion import with_overdispersion


@pytest.fixture(scope="module")
def read(shared):
    folder = shared / "golden" / "limma"
    return lambda name: pd.read_csv(folder / name, index_col=0, float_precision="round_trip")


def _design(table, group):
    return response_design(
        (table["condition"] == "stim").to_numpy(),
        np.array(group, dtype=object),
        table["donor"].to_numpy(dtype=object),
    )


@pytest.fixture(scope="module")
def monocytes(read, shared):
    """Counts of the genes that limma kept, and the design, of CD14 monocytes."""
    kept = read("cd14_paired_filterByExpr.csv.gz")["by_design"] == 1
    meta = pd.read_csv(shared / "golden/limma/meta.csv", index_col=0)
    meta = meta[meta["cell_type"] == "CD14"]
    counts = read("counts.csv.gz").loc[kept, meta.index].to_numpy(dtype=float).T
    return counts, _design(meta, ["CD14"] * len(meta))


def _plain(monocytes, **options):
    counts, design = monocytes
    options = {"robust": False} | options
    return fit_response(
        counts, design, min_count=0, variance_trend=False, exact_zeros=False, **options
    )


def test_equals_limma(monocytes, read):
    golden = read("cd14_paired_conditionstim.csv.gz")
    table = _plain(monocytes)
    assert len(table) == len(golden)
    np.testing.assert_allclose(table["log2_fc"], golden["voom.logFC"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(table["t"], golden["voom.t"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table["p_value"], golden["voom.P.Value"], rtol=1e-6)


def test_minimum_effect_equals_treat_of_limma(monocytes, read):
    golden = read("cd14_paired_conditionstim.csv.gz")
    table = _plain(monocytes, min_log2_fc=np.log2(1.2))
    np.testing.assert_allclose(table["t"], golden["voom_treat.t"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table["p_value"], golden["voom_treat.P.Value"], rtol=1e-6)
    assert (table["p_value"] >= _plain(monocytes)["p_value"]).all()


def test_robust_variances_equal_limma(monocytes, read):
    golden = read("cd14_paired_conditionstim.csv.gz")
    table = _plain(monocytes, robust=True)
    np.testing.assert_allclose(table["t"], golden["voom_robust.t"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table["p_value"], golden["voom_robust.P.Value"], rtol=1e-5)
    fit = read("cd14_paired_fit.csv.gz")
    _, prior, df = squeeze_variances(
        fit["trend_pc3.sigma"].to_numpy() ** 2,
        np.full(len(fit), 7.0),
        covariate=golden["trend_pc3.AveExpr"].to_numpy(),
        robust=True,
    )
    np.testing.assert_allclose(df, fit["trend_pc3_robust.df.prior"], rtol=1e-6)
    np.testing.assert_allclose(prior, fit["trend_pc3_robust.s2.prior"], rtol=1e-6)


def test_a_gene_without_counts_in_a_type_is_no_finding(read, shared):
    """HESX1: no count in any CD4 T cell, yet plain voom gives its interaction 7e-14."""
    meta = pd.read_csv(shared / "golden/limma/meta.csv", index_col=0)
    counts = read("counts.csv.gz").loc[:, meta.index]
    assert counts.loc["HESX1", meta["cell_type"] == "CD4T"].sum() == 0
    golden = read("interaction_cell_typeCD4T.x.conditionstim.csv.gz")
    assert golden.loc["HESX1", "voom.P.Value"] < 1e-12
    design = _design(meta, meta["cell_type"])
    table = fit_response(counts.to_numpy(dtype=float).T, design)
    rows = table[table["gene"] == counts.index.get_loc("HESX1")]
    assert rows["group"].tolist() == ["CD14"]
    # Its degrees of freedom are those of CD14 alone, less the donors without any count of it.
    assert rows["df_residual"].iloc[0] <= 7
    everywhere = fit_response(counts.to_numpy(dtype=float).T, design, min_count=0)
    assert "CD4T" not in set(everywhere.loc[everywhere["gene"] == rows["gene"].iloc[0], "group"])


def _two_lines():
    treated = np.tile([True, False], 6)
    group = np.repeat(np.array(["A", "B"], dtype=object), 6)
    replicate = np.array([f"{i}" for i in range(12)], dtype=object)
    return response_design(treated, group, replicate)


def test_strata_without_counts_by_hand():
    design = _two_lines()
    counts = np.full((3, 12), 5.0)
    counts[1, 1:6:2] = 0  # the controls of A
    counts[2, 0] = 0  # one sample of four with counts
    zero = exact_zero_samples(counts, design.strata, np.ones((3, 12), dtype=bool))
    assert np.flatnonzero(zero[0]).tolist() == []
    assert np.flatnonzero(zero[1]).tolist() == [1, 3, 5]
    assert np.flatnonzero(zero[2]).tolist() == []


def test_zeros_lose_their_degrees_of_freedom_and_keep_the_effect():
    design = _two_lines()
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(5, 0.05, (300, 12)).astype(float)
    counts[0, 1:6:2] = 0
    with_zeros = fit_response(counts.T, design, exact_zeros=False).query("gene == 0")
    table = fit_response(counts.T, design).query("gene == 0")
    # 12 samples and 4 coefficients; three controls and their mean leave 9 − 3.
    assert with_zeros["df_residual"].tolist() == [8, 8]
    assert table["df_residual"].tolist() == [6, 6]
    np.testing.assert_allclose(table["log2_fc"], with_zeros["log2_fc"], atol=0.05)


def test_other_genes_do_not_change_by_zeros_of_one():
    design = _two_lines()
    rng = np.random.default_rng(0)
    y, weights = rng.normal(size=(40, 12)), np.ones((40, 12))
    fit = fit_linear(y, design.matrix, weights)
    zero = np.zeros((40, 12), dtype=bool)
    assert without_zeros(fit, y, design.matrix, weights, zero=zero) is fit
    zero[3, :2] = True
    changed = without_zeros(fit, y, design.matrix, weights, zero=zero)
    same = np.arange(40) != 3
    np.testing.assert_array_equal(changed.variance[same], fit.variance[same])
    assert changed.df_residual[3] == 6
    np.testing.assert_array_equal(changed.coefficients, fit.coefficients)


def test_groups_with_common_controls_test_the_same_genes():
    treated = np.array([False] * 3 + [True] * 6)
    group = np.array([None] * 3 + ["A"] * 3 + ["B"] * 3, dtype=object)
    replicate = np.array(["d1", "d2", "d3"] * 3, dtype=object)
    design = response_design(treated, group, replicate)
    counts = np.full((9, 3), 20.0)
    counts[:, 1] = [0, 0, 0, 20, 20, 20, 4, 4, 4]  # enough in A only
    counts[:, 2] = [0, 0, 0, 20, 20, 20, 0, 0, 0]  # none in B
    counts = np.column_stack([counts, np.full(9, 1000.0)])
    tested = expressed_genes(counts, design, library=counts.sum(axis=1), min_count=10)
    assert tested["A"].tolist() == [True, True, True, True]
    assert tested["B"].tolist() == [True, True, False, True]


def test_minimum_effect_is_calibrated_at_its_border():
    rng = np.random.default_rng(1)
    design = np.repeat([[1.0, 0], [1, 1]], 5, axis=0)
    y = rng.normal(size=(4000, 10)) + 0.8 * design[:, 1]
    fit = fit_linear(y, design, np.ones(y.shape))
    p = moderated_test(fit, 1, min_effect=0.8).p_value
    # At the border the two-sided test rejects on one side mostly.
    assert 0.04 < (p < 0.05).mean() < 0.06
    assert (moderated_test(fit, 1, min_effect=2.0).p_value < 0.05).mean() < 0.01


def test_robust_p_values_stay_uniform_beside_genes_of_their_own():
    rng = np.random.default_rng(2)
    design = np.repeat([[1.0, 0], [1, 1]], 4, axis=0)
    y = rng.normal(size=(3000, 8))
    y[:60] *= 8
    fit = fit_linear(y, design, np.ones(y.shape))
    robust = moderated_test(fit, 1, robust=True)
    plain = moderated_test(fit, 1)
    assert stats.kstest(robust.p_value[60:], "uniform").pvalue > 0.01
    assert np.median(robust.df[60:]) > 2 * np.median(plain.df[60:])
    assert robust.df[:60].mean() < np.median(plain.df)


def test_empty_sample():
    counts = np.full((12, 5), 20.0)
    counts[3] = 0
    with pytest.raises(DesignError, match="1 of 12 samples have no counts"):
        fit_response(counts, _two_lines())


# ---- lines that vary differently


def _null_lines(spread, *, rng, n_lines=6):
    """Three treated and three control samples per line; gamma noise of a size per line × gene."""
    line = np.repeat([f"L{i}" for i in range(n_lines)], 6).astype(object)
    treated = np.tile([True] * 3 + [False] * 3, n_lines)
    wells = np.array([f"w{i}" for i in range(line.size)], dtype=object)
    size = np.repeat(spread, 6, axis=0)
    noise = np.exp(rng.normal(0, 1, size.shape) * size)
    counts = rng.poisson(200 * noise).astype(float)
    return counts, response_design(treated, line, wells)


def test_genes_may_vary_more_in_some_lines():
    rng = np.random.default_rng(0)
    # Each gene varies three times as much in one of six lines.
    spread = np.where(np.arange(1500) % 6 == np.arange(6)[:, None], 0.6, 0.2)
    counts, design = _null_lines(spread, rng=rng)
    share = {}
    for own in (True, False):
        table = fit_response(counts, design, line_variance=own)
        wide = table["gene"] % 6 == table["group"].str[1:].astype(int)
        share[own] = (table.loc[wide, "p_value"] < 0.001).mean()
        assert (table["p_value"] < 0.05).mean() < 0.08
    # Nominal 0.001; one variance per gene cannot see the line that varies more.
    assert share[False] > 0.03
    assert share[True] < 0.3 * share[False]


def test_a_line_that_varies_more_in_all_genes():
    rng = np.random.default_rng(1)
    spread = np.repeat([[0.6], [0.2], [0.2], [0.2], [0.2], [0.2]], 1500, axis=1)
    counts, design = _null_lines(spread, rng=rng)
    table = fit_response(counts, design)
    below = (table["p_value"] < 0.01).groupby(table["group"]).mean()
    assert below.max() < 0.02
    common = fit_response(counts, design, line_variance=False)
    assert (common["p_value"] < 0.01).groupby(common["group"]).mean()["L0"] > 0.05


def test_equal_lines_lose_nothing():
    rng = np.random.default_rng(2)
    counts, design = _null_lines(np.full((6, 1500), 0.2), rng=rng)
    own, common = (fit_response(counts, design, line_variance=v) for v in (True, False))
    np.testing.assert_array_equal(own["log2_fc"], common["log2_fc"])
    assert abs(np.log(own["se"] / common["se"])).median() < 0.03
    # What |t| must be for p = 0.001.
    needed = [stats.t.isf(0.0005, table["df_total"]).mean() for table in (own, common)]
    assert needed[0] < 1.05 * needed[1]
    assert 0.035 < (own["p_value"] < 0.05).mean() < 0.065


def test_order_of_samples_does_not_matter_for_lines():
    rng = np.random.default_rng(3)
    counts, design = _null_lines(np.full((6, 300), 0.3), rng=rng)
    turned = rng.permutation(len(counts))
    line = np.repeat([f"L{i}" for i in range(6)], 6).astype(object)[turned]
    wells = np.array([f"w{i}" for i in range(36)], dtype=object)[turned]
    other = fit_response(counts[turned], response_design(design.treated[turned], line, wells))
    key = ["group", "gene"]
    left, right = (
        t.sort_values(key).reset_index(drop=True) for t in (fit_response(counts, design), other)
    )
    np.testing.assert_allclose(left["p_value"], right["p_value"], rtol=1e-6)


# ---- scatter between cells


def _rare_states(rng, *, n_rare=150, n_genes=1500):
    """Null counts; the first genes are those of rare cells, whose number differs by chance."""
    n_cells, carriers, wells = 100, 25, 24
    mean = np.exp(rng.uniform(np.log(0.3), np.log(5), n_genes))
    counts = rng.poisson(n_cells * mean * np.exp(rng.normal(0, 0.1, (wells, n_genes))))
    overdispersion = rng.gamma(400, 1 / 400, n_genes)
    share = n_cells / carriers
    cells = rng.poisson(carriers, (wells, n_rare))
    counts[:, :n_rare] = rng.poisson(share * mean[:n_rare] * cells)
    overdispersion[:n_rare] = 1 + (share - 1) * mean[:n_rare]
    line = np.repeat([f"L{i}" for i in range(6)], 4).astype(object)
    names = np.array([f"w{i}" for i in range(wells)], dtype=object)
    treated = np.tile([True, True, True, False], 6)
    return counts.astype(float), overdispersion, response_design(treated, line, names)


def test_genes_of_rare_cells_are_not_called_by_chance():
    called, below = {True: 0, False: 0}, {True: [], False: []}
    for seed in range(3):
        counts, overdispersion, design = _rare_states(np.random.default_rng(seed))
        for known in (True, False):
            table = fit_response(counts, design, overdispersion=overdispersion if known else None)
            rare = table["gene"] < 150
            called[known] += (stats.false_discovery_control(table["p_value"]) < 0.05).sum()
            below[known].append((table.loc[rare, "p_value"] < 0.01).mean())
            assert 0.04 < (table.loc[~rare, "p_value"] < 0.05).mean() < 0.06
    assert called[False] > called[True] == 0
    # Nominal 0.01.
    assert np.mean(below[False]) > 0.025
    assert np.mean(below[True]) < 0.014


def test_scatter_that_tells_nothing_changes_little():
    rng = np.random.default_rng(5)
    counts, design = _null_lines(np.full((6, 1500), 0.2), rng=rng)
    plain = fit_response(counts, design)
    table = fit_response(counts, design, overdispersion=rng.gamma(20, 0.05, 1500))
    np.testing.assert_array_equal(table["log2_fc"], plain["log2_fc"])
    # A curve without a trend moves standard errors by its own noise only.
    assert abs(np.log(table["se"] / plain["se"])).median() < 0.03
    assert 0.035 < (table["p_value"] < 0.05).mean() < 0.065


def test_unit_of_the_scatter_does_not_matter():
    counts, overdispersion, design = _rare_states(np.random.default_rng(6))
    tables = [
        fit_response(counts, design, overdispersion=unit * overdispersion) for unit in (1.0, 7.0)
    ]
    np.testing.assert_allclose(tables[0]["p_value"], tables[1]["p_value"], rtol=1e-8)


def test_too_few_genes_or_no_scatter_leave_the_model_as_it_is():
    counts, overdispersion, design = _rare_states(np.random.default_rng(7))
    few = slice(0, 400)
    pd.testing.assert_frame_equal(
        fit_response(counts[:, few], design, overdispersion=overdispersion[few]),
        fit_response(counts[:, few], design),
    )
    same = np.ones(overdispersion.size)
    pd.testing.assert_frame_equal(
        fit_response(counts, design, overdispersion=same), fit_response(counts, design)
    )


def test_a_single_gene():
    counts, _, design = _rare_states(np.random.default_rng(8), n_rare=0, n_genes=1)
    table = fit_response(counts, design, library=np.full(24, 1e4))
    assert len(table) == 6
    assert table["p_value"].between(0, 1).all()


def test_steady_genes_get_no_smaller_variance():
    # Variance follows the scatter between cells in both directions; only the upper one counts.
    rng = np.random.default_rng(9)
    scatter = np.exp(rng.normal(0, 0.5, 2000))
    y = rng.normal(0, 1, (2000, 12)) * np.sqrt(scatter)[:, None]
    design, weights = np.ones((12, 1)), np.ones((2000, 12))
    fit = fit_linear(y, design, weights)
    level = rng.uniform(4, 12, 2000)
    scaled, used = with_overdispersion(fit, weights, level=level, overdispersion=scatter)
    factor = weights[:, 0] / used[:, 0]
    low, high = np.log(scatter) < -0.2, np.log(scatter) > 0.2
    np.testing.assert_allclose(factor[low], 1)
    slope = np.polyfit(np.log(scatter[high]), np.log(factor[high]), 1)[0]
    assert 0.8 < slope < 1.2
    np.testing.assert_allclose(scaled.variance * factor, fit.variance)
    np.testing.assert_allclose(scaled.unscaled[:, 0] / factor, fit.unscaled[:, 0])
    np.testing.assert_array_equal(scaled.coefficients, fit.coefficients)
