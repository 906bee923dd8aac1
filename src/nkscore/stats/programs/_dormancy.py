"""The index of dormancy: components of a cell against what its depth lets expect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats, Ints

#: Relative change of each component in a fully dormant-like cell, by declaration.
DORMANCY_EFFECTS: Final[dict[str, float]] = {
    "myc": -0.35,
    "biosynthesis": -0.06,
    "diapause": 0.1,
    "g0": 0.06,
}
_LEAST_VARIANCE: Final = 1e-4


def relative_change(x: Floats, expected: Floats, line: Ints, usual: Bools) -> Floats:
    """Return observed over expected count, less one; zero on average in the usual cells of a line.

    Unlike a log ratio, its mean is the same at any depth.
    """
    use = _usual(line, usual)
    level = np.bincount(line, use * x) / np.maximum(np.bincount(line, use * expected), 1e-12)
    return np.asarray(x / np.maximum(expected * level[line], 1e-12) - 1)


def signed_mean(parts: list[tuple[Floats, int]], line: Ints, usual: Bools) -> Floats:
    """Return the mean of relative changes times their signs, precise ones weighing more."""
    weights = [1 / _variance(values, line, usual) for values, _ in parts]
    total = np.sum(weights, axis=0)[line]
    summed = sum(w[line] * sign * v for w, (v, sign) in zip(weights, parts, strict=True))
    return np.asarray(summed / total)


def dormancy_index(components: Mapping[str, Floats], line: Ints, usual: Bools) -> Floats:
    """Return the discriminant of the declared effects: 0 as usual, 1 fully dormant-like.

    Components weigh by declared effect over variance between the usual cells of the line, so that
    one which counting blurs has little say.
    """
    top, bottom = np.zeros(line.size), np.zeros(line.size)
    for name, effect in DORMANCY_EFFECTS.items():
        weight = effect / _variance(components[name], line, usual)[line]
        top += weight * components[name]
        bottom += weight * effect
    return top / bottom


def _usual(line: Ints, usual: Bools) -> Bools:
    """Cells to compare with: the usual ones of a line, or all where it has none."""
    counted = np.bincount(line, usual)
    none: Bools = counted[line] == 0
    return usual | none


def _variance(values: Floats, line: Ints, usual: Bools) -> Floats:
    use = _usual(line, usual).astype(np.float64)
    n_cells = np.bincount(line, use)
    mean = np.bincount(line, use * values) / n_cells
    square = np.bincount(line, use * (values - mean[line]) ** 2) / n_cells
    return np.maximum(square, _LEAST_VARIANCE)
