"""Shared variances that are robust against outlying genes.

Follows Phipson et al. 2016 (doi 10.1214/16-AOAS920): the prior is estimated from winsorized
moments, and genes far above it keep fewer of its degrees of freedom.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, stats

if TYPE_CHECKING:
    from nkscore._types import Floats

#: Share of genes cut at the low and the high end.
_TAILS: Final = (0.05, 0.1)
#: Replaces infinite degrees of freedom of the prior.
_ENDLESS: Final = 1e10


def robust_prior(
    variance: Floats, df: Floats, *, trend: Floats, plain: tuple[Floats, float]
) -> tuple[Floats, Floats]:
    """Return the prior variance and its degrees of freedom for each gene.

    Parameters
    ----------
    variance, df
        Residual variances, above zero, with their degrees of freedom.
    trend
        Smooth trend of the log variance over expression, or one number for all.
    plain
        Prior variances and degrees of freedom from plain moments.
    """
    df_one = float(df.max())
    variance = _of_equal_df(variance, df, df_one, plain)
    log_variance = np.log(variance)
    residual = log_variance - trend
    low, high = np.quantile(residual, [_TAILS[0], 1 - _TAILS[1]])
    cut = np.clip(residual, low, high)
    df_two = _df_of_spread(float(cut.var(ddof=1)), df_one, plain[1])
    center = cut.mean() - _moments(df_one, df_two)[0]
    ratio = np.exp(residual - center)
    return np.exp(trend + center), _fewer_for_outliers(ratio, df_one, df_two)


def trimmed_mean(values: Floats) -> float:
    """Return the mean without the tails."""
    return float(stats.trim_mean(values, _TAILS[1]))


def _of_equal_df(
    variance: Floats, df: Floats, df_one: float, plain: tuple[Floats, float]
) -> Floats:
    """Map variances with fewer degrees of freedom to the same quantile at the maximum."""
    fewer = df < df_one - 1e-14
    if not fewer.any():
        return variance
    scale, df_two = plain[0][fewer], min(plain[1], _ENDLESS)
    ratio, own = variance[fewer] / scale, df[fewer]
    upper, lower = stats.f.sf(ratio, own, df_two), stats.f.cdf(ratio, own, df_two)
    moved = np.where(
        upper < lower, stats.f.isf(upper, df_one, df_two), stats.f.ppf(lower, df_one, df_two)
    )
    out = variance.copy()
    known = np.isfinite(moved) & (moved > 0)
    out[fewer] = np.where(known, moved * scale, variance[fewer])
    return out


@lru_cache(maxsize=4)
def _nodes(number: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(number)
    return (nodes + 1) / 2, weights / 2


def _moments(df_one: float, df_two: float) -> tuple[float, float]:
    """Mean and variance of the logarithm of a winsorized F variable."""
    df_two = min(df_two, _ENDLESS)
    tails = np.array(_TAILS)
    ends = stats.f.ppf(np.array([tails[0], 1 - tails[1]]), df_one, df_two)
    share = ends / (1 + ends)
    nodes, weights = _nodes(128)
    at = share[0] + (share[1] - share[0]) * nodes
    values = at / (1 - at)
    density = stats.f.pdf(values, df_one, df_two) / (1 - at) ** 2 * weights * np.ptp(share)
    mean = (density * np.log(values)).sum() + (tails * np.log(ends)).sum()
    spread = (density * (np.log(values) - mean) ** 2).sum()
    spread += (tails * (np.log(ends) - mean) ** 2).sum()
    return float(mean), float(spread)


def _df_of_spread(spread: float, df_one: float, plain: float) -> float:
    """Return the degrees of freedom that give the observed spread, at least the moment estimate."""

    def excess(x: float) -> float:
        return float(np.log(spread / _moments(df_one, x / (1 - x) if x < 1 else np.inf)[1]))

    if excess(1.0) <= 0:
        return float("inf")
    least = plain / (1 + plain) if np.isfinite(plain) else 1 - 1e-9
    if excess(least) >= 0:
        return plain
    root = optimize.brentq(excess, least, 1.0, xtol=1e-10)
    return float(root / (1 - root))


def _fewer_for_outliers(ratio: Floats, df_one: float, df_two: float) -> Floats:
    """Return the prior's degrees of freedom for each gene, fewer for those too far above it."""
    n = ratio.size
    log_tail = stats.f.logsf(ratio, df_one, min(df_two, _ENDLESS))
    expected = np.log((n - stats.rankdata(ratio) + 0.5) / n)
    log_typical = np.minimum(log_tail - expected, 0.0)
    if not (log_typical < 0).any():
        return np.full(n, df_two)
    # A pooled number instead of infinity, so that outliers can get a share of it.
    whole = df_two if np.isfinite(df_two) else n * df_one
    least = _df_of_outlier(ratio, log_tail, df_one, df_two)
    typical = np.exp(log_typical)
    shrunken = np.where(log_typical < 0, typical * whole + (1 - typical) * least, df_two)
    order = np.argsort(log_tail, kind="stable")
    ordered = shrunken[order]
    with np.errstate(invalid="ignore"):
        means = np.cumsum(ordered) / np.arange(1, n + 1)
    first = int(np.nanargmin(means))
    ordered[: first + 1] = means[first]
    shrunken[order] = np.maximum.accumulate(ordered)
    return np.asarray(shrunken)


def _df_of_outlier(ratio: Floats, log_tail: Floats, df_one: float, df_two: float) -> float:
    """Degrees of freedom that would put the largest variance at the median."""
    if not np.isfinite(df_two) or not np.isfinite(log_tail.min()):
        return 0.0
    half = np.log(0.5)
    guess = half / log_tail.min() * df_two
    again = stats.f.logsf(ratio.max(), df_one, guess)
    return float(half / again * guess)
