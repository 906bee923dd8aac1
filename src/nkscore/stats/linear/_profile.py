"""Profile likelihood of an effect, from the information in each arm.

The fit of an effect is summarized by two negative binomial counts, one per arm, whose means and
information reproduce the effect and its variance. The comparison of two counts has one nuisance
parameter per gene, so signed roots of likelihood ratios, and the intervals from them, are cheap and
need no second fit of the model. If an arm has almost no counts the likelihood is skewed: the
standard error is then large even if zero is well outside the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from nkscore._types import Array, Floats, Ints
    from nkscore.stats.linear._quasi_likelihood import CountFit


_STEPS = 60
_CLOSE = 1e-7


@dataclass(frozen=True, slots=True)
class TwoCounts:
    """Per gene: the effect (natural logarithm), and mean and dispersion of each arm."""

    effect: Floats
    treated: Floats
    control: Floats
    dispersion_treated: Floats
    dispersion_control: Floats

    def root(self, at: float = 0.0) -> Floats:
        """Return the signed root of the likelihood ratio against the effect ``at``."""
        out = np.empty(self.effect.size)
        signed_roots(*self._arrays(), at, out)
        return out

    def bounds(self, size: Floats) -> tuple[Floats, Floats]:
        """Return the effects, below and above, at which the root has this size."""
        low, high = np.empty((2, self.effect.size))
        profile_bounds(*self._arrays(), np.ascontiguousarray(size), -1.0, low)
        profile_bounds(*self._arrays(), np.ascontiguousarray(size), 1.0, high)
        return low, high

    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        return (
            np.ascontiguousarray(self.effect),
            np.ascontiguousarray(self.treated),
            np.ascontiguousarray(self.control),
            np.ascontiguousarray(self.dispersion_treated),
            np.ascontiguousarray(self.dispersion_control),
        )


def two_counts(
    fit: CountFit, genes: Ints, arms: tuple[Ints, Ints], *, effect: Floats, unscaled: Floats
) -> TwoCounts:
    """Summarize the fit of some genes by the samples of each arm, the treated ones first.

    ``unscaled`` is the variance of the effect without σ².
    """
    part = [fit.weights[np.ix_(genes, arm)] for arm in arms]
    information = [weights.sum(axis=1) for weights in part]
    # The information in the control at which the variance is that of the fit.
    rest = np.maximum(unscaled - 1 / information[0], 1e-12)
    known = (information[0], 1 / rest)
    inflation = [
        fit.mean[np.ix_(genes, arm)].sum(axis=1) / total
        for arm, total in zip(arms, information, strict=True)
    ]
    means = [i * k for i, k in zip(inflation, known, strict=True)]
    dispersion = [(i - 1) / m for i, m in zip(inflation, means, strict=True)]
    return TwoCounts(effect, *means, *dispersion)


@compiled("float64(float64, float64, float64)")
def _deviance(count: float, log_ratio: float, dispersion: float) -> float:
    """Return the deviance of a positive count whose log mean is wrong by ``log_ratio``."""
    mean = count * np.exp(log_ratio)
    if dispersion * max(count, mean) < 1e-9:
        return float(2.0 * (mean - count - count * log_ratio))
    rest = (count + 1.0 / dispersion) * np.log((1 + dispersion * count) / (1 + dispersion * mean))
    return float(2.0 * (-count * log_ratio - rest))


@compiled("float64(float64, float64, float64, float64, float64)")
def _root(
    ratio: float, treated: float, control: float, spread: float, spread_control: float
) -> float:
    """Return the root if the treated mean is too high by ``ratio``, relative to the control.

    The best common change of the log means lies between 0 and ``ratio``.
    """
    low, high = min(ratio, 0.0), max(ratio, 0.0)
    share = treated / (1.0 + spread * treated)
    shift = ratio * share / (share + control / (1.0 + spread_control * control))
    for _ in range(_STEPS):
        a, b = treated * np.exp(shift - ratio), control * np.exp(shift)
        inflated, also = 1.0 + spread * a, 1.0 + spread_control * b
        score = (treated - a) / inflated + (control - b) / also
        if score > 0.0:
            low = shift
        else:
            high = shift
        moved = shift + score / (a / inflated + b / also)
        if not low < moved < high:
            moved = 0.5 * (low + high)
        change = abs(moved - shift)
        shift = moved
        if change < _CLOSE:
            break
    total = _deviance(treated, shift - ratio, spread) + _deviance(control, shift, spread_control)
    return float(np.sign(ratio) * np.sqrt(max(total, 0.0)))


@compiled(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64,"
    "float64[::1])"
)
def signed_roots(  # noqa: PLR0917 (numba)
    effect: Array,
    treated: Array,
    control: Array,
    spread: Array,
    spread_control: Array,
    at: float,
    out: Array,
) -> None:
    """Fill ``out``; NaN where the effect is unknown."""
    for g in range(effect.size):
        if np.isnan(effect[g]):
            out[g] = np.nan
        else:
            out[g] = _root(effect[g] - at, treated[g], control[g], spread[g], spread_control[g])


@compiled(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    "float64, float64[::1])"
)
def profile_bounds(  # noqa: PLR0917 (numba)
    effect: Array,
    treated: Array,
    control: Array,
    spread: Array,
    spread_control: Array,
    size: Array,
    side: float,
    out: Array,
) -> None:
    """Fill ``out`` with the effect on one side at which the root has its ``size``."""
    for g in range(effect.size):
        out[g] = np.nan
        if np.isnan(effect[g]) or not size[g] < np.inf:
            continue
        error = np.sqrt(1 / treated[g] + spread[g] + 1 / control[g] + spread_control[g])
        near, far, value_near, value_far = 0.0, size[g] * error, 0.0, 0.0
        for _ in range(_STEPS):
            value_far = abs(
                _root(-side * far, treated[g], control[g], spread[g], spread_control[g])
            )
            if value_far >= size[g]:
                break
            near, value_near, far = far, value_far, 1.5 * far
        for _ in range(_STEPS):
            # The root is nearly linear: secant steps, kept inside the bracket.
            part = (size[g] - value_near) / (value_far - value_near)
            middle = near + min(max(part, 0.02), 0.98) * (far - near)
            value = abs(_root(-side * middle, treated[g], control[g], spread[g], spread_control[g]))
            if value < size[g]:
                near, value_near = middle, value
            else:
                far, value_far = middle, value
            if abs(value - size[g]) < 1e-4 * size[g]:
                break
        out[g] = effect[g] + side * middle
