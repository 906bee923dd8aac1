"""Share of a cell's RNA from one of two pure sources.

Per cell, counts of genes that mark source A are compared with counts of genes that mark source B.
With w the share of the cell's RNA from A, the expected share of A counts among both is a known
function of w. In a pure B cell w is near the ambient share, in a pure A cell near one, and in a
doublet in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

_GRID: Final = np.linspace(0.0, 1.0, 51)
_ROUNDS: Final = 50
# Standard deviation of w within a pure class: cells differ in their amount of ambient RNA.
_SPREAD: Final = 0.04


@dataclass(frozen=True, slots=True)
class Markers:
    """Genes of either source, and what share of each pure profile they make up.

    ``share_a``: of the genes of A in the profile of A, and in that of B; ``share_b`` likewise.
    """

    genes_a: Ints
    genes_b: Ints
    share_a: tuple[float, float]
    share_b: tuple[float, float]


def marker_genes(
    profile_a: Floats, profile_b: Floats, *, allowed: Bools, n_genes: int = 200, fold: float = 8.0
) -> Markers:
    """Choose the genes that separate two summed profiles.

    Parameters
    ----------
    profile_a, profile_b
        Summed counts per gene.
    allowed
        Genes that can be chosen (boolean), to exclude induced genes.
    n_genes
        At most this many per source, the most abundant first.
    fold
        Minimum ratio of the two abundances.
    """
    a = (profile_a + 0.5) / (profile_a.sum() + 1)
    b = (profile_b + 0.5) / (profile_b.sum() + 1)
    genes_a = _top(np.where(allowed & (a >= fold * b), a, 0.0), n_genes)
    genes_b = _top(np.where(allowed & (b >= fold * a), b, 0.0), n_genes)
    return Markers(
        genes_a,
        genes_b,
        (float(a[genes_a].sum()), float(b[genes_a].sum())),
        (float(a[genes_b].sum()), float(b[genes_b].sum())),
    )


def _top(values: Floats, n: int) -> Ints:
    order = np.argsort(-values, kind="stable")[:n]
    return np.sort(order[values[order] > 0])


def class_posterior(
    counts_a: Floats,
    counts_b: Floats,
    markers: Markers,
    *,
    prior: Floats,
    concentration: float,
    fit_shares: bool,
) -> tuple[Floats, float]:
    """Return probabilities of pure B, pure A and both, cells × 3, and the mean w of pure B cells.

    Parameters
    ----------
    counts_a, counts_b
        Summed counts of the markers per cell.
    prior
        Prior probabilities of the three classes.
    concentration
        Of the beta-binomial: how much cells of one class differ beyond counting noise.
    fit_shares
        Whether the class probabilities are fitted to these cells, starting at ``prior``.
    """
    likelihood = _likelihood(counts_a, counts_b, markers, concentration)
    share, center_b, center_a = np.asarray(prior, dtype=float), 0.02, 0.97
    joint = np.zeros((len(counts_a), 3))
    for _ in range(_ROUNDS):
        parts = np.stack([_bump(center_b), _bump(center_a), _between(center_b, center_a)], axis=1)
        joint = likelihood @ parts * share
        posterior = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        before = center_b, center_a, *share
        if fit_shares:
            # Two pseudo-cells per class keep a class from vanishing permanently.
            share = (posterior.sum(axis=0) + 2 * prior) / (len(posterior) + 2 * prior.sum())
        center_b = _center(likelihood, parts[:, 0], posterior[:, 0], (0.02, 0.0, 0.35))
        center_a = _center(likelihood, parts[:, 1], posterior[:, 1], (0.97, 0.75, 1.0))
        if np.abs(np.subtract((center_b, center_a, *share), before)).max() < 1e-4:
            break
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300), center_b


def _likelihood(a: Floats, b: Floats, markers: Markers, concentration: float) -> Floats:
    """Beta-binomial likelihood of each cell at each w of the grid, scaled to 1 at its best."""
    in_a = _GRID * markers.share_a[0] + (1 - _GRID) * markers.share_a[1]
    in_b = _GRID * markers.share_b[0] + (1 - _GRID) * markers.share_b[1]
    p = np.clip(in_a / np.maximum(in_a + in_b, 1e-12), 1e-4, 1 - 1e-4)
    alpha, beta = p * concentration, (1 - p) * concentration
    log_p = special.betaln(a[:, None] + alpha, b[:, None] + beta) - special.betaln(alpha, beta)
    return np.asarray(np.exp(log_p - log_p.max(axis=1, keepdims=True)))


def _bump(center: float) -> Floats:
    weight = np.exp(-0.5 * ((_GRID - center) / _SPREAD) ** 2)
    return np.asarray(weight / weight.sum())


def _between(low: float, high: float) -> Floats:
    middle, half = (low + high) / 2, (high - low) / 2 - 2.5 * _SPREAD
    # Grid points at an edge count partially, so that weights change smoothly with the centers.
    inside = np.clip((half - np.abs(_GRID - middle)) / _GRID[1] + 0.5, 0.0, 1.0)
    return np.asarray(inside / inside.sum())


def _center(
    likelihood: Floats, part: Floats, weight: Floats, limits: tuple[float, float, float]
) -> float:
    """Mean w of a class, shrunken toward its prior center by ten pseudo-cells."""
    center, low, high = limits
    at = likelihood * part
    mean = (at @ _GRID) / np.maximum(at.sum(axis=1), 1e-300)
    return float(np.clip((weight @ mean + 10 * center) / (weight.sum() + 10), low, high))


def fit_concentration(counts_a: Floats, counts_b: Floats) -> float:
    """Moment estimate of the beta-binomial concentration in cells of one pure class."""
    n = counts_a + counts_b
    keep = n >= 5
    if keep.sum() < 20:
        return 40.0
    n, a = n[keep], counts_a[keep]
    p = a.sum() / n.sum()
    variance = ((a - n * p) ** 2).sum()
    binomial = (n * p * (1 - p)).sum()
    excess = (variance - binomial) / max(float((n * (n - 1)).sum() * p * (1 - p)), 1e-12)
    return float(np.clip(1 / max(excess, 1e-6) - 1, 10.0, 200.0))
