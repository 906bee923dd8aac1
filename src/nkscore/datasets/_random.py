"""Random numbers that depend only on a seed, the name of a stream and a position.

Each number is computed from its coordinates, so switching one effect off, simulating in other
blocks or using more threads does not change the other numbers.
"""

from __future__ import annotations

import hashlib
from numbers import Integral
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from numpy.typing import NDArray

    from nkscore._types import Floats, Ints

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _STEP
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def seed_of(rng: int | np.random.Generator | None) -> int:
    """Return a 53-bit seed; ``None`` takes fresh entropy, a generator is advanced by one draw."""
    if rng is None:
        rng = np.random.default_rng()
    if isinstance(rng, np.random.Generator):
        return int(rng.random() * 2**53)
    if not _is_seed(rng):
        msg = f"rng is {rng!r}; a whole number >= 0, a numpy Generator or None is needed."
        raise ValueError(msg)
    return int(rng) % 2**53


def _is_seed(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 0


class Streams:
    """Named streams of random numbers, each addressed by position."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def key(self, name: str) -> int:
        """Return the 64-bit key of stream ``name``."""
        digest = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    def uniform(self, name: str, positions: npt.ArrayLike) -> Floats:
        """Return numbers strictly between 0 and 1, one per position."""
        state = np.atleast_1d(np.asarray(positions, dtype=np.uint64)) * _SECOND
        bits = _mix(_mix(state) ^ np.uint64(self.key(name))) >> np.uint64(11)
        return (bits.astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, name: str, positions: npt.ArrayLike) -> Floats:
        """Return standard normal numbers, one per position."""
        return np.asarray(ndtri(self.uniform(name, positions)), dtype=np.float64)

    def choice(self, name: str, positions: npt.ArrayLike, weights: Floats) -> Ints:
        """Return one category per position; ``weights`` is one row, or one row per position."""
        weights = np.atleast_2d(weights)
        cumulative = np.cumsum(weights, axis=1)
        reached = self.uniform(name, positions)[:, None] * cumulative[:, -1:] >= cumulative
        chosen: Ints = np.minimum(reached.sum(axis=1), weights.shape[1] - 1).astype(np.int64)
        return chosen


def barcodes(key: int, numbers: Sequence[int] | Ints) -> list[str]:
    """Return a 16-base barcode per number; different numbers never share one."""
    state = np.asarray(numbers, dtype=np.uint64) + np.uint64(key % 2**32)
    mask = np.uint64(0xFFFFFFFF)
    for multiplier in (0x9E3779B1, 0x85EBCA6B):
        # Odd multiplication and xor-shift map 32-bit numbers one to one.
        state = (state * np.uint64(multiplier)) & mask
        state ^= state >> np.uint64(15)
    shifts = np.arange(0, 32, 2, dtype=np.uint64)
    bases = np.frombuffer(b"ACGT", dtype="S1")[(state[:, None] >> shifts) & np.uint64(3)]
    return [row.tobytes().decode("ascii") for row in bases]
