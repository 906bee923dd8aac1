"""One pass over the rows of a block for all scores based on ranks within a cell.

For every part of a set, the kernels sum over its genes in the data either the mean tied rank
(1 = highest), cut at ``cap``, or, with ``recovery``, the mean of max(cap - rank, 0) over all ways
to break the ties.

Values are keys: unsigned integers in the order of the values, 0 for zero. A cell of UMI counts, or
of any transform of them, has about 30 to 150 distinct values. They are counted in a small hash
table, so that only the distinct values are sorted. Cells with more distinct values use a radix
sort, which is compiled only if needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import kernel

if TYPE_CHECKING:
    from nkscore._counts._blocks import RowBlock
    from nkscore._types import Array, Bools, Floats, Ints, Ints32
    from nkscore.scoring._sets import GeneSets

_TABLE = 1024
_MOST_DISTINCT = 400
_DIGIT = 11
_BINS = 1 << _DIGIT


@kernel
def _weight(above: float, count: float, cap: float, recovery: bool) -> float:
    """Value of each of ``count`` tied genes with ``above`` genes above them."""
    if not recovery:
        return min(above + 0.5 * (count + 1), cap)
    # Mean of max(cap - rank, 0) over the ranks that the tied genes share.
    last = min(above + count, cap - 1.0)
    if last <= above:
        return 0.0
    ranks = 0.5 * (last * (last + 1.0) - above * (above + 1.0))
    return ((last - above) * cap - ranks) / count


@kernel
def _sort_descending(keys: Array, slots: Ints32, n: int) -> None:
    """Shell sort of a few distinct keys and the table slots that hold them."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            key, slot = keys[i], slots[i]
            j = i
            while j >= gap and keys[j - gap] < key:
                keys[j] = keys[j - gap]
                slots[j] = slots[j - gap]
                j -= gap
            keys[j] = key
            slots[j] = slot
        gap //= 3


@kernel
def _radix_sort(keys: Array, places: Array, n: np.int64, bins: Ints) -> int:
    """Sort the first row upwards, n values with their places; return the row with the result."""
    highest = np.uint64(0)
    for i in range(n):
        highest |= keys[0, i]
    shift = np.uint64(0)
    row = 0
    while shift < np.uint64(64) and (highest >> shift) > np.uint64(0):
        for b in range(_BINS + 1):
            bins[b] = 0
        for i in range(n):
            bins[np.int64((keys[row, i] >> shift) & np.uint64(_BINS - 1)) + 1] += 1
        for b in range(_BINS):
            bins[b + 1] += bins[b]
        for i in range(n):
            digit = np.int64((keys[row, i] >> shift) & np.uint64(_BINS - 1))
            to = bins[digit]
            bins[digit] = to + 1
            keys[1 - row, to] = keys[row, i]
            places[1 - row, to] = places[row, i]
        row = 1 - row
        shift += np.uint64(_DIGIT)
    return row


@kernel
def _gains_by_sorting(  # noqa: PLR0917 (numba compiles positional arguments only)
    keys: Array,
    places: Array,
    n: np.int64,
    zero: float,
    cap: float,
    recovery: bool,
    hit_gain: Floats,
    hit_member: Ints32,
) -> int:
    """List the hits of one cell, whose keys are sorted upwards; return their number."""
    n_hits = 0
    high = n
    while high > 0:
        low = high - 1
        while low > 0 and keys[low - 1] == keys[high - 1]:
            low -= 1
        more = _weight(np.float64(n - high), np.float64(high - low), cap, recovery) - zero
        for i in range(low, high):
            hit_gain[n_hits] = more
            hit_member[n_hits] = places[i]
            n_hits += places[i] >= 0
        high = low
    return n_hits


@kernel
def _count_values(  # noqa: PLR0917 (numba compiles positional arguments only)
    keys: Array, start: int, stop: int, table: Array, count: Ints32, used: Ints32, places: Array
) -> int:
    """Fill the table and each value's place in it; return how many differ, -1 if too many."""
    empty = keys.dtype.type(0)
    n_used = 0
    for p in range(start, stop):
        key = keys[p]
        bits = np.uint64(key)
        bits ^= bits >> np.uint64(29)
        h = np.uint32((bits * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54))
        if table[h] != key:
            if key == empty:
                places[p - start] = _TABLE
                continue
            while table[h] != empty and table[h] != key:
                h = np.uint32((h + np.uint32(1)) & np.uint32(_TABLE - 1))
            if table[h] == empty:
                if n_used == used.size:
                    return -1
                table[h] = key
                used[n_used] = h
                n_used += 1
        places[p - start] = h
        # Four counts per value, in turn: most values are 1, and a count that was just written
        # cannot be read immediately.
        count[np.uint32(4) * h + np.uint32(p & 3)] += 1
    return n_used


@kernel
def _list_hits(  # noqa: PLR0917 (numba compiles positional arguments only)
    indices: Ints32, start: int, stop: int, first: Ints32, hits: Ints32, members: Array
) -> int:
    """List where in the cell the genes of sets are, and their first member; return how many."""
    n_hits = 0
    for p in range(start, stop):
        member = first[np.uint32(indices[p])]
        # Written each time and kept only if needed, which avoids a mispredicted branch.
        hits[n_hits] = p - start
        members[n_hits] = member
        n_hits += member >= 0
    return n_hits


@kernel
def _gains_by_counting(  # noqa: PLR0917 (numba compiles positional arguments only)
    table: Array,
    count: Ints32,
    used: Ints32,
    distinct: Array,
    n_used: int,
    n_genes: float,
    cap: float,
    recovery: bool,
    gain: Floats,
) -> float:
    """Fill the gain over an undetected gene of each place in use; return that gene's value."""
    detected = 0.0
    for j in range(n_used):
        h = used[j]
        distinct[j] = table[h]
        gain[h] = count[4 * h] + count[4 * h + 1] + count[4 * h + 2] + count[4 * h + 3]
        detected += gain[h]
    zero = _weight(detected, n_genes - detected, cap, recovery)
    _sort_descending(distinct, used, n_used)
    above = 0.0
    for j in range(n_used):
        tied = gain[used[j]]
        gain[used[j]] = _weight(above, tied, cap, recovery) - zero
        above += tied
    return zero


@kernel
def add_hits(  # noqa: PLR0917 (numba compiles positional arguments only)
    hit_gain: Floats,
    hit_member: Ints32,
    n_hits: int,
    members: Array,
    last: Bools,
    out: Floats,
    i: int,
) -> None:
    """Add every hit to all sets that hold its gene.

    Hits whose gene is in further sets are kept for the next round: rounds without an inner loop
    of unpredictable length are several times faster, unless nearly all genes are in many sets.
    """
    while n_hits > 0:
        n_left = 0
        for j in range(n_hits):
            member, more = hit_member[j], hit_gain[j]
            out[i, members[member]] += more
            hit_member[n_left] = member + 1
            hit_gain[n_left] = more
            n_left += not last[member]
        if 8 * n_left > 7 * n_hits:
            for j in range(n_left):
                member, more = hit_member[j], hit_gain[j]
                while not last[member]:
                    out[i, members[member]] += more
                    member += 1
                out[i, members[member]] += more
            return
        n_hits = n_left


@kernel
def _sums_by_counting(  # noqa: PLR0917 (numba compiles positional arguments only)
    indptr: Ints,
    indices: Ints32,
    keys: Array,
    n_genes: float,
    first: Ints32,
    members: Array,
    last: Bools,
    found: Ints,
    cap: float,
    recovery: bool,
    out: Floats,
    left: Bools,
    table: Array,
    count: Ints32,
    gain: Floats,
    used: Ints32,
    distinct: Array,
    places: Array,
    hits: Ints32,
    hit_member: Ints32,
    hit_gain: Floats,
) -> None:
    """Fill the cells with few distinct values; mark the others in ``left``.

    Arguments after ``left`` are work space: arrays created in a kernel take long to compile.
    """
    for i in range(indptr.size - 1):
        start, stop = indptr[i], indptr[i + 1]
        n_used = _count_values(keys, start, stop, table, count, used, places)
        left[i] = n_used < 0
        if n_used >= 0:
            zero = _gains_by_counting(
                table, count, used, distinct, n_used, n_genes, cap, recovery, gain
            )
            n_hits = _list_hits(indices, start, stop, first, hits, hit_member)
            for j in range(n_hits):
                hit_gain[j] = gain[places[hits[j]]]
            for part in range(found.size):
                out[i, part] = found[part] * zero
            add_hits(hit_gain, hit_member, n_hits, members, last, out, i)
        for j in range(n_used if n_used >= 0 else used.size):
            table[used[j]] = 0
            for k in range(4 * used[j], 4 * used[j] + 4):
                count[k] = 0


@kernel
def _sums_by_sorting(  # noqa: PLR0917 (numba compiles positional arguments only)
    cells: Ints,
    indptr: Ints,
    indices: Ints32,
    keys: Array,
    n_genes: float,
    first: Ints32,
    members: Array,
    last: Bools,
    found: Ints,
    cap: float,
    recovery: bool,
    out: Floats,
) -> None:
    """Fill the listed cells, for any values."""
    longest = 1
    for i in cells:
        longest = max(longest, indptr[i + 1] - indptr[i])
    bins = np.empty(_BINS + 1, np.int64)
    hit_member = np.empty(longest, np.int32)
    hit_gain = np.empty(longest, np.float64)
    sorted_keys = np.empty((2, longest), np.uint64)
    places = np.empty((2, longest), np.int32)
    for i in cells:
        n = np.int64(0)
        for p in range(indptr[i], indptr[i + 1]):
            if keys[p] != 0:
                sorted_keys[0, n] = keys[p]
                places[0, n] = first[indices[p]]
                n += 1
        row = _radix_sort(sorted_keys, places, n, bins)
        zero = _weight(np.float64(n), n_genes - n, cap, recovery)
        n_hits = _gains_by_sorting(
            sorted_keys[row], places[row], n, zero, cap, recovery, hit_gain, hit_member
        )
        for part in range(found.size):
            out[i, part] = found[part] * zero
        add_hits(hit_gain, hit_member, n_hits, members, last, out, i)


def rank_sums(block: RowBlock, sets: GeneSets, *, cap: float, recovery: bool) -> Floats:
    """Return cells × parts: sums over the found genes; see the module."""
    out = np.empty((block.n_cells, sets.size.size))
    left = np.zeros(block.n_cells, np.bool_)
    arguments = (
        block.indptr,
        block.indices,
        block.keys,
        float(block.n_genes),
        sets.first,
        sets.members,
        sets.last,
        sets.found,
        cap,
        recovery,
        out,
    )
    longest = int(np.diff(block.indptr).max(initial=1))
    # The position after the table is for explicit zeros, which gain nothing.
    table, count, gain = (
        np.zeros(n, kind)
        for n, kind in (
            (_TABLE, block.keys.dtype),
            (4 * _TABLE, np.int32),
            (_TABLE + 1, np.float64),
        )
    )
    room = [
        np.empty(n, kind)
        for n, kind in (
            (_MOST_DISTINCT, np.int32),
            (_MOST_DISTINCT, block.keys.dtype),
            (longest, np.uint16),
            (longest, np.int32),
            (longest, np.int32),
            (longest, np.float64),
        )
    ]
    _sums_by_counting(*arguments, left, table, count, gain, *room)
    cells = np.flatnonzero(left)
    if cells.size:
        _sums_by_sorting(cells, *arguments)
    return out
