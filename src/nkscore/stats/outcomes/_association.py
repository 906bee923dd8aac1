"""Many features against one target: rank correlation, rank sums and exact tests, vectorized.

Values can be missing (NaN); each column is then tested on its complete rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from nkscore._types import Array, Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Association:
    """Effect, two-sided p-value and number of complete rows of each feature."""

    effect: Floats
    p_value: Floats
    n: Ints


def _ranks(
    values: Floats, known: Bools, method: Literal["average", "min", "max"] = "average"
) -> Floats:
    """Rank the known values of each column; missing values get rank 0."""
    # Infinity ranks last, so that it does not affect the others.
    ranked = stats.rankdata(np.where(known, values, np.inf), method=method, axis=0)
    return np.asarray(np.where(known, ranked, 0.0))


def rank_correlation(target: Floats, features: Floats, strata: Array | None = None) -> Association:
    """Return Spearman's correlation of each column with ``target``.

    With ``strata`` (a code per row), ranks of both sides become deviations from their means within
    strata. This is a partial rank correlation, with correspondingly fewer degrees of freedom. The
    p-value is that of the t-distribution, as in scipy.
    """
    known = np.isfinite(features) & np.isfinite(target)[:, None]
    _, code = np.unique(np.zeros(len(target)) if strata is None else strata, return_inverse=True)
    member = np.eye(int(code.max()) + 1)[code]
    # If nothing is missing, the target has the same ranks for every column.
    y = target[:, None] if known.all() else np.broadcast_to(target[:, None], features.shape)
    x = _deviations(_ranks(features, known), known, member)
    y = _deviations(_ranks(y, known[:, : y.shape[1]]), known[:, : y.shape[1]], member)
    n = known.sum(axis=0)
    degrees = n - ((member.T @ known) > 0).sum(axis=0) - 1
    flat = (np.abs(x).max(axis=0) < 1e-9) | (np.abs(y).max(axis=0) < 1e-9) | (degrees < 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (y * x).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
        rho = np.where(flat, np.nan, np.clip(rho, -1, 1))
        t = rho * np.sqrt(degrees / ((rho + 1) * (1 - rho)))
    return Association(rho, 2 * stats.t.sf(np.abs(t), np.maximum(degrees, 1)), n)


def _deviations(ranks: Floats, known: Bools, member: Floats) -> Floats:
    means = (member.T @ ranks) / np.maximum(member.T @ known, 1)
    return np.asarray(np.where(known, ranks - member @ means, 0.0))


def rank_sum(values: Floats, member: Floats) -> Association:
    """Compare rows inside and outside a group, for one column of values and many groups or reverse.

    Wilcoxon's rank sum test by the normal approximation with correction for ties and continuity, as
    ``scipy.stats.mannwhitneyu(method="asymptotic")``. The effect is the rank-biserial correlation:
    1 if every row inside is above every one outside.

    Parameters
    ----------
    values
        Rows × columns; one column is compared with each column of ``member``.
    member
        0, 1 or missing, rows × columns; one column divides each column of ``values``.
    """
    known = np.isfinite(values) & np.isfinite(member)
    if known.all():
        known = known[:, : values.shape[1]]
    ranks = _ranks(np.broadcast_to(values, known.shape), known)
    n = np.broadcast_to(known.sum(axis=0), max(values.shape[1], member.shape[1]))
    correction = _ties(np.broadcast_to(values, known.shape), known) / (n * (n - 1.0))
    inside = np.where(known, np.nan_to_num(member), 0.0).sum(axis=0)
    outside = n - inside
    above = (ranks * np.nan_to_num(member)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        u = above - inside * (inside + 1) / 2
        spread = inside * outside / 12 * (n + 1 - correction)
        larger = np.maximum(u, inside * outside - u)
        z = (larger - inside * outside / 2 - 0.5) / np.sqrt(spread)
        effect = 2 * u / (inside * outside) - 1
        p = np.clip(2 * stats.norm.sf(z), 0, 1)
    flat = (inside == 0) | (outside == 0) | ~(spread > 0)
    return Association(np.where(flat, np.nan, effect), np.where(flat, np.nan, p), np.array(n))


def _ties(values: Floats, known: Bools) -> Floats:
    """Return the sum of t³ − t over groups of t tied values, per column."""
    tied = _ranks(values, known, "max") - _ranks(values, known, "min") + 1
    return np.asarray(np.where(known, tied**2 - 1, 0.0).sum(axis=0))


def exact_test(target: Floats, member: Floats) -> Association:
    """Return Fisher's exact test, two-sided, of a target of 0 and 1 with each such column.

    The effect is the logarithm to base 2 of the odds ratio, half a row added to each cell. Equal
    tables are computed once.
    """
    known = np.isfinite(member) & np.isfinite(target)[:, None]
    yes, goal = known & (member > 0), (target > 0)[:, None]
    both, theirs = (yes & goal).sum(axis=0), yes.sum(axis=0)
    ours, n = (known & goal).sum(axis=0), known.sum(axis=0)
    tables, where = np.unique(np.stack([both, theirs, ours, n]), axis=1, return_inverse=True)
    p = np.array([_fisher(*map(int, table)) for table in tables.T])[where.ravel()]
    a, b, c, d = (
        cell + 0.5 for cell in (both, ours - both, theirs - both, n - ours - theirs + both)
    )
    flat = (theirs == 0) | (theirs == n) | (ours == 0) | (ours == n)
    effect = np.where(flat, np.nan, np.log2(a * d / (b * c)))
    return Association(effect, np.where(flat, np.nan, p), n)


def _fisher(both: int, theirs: int, ours: int, n: int) -> float:
    low, high = max(0, ours + theirs - n), min(ours, theirs)
    k = np.arange(low, high + 1)
    log_p = (
        special.gammaln([ours + 1, n - ours + 1, theirs + 1, n - theirs + 1]).sum()
        - special.gammaln(n + 1)
        - special.gammaln(k + 1)
        - special.gammaln(ours - k + 1)
        - special.gammaln(theirs - k + 1)
        - special.gammaln(n - ours - theirs + k + 1)
    )
    p = np.exp(log_p)
    # Tables with the same probability up to rounding count as at least as extreme.
    return float(min(p[p <= p[both - low] * (1 + 1e-7)].sum(), 1.0))
