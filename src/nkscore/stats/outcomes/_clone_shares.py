"""Shares of clones in wells: drift between wells, change between arms, wells that stand out.

The count of a clone in a well has the variance ``m (1 + N t + f m)``: ``m`` expected, ``N`` cells
of the well, ``t`` one over the number of founder cells (Dirichlet-multinomial drift), ``f`` the
squared coefficient of variation of growth between wells (negative binomial). Divided by
the factor in brackets, a count has the variance of a Poisson variable of its mean, and two of them
are compared by the binomial distribution, which needs no large counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, special, stats

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats

#: Rounds of estimating drift without the clones that stand out in a well.
_ROUNDS: Final = 8
#: Cells per well of clones that show how large wells are.
_DENSE: Final = 5
_OUTLYING: Final = 0.05
_FEWEST_CLONES: Final = 3
#: With fewer clones, one that stands out and drift look alike.
ENOUGH_CLONES: Final = 20
#: Expected residual degrees of freedom that a clone's own variance is shrunken by.
_PRIOR_DF: Final = 10.0
_STEPS: Final = 60
#: Largest correction of drift by squared residuals.
_MOST_SCALE: Final = 20.0
#: Largest fold change of an interval, log2.
_FAR: Final = 30.0
_LOSSES: Final = 2.0 ** np.arange(0.05, 7.0, 0.05)
_POWER: Final = 0.8


@dataclass(frozen=True, slots=True)
class Drift:
    """Spread of clones between the wells of an arm; ``df``: residual degrees of freedom.

    ``reference``: cells of each well in clones that do not stand out in any.
    """

    per_cell: float
    growth: float
    df: int
    reference: Floats

    def factor(self, totals: Floats, share: Floats, grown: Floats | float = 1.0) -> Floats:
        """Return the variance of counts over their mean, wells × clones.

        ``grown``: growth of a clone since it was seeded, as fold.
        """
        cells = totals[:, None]
        return np.asarray(1 + cells * self.per_cell * grown + self.growth * cells * share)


@dataclass(frozen=True, slots=True)
class ShareTest:
    """Change of the share of each clone between two arms, log2."""

    log2_fc: Floats
    ci_low: Floats
    ci_high: Floats
    p_value: Floats
    #: p-value if all cells of the clone were in one arm: no test can find more.
    least_p: Floats
    detectable_loss: Floats


def fit_drift(counts: Floats, totals: Floats) -> Drift:
    """Estimate the spread of clones between wells of one arm by adjusted profile likelihood.

    Parameters
    ----------
    counts
        Wells × clones, two wells or more.
    totals
        Cells of each well.

    Notes
    -----
    The adjustment of Cox and Reid 1987 for the estimated shares. Clones that stand out in one well
    (:func:`wells_apart`) count neither for drift nor for the size of wells: a clone with a new
    mutation is not drift, and leaves less room to all others. The search begins with the half of
    the clones whose wells agree best, because outlying clones hide each other.
    """
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < ENOUGH_CLONES:
        return _fit(counts, totals)
    used = _calm(counts, totals)
    for _ in range(_ROUNDS):
        found = _fit(counts[:, used], totals)
        p = wells_apart(counts, found).min(axis=0)
        inlying = p * counts.shape[0] * used.size >= _OUTLYING
        if (inlying == used).all() or inlying.sum() < _FEWEST_CLONES:
            break
        used = inlying
    return found


def _calm(counts: Floats, totals: Floats) -> Bools:
    """Return the half of the clones whose wells agree best."""
    share = counts.sum(axis=0) / totals.sum()
    dense = counts.sum(axis=0) >= _DENSE * totals.size
    if dense.sum() < _FEWEST_CLONES:
        return np.ones(counts.shape[1], dtype=bool)
    ratio = np.log((counts[:, dense] + 0.5) / (totals[:, None] * share[dense]))
    size = totals * np.exp(np.median(ratio, axis=1))
    p = wells_apart(counts, Drift(1e-9, 1e-9, 0, size)).min(axis=0)
    return np.asarray(p >= np.median(p))


def _fit(counts: Floats, totals: Floats) -> Drift:
    inlying = counts.sum(axis=1)
    totals = inlying if inlying.all() else totals
    mean = totals[:, None] * counts.sum(axis=0) / totals.sum()

    def loss(logs: Floats) -> float:
        per_cell, growth = np.exp(logs)
        variance = mean * (1 + totals[:, None] * per_cell + growth * mean)
        information = (mean**2 / variance).sum(axis=0)
        likelihood = _log_probability(counts, mean, variance).sum()
        return float(0.5 * np.log(information).sum() - likelihood)

    scale = totals.mean()
    grid = [(t / scale, f) for t in (1e-3, 0.03, 0.3, 1, 3, 10, 30) for f in (1e-6, 0.01, 0.1, 0.5)]
    start = min(np.log(grid), key=loss)
    bounds = [(np.log(1e-3 / scale), np.log(10.0)), (np.log(1e-6), np.log(10.0))]
    best = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    per_cell, growth = np.exp(best.x) * _scale(counts, totals, mean, np.exp(best.x))
    return Drift(float(per_cell), float(growth), _residual_df(counts), totals)


def _residual_df(counts: Floats) -> int:
    """Return the degrees of freedom of shares that sum to 1 in each well."""
    wells, clones = counts.shape
    return max(1, int((wells - 1) * (clones - 1)))


def _scale(counts: Floats, totals: Floats, mean: Floats, found: Floats) -> float:
    """Return the factor on drift at which squared residuals are as large as expected.

    Clones that grew from few founders are not negative binomial, so likelihood alone misses their
    variance.
    """
    squares = (counts - mean) ** 2 / mean
    extra = totals[:, None] * found[0] + found[1] * mean
    expected = _residual_df(counts)

    def excess(log_factor: float) -> float:
        return float((squares / (1 + np.exp(log_factor) * extra)).sum() - expected)

    low, high = -np.log(_MOST_SCALE), np.log(_MOST_SCALE)
    if excess(low) <= 0:
        return 1 / _MOST_SCALE
    return _MOST_SCALE if excess(high) >= 0 else float(np.exp(optimize.brentq(excess, low, high)))


def _log_probability(counts: Floats, mean: Floats, variance: Floats) -> Floats:
    """Return the log probability of negative binomial counts."""
    size = mean**2 / np.maximum(variance - mean, 1e-9 * mean)
    ways = special.gammaln(counts + size) - special.gammaln(size) - special.gammaln(counts + 1)
    rest = size * np.log1p(mean / size)
    return np.asarray(ways - rest + counts * (np.log(mean) - np.log(mean + size)))


def wells_apart(counts: Floats, drift: Drift, before: Floats | None = None) -> Floats:
    """Return for each well and clone the p-value that its share exceeds that of the other wells.

    Wells × clones. ``before``: share of each clone where it was seeded; a clone that has grown
    since had fewer founders than its share shows.

    The larger of two p-values counts: of the binomial distribution, which knows that counts are
    whole, and of gamma variables, whose tail is that of clones that grew from single cells.
    """
    totals = drift.reference
    share = np.maximum(counts.sum(axis=0), 0.5) / totals.sum()
    grown = 1.0 if before is None else np.maximum(1.0, share / before)
    factor = drift.factor(totals, share, grown)
    own, exposure = counts / factor, totals[:, None] / factor
    others = own.sum(axis=0) - own
    part = exposure / exposure.sum(axis=0)
    shape = share * exposure
    total = own.sum(axis=0)
    place = np.divide(own, total, out=np.zeros_like(own), where=total > 0)
    heavy = stats.beta.sf(np.minimum(place, 1 - 1e-15), shape, shape.sum(axis=0) - shape)
    return np.asarray(np.maximum(heavy, _at_most(others, own, 1 - part)))


def _at_most(left: Floats, right: Floats, part: Floats) -> Floats:
    """Return the mid-p of ``left`` or fewer of both counts, if each is left with chance ``part``.

    The binomial distribution, continued to counts that are not whole.
    """
    few, some = np.maximum(left, 1e-12), np.maximum(right, 1e-12)
    up_to = special.betainc(some, left + 1, 1 - part)
    below = np.where(left > 0, special.betainc(right + 1, few, 1 - part), 0.0)
    return np.asarray(np.where(right > 0, 0.5 * (up_to + below), 0.5 * (1 + below)))


@dataclass(frozen=True, slots=True)
class _Arms:
    """Effective counts and cells of both arms (treated, control), one value per clone."""

    counts: tuple[Floats, Floats]
    cells: tuple[Floats, Floats]
    df: float

    def p_value(self, log2_fc: Floats) -> Floats:
        """Return the p-value of each clone that its change is ``log2_fc``."""
        z = self.score(log2_fc)
        return np.asarray(2 * stats.t.sf(np.abs(z), self.df))

    def divided(self, factor: Floats) -> _Arms:
        """Return counts and cells over a factor of their variance."""
        (a, b), (c, d) = self.counts, self.cells
        return _Arms((a / factor, b / factor), (c / factor, d / factor), self.df)

    def least_p(self) -> Floats:
        """Return the smaller of both p-values if all cells of a clone were in one arm."""
        total, none = self.counts[0] + self.counts[1], np.zeros(self.counts[0].size)
        found = [
            _Arms(n, self.cells, self.df).p_value(none) for n in ((total, none), (none, total))
        ]
        return np.minimum(*found)

    def score(self, log2_fc: Floats) -> Floats:
        """Return the normal score of the change against ``log2_fc``: above 0 if it is larger."""
        (treated, control), (more, fewer) = self.counts, self.cells
        ratio = 2.0**log2_fc * more / fewer
        part = ratio / (1 + ratio)
        low, high = _at_most(treated, control, part), _at_most(control, treated, 1 - part)
        below = low < high
        z = stats.norm.isf(np.clip(np.minimum(low, high), 1e-300, 0.5))
        return np.asarray(np.where(below, -z, z))


def change_of_shares(
    counts: tuple[Floats, Floats],
    totals: tuple[Floats, Floats],
    drift: tuple[Drift, Drift],
    *,
    alpha: float = 0.05,
    confidence: float = 0.95,
) -> ShareTest:
    """Test the change of the share of each clone between wells of two arms.

    Parameters
    ----------
    counts
        Wells × clones of the treated and of the control arm.
    totals
        Cells of the wells of both arms.
    drift
        Of both arms, from :func:`fit_drift`.
    alpha
        Largest p-value of a loss that counts as found, for ``detectable_loss``.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    ``log2_fc`` with half a cell added to each arm; its interval (endless on one side if an arm has
    no cell) and p-value; and the smallest loss (fold) found in 80 % of experiments, missing where
    even the loss of all cells would not be.

    Notes
    -----
    A clone that differs more between wells of an arm than drift explains has its counts divided by
    that ratio, shrunken toward 1 with ten degrees of freedom.
    """
    # The test is as uncertain as the drift of the arm that shows less of it.
    df = float(min(each.df for each in drift))
    plain, factor = _effective(counts, totals, drift, df)
    arms = plain.divided(factor)
    (treated, control), (more, fewer) = arms.counts, arms.cells
    effect = np.log2((treated + 0.5) / more) - np.log2((control + 0.5) / fewer)
    reach = float(stats.t.isf((1 - confidence) / 2, df))
    low = np.where(treated > 0, _bound(arms, reach, effect), -np.inf)
    high = np.where(control > 0, _bound(arms, -reach, effect), np.inf)
    p = arms.p_value(np.zeros(effect.size))
    return ShareTest(effect, low, high, p, plain.least_p(), _detectable(plain, alpha))


def _effective(
    counts: tuple[Floats, Floats],
    totals: tuple[Floats, Floats],
    drift: tuple[Drift, Drift],
    df: float,
) -> tuple[_Arms, Floats]:
    """Divide counts and cells by the factor of their variance, with one share in both arms.

    Also return by how much a clone differs more between wells than drift explains.
    """
    share = (counts[0].sum(axis=0) + counts[1].sum(axis=0)) / (totals[0].sum() + totals[1].sum())
    for _ in range(_ROUNDS):
        factors = [each.factor(n, share) for each, n in zip(drift, totals, strict=True)]
        own = [(n / f).sum(axis=0) for n, f in zip(counts, factors, strict=True)]
        cells = [(n[:, None] / f).sum(axis=0) for n, f in zip(totals, factors, strict=True)]
        share = (own[0] + own[1]) / (cells[0] + cells[1])
    squares, residual = np.zeros(share.size), 0
    for n, total, f, mine, all_cells in zip(counts, totals, factors, own, cells, strict=True):
        mean = np.maximum(total[:, None] * mine / all_cells, 1e-9)
        squares += ((n - mean) ** 2 / (mean * f)).sum(axis=0)
        residual += total.size - 1
    more = np.maximum(1.0, (_PRIOR_DF + squares) / (_PRIOR_DF + residual))
    return _Arms((own[0], own[1]), (cells[0], cells[1]), df), more


def _bound(arms: _Arms, reach: float, effect: Floats) -> Floats:
    """Return the change at which the score falls to ``reach``: it falls with the change."""
    low, high = np.full(effect.size, -_FAR), np.full(effect.size, _FAR)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        above = arms.score(middle) > reach
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2)


def _detectable(arms: _Arms, alpha: float) -> Floats:
    """Return the smallest loss that is found in most experiments, from the pooled share."""
    (more, fewer), n = arms.cells, arms.counts
    share = (n[0] + n[1]) / (more + fewer)
    expected, control = share * more, share * fewer
    at = np.zeros(share.size)
    low, high = np.zeros(share.size), np.maximum(expected, 1e-9)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = _Arms((middle, control), arms.cells, arms.df).p_value(at) < alpha
        low, high = np.where(found, middle, low), np.where(found, high, middle)
    never = _Arms((at, control), arms.cells, arms.df).p_value(at) >= alpha
    power = special.gammaincc(np.floor(low)[:, None] + 1, expected[:, None] / _LOSSES)
    enough: Bools = power >= _POWER
    first = np.where(enough.any(axis=1), _LOSSES[enough.argmax(axis=1)], np.inf)
    return np.asarray(np.where(never, np.nan, first))
