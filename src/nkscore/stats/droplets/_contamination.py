"""Effects after subtracting expected foreign counts, with their error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, stats

from nkscore.stats.linear._normalization import tmm_factors

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats

_HALF_COUNT: Final = 0.5
#: Below this number of endogenous molecules an arm counts as empty; keeps logarithms finite.
_FEWEST_OWN: Final = 0.05
_LEAST_LOG_VARIANCE: Final = 1e-3
_STEPS: Final = 60
#: Own counts of an arm that has none beyond the foreign ones, over their error.
_LEAST_OWN: Final = 0.5
_LN2: Final = float(np.log(2))
_MEDIAN_CHI2: Final = float(stats.chi2.ppf(0.5, 1))


@dataclass(frozen=True, slots=True)
class Remainder:
    """Per gene: change of the log2 fold change, evidence for the remaining effect (a signed z).

    ``evidence_before`` is the same evidence without subtraction. ``added_error`` (log2) is the
    error that subtraction adds; ``foreign_error`` is its part from the foreign expectation, which
    samples with the same foreign RNA share.
    """

    shift: Floats
    evidence: Floats
    evidence_before: Floats
    added_error: Floats
    foreign_error: Floats


@dataclass(frozen=True, slots=True)
class _Sums:
    """Treated and control (rows) × genes: counts, expected foreign ones, own library size."""

    counts: Floats
    foreign: Floats
    size: Floats


def remaining_effect(
    counts: Floats,
    foreign: Floats,
    treated: Bools,
    *,
    log_variance: Floats,
    error: float,
) -> Remainder:
    """Compare two arms after subtracting expected foreign counts.

    Parameters
    ----------
    counts
        Samples × genes, all measured genes.
    foreign
        Expected foreign counts, samples × genes.
    treated
        Whether a sample is treated.
    log_variance
        Variance of the natural log fold change per gene, from the response model.
    error
        Relative standard deviation of the foreign counts around their expectation, the same
        deviation in all samples of an arm.

    Notes
    -----
    Counts of an arm are Poisson with mean ``size · own + factor · foreign``; the logarithms of
    ``own`` differ by the effect plus noise with the variance between samples, and ``log(factor)``
    has standard deviation ``error``. Evidence is the signed root of the increase in penalized
    deviance for a zero effect, so it falls to zero if foreign RNA alone explains the counts,
    however large the logarithm of the small difference is. Errors are those of the logarithm of
    the difference, whose relative error grows as the own counts of an arm shrink.
    """
    own = np.maximum(counts - foreign, 0.0)
    before = _sums(counts, np.zeros_like(foreign), treated, _library(counts))
    after = _sums(counts, foreign, treated, _library(own))
    counting = (1 / (before.counts + 1)).sum(axis=0)
    between = np.maximum(log_variance - counting, _LEAST_LOG_VARIANCE)
    shift = _log2_ratio(after) - _log2_ratio(before)
    # If no foreign counts are expected, keep the estimate of the model.
    shift[foreign.sum(axis=0) == 0] = 0.0
    evidence, evidence_before = (_evidence(sums, between, error) for sums in (after, before))
    added, of_foreign = _added_variance(after, error)
    return Remainder(
        shift,
        evidence,
        evidence_before,
        np.sqrt(added) / _LN2,
        np.sqrt(of_foreign) / _LN2,
    )


def _added_variance(sums: _Sums, error: float) -> tuple[Floats, Floats]:
    """Return the variance that subtraction adds to a log ratio, and its part from the expectation.

    An arm without own counts has those that its error allows.
    """
    of_expectation = (error * sums.foreign) ** 2
    spread = np.sqrt(sums.counts + of_expectation)
    own = np.maximum(sums.counts - sums.foreign, _LEAST_OWN * spread) + 1
    foreign = of_expectation / own**2
    counting = (sums.counts + 1) / own**2 - 1 / (sums.counts + 1)
    return (foreign + np.maximum(counting, 0.0)).sum(axis=0), foreign.sum(axis=0)


def _library(counts: Floats) -> Floats:
    total = counts.sum(axis=1)
    return np.asarray(total * tmm_factors(counts, total))


def _sums(counts: Floats, foreign: Floats, treated: Bools, library: Floats) -> _Sums:
    arms = np.array([treated, ~treated], dtype=float)
    return _Sums(arms @ counts, arms @ foreign, (arms @ library)[:, None])


def _log2_ratio(sums: _Sums) -> Floats:
    own = np.maximum(sums.counts - sums.foreign, 0.0)
    # The same prior share in both arms, half a count in the smaller one.
    prior = _HALF_COUNT / sums.size.min()
    share = own / sums.size + prior
    return np.asarray(np.log2(share[0] / share[1]))


def _evidence(sums: _Sums, between: Floats, error: float) -> Floats:
    own = np.maximum(sums.counts - sums.foreign, 0.0) / sums.size
    cost = _cost_of_no_effect(sums, between, error)
    return np.asarray(np.sign(own[0] - own[1]) * np.sqrt(np.maximum(cost, 0.0)))


def _cost_of_no_effect(sums: _Sums, between: Floats, error: float) -> Floats:
    """Return the minimum penalized deviance with equal log rates, by damped scoring steps.

    Coordinates per gene: mean log rate, difference of log rates, log factor in both arms.
    """
    n_genes = between.size
    low = np.log(_FEWEST_OWN / sums.size.sum())
    own = np.maximum(sums.counts - sums.foreign, 0.0).sum(axis=0) / sums.size.sum()
    point = np.zeros((n_genes, 4))
    point[:, 0] = np.maximum(np.log(np.maximum(own, 1e-300)), low)
    prior = np.column_stack([np.zeros(n_genes), 1 / between, *[np.full(n_genes, 1 / error**2)] * 2])
    damping = np.full(n_genes, 1e-3)
    value = _cost(sums, point, prior)
    # Most genes converge after a few steps; only the others continue.
    going = np.arange(n_genes)
    for _ in range(_STEPS):
        if not going.size:
            break
        part = _Sums(sums.counts[:, going], sums.foreign[:, going], sums.size)
        trial = point[going] + np.clip(
            _scoring_step(part, point[going], prior[going], damping[going]), -2.0, 2.0
        )
        trial[:, 0] = np.maximum(trial[:, 0], low)
        trial_value = _cost(part, trial, prior[going])
        better = trial_value <= value[going]
        gain = np.where(better, value[going] - trial_value, np.inf)
        point[going[better]], value[going[better]] = trial[better], trial_value[better]
        now = damping[going]
        damping[going] = np.where(better, np.maximum(now / 5, 1e-9), np.minimum(now * 10, 1e9))
        going = going[~(better & (gain < 1e-9)) & (damping[going] <= 1e6)]
    return value


def _means(sums: _Sums, point: Floats) -> tuple[Floats, Floats]:
    """Return endogenous and foreign expected counts, arms × genes."""
    half = point[:, 1] / 2
    own = sums.size * np.exp(np.array([point[:, 0] + half, point[:, 0] - half]))
    return own, sums.foreign * np.exp(point[:, 2:].T)


def _cost(sums: _Sums, point: Floats, prior: Floats) -> Floats:
    own, foreign = _means(sums, point)
    mean = np.maximum(own + foreign, 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(sums.counts > 0, sums.counts * np.log(sums.counts / mean), 0.0)
    deviance = 2 * (ratio - sums.counts + mean)
    return np.asarray(deviance.sum(axis=0) + (prior * point**2).sum(axis=1))


def _scoring_step(sums: _Sums, point: Floats, prior: Floats, damping: Floats) -> Floats:
    own, foreign = _means(sums, point)
    mean = np.maximum(own + foreign, 1e-12)
    jacobian = np.zeros((point.shape[0], 2, 4))
    jacobian[:, :, 0] = own.T
    jacobian[:, 0, 1], jacobian[:, 1, 1] = own[0] / 2, -own[1] / 2
    jacobian[:, 0, 2], jacobian[:, 1, 3] = foreign[0], foreign[1]
    slope = (1 - sums.counts / mean).T
    gradient = np.einsum("gai,ga->gi", jacobian, slope) + prior * point
    normal = np.einsum("gai,ga,gaj->gij", jacobian, (1 / mean).T, jacobian)
    diagonal = np.arange(4)
    normal[:, diagonal, diagonal] += prior
    size = normal[:, diagonal, diagonal]
    normal[:, diagonal, diagonal] += damping[:, None] * size + 1e-12
    return np.asarray(-np.linalg.solve(normal, gradient[:, :, None])[:, :, 0])


def relative_error(counts: Floats, expected: Floats, *, minimum: float) -> float:
    """Return the spread of counts around their expectation beyond counting noise.

    Parameters
    ----------
    counts, expected
        Counts of genes that are entirely foreign, and their expected counts.
    minimum
        Lower limit of the result, which is also returned with fewer than 10 informative genes.

    Notes
    -----
    The relative standard deviation at which half of the squared residuals lie above the median of
    chi-square, so that a few genes that the cells do express change little.
    """
    if counts.size < 10:
        return minimum

    def excess(error: float) -> float:
        chi2 = (counts - expected) ** 2 / (expected + (error * expected) ** 2)
        return float(np.median(chi2)) - _MEDIAN_CHI2

    if excess(minimum) <= 0:
        return minimum
    if excess(1.0) >= 0:
        return 1.0
    return float(optimize.brentq(excess, minimum, 1.0))


def adjusted_p(p_value: Floats, evidence: Floats, evidence_before: Floats) -> Floats:
    """Return two-sided p-values of the remaining effects.

    The model's p-value, as a normal deviate, is scaled by the remaining share of the evidence. It
    never becomes more extreme than the model's p-value or the remaining evidence.
    """
    deviate = stats.norm.isf(np.maximum(p_value, 1e-300) / 2)
    before = np.abs(evidence_before)
    left = np.abs(evidence)
    kept = np.divide(left, before, out=np.ones_like(left), where=before > 0)
    remaining = 2 * stats.norm.sf(deviate * np.minimum(kept, 1.0))
    # Conversion to a deviate and back must not make a p-value smaller by rounding.
    return np.asarray(np.maximum(remaining, p_value))


def log2_ratio_of_arms(counts: Floats, treated: Bools) -> Floats:
    """Return the log2 ratio of treated to control sums, with half a count in the smaller arm."""
    return _log2_ratio(_sums(counts, np.zeros_like(counts), treated, _library(counts)))
