from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from nkscore.stats import LinearFit, fit_linear, moderated_test, squeeze_variances, voom


@pytest.fixture
def data():
    """40 genes, 12 samples, 4 coefficients; weights over two orders of magnitude."""
    rng = np.random.default_rng(0)
    design = np.column_stack(
        [np.ones(12), np.repeat([0, 1], 6), np.tile([0, 1, 0], 4), rng.normal(size=12)]
    )
    y = rng.normal(size=(40, 4)) @ design.T + rng.normal(size=(40, 12))
    return y, design, rng.uniform(0.1, 10, size=(40, 12))


def test_by_hand():
    # Two groups of two: means 1 and 4, residual sum of squares 2 + 8 on 2 degrees of freedom.
    design = np.array([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    fit = fit_linear(np.array([[0.0, 2, 2, 6]]), design, np.ones((1, 4)))
    np.testing.assert_allclose(fit.coefficients, [[1, 3]])
    np.testing.assert_allclose(fit.unscaled, [[1 / 2, 1]])
    np.testing.assert_allclose(fit.variance, [5])
    np.testing.assert_allclose(fit.fitted, [[1, 1, 4, 4]])
    assert fit.df_residual.tolist() == [2]


def test_equals_numpy_gene_by_gene(data):
    y, design, weights = data
    fit = fit_linear(y, design, weights)
    for g in range(len(y)):
        root = np.sqrt(weights[g])
        beta, rss, _, _ = np.linalg.lstsq(design * root[:, None], y[g] * root, rcond=None)
        inverse = np.linalg.inv(design.T @ (weights[g][:, None] * design))
        np.testing.assert_allclose(fit.coefficients[g], beta, rtol=1e-9)
        np.testing.assert_allclose(fit.unscaled[g], np.diag(inverse), rtol=1e-9)
        assert fit.variance[g] == pytest.approx(rss[0] / 8)
    assert (fit.df_residual == 8).all()


def test_a_gene_alone_gives_the_same_bytes(data):
    y, design, weights = data
    whole = fit_linear(y, design, weights)
    alone = fit_linear(y[7:8], design, weights[7:8])
    np.testing.assert_array_equal(alone.coefficients[0], whole.coefficients[7])
    np.testing.assert_array_equal(alone.variance[0], whole.variance[7])


def test_weight_zero_leaves_samples_out(data):
    y, design, weights = data
    rng = np.random.default_rng(1)
    out = rng.random(weights.shape) < 0.3
    y_bad = np.where(out, 1e6, y)
    fit = fit_linear(y_bad, design, np.where(out, 0, weights))
    for g in range(len(y)):
        use = ~out[g]
        alone = fit_linear(y[g : g + 1, use], design[use], weights[g : g + 1, use])
        np.testing.assert_allclose(fit.coefficients[g], alone.coefficients[0], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(fit.unscaled[g], alone.unscaled[0], rtol=1e-7)
        np.testing.assert_allclose(fit.variance[g], alone.variance[0], rtol=1e-6)
        assert fit.df_residual[g] == alone.df_residual[0]
    assert len(np.unique(fit.df_residual)) > 3


def test_only_what_cannot_be_estimated_is_nan(data):
    y, design, weights = data
    doubled = np.column_stack([design, design[:, 1] + design[:, 2]])
    fit = fit_linear(y, doubled, weights)
    expected = fit_linear(y, design, weights)
    assert np.isnan(fit.coefficients).all(axis=0).tolist() == [False, True, True, False, True]
    assert np.isnan(fit.unscaled).all(axis=0).tolist() == [False, True, True, False, True]
    for j in (0, 3):
        np.testing.assert_allclose(fit.coefficients[:, j], expected.coefficients[:, j], rtol=1e-8)
        np.testing.assert_allclose(fit.unscaled[:, j], expected.unscaled[:, j], rtol=1e-8)
    np.testing.assert_allclose(fit.variance, expected.variance, rtol=1e-8)
    np.testing.assert_allclose(fit.fitted, expected.fitted, rtol=1e-8)
    assert (fit.df_residual == 8).all()


def test_a_gene_without_samples_of_a_group(data):
    y, design, weights = data
    design = np.column_stack([np.repeat(np.eye(3), 4, axis=0)])
    weights = weights.copy()
    weights[5, :4] = 0
    weights[6] = 0
    fit = fit_linear(y, design, weights)
    assert np.isnan(fit.coefficients[5]).tolist() == [True, False, False]
    assert fit.df_residual[[4, 5, 6]].tolist() == [9, 6, 0]
    assert np.isnan(fit.coefficients[6]).all()
    assert np.isnan(fit.variance[6])


def test_nearly_the_same_columns_are_still_two(data):
    y, design, _ = data
    twin = design[:, 3] + 1e-3 * np.random.default_rng(1).normal(size=12)
    close = np.column_stack([design, twin])
    fit = fit_linear(y, close, np.ones(y.shape))
    expected = np.linalg.lstsq(close, y.T, rcond=None)[0].T
    np.testing.assert_allclose(fit.coefficients, expected, rtol=1e-6, atol=1e-6)
    assert (fit.df_residual == 7).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_of_a_column_decide_nothing(data, scale):
    y, design, weights = data
    expected = fit_linear(y, design, weights)
    fit = fit_linear(y, design * np.array([1, 1, 1, scale]), weights)
    np.testing.assert_allclose(fit.coefficients[:, :3], expected.coefficients[:, :3], rtol=1e-8)
    np.testing.assert_allclose(fit.coefficients[:, 3] * scale, expected.coefficients[:, 3])


def test_as_many_coefficients_as_samples():
    fit = fit_linear(np.array([[1.0, 3.0]]), np.array([[1.0, 0], [1, 1]]), np.ones((1, 2)))
    np.testing.assert_allclose(fit.coefficients, [[1, 2]])
    assert fit.df_residual.tolist() == [0]
    assert np.isnan(fit.variance).all()


def test_variances_without_excess_become_equal():
    posterior, prior, df = squeeze_variances(np.array([2.0, 2.0, 2.0, 2.0]), np.full(4, 5.0))
    assert np.isinf(df)
    np.testing.assert_array_equal(prior, 2)
    np.testing.assert_array_equal(posterior, 2)


def test_variances_that_differ_wildly_stay_as_they_are():
    variance = 10.0 ** np.linspace(-12, 12, 200)
    posterior, _, df = squeeze_variances(variance, np.full(200, 30.0))
    assert df < 0.2
    np.testing.assert_allclose(posterior[100:], variance[100:], rtol=0.02)


@pytest.mark.parametrize("df_prior", [2.0, 8.0, 40.0])
def test_planted_prior_is_found(df_prior):
    rng = np.random.default_rng(int(df_prior))
    true = 0.5 * df_prior / rng.chisquare(df_prior, 30_000)
    variance = true * rng.chisquare(5, 30_000) / 5
    posterior, prior, found = squeeze_variances(variance, np.full(30_000, 5.0))
    np.testing.assert_allclose(prior, 0.5, rtol=0.05)
    assert found == pytest.approx(df_prior, rel=0.15)
    np.testing.assert_allclose(posterior, (5 * variance + found * prior) / (5 + found), rtol=1e-12)
    assert ((posterior - true) ** 2).mean() < ((variance - true) ** 2).mean()


def test_genes_without_degrees_of_freedom_take_the_prior():
    rng = np.random.default_rng(0)
    variance = rng.chisquare(3, 500) * rng.uniform(0.2, 3, 500)
    variance[:3] = np.nan
    df = np.where(np.isnan(variance), 0.0, 3.0)
    posterior, prior, found = squeeze_variances(variance, df)
    alone = squeeze_variances(variance[3:], df[3:])
    np.testing.assert_array_equal(prior[3:], alone[1])
    assert found == alone[2]
    np.testing.assert_allclose(posterior[:3], prior[:3])
    np.testing.assert_array_equal(posterior[3:], alone[0])


def test_a_planted_trend_of_the_prior_is_followed():
    rng = np.random.default_rng(0)
    level = rng.uniform(2, 14, 20_000)
    true = 0.1 + 2 ** (2 - 0.6 * level)
    variance = true * rng.chisquare(6, level.size) / 6
    flat, _, _ = squeeze_variances(variance, np.full(level.size, 6.0))
    bent, prior, _ = squeeze_variances(variance, np.full(level.size, 6.0), covariate=level)
    # Four coefficients follow this bend to within some 15 %.
    assert np.median(np.abs(np.log(prior / true))) < 0.15
    high = level > 11
    assert np.abs(np.log(bent / true))[high].mean() < 0.8 * np.abs(np.log(flat / true))[high].mean()


def test_a_covariate_without_spread_is_no_covariate():
    variance = np.random.default_rng(0).chisquare(4, 100)
    df = np.full(100, 4.0)
    plain = squeeze_variances(variance, df)
    same = squeeze_variances(variance, df, covariate=np.ones(100))
    np.testing.assert_allclose(same[0], plain[0])


def test_one_gene_has_nothing_to_share():
    posterior, prior, df = squeeze_variances(np.array([2.0, np.nan]), np.array([3.0, 0.0]))
    assert (posterior[0], df) == (2.0, 0.0)
    assert np.isnan(prior).all()


def test_zero_variances():
    posterior, prior, _ = squeeze_variances(np.array([0.0, 1.0, 2.0, 3.0]), np.full(4, 4.0))
    assert (posterior > 0).all()
    assert np.isfinite(prior).all()


def _fit(variance, df):
    n = len(variance)
    return LinearFit(
        coefficients=np.tile([0.0, 1.5], (n, 1)),
        unscaled=np.tile([1.0, 0.25], (n, 1)),
        variance=np.asarray(variance, dtype=float),
        df_residual=np.asarray(df, dtype=float),
        fitted=np.zeros((n, 3)),
    )


def test_moderated_test_by_hand():
    # Equal variances: infinite prior degrees of freedom, cut at those of all genes together.
    test = moderated_test(_fit([4.0] * 5, [2.0] * 5), 1)
    np.testing.assert_allclose(test.standard_error, 1)
    np.testing.assert_allclose(test.t, 1.5)
    np.testing.assert_allclose(test.df, 10)
    np.testing.assert_allclose(test.p_value, 2 * scipy_stats.t.sf(1.5, 10))


def test_min_variance():
    low = moderated_test(_fit([0.01] * 5, [2.0] * 5), 1, min_variance=1.0)
    np.testing.assert_allclose(low.standard_error, 0.5)
    high = moderated_test(_fit([9.0] * 5, [2.0] * 5), 1, min_variance=1.0)
    np.testing.assert_allclose(high.standard_error, 1.5)


def test_p_values_are_uniform_without_effect():
    rng = np.random.default_rng(5)
    design = np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4)])
    scale = np.sqrt(6 / rng.chisquare(6, 8000))
    y = rng.normal(size=(8000, 8)) * scale[:, None]
    test = moderated_test(fit_linear(y, design, np.ones(y.shape)), 1)
    for level in (0.001, 0.05, 0.5):
        margin = 4 * np.sqrt(level * (1 - level) / 8000)
        assert abs((test.p_value < level).mean() - level) < margin


def test_voom_weights_follow_the_counts():
    rng = np.random.default_rng(0)
    rate = rng.lognormal(3, 1.5, 1500)
    library = np.array([1e5, 1e5, 2e5, 2e5, 4e5, 4e5])
    counts = rng.poisson(rate[:, None] * library / 1e5).astype(float)
    design = np.ones((6, 1))
    y, weights = voom(counts, design, library)
    assert y.shape == weights.shape == (1500, 6)
    assert (weights > 0).all()
    # More counts, by abundance or by depth, weigh more; Poisson noise has no floor.
    mean = weights.mean(axis=1)
    assert mean[rate > 100].min() > mean[rate < 5].max()
    assert (weights.mean(axis=0)[4:] > weights.mean(axis=0)[:2].max()).all()


def test_voom_without_some_samples_of_a_gene():
    rng = np.random.default_rng(1)
    counts = rng.negative_binomial(5, 0.05, (300, 8)).astype(float)
    design = np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4)])
    used = np.ones(counts.shape, bool)
    used[0, 6:] = False
    changed = counts.copy()
    changed[0, 6:] = 1e6
    library = np.full(8, 3e4)
    weights = [voom(c, design, library, used=used)[1] for c in (counts, changed)]
    np.testing.assert_array_equal(*weights)
    assert (weights[0][0, 6:] == 0).all()
    assert (weights[0][used] > 0).all()


def test_voom_does_not_depend_on_how_the_design_is_coded():
    rng = np.random.default_rng(2)
    rate = np.repeat(rng.lognormal(3, 1, (400, 4)), 3, axis=1)
    counts = rng.poisson(rate).astype(float)
    groups = np.repeat(np.eye(4), 3, axis=0)
    library = counts.sum(axis=0)
    expected = voom(counts, groups, library)[1]
    # The last two columns hold the same samples: neither is estimable, their sum is.
    too_many = np.column_stack([groups, groups[:, 3], np.ones(12)])
    np.testing.assert_allclose(voom(counts, too_many, library)[1], expected, rtol=1e-8)
