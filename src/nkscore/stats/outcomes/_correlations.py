"""Rank correlations of several groups: pooled, and whether they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from nkscore.stats._adjust import interval

if TYPE_CHECKING:
    from nkscore._types import Array, Floats, Ints

#: Variance of Fisher's z of a rank correlation, times n - 3 (Fieller, Hartley and Pearson 1957).
_RANKS: Final = 1.06
_FEWEST: Final = 4


@dataclass(frozen=True, slots=True)
class GroupCorrelations:
    """Features × groups: Spearman's correlation, ends of its interval, and complete samples."""

    rho: Floats
    low: Floats
    high: Floats
    n: Ints


def group_correlations(
    target: Floats, features: Floats, groups: Array, *, least: int, confidence: float
) -> GroupCorrelations:
    """Return the rank correlation of each feature with ``target`` within each group.

    NaN if a group has fewer than ``least`` complete samples (at least four), or nothing varies.
    """
    names = sorted(set(groups.tolist()))
    rho = np.full((features.shape[1], len(names)), np.nan)
    n = np.zeros(rho.shape, dtype=np.int64)
    for at, name in enumerate(names):
        inside = groups == name
        y, x = target[inside], features[inside]
        for column in range(x.shape[1]):
            known = np.isfinite(y) & np.isfinite(x[:, column])
            n[column, at] = known.sum()
            if n[column, at] >= max(least, _FEWEST):
                rho[column, at] = _spearman(y[known], x[known, column])
    z, error = fisher_z(rho, n)
    low, high = interval(z, error, np.inf, confidence)
    return GroupCorrelations(rho, np.tanh(low), np.tanh(high), n)


def _spearman(y: Floats, x: Floats) -> float:
    if np.ptp(y) == 0 or np.ptp(x) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(y), stats.rankdata(x))[0, 1])


def fisher_z(rho: Floats, n: Ints) -> tuple[Floats, Floats]:
    """Return Fisher's z of rank correlations and its standard error; a perfect one is shortened."""
    # As if half a pair of neighbors had changed places.
    limit = 1 - 3 / (np.maximum(n, 2) * (np.maximum(n, 2) ** 2.0 - 1))
    z = np.arctanh(np.clip(rho, -limit, limit))
    error = np.where(np.isfinite(rho), np.sqrt(_RANKS / np.maximum(n - 3, 1)), np.nan)
    return z, error
