"""Compiled negative binomial regression with log link, gene by gene, on a shared pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import compiled
from nkscore.stats.linear._least_squares import _assemble, _factor, _invert, _scale, _solve

if TYPE_CHECKING:
    from nkscore._types import Array


#: Largest change of a linear predictor in one step (natural logarithm).
_LONGEST_STEP = 4.0
#: Largest change, times the root of the weight, at which a fit has converged.
_CLOSE = 1e-4
_MOST_STEPS = 30
#: Smallest linear predictor of a fitted mean: below it a mean is zero for all purposes.
_LEAST_LOG_MEAN = -16.0


@compiled(
    "void(float64[::1], int64[::1], int64[::1], float64[::1], int64[:,::1], float64[::1],"
    "float64[::1], float64[::1])"
)
def _leverages(  # noqa: PLR0917 (numba)
    weights: Array,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    place: Array,
    z: Array,
    scale: Array,
    out: Array,
) -> None:
    """Fill ``out`` with the diagonal of the hat matrix; ``z`` is the scaled inverse."""
    for s in range(weights.size):
        total = 0.0
        for e in range(x_starts[s], x_starts[s + 1]):
            i = x_columns[e]
            total += (x_values[e] * scale[i]) ** 2 * z[i]
            for f in range(e + 1, x_starts[s + 1]):
                j = x_columns[f]
                product = x_values[e] * x_values[f] * scale[i] * scale[j]
                total += 2.0 * product * z[place[max(i, j), min(i, j)]]
        out[s] = min(max(weights[s] * total, 0.0), 1.0)


@compiled(
    "void(float64[::1], boolean[::1], float64[::1], float64[::1], float64, float64[::1],"
    "float64[::1], float64[::1], float64[::1])"
)
def _working(  # noqa: PLR0917 (numba)
    y: Array,
    used: Array,
    log_library: Array,
    hat: Array,
    dispersion: float,
    eta: Array,
    mu: Array,
    weight: Array,
    work: Array,
) -> None:
    """Fill means, weights and working responses of one step."""
    for s in range(y.size):
        mu[s] = np.exp(eta[s])
        inflation = 1.0 + dispersion * mu[s]
        weight[s] = mu[s] / inflation if used[s] else 0.0
        seen = y[s] + 0.5 * hat[s] * inflation
        work[s] = eta[s] - log_library[s] + (seen - mu[s]) / mu[s]


@compiled(
    "float64(boolean[::1], float64[::1], int64[::1], int64[::1], float64[::1], float64[::1],"
    "float64[::1], float64[::1], float64[::1])"
)
def _moved(  # noqa: PLR0917 (numba)
    used: Array,
    log_library: Array,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    b: Array,
    weight: Array,
    work: Array,
    eta: Array,
) -> float:
    """Move ``eta`` toward its new fit and return the largest weighted change."""
    longest, change = 0.0, 0.0
    for s in range(eta.size):
        value = log_library[s]
        for e in range(x_starts[s], x_starts[s + 1]):
            value += x_values[e] * b[x_columns[e]]
        work[s] = max(value, _LEAST_LOG_MEAN)
        if used[s]:
            step = abs(work[s] - eta[s])
            longest = max(longest, step)
            change = max(change, step * np.sqrt(weight[s]))
    part = 1.0 if longest <= _LONGEST_STEP else _LONGEST_STEP / longest
    for s in range(eta.size):
        eta[s] += part * (work[s] - eta[s])
    return float(change)


@compiled(
    "void(float64[:,::1], boolean[:,::1], float64[::1], float64, int64, int64[::1],"
    "int64[::1], float64[::1], int64[::1], int64[::1], int64[:,::1], int64,"
    "float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1],"
    "float64[:,::1])"
)
def fit_counts(  # noqa: PLR0917 (numba)
    y: Array,
    used: Array,
    log_library: Array,
    dispersion: float,
    reduce_bias: int,
    x_starts: Array,
    x_columns: Array,
    x_values: Array,
    starts: Array,
    rows: Array,
    place: Array,
    size: int,
    coefficients: Array,
    unscaled: Array,
    log_mean: Array,
    mean: Array,
    leverage: Array,
    weights: Array,
) -> None:
    """Fit all genes by iterated least squares; ``log_mean`` holds the start.

    ``weights`` are those of the last step, from which ``unscaled`` is; 0 for unused samples.

    With ``reduce_bias`` 1 (else 0) the score is that of Firth (1993, doi 10.1093/biomet/80.1.27):
    to each count is added half of its leverage, so that effects stay finite and hardly biased where
    an arm has few counts or none.
    """
    n, n_samples = place.shape[0], y.shape[1]
    a, z, b, scale = np.zeros(size), np.zeros(size), np.zeros(n), np.zeros(n)
    kept, lost = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    weight, work, hat = np.zeros(n_samples), np.zeros(n_samples), np.zeros(n_samples)
    for g in range(y.shape[0]):
        eta, mu = log_mean[g], mean[g]
        hat[:] = 0.0
        for step in range(_MOST_STEPS):
            _working(y[g], used[g], log_library, hat, dispersion, eta, mu, weight, work)
            _assemble(work, weight, x_starts, x_columns, x_values, place, a, b)
            _scale(a, b, scale, starts, rows, kept, lost)
            _factor(a, starts, rows, place, kept, lost)
            _solve(a, starts, rows, kept, b)
            if reduce_bias == 1:
                _invert(a, starts, rows, place, kept, z)
                _leverages(weight, x_starts, x_columns, x_values, place, z, scale, hat)
            b *= scale
            change = _moved(
                used[g], log_library, x_starts, x_columns, x_values, b, weight, work, eta
            )
            # Half counts enter with the leverages of the step before.
            if change < _CLOSE and (step > 0 or reduce_bias == 0):
                break
        if reduce_bias == 0:
            _invert(a, starts, rows, place, kept, z)
            _leverages(weight, x_starts, x_columns, x_values, place, z, scale, hat)
        mu[:] = np.exp(eta)
        leverage[g] = hat
        weights[g] = weight
        for k in range(n):
            coefficients[g, k] = np.nan if lost[k] else b[k]
            unscaled[g, k] = np.nan if lost[k] else z[k] * scale[k] * scale[k]


@compiled(
    "void(float64[:,::1], boolean[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64,"
    "float64, float64, float64[::1], float64[::1], float64[:,::1], float64[:,::1])"
)
def adjusted_deviances(  # noqa: PLR0917 (numba)
    y: Array,
    used: Array,
    likely: Array,
    mean: Array,
    leverage: Array,
    dispersion: float,
    first: float,
    step: float,
    log_moment: Array,
    log_spread: Array,
    squares: Array,
    df: Array,
) -> None:
    """Fill squares and degrees of freedom of each count, see ``_unit_deviance``.

    Deviances are those of the means of the highest likelihood, ``likely``, with moments halfway
    between those and the means of reduced bias.
    """
    last = log_moment.size - 1
    for g in range(y.shape[0]):
        for s in range(y.shape[1]):
            squares[g, s] = 0.0
            df[g, s] = 0.0
            if not used[g, s]:
                continue
            mu = likely[g, s]
            at = (np.log(0.5 * (mu + mean[g, s])) - first) / step
            i = min(max(int(at), 0), last - 1)
            part = min(max(at - i, 0.0), 1.0)
            moment = np.exp(log_moment[i] + part * (log_moment[i + 1] - log_moment[i]))
            spread = np.exp(log_spread[i] + part * (log_spread[i + 1] - log_spread[i]))
            df[g, s] = (1.0 - leverage[g, s]) * 2.0 * moment * moment / spread
            if mu <= 0.0:
                continue
            count = y[g, s]
            own = count * np.log(count / mu) if count > 0.0 else 0.0
            if dispersion < 1e-8:
                deviance = 2.0 * (own - (count - mu))
            else:
                size = 1.0 / dispersion
                deviance = 2.0 * (own - (count + size) * np.log1p((count - mu) / (mu + size)))
            squares[g, s] = 2.0 * moment / spread * max(deviance, 0.0)
