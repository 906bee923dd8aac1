"""Rank-based area under the curve, the statistic of UCell (Andreatta and Carmona 2021).

With r the rank of a gene among all genes of the cell (1 = highest, ties share their mean rank),
cut at m = min(max_rank, number of genes), and n genes in the set, absent ones at rank m:

    score = 1 − (Σ r − n (n + 1) / 2) / (n m − n (n + 1) / 2)

A signed set scores max(0, up − w_neg · down).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore.scoring._ranks import rank_sums
from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Floats
    from nkscore.scoring._sets import GeneSets


def rank_auc(
    block: RowBlock, sets: GeneSets, *, max_rank: int = 1500, w_neg: float = 1.0
) -> Floats:
    """Score cells × sets; see the module for the formula."""
    if not 0 <= w_neg < np.inf:
        msg = f"w_neg is {w_neg}; a finite number from 0 is needed (default 1)."
        raise ValueError(msg)
    cap = float(min(max_rank, block.n_genes))
    if sets.size.max(initial=0) > cap:
        msg = (
            f"A set has {int(sets.size.max())} genes, more than max_rank ({max_rank}) or "
            f"the number of genes in the data ({block.n_genes}) allows. Raise max_rank or "
            "shorten the set."
        )
        raise ValueError(msg)
    sums = rank_sums(block, sets, cap=cap, recovery=False)
    size = sets.size.astype(np.float64)
    least = size * (size + 1) / 2
    span = size * cap - least
    # In place: with thousands of random sets, each copy would cost as much as the ranks.
    sums -= least - (sets.size - sets.found) * cap
    sums /= np.where(span > 0, span, 1.0)
    area = np.subtract(1.0, sums, out=sums)
    # A set of one gene with max_rank 1, or an empty part, has no span: it scores 0.
    area[:, span <= 0] = 0.0
    scores = area[:, 0::2].copy()
    if sets.size[1::2].any():
        scores -= w_neg * area[:, 1::2]
    return np.asarray(np.maximum(scores, 0.0, out=scores))


RANK_AUC = register(
    Scorer(
        name="rank_auc",
        func=rank_auc,
        reads="counts",
        limits=(0.0, 1.0),
        cell_wise=True,
        rank_based=True,
        options={"max_rank": 1500, "w_neg": 1.0},
        doi="10.1016/j.csbj.2021.06.043",
        description="Rank-based area under the curve, equal to R UCell; for sparse counts.",
    )
)
