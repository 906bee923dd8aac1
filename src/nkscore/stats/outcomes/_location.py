"""Difference in location of two groups of samples, without assuming a distribution.

Hodges and Lehmann's estimate (1963, doi 10.1214/aoms/1177704172), with the interval of shifts that
Wilcoxon's test does not reject.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Floats

#: From this number of samples, quantiles of the statistics are those of the normal distribution.
_MANY: Final = 50
_BLOCK_VALUES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one group lies from another: one value per column.

    ``low`` and ``high``: ends of the interval, infinite where too few samples can bound it.
    """

    effect: Floats
    low: Floats
    high: Floats


def shift_between(values: Floats, others: Floats, *, confidence: float = 0.95) -> Shift:
    """Return the shift of ``values`` against ``others``: the median of all differences.

    Both are samples × columns, complete.
    """
    m, n = len(values), len(others)
    cut = _rank_sum_quantile(m, n, (1 - confidence) / 2)
    parts = []
    for columns in _blocks(values.shape[1], m * n):
        gaps = values[:, None, columns] - others[None, :, columns]
        parts.append(_from_sorted(gaps.reshape(m * n, -1), cut))
    return Shift(*np.concatenate(parts, axis=1))


def shift_within(differences: Floats, *, confidence: float = 0.95) -> Shift:
    """Return the center of differences within pairs: the median of their pairwise means.

    ``differences`` are pairs × columns, complete.
    """
    n = len(differences)
    cut = _signed_rank_quantile(n, (1 - confidence) / 2)
    one, two = np.triu_indices(n)
    parts = []
    for columns in _blocks(differences.shape[1], one.size):
        part = differences[:, columns]
        parts.append(_from_sorted((part[one] + part[two]) / 2, cut))
    return Shift(*np.concatenate(parts, axis=1))


def _blocks(n_columns: int, n_rows: int) -> Iterator[slice]:
    width = max(1, _BLOCK_VALUES // max(1, n_rows))
    return (slice(start, start + width) for start in range(0, max(1, n_columns), width))


def _from_sorted(values: Floats, cut: int) -> Floats:
    """Return the median and the values ``cut`` places from either end."""
    n = len(values)
    places = {n // 2, (n - 1) // 2} | ({cut - 1, n - cut} if cut else set())
    ordered = np.partition(values, sorted(places), axis=0)
    center = (ordered[n // 2] + ordered[(n - 1) // 2]) / 2
    if not cut:
        return np.stack([center, np.full_like(center, -np.inf), np.full_like(center, np.inf)])
    return np.stack([center, ordered[cut - 1], ordered[n - cut]])


@cache
def _rank_sum_quantile(m: int, n: int, tail: float) -> int:
    if max(m, n) >= _MANY:
        middle, spread = m * n / 2, np.sqrt(m * n * (m + n + 1) / 12)
        return max(0, int(np.ceil(middle + stats.norm.ppf(tail) * spread - 0.5)))
    ways = np.zeros(m * n + 1)
    ways[0] = 1.0
    # The coefficients of a product of (1 - x^(m+i)) / (1 - x^i), the number of ways to each U.
    for i in range(1, n + 1):
        ways[m + i :] -= ways[: -(m + i)].copy() if m + i < ways.size else 0.0
        for start in range(i):
            ways[start::i] = np.cumsum(ways[start::i])
    return int(np.searchsorted(np.cumsum(ways / ways.sum()), tail))


@cache
def _signed_rank_quantile(n: int, tail: float) -> int:
    if n >= _MANY:
        middle, spread = n * (n + 1) / 4, np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, int(np.ceil(middle + stats.norm.ppf(tail) * spread - 0.5)))
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for i in range(1, n + 1):
        ways[i:] += ways[:-i].copy()
    return int(np.searchsorted(np.cumsum(ways / ways.sum()), tail))


def complete_blocks(values: Floats) -> Iterator[tuple[Any, Any]]:
    """Yield sets of complete rows, and the columns to which each set applies."""
    known = np.isfinite(values)
    if known.all():
        yield np.arange(values.shape[0]), np.arange(values.shape[1])
        return
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number in range(patterns.shape[1]):
        yield np.flatnonzero(patterns[:, number]), np.flatnonzero(which.ravel() == number)
