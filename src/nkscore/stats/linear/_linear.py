"""Weighted least squares for many genes at once, and variances shared between genes.

Follows Smyth 2004 (doi 10.2202/1544-6115.1027): the residual variances are drawn from a scaled
inverse chi-square distribution, whose two parameters come from all genes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, special, stats

from nkscore.stats.linear._robust_prior import robust_prior, trimmed_mean
from nkscore.stats.linear._sparse_pattern import kernel_design

if TYPE_CHECKING:
    from typing import TypeAlias

    from nkscore._types import Bools, Floats

    #: Posterior variances, prior variances, and the prior's degrees of freedom.
    Squeezed: TypeAlias = tuple[Floats, Floats, Floats | float]


@dataclass(frozen=True, slots=True)
class LinearFit:
    """Fit of genes × coefficients.

    ``unscaled`` is the diagonal of (X'WX)⁻¹ times the residual variance's factor: the standard
    error of a coefficient is ``sqrt(variance * unscaled)``. Coefficients that a gene's used samples
    cannot estimate are NaN; ``fitted`` (genes × samples) does not need them.
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
        Genes × samples, ≥ 0; weight 0 removes a sample from that gene's fit and its degrees of
        freedom.
    """
    from nkscore.stats.linear._least_squares import fit_genes

    n_genes, n_coefficients = y.shape[0], design.shape[1]
    own = kernel_design(design)
    coefficients, unscaled = np.empty((2, n_genes, n_coefficients))
    variance, df = np.empty((2, n_genes))
    fitted = np.empty(y.shape)
    fit_genes(
        np.ascontiguousarray(y, dtype=np.float64),
        np.ascontiguousarray(weights, dtype=np.float64),
        *own.arrays,
        coefficients,
        unscaled,
        variance,
        df,
        fitted,
    )
    return LinearFit(coefficients[:, own.back], unscaled[:, own.back], variance, df, fitted)


def without_zeros(
    fit: LinearFit, y: Floats, design: Floats, weights: Floats, *, zero: Bools
) -> LinearFit:
    """Remove samples fitted as zero from a gene's variance and degrees of freedom.

    A stratum without a count (``zero``, genes × samples) has no scatter: the logarithms of its
    zeros agree by construction and would make the variance too small. Effects do not change. The
    idea comes from edgeR's ``voomLmFit`` (Lun and Smyth 2017, doi 10.1515/sagmb-2017-0010).
    """
    rows = np.flatnonzero((zero & (weights > 0)).any(axis=1))
    if rows.size == 0:
        return fit
    own = fit_linear(y[rows], design, np.where(zero[rows], 0.0, weights[rows]))
    variance, df = fit.variance.copy(), fit.df_residual.copy()
    variance[rows], df[rows] = own.variance, own.df_residual
    return replace(fit, variance=variance, df_residual=df)


def squeeze_variances(
    variance: Floats, df: Floats, *, covariate: Floats | None = None, robust: bool = False
) -> Squeezed:
    """Shrink residual variances toward a common value, or toward a trend.

    Parameters
    ----------
    variance, df
        Residual variance and its degrees of freedom per gene; genes with ``df`` 0 take the prior.
    covariate
        Mean log expression per gene, on which the prior variance can depend (a natural cubic spline
        with four coefficients). Without it, all genes share one prior.
    robust
        Whether genes that vary much more than others keep fewer of the prior's degrees of freedom
        and do not enter its estimate (the trend is then a local regression).

    Returns
    -------
    posterior variances, prior variances, prior degrees of freedom (possibly infinite; one number,
    or one per gene if ``robust``).
    """
    usable = (df > 0) & np.isfinite(variance)
    if usable.sum() < 2:
        return variance, np.full_like(variance, np.nan), 0.0
    basis = np.ones((variance.size, 1))
    if covariate is not None:
        basis = _natural_spline(covariate, covariate[usable])
    log_prior, df_plain = _fit_scaled_f(variance[usable], df[usable], basis[usable])
    prior, df_prior = np.exp(basis @ log_prior), np.full(variance.size, df_plain)
    if robust and usable.sum() >= _FEWEST_FOR_ROBUST:
        prior, df_prior = _robust(
            variance, df, usable, covariate=covariate, plain=(prior, df_plain)
        )
    posterior = combined_variance(variance, np.where(usable, df, 0.0), prior, df_prior)
    return posterior, prior, df_prior if robust else df_plain


def combined_variance(
    variance: Floats, df: Floats, prior: Floats, df_prior: Floats | float
) -> Floats:
    """Return the mean of two variances by their degrees of freedom; the prior's may be infinite."""
    known = np.where(df > 0, variance, 0.0)
    with np.errstate(invalid="ignore"):
        mean = (df * known + df_prior * prior) / (df + df_prior)
    return np.where(np.isinf(df_prior), prior, mean)


#: With fewer genes, quantiles of the variances are too uncertain.
_FEWEST_FOR_ROBUST: Final = 20


def _robust(
    variance: Floats,
    df: Floats,
    usable: Bools,
    *,
    covariate: Floats | None,
    plain: tuple[Floats, float],
) -> tuple[Floats, Floats]:
    from statsmodels.nonparametric.smoothers_lowess import lowess

    own = np.maximum(variance[usable], 1e-5 * np.median(variance[usable]))
    logs = np.log(own)
    at, trend = np.zeros(1), np.array([trimmed_mean(logs)])
    if covariate is not None and np.ptp(covariate[usable]) > 0:
        x = covariate[usable]
        smooth = lowess(logs, x, frac=0.4, it=3, delta=0.01 * float(np.ptp(x)))
        at, first = np.unique(smooth[:, 0], return_index=True)
        trend = smooth[first, 1]
    everywhere = np.interp(np.zeros(df.size) if covariate is None else covariate, at, trend)
    found, found_df = robust_prior(
        own, df[usable], trend=everywhere[usable], plain=(plain[0][usable], plain[1])
    )
    shift = float(np.median(np.log(found) - everywhere[usable]))
    df_prior = np.full(df.size, float(np.median(found_df)))
    df_prior[usable] = found_df
    return np.exp(everywhere + shift), df_prior


def _natural_spline(x: Floats, known: Floats) -> Floats:
    """Basis of natural cubic splines, with as many knots as the data allow."""
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
            return np.log(np.array([positive.mean()])), float("inf")
        return np.asarray(coefficients), float("inf")
    df_prior = 2 * inverse_trigamma(excess)
    shift = special.digamma(df_prior / 2) - np.log(df_prior / 2)
    return coefficients + shift * constant, df_prior


def inverse_trigamma(value: float) -> float:
    """Return where the trigamma function has a positive value."""
    # trigamma(x) lies between 1/x and 1/x + 1/x², which brackets the root.
    low, high = 1 / value, 1 / value + 1 / np.sqrt(value) + 1
    root = optimize.brentq(
        lambda x: float(special.polygamma(1, x)) - value,
        0.5 * low,
        2 * high,
        xtol=1e-14,
        rtol=1e-14,
    )
    return float(root)


def moderated_test(
    fit: LinearFit,
    coefficient: int,
    *,
    covariate: Floats | None = None,
    min_variance: float = 0.0,
    min_effect: float = 0.0,
    robust: bool = False,
    squeezed: Squeezed | None = None,
) -> Test:
    """Test one coefficient of each gene, with shared variances.

    Parameters
    ----------
    coefficient
        Column of the design.
    covariate
        Mean log expression per gene, on which the shared variance can depend.
    min_variance
        Lower limit of the variances; 1 if weights are inverse sampling variances.
    robust
        See :func:`squeeze_variances`.
    squeezed
        Its result for this fit, if several coefficients are tested.
    min_effect
        The null hypothesis is an effect of at most this size (McCarthy and Smyth 2009, doi
        10.1093/bioinformatics/btp053: ``treat``); ``t`` is then 0 for effects below it.
    """
    if squeezed is None:
        squeezed = squeeze_variances(
            fit.variance, fit.df_residual, covariate=covariate, robust=robust
        )
    posterior, _, df_prior = squeezed
    posterior = np.maximum(posterior, min_variance)
    rows = np.arange(fit.variance.size)
    effect = fit.coefficients[rows, coefficient]
    error = np.sqrt(posterior * fit.unscaled[rows, coefficient])
    df = np.minimum(fit.df_residual + df_prior, fit.df_residual.sum())
    size, at_least = np.abs(effect), np.maximum(df, 1e-8)
    t = np.sign(effect) * np.maximum((size - min_effect) / error, 0.0)
    p = stats.t.sf((size - min_effect) / error, at_least)
    p += stats.t.sf((size + min_effect) / error, at_least)
    return Test(effect, error, t, df, np.asarray(p))
