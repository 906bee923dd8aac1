"""Weighted least squares for many genes at once, and variances shared between genes.

Follows Smyth 2004 (doi 10.2202/1544-6115.1027): the residual variances are drawn from a scaled
inverse chi-square distribution, whose two parameters come from all genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special, stats

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Genes × samples × coefficients² held at a time.
_BLOCK_VALUES = 8_000_000


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Fit of genes × coefficients.

    ``unscaled`` is the diagonal of (X'WX)⁻¹ times the residual variance's factor: the standard
    error of a coefficient is ``sqrt(variance * unscaled)``. Coefficients that a gene's used
    samples cannot estimate are NaN; ``fitted`` (genes × samples) does not need them.
    """

    coefficients: Floats
    unscaled: Floats
    variance: Floats
    df_residual: Floats
    fitted: Floats


@dataclass(frozen=True, slots=True)
class Test:
    """Moderated test of one coefficient per gene."""

    effect: Floats
    standard_error: Floats
    t: Floats
    df: Floats
    p_value: Floats


def fit_linear(y: Floats, design: Floats, weights: Floats) -> LinearFit:
    """Fit ``y ~ design`` for each gene.

    Parameters
    ----------
    y
        Genes × samples.
    design
        Samples × coefficients.
    weights
        Genes × samples, ≥ 0; weight 0 leaves a sample out of that gene's fit and out of its
        degrees of freedom.
    """
    n_genes, n_samples = y.shape
    n_coefficients = design.shape[1]
    cross = (design[:, :, None] * design[:, None, :]).reshape(n_samples, -1)
    fit = LinearFit(
        np.full((n_genes, n_coefficients), np.nan),
        np.full((n_genes, n_coefficients), np.nan),
        np.full(n_genes, np.nan),
        np.zeros(n_genes),
        np.zeros(y.shape),
    )
    step = max(1, _BLOCK_VALUES // max(1, n_coefficients**2))
    for start in range(0, n_genes, step):
        rows = slice(start, start + step)
        _fit_block(y[rows], design, weights[rows], cross=cross, fit=fit, rows=rows)
    return fit


def _fit_block(
    y: Floats, design: Floats, weights: Floats, *, cross: Floats, fit: LinearFit, rows: slice
) -> None:
    n_coefficients = design.shape[1]
    used = weights > 0
    # A column that is zero in all used samples is left out by putting a one on its diagonal.
    present = (used.astype(float) @ (design != 0).astype(float)) > 0
    normal = (weights @ cross).reshape(-1, n_coefficients, n_coefficients)
    diagonal = np.arange(n_coefficients)
    normal[:, diagonal, diagonal] += ~present
    inverse, estimable, rank = _inverse(normal, present)
    beta = np.einsum("gij,gj->gi", inverse, (weights * y) @ design)
    fit.fitted[rows] = beta @ design.T
    residual = y - fit.fitted[rows]
    df = used.sum(axis=1) - rank
    rss = (weights * residual**2).sum(axis=1)
    fit.df_residual[rows] = df
    fit.variance[rows] = np.where(df > 0, rss / np.maximum(df, 1), np.nan)
    fit.coefficients[rows] = np.where(estimable, beta, np.nan)
    fit.unscaled[rows] = np.where(estimable, inverse[:, diagonal, diagonal], np.nan)


def _inverse(normal: Floats, present: Any) -> tuple[Floats, Any, Any]:
    """Return pseudo-inverses, which coefficients are estimable, and the rank for each gene."""
    scale = np.sqrt(np.einsum("gii->gi", normal))
    scaled = normal / scale[:, :, None] / scale[:, None, :]
    values, vectors = np.linalg.eigh(scaled)
    keep = values > 1e-10 * values[:, -1:]
    inverted = np.where(keep, 1 / np.where(keep, values, 1), 0.0)
    inverse = np.einsum("gij,gj,gkj->gik", vectors, inverted, vectors)
    # A coefficient is estimable when no dropped direction involves it.
    lost = np.einsum("gij,gj->gi", vectors**2, (~keep).astype(float))
    # Terms that cannot be told apart still use up degrees of freedom together.
    rank = keep.sum(axis=1) - (~present).sum(axis=1)
    return inverse / scale[:, :, None] / scale[:, None, :], present & (lost < 1e-8), rank


def squeeze_variances(
    variance: Floats, df: Floats, *, covariate: Floats | None = None
) -> tuple[Floats, Floats, float]:
    """Shrink residual variances toward a common value, or toward a trend.

    Parameters
    ----------
    variance, df
        Residual variance and its degrees of freedom per gene; genes with ``df`` 0 take the prior.
    covariate
        Mean log expression per gene, on which the prior variance may depend (a natural cubic
        spline with four coefficients); one prior for all genes without it.

    Returns
    -------
    posterior variances, prior variances, prior degrees of freedom (possibly infinite).
    """
    usable = (df > 0) & np.isfinite(variance)
    if usable.sum() < 2:
        return variance, np.full_like(variance, np.nan), 0.0
    basis = np.ones((variance.size, 1))
    if covariate is not None:
        basis = _natural_spline(covariate, covariate[usable])
    log_prior, df_prior = _fit_scaled_f(variance[usable], df[usable], basis[usable])
    prior = np.exp(basis @ log_prior)
    known = np.where(usable, variance, 0.0)
    degrees = np.where(usable, df, 0.0)
    if np.isinf(df_prior):
        return prior, prior, df_prior
    posterior = (degrees * known + df_prior * prior) / (degrees + df_prior)
    return np.asarray(posterior), prior, df_prior


def _natural_spline(x: Floats, known: Floats) -> Floats:
    """Basis of cubic splines that are linear beyond the data, as many knots as data allow."""
    n_interior = int(known.size >= 6) + int(known.size >= 30)
    knots = np.quantile(known, np.linspace(0, 1, n_interior + 2))
    knots = np.unique(knots)
    if knots.size < 2:
        return np.ones((x.size, 1))
    span = knots[-1] - knots[0]

    def cubic(knot: float) -> Floats:
        return np.asarray(np.maximum((x - knot) / span, 0.0) ** 3)

    def difference(knot: float) -> Floats:
        return np.asarray((cubic(knot) - cubic(knots[-1])) / ((knots[-1] - knot) / span))

    last = difference(knots[-2])
    columns = [np.ones_like(x), (x - knots[0]) / span]
    columns += [difference(knot) - last for knot in knots[:-2]]
    return np.column_stack(columns)


def _fit_scaled_f(variance: Floats, df: Floats, basis: Floats) -> tuple[Floats, float]:
    """Moment estimates of the log scale, in terms of the basis, and of the second df."""
    median = np.median(variance)
    positive = np.maximum(variance, 1e-5 * (median if median > 0 else 1.0))
    e = np.log(positive) - special.digamma(df / 2) + np.log(df / 2)
    coefficients, _, rank, _ = np.linalg.lstsq(basis, e, rcond=None)
    spread = ((e - basis @ coefficients) ** 2).sum() / max(e.size - int(rank), 1)
    excess = float(spread - special.polygamma(1, df / 2).mean())
    # The constant function is in the basis as its first column.
    constant = np.eye(basis.shape[1])[0]
    if excess <= 0:
        if basis.shape[1] == 1:
            return np.log([positive.mean()]), float("inf")
        return coefficients, float("inf")
    df_prior = 2 * _inverse_trigamma(excess)
    shift = special.digamma(df_prior / 2) - np.log(df_prior / 2)
    return coefficients + shift * constant, df_prior


def _inverse_trigamma(value: float) -> float:
    # trigamma(x) lies between 1/x and 1/x + 1/x², which brackets the root.
    low, high = 1 / value, 1 / value + 1 / np.sqrt(value) + 1
    root = optimize.brentq(
        lambda x: special.polygamma(1, x) - value, 0.5 * low, 2 * high, xtol=1e-14, rtol=1e-14
    )
    return float(root)


def moderated_test(
    fit: LinearFit,
    coefficient: int,
    *,
    covariate: Floats | None = None,
    least_variance: float = 0.0,
) -> Test:
    """Test one coefficient of each gene against zero, with shared variances.

    Parameters
    ----------
    coefficient
        Column of the design.
    covariate
        Mean log expression per gene, on which the shared variance may depend.
    least_variance
        Variances below it are raised to it; 1 where weights are inverse sampling variances.
    """
    posterior, _, df_prior = squeeze_variances(fit.variance, fit.df_residual, covariate=covariate)
    posterior = np.maximum(posterior, least_variance)
    rows = np.arange(fit.variance.size)
    effect = fit.coefficients[rows, coefficient]
    error = np.sqrt(posterior * fit.unscaled[rows, coefficient])
    df = np.minimum(fit.df_residual + df_prior, fit.df_residual.sum())
    t = effect / error
    p = 2 * stats.t.sf(np.abs(t), np.maximum(df, 1e-8))
    return Test(effect, error, t, df, np.asarray(p))
