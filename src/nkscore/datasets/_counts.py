"""Kernels that turn expected profiles into counts.

A uniform number is computed from (key, cell, gene), and the count is its negative binomial
quantile, so counts do not depend on blocks, threads or the version of numpy.

``sources`` defines the profiles of single cells: base profiles, the base of each cell, its
programs, their activity, and the programs as starts, members and natural-log effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._compile import compiled

if TYPE_CHECKING:
    from typing import TypeAlias

    from nkscore._types import Array, Floats, Floats32, Ints, Ints32

    #: As :data:`_SOURCES`.
    Sources: TypeAlias = tuple[Floats32, Ints32, Ints32, Floats, Ints, Ints32, Floats]

_SOURCES = (
    "Tuple((float32[:, ::1], int32[::1], int32[:, ::1], float64[:, ::1],"
    " int64[::1], int32[::1], float64[::1]))"
)
#: Numbers in the stream, cells, ambient share, lane, depth of each cell, soup of each lane.
_DROPLETS = (
    "Tuple((int64[::1], int64[:, ::1], float64[::1], int32[::1], float64[::1], float64[:, ::1]))"
)


@compiled("uint64(uint64)")
def _mix(state: np.uint64) -> np.uint64:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@compiled("float64(uint64, uint64)")
def _uniform(row_key: np.uint64, column: np.uint64) -> float:
    # Signed integers below 2**53 convert to floats much faster than unsigned ones.
    bits = np.int64(_mix(row_key + column) >> np.uint64(11))
    return (bits + 0.5) * 2.0**-53


@compiled("int64(float64, float64, float64)")
def quantile(u: float, mu: float, size: float) -> int:
    """Return the smallest k with P(K <= k) > u for mean ``mu`` and variance mu + mu² / size."""
    # P(0) is at least 1 - mu: most zeros need neither exp nor log.
    if mu <= 0.0 or u < 1.0 - mu:
        return 0
    probability = np.exp(-size * np.log1p(mu / size))
    cumulative = probability
    ratio = mu / (mu + size)
    slope = ratio * (size - 1.0)
    count = 0
    while u >= cumulative:
        # (count + size) / (count + 1) * ratio, with the division off the critical path
        probability *= ratio + slope / (count + 1.0)
        count += 1
        cumulative += probability
        # Rounding may keep the sum below the largest u: stop when nothing is left to add.
        if probability < 1e-18 and count > mu:
            break
    return count


@compiled(f"void(int64, {_SOURCES}, float64[::1])")
def _own_profile(cell: int, sources: Sources, out: Array) -> None:
    """Write the expected shares of one cell: its base, shifted by its programs, summing to 1."""
    base, base_of, program, activity, starts, members, effect = sources
    row = base_of[cell]
    for gene in range(out.size):
        out[gene] = base[row, gene]
    for slot in range(program.shape[1]):
        which = program[cell, slot]
        strength = activity[cell, slot]
        if which < 0 or strength == 0.0:
            continue
        for i in range(starts[which], starts[which + 1]):
            out[members[i]] *= np.exp(strength * effect[i])
    total = 0.0
    for gene in range(out.size):
        total += out[gene]
    for gene in range(out.size):
        out[gene] /= total


@compiled(f"void(int64[::1], float64[::1], {_SOURCES}, float64[::1])")
def add_profiles(
    cells: Array,
    depth: Array,
    sources: Sources,
    out: Array,
) -> None:
    """Add the expected counts of ``cells`` to ``out``."""
    own = np.empty(out.size)
    for cell in cells:
        _own_profile(cell, sources, own)
        for gene in range(out.size):
            out[gene] += depth[cell] * own[gene]


@compiled(
    f"int64(uint64, {_DROPLETS}, Tuple((float64[::1], int64[::1])), {_SOURCES},"
    " Tuple((int32[::1], int32[::1], int64[::1])))"
)
def draw_counts(
    key: np.uint64,
    droplets: tuple[Ints, Ints, Floats, Ints32, Floats, Floats],
    genes: tuple[Floats, Ints],
    sources: Sources,
    out: tuple[Ints32, Ints32, Ints],
) -> int:
    """Draw one block of droplets into data, indices, indptr; returns how many were stored."""
    numbers, cells, ambient, lane, depth, soup = droplets
    size, gene_numbers = genes
    data, indices, indptr = out
    own, mean = np.empty(size.size), np.empty(size.size)
    stored = 0
    indptr[0] = 0
    for droplet in range(numbers.size):
        total = 0.0
        mean[:] = 0.0
        for part in range(2):
            cell = cells[droplet, part]
            if cell >= 0:
                _own_profile(cell, sources, own)
                total += depth[cell]
                for gene in range(size.size):
                    mean[gene] += depth[cell] * own[gene]
        kept, added = 1.0 - ambient[droplet], ambient[droplet] * total
        row_key = _mix(_mix(np.uint64(numbers[droplet])) ^ key)
        for gene in range(size.size):
            mu = kept * mean[gene] + added * soup[lane[droplet], gene]
            u = _uniform(row_key, np.uint64(gene_numbers[gene]))
            # The same shortcut as in quantile, without the call.
            if u < 1.0 - mu:
                continue
            count = quantile(u, mu, size[gene])
            if count > 0:
                data[stored] = count
                indices[stored] = gene
                stored += 1
        indptr[droplet + 1] = stored
    return stored


@compiled("void(uint64, int64[::1], float64[:, ::1], float64, int32[:, ::1])")
def draw_table(
    key: np.uint64,
    numbers: Array,
    mean: Array,
    size: float,
    out: Array,
) -> None:
    """Draw a dense table of counts, for few features like hashtags."""
    for row in range(mean.shape[0]):
        row_key = _mix(_mix(np.uint64(numbers[row])) ^ key)
        for column in range(mean.shape[1]):
            u = _uniform(row_key, np.uint64(column))
            out[row, column] = quantile(u, mean[row, column], size)
