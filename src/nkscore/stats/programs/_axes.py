"""Axes of a cell's state: relative changes, with intervals for what its counts leave open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from nkscore.stats.programs._dormancy import baseline_count, baseline_variance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Bools, Floats, Ints

_Z: Final = float(stats.norm.ppf(0.975))
#: Largest squared relative error of an expected count with which the interval has an upper end.
_MOST_NOISE: Final = 0.9 / _Z**2


@dataclass(frozen=True, slots=True, eq=False)
class AxisValues:
    """Value of each cell on an axis, and the ends of its 95 % interval."""

    value: Floats
    low: Floats
    high: Floats


def axis_change(
    x: Floats, expected: Floats, noise: Floats, line: Ints, baseline: Bools
) -> AxisValues:
    """Return observed over expected count, minus one; zero on average in baseline cells.

    The score interval contains the levels ``t`` with ``(x - m t)² <= z² (m t + noise (m t)²)``,
    where ``m`` is the count expected at the baseline level and ``noise`` its squared relative error
    beyond counting. It is about the cell's own level, not about the spread between cells.
    """
    mean = baseline_count(x, expected, line, baseline)
    scale = 1 - _Z**2 * np.minimum(noise, _MOST_NOISE)
    middle = (x + _Z**2 / 2) / scale
    width = np.sqrt(np.maximum(middle**2 - x**2 / scale, 0.0))
    return AxisValues(x / mean - 1, (middle - width) / mean - 1, (middle + width) / mean - 1)


def signed_axis(parts: Sequence[tuple[AxisValues, int]], line: Ints, baseline: Bools) -> AxisValues:
    """Return the mean of changes times their signs, weighted by their precision in the line.

    The ends of the interval combine the distances of the parts' ends (Zou and Donner 2008, doi
    10.1002/sim.3095), which are taken as independent.
    """
    weights = np.stack([1 / baseline_variance(part.value, line, baseline) for part, _ in parts])
    weights = (weights / weights.sum(axis=0))[:, line]
    value, below, above = (np.zeros(line.size) for _ in range(3))
    for weight, (part, sign) in zip(weights, parts, strict=True):
        value += weight * sign * part.value
        down, up = part.value - part.low, part.high - part.value
        if sign < 0:
            down, up = up, down
        below += (weight * down) ** 2
        above += (weight * up) ** 2
    return AxisValues(value, value - np.sqrt(below), value + np.sqrt(above))
