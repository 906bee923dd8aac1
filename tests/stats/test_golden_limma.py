"""Pseudobulk statistics against limma 3.54 and edgeR 3.40 (../shared/golden/limma/run.R).

CD14 monocytes and CD4 T cells of eight donors, with and without interferon beta.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nkscore.stats import fit_linear, log_cpm, moderated_test, squeeze_variances, tmm_factors, voom

SETS = ("cd14_paired", "cd4t_paired", "interaction")
#: The sets whose weights and log counts were written out.
WITH_WEIGHTS = ("cd14_paired", "interaction")


@pytest.fixture(scope="module")
def read(shared):
    folder = shared / "golden" / "limma"

    def read(name):
        return pd.read_csv(folder / name, index_col=0, float_precision="round_trip")

    return read


@pytest.fixture(scope="module")
def experiments(read):
    """For each set: counts of the kept genes, design, library sizes and our fit."""
    counts, found = read("counts.csv.gz"), {}
    for name in SETS:
        samples, design = read(f"{name}_samples.csv.gz"), read(f"{name}_design.csv.gz")
        kept = read(f"{name}_filterByExpr.csv.gz")["by_design"].astype(bool)
        own = counts.loc[kept, list(samples.index)]
        values = own.to_numpy(dtype=float)
        factors = tmm_factors(values.T, samples["lib.size"].to_numpy(dtype=float))
        library = samples["lib.size"].to_numpy() * factors
        y, weights = voom(values, design.to_numpy(dtype=float), library)
        fit = fit_linear(y, design.to_numpy(dtype=float), weights)
        found[name] = SimpleNamespace(
            all_counts=counts[list(samples.index)],
            counts=own,
            samples=samples,
            design=design,
            factors=factors,
            library=library,
            y=y,
            weights=weights,
            fit=fit,
        )
    return found


@pytest.mark.parametrize("name", SETS)
def test_tmm_factors(experiments, name):
    made = experiments[name]
    np.testing.assert_allclose(made.factors, made.samples["filtered.TMM"], rtol=1e-12)
    unfiltered = tmm_factors(
        made.all_counts.to_numpy(dtype=float).T, made.samples["unfiltered.lib.size"].to_numpy(float)
    )
    np.testing.assert_allclose(unfiltered, made.samples["unfiltered.TMM"], rtol=1e-12)
    assert unfiltered.std() > 0.05


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_voom(experiments, read, name):
    made = experiments[name]
    expected = read(f"{name}_voom_E_200.csv.gz")
    assert list(expected.index) == list(made.counts.index[:200])
    np.testing.assert_allclose(made.y[:200], expected, rtol=1e-12)
    logs = log_cpm(made.counts.to_numpy().T, made.library).T
    np.testing.assert_array_equal(made.y, logs)
    weights = read(f"{name}_voom_weights_200.csv.gz")
    np.testing.assert_allclose(made.weights[:200], weights, rtol=1e-7)
    assert weights.to_numpy().std() > 0.1


@pytest.mark.parametrize("name", SETS)
def test_shared_variance(experiments, read, name):
    made, expected = experiments[name], read(f"{name}_fit.csv.gz")
    np.testing.assert_allclose(np.sqrt(made.fit.variance), expected["voom.sigma"], rtol=1e-6)
    assert (made.fit.df_residual == made.design.shape[0] - made.design.shape[1]).all()
    posterior, prior, df_prior = squeeze_variances(made.fit.variance, made.fit.df_residual)
    scalars = read("scalars.csv").loc[f"{name}_voom"].set_index("key")["value"]
    np.testing.assert_allclose(prior, scalars["s2.prior"], rtol=1e-7)
    assert df_prior == pytest.approx(scalars["df.prior"], rel=1e-6)
    if "voom.s2.post" in expected:
        np.testing.assert_allclose(posterior, expected["voom.s2.post"], rtol=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_trend_of_the_shared_variance(experiments, read, name):
    """limma-trend: log counts per million with prior count 3, eBayes(trend = TRUE)."""
    made, expected = experiments[name], read(f"{name}_fit.csv.gz")
    library = np.asarray(made.library, dtype=float)
    added = 3 * library / library.mean()
    y = np.log2((made.counts.to_numpy(float) + added) / (library + 2 * added) * 1e6)
    fit = fit_linear(y, np.asarray(made.design, dtype=float), np.ones_like(y))
    _, prior, df = squeeze_variances(fit.variance, fit.df_residual, covariate=y.mean(axis=1))
    scalars = read("scalars.csv").loc[[f"{name}_trend_pc3"]].set_index("key")["value"]
    np.testing.assert_allclose(prior, expected["trend_pc3.s2.prior"], rtol=1e-10)
    assert df == pytest.approx(scalars["df.prior"], rel=1e-10)
    assert prior.std() > 0


_COEFFICIENTS = [
    ("cd14_paired", "conditionstim"),
    ("cd4t_paired", "conditionstim"),
    ("interaction", "conditionstim"),
    ("interaction", "cell_typeCD4T:conditionstim"),
]


def _compare(test, expected):
    np.testing.assert_allclose(test.effect, expected["voom.logFC"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(test.t, expected["voom.t"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(test.p_value, expected["voom.P.Value"], rtol=1e-6)
    assert test.p_value.min() < 1e-10


@pytest.mark.parametrize(("name", "coefficient"), _COEFFICIENTS)
def test_effects_and_p_values(experiments, read, name, coefficient):
    made = experiments[name]
    expected = read(f"{name}_{coefficient.replace(':', '.x.')}.csv.gz")
    test = moderated_test(made.fit, list(made.design).index(coefficient))
    assert list(expected.index) == list(made.counts.index)
    _compare(test, expected)
    if "voom.stdev.unscaled" in expected:
        unscaled = made.fit.unscaled[:, list(made.design).index(coefficient)]
        np.testing.assert_allclose(np.sqrt(unscaled), expected["voom.stdev.unscaled"], rtol=1e-6)
        error = test.effect / test.t
        np.testing.assert_allclose(test.standard_error, error, rtol=1e-10)


def test_contrast(experiments, read):
    """Response of CD4 T cells: the sum of two coefficients, here one of another coding."""
    made = experiments["interaction"]
    both, own = "cell_typeCD4T:conditionstim", "conditionstim"
    design = made.design.assign(**{own: made.design[own] - made.design[both]})
    fit = fit_linear(made.y, design.to_numpy(dtype=float), made.weights)
    expected = read("interaction_contrast_stim_in_CD4T.csv.gz")
    # limma's contrasts neglect correlations that weights make between coefficients.
    test = moderated_test(fit, list(design).index(both))
    np.testing.assert_allclose(test.effect, expected["logFC"], rtol=0, atol=1e-8)
    assert np.corrcoef(test.t, expected["t"])[0, 1] > 0.99
