"""Evidence for one gene from several ranked lists or signed p-values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from nkscore._types import Floats


def signed_z(p_two_sided: Floats, sign: Floats) -> Floats:
    """Return the normal deviate of a two-sided p-value with the sign of the effect."""
    return np.asarray(np.sign(sign) * stats.norm.isf(p_two_sided / 2))


def stouffer(z: Floats) -> tuple[Floats, Floats]:
    """Combine normal deviates over the columns, NaN excluded; return z and two-sided p per row."""
    n = np.isfinite(z).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        combined = np.nansum(z, axis=1) / np.sqrt(n)
    combined = np.where(n > 0, combined, np.nan)
    return combined, np.asarray(2 * stats.norm.sf(np.abs(combined)))


def robust_ranks(normalized: Floats) -> Floats:
    """Return the p-value of a row having such good ranks in some of the lists.

    Robust rank aggregation (Kolde et al. 2012, doi 10.1093/bioinformatics/btr709): for ranks
    uniform on 0 to 1, the k-th smallest of n follows Beta(k, n − k + 1); the smallest of these
    probabilities, times n, is an upper bound of the p-value.

    Parameters
    ----------
    normalized
        Rows × lists: rank divided by the number ranked, in (0, 1]; NaN if not in the list.
    """
    ranks = np.sort(normalized, axis=1)
    n = np.isfinite(ranks).sum(axis=1)
    k = np.arange(1, ranks.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        tail = special.betainc(k, np.maximum(n[:, None] - k + 1, 1), ranks)
    tail = np.where(np.isfinite(ranks) & (k <= n[:, None]), tail, np.inf)
    return np.where(n > 0, np.minimum(tail.min(axis=1) * np.maximum(n, 1), 1.0), np.nan)
