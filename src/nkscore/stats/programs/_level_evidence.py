"""How well two levels explain the counts, whatever the share of cells at the other level is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special, stats

from nkscore.stats.programs._level_fit import RARE_IN_BATCH, SHARE_PRIOR

if TYPE_CHECKING:
    from nkscore._types import Floats
    from nkscore.stats.programs._level_fit import LevelFit, LevelState

#: Shares of a batch, and common shares of all, over which the likelihood is averaged.
_SHARES: Final = np.concatenate([[0.0], np.geomspace(2e-3, 0.5, 20), [0.6, 0.7, 0.8, 0.9, 0.95]])
_COMMON: Final = np.geomspace(3e-3, 0.5, 12)


def level_evidence(fit: LevelFit, state: LevelState) -> tuple[float, Floats]:
    """Return the log likelihood averaged over the shares of batches, and their posterior means.

    Shares of batches vary around a common one, which is not known either. Averaging pays for
    every share that had to be learned, little where batches are alike.
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
    """Return shares, and common shares × shares: log prior (beta, as heavy as some cells)."""
    shares = _SHARES[most >= _SHARES]
    edges = np.concatenate([[0.0], (shares[1:] + shares[:-1]) / 2, [1.0]])
    first, second = SHARE_PRIOR * _COMMON[:, None], SHARE_PRIOR * (1 - _COMMON[:, None])
    mass = np.diff(stats.beta.cdf(edges, first, second), axis=1)
    return shares, np.log(np.maximum(mass, 1e-300))
