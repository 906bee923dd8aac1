"""Random-effects pooling in which genes share information on the variance between lines.

With few lines a single gene carries little information on its variance between lines, and a t-test
with n − 1 degrees of freedom can call nothing among thousands of genes. All genes together show the
distribution of these variances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special, stats

from nkscore.stats.pooling._meta_analysis import Lines, Pooled, heterogeneity
from nkscore.stats.pooling._shrinkage import fit_shares

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats

#: With fewer genes, the distribution of variances cannot be estimated.
FEWEST_GENES: Final = 100
_N_GRID: Final = 25
_BISECTIONS: Final = 30


def pool_with_shared_variance(
    effect: Floats,
    standard_error: Floats,
    *,
    correlation: float = 0.0,
    common: Floats | None = None,
    df: Floats | None = None,
    confidence: float = 0.95,
) -> Pooled:
    """Pool the effects of each gene over lines, with a prior on τ² estimated from all genes.

    Parameters
    ----------
    effect, standard_error, correlation, common, confidence
        As in :func:`nkscore.stats.random_effects`.
    df
        Degrees of freedom of each gene's errors, summed over lines; infinite by default.

    Notes
    -----
    τ² is zero or one of a grid, with shares that maximize the restricted likelihood of all genes.
    Results are averages over the posterior of τ² of each gene: the p-value is the probability, for
    a gene of mean zero from the same distribution, of a mean as far from zero given the observed
    spread. ``tau2`` and ``i2`` are estimated from the gene alone.
    """
    lines = Lines.of(effect, standard_error, correlation, common)
    tau2, i2, heterogeneity_p = heterogeneity(lines)
    n = lines.known.sum(axis=1)
    enough = n > 1
    mean, variance, weight, grid = _posterior(lines, tau2, enough)
    freedom = np.full(len(n), np.inf) if df is None else df
    center = (weight * mean).sum(axis=1)
    spread = (weight * (variance + (mean - center[:, None]) ** 2)).sum(axis=1)
    t = np.abs(mean) / np.sqrt(variance)
    p = np.exp(special.logsumexp(_log_tail(t, freedom[:, None]), b=weight, axis=1) + np.log(2))
    tail = (1 - confidence) / 2
    limits = _quantiles(mean, variance, weight, freedom, tail)
    beyond = _quantiles(mean, variance + grid, weight, freedom, tail)
    center, error, low, high, p, near, far = (
        np.where(enough, x, np.nan)
        for x in (center, np.sqrt(spread), *limits, np.minimum(p, 1.0), *beyond)
    )
    return Pooled(center, error, low, high, p, near, far, tau2, i2, heterogeneity_p, n)


def _posterior(lines: Lines, tau2: Floats, enough: Bools) -> tuple[Floats, Floats, Floats, Floats]:
    """Return mean and variance at each τ² of the grid, the weights of the grid, and the grid."""
    top = np.nanmax(tau2, initial=0.0)
    least = float(np.nanmin(np.where(lines.known, lines.own_variance, np.nan))) / 10
    grid = np.append(0.0, np.geomspace(least, max(2 * top, 4 * least), _N_GRID - 1))
    mean, variance, likelihood = (np.empty((len(tau2), grid.size)) for _ in range(3))
    for j, value in enumerate(grid):
        mean[:, j], own, shared, spread = lines.pooled(value)
        variance[:, j] = own + shared
        log_v = (np.log(lines.own_variance + value) * lines.known).sum(axis=1)
        likelihood[:, j] = -0.5 * (log_v - np.log(own) + spread)
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    # Unlike effects, variances have no reason to be zero, so no pseudocounts.
    share = fit_shares(likelihood[enough], np.ones(grid.size))
    weight = likelihood * share
    return mean, variance, weight / weight.sum(axis=1, keepdims=True), grid


def _log_tail(t: Floats, df: Floats) -> Floats:
    if np.isinf(df).all():
        return np.asarray(stats.norm.logsf(t))
    return np.asarray(stats.t.logsf(t, np.minimum(df, 1e8)))


def _quantiles(
    mean: Floats, variance: Floats, weight: Floats, df: Floats, tail: float
) -> tuple[Floats, Floats]:
    """Return the lower and upper quantiles of a mixture of distributions, by bisection.

    Each part is a normal distribution that has the quantile of its t distribution.
    """
    z = stats.norm.isf(tail)
    error = np.sqrt(variance) * (_t_quantile(tail, df) / z)[:, None]
    result = []
    for side in (-1.0, 1.0):
        # The quantile of the mixture lies between those of its parts.
        ends = mean + side * z * error
        low, high = ends.min(axis=1), ends.max(axis=1)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            beyond = special.ndtr(side * (mean - middle[:, None]) / error)
            outside = (weight * beyond).sum(axis=1) > tail
            move_up = outside == (side > 0)
            low, high = np.where(move_up, middle, low), np.where(move_up, high, middle)
        result.append((low + high) / 2)
    return result[0], result[1]


def _t_quantile(tail: float, df: Floats) -> Floats:
    levels, place = np.unique(df, return_inverse=True)
    found = [stats.norm.isf(tail) if np.isinf(d) else stats.t.isf(tail, d) for d in levels]
    return np.asarray(found)[place]
