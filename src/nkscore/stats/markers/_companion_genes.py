"""Genes that follow a state without being among its markers, learned from the cells at hand.

A panel of five markers says little in a shallow cell; the state that it names may move hundreds of
genes. Which, is learned from one half of the cells and used on the other half, and what they say
is weighed by how well they foretell the markers' own posterior there: where the states move no
other gene, they say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from nkscore.stats.markers._marker_cells import alike, half_of
from nkscore.stats.markers._marker_mixture import normalized

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import CSR, Floats, Ints, Matrix

#: Genes with fewer counts in all cells that are learned from can show no fold.
_LEAST_COUNTS: Final = 30
_LEAST_Z: Final = 3.0
_LARGEST_LOG_FOLD: Final = np.log(8.0)
#: Counts that a fold of one, and the rate of all groups together, stand for.
_FOLD_PRIOR, _GROUP_PRIOR = 10.0, 5.0
_CHUNK: Final = 1000
#: Weights below this would only add noise.
_LEAST_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Companions:
    """What was learned from the cells of even depth and from those of odd depth.

    ``genes`` are columns of the counts; ``log_fold`` (halves × classes × genes), ``rate``
    (halves × groups × genes) and ``dispersion`` (halves × genes) are learned on that half.
    """

    genes: Ints
    log_fold: Floats
    rate: Floats
    dispersion: Floats


@dataclass(frozen=True, slots=True)
class _Half:
    log_fold: Floats
    rate: Floats
    dispersion: Floats


def learn_companions(
    counts: Matrix, depth: Floats, group: Ints, *, posterior: Floats, n_groups: int
) -> Companions | None:
    """Find genes whose counts follow the posterior of a class within groups of cells.

    Parameters
    ----------
    counts
        Cells × genes, sparse; without the markers that the posterior was made from.
    depth
        Offset of each cell.
    group
        Number of each cell's sample, from 0: genes may have another usual level in each.
    posterior
        Cells × classes, from the markers.
    n_groups
        Number of samples; those without a cell here get the usual level of all.

    Returns
    -------
    ``None`` where no gene follows.
    """
    half = half_of(depth)
    matrix = sparse.csr_matrix(counts)
    total = np.asarray(matrix.sum(axis=0)).ravel()
    genes = np.flatnonzero(total >= _LEAST_COUNTS)
    matrix = matrix[:, genes]
    learned = [
        _learn(
            matrix[half == h],
            depth[half == h],
            group[half == h],
            posterior=posterior[half == h],
            n_groups=n_groups,
        )
        for h in (0, 1)
    ]
    used = np.any([(part.log_fold != 0).any(axis=0) for part in learned], axis=0)
    if not used.any():
        return None
    return Companions(
        genes[used],
        np.stack([part.log_fold[:, used] for part in learned]),
        np.stack([part.rate[:, used] for part in learned]),
        np.stack([part.dispersion[used] for part in learned]),
    )


def _learn(
    counts: sparse.csr_matrix, depth: Floats, group: Ints, *, posterior: Floats, n_groups: int
) -> _Half:
    """Fit folds by quasi-likelihood: what the mean count of a soft mixture of classes implies."""
    n_classes, n_genes = posterior.shape[1], counts.shape[1]
    member = sparse.csr_matrix(
        (np.ones(depth.size), (group, np.arange(depth.size))), (n_groups, depth.size)
    )
    total = np.asarray((member @ counts).todense(), dtype=np.float64)
    weight = np.asarray(member @ (depth[:, None] * posterior))
    overlap = np.zeros((n_groups, n_classes * n_classes))
    for number in range(n_groups):
        inside = group == number
        own = posterior[inside]
        overlap[number] = (own.T @ (depth[inside, None] * own)).ravel()
    together = np.asarray((counts.T @ posterior), dtype=np.float64)
    fold, z = np.ones((n_classes, n_genes)), np.zeros((n_classes, n_genes))
    rate = _rates(total, weight, fold)
    for _ in range(2):
        for start in range(0, n_genes, _CHUNK):
            part = slice(start, min(start + _CHUNK, n_genes))
            fold[:, part], z[:, part] = _solve(rate[:, part], overlap, together[part])
        rate = _rates(total, weight, fold)
    spread, dispersion = _noise(counts, depth, group, posterior=posterior, fold=fold, rate=rate)
    z /= np.sqrt(spread)
    # As many false genes are let in as there are sides of a fold, and they then weigh little.
    least = max(_LEAST_Z, -float(ndtri(1 / z.size)))
    shrunk = np.log(fold) * np.maximum(1 - 1 / np.maximum(z**2, 1e-9), 0)
    log_fold = np.clip(shrunk, -_LARGEST_LOG_FOLD, _LARGEST_LOG_FOLD)
    log_fold[:, (np.abs(z) < least).all(axis=0)] = 0.0
    return _Half(log_fold, rate, dispersion)


def _rates(total: Floats, weight: Floats, fold: Floats) -> Floats:
    """Return the usual level of each gene in each group, drawn to that of all groups."""
    expected = weight @ fold
    overall = np.maximum(total.sum(axis=0), 0.5) / expected.sum(axis=0)
    return np.asarray((total + _GROUP_PRIOR) / (expected + _GROUP_PRIOR / overall))


def _solve(rate: Floats, overlap: Floats, together: Floats) -> tuple[Floats, Floats]:
    n_classes = together.shape[1]
    matrix = (rate.T @ overlap).reshape(-1, n_classes, n_classes)
    matrix += _FOLD_PRIOR * np.eye(n_classes)
    inverse = np.linalg.inv(matrix)
    fold = np.einsum("gkl,gl->kg", inverse, together + _FOLD_PRIOR)
    error = np.sqrt(np.maximum(np.einsum("gkk->kg", inverse), 1e-12))
    return np.clip(fold, 0.05, 20.0), (fold - 1) / error


def _noise(
    counts: sparse.csr_matrix,
    depth: Floats,
    group: Ints,
    *,
    posterior: Floats,
    fold: Floats,
    rate: Floats,
) -> tuple[Floats, Floats]:
    """Return the variance of counts over their mean, and the dispersion, of each gene."""
    n_genes = counts.shape[1]
    square, mean_sum, mean_square = np.zeros((3, n_genes))
    for start in range(0, depth.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        mean = depth[part, None] * rate[group[part]] * (posterior[part] @ fold)
        square += ((counts[part].toarray() - mean) ** 2).sum(axis=0)
        mean_sum += mean.sum(axis=0)
        mean_square += (mean**2).sum(axis=0)
    excess = np.clip((square - mean_sum) / np.maximum(mean_square, 1e-12), 0.02, 5.0)
    return np.maximum(square / np.maximum(mean_sum, 1e-12), 1.0), excess


def companion_evidence(
    companions: Companions, take: Callable[[Ints], Floats | CSR], depth: Floats, group: Ints
) -> Floats:
    """Return the log likelihood of each class in each cell (mean over classes: 0).

    ``take`` returns the counts of some cells in the columns ``companions.genes``: of all cells at
    once they could be another copy of the data. A cell is judged by what was learned from the
    other half.
    """
    half = half_of(depth)
    out = np.zeros((depth.size, companions.log_fold.shape[1]))
    for number in (0, 1):
        rows = np.flatnonzero(half != number)
        if not rows.size:
            continue
        folds = np.exp(companions.log_fold[number])
        dispersion = companions.dispersion[number]
        for inside in alike(depth[rows], group[rows]):
            block = rows[inside]
            mean = depth[block].mean() * companions.rate[number, group[block[0]]] * folds
            spread = np.log1p(mean * dispersion)
            found = take(block) @ (np.log(mean) - spread).T
            out[block] = found - (spread / dispersion).sum(axis=1)
    return np.asarray(out - out.mean(axis=1, keepdims=True))


def companion_weight(evidence: Floats, posterior: Floats, group: Ints) -> float:
    """Return how far the evidence may be trusted, 0 to 1.

    The weight with which it best foretells the markers' posterior, which it was not made from in
    these cells. A posterior is itself blurred: how it scatters in cells of a class is known from
    its own overlap with the others.
    """
    sums = np.stack([np.bincount(group, own) for own in posterior.T], axis=1)
    prior = sums / np.maximum(np.bincount(group), 1)[:, None]
    log_prior = np.log(prior + 1e-9)[group]
    blur = (posterior.T @ posterior) / np.maximum(posterior.sum(axis=0), 1e-9)[:, None]

    def surprise(weight: float) -> float:
        foretold = normalized(log_prior + weight * evidence) @ blur
        return -float((posterior * np.log(foretold + 1e-300)).sum())

    found = minimize_scalar(surprise, bounds=(0.0, 1.0), method="bounded")
    better = found.fun < surprise(0.0)
    return float(found.x) if better and found.x >= _LEAST_WEIGHT else 0.0
