"""Shares of cells near zero: interval, test against a rate of errors, and what can be detected."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from scipy import stats

if TYPE_CHECKING:
    from nkscore._types import Ints


def exact_share(k: float, n: float, confidence: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson for ``k`` of ``n``, which need not be whole."""
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, k, n - k + 1) if k > 0 else 0.0
    high = stats.beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
    return float(low), float(high)


@lru_cache(maxsize=4096)
def excess_p(k: int, n: int, errors: tuple[int, int] | float) -> float:
    """Return the probability of ``k`` or more of ``n`` by errors alone.

    ``errors``: a rate, or errors and cells of samples that hold nothing else, whose own uncertainty
    then counts (Fisher's exact test, one-sided).
    """
    if isinstance(errors, tuple):
        wrong, cells = errors
        return float(stats.hypergeom.sf(k - 1, n + cells, k + wrong, n))
    return float(stats.binom.sf(k - 1, n, errors))


def detectable(
    n: int, errors: tuple[int, int] | float, *, alpha: float, power: float
) -> tuple[int, float]:
    """Return the smallest number of cells that is no error, and the share that reaches it.

    ``n + 1`` and NaN if no number is.
    """
    low, high = 1, n + 1
    while low < high:
        middle = (low + high) // 2
        if excess_p(middle, n, errors) <= alpha:
            high = middle
        else:
            low = middle + 1
    if low > n:
        return low, float("nan")
    return low, float(stats.beta.ppf(power, low, n - low + 1))


def dispersion(k: Ints, n: Ints) -> float:
    """Return how much more samples of one share vary than counts do, at least 1."""
    total = n.sum()
    share = k.sum() / total if total else 0.0
    if len(k) < 2 or share in (0.0, 1.0):
        return 1.0
    pearson = ((k - n * share) ** 2 / (n * share * (1 - share))).sum()
    return max(1.0, float(pearson) / (len(k) - 1))
