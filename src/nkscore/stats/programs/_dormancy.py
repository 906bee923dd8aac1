"""The index of dormancy: components of a cell against the expectation for its depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats, Ints

#: Declared relative change of each component in a fully dormant-like cell.
DORMANCY_EFFECTS: Final[dict[str, float]] = {
    "myc": -0.35,
    "biosynthesis": -0.06,
    "diapause": 0.1,
    "g0": 0.06,
}
_LEAST_VARIANCE: Final = 1e-4


def relative_change(x: Floats, expected: Floats, line: Ints, baseline: Bools) -> Floats:
    """Return observed over expected count, minus one; zero on average in baseline cells.

    Unlike a log ratio, its mean is the same at any depth.
    """
    return np.asarray(x / baseline_count(x, expected, line, baseline) - 1)


def baseline_count(x: Floats, expected: Floats, line: Ints, baseline: Bools) -> Floats:
    """Return the count expected of each cell at the mean level of its line's baseline cells."""
    use = _comparison_cells(line, baseline)
    level = np.bincount(line, use * x) / np.maximum(np.bincount(line, use * expected), 1e-12)
    return np.maximum(expected * level[line], 1e-12)


def signed_mean(parts: list[tuple[Floats, int]], line: Ints, baseline: Bools) -> Floats:
    """Return the precision-weighted mean of relative changes times their signs."""
    weights = [1 / baseline_variance(values, line, baseline) for values, _ in parts]
    total = np.sum(weights, axis=0)[line]
    summed = sum(w[line] * sign * v for w, (v, sign) in zip(weights, parts, strict=True))
    return np.asarray(summed / total)


def dormancy_index(components: Mapping[str, Floats], line: Ints, baseline: Bools) -> Floats:
    """Return the discriminant of the declared effects: 0 baseline, 1 fully dormant-like.

    The weight of a component is its declared effect over the variance between the baseline cells of
    the line, so noisy components have little weight.
    """
    top, bottom = np.zeros(line.size), np.zeros(line.size)
    for name, effect in DORMANCY_EFFECTS.items():
        weight = effect / baseline_variance(components[name], line, baseline)[line]
        top += weight * components[name]
        bottom += weight * effect
    return top / bottom


def _comparison_cells(line: Ints, baseline: Bools) -> Bools:
    """Cells to compare with: the baseline cells of a line, or all if it has none."""
    counted = np.bincount(line, baseline)
    none: Bools = counted[line] == 0
    return baseline | none


def baseline_variance(values: Floats, line: Ints, baseline: Bools) -> Floats:
    """Return each line's variance between its baseline cells."""
    use = _comparison_cells(line, baseline).astype(np.float64)
    n_cells = np.bincount(line, use)
    mean = np.bincount(line, use * values) / n_cells
    square = np.bincount(line, use * (values - mean[line]) ** 2) / n_cells
    return np.maximum(square, _LEAST_VARIANCE)
