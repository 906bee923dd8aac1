"""Mean and variance of the deviance of one negative binomial count, by summing over all counts.

The deviance of a large count is a chi-square variable of one degree of freedom; that of a small
count is not. A count of mean 0.1 has a deviance of 0.45 on average, with a variance of 0.87:
matched by its first two moments, it is a scaled chi-square variable of 0.47 degrees of freedom.
With this adjustment the residual variances of sparse genes are right instead of much too small
(Chen et al. 2025, edgeR 4, doi 10.1093/nar/gkaf018).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Floats


#: Natural logarithm of the means at which the moments are computed; beyond, they barely change.
_LOG_MEANS = np.linspace(np.log(1e-6), np.log(500.0), 241)
#: A dispersion below it is that of a Poisson variable.
_LEAST_DISPERSION = 1e-8


@dataclass(frozen=True, slots=True)
class DevianceMoments:
    """Logarithms of mean and variance of the unit deviance, on an even grid of log means."""

    first: float
    step: float
    log_mean: Floats
    log_variance: Floats


@lru_cache(maxsize=64)
def deviance_moments(dispersion: float) -> DevianceMoments:
    """Return the moments for one dispersion (variance = mean + dispersion · mean²)."""
    means = np.exp(_LOG_MEANS)
    found = np.array([_summed(float(mean), dispersion) for mean in means])
    step = float(_LOG_MEANS[1] - _LOG_MEANS[0])
    return DevianceMoments(
        float(_LOG_MEANS[0]),
        step,
        np.ascontiguousarray(np.log(found[:, 0])),
        np.ascontiguousarray(np.log(found[:, 1])),
    )


def unit_deviance(counts: Floats, mean: float | Floats, dispersion: float) -> Floats:
    """Return the deviance of each count, 0 where it equals its mean."""
    own = special.xlogy(counts, np.where(counts > 0, counts, 1) / mean)
    if dispersion < _LEAST_DISPERSION:
        return np.asarray(2 * (own - (counts - mean)))
    size = 1 / dispersion
    rest = (counts + size) * np.log1p((counts - mean) / (mean + size))
    return np.asarray(2 * np.maximum(own - rest, 0.0))


def _summed(mean: float, dispersion: float) -> tuple[float, float]:
    spread = np.sqrt(mean + dispersion * mean**2)
    # The tail of an overdispersed variable is that of a gamma variable, not of a normal one.
    last = int(np.ceil(mean + 12 * spread + 40 * dispersion * mean + 30))
    counts = np.arange(last + 1, dtype=np.float64)
    probability = np.exp(_log_probability(counts, mean, dispersion))
    deviance = unit_deviance(counts, mean, dispersion)
    first = float(probability @ deviance)
    second = float(probability @ (deviance - first) ** 2)
    return first, second


def _log_probability(counts: Floats, mean: float, dispersion: float) -> Floats:
    if dispersion < _LEAST_DISPERSION:
        return np.asarray(counts * np.log(mean) - mean - special.gammaln(counts + 1))
    size = 1 / dispersion
    ways = special.gammaln(counts + size) - special.gammaln(size) - special.gammaln(counts + 1)
    return np.asarray(
        ways - size * np.log1p(mean / size) + counts * (np.log(mean) - np.log(mean + size))
    )
