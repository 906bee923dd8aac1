"""Random-effects meta-analysis of many genes over few lines at once.

statsmodels' ``combine_effects`` does one gene at a time; the formulas are the same, and a test
compares the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from nkscore.stats._adjust import interval

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

_ROUNDS: Final = 100
_TOLERANCE: Final = 1e-10
#: Least part of a line's error that it does not share.
_LEAST_OWN_PART: Final = 0.1


@dataclass(frozen=True, slots=True)
class Pooled:
    """Mean over the population of lines, and how much lines differ: one value per gene.

    ``prediction_low`` and ``prediction_high``: where the effect in a further line may lie.
    ``tau2``: variance between lines. ``i2``: its share of the whole variance. ``n``: lines.
    """

    effect: Floats
    standard_error: Floats
    ci_low: Floats
    ci_high: Floats
    p_value: Floats
    prediction_low: Floats
    prediction_high: Floats
    tau2: Floats
    i2: Floats
    heterogeneity_p: Floats
    n: Ints


def between_variance(effect: Floats, variance: Floats, groups: Ints | None = None) -> Floats:
    """Estimate the variance between lines beyond sampling error (Paule and Mandel).

    Parameters
    ----------
    effect, variance
        Genes × lines: effects and their sampling variances, NaN if a gene was not measured.
    groups
        Group of each line, 0 …; lines then vary around the mean of their group. One group by
        default.

    Returns
    -------
    One value per gene, at least 0; NaN if no group has two measured lines.
    """
    known = np.isfinite(effect) & np.isfinite(variance)
    y, v = np.where(known, effect, 0.0), np.where(known, variance, 1.0)
    member = np.eye(1 + (0 if groups is None else int(np.max(groups))))[
        np.zeros(effect.shape[1], dtype=int) if groups is None else np.asarray(groups)
    ]
    df = known.sum(axis=1) - ((known.astype(float) @ member) > 0).sum(axis=1)
    tau2 = np.zeros(len(y))
    for _ in range(_ROUNDS):
        weight = known / (v + tau2[:, None])
        total = np.maximum(weight @ member, 1e-300)
        residual = y - ((weight * y) @ member / total) @ member.T
        excess = (weight * residual**2).sum(axis=1) - df
        slope = (weight**2 * residual**2).sum(axis=1)
        # The function is convex and decreasing, so Newton steps from the left never overshoot.
        step = np.where(excess > 0, excess / np.maximum(slope, 1e-300), 0.0)
        tau2 = tau2 + step
        if not (step > _TOLERANCE * (tau2 + 1e-12)).any():
            break
    return np.asarray(np.where(df > 0, tau2, np.nan))


@dataclass(frozen=True, slots=True)
class Lines:
    """Genes × lines: effects (0 if not measured), errors, known entries; error correlation.

    ``common`` is the part of the errors that all lines share.
    """

    effect: Floats
    error: Floats
    common: Floats
    known: Bools
    correlation: float

    @classmethod
    def of(
        cls,
        effect: Floats,
        standard_error: Floats,
        correlation: float,
        common: Floats | None = None,
    ) -> Lines:
        """Mark the measured entries."""
        known = np.isfinite(effect) & np.isfinite(standard_error)
        y, s = np.where(known, effect, 0.0), np.where(known, standard_error, 1.0)
        shared = np.zeros_like(s) if common is None else np.where(known, common, 0.0)
        rest = np.sqrt(np.maximum(s**2 - shared**2, (_LEAST_OWN_PART * s) ** 2))
        return cls(y, rest, shared, known, correlation)

    @property
    def own_variance(self) -> Floats:
        """Variance of each line's error without the parts that lines share."""
        return np.asarray((1 - self.correlation) * self.error**2)

    def pooled(self, tau2: Floats | float) -> tuple[Floats, Floats, Floats, Floats]:
        """Return mean, its independent and shared variance, and residual sum of squares."""
        weight = self.known / (self.own_variance + np.reshape(tau2, (-1, 1)))
        total = np.where(self.known.any(axis=1), weight.sum(axis=1), np.nan)
        mean = (weight * self.effect).sum(axis=1) / total
        spread = (weight * (self.effect - mean[:, None]) ** 2).sum(axis=1)
        shared = self.correlation * ((weight * self.error).sum(axis=1) / total) ** 2
        shared += ((weight * self.common).sum(axis=1) / total) ** 2
        return mean, 1 / total, shared, spread


def heterogeneity(lines: Lines) -> tuple[Floats, Floats, Floats]:
    """Return τ², I² and the p-value of Cochran's test of equal effects; NaN for single lines."""
    n = lines.known.sum(axis=1)
    effect = np.where(lines.known, lines.effect, np.nan)
    tau2 = between_variance(effect, lines.own_variance)
    q = lines.pooled(0.0)[3]
    i2 = np.maximum(0.0, 1 - (n - 1) / np.where(q > 0, q, 1.0)) * (q > 0)
    p = stats.chi2.sf(q, np.maximum(n - 1, 1))
    return tau2, np.where(n > 1, i2, np.nan), np.where(n > 1, p, np.nan)


def random_effects(
    effect: Floats,
    standard_error: Floats,
    *,
    correlation: float = 0.0,
    common: Floats | None = None,
    confidence: float = 0.95,
) -> Pooled:
    """Pool the effects of each gene over lines, separately for each gene.

    Parameters
    ----------
    effect, standard_error
        Genes × lines, NaN if a gene was not measured.
    correlation
        Correlation of the errors of any two lines, 0 to 1, for example from shared controls.
    common
        Genes × lines: part of ``standard_error`` that all lines share, and that the correlation
        does not contain; 0 by default.
    confidence
        Coverage of the intervals.

    Notes
    -----
    Weights 1 / ((1 − ρ) s² + τ²) with the τ² of Paule and Mandel (1982, doi 10.6028/jres.087.022);
    variance of the pooled effect after Hartung and Knapp (2001, doi 10.1002/sim.1009), never below
    the one that τ² gives (Röver et al. 2015, doi 10.1186/s12874-015-0091-1); plus ρ times the
    squared weighted mean of the errors, which does not average out over lines; n − 1 degrees of
    freedom. Prediction interval, with n − 2: Higgins et al. 2009, doi
    10.1111/j.1467-985X.2008.00552.x.
    """
    lines = Lines.of(effect, standard_error, correlation, common)
    tau2, i2, heterogeneity_p = heterogeneity(lines)
    n = lines.known.sum(axis=1)
    df = np.maximum(n - 1, 1)
    mean, variance, shared, spread = lines.pooled(np.nan_to_num(tau2))
    variance = np.where(n > 1, np.maximum(spread / df, 1.0), np.nan) * variance + shared
    error = np.sqrt(variance)
    low, high = interval(mean, error, df, confidence)
    of_a_line = np.sqrt(variance + tau2)
    prediction = interval(mean, of_a_line, np.where(n > 2, n - 2, np.nan), confidence)
    return Pooled(
        effect=mean,
        standard_error=error,
        ci_low=low,
        ci_high=high,
        p_value=np.asarray(2 * stats.t.sf(np.abs(mean) / error, df)),
        prediction_low=prediction[0],
        prediction_high=prediction[1],
        tau2=tau2,
        i2=i2,
        heterogeneity_p=heterogeneity_p,
        n=n,
    )


def error_correlation(z: Floats, *, within: float = 1.5) -> float:
    """Estimate the error correlation of two lines from genes that hardly changed.

    Parameters
    ----------
    z
        Genes × lines: effects over standard errors, NaN if not measured.
    within
        Only pairs in which both are smaller than this are used, so that real effects, which lines
        also share, count little.

    Returns
    -------
    Median over pairs of lines of the correlation of the normal distribution whose truncation gives
    the observed correlation; 0 to 0.95. Weak shared effects raise it, which is conservative.
    """
    grid = np.linspace(0.0, 0.95, 39)
    expected = _truncated_correlation(grid, within)
    found = []
    small = np.abs(z) < within
    for i in range(z.shape[1]):
        for j in range(i):
            both = small[:, i] & small[:, j]
            if both.sum() >= 50:
                seen = np.mean(z[both, i] * z[both, j]) / np.sqrt(
                    np.mean(z[both, i] ** 2) * np.mean(z[both, j] ** 2)
                )
                found.append(float(np.interp(seen, expected, grid)))
    return float(np.median(found)) if found else 0.0


def _truncated_correlation(rho: Floats, within: float) -> Floats:
    """Correlation about zero of a standard normal pair truncated to bounds."""
    x = np.linspace(-within, within, 201)
    a, b = np.meshgrid(x, x)
    r = rho[:, None, None]
    density = np.exp(-(a**2 - 2 * r * a * b + b**2) / (2 * (1 - r**2)))
    return np.asarray((density * a * b).sum(axis=(1, 2)) / (density * a**2).sum(axis=(1, 2)))
