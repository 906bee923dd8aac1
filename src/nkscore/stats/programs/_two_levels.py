"""Two levels of a gene program: the cells at the other level, and what remains open.

Depth enters through the expected count, so a shallow cell gets a broad posterior rather than
another call. If no second level is found, the posterior shows how certain that is: it is computed
with the largest share of such cells that the counts do not exclude.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special, stats

from nkscore.stats.programs._level_fit import RARE_IN_BATCH, SHARE_PRIOR, LevelFit, LevelState

if TYPE_CHECKING:
    from nkscore._types import Floats
    from nkscore.stats.programs._level_fit import ProgramCounts, TwoLevels

#: Shares of a batch, and common shares of all batches, over which the likelihood is averaged.
_SHARES: Final = np.concatenate([[0.0], np.geomspace(2e-3, 0.5, 20), [0.6, 0.7, 0.8, 0.9, 0.95]])
_COMMON: Final = np.geomspace(3e-3, 0.5, 12)
#: Number of cells for estimating parameters; more would not change them visibly.
_LEARN_FROM: Final = 20_000
_UNDECIDED: Final = 0.5
#: Maximum posterior of a cell if one level is preferred to two.
_UNSUPPORTED: Final = 0.7
#: Powers of the best ratio that are also tried, nearest first, until both are this unlikely.
_STEPS: Final = ((0.88, 1.14), (0.77, 1.3), (0.68, 1.48), (0.6, 1.7))
_NEGLIGIBLE: Final = -6.0
_STEP_WIDTH: Final = 0.13


def two_level_posterior(
    data: ProgramCounts,
    *,
    fold: float,
    bounds: tuple[float, float],
    induced: bool = False,
    rare: bool = False,
) -> TwoLevels:
    """Return, for each cell, the probability that a program's summed count is at its other level.

    Parameters
    ----------
    data
        Counts of the program and the expectation for each cell.
    fold, bounds
        Start and limits of the ratio of the two levels, all below or all above 1. The start is also
        the ratio for unsupported programs.
    induced
        Whether ``baseline`` cells are at the baseline level by definition. Lines without such cells
        are not comparable: their posterior is one half.
    rare
        Whether the baseline level is the more frequent one by definition.

    Notes
    -----
    Negative binomial counts, fitted by expectation maximization: baseline level and spread between
    cells per line, shift and share per batch, one fold. The likelihood is averaged over the shares
    (beta prior around a common share, which is averaged over, too) and over the folds near the best
    one; so is the posterior. A second level is supported if that average exceeds the likelihood of
    one level, at a fold inside its bounds. The posterior is averaged over two levels and one by
    these likelihoods. The posterior under one level uses the upper limit of the share's 95 %
    interval (profile likelihood, at the fold halfway between ``fold`` and its weakest bound), so
    that cells that are too shallow keep an open posterior. Without support, no cell has a posterior
    above 0.7.
    """
    known = np.bincount(data.line[data.baseline], minlength=data.line.max() + 1) > 0
    comparable = known[data.line] if induced else np.ones(data.x.size, dtype=bool)
    sizes = (int(data.line.max()) + 1, int(data.batch.max()) + 1)
    fit = LevelFit(data, sizes, induced, rare)
    if not comparable.any():
        state = fit.run(1.0, (1.0, 1.0))
        return fit.result(np.full(data.x.size, _UNDECIDED), state, comparable, found=False)
    learn = LevelFit(_sample(data.take(comparable)), sizes, induced, rare)
    one = learn.run(1.0, (1.0, 1.0))
    two = learn.run(fold, bounds)
    # A ratio at its weakest bound belongs to a weaker difference than the program's.
    weakest = min(bounds, key=lambda bound: abs(np.log(bound)))
    possible = not np.isclose(two.fold, weakest, rtol=1e-6) and not (rare and learn.at_cap(two))
    # Halfway between the program's change and the weakest one that counts.
    posterior = fit.upper_limit(replace(one, fold=float(np.sqrt(fold * weakest))))
    supported = False
    if possible:
        evidence, other = _averaged(fit, learn, two, bounds)
        gain = evidence - learn.log_likelihood_off(one)
        supported, trust = gain > 0, float(special.expit(gain))
        posterior = trust * other + (1 - trust) * posterior
    if not supported:
        posterior = np.minimum(posterior, _UNSUPPORTED)
    posterior[~comparable] = _UNDECIDED
    return fit.result(posterior, two if supported else one, comparable, found=supported)


def _averaged(
    fit: LevelFit, learn: LevelFit, best: LevelState, bounds: tuple[float, float]
) -> tuple[float, Floats]:
    """Log likelihood and posterior over the ratios compatible with the counts.

    Shallow cells determine share and ratio poorly: a few distant cells look like many close ones.
    """
    likelihood, posterior = [], []

    def look(state: LevelState) -> None:
        value, share = level_evidence(learn, state)
        likelihood.append(value)
        posterior.append(fit.posterior(replace(state, share=share)))

    look(best)
    for step in _STEPS:
        for factor in step:
            ratio = float(np.clip(best.fold**factor, *bounds))
            look(learn.run(ratio, (ratio, ratio), start=replace(best, fold=ratio)))
        if max(likelihood[-2:]) < max(likelihood) + _NEGLIGIBLE:
            break
    weight = special.softmax(likelihood)
    # All ratios inside the bounds are equally likely a priori.
    width = _STEP_WIDTH * abs(np.log(best.fold) / np.log(bounds[1] / bounds[0]))
    mean = sum(w * p for w, p in zip(weight, posterior, strict=True))
    return float(special.logsumexp(likelihood) + np.log(width)), np.asarray(mean)


def _sample(data: ProgramCounts) -> ProgramCounts:
    """Return at most this many cells, independent of the order of the cells."""
    if data.x.size <= _LEARN_FROM:
        return data
    order = np.lexsort((data.x, data.expected, data.batch))
    return data.take(order[np.linspace(0, data.x.size - 1, _LEARN_FROM).astype(np.int64)])


def level_evidence(fit: LevelFit, state: LevelState) -> tuple[float, Floats]:
    """Return the log likelihood averaged over the shares of batches, and their posterior means.

    Shares of batches vary around a common one, which is unknown as well. Averaging penalizes every
    estimated share, but only slightly if batches are similar.
    """
    shares, prior = _share_prior(RARE_IN_BATCH if fit.rare else 1.0)
    ratio, fixed = np.minimum(fit.log_ratio(state), 500.0), fit.fixed()
    of_batch = np.empty((fit.sizes[1], shares.size))
    for j, share in enumerate(shares):
        gain = np.logaddexp(np.log1p(-share), np.log(share + 1e-300) + ratio)
        of_batch[:, j] = fit.per_batch(np.where(fixed, 0.0, gain))
    joint = of_batch[None] + prior[:, None, :]
    each = special.logsumexp(joint, axis=2)
    whole = each.sum(axis=1)
    weight = special.softmax(whole)
    mean = weight @ (np.exp(joint - each[:, :, None]) @ shares)
    evidence = fit.log_likelihood_off(state) + special.logsumexp(whole) - np.log(_COMMON.size)
    return float(evidence), mean


@cache
def _share_prior(most: float) -> tuple[Floats, Floats]:
    """Return shares, and the log prior: common shares × shares (beta, worth some cells)."""
    shares = _SHARES[most >= _SHARES]
    edges = np.concatenate([[0.0], (shares[1:] + shares[:-1]) / 2, [1.0]])
    first, second = SHARE_PRIOR * _COMMON[:, None], SHARE_PRIOR * (1 - _COMMON[:, None])
    mass = np.diff(stats.beta.cdf(edges, first, second), axis=1)
    return shares, np.log(np.maximum(mass, 1e-300))
