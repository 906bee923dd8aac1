"""Rank-based area under the curve, the statistic of UCell (Andreatta and Carmona 2021).

With r the rank of a gene among all genes of the cell (1 = highest, ties share their mean rank),
cut at m = min(max_rank, number of genes), and n genes in the set, absent ones at rank m:

    score = 1 − (Σ r − n (n + 1) / 2) / (n m − n (n + 1) / 2)

A signed set scores max(0, up − w_neg · down).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore._compile import compiled
from nkscore.scoring._registry import Scorer, register

if TYPE_CHECKING:
    from nkscore.scoring._blocks import RowBlock
    from nkscore.scoring._sets import GeneSets

# A cell of UMI counts, or of any transform of them, holds some 30 to 150 distinct values. They
# are counted in a small hash table; only cells with more distinct values are sorted.
_TABLE = 1024
_MOST_DISTINCT = 400


@compiled("int64(float64)")
def _hash(value: Any) -> Any:
    # Mixes all 52 mantissa bits into the top ten: small counts differ in the high ones only.
    bits = np.float64(value).view(np.uint64)
    bits ^= bits >> np.uint64(29)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    return np.int64(bits >> np.uint64(54))


@compiled("int64(float64[::1], float64[::1], int64[::1], int64[::1], int64[::1])")
def _count_values(values: Any, key: Any, count: Any, used: Any, place: Any) -> Any:
    """Fill the table; return the number of distinct values, or -1 - it where they do not fit."""
    n_used = 0
    for i in range(values.size):
        value = values[i]
        place[i] = -1
        if value == 0.0:
            continue
        h = _hash(value)
        while count[h] > 0 and key[h] != value:
            h = (h + 1) & (_TABLE - 1)
        if count[h] == 0:
            if n_used == _MOST_DISTINCT:
                return -1 - n_used
            key[h] = value
            used[n_used] = h
            n_used += 1
        count[h] += 1
        place[i] = h
    return n_used


@compiled("void(float64[::1], float64[::1], int64[::1], int64[::1], int64[::1], int64)")
def _ranks_from_counts(  # noqa: PLR0917 (numba compiles positional arguments only)
    values: Any, key: Any, count: Any, used: Any, place: Any, n_used: Any
) -> None:
    """Replace values by mean tied ranks, 1 = highest; zeros are left as they are."""
    above = 0
    for j in np.argsort(-key[used[:n_used]]):
        h = used[j]
        key[h] = above + 0.5 * (count[h] + 1)
        above += count[h]
    for i in range(values.size):
        if place[i] >= 0:
            values[i] = key[place[i]]


@compiled("void(float64[::1])")
def _ranks_by_sorting(values: Any) -> None:
    """Do the same for any number of distinct values."""
    order = np.argsort(-values)
    sorted_values = values[order]
    i = 0
    while i < order.size and sorted_values[i] > 0.0:
        j = i + 1
        while j < order.size and sorted_values[j] == sorted_values[i]:
            j += 1
        for k in range(i, j):
            values[order[k]] = 0.5 * (i + 1 + j)
        i = j


@compiled(
    "void(int64[::1], int32[::1], float64[::1], int64, int32[::1], int64[::1], int32[::1],"
    " int64[::1], float64, float64[:, ::1])"
)
def _rank_sums(  # noqa: PLR0917 (numba compiles positional arguments only)
    indptr: Any, indices: Any, values: Any, n_genes: Any, slot: Any, starts: Any, members: Any,
    found: Any, cap: Any, out: Any,
) -> None:  # fmt: skip
    """Sum of capped ranks over the found genes of each part, cells × parts."""
    key = np.zeros(_TABLE, np.float64)
    count = np.zeros(_TABLE, np.int64)
    used = np.empty(_MOST_DISTINCT, np.int64)
    longest = np.max(np.diff(indptr))
    place = np.empty(longest, np.int64)
    ranks = np.empty(longest, np.float64)
    for i in range(indptr.size - 1):
        low = indptr[i]
        n = indptr[i + 1] - low
        cell = ranks[:n]
        cell[:] = values[low : low + n]
        detected = np.count_nonzero(cell)
        n_used = _count_values(cell, key, count, used, place)
        if n_used >= 0:
            _ranks_from_counts(cell, key, count, used, place, n_used)
        else:
            n_used = -1 - n_used
            _ranks_by_sorting(cell)
        count[used[:n_used]] = 0
        # Zeros, stored or not, share the mean of the last ranks.
        zero = min(detected + 0.5 * (n_genes - detected + 1), cap)
        for part in range(found.size):
            out[i, part] = found[part] * zero
        for p in range(n):
            s = slot[indices[low + p]]
            if s > 0 and values[low + p] > 0.0:
                gain = min(cell[p], cap) - zero
                for q in range(starts[s], starts[s + 1]):
                    out[i, members[q]] += gain


def rank_auc(
    block: RowBlock, sets: GeneSets, *, max_rank: int = 1500, w_neg: float = 1.0
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Score cells × sets; see the module for the formula."""
    if not 0 <= w_neg < np.inf:
        msg = f"w_neg is {w_neg}; a finite number from 0 is needed, usually 1."
        raise ValueError(msg)
    cap = float(min(max_rank, block.n_genes))
    if sets.size.max(initial=0) > cap:
        msg = (
            f"A set has {int(sets.size.max())} genes, more than max_rank ({max_rank}) or the "
            f"number of genes in the data ({block.n_genes}) allows. Raise max_rank or shorten it."
        )
        raise ValueError(msg)
    sums = np.empty((block.n_cells, sets.size.size))
    _rank_sums(
        block.indptr, block.indices, block.values, block.n_genes,
        sets.slot, sets.starts, sets.members, sets.found, cap, sums,
    )  # fmt: skip
    size = sets.size.astype(np.float64)
    least = size * (size + 1) / 2
    span = size * cap - least
    sums += (sets.size - sets.found) * cap
    # A set of one gene with max_rank 1, or an empty part, has no span: it scores 0.
    area = np.where(span > 0, 1 - (sums - least) / np.where(span > 0, span, 1), 0.0)
    return np.clip(area[:, 0::2] - w_neg * area[:, 1::2], 0.0, None)


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
