"""The count model against R edgeR 3.40, by exact sums, and on depth that differs between arms.

Golden values: ``golden_edger/run.R`` (counts simulated there, edgeR 3.40).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nkscore.stats import (
    expressed_genes,
    fit_count_response,
    joint_factors,
    line_factors,
    response_design,
)
from nkscore.stats.linear._cell_noise import CellNoise
from nkscore.stats.linear._factors import steady_factors
from nkscore.stats.linear._profile import TwoCounts, two_counts
from nkscore.stats.linear._quasi_likelihood import (
    common_dispersion,
    fit_negative_binomial,
    residual_squares,
)
from nkscore.stats.linear._unit_deviance import deviance_moments, unit_deviance

GOLDEN = Path(__file__).parent / "golden_edger"


@pytest.fixture(scope="module")
def edger():
    read = {name: pd.read_csv(GOLDEN / f"{name}.csv") for name in ("counts", "design", "fit")}
    library = read["design"].pop("library.size").to_numpy(float)
    return read["counts"].to_numpy(float), read["design"], library, read["fit"]


def _likely(counts, design, library, used=None):
    options = {"dispersion": 0.1, "reduce_bias": False, "used": used}
    return fit_negative_binomial(counts, design.to_numpy(float), library, **options)


def test_fit_equals_edger(edger):
    counts, design, library, golden = edger
    fit = _likely(counts, design, library)
    deviance = unit_deviance(counts, fit.mean, 0.1).sum(axis=1)
    # Fits of donors without a count stop at means of about 1e-5 rather than 0.
    np.testing.assert_allclose(deviance, golden["deviance"], rtol=1e-6, atol=2e-5)
    # Where a donor or an arm has no count, the effect of the highest likelihood may be endless.
    finite = np.abs(golden["effect"]) < 8
    assert finite.sum() > 60
    column = list(design).index("lineb:arm")
    found = fit.coefficients[:, column]
    np.testing.assert_allclose(found[finite], golden["effect"][finite], rtol=0, atol=1e-4)


def test_likelihood_ratio_equals_edger(edger):
    counts, design, library, golden = edger
    column = list(design).index("lineb:arm")
    full = _likely(counts, design, library)
    rest = _likely(counts, design.drop(columns="lineb:arm"), library)
    ratio = unit_deviance(counts, rest.mean, 0.1) - unit_deviance(counts, full.mean, 0.1)
    np.testing.assert_allclose(ratio.sum(axis=1), golden["LR"], rtol=1e-4, atol=1e-4)
    # From the two counts alone, where those are large: no second fit is needed.
    fit = fit_negative_binomial(counts, design.to_numpy(float), library, dispersion=0.1)
    rows = np.flatnonzero(design["lineb"] == 1)
    treated = design["lineb:arm"].to_numpy()[rows] == 1
    large = counts[:, rows].min(axis=1) >= 5
    assert large.sum() > 20
    genes, arms = np.arange(len(counts)), (rows[treated], rows[~treated])
    effect, unscaled = fit.coefficients[:, column], fit.unscaled[:, column]
    root = two_counts(fit, genes, arms, effect=effect, unscaled=unscaled).root()
    np.testing.assert_allclose(root[large] ** 2, golden["LR"][large], rtol=0.1, atol=0.15)


@pytest.mark.parametrize("dispersion", [1e-9, 0.2])
def test_moments_of_the_deviance(dispersion):
    moments = deviance_moments(dispersion)
    rng = np.random.default_rng(0)
    for mean in (0.1, 1.0, 12.0):
        rate = rng.gamma(1 / dispersion, dispersion, 400_000) if dispersion > 1e-6 else 1.0
        drawn = unit_deviance(rng.poisson(mean * rate, 400_000).astype(float), mean, dispersion)
        at = (np.log(mean) - moments.first) / moments.step
        grid = np.arange(moments.log_mean.size)
        first = np.exp(np.interp(at, grid, moments.log_mean))
        second = np.exp(np.interp(at, grid, moments.log_variance))
        assert first == pytest.approx(drawn.mean(), rel=0.02)
        assert second == pytest.approx(drawn.var(), rel=0.05)
    # A count with a mean of zero has no deviance; a large Poisson count has that of chi-square.
    if dispersion < 1e-6:
        assert np.exp(moments.log_mean[-1]) == pytest.approx(1, abs=0.01)
        assert np.exp(moments.log_variance[-1]) == pytest.approx(2, abs=0.02)


def _pairs(rng, mean, dispersion, depth=0.25, donors=8):
    treated = np.tile([True, False], donors)
    donor = np.repeat([f"d{i}" for i in range(donors)], 2).astype(object)
    design = response_design(treated, np.full(2 * donors, "a", dtype=object), donor)
    library = np.where(treated, depth, 1.0)
    noise = rng.gamma(1 / dispersion, dispersion, (2 * donors, mean.size))
    return rng.poisson(library[:, None] * mean * noise).astype(float), design, library


def test_sparse_genes_have_the_variance_that_was_drawn():
    rng = np.random.default_rng(1)
    counts, design, library = _pairs(rng, np.full(2000, 3.0), 0.1)
    own, used = np.ascontiguousarray(counts.T), np.ones(counts.T.shape, dtype=bool)
    fit = fit_negative_binomial(own, design.matrix, library, dispersion=0.1)
    likely = fit_negative_binomial(
        own, design.matrix, library, dispersion=0.1, reduce_bias=False, start=fit.mean
    )
    squares, df = residual_squares(fit, own, used, likely=likely.mean)
    assert squares.sum() / df.sum() == pytest.approx(1, abs=0.2)


def test_dispersion_that_was_drawn_is_found():
    rng = np.random.default_rng(2)
    counts, design, library = _pairs(rng, np.exp(rng.normal(4, 1, 2000)), 0.1)
    own, used = np.ascontiguousarray(counts.T), np.ones(counts.T.shape, dtype=bool)
    found = common_dispersion(own, design.matrix, library, used)
    assert 0.08 < found < 0.13


def test_profile_by_hand():
    # 80 and 20 Poisson counts of equal exposure, against no difference and against its own.
    pair = TwoCounts(*(np.array([x]) for x in (np.log(4), 80.0, 20.0, 0.0, 0.0)))
    expected = 2 * (80 * np.log(80 / 50) + 20 * np.log(20 / 50))
    assert pair.root()[0] ** 2 == pytest.approx(expected, rel=1e-6)
    assert pair.root(np.log(4))[0] == pytest.approx(0, abs=1e-6)
    low, high = pair.bounds(np.array([1.96]))
    assert pair.root(low[0])[0] == pytest.approx(1.96, rel=1e-3)
    assert pair.root(high[0])[0] == pytest.approx(-1.96, rel=1e-3)
    assert low[0] < np.log(4) < high[0]


def test_depth_is_no_response():
    rng = np.random.default_rng(3)
    mean = np.exp(rng.normal(1.5, 1.5, 3000))
    counts, design, _ = _pairs(rng, mean, 0.05)
    table = fit_count_response(counts, design)
    assert 0.03 < (table["p_value"] < 0.05).mean() < 0.07
    assert abs(table["log2_fc"].median()) < 0.05
    assert (stats.false_discovery_control(table["p_value"]) < 0.05).sum() <= 1
    inside = (table["ci_low"] <= 0) & (table["ci_high"] >= 0)
    # Interval and test are one.
    assert (inside == (table["p_value"] > 0.05)).mean() > 0.999


def test_planted_effects_are_covered():
    rng = np.random.default_rng(4)
    mean, effect = np.exp(rng.normal(3, 1, 2000)), np.zeros(2000)
    effect[:300] = rng.uniform(-2, 2, 300)
    counts, design, _ = _pairs(rng, mean, 0.05)
    treated = design.treated[:, None]
    counts = rng.binomial(counts.astype(int), 2.0 ** np.where(treated, effect.clip(max=0), 0))
    lowered = 2.0 ** np.where(treated, 0, -effect.clip(min=0))
    counts = rng.binomial(counts, lowered).astype(float)
    table = fit_count_response(counts, design).set_index("gene")
    found = table.loc[table.index < 300]
    truth = effect[found.index]
    inside = (found["ci_low"] <= truth) & (truth <= found["ci_high"])
    assert 0.9 < inside.mean() < 0.99
    assert np.median(found["log2_fc"] - truth) == pytest.approx(0, abs=0.06)


def test_minimum_effect_asks_more():
    rng = np.random.default_rng(5)
    counts, design, _ = _pairs(rng, np.exp(rng.normal(3, 1, 500)), 0.05)
    plain = fit_count_response(counts, design)
    wide = fit_count_response(counts, design, min_log2_fc=1.0)
    assert (wide["p_value"] >= plain["p_value"]).all()
    assert (wide["t"].abs() <= plain["t"].abs()).all()
    assert (wide.loc[plain["log2_fc"].abs() < 1, "t"] == 0).all()


def _clumped(rng, pairs=(3, 1), n_cells=200):
    """Return cells of two lines, samples × cells × genes; gene 0 is clumped in the second."""
    cells = rng.poisson(2.0, (2 * sum(pairs), n_cells, 200)).astype(float)
    second = cells[2 * pairs[0] :]
    second[:, :, 0] *= 20.0 * (rng.random(second.shape[:2]) < 0.05)
    line = np.repeat(["a", "b"], [2 * n for n in pairs]).astype(object)
    donor = np.repeat([f"d{i}" for i in range(sum(pairs))], 2).astype(object)
    return cells, response_design(np.tile([True, False], sum(pairs)), line, donor)


def test_cells_of_a_line_set_the_smallest_error():
    cells, _ = _clumped(np.random.default_rng(9))
    counts, squares = cells.sum(axis=1).T, np.square(cells).sum(axis=1).T
    noise = CellNoise.of(counts, squares, np.full(8, 200.0))
    # Weights are the counts themselves: σ² is relative to the variance of Poisson counts.
    fit = SimpleNamespace(mean=counts, weights=counts)
    found = noise.variance(fit, (np.array([6]), np.array([7])), np.arange(len(counts)))
    variance = found * (1 / counts[:, 6] + 1 / counts[:, 7])
    by_hand = sum(c.var(axis=0, ddof=1) / (200 * c.mean(axis=0) ** 2) for c in cells[6:])
    np.testing.assert_allclose(variance, by_hand, rtol=0.25)
    assert found[0] > 20
    # The other line does not have it.
    rest = noise.variance(fit, (np.array([0]), np.array([1])), np.arange(len(counts)))
    assert rest[0] < 2


def test_clumped_counts_of_one_line_are_not_called():
    rng = np.random.default_rng(10)
    called = {True: 0, False: 0}
    for _ in range(20):
        cells, design = _clumped(rng)
        squares = np.square(cells).sum(axis=1)
        for known in called:
            table = fit_count_response(
                cells.sum(axis=1),
                design,
                n_cells=np.full(8, 200.0) if known else None,
                cell_squares=squares if known else None,
            )
            called[known] += (table.query("gene == 0 and group == 'b'")["p_value"] < 0.01).sum()
    assert called[True] <= 1
    assert called[False] >= 4


# ---- library sizes and the genes that are tested


def test_factors_undo_a_change_of_composition():
    rng = np.random.default_rng(6)
    mean = np.exp(rng.normal(2, 1.5, 2000))
    up = np.where(np.arange(2000) < 400, 4.0, 1.0)
    arm = np.repeat(["treated", "control"], 4).astype(object)
    expected = np.where((arm == "treated")[:, None], 0.25 * mean * up, mean)
    counts = rng.poisson(expected).astype(float)
    library = counts.sum(axis=1)
    effective = library * steady_factors(counts, library, arm)
    ratio = effective[:4].mean() / effective[4:].mean()
    assert np.log2(ratio) == pytest.approx(-2, abs=0.1)
    assert np.log2(library[:4].mean() / library[4:].mean()) > -1.7


def test_baselines_of_lines_need_joint_factors():
    rng = np.random.default_rng(11)
    treated, line = np.tile([True, False], 6), np.repeat(["a", "b"], 6).astype(object)
    wells = np.array([f"w{i}" for i in range(12)], dtype=object)
    design = response_design(treated, line, wells)
    mean = np.exp(rng.normal(2, 1.5, 2000))
    own = np.where(np.arange(2000) < 400, 4.0, 1.0)
    expected = np.where((line == "b")[:, None], 0.25 * mean * own, mean)
    counts = rng.poisson(expected).astype(float)
    library = counts.sum(axis=1)
    # The true ratio of depth between the baselines is a quarter.
    ratio = {}
    for factors in (joint_factors, line_factors):
        size = factors(counts, library, design).library
        ratio[factors] = np.log2(size[line == "b"].mean() / size[line == "a"].mean())
        within = np.log2(size[treated].sum() / size[~treated].sum())
        assert within == pytest.approx(0, abs=0.05)
    assert ratio[joint_factors] == pytest.approx(-2, abs=0.1)
    assert ratio[line_factors] > -1.6


def test_too_few_genes_leave_total_counts_and_say_so():
    rng = np.random.default_rng(7)
    counts, design, _ = _pairs(rng, np.full(20, 50.0), 0.05, donors=2)
    found = line_factors(counts, counts.sum(axis=1), design)
    np.testing.assert_array_equal(found.library, counts.sum(axis=1))
    assert "a: 20 genes have 2 counts per sample; 30 are needed" in found.remarks[0]
    assert "TMM" in joint_factors(counts, counts.sum(axis=1), design).remarks[0]


def test_smaller_samples_never_remove_a_gene():
    rng = np.random.default_rng(8)
    for line in range(20):
        n = int(rng.integers(3, 9))
        treated = rng.permutation(np.arange(n) % 3 == 0)
        mean = np.exp(rng.normal(1, 1.5, 300))
        size = np.sort(rng.uniform(0.02, 1, n))[::-1]
        counts = rng.poisson(size[:, None] * mean * rng.gamma(2, 0.5, (n, 300))).astype(float)
        before = np.zeros(300, dtype=bool)
        for largest in range(2, n + 1):
            rows = slice(0, largest)
            if treated[rows].all() or not treated[rows].any() or largest < 3:
                continue
            group, wells = np.full(largest, "a", dtype=object), np.arange(largest).astype(object)
            design = response_design(treated[rows], group, wells)
            own = counts[rows]
            now = expressed_genes(
                own, design, library=own.sum(axis=1), min_count=10, n_cells=size[rows]
            )["a"]
            assert not (before & ~now).any(), line
            before = now
        assert before.sum() > 20
