"""Cox regressions of one survival time on many features, computed together.

Ties by Efron's method (1977, doi 10.1080/01621459.1977.10480613). Proportional hazards are tested
by the correlation of scaled Schoenfeld residuals with the rank of the time of death (Grambsch and
Therneau 1994, doi 10.1093/biomet/81.3.515).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

#: Values of a block of samples × features.
_BLOCK_VALUES: Final = 1 << 20
_MOST_STEPS: Final = 50
_SMALL_STEP: Final = 1e-9
#: Log hazard ratio per standard deviation beyond which the likelihood has no maximum.
_DIVERGED: Final = 15.0


@dataclass(frozen=True, slots=True)
class CoxFit:
    """Per feature; missing if the likelihood has no maximum or the feature adds no information.

    ``ph_p_value`` is small if the hazard ratio changes over time.
    """

    log_hazard: Floats
    se: Floats
    log_likelihood: Floats
    ph_p_value: Floats


@dataclass(frozen=True, slots=True)
class _Deaths:
    """Rows of deaths (samples sorted from the latest), and the samples at risk at each.

    ``inside``: the samples of one stratum, among which the other numbers count.
    """

    inside: slice
    rows: Ints
    #: Last row at risk, the number of its tied deaths, and the share of them counted as dead.
    last: Ints
    tied: Ints
    share: Floats
    trend: Floats

    @property
    def any_tied(self) -> bool:
        return bool(self.share.any())

    def at_risk(self, values: Floats) -> Floats:
        """Sum ``values`` over those at risk at each death."""
        sums = np.cumsum(values, axis=0)[self.last]
        if not self.any_tied:
            return np.asarray(sums)
        starts = np.flatnonzero(np.diff(self.tied, prepend=-1))
        dead = np.add.reduceat(values[self.rows], starts, axis=0)[self.tied]
        return np.asarray(sums - self.share[:, None] * dead)


@dataclass(frozen=True, slots=True)
class _Point:
    """Likelihood, gradient (k × features), information (features × k × k) and time trend."""

    log_likelihood: Floats
    gradient: Floats
    information: Floats
    trend: Floats

    def __add__(self, other: _Point) -> _Point:
        return _Point(
            self.log_likelihood + other.log_likelihood,
            self.gradient + other.gradient,
            self.information + other.information,
            self.trend + other.trend,
        )


def cox_regression(
    features: Floats,
    time: Floats,
    event: Bools,
    adjust: Floats | None = None,
    strata: Ints | None = None,
) -> CoxFit:
    """Fit a Cox model for each feature, with or without covariates that all models share.

    Parameters
    ----------
    features
        Samples × features, complete.
    time
        Time to death or to the end of follow-up.
    event
        Whether it ended in death.
    adjust
        Samples × covariates, of full rank within strata.
    strata
        Stratum of each sample, 0 …; each then has its separate baseline hazard, and patients are
        compared within strata only. One stratum by default.

    Notes
    -----
    Newton's method, with steps halved if the likelihood would fall. Sums over samples at risk are
    running sums over samples sorted by time, for a block of features together.
    """
    code = np.zeros(len(time), dtype=np.int64) if strata is None else np.asarray(strata)
    order = np.lexsort((-time, code))
    code = code[order]
    deaths = _deaths(time[order], np.asarray(event, dtype=bool)[order], code)
    shared = np.zeros((len(time), 0)) if adjust is None else np.asarray(adjust, dtype=float)
    shared = _standardized(shared[order], code)[0]
    values, scale = _standardized(np.asarray(features, dtype=float)[order], code)
    made = np.full((4, values.shape[1]), np.nan)
    usable = np.flatnonzero(_is_news(values, shared) & bool(deaths))
    width = max(1, _BLOCK_VALUES // max(1, len(time)))
    for start in range(0, usable.size, width):
        chosen = usable[start : start + width]
        made[:, chosen] = _fit(values[:, chosen], shared, deaths)
    return CoxFit(made[0] / scale, made[1] / scale, made[2], made[3])


def _deaths(time: Floats, event: Bools, code: Ints) -> list[_Deaths]:
    """Return the deaths of each stratum that has any; times are ranked over all strata."""
    rank = stats.rankdata(time[event])
    trend = np.zeros(len(time))
    trend[event] = rank - rank.mean() if rank.size else 0.0
    edges = np.flatnonzero(np.diff(code, prepend=-1, append=-1))
    return [
        _of_stratum(time, event, trend, slice(int(start), int(end)))
        for start, end in pairwise(edges)
        if event[start:end].any()
    ]


def _of_stratum(time: Floats, event: Bools, trend: Floats, inside: slice) -> _Deaths:
    time, trend = time[inside], trend[inside]
    rows = np.flatnonzero(event[inside])
    _, tied, size = np.unique(-time[rows], return_inverse=True, return_counts=True)
    number = np.arange(rows.size) - np.concatenate([[0], np.cumsum(size)[:-1]])[tied]
    last = np.searchsorted(-time, -time[rows], side="right") - 1
    return _Deaths(inside, rows, last, tied, number / size[tied], trend[rows])


def _standardized(values: Floats, code: Ints) -> tuple[Floats, Floats]:
    """Return deviations from the mean of the stratum, and what they were divided by."""
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    size = np.diff(np.append(starts, len(code)))
    means = np.add.reduceat(values, starts, axis=0) / size[:, None] if len(code) else values
    centered = values - np.repeat(means, size, axis=0)
    spread = centered.std(axis=0)
    # What does not vary within strata has deviations of rounding only.
    varies = spread > 1e-12 * np.abs(values).max(axis=0, initial=0.0)
    return centered / np.where(varies, spread, 1.0), np.where(varies, spread, np.nan)


def _is_news(values: Floats, shared: Floats) -> Bools:
    """Return which features vary beyond the covariates."""
    left = values
    if shared.shape[1]:
        basis = np.linalg.qr(shared)[0]
        left = values - basis @ (basis.T @ values)
    return np.asarray((left**2).mean(axis=0) > 1e-8)


def _fit(values: Floats, shared: Floats, deaths: list[_Deaths]) -> Floats:
    """Return estimate, standard error, log-likelihood and p-value of the trend."""
    n_features, size = values.shape[1], 1 + shared.shape[1]
    made = np.full((4, n_features), np.nan)
    active = np.arange(n_features)
    beta, step = np.zeros((size, n_features)), np.zeros((size, n_features))
    before = np.full(n_features, -np.inf)
    for _ in range(_MOST_STEPS):
        point = _at(values[:, active], shared, deaths, beta[:, active])
        worse = point.log_likelihood < before[active] - 1e-9 * np.abs(before[active])
        inverse, solid = _inverse(point.information)
        newton = np.einsum("pij,jp->ip", inverse, point.gradient)
        move = np.where(worse, -step[:, active] / 2, newton)
        done = ~worse & solid & (np.abs(newton).max(axis=0) < _SMALL_STEP)
        made[:, active[done]] = _summary(beta[:, active[done]], point, inverse, done, deaths)
        before[active] = np.where(worse, before[active], point.log_likelihood)
        # A halved step starts from the last better position.
        step[:, active] = np.where(worse, step[:, active] / 2, move)
        beta[:, active] += move
        lost = ~solid | (np.abs(beta[:, active]).max(axis=0) > _DIVERGED)
        active = active[~done & ~lost]
        if not active.size:
            break
    return made


def _at(values: Floats, shared: Floats, deaths: list[_Deaths], beta: Floats) -> _Point:
    """Return likelihood and its derivatives, summed over strata."""
    parts = (_evaluate(values[one.inside], shared[one.inside], one, beta) for one in deaths)
    return reduce(_Point.__add__, parts)


def _evaluate(values: Floats, shared: Floats, deaths: _Deaths, beta: Floats) -> _Point:
    columns = [values, *(shared[:, [j]] for j in range(shared.shape[1]))]
    eta = beta[0] * values + shared @ beta[1:]
    top = eta.max(axis=0)
    weight = np.exp(eta - top)
    total = deaths.at_risk(weight)
    weighted = [weight * column for column in columns]
    means = [deaths.at_risk(w) / total for w in weighted]
    apart = [
        np.broadcast_to(c, values.shape)[deaths.rows] - m
        for c, m in zip(columns, means, strict=True)
    ]
    size = len(columns)
    information = np.empty((values.shape[1], size, size))
    for i in range(size):
        for j in range(i + 1):
            product = deaths.at_risk(weighted[i] * columns[j]) / total - means[i] * means[j]
            information[:, i, j] = information[:, j, i] = product.sum(axis=0)
    return _Point(
        (eta[deaths.rows] - top - np.log(total)).sum(axis=0),
        np.stack([part.sum(axis=0) for part in apart]),
        information,
        np.stack([deaths.trend @ part for part in apart]),
    )


def _inverse(information: Floats) -> tuple[Floats, Bools]:
    """Return the inverses, and which matrices have one."""
    diagonal = np.sqrt(np.maximum(np.einsum("pii->pi", information), 1e-300))
    scaled = information / diagonal[:, :, None] / diagonal[:, None, :]
    solid = (diagonal.min(axis=1) > 1e-8) & (np.linalg.det(scaled) > 1e-12)
    safe = np.where(solid[:, None, None], scaled, np.eye(information.shape[1]))
    inverse = np.linalg.inv(safe) / diagonal[:, :, None] / diagonal[:, None, :]
    return np.where(solid[:, None, None], inverse, 0.0), solid


def _summary(
    beta: Floats, point: _Point, inverse: Floats, done: Bools, deaths: list[_Deaths]
) -> Floats:
    variance = inverse[done, 0, 0]
    n_deaths = sum(one.rows.size for one in deaths)
    spread = sum(float((one.trend**2).sum()) for one in deaths)
    along = n_deaths * np.einsum("pj,jp->p", inverse[done, 0], point.trend[:, done])
    chi2 = along**2 / (n_deaths * variance * spread) if spread > 0 else np.full(len(along), np.nan)
    return np.stack(
        [beta[0], np.sqrt(variance), point.log_likelihood[done], stats.chi2.sf(chi2, 1)]
    )
