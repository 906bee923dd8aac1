"""Degrees of freedom of a prior that fit the genes which vary most.

One number of degrees of freedom for all genes describes the middle of the distribution of their
variances. Sparse genes differ little, since drawing molecules gives all of them the same variance.
Dense genes show how much donors differ, by genotype or by an infection, and many of them lie far
above the prior. With one number for both, these genes keep too small a variance, and they are the
ones that are called where nothing is planted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from nkscore._types import Floats

#: The upper share of the genes of a window that the degrees of freedom fit.
_TAIL: Final = 0.02
_WINDOWS: Final = 12
_SHARE: Final = 0.125
#: Windows with fewer genes have too few in their tail.
_FEWEST: Final = 250
_LEAST: Final = 1.0
_PER_GROUP: Final = 500
_STEPS: Final = 30


def tail_df(ratio: Floats, df: Floats, prior_df: float, *, level: Floats, at: Floats) -> Floats:
    """Return the degrees of freedom of the prior at the levels ``at``, at most ``prior_df``.

    Parameters
    ----------
    ratio, df
        Variances over their prior, with their degrees of freedom, one per gene (and line).
    prior_df
        Degrees of freedom of the prior for all genes.
    level
        Abundance of each gene, on any increasing scale.
    at
        Levels at which the result is wanted.
    """
    most = min(prior_df, 1e6)
    size = max(int(_SHARE * ratio.size), _FEWEST)
    if ratio.size < _FEWEST:
        return np.full(at.size, prior_df)
    order = np.argsort(level, kind="stable")
    starts = np.linspace(0, ratio.size - size, _WINDOWS).astype(int)
    windows = [order[start : start + size] for start in dict.fromkeys(starts.tolist())]
    middle = np.array([np.median(level[window]) for window in windows])
    found = np.array([_of_window(ratio[window], df[window], most) for window in windows])
    if (found == most).all():
        return np.full(at.size, prior_df)
    return np.asarray(np.exp(np.interp(at, middle, np.log(found))), dtype=np.float64)


def _of_window(ratio: Floats, df: Floats, most: float) -> float:
    """Return the degrees of freedom with which the tail holds as many genes as it should."""
    rank = max(1, round(_TAIL * ratio.size))
    p = stats.f.sf(ratio, df, most)
    # The order hardly depends on the degrees of freedom.
    top = np.argsort(p, kind="stable")[: 5 * rank]
    wanted = rank / ratio.size

    def at_rank(df_two: float) -> float:
        return float(np.partition(stats.f.sf(ratio[top], df[top], df_two), rank - 1)[rank - 1])

    if at_rank(most) >= wanted:
        return most
    low, high = np.log(_LEAST), np.log(most)
    for _ in range(_STEPS):
        half = (low + high) / 2
        low, high = (half, high) if at_rank(np.exp(half)) > wanted else (low, half)
    return float(np.exp(low))


def fewer_for_outliers(ratio: Floats, df: Floats, prior_df: Floats, *, level: Floats) -> Floats:
    """Return the degrees of freedom of the prior, fewer for genes that lie too far above it.

    Genes are compared with those of similar ``level``.

    The prior counts as much as it is likely that the gene follows it: the number of genes expected
    this far above it over the number found (after Phipson et al. 2016, doi 10.1214/16-AOAS920).
    """
    log_tail = np.asarray(stats.f.logsf(ratio, df, np.minimum(prior_df, 1e6)), dtype=np.float64)
    fewer = prior_df.copy()
    for group in np.array_split(np.argsort(level, kind="stable"), max(1, ratio.size // _PER_GROUP)):
        order = group[np.argsort(log_tail[group], kind="stable")]
        found = np.log((np.arange(order.size) + 0.5) / order.size)
        typical = np.exp(np.minimum(log_tail[order] - found, 0.0))
        # A gene is never more typical than one that lies less far above the prior.
        typical = np.minimum.accumulate(typical[::-1])[::-1]
        least = np.minimum(_LEAST, prior_df[order])
        fewer[order] = typical * prior_df[order] + (1 - typical) * least
    return fewer
