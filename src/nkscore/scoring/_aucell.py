"""Area under the recovery curve of the top genes, the statistic of AUCell (Aibar et al. 2017).

With T = ceil(top_fraction · number of genes), r the rank of a gene (1 = highest) and n genes of
the set in the data:

    score = Σ max(T − r, 0) / Σ_{k = 1 … min(n, T − 1)} (T − k)

Tied genes, including undetected ones, have no unique rank. AUCell and its ports break ties at
random or by the order of the columns, so their scores vary between runs or with the file. Here each
tied gene counts with the mean of max(T − r, 0) over its possible ranks. The score is then the
expectation of AUCell's over all ways to break the ties.

A signed set scores up − down.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nkscore.scoring._ranks import rank_sums
from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Floats
    from nkscore.scoring._sets import GeneSets


def aucell(block: RowBlock, sets: GeneSets, *, top_fraction: float = 0.05) -> Floats:
    """Score cells × sets; see the module for the formula."""
    if not 0 < top_fraction <= 1:
        msg = f"top_fraction is {top_fraction}; a share of the genes above 0, at most 1, is needed."
        raise ValueError(msg)
    # Rounded first, so that 0.05 of 20,000 genes is 1,000 in floating point, too.
    top = max(2, math.ceil(round(top_fraction * block.n_genes, 6)))
    n = np.minimum(sets.found, top - 1).astype(np.float64)
    best = n * top - n * (n + 1) / 2
    sums = rank_sums(block, sets, cap=float(top), recovery=True)
    # A rounding error may exceed the best possible sum.
    sums /= np.where(best > 0, best, 1.0)
    area = np.minimum(sums, 1.0, out=sums)
    return np.asarray(area[:, 0::2] - area[:, 1::2])


AUCELL = register(
    Scorer(
        name="aucell",
        func=aucell,
        reads="counts",
        limits=(-1.0, 1.0),
        cell_wise=True,
        rank_based=True,
        options={"top_fraction": 0.05},
        doi="10.1038/nmeth.4463",
        description="Recovery of the set among the top genes, a mean over all ways to break ties.",
    )
)
