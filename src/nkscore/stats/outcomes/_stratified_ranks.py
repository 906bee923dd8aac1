"""Wilcoxon's tests: exact with ties, and over cohorts with ranks within each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Bools, Floats


def stratified_rank_p(
    here: Sequence[Floats], there: Sequence[Floats], *, paired: bool = False
) -> Floats:
    """Return the two-sided p-value that no column differs in any cohort.

    Parameters
    ----------
    here, there
        Samples × columns of each cohort, NaN if not measured; rows of pairs in the same order.
    paired
        Whether ranks are those of absolute differences (signed rank) or of all samples (rank sum).

    Notes
    -----
    Each cohort's sum of ranks minus its expectation, divided by its number of samples plus 1, as
    van Elteren 1960 proposed; normal approximation with the variance that ties leave. NaN if
    nothing varies.
    """
    total, variance = np.zeros((2, here[0].shape[1]))
    for one, other in zip(here, there, strict=True):
        part = _signed_rank(one - other) if paired else _rank_sum(one, other)
        total, variance = total + part[0], variance + part[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(variance > 0, total / np.sqrt(variance), np.nan)
    return np.asarray(2 * stats.norm.sf(np.abs(z)))


def tied(differences: Floats) -> Floats:
    """Return differences without rounding errors, so that equal ones share their rank.

    0.3 - 0.1 and 0.4 - 0.2 differ in the last digit.
    """
    step = 1e-9 * np.nan_to_num(np.abs(differences)).max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(step > 0, np.rint(differences / step) * step, differences))


def _signed_rank(differences: Floats) -> tuple[Floats, Floats]:
    differences = tied(differences)
    moved = np.isfinite(differences) & (differences != 0)
    ranks = stats.rankdata(np.where(moved, np.abs(differences), np.inf), axis=0)
    ranks = np.where(moved, ranks, 0.0)
    weight = 1.0 / (moved.sum(axis=0) + 1)
    signed = (np.sign(np.where(moved, differences, 0.0)) * ranks).sum(axis=0)
    return weight * signed, weight**2 * (ranks**2).sum(axis=0)


def _rank_sum(here: Floats, there: Floats) -> tuple[Floats, Floats]:
    values = np.concatenate([here, there])
    known = np.isfinite(values)
    ranks = stats.rankdata(np.where(known, values, np.inf), axis=0)
    n = known.sum(axis=0)
    inside = np.isfinite(here).sum(axis=0)
    mean = (n + 1) / 2
    deviation = np.where(known, ranks - mean, 0.0)
    weight = 1.0 / (n + 1)
    # Variance of a sum of ``inside`` ranks drawn without replacement.
    spread = (deviation**2).sum(axis=0) * inside * (n - inside)
    variance = spread / np.maximum(n * (n - 1), 1)
    return weight * deviation[: len(here)].sum(axis=0), weight**2 * variance


def exact_signed_rank(ranks: Floats, positive: Bools) -> float:
    """Return the two-sided p-value of signed ranks with ties, over all signs.

    Parameters
    ----------
    ranks
        Ranks of the absolute differences, halves where tied, 0 for differences of zero.
    positive
        Whether the difference is above zero.

    Notes
    -----
    Ways to reach each sum, added rank by rank: the distribution of all 2ⁿ signs in n² steps.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled[doubled > 0]:
        ways[rank:] = ways[rank:] + ways[:-rank]
    chance = ways / ways.sum()
    seen = int(doubled[positive].sum())
    return float(min(1.0, 2 * min(chance[: seen + 1].sum(), chance[seen:].sum())))
