"""Adaptive shrinkage of effects, given the distribution of all effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from nkscore._types import Floats

_ROUNDS: Final = 300


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Posterior of each effect, and the mixture that was fitted.

    ``lfsr``: probability that the sign of the effect is not what it seems (zero counts as wrong).
    ``share`` of each standard deviation of the mixture, ``scale``; the first is 0.
    """

    mean: Floats
    sd: Floats
    lfsr: Floats
    share: Floats
    scale: Floats


def adaptive_shrinkage(
    effect: Floats, standard_error: Floats, *, null_weight: float = 10.0
) -> Shrunk:
    """Shrink effects toward zero, by as much as their distribution implies.

    Parameters
    ----------
    effect, standard_error
        One value each per gene, finite, errors above 0; the errors are assumed to be normal.
    null_weight
        Pseudocounts of effects that are exactly zero; above 1 their share tends to be
        overestimated.

    Returns
    -------
    Posterior mean and standard deviation, the local false sign rate, and the mixture.

    Notes
    -----
    Stephens 2017, doi 10.1093/biostatistics/kxw041: effects are a mixture of a point mass at zero
    and normal distributions around zero on a grid of widths, fitted by expectation maximization
    with squared extrapolation (Varadhan and Roland 2008, doi 10.1111/j.1467-9469.2007.00585.x).
    """
    scale = _scales(effect, standard_error)
    variance = standard_error[:, None] ** 2
    total = variance + scale**2
    log_likelihood = -0.5 * (np.log(total) + effect[:, None] ** 2 / total)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    prior = np.ones(scale.size)
    prior[0] = null_weight
    # Tighter than by default; otherwise the order of the genes changes the fifth digit.
    share = fit_shares(likelihood, prior, tolerance=1e-8)
    weight = likelihood * share
    weight /= weight.sum(axis=1, keepdims=True)
    part = scale**2 / total
    mean, sd = part * effect[:, None], np.sqrt(part * variance)
    below = stats.norm.cdf(0.0, mean[:, 1:], sd[:, 1:])
    negative = (weight[:, 1:] * below).sum(axis=1)
    positive = (weight[:, 1:] * (1 - below)).sum(axis=1)
    center = (weight * mean).sum(axis=1)
    second = (weight * (mean**2 + sd**2)).sum(axis=1)
    return Shrunk(
        mean=center,
        sd=np.sqrt(np.maximum(second - center**2, 0.0)),
        lfsr=np.clip(1 - np.maximum(negative, positive), 0.0, 1.0),
        share=share,
        scale=scale,
    )


def _scales(effect: Floats, standard_error: Floats) -> Floats:
    """Zero, and widths from far below the errors to above the largest effect, by √2."""
    low = standard_error.min() / 10
    beyond = np.sqrt(np.maximum(effect**2 - standard_error**2, 0.0).max())
    high = max(2 * beyond, 8 * low)
    steps = int(np.ceil(2 * np.log2(high / low))) + 1
    # More widths cannot be distinguished, and cost time if one error is tiny.
    low = max(low, high / np.sqrt(2) ** 59)
    return np.append(0.0, np.geomspace(low, high, min(steps, 60)))


def fit_shares(likelihood: Floats, prior: Floats, *, tolerance: float = 1e-6) -> Floats:
    """Shares of the mixture at the posterior mode, with ``prior`` − 1 as pseudocounts.

    The fit ends once a round gains less than ``tolerance`` in the log posterior.
    """

    def update(share: Floats) -> Floats:
        joint = likelihood @ share
        counted = share * (likelihood.T @ (1 / joint)) + prior - 1
        return np.asarray(counted / counted.sum())

    def objective(share: Floats) -> float:
        kept = prior > 1
        return float(
            np.log(likelihood @ share).sum() + ((prior - 1)[kept] * np.log(share[kept])).sum()
        )

    share = prior / prior.sum()
    best = objective(share)
    for _ in range(_ROUNDS):
        first = update(share)
        second = update(first)
        step, bend = first - share, second - 2 * first + share
        length = -np.sqrt((step**2).sum() / max((bend**2).sum(), 1e-300))
        jump = np.maximum(share - 2 * length * step + length**2 * bend, 1e-12)
        jump = update(jump / jump.sum())
        reached = objective(jump)
        if not reached >= best:
            jump, reached = second, objective(second)
        gained, best = reached - best, reached
        share = jump
        if gained < tolerance:
            break
    return np.asarray(share)
