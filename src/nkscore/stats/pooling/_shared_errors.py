"""How much the errors of lines have in common, where they share controls or donors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Floats


def error_correlation(z: Floats, *, within: float = 1.5) -> float:
    """Estimate how much the errors of two lines have in common, from genes that hardly changed.

    Parameters
    ----------
    z
        Genes × lines: effects over standard errors, NaN where not measured.
    within
        Only pairs in which both are smaller than this are looked at, so that real effects, which
        lines share too, count little.

    Returns
    -------
    Median over pairs of lines of the correlation of the normal distribution whose truncation shows
    the correlation seen; 0 to 0.95. Weak shared effects raise it, which errs to the safe side.
    """
    grid = np.linspace(0.0, 0.95, 39)
    expected = _truncated_correlation(grid, within)
    found = []
    small = np.abs(z) < within
    for i in range(z.shape[1]):
        for j in range(i):
            both = small[:, i] & small[:, j]
            if both.sum() >= 50:
                seen = np.mean(z[both, i] * z[both, j]) / np.sqrt(
                    np.mean(z[both, i] ** 2) * np.mean(z[both, j] ** 2)
                )
                found.append(float(np.interp(seen, expected, grid)))
    return float(np.median(found)) if found else 0.0


def _truncated_correlation(rho: Floats, within: float) -> Floats:
    """Correlation about zero of a standard normal pair of which both lie within bounds."""
    x = np.linspace(-within, within, 201)
    a, b = np.meshgrid(x, x)
    r = rho[:, None, None]
    density = np.exp(-(a**2 - 2 * r * a * b + b**2) / (2 * (1 - r**2)))
    return np.asarray((density * a * b).sum(axis=(1, 2)) / (density * a**2).sum(axis=(1, 2)))
