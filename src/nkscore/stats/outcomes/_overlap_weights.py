"""Weights that make two groups of cells alike in what should not differ between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

#: Ridge penalty of features in units of their standard deviation; of the strata.
_RIDGE: Final = (1.0, 1e-3)
_STEPS: Final = 50
#: Cells of the smaller group per bin of the overlap, and limits of the number of bins.
_PER_BIN, _BINS = 8, (4, 20)


@dataclass(frozen=True, slots=True)
class Balanced:
    """``weights``: one per cell, 0 to 1; ``overlap``: shared part of both groups, 0 to 1."""

    weights: Floats
    overlap: float


def overlap_weights(treated: Bools, features: Floats, stratum: Ints) -> Balanced:
    """Weight cells by the probability to be in the other group, given their features.

    Parameters
    ----------
    treated
        Group of each cell.
    features
        Cells × features; both groups have the same weighted mean of each, up to a small ridge.
    stratum
        Sample of each cell, 0, 1, ...; it may hold more cells of either group.

    Notes
    -----
    Li, Morgan and Zaslavsky 2018 (doi 10.1080/01621459.2016.1260466). No weight exceeds 1, so no
    single cell decides the result, unlike with inverse probabilities. ``overlap`` is the common
    area of the distributions of both groups along the direction that separates them best.
    """
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    strata = np.eye(int(stratum.max()) + 1)[stratum]
    matrix = np.column_stack([strata, scaled])
    penalty = np.repeat(_RIDGE[::-1], [strata.shape[1], scaled.shape[1]])
    beta = np.zeros(matrix.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(matrix @ beta, -30, 30)))
        gradient = matrix.T @ (treated - p) - penalty * beta
        step = np.linalg.solve(
            (matrix * (p * (1 - p))[:, None]).T @ matrix + np.diag(penalty), gradient
        )
        # Steps of a separated sample would overshoot.
        beta += step / max(1.0, float(np.abs(step).max()) / 4)
        if np.abs(step).max() < 1e-8:
            break
    p = 1 / (1 + np.exp(-np.clip(matrix @ beta, -30, 30)))
    direction = scaled @ beta[strata.shape[1] :]
    return Balanced(np.where(treated, 1 - p, p), _common_area(direction, treated))


def _common_area(values: Floats, treated: Bools) -> float:
    smaller = min(int(treated.sum()), int((~treated).sum()))
    n_bins = int(np.clip(smaller // _PER_BIN, *_BINS))
    # Ties (all values equal, without a difference) fall into one bin.
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    at = np.searchsorted(edges, values, side="right")
    parts = [
        np.bincount(at[side], minlength=edges.size + 1) / side.sum() for side in (treated, ~treated)
    ]
    return float(np.minimum(*parts).sum())
