"""Test whether a signed set of genes changes as a whole in a ranked list of fold changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints

#: Scores this close are equal: the same genes, summed in another order.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class RankContrast:
    """Score from -1 (all of the set at the wrong end) to 1, one-sided permutation p values."""

    score: float
    p_up: float
    p_down: float


def abundance_strata(abundance: Floats | None, n_genes: int, n_strata: int = 10) -> Ints:
    """Return the stratum of each gene by abundance; one stratum if abundance is unknown."""
    if abundance is None:
        return np.zeros(n_genes, dtype=np.int64)
    order = rankdata(abundance, method="ordinal") - 1
    return np.asarray(order * n_strata // n_genes, dtype=np.int64)


def rank_contrast(
    values: Floats, signs: Floats, strata: Ints, *, n_permutations: int, rng: np.random.Generator
) -> RankContrast:
    """Compare the signed ranks of a set with those of random sets of the same composition.

    ``signs`` holds +1, -1 and, outside the set, 0 for each gene. Random sets have as many genes of
    each sign from each stratum. The score is the weighted mean rank, centered and scaled to one.
    """
    rank = 2 * (rankdata(values) - 0.5) / values.size - 1
    weight = signs / np.abs(signs).sum()
    # Compare with genes of similar abundance, because abundant genes may change together.
    centered = rank - np.bincount(strata, rank)[strata] / np.bincount(strata)[strata]
    seen = float(weight @ centered)
    random = np.zeros(n_permutations)
    for stratum in np.unique(strata[signs != 0]):
        inside = np.flatnonzero(strata == stratum)
        used, ranks = weight[inside], centered[inside]
        used = used[used != 0]
        for i in range(n_permutations):
            random[i] += used @ rng.choice(ranks, used.size, replace=False)
    p_up = (1 + (random >= seen - _EQUAL).sum()) / (n_permutations + 1)
    p_down = (1 + (random <= seen + _EQUAL).sum()) / (n_permutations + 1)
    return RankContrast(seen, float(p_up), float(p_down))
